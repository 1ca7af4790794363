"""Results on generated frames with planted predictions, as if a model had been evaluated."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
import yaml
from PIL import Image

from detr_diff.data.datamodule import MovedObjectDataModule
from detr_diff.data.diff import Comparison
from detr_diff.evaluation.analysis import analyse
from detr_diff.evaluation.detection_metrics import figures, more_figures
from detr_diff.model.threshold_blobs import unprocessed
from detr_diff.training.results import Results
from tests.evaluation.scenes import Boxes, record

WIDTH, HEIGHT = 160, 128
# What would be markup if it were not escaped.
NAMES = ["<script>alert(1)</script>", "car \"&' </script>", "bicycle"]


def write_pairs(root: Path, pairs: Sequence[str], names: Sequence[str], frames: bool = True) -> None:
    """A data folder of noise; frames=False: ready diff images."""
    generator = np.random.default_rng(0)
    (root / "dataset.yaml").write_text(yaml.safe_dump({"names": list(names)}))
    for pair in pairs:
        for role in ("_before", "_after") if frames else ("",):
            path = root / "images" / f"{pair}{role}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(generator.integers(0, 255, (HEIGHT, WIDTH, 3), np.uint8)).save(path)
        label = root / "labels" / f"{pair}.txt"
        label.parent.mkdir(parents=True, exist_ok=True)
        label.write_text("")


def results(
    root: Path, names: Sequence[str], predictions: Sequence[Boxes], truths: Sequence[Boxes], threshold: float
) -> Results:
    """As a model would leave them that predicts this on the pairs of a data folder, in order of names."""
    data = MovedObjectDataModule(str(root), list(names), unprocessed(), Comparison())
    data.setup()
    dataset = data.datasets["all"]
    own = record(predictions, truths)
    pairs = [dataset.pairs[index].pair for index in range(len(dataset))]
    assert [pair.name for pair in pairs] == sorted(pair.name for pair in pairs)
    scenes = [pair.scene for pair in pairs]
    found, _ = figures(own, names, threshold)
    return Results(
        found | more_figures(own, names, threshold),
        own,
        analyse(own, names, threshold, scenes, 20),
        [pair.name for pair in pairs],
        scenes,
        ["test"] * len(pairs),
        dataset,
        list(names),
        threshold,
    )


def boxes_of(image: dict) -> tuple[Boxes, Boxes]:
    """Prediction and truth of a row of ten_pairs.json."""
    prediction = {
        "boxes": torch.tensor(image["boxes"]).reshape(-1, 4),
        "scores": torch.tensor(image["scores"]),
        "labels": torch.tensor(image["labels"], dtype=torch.int64),
    }
    truth = {
        "boxes": torch.tensor(image["object_boxes"]).reshape(-1, 4),
        "labels": torch.tensor(image["object_labels"], dtype=torch.int64),
    }
    return prediction, truth
