from dataclasses import asdict

import yaml

from detr_diff.data.diff import Comparison
from detr_diff.model.load import load_model
from detr_diff.training.detector import Detector
from tests.conftest import ROOT


def test_nothing_is_frozen_before_the_stages_say_so() -> None:
    # What is frozen when DDP wraps the model is never in sync: two processes drifted apart after the thaw.
    settings = yaml.safe_load((ROOT / "conf/model/detr_tiny.yaml").read_text())
    model, architecture, _ = load_model("detr", ["a"], config=settings["config"])
    assert not all(parameter.requires_grad for parameter in model.parameters()), "transformers froze some"
    stages = {"all": {"epochs": 1, "learn": "all"}}
    detector = Detector(asdict(architecture), Comparison().settings(), stages, detr=model)
    assert all(parameter.requires_grad for parameter in detector.detr.parameters())
