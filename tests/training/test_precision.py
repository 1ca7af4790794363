"""trainer.precision=auto is bf16 where that is faster, and nowhere else."""

import pytest
import torch
from torch import nn

from detr_diff.training.precision import precision_of

SMALL, LARGE = nn.Linear(100, 100), nn.Linear(1000, 10_000, device="meta")
AMX, AVX512, AVX2 = ({name: True} for name in ("amx_bf16", "avx512_bf16", "avx2"))


@pytest.mark.parametrize(
    ("accelerator", "gpu", "processor", "model", "expected"),
    [
        ("auto", True, AVX2, SMALL, "bf16-mixed"),
        ("gpu", True, AVX2, LARGE, "bf16-mixed"),
        ("cpu", True, AVX2, LARGE, "32-true"),
        ("cpu", True, AMX, LARGE, "bf16-mixed"),
        ("auto", False, AVX512, LARGE, "bf16-mixed"),
        ("auto", False, AVX512, SMALL, "32-true"),
        ("auto", False, AVX2, LARGE, "32-true"),
        ("auto", False, {}, LARGE, "32-true"),
        ("gpu", False, AMX, LARGE, "32-true"),
    ],
)
def test_auto(
    accelerator: str,
    gpu: bool,
    processor: dict[str, bool],
    model: nn.Module,
    expected: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: gpu)
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda **_: True)
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: processor, raising=False)
    assert precision_of({"accelerator": accelerator, "precision": "auto"}, model) == expected
    assert precision_of({"accelerator": accelerator, "precision": "16-mixed"}, model) == "16-mixed"
    assert precision_of({"accelerator": accelerator}, model) == "32-true"


def test_a_gpu_that_emulates_it_computes_in_float32(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda including_emulation=True: including_emulation)
    assert precision_of({"precision": "auto"}, LARGE) == "32-true"


def test_a_torch_that_cannot_say_computes_in_float32(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.delattr(torch.cpu, "get_capabilities", raising=False)
    assert precision_of({"precision": "auto"}, LARGE) == "32-true"
