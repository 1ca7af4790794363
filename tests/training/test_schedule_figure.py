from itertools import accumulate
from pathlib import Path

import numpy as np
import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from PIL import Image

from detr_diff.model.block_names import ALIASES, BLOCKS
from detr_diff.training.schedule_figure import COLOURS, Span, draw_schedule, drawn_steps, schedule_figure
from detr_diff.training.stages import StagePlan
from tests.conftest import ROOT

SPE = 7  # optimizer steps per epoch


def plan(name: str) -> tuple[StagePlan, list[Span]]:
    stages = StagePlan.from_settings(yaml.safe_load((ROOT / f"conf/stages/{name}.yaml").read_text()))
    return stages, [Span(stage.name, stage.epochs * SPE, stage.epochs) for stage in stages.stages]


def rates(stages: StagePlan, steps: list[int]) -> dict[str, list[float]]:
    timeline = stages.timeline(lambda stage: SPE)
    return {block: [timeline.rate(block, step) for step in steps] for block in BLOCKS}


def lines(figure: Figure) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """Label to the points of each drawn line."""
    return {str(line.get_label()): line.get_data() for line in figure.axes[0].lines if len(line.get_xdata())}


def legend(figure: Figure) -> list[str]:
    return [text.get_text() for text in figure.legends[0].get_texts()]


def drawn(line: tuple[np.ndarray, np.ndarray], step: int) -> float:
    """Height of a line in the middle of a step; nan where there is none."""
    x, y = line
    right = int(np.searchsorted(x, step + 0.5))
    left = right - 1
    if right == len(x):
        return np.nan
    share = (step + 0.5 - x[left]) / (x[right] - x[left])
    return y[left] + share * (y[right] - y[left])


@pytest.mark.parametrize("name", ["report", "gradual", "demo"])
def test_the_lines_are_the_rates(name: str) -> None:
    stages, spans = plan(name)
    every = list(range(stages.epochs * SPE))
    given_rates = rates(stages, every)
    found = lines(schedule_figure(spans, given_rates))
    shown = {block: label for label in found for block in label.split(", ")}
    assert set(shown) == set(BLOCKS)
    for block, values in given_rates.items():
        x, y = found[shown[block]]
        at = dict(zip(x[::-1], y[::-1], strict=True))  # the first of a doubled point
        for step, rate in zip(every, values, strict=True):
            if rate > 0:
                later = values[step + 1] if step + 1 < len(values) and values[step + 1] > 0 else rate
                middle = drawn((x, y), step)
                assert min(rate, later) <= middle * (1 + 1e-9)
                assert middle <= max(rate, later) * (1 + 1e-9)
                assert at[step] == rate or np.isnan(at[step])
            elif step == 0 or values[step - 1] == 0:
                assert np.isnan(drawn((x, y), step)), (block, step)


def test_equal_blocks_share_a_line_and_its_name() -> None:
    stages, spans = plan("gradual")
    given_rates = rates(stages, list(range(stages.epochs * SPE)))
    assert legend(schedule_figure(spans, given_rates)) == [
        "class_head, box_head",
        "input_projection, encoder, decoder, queries",
        "stem, layer1, layer2, layer3, layer4",
    ]
    short = schedule_figure(spans, given_rates, aliases=ALIASES)
    assert legend(short) == ["heads", "transformer", "backbone"]
    assert len(lines(short)) == 3
    given_rates["decoder"] = [2 * rate for rate in given_rates["decoder"]]
    assert set(legend(schedule_figure(spans, given_rates, aliases=ALIASES))) == {
        "heads",
        "input_projection, encoder, queries",
        "decoder",
        "backbone",
    }


def test_what_never_learns_is_named_without_a_line() -> None:
    figure = schedule_figure([Span("a", 4, 2)], {"stem": [0] * 4, "encoder": [1e-3] * 4, "layer1": [0] * 4})
    assert legend(figure) == ["encoder", "frozen: stem, layer1"]
    assert list(lines(figure)) == ["encoder"]


def test_one_step_between_two_frozen_ones_is_seen() -> None:
    figure = schedule_figure([Span("a", 3, 1)], {"encoder": [0, 1e-3, 0]})
    (line,) = lines(figure).values()
    assert [drawn(line, step) for step in range(3)] == pytest.approx([np.nan, 1e-3, np.nan], nan_ok=True)


@pytest.mark.parametrize(
    ("peaks", "scale"), [((1e-4, 5e-5), "linear"), ((1e-4, 1e-5), "linear"), ((1e-3, 1e-5), "symlog")]
)
def test_rates_that_are_decades_apart_have_a_log_axis(peaks: tuple[float, float], scale: str) -> None:
    fall = np.linspace(1, 1e-6, 50)  # the fall within a stage is no reason
    figure = schedule_figure([Span("a", 50, 5)], {"encoder": peaks[0] * fall, "decoder": peaks[1] * fall})
    axes = figure.axes[0]
    assert axes.get_yscale() == scale
    assert axes.get_ylim()[0] == 0
    assert axes.get_ylim()[1] > max(peaks)


def test_epochs_follow_the_batch_size_of_each_stage() -> None:
    spans = [Span("a", 100, 1), Span("b", 50, 5)]
    figure = schedule_figure(spans, {"encoder": [1e-3] * 150})
    (top,) = figure.axes[0].child_axes
    assert top.get_xlabel() == "epoch"
    forward, back = top._functions
    assert forward(np.array([0, 50, 100, 110, 150])) == pytest.approx([0, 0.5, 1, 2, 6])
    assert back(np.array([0, 0.5, 1, 2, 6])) == pytest.approx([0, 50, 100, 110, 150])


def test_stages_are_named_whatever_their_name() -> None:
    spans = [Span("a$_b^{", 1, 1), Span("[bold]", 400, 4), Span("_c", 5, 1)]
    figure = schedule_figure(spans, {"$x$_1": [1e-3] * 406})
    texts = [text for text in figure.axes[0].texts if text.get_text()]
    assert [text.get_text() for text in texts] == ["a$_b^{", "[bold]", "_c"]
    assert [text.get_rotation() for text in texts] == [90, 0, 90]
    figure.draw_without_rendering()  # would fail at a formula that makes no sense


def test_the_picture_shows_lines_where_blocks_learn_and_none_where_they_are_frozen(tmp_path: Path) -> None:
    stages, spans = plan("gradual")
    path = tmp_path / "schedule.png"
    path.write_text("an older one")
    steps = drawn_steps(spans)
    draw_schedule(path, spans, rates(stages, steps), steps, ALIASES)
    with Image.open(path) as image:
        pixels = np.asarray(image.convert("RGB")).astype(float)
    assert pixels.shape == (624, 1320, 3)
    # A line that a wider one lies under, so the last is seen whole: the backbone.
    colour = 255 * np.array(to_rgb(COLOURS[2]))
    rows, columns = np.nonzero(np.abs(pixels - colour).max(axis=2) < 12)
    inside = columns[rows < 520]  # the rest is the legend
    assert len(inside) > 500
    assert inside.min() > 1320 * 3 / 8  # it learns from epoch 30 of 80
    assert inside.max() > 1250


@given(
    st.lists(st.tuples(st.integers(1, 5000), st.integers(1, 9)), min_size=1, max_size=6), st.integers(1, 50)
)
def test_the_drawn_steps_hold_the_ends_of_every_stage(sizes: list[tuple[int, int]], most: int) -> None:
    spans = [Span("a", count, epochs) for count, epochs in sizes]
    steps = drawn_steps(spans, most)
    total = sum(span.steps for span in spans)
    assert steps == sorted(set(steps))
    assert 0 <= steps[0] <= steps[-1] == total - 1
    assert len(steps) <= most + 2 * len(spans)
    ends = list(accumulate(span.steps for span in spans))
    assert {end - 1 for end in ends} <= set(steps)
    assert set(ends[:-1]) <= set(steps)
    if total <= most:
        assert steps == list(range(total))


@settings(max_examples=15)
@given(
    st.lists(st.integers(1, 20), min_size=1, max_size=4),
    st.dictionaries(st.sampled_from(BLOCKS), st.integers(0, 3), min_size=1),
)
def test_every_block_is_in_the_legend_once(sizes: list[int], kinds: dict[str, int]) -> None:
    total = sum(sizes)
    figure = schedule_figure(
        [Span("a", size, 1) for size in sizes],
        {block: np.full(total, 1e-5 * 10**kind if kind else 0.0) for block, kind in kinds.items()},
    )
    names = [name for label in legend(figure) for name in label.removeprefix("frozen: ").split(", ")]
    assert sorted(names) == sorted(kinds)
    assert len(lines(figure)) == len({kind for kind in kinds.values() if kind})


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ([1e-3] * 3, "3 rates for 4 steps"),
        ([np.nan] * 4, "no number|not a number"),
        ([-1.0] * 4, "not a number"),
    ],
)
def test_wrong_rates_are_refused(values: list[float], message: str) -> None:
    with pytest.raises(ValueError, match=f"encoder: .*({message})"):
        schedule_figure([Span("a", 4, 1)], {"encoder": values})
