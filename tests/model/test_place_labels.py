"""Classes that come twice: the class head, its transfer, and labels to and fro."""

from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from detr_diff.model.architecture import Architecture, build_model
from detr_diff.model.class_rows import match_classes
from detr_diff.model.load import load_model
from detr_diff.model.place_labels import PlaceLabels, class_names, row_names
from tests.model.sources import pretrained
from tests.model.tiny_models import FAMILIES

SIGMOID_AND_SOFTMAX = ("rt_detr", "detr")


@given(st.integers(1, 5), st.lists(st.tuples(st.integers(0, 4), st.integers(0, 1)), max_size=8))
def test_labels_go_to_and_fro(classes: int, rows: list[tuple[int, int]]) -> None:
    class_labels = torch.tensor([label % classes for label, _ in rows], dtype=torch.int64)
    places = torch.tensor([place for _, place in rows], dtype=torch.int64)
    labels = PlaceLabels(classes).join(class_labels, places)
    names = [f"c{index}" for index in range(classes)]
    assert class_names(row_names(names)) == names
    words = [row_names(names)[label] for label in labels.tolist()]
    assert words == [f"c{label % classes} {('before', 'after')[place]}" for label, place in rows]
    found = PlaceLabels(classes).split(labels)
    assert torch.equal(found[0], class_labels)
    assert torch.equal(found[1], places)


def test_an_unknown_place_is_no_label() -> None:
    with pytest.raises(ValueError, match="places must be 0"):
        PlaceLabels(3).join(torch.tensor([1, 2]), torch.tensor([0, -1]))


@given(st.lists(st.tuples(st.integers(0, 3), st.integers(0, 5)), max_size=12))
def test_a_query_keeps_the_better_place_of_a_class(rows: list[tuple[int, int]]) -> None:
    """Written again as a loop: the first of those with the same box and class stays."""
    boxes = torch.tensor([[query, 0.0, query + 1.0, 1.0] for query, _ in rows]).reshape(-1, 4)
    labels = torch.tensor([label for _, label in rows], dtype=torch.int64)
    scores = torch.linspace(1, 0, len(rows))
    found = PlaceLabels(3).fold({"boxes": boxes, "scores": scores, "labels": labels})
    expected, seen = [], set()
    for rank, (query, label) in enumerate(rows):
        if (query, label % 3) not in seen:
            seen.add((query, label % 3))
            expected.append((query, label % 3, label // 3, float(scores[rank])))
    columns = (found["boxes"][:, 0], found["labels"], found["places"], found["scores"])
    assert list(zip(*(column.tolist() for column in columns), strict=True)) == expected


@pytest.mark.parametrize(
    "name",
    [pytest.param(n, marks=() if n in SIGMOID_AND_SOFTMAX else pytest.mark.exhaustive) for n in FAMILIES],
)
def test_every_family_has_a_row_for_each_place(name: str) -> None:
    model, architecture, _ = load_model(name, ["person", "car"], config=FAMILIES[name], places=True)
    assert architecture.names == ["person", "car"]
    again = Architecture.from_settings(architecture.settings())
    assert (again.names, again.places) == (["person", "car"], True)
    assert build_model(again).state_dict().keys() == model.state_dict().keys()
    labels = PlaceLabels(2).join(torch.tensor([0, 1, 1]), torch.tensor([0, 1, 0]))
    boxes = torch.tensor([[0.2, 0.2, 0.2, 0.2], [0.7, 0.3, 0.2, 0.3], [0.5, 0.7, 0.3, 0.2]])
    output = model(pixel_values=torch.randn(1, 3, 64, 64), labels=[{"boxes": boxes, "class_labels": labels}])
    assert output.logits.shape[-1] in (4, 5)
    assert bool(output.loss.isfinite())


def test_a_pretrained_class_starts_both_places(tmp_path: Path) -> None:
    pretrained("rt_detr", ["truck", "person", "car"], tmp_path)
    config = FAMILIES["rt_detr"]
    source = load_model("rt_detr", ["truck", "person", "car"], config=config, pretrained=str(tmp_path))[0]
    model, _, report = load_model(
        "rt_detr", ["person", "dog"], config=config, pretrained=str(tmp_path), places=True
    )
    assert report.classes == {
        "person before": "person",
        "dog before": None,
        "person after": "person",
        "dog after": None,
    }
    theirs, ours = (detr.state_dict()["model.enc_score_head.weight"] for detr in (source, model))
    assert torch.equal(ours[0], theirs[1])
    assert torch.equal(ours[2], theirs[1])
    assert not torch.equal(ours[1], ours[3])


def test_a_source_with_places_gives_each_its_own() -> None:
    ours, theirs = row_names(["car", "person"]), row_names(["person", "car"])
    rows = match_classes(ours, theirs, 4, given=None, synonyms={}, bases=["car", "person"] * 2)
    assert rows is not None
    assert rows.rows == (1, 0, 3, 2)
    renamed = match_classes(
        ours,
        ["auto", "man"],
        2,
        given=None,
        synonyms={"car": "auto", "person": "man"},
        bases=["car", "person"] * 2,
    )
    assert renamed is not None
    assert renamed.rows == (0, 1, 0, 1)
