"""How far loading processes go ahead."""

import pytest

from detr_diff.data.loading import build_loader


@pytest.mark.parametrize(
    ("workers", "ahead", "each"), [(0, 16, None), (1, 2, 2), (1, 16, 16), (4, 16, 4), (8, 4, 2), (3, 16, 6)]
)
def test_all_workers_together_load_a_window_ahead(workers: int, ahead: int, each: int | None) -> None:
    loader = build_loader([0] * 8, workers, ahead)
    assert (loader.num_workers, loader.prefetch_factor) == (workers, each)
