"""On a GPU that is not there: who mixes devices fails, and who looks at a value, which would wait for it."""

from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import asdict
from typing import Any

import pytest
import torch
from torch import nn
from torch._subclasses.fake_tensor import (
    FakeTensor,
    FakeTensorMode,
    unset_fake_temporarily,
)
from torch.utils._python_dispatch import TorchDispatchMode
from transformers.utils import import_utils

from detr_diff.data.batch import Batch, Packed, Samples
from detr_diff.data.diff import Comparison
from detr_diff.data.truth import truths_in_pixels
from detr_diff.evaluation.detection_record import DetectionRecord
from detr_diff.model.load import load_model
from detr_diff.model.place_labels import PlaceLabels
from detr_diff.training import criterion
from detr_diff.training.detector import Detector
from detr_diff.training.matcher import Costs, Match, Objects, cost_of
from tests.model.tiny_models import MODELS, OLD, first_of

# Known of transformers: the loss of D-FINE, which is taken as it is, waits as it likes.
# Old layers of Conditional DETR draw a number on the CPU and look at it, which a fake one cannot.
LEFT_OUT = ("d_fine", *(["conditional_detr"] if OLD else []))
NAMES = [name for name in MODELS if name not in LEFT_OUT]
unpack = Packed.targets


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


def targets_of(packed: Packed) -> list[dict[str, torch.Tensor]]:
    """As it does, but what is on the host keeps its values: within the mode all is fake."""
    there = {key: column for key, column in packed.columns.items() if isinstance(column, FakeTensor)}
    found = unpack(packed._replace(columns=there))
    with unset_fake_temporarily():
        here = {key: column for key, column in packed.columns.items() if key not in there}
        rest = unpack(packed._replace(columns=here))
    return [own | more for own, more in zip(rest, found, strict=True)] if there else rest


class NoWaiting(TorchDispatchMode):
    """Fails where a copy between the devices waits until it is done."""

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        if func is torch.ops.aten._to_copy.default and kwargs.get("device") is not None:
            moves = torch.device(kwargs["device"]).type != args[0].device.type
            assert not moves or kwargs.get("non_blocking"), "a copy that waits"
        return func(*args, **kwargs)


class Lowered(TorchDispatchMode):
    """Notes the precision of convolutions and products."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: dict[str, set[torch.dtype]] = {}

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        output = func(*args, **(kwargs or {}))
        name = func._schema.name.removeprefix("aten::")
        if name in ("convolution", "addmm"):
            self.seen.setdefault(name, set()).add(output.dtype)
        return output


@contextmanager
def fake_gpu(
    name: str, monkeypatch: pytest.MonkeyPatch, precision: torch.dtype, padded: bool = False, **changed: Any
) -> Iterator[tuple[Detector, Batch]]:
    """A model and a batch on it; only the matching, which must wait, is left out."""
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
    # And autocast does nothing where no GPU is.
    monkeypatch.setattr(torch.cuda.amp.common, "amp_definitely_not_available", lambda: False)
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda **_: True)
    monkeypatch.setattr(Packed, "targets", targets_of)
    sizes = (48, 64), (64, 48) if padded else (48, 64)
    images = [torch.zeros(3, height, width, dtype=torch.uint8) for height, width in sizes]
    samples = Samples(images, Packed.of(targets(*sizes)))
    with FakeTensorMode(allow_non_fake_inputs=True) as fake:
        on_fake_gpu(detector, fake)
        batch = detector.transfer_batch_to_device(samples, torch.device("cuda"), 0)
        lowered = precision is not torch.float32
        # Known of transformers: Deformable DETR copies the sizes of its levels.
        copies = nullcontext() if name.startswith("deformable_detr") else NoWaiting()
        with copies, torch.autocast("cuda", torch.bfloat16, enabled=lowered):
            yield detector, batch


@pytest.mark.parametrize("padded", [False, True])
@pytest.mark.parametrize("precision", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("name", first_of(NAMES))
def test_a_step_waits_for_nothing_but_the_match(
    name: str, precision: torch.dtype, padded: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    with fake_gpu(name, monkeypatch, precision, padded) as (detector, batch), Lowered() as lowered:
        output = detector._output(detector.detr.train(), batch, labels=detector.labels(batch))
    assert (output.loss.device.type, output.loss.dtype) == ("cuda", torch.float32)
    assert precision in lowered.seen["convolution"]
    assert torch.float32 in lowered.seen["addmm"]  # the decoder


@pytest.mark.parametrize("name", first_of([*NAMES, "d_fine"]))
def test_a_prediction_waits_for_nothing(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    with fake_gpu(name, monkeypatch, torch.bfloat16) as (detector, batch), torch.no_grad():
        detector.metrics.record._device = torch.device("cuda")
        detector.metrics.reset()
        output = detector._output(detector.detr.eval(), batch)
        predictions = detector._predictions(output, batch)
        truths = truths_in_pixels(batch.targets)
        detector.metrics.update(predictions, truths, [0, 1])
        assert all(kept[-1].device.type == "cuda" for kept in vars_of(detector.metrics.record))


def vars_of(record: DetectionRecord) -> list[list[torch.Tensor]]:
    return [getattr(record, name) for name in record._empty]


def test_labels_of_places_wait_for_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    with fake_gpu("rt_detr", monkeypatch, torch.float32) as (detector, batch):
        detector.place_labels = PlaceLabels(2)
        assert {label["class_labels"].device.type for label in detector.labels(batch)} == {"cuda"}
