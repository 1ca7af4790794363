"""How often one line of arithmetic tells from the frames which place a true box is.

python experiments/places/edges.py DATA
"""

import sys
from pathlib import Path

import cv2
import numpy as np

from detr_diff.data.check import check
from detr_diff.data.description import read_description
from detr_diff.data.discovery import discover

if __name__ == "__main__":
    root = Path(sys.argv[1])
    stronger, brighter = [], []
    for item in check(discover(root), read_description(root).names).pairs:
        frames = [cv2.imread(str(path)).astype(np.float32) for path in (item.pair.before, item.pair.after)]
        edges = [np.hypot(cv2.Sobel(f, -1, 1, 0), cv2.Sobel(f, -1, 0, 1)) for f in frames]
        size = np.array([item.width, item.height] * 2)
        for box, place in zip(item.labels.boxes * size, item.labels.places, strict=True):
            x0, y0, x1, y1 = np.concatenate([box[:2] - box[2:] / 2, box[:2] + box[2:] / 2]).astype(int)
            inside = np.s_[y0 : y1 + 1, x0 : x1 + 1]
            for rule, pictures in ((stronger, edges), (brighter, frames)):
                rule.append((pictures[1][inside].mean() > pictures[0][inside].mean()) == bool(place))
    print(f"{len(stronger)} boxes; the object is in the frame with stronger edges: {np.mean(stronger):.3f}")
    print(f"in the brighter frame: {np.mean(brighter):.3f}")
