"""A pretrained class head goes on finding our classes, which it has under other ids."""

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from detr_diff.evaluation.detection_metrics import DetectionMetrics
from detr_diff.model.architecture import Architecture, build_processor
from detr_diff.model.families import FAMILIES, Scores
from detr_diff.model.load import load_model
from tests.model.sources import pretrained

THEIRS = [f"thing {index}" for index in range(12)]
THEIRS[3], THEIRS[7], THEIRS[10] = "truck", "person", "car"
OURS = ["person", "car", "truck"]
ROWS = [7, 10, 3]
# RT-DETRv2 and D-FINE have RT-DETR's head, and are slower.
SIGMOID = [name for name, kind in FAMILIES.items() if kind.scores is Scores.sigmoid][:3]
# All places of a 64x64 image at which RT-DETR looks: with so many queries none has to be picked.
PLACES = 64 + 16 + 4


def detector(name: str, folder: Path) -> tuple[Path, Any]:
    """A folder and its model, in which queries differ from each other and see different things."""
    pretrained(name, THEIRS, folder, num_queries=PLACES)
    model, _, _ = load_model(name, THEIRS, pretrained=str(folder))
    torch.manual_seed(4)
    with torch.no_grad():
        for key, tensor in model.state_dict().items():
            if "query_position_embeddings" in key:
                tensor.normal_(std=2.0)
            elif "decoder" in key and key.endswith(("q_proj.weight", "k_proj.weight", "v_proj.weight")):
                tensor.mul_(4.0)
    heads = {"deformable_detr": "class_embed.0", "detr": "class_labels_classifier"}
    heads["conditional_detr"] = heads["detr"]
    head: Any = model.get_submodule(heads.get(name, "model.decoder.class_embed.1"))
    first = logits(model, torch.randn(4, 3, 64, 64)).flatten(0, 1)
    scale = 2.0 / first.std(0)
    with torch.no_grad():  # every class is as likely as another
        head.weight.mul_(scale[:, None])
        head.bias.sub_(first.mean(0)).mul_(scale)
        if len(scale) > len(THEIRS):
            # Most queries see no object, and the images show few things of other classes: a softmax
            # gives what it would have said for those to the classes that are left.
            head.bias[:-1] -= 4.0
            head.bias[ROWS] += 3.0
    model.save_pretrained(folder)
    return folder, model.eval()


@torch.no_grad()
def logits(model: nn.Module, images: Tensor) -> Tensor:
    return model.eval()(images).logits


def assert_same_rows(model: nn.Module, source: nn.Module, rows: list[int]) -> None:
    """Bit for bit, as what is computed from them is rounded by each processor in its way."""
    ours, theirs = model.state_dict(), source.state_dict()
    heads = [name for name in ours if ours[name].shape != theirs[name].shape]
    assert heads
    for name in heads:
        # Denoising has a row of its own for no class.
        assert torch.equal(ours[name][: len(rows)], theirs[name][rows]), name


@pytest.mark.parametrize("name", SIGMOID)
def test_sigmoid_scores_of_our_classes_are_the_source_s_own(name: str, tmp_path: Path) -> None:
    folder, source = detector(name, tmp_path)
    model, _, report = load_model(name, OURS, pretrained=str(folder))
    assert report.classes == dict(zip(OURS, OURS, strict=True))
    images = torch.randn(2, 3, 64, 64)
    theirs, ours = logits(source, images)[..., ROWS], logits(model, images)
    if name in ("rt_detr", "rt_detr_v2", "d_fine"):
        # Their queries are ordered by the best class, and there are fewer classes now.
        ours, theirs = ours.sort(1).values, theirs.sort(1).values
    torch.testing.assert_close(ours, theirs, atol=1e-3, rtol=0)
    assert_same_rows(model, source, ROWS)


def test_softmax_scores_are_the_source_s_without_the_other_classes(tmp_path: Path) -> None:
    folder, source = detector("detr", tmp_path)
    model, _, _ = load_model("detr", OURS, pretrained=str(folder))
    images = torch.randn(2, 3, 64, 64)
    theirs, ours = logits(source, images), logits(model, images)
    torch.testing.assert_close(ours, theirs[..., [*ROWS, -1]], atol=1e-4, rtol=0)
    assert_same_rows(model, source, [*ROWS, -1])
    shares = theirs.softmax(-1)[..., [*ROWS, -1]]
    torch.testing.assert_close(ours.softmax(-1), shares / shares.sum(-1, keepdim=True))


def average_precision(predictions: list[dict[str, Tensor]], truth: list[dict[str, Tensor]]) -> float:
    metrics = DetectionMetrics(OURS)
    metrics.update(predictions, truth, range(len(truth)))
    return float(metrics.compute()[0]["map_50"])


@torch.no_grad()
def found(model: Any, architecture: Architecture, images: Tensor) -> list[dict[str, Tensor]]:
    """Prediction dicts, in which each query has a place of its own."""
    output = model.eval()(images)
    if not architecture.family.startswith("rt"):
        centre = (torch.arange(PLACES) + 0.5) / PLACES
        boxes = torch.stack([centre, centre, torch.full((PLACES,), 0.01), torch.full((PLACES,), 0.01)], 1)
        output.pred_boxes = boxes.expand(len(images), -1, -1)
    sizes = torch.tensor([[64, 64]] * len(images))
    return build_processor(architecture).post_process_object_detection(output, 0.0, sizes)


@pytest.mark.parametrize("name", ["detr", "rt_detr"])
def test_average_precision_before_any_training(name: str, tmp_path: Path) -> None:
    """What the source finds of our classes with high scores is the truth, so its own AP50 is 1."""
    folder, source = detector(name, tmp_path)
    images = torch.randn(12, 3, 64, 64)
    _, architecture, _ = load_model(name, THEIRS, pretrained=str(folder))
    own = []
    for prediction in found(source, architecture, images):
        kept = torch.isin(prediction["labels"], torch.tensor(ROWS))
        row = {key: value[kept] for key, value in prediction.items()}
        own.append({**row, "labels": (row["labels"][:, None] == torch.tensor(ROWS)).int().argmax(1)})
    limit = torch.cat([row["scores"] for row in own]).quantile(0.8)
    truth = [{key: row[key][row["scores"] > limit] for key in ("boxes", "labels")} for row in own]

    by_name = load_model(name, OURS, pretrained=str(folder))
    fresh = load_model(name, OURS, pretrained=str(folder), transfer={"class_head": "fresh"})
    assert average_precision(own, truth) > 0.95
    assert average_precision(found(*by_name[:2], images), truth) >= 0.8 * average_precision(own, truth)
    assert average_precision(found(*fresh[:2], images), truth) < 0.2
