import re
from dataclasses import fields
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
import yaml
from hypothesis import given
from hypothesis import strategies as st
from lightning.pytorch.callbacks import EarlyStopping

from detr_diff.compose import OF_STAGE
from detr_diff.errors import SettingError
from detr_diff.model.block_names import ALIASES, BLOCKS
from detr_diff.model.selection import ParameterNames
from detr_diff.training.staged_finetuning import StagedFinetuning
from detr_diff.training.stages import Stage, StagePlan, ended_early
from tests.conftest import ROOT
from tests.model.tiny_models import built


def plan(name: str) -> StagePlan:
    return StagePlan.from_settings(yaml.safe_load((ROOT / f"conf/stages/{name}.yaml").read_text()))


def test_the_report_is_written_as_it_says() -> None:
    stages = plan("report").stages
    assert [stage.epochs for stage in stages] == [20, 20, 80]
    assert stages[0].learn == ALIASES["heads"]
    assert stages[1].learn == stages[2].learn == BLOCKS
    assert [set(stage.rates.values()) for stage in stages] == [{1e-4}, {5e-5}, {1e-5}]
    assert {stage.cycles for stage in stages} == {5}


def eight(stage: Stage) -> int:
    return 8


def test_the_command_line_knows_what_a_stage_may_say() -> None:
    assert {"name", "epochs", *OF_STAGE} == {one.name for one in fields(Stage) if one.init}


def test_the_stage_is_a_function_of_the_epoch() -> None:
    report = plan("report")
    timeline = report.timeline(eight)
    assert report.epochs == timeline.epochs == 120
    assert timeline.steps == 960
    spans = [timeline.at_epoch(epoch) for epoch in (0, 19, 20, 39, 40, 119, 500)]
    assert [(span.number, span.first_epoch) for span in spans] == [
        (1, 0),
        (1, 0),
        (2, 20),
        (2, 20),
        (3, 40),
        (3, 40),
        (3, 40),
    ]


def test_the_rate_is_a_function_of_the_step() -> None:
    report = plan("report").timeline(eight)
    peaks = [
        max(report.rate("box_head", s) for s in range(a * 8, b * 8))
        for a, b in ((0, 20), (20, 40), (40, 120))
    ]
    assert peaks == pytest.approx([1e-4, 5e-5, 1e-5], rel=0.02)
    assert all(report.rate("encoder", step) == 0.0 for step in range(160))
    assert all(report.rate("encoder", step) > 0.0 for step in range(160, 960))
    falls = sum(report.rate("box_head", s + 1) > 2 * report.rate("box_head", s) for s in range(8, 159))
    assert falls >= 4  # a restart after each of the first four cycles


def test_a_stage_may_have_other_batches_and_end_early() -> None:
    stages = StagePlan([Stage("a", 4, batch_size=2), Stage("b", 3), Stage("c", 2)])

    def steps(stage: Stage) -> int:
        return 10 if stage.batch_size == 2 else 5

    timeline = stages.timeline(steps, {0: 2})
    assert [(span.first_epoch, span.first_step) for span in timeline.spans] == [(0, 0), (2, 20), (5, 35)]
    assert (timeline.epochs, timeline.steps) == (7, 45)
    # What came before is as it was, and the next stage begins from its own beginning.
    whole = stages.timeline(steps)
    assert [timeline.rate("stem", s) for s in range(20)] == [whole.rate("stem", s) for s in range(20)]
    assert timeline.rate("stem", 20) == whole.rate("stem", 40)


@given(
    st.lists(st.tuples(st.integers(1, 4), st.none() | st.integers(1, 3)), min_size=1, max_size=4),
    st.lists(st.sampled_from([0.1, 0.2, 0.3, float("nan")]), max_size=25),
)
def test_stages_end_as_early_stopping_says(shape: list[tuple[int, int | None]], values: list[float]) -> None:
    stages = [Stage(str(n), epochs, patience=patience) for n, (epochs, patience) in enumerate(shape)]
    ended = ended_early(stages, list(enumerate(values)), 1.0, 0.0)
    # The same by Lightning's own callback, one for each stage, epoch after epoch.
    expected: dict[int, int] = {}
    index = had = 0
    stopping = EarlyStopping("v", patience=stages[0].patience or 10**6, mode="max", check_finite=False)
    for value in values:
        if index < len(stages) - 1 and had == expected.get(index, stages[index].epochs):
            index, had = index + 1, 0
            patience = stages[index].patience or 10**6
            stopping = EarlyStopping("v", patience=patience, mode="max", check_finite=False)
        had += 1
        stop, _ = stopping._evaluate_stopping_criteria(torch.tensor(value))
        if stop:
            expected.setdefault(index, had)
    assert ended == expected


def test_later_rates_win() -> None:
    stage = Stage("a", 1, lr={"all": 1e-4, "backbone": 1e-5, "stem": 0.0})
    assert "stem" not in stage.rates  # it does not learn
    assert stage.blocks[0] == "layer1"
    assert stage.rates["layer1"] == 1e-5
    assert stage.rates["decoder"] == 1e-4


def test_what_has_no_rate_does_not_learn() -> None:
    names = ParameterNames(*built("detr"))
    still = ["class_labels_classifier.bias"]
    stage = Stage("a", 1, lr={"all": 1e-4, "backbone": 0.0}).bound(names, still)
    backbone = {name for name, block in names.blocks.items() if block in ALIASES["backbone"]}
    assert backbone
    assert stage.chosen == names.learning(("all",), (), "a") - backbone - set(still)
    assert "layer4" not in stage.blocks


@pytest.mark.parametrize(
    ("learn", "unrated"),
    [
        (("heads", "decoder[-1:]"), ("decoder",)),
        (("/.*norm.*/",), ()),  # it may touch few of the blocks
        (("heads",), ()),
    ],
)
def test_a_block_that_is_to_learn_without_a_rate_is_known(
    learn: tuple[str, ...], unrated: tuple[str, ...]
) -> None:
    assert Stage("x", 1, learn=learn, lr={"heads": 1e-3, "backbone": 1e-4}).unrated == unrated


def test_settings_give_the_same_plan_again() -> None:
    for name in ("report", "all", "gradual", "last_layers"):
        first = plan(name)
        assert StagePlan.from_settings(first.settings()).stages == first.stages


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"epochs": 0}, "stages.a.epochs=0: a whole number, at least 1"),
        ({"epochs": "ten"}, "stages.a.epochs=ten: a whole number"),
        ({}, "stages.a.epochs=None: a whole number"),
        ({"epochs": 1, "learn": []}, "stages.a.learn: no block learns"),
        ({"epochs": 1, "learn": "head"}, "stages.a.learn: unknown block 'head', did you mean heads"),
        ({"epochs": 1, "lr": 0}, "stages.a.lr=0: the rate of every learning block is 0"),
        ({"epochs": 1, "lr": {"all": -1}}, "stages.a.lr.all=-1: a number from 0"),
        ({"epochs": 1, "lr": {"steam": 1}}, "stages.a.lr: unknown block 'steam', did you mean stem"),
        ({"epochs": 1, "learn": "heads", "lr": {"stem": 1}}, "the rate of every learning block is 0"),
        (
            {"epochs": 1, "learn": "encodr[-2:]"},
            "stages.a.learn: unknown block 'encodr', did you mean encoder",
        ),
        ({"epochs": 1, "learn": "/(/"}, "stages.a.learn: /(/ is no regular expression"),
        ({"epochs": 1, "freeze": ["stems"]}, "stages.a.freeze: unknown block 'stems', did you mean stem"),
        (
            {"epochs": 1, "lr": {"/.*/": 1}},
            "stages.a.lr./.*/: a rate is that of a block; optimizer.multiples",
        ),
        ({"epochs": 1, "freeze": "all"}, "leaves nothing to learn"),
        ({"epochs": 1, "schedule": "cosin"}, "stages.a.schedule=cosin: did you mean cosine"),
        ({"epochs": 1, "warmup": 1}, "stages.a.warmup=1: a share of the stage"),
        ({"epochs": 1, "cycles": 0}, "stages.a.cycles=0: a whole number, at least 1"),
        ({"epochs": 1, "epoch": 1}, "stages.a.epoch: unknown, did you mean epochs"),
        ({"epochs": 1, "augment": "lots"}, "stages.a.augment=lots: allowed: none, light, strong"),
    ],
)
def test_a_wrong_stage_is_named(fields: dict[str, Any], message: str) -> None:
    with pytest.raises(SettingError, match=re.escape(message)):
        StagePlan.from_settings({"a": fields})


def test_no_stages_are_refused() -> None:
    with pytest.raises(SettingError, match="at least one"):
        StagePlan.from_settings({})


def test_patience_waits_while_ap_has_never_left_0() -> None:
    stages = [Stage("a", 20, patience=2)]
    assert ended_early(stages, list(enumerate([0.0] * 10)), 1.0, 0.0) == {}
    assert ended_early(stages, list(enumerate([0.0, 0.0, 0.0, 0.1, 0.1, 0.05])), 1.0, 0.0) == {0: 6}
    # Of a loss less is better, and 0 would be the best there is.
    assert ended_early(stages, list(enumerate([0.0, 0.0, 0.0])), -1.0, 0.0) == {0: 3}


def test_a_validation_without_a_step_since_the_one_before_is_not_judged(tmp_path: Path) -> None:
    callback = StagedFinetuning(tmp_path, "val/map")
    detector = SimpleNamespace(plan=StagePlan([Stage("a", 9, patience=2)]), ended={})
    for epoch, step, value in ((0, 3, 0.5), (0, 3, 0.5), (0, 3, 0.5), (1, 4, 0.4), (2, 5, 0.4)):
        assert detector.ended == {}
        figures = {"val/map": torch.tensor(value)}
        trainer: Any = SimpleNamespace(
            sanity_checking=False, current_epoch=epoch, global_step=step, callback_metrics=figures
        )
        callback.on_validation_end(trainer, detector)
        again = StagedFinetuning(tmp_path, "val/map")
        again.load_state_dict(callback.state_dict())
        callback = again  # as a run that is resumed here
    assert detector.ended == {0: 3}
    again.load_state_dict({"validations": [[0, 0.5]]})  # of a checkpoint from before
    assert again.validations == [(0, 0.5, -1)]
