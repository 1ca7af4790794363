import base64
import csv
import io
import json
import re
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from detr_diff.evaluation.confusion import Confusion
from detr_diff.evaluation.error_sweep import error_sweep
from detr_diff.evaluation.matching import match
from detr_diff.evaluation.overlap import overlaps
from detr_diff.report.gallery import chosen_pairs
from detr_diff.report.html import PAGE, SCRIPTS, STYLES
from detr_diff.report.learning import learning_curves, stage_tables, transfer_table
from detr_diff.report.paper_figures import draw_figures
from detr_diff.report.robustness import robustness_curves
from detr_diff.report.score_curves import precision_recall
from detr_diff.report.thumbnails import MOST, Budget, thumbnails
from tests.evaluation.naive import naive
from tests.evaluation.scenes import CLASSES, NAMES, record, scene


def test_the_page_is_one_file_with_figures_beside_it(report_dir: Path) -> None:
    names = ("index.html", "pr_curve.png", "f1_curve.png", "heat_map.png", "confusion.png")
    assert {path.name for path in report_dir.iterdir()} == set(names)
    for name in names[1:]:
        with Image.open(report_dir / name) as image:
            assert min(image.size) >= 400
            assert len(np.unique(np.asarray(image.convert("L")))) > 10
    text = (report_dir / "index.html").read_text()
    assert not re.findall(r"""(?:src|href)=["'](?!data:|#)[^"']*""", text.split('id="data"')[0])
    assert text.count("<script") == 2  # the data and the program; names from the data are escaped
    page = json.loads(re.search(r'id="data">(.*?)</script>', text, re.S)[1])
    picture = page["pairs"][0]["frames"][1]
    with Image.open(io.BytesIO(base64.b64decode(picture.partition(",")[2]))) as image:
        assert image.size == (160, 128)


def test_every_file_of_the_page_is_used() -> None:
    assert {path.name for path in PAGE.iterdir()} == {*STYLES, *SCRIPTS, "index.html.jinja"}
    for path in PAGE.iterdir():
        assert len(path.read_text().splitlines()) <= 300


def noise(seed: int, height: int = 300, width: int = 400) -> torch.Tensor:
    pixels = np.random.default_rng(seed).integers(0, 255, (3, height, width), np.uint8)
    return torch.from_numpy(pixels)


@pytest.mark.parametrize(("pairs", "left"), [(1, 10_000_000), (4, 400_000), (4, 60_000), (3, 500)])
def test_pictures_keep_to_their_bytes(pairs: int, left: int) -> None:
    """Noise is what JPEG can do least with."""
    budget, used, made = Budget(pairs, left), 0, 0
    for seed in range(pairs):
        before, after, diff = thumbnails([None, noise(seed), noise(seed + 9)], budget)
        assert before is None
        assert (after is None) == (diff is None)
        for uri in (after, diff):
            if uri is not None:
                data = base64.b64decode(uri.removeprefix("data:image/jpeg;base64,"))
                used, made = used + len(data), made + 1
                with Image.open(io.BytesIO(data)) as image:
                    assert image.width / image.height == pytest.approx(4 / 3, rel=0.05)
    assert used <= min(left, pairs * MOST)
    assert made == (0 if left == 500 else 2 * pairs)


def test_a_small_frame_is_not_enlarged() -> None:
    (uri,) = thumbnails([noise(1, 30, 40)], Budget(1))
    with Image.open(io.BytesIO(base64.b64decode(uri.partition(",")[2]))) as image:
        assert image.size == (40, 30)


def test_of_many_pairs_the_worst_and_the_best_are_shown() -> None:
    truth = {"boxes": torch.tensor([[0.0, 0, 9, 9]]), "labels": torch.tensor([0])}
    wrong = {
        "boxes": torch.tensor([[50.0, 0, 59, 9]]),
        "scores": torch.tensor([0.9]),
        "labels": torch.tensor([0]),
    }
    right = {**wrong, "boxes": truth["boxes"]}
    own = record([wrong if place in (3, 7, 8) else right for place in range(10)], [truth] * 10)
    sweep = error_sweep(own)
    assert chosen_pairs(own, sweep, 0.5, 10).tolist() == list(range(10))
    assert set(chosen_pairs(own, sweep, 0.5, 4).tolist()) > {3, 7, 8}
    assert len(chosen_pairs(own, sweep, 0.5, 4)) == 4


@settings(max_examples=6)
@given(st.integers(0, 10_000), st.sampled_from([0.5, 0.75]))
def test_a_curve_goes_through_what_plain_counting_finds(seed: int, iou: float) -> None:
    predictions, truths = scene(seed, images=3)
    own = record(predictions, truths)
    curves = precision_recall(match(own, overlaps(own)), CLASSES)
    row = curves[0][round((iou - 0.5) / 0.05)]
    for recall, precision in row[:: max(1, len(row) // 3)]:
        score = _score_of(own.scores, predictions, truths, iou, recall)
        right, made, objects = naive(predictions, truths, iou, score)
        assert recall == pytest.approx(right / objects, abs=1e-4)
        assert precision == pytest.approx(right / made, abs=1e-4)


def _score_of(scores: np.ndarray, predictions: list, truths: list, iou: float, recall: float) -> float:
    """The highest score down to which the recall is reached."""
    for score in sorted({round(float(one), 6) for one in scores}, reverse=True):
        right, _, objects = naive(predictions, truths, iou, score)
        if right / objects >= recall - 1e-4:
            return score
    raise AssertionError(recall)


def test_a_run_tells_how_it_learned(tmp_path: Path) -> None:
    (tmp_path / "config.yaml").write_text(yaml.safe_dump({"stages": {"heads": {}, "whole": {}}}))
    columns = (
        "step",
        "stage",
        "trainable_parameters",
        "trainable/decoder",
        "trainable/stem",
        "peak_lr/decoder",
    )
    columns = (*columns, "peak_lr/stem", "lr/decoder", "lr/stem", "train/loss", "val/map", "train/loss_ce")
    rows = [
        {"step": 0, "stage": 1.0, "trainable_parameters": 7, "trainable/decoder": 7, "trainable/stem": 0}
        | {"peak_lr/decoder": 1e-3, "peak_lr/stem": 0},
        *(
            {"step": 10 * k, "train/loss": 5.0 - k, "lr/decoder": 1e-3 / k, "lr/stem": 1e-3 / k}
            for k in (1, 2, 3)
        ),
        {"step": 30, "stage": 2.0, "trainable_parameters": 10, "trainable/decoder": 7, "trainable/stem": 3}
        | {"peak_lr/decoder": 1e-4, "peak_lr/stem": 1e-5},
        {"step": 60, "val/map": 0.5, "train/loss_ce": 1.0},
        # Of a step that was left out, and of a validation without objects.
        {"step": 70, "val/map": "nan", "train/loss": "nan", "train/loss_ce": "inf"},
    ]
    with (tmp_path / "metrics.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, columns)
        writer.writeheader()
        writer.writerows(rows)
    curves = learning_curves(tmp_path)
    assert curves["stages"] == [
        {"name": "heads", "first": 0, "last": 30},
        {"name": "whole", "first": 30, "last": 70},
    ]
    charts = {chart["title"]: chart["series"] for chart in curves["charts"]}
    assert charts["Loss"] == [{"name": "train/loss", "points": [(10.0, 4.0), (20.0, 3.0), (30.0, 2.0)]}]
    assert json.dumps(charts, allow_nan=False)
    assert [series["name"] for series in charts["Learning rate by block"]] == ["all blocks"]
    assert [series["name"] for series in charts["Parts of the training loss"]] == ["ce"]
    first, second = stage_tables(tmp_path)
    assert first.title == "Stage 1: heads, from step 0"
    assert first.rows == [["decoder", "7", "0.001"], ["stem", "0", "frozen"], ["all", "7", ""]]
    assert second.rows[1] == ["stem", "3", "1e-05"]
    assert transfer_table(tmp_path) is None


def test_disturbances_are_drawn_by_level_and_registration(report_dir: Path, tmp_path: Path) -> None:
    shift, swap = robustness_curves(report_dir.parent / "robustness.csv")
    assert (shift["disturbance"], shift["levels"]) == ("shift", ["0", "2"])
    assert shift["series"]["phase"] == {"map_50": [0.9, 0.7], "map": [0.5, 0.5], "f1": [0.6, 0.6]}
    assert swap["series"] == {"<b>": {"map_50": [None], "map": [None], "f1": [0.25]}}
    assert robustness_curves(tmp_path / "none.csv") == []


def test_the_picture_of_many_classes_does_not_grow_with_them(tmp_path: Path) -> None:
    own = record(*scene(4, images=10))
    names = [f"class {number}" for number in range(60)]
    many = Confusion([*names, "background"], np.eye(61, dtype=np.int64), 0.5, 0.5)
    draw_figures(tmp_path, match(own, overlaps(own)), NAMES, 0.5, many)
    with Image.open(tmp_path / "confusion.png") as picture:
        assert max(picture.size) <= 2400
