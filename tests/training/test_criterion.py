"""Our loss is that of transformers: every part and every gradient, for every family."""

from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from detr_diff.model.families import FAMILIES, ClassLoss
from detr_diff.training.class_loss import RECIPES
from detr_diff.training.criterion import Criterion, give_loss, layer_sums
from detr_diff.training.decoder_layers import Layers
from detr_diff.training.matcher import Objects, match
from tests.model.tiny_models import OLD, SIZE, build, first_of

OURS = [name for name, family in FAMILIES.items() if family.class_loss is not ClassLoss.transformers]
# Objects of each image: some, none in one, none at all, a single image, as many as queries, more of them.
COUNTS = ([2, 0, 3], [0, 0], [1], [SIZE["num_queries"], 1, 5], [SIZE["num_queries"] + 2, 1])


def labels_of(counts: list[int], generator: torch.Generator) -> list[dict[str, Tensor]]:
    return [
        {
            "boxes": 0.2 + 0.4 * torch.rand(count, 4, generator=generator),
            "class_labels": torch.randint(2, (count,), generator=generator),
        }
        for count in counts
    ]


def run(model: Any, images: Tensor, labels: list[dict[str, Tensor]]) -> tuple[Any, dict[str, Tensor]]:
    model.zero_grad()
    torch.manual_seed(2)  # of the denoising queries
    output = model(pixel_values=images, labels=labels)
    output.loss.backward()
    return output, {name: p.grad for name, p in model.named_parameters() if p.grad is not None}


@pytest.mark.parametrize("auxiliary", [True, False])
@pytest.mark.parametrize("key", first_of([*OURS, "deformable_detr two stages"]))
def test_loss_and_gradients_are_those_of_transformers(key: str, auxiliary: bool) -> None:
    if key.startswith("rt_detr") and OLD:
        pytest.skip("the loss of the last layer counts denoising queries, too: transformers #48528")
    torch.manual_seed(0)
    model, family = build(key, auxiliary_loss=auxiliary)
    for module in model.modules():
        if isinstance(module, nn.Dropout):
            module.p = 0.0
        if isinstance(module, nn.LayerNorm):  # as after some learning: normalising twice is not once
            nn.init.uniform_(module.weight, 0.5, 2.0)
    model.train()
    library = model.loss_function
    generator = torch.Generator().manual_seed(1)
    for counts in COUNTS:
        labels = labels_of(counts, generator)
        images = torch.rand(len(counts), 3, 64, 64, generator=generator)
        model.loss_function = library
        expected, gradients = run(model, images, labels)
        expected_gradient = torch.cat([gradient.flatten() for gradient in gradients.values()])
        give_loss(model, family.class_loss)
        actual, own = run(model, images, labels)
        torch.testing.assert_close(actual.loss, expected.loss, rtol=1e-5, atol=1e-6)
        last = {name: value for name, value in expected.loss_dict.items() if not name[-1].isdigit()}
        assert actual.loss_dict.parts.keys() == last.keys()
        for name, value in last.items():
            torch.testing.assert_close(
                actual.loss_dict.parts[name].mean, value, rtol=1e-5, atol=1e-6, msg=name
            )
        assert own.keys() == gradients.keys()
        gradient = torch.cat([own[name].flatten() for name in gradients])
        assert float((gradient - expected_gradient).norm() / expected_gradient.norm()) < 1e-5, counts


@pytest.mark.parametrize("key", first_of(OURS))
def test_every_part_of_every_layer_is_that_of_transformers(key: str) -> None:
    """Taken apart by the library's loss of one layer, with its own matching."""
    family, generator = FAMILIES[key], torch.Generator().manual_seed(3)
    config = family.config_class()
    config.num_labels, config.auxiliary_loss, config.decoder_layers = 3, False, 4
    recipe = RECIPES[family.class_loss]
    library = build(key)[0].loss_function
    for counts in COUNTS:
        labels = labels_of(counts, generator)
        logits = 3 * torch.randn(4, len(counts), 6, 3 + (key == "detr"), generator=generator)
        boxes = torch.rand(4, len(counts), 6, 4, generator=generator).clamp(min=0.02)
        layers, objects = Layers(logits, boxes), Objects.of(labels)
        sums = layer_sums(recipe, layers, objects, match(layers, objects, recipe.costs(config)), config)
        for layer in range(4):
            given = (logits[layer], labels, logits.device, boxes[layer], config)
            more = {"outputs_class": logits.transpose(0, 1), "outputs_coord": boxes.transpose(0, 1)}
            more = {} if key in ("detr", "conditional_detr", "deformable_detr") else more
            _, expected, _ = library(*given, **more)
            ratio = _scale(recipe, config, objects, 6)
            for name, values in sums.items():
                torch.testing.assert_close(
                    values[layer] * ratio[name], expected[name], rtol=1e-5, atol=1e-6, msg=f"{name} {layer}"
                )


def _scale(recipe: Any, config: Any, objects: Objects, queries: int) -> dict[str, float]:
    """What the library multiplies the sum of a part with."""
    scale = dict.fromkeys(("loss_ce", "loss_bbox", "loss_giou"), 1 / max(1, sum(objects.counts)))
    if recipe.name == "loss_vfl":
        return {name: weight * scale["loss_giou"] for name, weight in recipe.weights(config).items()}
    if recipe is RECIPES[ClassLoss.cross_entropy]:
        taken = sum(min(count, queries) for count in objects.counts)
        rest = len(objects.counts) * queries - taken
        scale["loss_ce"] = 1 / (taken + config.eos_coefficient * rest)
    return scale


@pytest.mark.parametrize("where", ["logits", "boxes"])
@pytest.mark.parametrize("key", ["detr", "rt_detr", "d_fine"])
def test_a_prediction_that_is_no_number_makes_the_loss_none(key: str, where: str) -> None:
    torch.manual_seed(0)
    model, family = build(key)
    give_loss(model, family.class_loss)
    heads = [n for n, _ in model.named_parameters() if ("class" if where == "logits" else "bbox") in n]
    with torch.no_grad():
        dict(model.named_parameters())[[n for n in heads if n.endswith("bias")][-1]].fill_(torch.nan)
    labels = labels_of([2, 1], torch.Generator().manual_seed(0))
    output = model(pixel_values=torch.rand(2, 3, 64, 64), labels=labels)
    assert output.loss.isnan()
    assert output.loss_dict.divided(output.loss_dict.own).isnan()
    output.loss.backward()


def test_the_loss_is_computed_in_full_precision() -> None:
    generator = torch.Generator().manual_seed(0)
    labels = labels_of([2, 3], generator)
    config = SimpleNamespace(**FAMILIES["detr"].config_class().to_dict(), num_labels=2)
    given = [torch.randn(2, 6, size, generator=generator).bfloat16() for size in (3, 4)]
    with torch.autocast("cpu", torch.bfloat16):
        losses = [
            Criterion(ClassLoss.cross_entropy)(a, labels, a.device, b.sigmoid().to(a.dtype), config)[0]
            for a, b in (given, [tensor.float() for tensor in given])
        ]
    assert losses[0].dtype == torch.float32
    torch.testing.assert_close(losses[0], losses[1], rtol=1e-2, atol=0.0)


@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16])
def test_the_loss_has_the_type_of_the_predictions(dtype: torch.dtype) -> None:
    """trainer.precision=64-true makes float64 what new tensors are."""
    model, _ = build("detr")
    give_loss(model, FAMILIES["detr"].class_loss)
    model = model.to(dtype)
    labels = labels_of([2, 1], torch.Generator().manual_seed(0))
    before = torch.get_default_dtype()
    torch.set_default_dtype(dtype)
    try:
        output = model(pixel_values=torch.rand(2, 3, 64, 64), labels=labels)
    finally:
        torch.set_default_dtype(before)
    assert output.loss.isfinite()
