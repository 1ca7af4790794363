import re

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from detr_diff.errors import SettingError
from detr_diff.model.class_rows import match_classes
from detr_diff.model.coco_classes import coco_classes

WORDS = ["person", "car", "traffic light", "dog", "boat", "pin-hole"]


@given(st.permutations(WORDS), st.permutations(WORDS), st.integers(1, 6), st.integers(1, 6), st.booleans())
def test_each_class_starts_from_the_row_of_its_name(
    theirs: list[str], ours: list[str], many: int, few: int, no_object: bool
) -> None:
    theirs, ours = theirs[:many], ours[:few]
    source = torch.randn(many + no_object, 3)
    target = torch.zeros(few + no_object, 3)
    rows = match_classes(ours, theirs, many, given=None, synonyms={})
    assert rows is not None
    fitted = rows.fit(source, target)
    if not set(ours) & set(theirs):
        assert fitted is None
        return
    assert fitted is not None
    for index, name in enumerate(ours):
        expected = source[theirs.index(name)] if name in theirs else target[index]
        assert torch.equal(fitted[index], expected)
    if no_object:
        assert torch.equal(fitted[-1], source[-1])
    assert rows.arrived(source, fitted)
    assert not rows.arrived(source, fitted + 1)


def test_case_and_hyphens_make_no_other_name() -> None:
    rows = match_classes(["Traffic_Light", "pin hole"], WORDS, 6, given=None, synonyms={})
    assert rows is not None
    assert rows.mapping() == {"Traffic_Light": "traffic light", "pin hole": "pin-hole"}


def test_other_words_must_be_given() -> None:
    assert match_classes(["van"], WORDS, 6, given=None, synonyms={}).mapping() == {"van": None}
    synonyms = {"van": "car"}
    assert match_classes(["van"], WORDS, 6, given=None, synonyms=synonyms).mapping() == {"van": "car"}


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (
            {"synonyms": {"vann": "car"}},
            "model.transfer.synonyms.vann: no class of the data, did you mean van?",
        ),
        ({"synonyms": {"van": "carr"}}, "synonyms.van=carr: no class of the source, did you mean car"),
        ({"given": ["a", "b"]}, "model.transfer.class_names: 2 names, the class head has 6 classes"),
    ],
)
def test_a_wrong_name_is_told(settings: dict, message: str) -> None:
    with pytest.raises(SettingError, match=re.escape(message)):
        match_classes(["van"], WORDS, 6, **{"given": None, "synonyms": {}, **settings})


def test_what_the_user_says_is_believed_more() -> None:
    rows = match_classes(["car"], ["car", "dog"], 2, given=["dog", "car"], synonyms={})
    assert rows is not None
    assert (rows.rows, rows.said_by) == ((1,), "model.transfer.class_names")


def test_coco_is_known_by_its_size() -> None:
    """The ids as the annotation files of COCO have them, and as 80 classes in order."""
    by_id, in_order = coco_classes(91), coco_classes(80)
    assert by_id is not None
    assert in_order is not None
    published = {
        1: "person",
        2: "bicycle",
        3: "car",
        8: "truck",
        13: "stop sign",
        44: "bottle",
        90: "toothbrush",
    }
    assert {index: by_id[index] for index in published} == published
    assert sum(name == "N/A" for name in by_id) == 11
    assert [in_order.index(name) for name in ("person", "truck", "bottle", "toothbrush")] == [0, 7, 39, 79]
    assert coco_classes(20) is None
    rows = match_classes(["N/A", "truck"], None, 91, given=None, synonyms={})
    assert rows is not None
    assert rows.rows == (None, 8)
    assert match_classes(["truck"], None, 5, given=None, synonyms={}) is None
    with pytest.raises(SettingError, match="the classes of the source are not known"):
        match_classes(["truck"], None, 5, given=None, synonyms={"truck": "lorry"})
