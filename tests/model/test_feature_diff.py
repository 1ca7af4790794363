"""Features of two frames compared, in every family and in every way."""

import copy
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from detr_diff.choices import Compare, CompareLevels
from detr_diff.errors import SettingError
from detr_diff.model.feature_comparison import sine_positions
from detr_diff.model.feature_diff import FAMILIES, FeatureDiff
from detr_diff.model.load import load_model
from detr_diff.model.prefix import deepest_cut, keep, replay
from tests.conftest import TINY
from tests.model.tiny_models import MODELS, first_of, grouped, set_learning

EVERY = [pytest.param(compare, id=str(compare)) for compare in Compare]
ALL, LAST = CompareLevels.all, CompareLevels.last
MASKS = torch.ones(2, 64, 96, dtype=torch.int64)
LABELS = [
    {"boxes": torch.tensor([[0.5, 0.5, 0.2, 0.3]]), "class_labels": torch.tensor([1])},
    {"boxes": torch.zeros(0, 4), "class_labels": torch.zeros(0, dtype=torch.int64)},
]


def build(name: str, compare: Compare, levels: CompareLevels = ALL, **settings: Any) -> tuple[Any, Any, Any]:
    torch.manual_seed(0)
    family, config = MODELS[name]
    given = {"config": config, "channels": 6, "feature_diff": FeatureDiff(compare, levels)}
    model, architecture, report = load_model(family, ["a", "b"], **{**given, **settings})
    return model, architecture, report


def frames() -> tuple[Tensor, Tensor]:
    images = torch.randn(2, 2, 3, 64, 96, generator=torch.Generator().manual_seed(1))
    return images[0], images[1]


def logits(model: nn.Module, before: Tensor, after: Tensor) -> Tensor:
    with torch.no_grad():
        output: Any = model.eval()(pixel_values=torch.cat([before, after], dim=1), pixel_mask=MASKS)
    return torch.cat([output.logits, output.pred_boxes], dim=-1)


@pytest.mark.parametrize("compare", EVERY)
@pytest.mark.parametrize("name", first_of([*FAMILIES, "detr resnet18", "rt_detr timm"]))
def test_all_that_learns_has_a_block_and_a_gradient(name: str, compare: Compare) -> None:
    model, architecture, _ = build(name, compare)
    groups = grouped(model, architecture.kind, 0.01)
    ids = [id(parameter) for group in groups for parameter in group["params"]]
    assert sorted(ids) == sorted(id(parameter) for parameter in model.parameters())
    own = {id(p) for p in model.model.backbone.comparison.parameters()}
    assert bool(own) is (compare in (Compare.concat, Compare.cross_attention))
    projection = [group["params"] for group in groups if group["block"] == "input_projection"]
    assert own <= {id(parameter) for parameters in projection for parameter in parameters}
    model.requires_grad_(True)
    images = torch.cat(frames(), dim=1)
    model(pixel_values=images, pixel_mask=MASKS, labels=LABELS).loss.backward()
    without = [name for name, p in model.model.backbone.named_parameters() if p.grad is None]
    # A DETR on timm has the levels that it does not look at.
    assert not [name for name in without if "comparison" in name or "timm" not in name]


@pytest.mark.parametrize("name", first_of(FAMILIES))
@pytest.mark.parametrize("levels", CompareLevels)
def test_the_features_of_each_frame_are_those_of_the_backbone_alone(name: str, levels: CompareLevels) -> None:
    model, _, _ = build(name, Compare.signed, levels)
    family, config = MODELS[name]
    alone, _, _ = load_model(family, ["a", "b"], config=config)
    alone.load_state_dict(model.state_dict())  # all names are the same
    before, after = frames()
    own = alone.eval().model.backbone
    with torch.no_grad():
        old, new = own(before, MASKS), own(after, MASKS)
        found = model.eval().model.backbone(torch.cat([before, after], dim=1), MASKS)
    count = len(found)
    for index, ((b, mask), (a, _), (compared, found_mask)) in enumerate(
        zip(old[-count:], new[-count:], found, strict=True)
    ):
        expected = a - b if levels is ALL or index == count - 1 else a
        torch.testing.assert_close(compared, expected, atol=1e-5, rtol=1e-5)
        assert torch.equal(mask, found_mask)


@pytest.mark.parametrize("name", first_of(FAMILIES))
def test_how_each_comparison_begins(name: str) -> None:
    before, after = frames()
    models = {compare: build(name, compare)[0] for compare in Compare}
    shared = models[Compare.signed].state_dict()
    for model in models.values():
        model.load_state_dict(shared, strict=False)
    results = {compare: logits(model, before, after) for compare, model in models.items()}
    for begins_alike in (Compare.concat, Compare.cross_attention):
        torch.testing.assert_close(results[begins_alike], results[Compare.signed], atol=1e-4, rtol=1e-4)
    assert not torch.allclose(results[Compare.abs], results[Compare.signed], atol=1e-3)
    swapped = {compare: logits(model, after, before) for compare, model in models.items()}
    torch.testing.assert_close(swapped[Compare.abs], results[Compare.abs], atol=1e-5, rtol=1e-5)
    assert not torch.allclose(swapped[Compare.signed], results[Compare.signed], atol=1e-3)


def test_attention_finds_what_moved() -> None:
    """Trained to undo a shift, which no comparison of the same place can."""
    torch.manual_seed(0)
    model, _, _ = build("detr", Compare.cross_attention)
    attention = model.model.backbone.comparison[0]
    optimizer = torch.optim.Adam(attention.parameters(), lr=3e-3)
    errors = []
    for _ in range(150):
        before = torch.randn(4, attention.channels, 4, 6)
        after = before.roll(1, dims=3)
        mask = torch.ones(4, 4, 6, dtype=torch.bool)
        # Its own difference is given back, so that only what attention finds is left.
        found = attention(before, after, mask) - (after - before)
        loss = (found - after).square().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        errors.append(float(loss.detach()))
    assert errors[-1] < 0.5 * errors[0]


def test_attention_does_not_look_at_padding() -> None:
    model, _, _ = build("detr", Compare.cross_attention)
    attention = model.model.backbone.comparison[0]
    nn.init.normal_(attention.result.weight)
    before, after = torch.randn(2, 2, attention.channels, 4, 6)
    mask = torch.ones(2, 4, 6, dtype=torch.bool)
    mask[:, :, 4:] = False
    other = before.clone()
    other[..., 4:] += 1.0
    with torch.no_grad():
        same = [attention(b, after, mask)[..., :4] for b in (before, other)]
    torch.testing.assert_close(*same)


def test_every_place_has_its_own_position() -> None:
    flat = sine_positions(7, 9).flatten(1).T
    assert torch.cdist(flat, flat).fill_diagonal_(1.0).min() > 0.1


@pytest.mark.parametrize("name", first_of(FAMILIES))
def test_pretrained_weights_arrive_bit_for_bit(name: str, tmp_path: Path) -> None:
    family, config = MODELS[name]
    torch.manual_seed(3)
    source, _, _ = load_model(family, ["a", "b"], config=config)
    source.save_pretrained(tmp_path)
    model, _, report = build(name, Compare.concat, pretrained=str(tmp_path), config=None)
    # The norms of random weights are alive and count their batches.
    theirs = {k: v for k, v in source.state_dict().items() if "num_batches" not in k}
    state = model.state_dict()
    added = {key for key in state if "backbone.comparison" in key}
    assert set(theirs) <= state.keys() - added
    assert all(torch.equal(state[key], theirs[key]) for key in theirs)
    assert report.backbone_share() == 1.0
    assert {t.name for t in report.tensors if str(t.action) == "missing"} <= added
    assert report.probe.levels  # the backbone of one frame is compared with the source's


@pytest.mark.parametrize("name", first_of(FAMILIES))
def test_outputs_of_a_frozen_backbone_are_kept_before_the_comparison(name: str) -> None:
    model, architecture, _ = build(name, Compare.concat)
    learning = ("input_projection", "encoder", "decoder", "queries", "class_head", "box_head")
    model.train()
    set_learning(model, architecture.kind, learning)
    cut = deepest_cut(architecture.kind, learning)
    assert cut is not None
    images = torch.cat(frames(), dim=1)
    kept = keep(model, cut, images)
    torch.manual_seed(1)
    expected = model(pixel_values=images, pixel_mask=MASKS, labels=LABELS).loss
    expected.backward()
    gradients = {n: p.grad.clone() for n, p in model.named_parameters() if p.grad is not None}
    model.zero_grad()
    torch.manual_seed(1)
    with replay(model, cut, kept):
        actual = model(pixel_values=torch.zeros(2, 0, 64, 96), labels=LABELS).loss
    actual.backward()
    torch.testing.assert_close(actual, expected, atol=1e-5, rtol=1e-5)
    assert float(gradients["model.backbone.comparison.0.mix.weight"].abs().sum()) > 0
    for key, gradient in gradients.items():
        torch.testing.assert_close(
            model.get_parameter(key).grad,
            gradient,
            atol=1e-4,
            rtol=1e-3,
            msg=lambda m, key=key: f"{key}: {m}",
        )


def test_a_copy_is_independent() -> None:
    model, _, _ = build("rt_detr", Compare.abs)
    twin = copy.deepcopy(model)
    before, after = frames()
    expected = logits(model, before, after)
    with torch.no_grad():
        for parameter in twin.parameters():
            parameter.zero_()
    assert torch.equal(logits(model, before, after), expected)
    assert not torch.equal(logits(twin, before, after), expected)


def test_other_families_are_refused() -> None:
    with pytest.raises(SettingError, match=r"feature_diff: not for d_fine, but for detr, .*, rt_detr"):
        build("d_fine", Compare.abs)


def test_it_trains_resumes_evaluates_and_predicts(data_root: Path, tmp_path: Path, cli: Callable) -> None:
    words = ["train", *TINY, f"data.root={data_root}", f"runs={tmp_path}", "model.input=feature_diff"]
    words += ["model.feature_diff.compare=cross_attention", "ema.decay=0.9"]
    result = cli(*words, "data.diff=stack")
    assert (result.code, "data.diff=stack: with model.input=feature_diff" in result.err) == (2, True)
    words += ["run_name=features"]
    result = cli(*words)
    assert result.code == 0, result.err
    run = tmp_path / "features"
    assert "diff: frames" in (run / "config.yaml").read_text()
    assert "but both are labelled alike; compare=abs learns far sooner" in (run / "train.log").read_text()
    checkpoint = f"ckpt_path={run / 'checkpoints/best.ckpt'}"
    quiet = "trainer.enable_progress_bar=false"
    assert cli("evaluate", checkpoint, "split=test", "overlays=1", quiet).code == 0
    final = json.loads((run / "metrics.json").read_text())
    (evaluated,) = (run / "evaluation").glob("*/evaluation.json")
    assert json.loads(evaluated.read_text())["test/loss"] == pytest.approx(final["test/loss"], abs=1e-5)
    before, after = sorted((data_root / "images").rglob("*.jpg"))[:2]
    found = [f"before={before}", f"after={after}", f"out={tmp_path / 'found'}", "threshold=0"]
    assert cli("predict", checkpoint, *found, quiet).code == 0
    assert json.loads((tmp_path / "found/predictions.json").read_text())[0]["objects"]
    # It goes on from its own checkpoint, the comparison included.
    again = [*words[:-1], "run_name=again", f"model.pretrained={run / 'checkpoints/best.ckpt'}"]
    assert cli(*again).code == 0
    report = json.loads((tmp_path / "again/report.json").read_text())["transfer"]
    rows = {row["name"]: row for row in report["tensors"] if "comparison" in row["name"]}
    assert rows
    assert {row["action"] for row in rows.values()} == {"copied"}


def test_inputs_can_be_swept(data_root: Path, tmp_path: Path, cli: Callable) -> None:
    """How features are compared says nothing to the job that compares pixels."""
    words = ["train", "--multirun", *TINY, f"data.root={data_root}", f"runs={tmp_path}", "report=false"]
    words += ["trainer.max_epochs=1", "data.subset=4", "model.feature_diff.compare=abs"]
    result = cli(*words, "model.input=image_diff,feature_diff")
    assert result.code == 0, result.err
    told = "model.feature_diff.compare=abs: nothing reads it without model.input=feature_diff"
    assert told in (tmp_path / "train/0/train.log").read_text()
    assert told not in (tmp_path / "train/1/train.log").read_text()


def test_a_symmetric_comparison_warns_of_labels_of_one_place(
    data_root: Path, tmp_path: Path, cli: Callable, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("detr_diff.data.convention.unlabelled_share", lambda *_: 0.9)
    words = ["train", *TINY, f"data.root={data_root}", f"runs={tmp_path}", "model.input=feature_diff"]
    words += ["trainer.max_epochs=1", "data.subset=4", "model.feature_diff.compare=abs"]
    assert "model.feature_diff.compare=abs cannot tell before from after" in cli(*words).err
