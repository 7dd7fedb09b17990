"""The type of number that the network's products are computed in."""

from collections.abc import Mapping
from typing import Any

import torch

from asr_parallel.nnet.choices import PRECISIONS


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
            able: Mapping[str, Any] = getattr(torch.cpu, "get_capabilities", dict)()  # older torch has none
            fast = able.get("amx_bf16", False) or able.get("avx512_bf16", False)
        return torch.bfloat16 if fast else torch.float32
    return torch.bfloat16 if precision == "bf16" else torch.float32


def choose_device(name: str) -> torch.device:
    """Return the device of a name; "auto" is the first GPU if there is one, else the CPU; ValueError for none."""
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    if name not in ("cpu", "cuda"):
        raise ValueError(f"unknown device {name!r}; expected auto, cpu or cuda")
    if name == "cuda" and not torch.cuda.is_available():
        raise ValueError("device cuda: no GPU that this torch can use")
    return torch.device(name)
