"""A replayed prefix gives what the whole model gives, for every family and every cut."""

from functools import partial
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from detr_diff.model.block_map import BlockMap
from detr_diff.model.block_names import BLOCKS, expand
from detr_diff.model.cuts import Cut
from detr_diff.model.families import FAMILIES
from detr_diff.model.prefix import before_cut, blocks_before, deepest_cut, digest, keep, replay, versions
from tests.model.tiny_models import build, set_learning

HEIGHT, WIDTH = 64, 96
EMPTY = torch.zeros(3, 0, HEIGHT, WIDTH)
# Model, what learns, and the last block that is left out.
CASES = [
    ("detr", ["heads"], "queries"),
    ("detr", ["heads", "decoder"], "encoder"),
    ("detr", ["transformer"], "layer4"),
    ("detr resnet18", ["class_head", "input_projection"], "layer4"),
    *(
        pytest.param(name, ["heads", "transformer"], "layer4", marks=pytest.mark.exhaustive)
        for name in ("conditional_detr", "deformable_detr", "rt_detr_v2", "d_fine")
    ),
    ("rt_detr", ["heads"], "encoder"),
    ("rt_detr", ["decoder", "queries"], "encoder"),
    ("rt_detr", ["heads", "transformer"], "layer4"),
]


def batch(size: int = 3) -> tuple[Tensor, list[dict[str, Tensor]]]:
    generator = torch.Generator().manual_seed(5)
    labels = []
    for count in range(size):  # none, one, two ... objects
        boxes = 0.3 + 0.3 * torch.rand(count, 4, generator=generator)
        labels.append({"boxes": boxes, "class_labels": torch.arange(count) % 2})
    images = torch.randn(size, 3, HEIGHT, WIDTH, generator=generator)
    images *= torch.arange(1.0, 1.0 + size)[:, None, None, None]  # unlike each other
    return images, labels


def frozen(key: str, learn: list[str], **settings: Any) -> tuple[nn.Module, Any, Cut]:
    torch.manual_seed(0)
    model, family = build(key, **settings)
    for module in model.modules():  # as they come, a small network forgets the image on its way
        if isinstance(module, nn.Conv2d):
            nn.init.kaiming_normal_(module.weight)
    learning = expand(learn, "here")
    model.train()
    set_learning(model, family, learning)
    cut = deepest_cut(family, learning)
    assert cut is not None
    return model, family, cut


def losses(output: Any) -> dict[str, Tensor]:
    return {"loss": output.loss, **output.loss_dict}


@pytest.mark.parametrize(("key", "learn", "last"), CASES)
def test_losses_and_gradients_are_those_of_the_whole_model(key: str, learn: list[str], last: str) -> None:
    model, _, cut = frozen(key, learn)
    assert cut.last == last
    images, labels = batch()
    # One by one and in another order: rows of a replayed batch come from anywhere.
    single = [keep(model, cut, images[i : i + 1]) for i in (2, 0, 1)]
    kept = [torch.cat([single[i][k] for i in (1, 2, 0)]) for k in range(len(single[0]))]

    torch.manual_seed(1)  # dropout and denoising queries are drawn
    expected = model(pixel_values=images, labels=labels)
    expected.loss.backward()
    gradients = {name: p.grad.clone() for name, p in model.named_parameters() if p.grad is not None}
    model.zero_grad()
    torch.manual_seed(1)
    with replay(model, cut, kept):
        actual = model(pixel_values=EMPTY, labels=labels)
    actual.loss.backward()

    assert losses(actual).keys() == losses(expected).keys()
    assert len(expected.loss_dict) > 4  # the auxiliary ones are there
    for name, value in losses(expected).items():
        torch.testing.assert_close(losses(actual)[name], value, atol=1e-5, rtol=1e-5, msg=name)
    torch.testing.assert_close(actual.logits, expected.logits, atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(actual.pred_boxes, expected.pred_boxes, atol=1e-5, rtol=1e-5)
    again = {name: p.grad for name, p in model.named_parameters() if p.grad is not None}
    assert again.keys() == gradients.keys()
    # Of all together: some are zero but for rounding, as that of the bias of a key.
    flat, other_flat = (torch.cat([g[name].flatten() for name in gradients]) for g in (gradients, again))
    assert float((flat - other_flat).norm() / flat.norm()) < 1e-5

    others = [tensor.flip(0) for tensor in kept]
    torch.manual_seed(1)
    with replay(model, cut, others):
        other = model(pixel_values=EMPTY, labels=labels)
    assert (other.logits - expected.logits).abs().max() > 1e-4  # it depends on what is kept


@pytest.mark.parametrize(("key", "learn", "last"), CASES[::2])
def test_evaluation_is_the_same(key: str, learn: list[str], last: str) -> None:
    model, _, cut = frozen(key, learn)
    images, _ = batch()
    kept = keep(model, cut, images)
    model.eval()
    with torch.no_grad():
        expected = model(pixel_values=images)
        with replay(model, cut, kept):
            actual = model(pixel_values=EMPTY)
        assert torch.equal(model(pixel_values=images).logits, expected.logits)
    torch.testing.assert_close(actual.logits, expected.logits, atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(actual.pred_boxes, expected.pred_boxes, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize(("key", "learn", "last"), CASES)
def test_what_is_before_the_cut_is_not_run(key: str, learn: list[str], last: str) -> None:
    model, family, cut = frozen(key, learn)
    images, labels = batch()
    kept = keep(model, cut, images)
    run: list[str] = []

    def ran(name: str, own: Any, *given: Any, **named: Any) -> Any:
        run.append(name)
        return own(*given, **named)

    for name, module in model.named_modules():
        if name and not list(module.children()):
            module.forward = partial(ran, name, module.forward)
    with replay(model, cut, kept):
        model(pixel_values=EMPTY, labels=labels)
    assert run
    blocks = BlockMap(model, family)
    # The decoder asks for the sine positions of the encoder's output again; they have no weights.
    weighty = [name for name in run if list(model.get_submodule(name).parameters())]
    assert not {blocks.of(f"{name}.") for name in weighty} & set(blocks_before(cut))


@pytest.mark.parametrize("key", ["detr", "rt_detr"])
def test_keeping_changes_nothing(key: str) -> None:
    model, _, cut = frozen(key, ["heads"])
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    modes = [module.training for module in model.modules()]
    images, _ = batch()
    kept = keep(model, cut, images)
    assert all(len(tensor) == len(images) and not tensor.requires_grad for tensor in kept)
    assert [module.training for module in model.modules()] == modes
    assert all(torch.equal(tensor, before[name]) for name, tensor in model.state_dict().items())
    assert not any("forward" in vars(module) for module in model.modules())


def test_compiled_blocks_are_left_out_too() -> None:
    model, _, cut = frozen("detr", ["decoder"])
    calls: list[int] = []

    def backend(graph: Any, inputs: Any) -> Any:
        return lambda *given: calls.append(1) or graph.forward(*given)

    model.model.encoder.compile(backend=backend)
    images, _ = batch()
    model.eval()
    with torch.no_grad():
        expected = [model(images * scale).logits for scale in (1, 2)]
        assert calls
        calls.clear()
        for scale, logits in zip((1, 2), expected, strict=True):
            kept = keep(model, cut, images * scale)
            with replay(model, cut, kept):
                actual = model(pixel_values=EMPTY).logits
            torch.testing.assert_close(actual, logits, atol=1e-5, rtol=1e-5)
        assert not calls
        model(images)
        assert calls


def test_a_failed_step_leaves_the_model_whole() -> None:
    model, _, cut = frozen("detr", ["heads"])
    images, _ = batch()
    kept = keep(model, cut, images)
    with pytest.raises(KeyError), replay(model, cut, kept):
        model(pixel_values=EMPTY, labels=[{}] * 3)
    assert not any("forward" in vars(module) for module in model.modules())


def test_without_auxiliary_losses_the_last_layer_is_enough() -> None:
    model, _, cut = frozen("detr", ["heads"], auxiliary_loss=False)
    images, labels = batch()
    kept = keep(model, cut, images)
    assert [tuple(tensor.shape) for tensor in kept] == [(3, 6, 32)]
    with replay(model, cut, kept):
        actual = model(pixel_values=EMPTY, labels=labels)
    assert set(actual.loss_dict) == {"loss_ce", "loss_bbox", "loss_giou", "cardinality_error"}


@pytest.mark.parametrize("name", FAMILIES)
def test_a_block_that_learns_is_never_left_out(name: str) -> None:
    for block in BLOCKS:
        cut = deepest_cut(FAMILIES[name], [block])
        assert cut is None or block not in blocks_before(cut)
    assert deepest_cut(FAMILIES[name], BLOCKS) is None
    assert deepest_cut(FAMILIES[name], ["stem"]) is None


@pytest.mark.parametrize("key", ["detr", "rt_detr"])
def test_the_digest_is_that_of_the_state_before_the_cut(key: str) -> None:
    model, family, cut = frozen(key, ["heads"])
    before = before_cut(model, family, cut)
    first, version = digest(before), versions(before)
    assert (first, version) == (digest(before), versions(before_cut(model, family, cut)))
    seen = set()
    for name, tensor in model.state_dict().items():
        block = BlockMap(model, family).of(name)
        if (block, tensor.ndim) in seen or not tensor.numel():
            continue
        seen.add((block, tensor.ndim))
        kept, version = tensor.clone(), versions(before)
        tensor.view(-1)[-1] += 1
        inside = block in blocks_before(cut)
        assert (digest(before_cut(model, family, cut)) != first) is inside, name
        assert (versions(before_cut(model, family, cut)) != version) is inside, name
        tensor.copy_(kept)
    assert {block for block, _ in seen} == set(BLOCKS)
