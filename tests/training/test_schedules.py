import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from transformers import get_cosine_with_hard_restarts_schedule_with_warmup

from detr_diff.choices import Schedule
from detr_diff.training.schedules import factor


@pytest.mark.parametrize("cycles", [1, 2, 5])
def test_cosine_is_that_of_transformers(cycles: int) -> None:
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=1.0)
    schedule = get_cosine_with_hard_restarts_schedule_with_warmup(optimizer, 0, 100, cycles)
    for step in range(100):
        ours = factor(Schedule.cosine, step, 100, 0.0, cycles)
        assert ours == pytest.approx(schedule.get_last_lr()[0], abs=1e-9)
        optimizer.step()
        schedule.step()


@given(
    st.sampled_from(list(Schedule)),
    st.integers(1, 300),
    st.floats(0, 0.9),
    st.integers(1, 6),
    st.data(),
)
def test_the_factor_is_a_share(schedule: Schedule, steps: int, warmup: float, cycles: int, data) -> None:
    step = data.draw(st.integers(0, steps - 1))
    value = factor(schedule, step, steps, warmup, cycles)
    assert 0.0 < value <= 1.0


def test_the_rate_rises_first() -> None:
    values = [factor(Schedule.constant, step, 100, 0.1, 1) for step in range(12)]
    assert values == sorted(values)
    assert values[0] > 0
    assert values[9] < values[10] == 1.0
