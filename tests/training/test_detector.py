from dataclasses import asdict

import torch
import yaml

from detr_diff.data.batch import Contents, Packed, Samples, contents
from detr_diff.data.diff import Comparison
from detr_diff.model.load import load_model
from detr_diff.training.detector import Detector
from tests.conftest import ROOT


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
