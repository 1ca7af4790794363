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
from detr_diff.data.ahead import ahead, threads
from detr_diff.data.batch import collate
from detr_diff.data.check import check
from detr_diff.data.dataset import MovedObjectDataset
from detr_diff.data.discovery import discover
from detr_diff.data.frame_pair import FramePairs
from detr_diff.data.labelled_pairs import LabelledPairs
from detr_diff.data.loading import build_loader, evaluation_batch, worker_count
from detr_diff.errors import SettingError
from detr_diff.evaluation.detection_record import NO_NUMBERS
from detr_diff.evaluation.linking import NONE
from detr_diff.evaluation.overlays import above, draw, file_names, write
from detr_diff.text import render
from detr_diff.training.alignment_callback import UnalignedCallback
from detr_diff.training.detector import Detector
from detr_diff.training.moved_objects import single_pair
from detr_diff.training.place_callback import with_links
from detr_diff.training.process import prepare_process
from detr_diff.training.run import build_trainer, load_detector
from detr_diff.verbs.parts import with_trained

log = logging.getLogger(__name__)

SHOWN = 40  # objects in the table on the screen


def run(settings: DictConfig) -> int:
    """Predict one pair or a set; write predictions.json and an overlay PNG for each pair."""
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    prepare_process()
    out = Path(settings.out).expanduser()
    detector, trained = load_detector(settings.ckpt_path)
    threshold = detector.threshold if settings.threshold is None else settings.threshold
    pairs = _pairs(settings, detector, trained)
    dataset = MovedObjectDataset(pairs, detector.comparison, detector.processor)
    given = {key: value for key, value in plain(settings.data).items() if value is not None}
    arguments = with_trained(given, trained)
    workers = arguments["num_workers"]
    size = arguments.get("eval_batch_size") or evaluation_batch(dataset.sizes(), arguments["batch_size"])
    # One batch is loaded before a process has started.
    workers = min(worker_count(workers), len(dataset) // size)
    padded = partial(collate, multiple=trained.get("pad_to", 1))
    loader = build_loader(dataset, workers, batch_size=size, collate_fn=padded)
    unaligned = UnalignedCallback()
    trainer = build_trainer(plain(settings)["trainer"], out, detector, callbacks=[unaligned])
    if trainer.num_devices > 1:
        raise SettingError(f"trainer.devices={settings.trainer.devices}: predict takes one device")
    batches = trainer.predict(detector, loader)
    assert batches is not None
    predicted = [{key: value.cpu() for key, value in one.items()} for batch in batches for one in batch]
    if lost := sum(not all(one[key].isfinite().all() for key in ("scores", "boxes")) for one in predicted):
        log.warning(NO_NUMBERS, lost, len(predicted))
    if lost := len(unaligned.positions):
        log.warning("%d of %d pairs could not be aligned and were compared as they are", lost, len(predicted))
    found = [above(prediction, threshold) for prediction in predicted]
    if detector.architecture.places:
        if any(pair.before is None for pair in pairs.frame_pairs()):
            log.warning("ready diff images: places are predicted but not linked; that needs both frames")
        found = [with_links(prediction, dataset, index) for index, prediction in enumerate(found)]
    written = _write(out, dataset, detector, found, unaligned.positions)
    _show(written, out, threshold, placed=detector.architecture.places)
    return 0


def _pairs(settings: DictConfig, detector: Detector, trained: dict[str, Any]) -> LabelledPairs:
    if settings.after is not None:
        found = single_pair(settings.before, settings.after)
        if settings.before is None:
            log.info(
                "%s alone is taken as a ready diff image; before=... names the earlier frame", settings.after
            )
    else:
        root = Path(settings.data.root).expanduser()
        found = discover(root, pairs=settings.data.pairs, labelled=False)
        found.pairs = FramePairs(root, (replace(pair, label=None) for pair in found.pairs))
    report = check(found, detector.names, needs_frames=detector.comparison.diff.needs_frames)
    on_error = OnError(settings.data.on_error or trained["on_error"])
    return report.accept(settings.data.root or "the pair", on_error)[: settings.data.subset]


def _write(
    out: Path,
    dataset: MovedObjectDataset,
    detector: Detector,
    found: list[dict[str, torch.Tensor]],
    unaligned: set[int],
) -> list[dict[str, Any]]:
    """All pairs in their order, those without objects too; a link is the number of an object of the pair."""
    pairs: list[dict[str, Any]] = []
    for index, prediction in enumerate(found):
        name = dataset.pairs[index].pair.name
        columns = (prediction[key].tolist() for key in ("boxes", "scores", "labels"))
        objects: list[dict[str, Any]] = [
            {
                "box": [round(value, 2) for value in box],
                "class": detector.names[label],
                "score": round(score, 4),
            }
            for box, score, label in zip(*columns, strict=True)
        ]
        if "links" in prediction:
            linked = zip(prediction["places"].tolist(), prediction["links"].tolist(), strict=True)
            for thing, (place, partner) in zip(objects, linked, strict=True):
                thing |= {"place": str(PLACES[place]), "link": None if partner == NONE else partner}
        aligned = {"aligned": index not in unaligned} if detector.comparison.registers else {}
        pairs.append({"pair": name, **aligned, "objects": objects})
    out.mkdir(parents=True, exist_ok=True)
    (out / "predictions.json").write_text(json.dumps(pairs, indent=1) + "\n", encoding="utf-8")
    names = file_names([pair["pair"] for pair in pairs])

    def picture(index: int) -> None:
        drawn = draw(dataset.image(index), detector.names, found[index])
        write(out / "overlays" / f"{names[index]}.png", drawn)

    with threads() as pool:
        for _, written in ahead(range(len(found)), lambda index: pool.submit(picture, index)):
            written.result()
    return pairs


def _show(pairs: list[dict[str, Any]], out: Path, threshold: float, *, placed: bool) -> None:
    own = ["object", "place", "other place"] if placed else []
    table = Table("pair", "class", "score", "x0", "y0", "x1", "y1", *own, title="what moved, boxes in pixels")
    rows = [(pair["pair"], number, thing) for pair in pairs for number, thing in enumerate(pair["objects"])]
    for pair, number, thing in rows[:SHOWN]:
        corners = (f"{value:.0f}" for value in thing["box"])
        link = "-" if thing.get("link") is None else f"object {thing['link']}"
        places = [str(number), thing["place"], link] if placed else []
        table.add_row(pair, thing["class"], f"{thing['score']:.2f}", *corners, *places)
    print(render(table))
    if len(rows) > SHOWN:
        print(f"... and {len(rows) - SHOWN} more")
    print(
        f"{len(rows)} objects in {len(pairs)} pairs with a score of at least {threshold:g}, written to {out}"
    )
