import pytest

from detr_diff.training.monitor_guard import less_is_better


@pytest.mark.parametrize(
    "figure", ["val/loss", "val/loss_giou", "val/loss_ce", "val/cardinality_error", "loss"]
)
def test_of_these_less_is_better(figure: str) -> None:
    assert less_is_better(figure)


@pytest.mark.parametrize("figure", ["val/map", "val/map_50/lost_car", "val/f1", "val/score_threshold"])
def test_of_these_more_is_better(figure: str) -> None:
    assert not less_is_better(figure)
