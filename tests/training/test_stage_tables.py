import pytest
import torch
from torch import nn
from torch.optim import AdamW

from detr_diff.errors import SettingError
from detr_diff.model.block_names import BLOCKS
from detr_diff.model.blocks import let_learn, parameter_groups, rate_groups
from detr_diff.model.families import Family
from detr_diff.model.selection import ParameterNames
from detr_diff.text import render
from detr_diff.training.rates import set_rates
from detr_diff.training.stage_tables import (
    plan_table,
    planned_rates,
    stage_figures,
    stage_rows,
    stage_table,
)
from detr_diff.training.stages import Stage, StagePlan
from tests.model.tiny_models import build, built

STAGES = {
    "top": {"epochs": 1, "learn": ["heads", "decoder[-1:]"], "lr": 1e-3, "schedule": "constant", "warmup": 0},
    "norms": {"epochs": 1, "learn": "/.*layer_?norm.*/", "lr": 1e-4, "schedule": "constant", "warmup": 0},
    "rest": {"epochs": 2, "freeze": ["backbone[:-2]"], "lr": {"all": 1e-3, "backbone": 1e-4}},
}


@pytest.fixture(scope="module")
def model() -> tuple[nn.Module, Family]:
    return build("detr")


def two(stage: Stage) -> int:
    return 2


def test_tables_say_what_learns(model: tuple[nn.Module, Family]) -> None:
    detr, family = model
    names = ParameterNames(detr, family)
    groups = rate_groups(names, {"decoder[-1:]": 0.5})
    plan = StagePlan.from_settings(STAGES).bound(names)
    sizes = {name: p.numel() for name, p in detr.named_parameters()}
    for stage in plan.stages:
        rows = stage_rows(detr, groups, stage)
        assert sum(row.tensors for row in rows) == len(sizes)
        assert sum(row.numbers for row in rows) == sum(sizes.values())
        let_learn(detr, family, stage.chosen)
        learning = [p for p in detr.parameters() if p.requires_grad]
        assert sum(row.learning for row in rows) == len(learning)
        figures = stage_figures(rows)
        assert figures["trainable_parameters"] == sum(p.numel() for p in learning)
    top = stage_rows(detr, groups, plan.stages[0])
    assert {row.group.label: row.rate for row in top if row.rate} == {
        "decoder x0.5": 5e-4,
        "class_head": 1e-3,
        "box_head": 1e-3,
    }
    text = render(stage_table(top, "stage 1"))
    assert "decoder x1" in text
    assert "frozen" in text
    planned = render(plan_table(plan.timeline(two), detr, groups))
    assert "heads, part of decoder" in planned
    assert "part of encoder, part of decoder" in planned


def test_constants_do_not_make_a_block_a_part() -> None:
    detr, family = built("d_fine")
    names = ParameterNames(detr, family)
    plan = StagePlan([Stage("a", 1)]).bound(names)
    text = render(plan_table(plan.timeline(two), detr, rate_groups(names)))
    assert " all " in text
    assert "part of" not in text


def test_rates_of_a_step_are_those_of_tables_and_curves(model: tuple[nn.Module, Family]) -> None:
    detr, family = model
    names = ParameterNames(detr, family)
    groups = rate_groups(names, layer_decay=0.5)
    plan = StagePlan.from_settings(STAGES).bound(names)
    timeline = plan.timeline(two)
    steps = list(range(timeline.steps))
    curves = planned_rates(groups, timeline, steps)
    assert [label.split()[0] for label in curves if label.endswith(" x1") or " " not in label]
    optimizer = AdamW([{**group, "lr": 0.0} for group in parameter_groups(detr, groups, 0.1)])
    for step in steps:
        let_learn(detr, family, timeline.at_step(step).stage.chosen)
        figures = set_rates(optimizer, timeline, step)
        assert set(figures) == {f"lr/{block}" for block in BLOCKS}
        for block in BLOCKS:
            highest = max(curve[step] for label, curve in curves.items() if label.split()[0] == block)
            assert figures[f"lr/{block}"] == pytest.approx(highest), (block, step)
    # Two layers in the decoder, one in the encoder: the projection is at 0.5 ** 4.
    assert "input_projection x0.0625" in curves
    assert curves["decoder x0.5"][0] == pytest.approx(5e-4)
    assert curves["decoder x0.25"][0] == 0.0


def test_the_groups_of_an_older_checkpoint_have_no_multiple(model: tuple[nn.Module, Family]) -> None:
    detr, family = model
    names = ParameterNames(detr, family)
    timeline = StagePlan([Stage("a", 1, schedule="constant", warmup=0.0)]).bound(names).timeline(two)
    let_learn(detr, family, names.blocks)
    optimizer = AdamW([{**group, "lr": 0.0} for group in parameter_groups(detr, rate_groups(names), 0.1)])
    state = optimizer.state_dict()
    for group in state["param_groups"]:
        del group["multiple"]
    optimizer.load_state_dict(state)
    assert set(set_rates(optimizer, timeline, 0).values()) == {1e-4}


def test_a_pattern_that_matches_nothing_names_its_stage(model: tuple[nn.Module, Family]) -> None:
    plan = StagePlan.from_settings({"a": {"epochs": 1, "learn": ["heads", "/model.encodr.layers.*/"]}})
    with pytest.raises(SettingError, match=r"stages.a.learn: /model.encodr.layers.\*/ matches no parameter"):
        plan.bound(ParameterNames(*model))
    with torch.no_grad():
        assert plan.stages[0].blocks == BLOCKS  # before a model is known, an expression may mean any
