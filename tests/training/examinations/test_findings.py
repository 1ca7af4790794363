"""The findings of a training, on figures made by hand."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from detr_diff.data.finding import Finding, Level
from detr_diff.model.transfer_report import Action, TransferredTensor, TransferReport
from detr_diff.training.examinations.cost import Cost, diagnose_cost, predict_hours
from detr_diff.training.examinations.coverage import diagnose_coverage
from detr_diff.training.examinations.input_images import InputImages, diagnose_input
from detr_diff.training.examinations.memorising import Memorising, diagnose_memorising
from detr_diff.training.examinations.rate_range import RateRange, diagnose_rates
from detr_diff.training.examinations.schedule import Plan, diagnose_plan
from detr_diff.training.examinations.verdict import Diagnosis, rows
from detr_diff.training.stages import Stage, StagePlan

ALL = Stage("all", 50, lr=1e-3, cycles=1)


def plan(*stages: Stage, **settings: object) -> Plan:
    return replace(Plan(StagePlan(stages or (ALL,)), pairs=80, batch_size=8), **settings)


def names(findings: object) -> dict[str, Level]:
    made = list(findings)  # type: ignore[call-overload]
    assert all(f.what and f.why and f.remedy for f in made)
    return {finding.name: finding.level for finding in made}


def test_a_plan_that_can_work_has_no_finding() -> None:
    assert plan().steps == 500
    assert names(diagnose_plan(plan(), pretrained=False)) == {}


@pytest.mark.parametrize(
    ("name", "level", "made"),
    [
        ("too few optimizer steps", "problem", plan(accumulate=64)),
        ("too few optimizer steps", "problem", plan(batch_size=500)),
        ("too few optimizer steps", "suspicious", plan(replace(ALL, epochs=10))),
        ("too few optimizer steps", "problem", plan(max_epochs=2)),
        ("too few optimizer steps", "problem", plan(limit=0.1)),
        ("accumulation longer than an epoch", "suspicious", plan(replace(ALL, epochs=400), accumulate=11)),
        ("warm-up too long", "suspicious", plan(replace(ALL, warmup=0.9))),
        ("stages that never come", "suspicious", plan(ALL, replace(ALL, name="settle"), max_epochs=50)),
    ],
)
def test_faults_of_a_plan(name: str, level: str, made: Plan) -> None:
    assert names(diagnose_plan(made, pretrained=False)) == {name: level}


def test_pretrained_weights_need_fewer_steps() -> None:
    assert names(diagnose_plan(plan(replace(ALL, epochs=6)), pretrained=True)) == {}


@given(st.floats(1e-6, 1e-2), st.integers(1, 30), st.integers(1, 300), st.integers(1, 64), st.integers(1, 20))
def test_the_reach_is_the_area_under_the_rates(
    rate: float, epochs: int, pairs: int, batch: int, accumulate: int
) -> None:
    stages = Stage("a", epochs, lr=rate), Stage("b", 3, learn=("heads",), lr=rate / 2)
    made = plan(*stages, pairs=pairs, batch_size=batch, accumulate=accumulate)
    timeline = made.stages.timeline(made.steps_per_epoch)
    assert made.steps == timeline.steps
    expected = sum(timeline.rate("class_head", step) for step in range(timeline.steps))
    assert made.reach == pytest.approx(expected)


IMAGES = InputImages(128, 160, 0.0, 0.9, 0.12, False, False, 8, np.full(20, 21.0))


@pytest.mark.parametrize(
    ("name", "level", "changes"),
    [
        ("images not normalised", "problem", {"high": 230.0}),
        ("images not normalised", "suspicious", {"family_normalises": True}),
        ("empty input", "problem", {"spread": 0.001}),
        ("objects smaller than a feature cell", "suspicious", {"cell": 32}),
        ("objects smaller than a feature cell", "problem", {"sides": np.full(9, 3.0)}),
    ],
)
def test_faults_of_the_input(name: str, level: str, changes: dict) -> None:
    assert names(diagnose_input(IMAGES, pretrained=False)) == {}
    assert names(diagnose_input(replace(IMAGES, **changes), pretrained=False)) == {name: level}


def test_a_pretrained_backbone_wants_its_normalisation() -> None:
    other = replace(IMAGES, family_normalises=True, sides=np.zeros(0))
    assert names(diagnose_input(other, pretrained=True)) == {"images not normalised": "problem"}


def report(action: Action, live: bool, head: Action = Action.random) -> TransferReport:
    blocks = {"stem": action, "layer4": action, "encoder": action, "class_head": head}
    tensors = [TransferredTensor(block, block, (2,), own) for block, own in blocks.items()]
    return TransferReport("somewhere", "", tensors, {}, None, "", live_batch_norm=live)


def test_what_starts_from_random_weights() -> None:
    stages, heads = [ALL], [replace(ALL, learn=("heads",))]
    ours, theirs = report(Action.random, True), report(Action.copied, False)
    assert names(diagnose_coverage(ours, stages, True, 80, 8)) == {}
    assert names(diagnose_coverage(theirs, stages, False, 80, 8)) == {}
    assert names(diagnose_coverage(theirs, heads, False, 80, 1)) == {}
    assert names(diagnose_coverage(ours, stages, False, 80, 8)) == {"no pretrained weights": "suspicious"}
    assert names(diagnose_coverage(ours, stages, False, 20_000, 8)) == {}
    assert names(diagnose_coverage(ours, heads, True, 80, 8)) == {"frozen random weights": "problem"}
    assert names(diagnose_coverage(ours, stages, True, 80, 1)) == {"batch norm over one pair": "suspicious"}
    frozen = replace(ours, live_batch_norm=False)
    expected = {"frozen batch norm without statistics": "problem"}
    assert names(diagnose_coverage(frozen, stages, True, 80, 8)) == expected


RATES = np.geomspace(1e-5, 1, 21)
CURVE = [20, 20, 20, 20, 19.5, 19, 18.5, 18, 17, 15, 15, 16, 22, 24, 30, 40, 50, 60, 70, 80, 90]
RANGE = RateRange(RATES.tolist(), CURVE, 1e-3, [20, 19, 18, 18, 17, 17, 16, 16, 15, 15])


def test_the_rate_range() -> None:
    assert RANGE.best == pytest.approx(1.8e-3, rel=0.1)
    assert RANGE.suggested < RANGE.best < 2e-2
    assert names(diagnose_rates(RANGE)) == {}
    rising = [20.0, 30, 40, 40, 40, 40, 40, 40, 40, 40]
    high = {"learning rate too high": "problem"}
    assert names(diagnose_rates(replace(RANGE, planned=0.1, planned_losses=rising))) == high
    assert names(diagnose_rates(replace(RANGE, planned=0.1, planned_losses=[20, float("nan")]))) == high
    doubtful = names(diagnose_rates(replace(RANGE, planned=0.1)))
    assert doubtful == {"learning rate too high": "suspicious"}
    # A rate that is lower than the best one is not too high, whatever a few steps do.
    assert names(diagnose_rates(replace(RANGE, planned=1e-5, planned_losses=[20.0] * 10))) == {}
    cut = replace(RANGE, rates=RANGE.rates[:12], losses=RANGE.losses[:12])
    assert cut.best == RANGE.best


LEARNT = Memorising(8, 1e-3, [1e-3] * 100, np.linspace(20, 8, 100).tolist(), {40: 0.1, 100: 0.7}, 200)


def test_learning_by_heart() -> None:
    assert LEARNT.reach == pytest.approx(0.08, rel=0.05)
    assert names(diagnose_memorising(LEARNT, plan(), known=False)) == {}
    low = plan(replace(ALL, lr=1e-5))
    assert names(diagnose_memorising(LEARNT, low, known=False)) == {"learning rate too low": "problem"}
    assert names(diagnose_memorising(LEARNT, low, known=True)) == {}
    slow = replace(LEARNT, scores={100: 0.1})
    assert names(diagnose_memorising(slow, plan(), known=False)) == {"eight pairs not learnt yet": "note"}
    for losses in ([20.0] * 100, [20.0, float("nan")]):
        stuck = replace(slow, losses=losses)
        assert stuck.reach is None
        expected = {"cannot learn eight pairs by heart": "problem"}
        assert names(diagnose_memorising(stuck, plan(), known=False)) == expected


COST = Cost("cpu", 0.1, 0.02, 0, False, 8, 1e9, 8e9, 3.0, 0.5)


@pytest.mark.parametrize(
    ("name", "level", "changes"),
    [
        ("not enough memory", "problem", {"memory": 8e9}),
        ("training takes weeks", "suspicious", {"hours": 400.0}),
        ("loading slower than learning", "suspicious", {"load": 0.5, "waiting": 2.0}),
    ],
)
def test_what_a_training_costs(name: str, level: str, changes: dict) -> None:
    assert names(diagnose_cost(COST)) == {}
    assert names(diagnose_cost(replace(COST, **changes))) == {name: level}


def test_waiting_that_does_not_matter_is_not_told() -> None:
    assert names(diagnose_cost(replace(COST, load=0.5, waiting=0.1))) == {}
    assert names(diagnose_cost(replace(COST, load=0.5, waiting=2.0, cached=True))) == {}
    assert names(diagnose_cost(replace(COST, load=0.5, waiting=2.0, workers=4))) == {}


def test_the_remedy_for_memory_fits() -> None:
    (finding,) = diagnose_cost(replace(COST, memory=32e9, batch_size=64))
    assert "data.batch_size=14 and 5 times" in finding.remedy


def test_hours_by_hand() -> None:
    made = plan(replace(ALL, epochs=10))
    assert predict_hours(made, 0.9, 0.0, 0, 0) == (pytest.approx(10 * 80 * 0.9 / 3600), 0)
    hours, waiting = predict_hours(made, 0.9, 0.1, 0, 30)
    assert waiting == pytest.approx(10 * 110 * 0.1 / 3600)
    assert hours == pytest.approx(10 * (80 * 1.0 + 30 * 0.4) / 3600)
    assert predict_hours(made, 0.9, 0.8, 2, 0)[1] == 0
    assert predict_hours(made, 0.1, 0.8, 2, 0)[1] == pytest.approx(10 * 80 * 0.3 / 3600)


def finding(level: Level, name: str) -> Finding:
    return Finding(level, name, "what", "why", "remedy")


def test_the_root_cause_comes_first() -> None:
    problem, doubt, note = (finding(level, level) for level in Level)
    failed, slow = finding(Level.problem, "failed"), finding(Level.suspicious, "slow")
    ranked = Diagnosis(causes=[note, doubt, problem], symptoms=[slow, failed]).ranked()
    assert [f.name for f in ranked] == ["problem", "suspicious", "failed", "slow", "note"]
    # A trial that fails outweighs what is merely suspicious.
    ranked = Diagnosis(causes=[note, doubt], symptoms=[slow, failed]).ranked()
    assert [f.name for f in ranked] == ["failed", "suspicious", "slow", "note"]
    assert [row["rank"] for row in rows(ranked)] == [1, 2, 3, 4]


def test_the_verdict() -> None:
    healthy = Diagnosis(causes=[finding(Level.note, "n")])
    assert healthy.healthy
    assert healthy.verdict() == "no problems found"
    left = Diagnosis(left_out={"training": "too slow"})
    assert left.verdict().endswith("not examined: training")
    assert Diagnosis(causes=[finding(Level.suspicious, "d")]).verdict().startswith("training may fail")
    bad = Diagnosis(causes=[finding(Level.problem, "p"), finding(Level.suspicious, "d")])
    assert bad.spoilt
    assert bad.verdict() == "training would fail, most likely because of: p (1 problem, 1 suspicious)"
