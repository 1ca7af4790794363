"""The same picture in two splits: as the same file, or as a copy, also re-encoded or resized."""

import logging
from array import array
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt
from scipy.spatial import cKDTree
from torch import Tensor

from detr_diff.choices import Split
from detr_diff.data.frame_pair import FramePair
from detr_diff.data.image import read_image

log = logging.getLogger(__name__)

SIDE = 32  # of the small grey pictures
COEFFICIENTS = 8  # lowest frequencies of each axis
NEAR = 12.0  # distance of the coefficients: 0.4 grey levels everywhere
SAME = 10.0  # largest difference of two small pictures, in grey levels
CANDIDATES = 4
FINE = 256  # largest side of the grey pictures in which a moved object would be seen
SHRUNK = 4  # times smaller than the frames they are at least: compression is no difference
ALIKE = 0.3  # how far frames of one camera are from their median, against its size
SPLITS = (Split.train, Split.val, Split.test)


@dataclass(frozen=True)
class Repeated:
    """A frame of one split that another split has too.

    Attributes:
        pair: Name of a pair that it belongs to.
        path: Its file.
        split: The split of that pair.
        other_pair: Name of a pair of the other split.
        other_path: The file there; the same path when the file itself is shared.
        other_split: The other split, an earlier one of train, val and test.
    """

    pair: str
    path: Path
    split: str
    other_pair: str
    other_path: Path
    other_split: str


def fingerprint(frame: Tensor) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.uint8]]:
    """The perceptual hash of a frame before its signs are taken, and the picture it is made of.

    pHash (Zauner, "Implementation and benchmarking of perceptual image hash functions", 2010)
    keeps the signs of the lowest frequencies of a small grey picture. All frames of a fixed camera
    have nearly the same signs, so that here the values themselves are kept.

    Args:
        frame: uint8 [3, H, W], RGB.

    Returns:
        float32 [64], 8x8 coefficients of the orthonormal DCT; uint8 [32, 32], the grey picture.
    """
    pixels = np.ascontiguousarray(frame.permute(1, 2, 0).numpy())
    small = cv2.cvtColor(cv2.resize(pixels, (SIDE, SIDE), interpolation=cv2.INTER_AREA), cv2.COLOR_RGB2GRAY)
    lowest = cv2.dct(small.astype(np.float32))[:COEFFICIENTS, :COEFFICIENTS]
    return np.asarray(lowest, np.float32).ravel(), np.asarray(small, np.uint8)


def _copies(path: Path, other: Path) -> bool:
    """Whether two files show the same picture, also re-encoded or resized."""
    both = (read_image(one).permute(1, 2, 0).numpy() for one in (path, other))
    frames = [cv2.cvtColor(frame, cv2.COLOR_RGB2GRAY) for frame in both]
    side = max(SIDE, min(FINE, *(min(frame.shape) // SHRUNK for frame in frames)))
    one, two = (cv2.resize(frame, (side, side), interpolation=cv2.INTER_AREA) for frame in frames)
    difference = cv2.blur(cv2.subtract(one, two, dtype=cv2.CV_16S), (2, 2))
    return bool(np.abs(difference).max() <= SAME)


class Pictures:
    """The frames that were looked at, 1.3 kB each."""

    def __init__(self) -> None:
        self._seen: set[int] = set()  # hashes of (split, path)
        self._owners: list[tuple[str, Path, int]] = []
        self._coefficients: list[npt.NDArray[np.float32]] = []
        self._small: list[npt.NDArray[np.uint8]] = []

    def add(self, pair: str, path: Path, split: str | None, frame: Tensor) -> None:
        """Remember a frame, uint8 [3, H, W], once per split; of left out pairs nothing is kept."""
        if split is None or hash((split, path)) in self._seen:
            return
        self._seen.add(hash((split, path)))
        coefficients, small = fingerprint(frame)
        if np.linalg.norm(coefficients[1:]) < NEAR:  # all grey: nothing to know it by
            return
        self._owners.append((pair, path, SPLITS.index(Split(split))))
        self._coefficients.append(coefficients)
        self._small.append(small)

    def one_camera(self) -> bool:
        """Whether the frames vary little around their median, as those of one fixed camera do."""
        if len(self._coefficients) < 3:
            return False
        shapes = np.stack(self._coefficients)[:, 1:]  # without the brightness
        middle = np.median(shapes, axis=0)
        far = np.linalg.norm(shapes - middle, axis=1)
        return bool(np.median(far) < ALIKE * np.linalg.norm(middle))

    def repeated(self) -> list[Repeated]:
        """Frames of val and test of which an earlier split has a copy in another file.

        A k-d tree of the coefficients finds the candidates, so that not all pairs of frames are
        compared. The small pictures leave few of them, and of these the files are read again: frames
        of one camera in which only something small has moved are no copies.
        """
        if not self._owners:
            return []
        coefficients, small = np.stack(self._coefficients), np.stack(self._small).astype(np.int16)
        split = np.array([owner[2] for owner in self._owners])
        found = []
        for number in range(1, len(SPLITS)):
            own, earlier = np.nonzero(split == number)[0], np.nonzero(split < number)[0]
            if not len(own) or not len(earlier):
                continue
            tree = cKDTree(coefficients[earlier])
            _, near = tree.query(
                coefficients[own], k=min(CANDIDATES, len(earlier)), distance_upper_bound=NEAR
            )
            for index, candidates in zip(own.tolist(), near.reshape(len(own), -1), strict=True):
                others = earlier[candidates[candidates < len(earlier)]]
                others = [o for o in others if self._owners[o][1] != self._owners[index][1]]
                pair, path, _ = self._owners[index]
                same = (
                    o
                    for o in others
                    if np.abs(small[o] - small[index]).max() <= SAME and _copies(path, self._owners[o][1])
                )
                if (first := next(same, None)) is not None:
                    other_pair, other_path, other = self._owners[first]
                    found.append(Repeated(pair, path, SPLITS[number], other_pair, other_path, SPLITS[other]))
        return found


def shared_files(
    pairs: Sequence[FramePair], splits: Sequence[str | None], most: int = 100
) -> tuple[int, list[Repeated]]:
    """Frame files that pairs of two splits use.

    Args:
        pairs: The frame pairs.
        splits: The split of each; None for a pair that is left out.
        most: So many examples.

    Returns:
        The number of such files, and the first of them.
    """
    keys, codes = array("q"), array("b")
    for _, path, split in _files(pairs, splits):
        keys.append(hash(path))
        codes.append(SPLITS.index(Split(split)))
    if not keys:
        return 0, []
    unique, first, numbers = np.unique(np.array(keys, np.int64), return_index=True, return_inverse=True)
    used = np.zeros((len(unique), len(SPLITS)), bool)
    used[numbers, np.array(codes, np.int8)] = True
    shared = used.sum(axis=1) > 1
    # In the order of the pairs: hashes of strings differ from process to process.
    examples = unique[shared][np.argsort(first[shared])][:most].tolist()
    owners: dict[int, dict[str, tuple[str, Path]]] = {key: {} for key in examples}
    for name, path, split in _files(pairs, splits) if examples else ():
        if hash(path) in owners:
            owners[hash(path)].setdefault(split, (name, path))
    found = []
    for key in examples:
        other, split = sorted(owners[key], key=SPLITS.index)[:2]
        found.append(Repeated(*owners[key][split], split, *owners[key][other], other))
    return int(shared.sum()), found


def warn_of_shared_files(pairs: Sequence[FramePair], splits: Sequence[str | None]) -> None:
    """Say once when frames are learnt and judged, too; the arguments are those of `shared_files`."""
    number, examples = shared_files(pairs, splits, most=1)
    for one in examples:
        said = "%d frame files are used in two splits, as %s in %s and %s: figures come out too good; "
        remedy = "data.split_by=scene or time keeps them apart"
        log.warning(said + remedy, number, one.path.name, one.split, one.other_split)


def _files(pairs: Sequence[FramePair], splits: Sequence[str | None]) -> Iterator[tuple[str, Path, str]]:
    for pair, split in zip(pairs, splits, strict=True):
        if split is not None:
            for path in dict.fromkeys((pair.before or pair.after, pair.after)):
                yield pair.name, path, split
