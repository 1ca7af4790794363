"""What a model found is what the image processor of its family makes of its output."""

from types import SimpleNamespace

import pytest
import torch

from detr_diff.model.families import FAMILIES
from detr_diff.model.predictions import best_first

SIZES = torch.tensor([[480, 640], [100, 30]])


def output(queries: int, classes: int) -> SimpleNamespace:
    generator = torch.Generator().manual_seed(queries)
    logits = 3 * torch.randn(2, queries, classes, generator=generator)
    return SimpleNamespace(logits=logits, pred_boxes=torch.rand(2, queries, 4, generator=generator))


@pytest.mark.parametrize("queries", [6, 150])
@pytest.mark.parametrize("name", FAMILIES)
def test_it_is_that_of_transformers(name: str, queries: int) -> None:
    family, given = FAMILIES[name], output(queries, 3)
    expected = family.processor_class().post_process_object_detection(given, 0.0, SIZES)
    for found, theirs in zip(best_first(given, family, SIZES), expected, strict=True):
        order = theirs["scores"].argsort(descending=True)
        assert found.keys() == theirs.keys()
        for key, value in found.items():
            torch.testing.assert_close(value, theirs[key][order], msg=key)


@pytest.mark.parametrize("name", ["detr", "rt_detr"])
def test_what_is_no_number_stays_to_be_told(name: str) -> None:
    given = output(6, 3)
    given.logits[0] = torch.nan
    found = best_first(given, FAMILIES[name], SIZES)
    assert found[0]["scores"].isnan().all()
    assert (found[1]["scores"] > 0).all()
