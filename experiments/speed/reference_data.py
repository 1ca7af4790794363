"""Frame pairs as the reference pipeline reads them."""

from pathlib import Path

import cv2
import numpy as np
import torch
from PIL import Image
from torch.utils.data import Dataset


class FramePairDataset(Dataset):
    """Diff images and targets of images/**/<id>_before.*, <id>_after.* and labels/**/<id>.txt."""

    def __init__(self, root, processor):
        root = Path(root)
        self.processor = processor
        self.samples = []
        frames = {path.with_suffix(""): path for path in (root / "images").rglob("*") if path.suffix}
        for label in sorted((root / "labels").rglob("*.txt")):
            stem = root / "images" / label.relative_to(root / "labels").with_suffix("")
            pair = [frames.get(stem.with_name(f"{stem.name}_{role}")) for role in ("before", "after")]
            if None not in pair:
                self.samples.append((*pair, label))

    def __len__(self):
        return len(self.samples)

    def diff(self, index):
        """|after - before| in the size of the frames, uint8 [H, W, 3]."""
        before, after = (np.asarray(Image.open(path).convert("RGB")) for path in self.samples[index][:2])
        return cv2.absdiff(before, after)

    def __getitem__(self, index):
        diff = self.diff(index)
        height, width = diff.shape[:2]
        annotations = []
        for line in self.samples[index][2].read_text().splitlines():
            label, cx, cy, w, h = map(float, line.split()[:5])
            box = [(cx - w / 2) * width, (cy - h / 2) * height, w * width, h * height]
            annotations.append(
                {"category_id": int(label), "bbox": box, "area": box[2] * box[3], "iscrowd": 0}
            )
        target = {"image_id": index, "annotations": annotations}
        encoded = self.processor(images=diff, annotations=target, return_tensors="pt")
        return {"pixel_values": encoded["pixel_values"][0], "labels": dict(encoded["labels"][0])}


def collate(samples):
    """Pad images of different sizes to the largest."""
    images = [sample["pixel_values"] for sample in samples]
    height, width = (max(image.shape[side] for image in images) for side in (1, 2))
    pixels = torch.zeros(len(images), 3, height, width)
    mask = torch.zeros(len(images), height, width, dtype=torch.long)
    for row, image in enumerate(images):
        pixels[row, :, : image.shape[1], : image.shape[2]] = image
        mask[row, : image.shape[1], : image.shape[2]] = 1
    return {"pixel_values": pixels, "pixel_mask": mask, "labels": [sample["labels"] for sample in samples]}
