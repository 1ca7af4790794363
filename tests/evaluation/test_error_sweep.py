from hypothesis import given, settings
from hypothesis import strategies as st

from detr_diff.evaluation.error_parts import KINDS, find_errors
from detr_diff.evaluation.error_sweep import error_sweep
from detr_diff.evaluation.score_sweep import SCORE_THRESHOLDS
from tests.evaluation.scenes import record, scene


@settings(max_examples=20)
@given(st.integers(0, 10_000), st.booleans(), st.integers(0, len(SCORE_THRESHOLDS) - 1))
def test_the_sweep_is_what_is_found_at_each_threshold(seed: int, whole: bool, place: int) -> None:
    own = record(*scene(seed, whole=whole))
    sweep, threshold = error_sweep(own), SCORE_THRESHOLDS[place]
    shown = own.above(threshold)
    found = find_errors(shown)
    assert dict(zip(KINDS, sweep.counts[place].tolist(), strict=True)) == found.counts()
    assert (sweep.kind[: len(own.labels)][own.scores.round(6) >= threshold] == found.kind).all()
    assert ((sweep.found.round(6) >= threshold) == found.found).all()
