from dataclasses import asdict
from types import SimpleNamespace

import pytest
import torch
import yaml

from detr_diff.choices import Normalize
from detr_diff.data.batch import Batch, Contents, Packed, Samples, contents
from detr_diff.data.diff import Comparison
from detr_diff.model.architecture import Architecture
from detr_diff.model.load import load_model
from detr_diff.training.detector import Detector
from tests.conftest import ROOT
from tests.model.tiny_models import build as tiny


def build() -> Detector:
    settings = yaml.safe_load((ROOT / "conf/model/detr_tiny.yaml").read_text())
    model, architecture, _ = load_model("detr", ["a"], config=settings["config"])
    stages = {"all": {"epochs": 1, "learn": "all"}}
    return Detector(asdict(architecture), Comparison().settings(), stages, detr=model)


def test_nothing_is_frozen_before_the_stages_say_so() -> None:
    # What is frozen when DDP wraps the model is never in sync: two processes drifted apart after the thaw.
    settings = yaml.safe_load((ROOT / "conf/model/detr_tiny.yaml").read_text())
    model, architecture, _ = load_model("detr", ["a"], config=settings["config"])
    assert not all(parameter.requires_grad for parameter in model.parameters()), "transformers froze some"
    stages = {"all": {"epochs": 1, "learn": "all"}}
    detector = Detector(asdict(architecture), Comparison().settings(), stages, detr=model)
    assert all(parameter.requires_grad for parameter in detector.detr.parameters())


def test_the_host_keeps_what_only_it_looks_at() -> None:
    target = {
        "boxes": torch.rand(2, 4),
        "class_labels": torch.tensor([0, 0]),
        "places": torch.tensor([-1, -1]),
        "objects": torch.tensor([-1, -1]),
        "size": torch.tensor([64, 64]),
        "index": torch.tensor([3]),
        "padding": torch.tensor([False]),
        "aligned": torch.tensor([True]),
    }
    batch = Samples([torch.zeros(3, 64, 64, dtype=torch.uint8)], Packed.of([target]))
    # A device without values: looking at a tensor there fails.
    moved = build().transfer_batch_to_device(batch, torch.device("meta"), 0)
    assert contents(moved) == Contents(objects=2, samples=1)
    elsewhere = {key for key, value in moved.targets[0].items() if value.is_meta}
    assert elsewhere == {"boxes", "class_labels", "places", "objects"}
    assert moved.images.is_meta


def test_boxes_are_of_the_picture_although_the_model_takes_padding_for_it() -> None:
    """RT-DETR looks at no mask: what it says is relative to the padded batch."""
    torch.manual_seed(0)
    for family, scaled in (("rt_detr", True), ("detr", False)):
        model, own = tiny(family)
        architecture = Architecture(family, model.config.to_dict(), {}, live_batch_norm=True)
        detector = object.__new__(Detector)
        torch.nn.Module.__init__(detector)
        detector.family, detector.place_labels, detector.architecture = own, None, architecture
        target = {
            "boxes": torch.tensor([[0.5, 0.5, 0.2, 0.4]]),
            "class_labels": torch.tensor([0]),
            "size": torch.tensor([96, 128]),
        }
        # The picture is the left half of what the model gets, and three quarters of its height.
        batch = Batch(torch.zeros(1, 3, 64, 64), None, [target], shares=torch.tensor([[0.75, 0.5]]))
        (label,) = detector.labels(batch)
        expected = [0.25, 0.375, 0.1, 0.3] if scaled else [0.5, 0.5, 0.2, 0.4]
        assert label["boxes"][0].tolist() == pytest.approx(expected)
        # A model that has learnt it says it, and the box is where it was in the frame.
        output = SimpleNamespace(logits=torch.tensor([[[9.0, -9, -9]]]), pred_boxes=label["boxes"][None])
        (found,) = detector._predictions(output, batch)
        assert found["boxes"][0].tolist() == pytest.approx([51.2, 28.8, 76.8, 67.2], rel=1e-4)


def test_the_last_window_of_an_epoch_counts_in_full() -> None:
    """Lightning divides each loss by the batches of a whole window; the last one may have fewer."""
    detector = build().eval()
    detector.normalize = Normalize.batch
    detector._trainer = SimpleNamespace(accumulate_grad_batches=4, num_training_batches=5, world_size=1)
    target = {"boxes": torch.tensor([[0.5, 0.5, 0.2, 0.2]]), "class_labels": torch.tensor([0])}
    target |= {"size": torch.tensor([64, 64]), "padding": torch.tensor([False])}
    batch = Batch(torch.rand(1, 3, 64, 64), None, [target])
    whole, alone = (float(detector.training_step(batch, index).detach()) for index in (0, 4))
    assert alone == pytest.approx(4 * whole, rel=1e-5)
    filler = batch._replace(targets=[target | {"padding": torch.tensor([True])}])
    assert float(detector.training_step(filler, 0).detach()) == 0
