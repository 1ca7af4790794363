"""Ranges of object size: those of COCO, and thirds of what the data has."""

import numpy as np

from detr_diff.evaluation.matching import ANY_SIZE
from detr_diff.evaluation.record import Floats, Ints, Record

Sizes = dict[str, tuple[float, float]]

COCO_SIZES: Sizes = {
    "small": (0.0, 32.0**2),
    "medium": (32.0**2, 96.0**2),
    "large": (96.0**2, 1e10),
}
THIRDS = ("smallest", "middle", "largest")
SAME = 2e-3  # areas of boxes of the same size differ by less: labels are rounded


def thirds(record: Record) -> Sizes:
    """Ranges of area in square pixels that each hold a third of the objects, no object in two.

    COCO's edges say little where all objects are small or all are large. Objects of the same size are
    in the same range.
    """
    areas = record.object_areas()
    if not len(areas):
        return dict.fromkeys(THIRDS, (0.0, np.inf))
    first, second = (float(edge) for edge in np.quantile(areas, [1 / 3, 2 / 3]) * (1 + SAME))
    above = [float(np.nextafter(edge, np.inf)) for edge in (first, second)]
    return dict(zip(THIRDS, [(0.0, first), (above[0], second), (above[1], np.inf)], strict=True))


def third_of(areas: Floats, sizes: Sizes) -> Ints:
    """Position in THIRDS of each area.

    Args:
        areas: In square pixels, [N].
        sizes: What `thirds` returned.
    """
    return np.searchsorted([sizes[name][1] for name in THIRDS[:-1]], areas)


def with_any(sizes: Sizes) -> tuple[tuple[float, float], ...]:
    """The ranges for `match`, that of any size first."""
    return (*ANY_SIZE, *sizes.values())
