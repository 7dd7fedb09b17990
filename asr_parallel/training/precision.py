"""Which type of number the network's products are computed in."""

import torch

PRECISIONS = ("auto", "float32", "bf16")


def products_dtype(precision: str, device: torch.device) -> torch.dtype:
    """The dtype for a precision; parameters and their sums stay float32 in any case.

    "auto" is bfloat16 where it has hardware of its own: CPUs with AMX tiles and GPUs from Ampere on. Elsewhere float32.

    Raises:
        ValueError: an unknown name.
    """
    if precision not in PRECISIONS:
        raise ValueError(f"unknown precision {precision!r}; expected one of {', '.join(PRECISIONS)}")
    if precision == "auto":
        fast = torch.cuda.is_bf16_supported(False) if device.type == "cuda" else torch.cpu._is_amx_tile_supported()
        return torch.bfloat16 if fast else torch.float32
    return torch.bfloat16 if precision == "bf16" else torch.float32


def choose_device(name: str) -> torch.device:
    """The device of a name: "auto" is the first GPU if there is one, else the CPU; ValueError when it is not there."""
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    if name not in ("cpu", "cuda"):
        raise ValueError(f"unknown device {name!r}; expected auto, cpu or cuda")
    if name == "cuda" and not torch.cuda.is_available():
        raise ValueError("device cuda: no GPU that this torch can use")
    return torch.device(name)
