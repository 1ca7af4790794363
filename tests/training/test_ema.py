import torch
from torch import nn

from detr_diff.training.ema import WeightAverage


def test_the_average_is_the_recursion_written_out() -> None:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(3, 2), nn.BatchNorm1d(2))
    average = WeightAverage(model, 0.5)
    assert not any(p.requires_grad for p in average.parameters())
    expected: torch.Tensor | None = None
    for update in range(8):
        with torch.no_grad():
            model[0].weight.normal_()
            model[1].running_mean.normal_()
            model[1].num_batches_tracked += 1
        decay = min(0.5, (1 + update) / (10 + update))
        weight = model[0].weight.detach().clone()
        expected = weight if expected is None else decay * expected + (1 - decay) * weight
        average.update(model, update)
    torch.testing.assert_close(average.module[0].weight, expected)
    assert average.module[1].num_batches_tracked == 8
    assert not torch.equal(average.module[1].running_mean, model[1].running_mean)


def test_shared_weights_are_averaged_once() -> None:
    model = nn.Module()
    model.head = nn.Linear(2, 2)
    model.heads = nn.ModuleList([model.head, model.head])
    average = WeightAverage(model, 0.5)
    start = model.head.weight.detach().clone()
    average.update(model, 0)
    with torch.no_grad():
        model.head.weight += 1.0
    average.update(model, 10)
    torch.testing.assert_close(average.module.head.weight, start + 0.5)
