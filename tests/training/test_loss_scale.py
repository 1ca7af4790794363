"""Accumulated gradients are those of one large batch."""

from typing import Any

import pytest
import torch
import yaml

from detr_diff.data.batch import Contents
from detr_diff.model.families import family
from detr_diff.model.load import load_model
from detr_diff.training.criterion import give_loss
from detr_diff.training.loss_scale import BatchLoss, Divisors, EpochLoss, Part
from tests.conftest import ROOT

COUNTS = [12, 0, 1, 0, 7, 1, 0, 0]  # objects of each image: box counts that differ wildly
MODELS = {"detr": "detr_tiny", "rt_detr": "rt_detr_small"}


def model_of(name: str) -> torch.nn.Module:
    torch.manual_seed(0)
    settings = yaml.safe_load((ROOT / f"conf/model/{MODELS[name]}.yaml").read_text())["config"]
    settings |= {"num_denoising": 0} if name == "rt_detr" else {}
    model, _, _ = load_model(name, ["a", "b"], config=settings)
    for module in model.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.momentum = None  # statistics of what it has seen
    with torch.no_grad():
        model(pixel_values=batch(name)[0])
    model.to(memory_format=torch.channels_last)  # as the detector has it
    return model.eval()  # no dropout, and batch norm that does not know its batch


def batch(name: str) -> tuple[torch.Tensor, list[dict[str, torch.Tensor]]]:
    generator = torch.Generator().manual_seed(1)
    labels = []
    for count in COUNTS:
        corners = torch.rand(count, 2, 2, generator=generator).sort(1).values
        centre, size = corners.mean(1), (corners[:, 1] - corners[:, 0]).clamp(min=0.05)
        classes = torch.randint(2, (count,), generator=generator)
        labels.append({"boxes": torch.cat([centre, size], 1), "class_labels": classes})
    images = torch.randn(len(COUNTS), 3, 64, 64, generator=generator)
    return images.contiguous(memory_format=torch.channels_last), labels


def gradient(model: Any, name: str, groups: list[slice]) -> torch.Tensor:
    images, labels = batch(name)
    queries = len(labels) * model.config.num_queries
    whole = Divisors.of(sum(COUNTS), queries, getattr(model.config, "eos_coefficient", 1.0))
    model.zero_grad()
    for group in groups:
        loss = model(pixel_values=images[group], labels=labels[group]).loss_dict
        loss.part(whole, samples=len(images[group])).backward()
    return gradients(model)


def gradients(model: torch.nn.Module) -> torch.Tensor:
    return torch.cat([p.grad.flatten() for p in model.parameters() if p.grad is not None])


@pytest.mark.parametrize("name", MODELS)
def test_accumulated_gradients_are_those_of_one_batch(name: str) -> None:
    model: Any = model_of(name)
    images, labels = batch(name)
    model.zero_grad()
    model(pixel_values=images, labels=labels).loss.backward()  # as the library computes it
    whole = gradients(model)
    give_loss(model, family(name).class_loss)
    for sizes in ([1] * 8, [3, 3, 2], [2, 6], [8]):
        ends = torch.tensor(sizes).cumsum(0).tolist()
        groups = [slice(end - size, end) for size, end in zip(sizes, ends, strict=True)]
        parts = gradient(model, name, groups)
        assert float((parts - whole).norm() / whole.norm()) < 1e-5, sizes


def test_padding_counts_for_nothing() -> None:
    loss = BatchLoss(torch.tensor(5.0), torch.tensor(2.0), Divisors(1, 7.0), {})
    step = Divisors.of(objects=3, queries=20, no_object_weight=0.1)
    assert float(loss.part(step, samples=0)) == 0.0
    assert float(loss.part(step, samples=1)) == pytest.approx(5 / 3 + 2 / (0.1 * 17 + 3))


@pytest.mark.parametrize("name", MODELS)
@pytest.mark.parametrize("sizes", [[1] * 8, [3, 3, 2], [8]])
@torch.no_grad()
def test_the_loss_of_an_epoch_does_not_know_the_size_of_its_batches(name: str, sizes: list[int]) -> None:
    model: Any = model_of(name)
    images, labels = batch(name)
    whole = model(pixel_values=images, labels=labels)  # as the library computes it
    give_loss(model, family(name).class_loss)
    found, end = EpochLoss(), 0
    for size in sizes:
        group, end = slice(end, end + size), end + size
        loss = model(pixel_values=images[group], labels=labels[group]).loss_dict
        found.update(loss, Contents(sum(COUNTS[group]), size))
        found.update(loss, Contents(0, 0))  # padding
    figures = found.compute()
    torch.testing.assert_close(figures.pop("loss"), whole.loss, rtol=1e-5, atol=1e-5)
    last = {key: value for key, value in whole.loss_dict.items() if not key[-1].isdigit()}
    assert set(figures) <= set(last)
    assert {"loss_bbox", "loss_giou"} < set(figures)
    for key, value in figures.items():
        torch.testing.assert_close(value, last[key], rtol=1e-5, atol=1e-5, check_dtype=False, msg=key)
    found.reset()
    assert float(found.compute()["loss"]) == 0.0


def test_a_process_with_padding_alone_sums_up_the_same_figures() -> None:
    """One that knew fewer of them would gather less often, and the others would wait for it for ever."""
    loss = BatchLoss(
        torch.tensor(5.0),
        torch.tensor(2.0),
        Divisors(1, 7.0),
        {"loss_giou": Part(torch.tensor(3.0), 2), "loss_bbox": Part(torch.tensor(torch.nan), 2)},
    )
    padded, whole = EpochLoss(), EpochLoss()
    padded.update(loss, Contents(0, 0))
    whole.update(loss, Contents(2, 1))
    assert list(padded.metric_state) == list(whole.metric_state)
    assert all(float(value) == 0.0 for value in padded.metric_state.values())
    assert float(whole.compute()["loss_giou"]) == 1.5
