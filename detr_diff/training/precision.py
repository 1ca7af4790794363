"""The numbers that a training computes with."""

from collections.abc import Mapping
from typing import Any

import torch
from torch import nn

# What a processor must have so that bf16 is not emulated, which is slower than float32.
INSTRUCTIONS = ("amx_bf16", "avx512_bf16")
LARGE = 10_000_000  # parameters; the narrow layers of a smaller model gain little on a CPU, or nothing


def precision_of(settings: Mapping[str, Any], model: nn.Module) -> str:
    """What the precision of the trainer section is here.

    `auto` is bf16-mixed where that is faster: on a GPU that has it, and for a large model on a CPU that has
    it. Measured in experiments/speed/.

    Args:
        settings: The trainer section.
        model: What is trained.
    """
    said = str(settings.get("precision") or "32-true")
    if said != "auto":
        return said
    accelerator = settings.get("accelerator", "auto")
    if accelerator in ("auto", "gpu", "cuda") and torch.cuda.is_available():
        # Older GPUs emulate it.
        faster = torch.cuda.is_bf16_supported(including_emulation=False)
    elif accelerator in ("auto", "cpu"):
        faster = _processor_has_bf16() and sum(weight.numel() for weight in model.parameters()) >= LARGE
    else:
        faster = False
    return "bf16-mixed" if faster else "32-true"


def _processor_has_bf16() -> bool:
    ask: Any = getattr(torch.cpu, "get_capabilities", dict)  # older versions of torch cannot say
    return any(ask().get(name) for name in INSTRUCTIONS)
