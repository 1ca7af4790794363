"""Metrics and predictions of the reference pipeline."""

import json
import time

import numpy as np
import torch
from PIL import Image, ImageDraw
from reference_data import collate
from torch.utils.data import DataLoader
from torchmetrics.detection import MeanAveragePrecision
from torchvision.ops import box_convert, box_iou
from transformers.modeling_outputs import ModelOutput

IOUS = (0.5, 0.75, 0.9)
SCORES = tuple(round(0.1 * step, 1) for step in range(1, 10))
THRESHOLD = 0.5


def compute_metrics(prediction, processor, dataset):
    """AP as COCO has it, and F1 from the table of IoU and score thresholds."""
    found, truths = [], []
    for outputs, targets in zip(prediction.predictions, prediction.label_ids, strict=True):
        logits, boxes = (torch.as_tensor(outputs[place]) for place in (1, 2))
        sizes = torch.stack([torch.as_tensor(target["orig_size"]) for target in targets])
        output = ModelOutput(logits=logits, pred_boxes=boxes)
        found += processor.post_process_object_detection(output, threshold=0.0, target_sizes=sizes)
        for target, size in zip(targets, sizes, strict=True):
            scale = size.flip(0).repeat(2)
            corners = box_convert(torch.as_tensor(target["boxes"]).reshape(-1, 4), "cxcywh", "xyxy") * scale
            truths.append({"boxes": corners, "labels": torch.as_tensor(target["class_labels"])})
    return figures(found, truths)


def figures(found, truths):
    """AP and the table of precision, recall and F1."""
    metric = MeanAveragePrecision()
    metric.warn_on_many_detections = False
    metric.update(found, truths)
    average = metric.compute()
    best = max(f1 for (iou, _), (_, _, f1) in rates(found, truths).items() if iou == IOUS[0])
    return {"map": float(average["map"]), "map_50": float(average["map_50"]), "f1": best}


def rates(found, truths):
    """Precision, recall and F1 by IoU and score; IoUs are computed once for all thresholds."""
    ious = []
    for own, truth in zip(found, truths, strict=True):
        same = own["labels"][:, None] == truth["labels"][None]
        ious.append(np.where(same, box_iou(own["boxes"], truth["boxes"]).numpy(), 0.0))
    scores = [own["scores"].numpy() for own in found]
    objects = sum(len(truth["labels"]) for truth in truths)
    result = {}
    for iou in IOUS:
        for score in SCORES:
            hits = made = 0
            for overlap, own in zip(ious, scores, strict=True):
                chosen = np.flatnonzero(own >= score)
                made += len(chosen)
                hits += matched(overlap, chosen[np.argsort(-own[chosen], kind="stable")], iou)
            precision, recall = hits / max(made, 1), hits / max(objects, 1)
            f1 = 2 * precision * recall / max(precision + recall, 1e-9)
            result[iou, score] = precision, recall, f1
    return result


def matched(overlap, order, iou):
    """True positives of one image: each prediction takes the best object that is still free."""
    if not overlap.shape[1]:
        return 0
    free = np.ones(overlap.shape[1], bool)
    hits = 0
    for row in order:
        best = np.where(free, overlap[row], 0.0)
        place = int(best.argmax())
        if best[place] >= iou:
            free[place] = False
            hits += 1
    return hits


def measure_metrics(job, turns):
    """The metrics alone, on predictions that are there already."""
    found, truths = torch.load(job["data"])
    figures(found[:10], truths[:10])
    turns.ready()
    for _ in range(job["turns"]):
        turns.begin()
        start = time.perf_counter()
        result = figures(found, truths)
        turns.end(seconds=time.perf_counter() - start, map=result["map"])


@torch.no_grad()
def detections(model, dataset, job, out):
    """Write predictions.json and a picture for each pair; returns how many objects were found."""
    model.to(job["device"]).eval()
    (out / "overlays").mkdir(parents=True)
    flags = job["flags"]
    loader = DataLoader(
        dataset, job["batch_size"], collate_fn=collate, num_workers=flags.get("dataloader_num_workers", 0)
    )
    rows, index = [], 0
    for batch in loader:
        pixels, mask = (batch[key].to(job["device"]) for key in ("pixel_values", "pixel_mask"))
        with torch.autocast(job["device"], torch.bfloat16, enabled=bool(flags.get("bf16"))):
            output = model(pixel_values=pixels, pixel_mask=mask)
        sizes = torch.stack([target["orig_size"] for target in batch["labels"]])
        found = dataset.processor.post_process_object_detection(
            output, threshold=THRESHOLD, target_sizes=sizes
        )
        for own in found:
            picture = Image.fromarray(dataset.diff(index))
            pen = ImageDraw.Draw(picture)
            objects = (own[key].tolist() for key in ("boxes", "scores", "labels"))
            for box, score, label in zip(*objects, strict=True):
                pen.rectangle(box, outline=(255, 128, 0), width=2)
                pen.text(box[:2], f"{model.config.id2label[label]} {score:.2f}")
                rows.append({"pair": index, "box": box, "score": score, "class": label})
            picture.save(out / "overlays" / f"{index}.png")
            index += 1
    (out / "predictions.json").write_text(json.dumps(rows))
    return len(rows)
