"""On a GPU that is not there: who mixes devices fails, and who looks at a value, which would wait for it."""

from dataclasses import asdict
from typing import Any

import pytest
import torch
from torch import nn
from torch._subclasses.fake_tensor import DynamicOutputShapeException, FakeTensorMode
from transformers.utils import import_utils

from detr_diff.data.batch import Samples
from detr_diff.data.diff import Comparison
from detr_diff.model.load import load_model
from detr_diff.training import criterion
from detr_diff.training.detector import Detector
from detr_diff.training.matcher import Costs, Match, Objects, cost_of
from tests.model.tiny_models import MODELS, OLD, first_of

# Known of transformers: the loss of D-FINE, which is taken as it is, waits as it likes.
# Old layers of Conditional DETR draw a number on the CPU and look at it, which a fake one cannot.
LEFT_OUT = ("d_fine", *(["conditional_detr"] if OLD else []))
NAMES = [name for name in MODELS if name not in LEFT_OUT]


def on_fake_gpu(detector: Detector, fake: FakeTensorMode) -> None:
    for module in detector.modules():
        for name, value in module._parameters.items():
            if value is not None:
                module._parameters[name] = nn.Parameter(fake.from_tensor(value.detach()).to("cuda"))
        for name, value in module._buffers.items():
            if value is not None:
                module._buffers[name] = fake.from_tensor(value).to("cuda")


def targets(*sizes: tuple[int, int]) -> list[dict[str, torch.Tensor]]:
    numbers = {key: torch.zeros(2, dtype=torch.int64) for key in ("class_labels", "places", "objects")}
    host = {"index": torch.tensor([0]), "padding": torch.tensor([False])}
    boxes = torch.full((2, 4), 0.5)
    return [{"boxes": boxes, **numbers, **host, "size": torch.tensor(size)} for size in sizes]


def step(
    name: str,
    monkeypatch: pytest.MonkeyPatch,
    precision: torch.dtype,
    padded: bool = False,
    **changed: Any,
) -> torch.Tensor:
    """Forward pass and loss of a batch; only the matching, which must wait, is left out."""
    family, config = MODELS[name]
    model, architecture, _ = load_model(family, ["a", "b"], config={**config, **changed})
    stages = {"all": {"epochs": 1, "learn": "all"}}
    detector = Detector(asdict(architecture), Comparison().settings(), stages, detr=model)

    def unsolved(layers: Any, objects: Objects, costs: Costs) -> Match:
        cost_of(layers, objects, costs)
        rows = torch.zeros(len(layers.logits) * sum(objects.counts), dtype=torch.int64, device="cuda")
        return Match(rows, rows)

    monkeypatch.setattr(criterion, "match", unsolved)
    # Transformers leaves checks out when it is given what is fake: here it shall do as on a GPU.
    monkeypatch.setattr(import_utils, "is_fake_tensor", lambda tensor: False)
    sizes = (48, 64), (64, 48) if padded else (48, 64)
    images = [torch.zeros(3, height, width, dtype=torch.uint8) for height, width in sizes]
    samples = Samples(images, targets(*sizes))
    with FakeTensorMode(allow_non_fake_inputs=True) as fake:
        on_fake_gpu(detector, fake)
        batch = detector.transfer_batch_to_device(samples, torch.device("cuda"), 0)
        with torch.autocast("cuda", precision, enabled=precision is not torch.float32):
            output = detector._output(detector.detr.train(), batch, labels=detector.labels(batch.targets))
    loss: torch.Tensor = output.loss
    return loss


@pytest.mark.parametrize("padded", [False, True])
@pytest.mark.parametrize("precision", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("name", first_of(NAMES))
def test_a_step_waits_for_nothing_but_the_match(
    name: str, precision: torch.dtype, padded: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    plain = {"num_denoising": 0} if name.startswith("rt_detr") else {}
    loss = step(name, monkeypatch, precision, padded, **plain)
    assert (loss.device.type, loss.dtype) == ("cuda", torch.float32)


def test_making_denoising_queries_waits_once_more(monkeypatch: pytest.MonkeyPatch) -> None:
    """Known of transformers: it searches for what it could count. When this fails, it no longer does."""
    with pytest.raises(DynamicOutputShapeException):
        step("rt_detr", monkeypatch, torch.float32)
