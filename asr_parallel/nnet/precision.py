"""The type of number that the network's products are computed in."""

import torch

from asr_parallel.nnet.choices import PRECISIONS, check_device
from asr_parallel.nnet.torch_library import capable


def choose_dtype(precision: str, device: torch.device) -> torch.dtype:
    """Return the dtype for a precision; parameters and their sums stay float32 in any case.

    "auto" is bfloat16 where it has hardware of its own: GPUs from Ampere on, CPUs with AMX tiles or AVX512-BF16 (whose
    products are twice as fast as in float32). Elsewhere float32.

    Raises:
        ValueError: an unknown name.
    """
    if precision not in PRECISIONS:
        raise ValueError(f"unknown precision {precision!r}; expected one of {', '.join(PRECISIONS)}")
    if precision == "auto":
        if device.type == "cuda":
            fast = torch.cuda.is_bf16_supported(including_emulation=False)
        else:
            fast = capable("amx_bf16") or capable("avx512_bf16")
        return torch.bfloat16 if fast else torch.float32
    return torch.bfloat16 if precision == "bf16" else torch.float32


def choose_device(name: str) -> torch.device:
    """Return the device of a name; "auto" is the first GPU if there is one, else the CPU; ValueError for none."""
    check_device(name)
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    device = torch.device(name)
    if device.type == "cuda" and not torch.cuda.is_available():
        raise ValueError(f"device {name}: no GPU that this torch can use")
    if device.index is not None and device.index >= torch.cuda.device_count():
        raise ValueError(f"device {name}: expected a number below {torch.cuda.device_count()}, the GPUs")
    return device
