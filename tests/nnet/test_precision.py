"""Which arithmetic and device are chosen."""

import pytest
import torch

from asr_parallel.nnet.precision import choose_device, choose_dtype

CPU = torch.device("cpu")


@pytest.mark.parametrize(
    ("able", "dtype"),
    [
        ({"amx_bf16": True}, torch.bfloat16),
        ({"avx512_bf16": True, "amx_bf16": False}, torch.bfloat16),
        ({"avx2": True}, torch.float32),
        ({}, torch.float32),
    ],
)
def test_auto_is_what_the_cpu_can_do(
    monkeypatch: pytest.MonkeyPatch, able: dict[str, bool], dtype: torch.dtype
) -> None:
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: able, raising=False)
    assert choose_dtype("auto", CPU) == dtype


def test_a_torch_that_cannot_tell_gets_float32(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(torch.cpu, "get_capabilities", raising=False)
    assert choose_dtype("auto", CPU) == torch.float32


def test_what_is_asked_for_is_what_one_gets() -> None:
    assert choose_dtype("float32", CPU) == torch.float32
    assert choose_dtype("bf16", CPU) == torch.bfloat16
    with pytest.raises(ValueError, match="unknown precision 'fp8'; expected one of auto, float32, bf16"):
        choose_dtype("fp8", CPU)


def test_the_gpu_is_taken_when_there_is_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    assert choose_device("auto").type == choose_device("cuda").type == "cuda"
    assert choose_device("cpu").type == "cpu"
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    assert choose_device("cuda:1") == torch.device("cuda", 1)
    with pytest.raises(ValueError, match="device cuda:2: expected a number below 2, the GPUs"):
        choose_device("cuda:2")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert choose_device("auto").type == "cpu"
    with pytest.raises(ValueError, match="device cuda: no GPU that this torch can use"):
        choose_device("cuda")
    for name in ("tpu", "cuda:x", "cuda:", "cpu:0"):
        with pytest.raises(ValueError, match=f"unknown device '{name}'; expected auto, cpu, cuda or cuda:N"):
            choose_device(name)
