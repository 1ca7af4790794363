"""`detr-diff predict`: boxes of what moved."""

import json
import logging
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import torch
from omegaconf import DictConfig
from rich.table import Table

from detr_diff.choices import PLACES, OnError
from detr_diff.compose import plain
from detr_diff.data.batch import collate
from detr_diff.data.check import check
from detr_diff.data.dataset import MovedObjectDataset
from detr_diff.data.discovery import Discovery, discover
from detr_diff.data.frame_pair import FramePair, FramePairs
from detr_diff.data.labelled_pairs import LabelledPairs
from detr_diff.data.loading import build_loader
from detr_diff.errors import SettingError
from detr_diff.evaluation.linking import NONE
from detr_diff.evaluation.overlays import above, draw, file_name, write
from detr_diff.text import render
from detr_diff.training.detector import Detector
from detr_diff.training.place_callback import with_links
from detr_diff.training.run import build_trainer, load_detector, quiet

log = logging.getLogger(__name__)


def run(settings: DictConfig) -> int:
    """Predict one pair or a set; write predictions.json and an overlay PNG for each pair."""
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    quiet()
    out = Path(settings.out)
    if (out / "predictions.json").exists():
        raise SettingError(f"{out}/predictions.json exists and is never overwritten; choose another out=...")
    detector, trained = load_detector(settings.ckpt_path)
    threshold = detector.threshold if settings.threshold is None else settings.threshold
    if not 0.0 <= threshold <= 1.0:
        raise SettingError(f"threshold={threshold}: a score from 0 to 1")
    pairs = _pairs(settings, detector, trained)
    dataset = MovedObjectDataset(pairs, detector.comparison, detector.processor)
    given = {key: value for key, value in plain(settings.data).items() if value is not None}
    size, workers = ({**trained, **given}[key] for key in ("batch_size", "num_workers"))
    padded = partial(collate, multiple=trained.get("pad_to", 1))
    loader = build_loader(dataset, workers, batch_size=size, collate_fn=padded)
    trainer = build_trainer(plain(settings)["trainer"], out)
    batches = trainer.predict(detector, loader)
    assert batches is not None
    found = [above(prediction, threshold) for batch in batches for prediction in batch]
    if detector.architecture.places:
        if any(pair.before is None for pair in pairs.frame_pairs()):
            log.warning("of a ready diff image the places are told apart, but not linked: give both frames")
        found = [with_links(prediction, dataset, index) for index, prediction in enumerate(found)]
    rows = _write(out, dataset, detector, found)
    _show(rows, len(pairs), out, threshold)
    return 0


def _pairs(settings: DictConfig, detector: Detector, trained: dict[str, Any]) -> LabelledPairs:
    single = settings.after is not None or settings.before is not None
    if single == (settings.data.root is not None):
        raise SettingError("give either before=... after=..., or data.root=...")
    if single:
        if settings.after is None:
            raise SettingError("before=... needs after=...")
        after = Path(settings.after)
        before = None if settings.before is None else Path(settings.before)
        pair = FramePair(after.stem.removesuffix("_after"), before, after, None)
        found = Discovery(FramePairs(Path(), [pair]))
    else:
        given = plain(settings.data)
        found = discover(
            Path(given["root"]).expanduser(),
            pairs=given["pairs"],
            labels=given["labels"],
            scene=given["scene"],
            labelled=False,
        )
        found.pairs = FramePairs(Path(given["root"]), (replace(pair, label=None) for pair in found.pairs))
    report = check(found, detector.names, needs_frames=detector.comparison.diff.needs_frames)
    on_error = OnError(settings.data.on_error or trained["on_error"])
    return report.accept(settings.data.root or "the pair", on_error)[: settings.data.subset]


def _write(
    out: Path, dataset: MovedObjectDataset, detector: Detector, found: list[dict[str, torch.Tensor]]
) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = []
    for index, prediction in enumerate(found):
        name = dataset.pairs[index].pair.name
        picture = draw(dataset.image(index), detector.names, prediction)
        write(out / "overlays" / f"{file_name(name)}.png", picture)
        objects = (prediction[key].tolist() for key in ("boxes", "scores", "labels"))
        first = len(rows)
        for box, score, label in zip(*objects, strict=True):
            corners = [round(value, 2) for value in box]
            row = {"pair": name, "box": corners, "class": detector.names[label]}
            rows.append(row | {"score": round(score, 4)})
        if "links" in prediction:
            linked = zip(prediction["places"].tolist(), prediction["links"].tolist(), strict=True)
            for row, (place, partner) in zip(rows[first:], linked, strict=True):
                row |= {"place": str(PLACES[place]), "link": None if partner == NONE else first + partner}
    (out / "predictions.json").write_text(json.dumps(rows, indent=1) + "\n", encoding="utf-8")
    return rows


def _show(rows: list[dict[str, Any]], pairs: int, out: Path, threshold: float) -> None:
    placed = bool(rows) and "place" in rows[0]
    own = ["row", "place", "other place"] if placed else []
    table = Table("pair", "class", "score", "x0", "y0", "x1", "y1", *own, title="what moved, boxes in pixels")
    for number, row in enumerate(rows[:40]):
        corners = (f"{value:.0f}" for value in row["box"])
        link = "-" if row.get("link") is None else f"row {row['link']}"
        places = [str(number), row["place"], link] if placed else []
        table.add_row(row["pair"], row["class"], f"{row['score']:.2f}", *corners, *places)
    print(render(table))
    if len(rows) > 40:
        print(f"... and {len(rows) - 40} more")
    print(f"{len(rows)} objects in {pairs} pairs with a score of at least {threshold:g}, written to {out}")
