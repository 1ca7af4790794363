"""Which old and new place are of the same object."""

from itertools import permutations

import numpy as np
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from detr_diff.evaluation.appearance import appearance
from detr_diff.evaluation.linking import assign, link

costs = st.tuples(st.integers(0, 4), st.integers(0, 4)).flatmap(
    lambda shape: arrays(float, shape, elements=st.sampled_from([0.0, 0.1, 0.3, 0.5, 0.75, 1.0, np.inf]))
)


def most_saved(cost: np.ndarray, limit: float) -> float:
    """By trying every way to link, or to leave alone."""
    rows, columns = cost.shape
    saved = np.maximum(limit - cost, 0)
    saved = np.pad(saved, ((0, 0), (0, rows)))  # a column of its own for each row that is left alone
    return max(
        (
            sum(saved[row, column] for row, column in enumerate(chosen))
            for chosen in permutations(range(columns + rows), rows)
        ),
        default=0.0,
    )


@given(costs, st.sampled_from([0.2, 0.6]))
def test_the_links_are_the_best_that_there_are(cost: np.ndarray, limit: float) -> None:
    rows, columns = assign(cost, limit)
    assert len(set(rows)) == len(rows)
    assert len(set(columns)) == len(columns)
    assert (cost[rows, columns] < limit).all()
    assert np.isclose((limit - cost[rows, columns]).sum(), most_saved(cost, limit))


def scene(
    seed: int, spots: list[tuple[int, int]], colours: list[tuple[int, ...]], mirror: bool
) -> np.ndarray:
    """Two-coloured things of 20x16 pixels on a ground that is the same for a seed."""
    frame = np.random.default_rng(seed).integers(60, 120, (120, 160, 3)).astype(np.uint8)
    for (x, y), colour in zip(spots, colours, strict=True):
        frame[y : y + 20, x : x + 16] = colour
        side = slice(x + 10, x + 16) if mirror else slice(x, x + 6)
        frame[y + 10 : y + 20, side] = (20, 20, 20)
    return frame


RED, BLUE, WHITE = (230, 40, 40), (40, 60, 230), (240, 240, 240)
OLD, NEW = [(5, 10), (60, 30), (110, 70)], [(30, 80), (130, 5), (80, 90)]


def found(labels: list[int]) -> dict[str, torch.Tensor]:
    """The three old places, then the three new ones."""
    corners = [[x, y, x + 16, y + 20] for x, y in (*OLD, *NEW)]
    places = torch.tensor([0, 0, 0, 1, 1, 1])
    return {"boxes": torch.tensor(corners).float(), "labels": torch.tensor(labels), "places": places}


def tensors(*frames: np.ndarray) -> list[torch.Tensor]:
    return [torch.from_numpy(frame).permute(2, 0, 1) for frame in frames]


def test_objects_are_known_again_by_their_looks() -> None:
    before = scene(0, OLD, [RED, BLUE, WHITE], mirror=False)
    after = scene(0, NEW, [WHITE, RED, BLUE], mirror=True)
    partners = link(found([0] * 6), *tensors(before, after))
    assert partners.tolist() == [4, 5, 3, 2, 0, 1]


def test_the_class_must_agree() -> None:
    before = scene(0, OLD, [RED, BLUE, WHITE], mirror=False)
    after = scene(0, NEW, [WHITE, RED, BLUE], mirror=True)
    partners = link(found([0, 0, 0, 0, 1, 0]), *tensors(before, after))
    assert partners.tolist() == [-1, 5, 3, 2, -1, 1]


def test_a_place_that_is_found_twice_is_linked_once() -> None:
    """The weaker box of each place fits the object better, but it is the other one that counts as found."""
    before = scene(0, OLD, [RED, BLUE, WHITE], mirror=False)
    after = scene(0, NEW, [WHITE, RED, BLUE], mirror=True)
    once = found([0] * 6)
    again = {**once, "boxes": once["boxes"] + 3}
    twice = {key: torch.cat([again[key], once[key]]) for key in once}
    scores = torch.cat([torch.linspace(0.9, 0.6, 6), torch.linspace(0.5, 0.4, 6)])
    links = link({**twice, "scores": scores}, *tensors(before, after))
    assert links.tolist() == [4, 5, 3, 2, 0, 1] + [-1] * 6
    # The weaker ones of another class are other things.
    twice["labels"][6:] = 1
    links = link({**twice, "scores": scores}, *tensors(before, after))
    assert links.tolist() == [4, 5, 3, 2, 0, 1, 10, 11, 9, 8, 6, 7]


def test_what_appeared_is_linked_to_nothing() -> None:
    """The old place of one thing and the new one of another, which look different."""
    before, after = scene(0, OLD[:1], [RED], mirror=False), scene(0, NEW[:1], [BLUE], mirror=False)
    both = {key: value[[0, 3]] for key, value in found([0] * 6).items()}
    assert link(both, *tensors(before, after)).tolist() == [-1, -1]
    none = {key: value[:0] for key, value in both.items()}
    assert link(none, *tensors(before, after)).tolist() == []


def test_the_ground_behind_an_object_does_not_count() -> None:
    """The same thing on a dark and on a bright ground; the other frames show that ground."""
    looks = []
    for ground in (20, 235):
        other = np.full((60, 60, 3), ground, np.uint8)
        own = other.copy()
        own[20:40, 25:35] = RED  # a third of the box
        looks.append(appearance(own, other, np.array([[15.0, 20.0, 45.0, 40.0]]))[0])
        assert np.isclose(np.linalg.norm(looks[-1]), 1)
    assert looks[0] @ looks[1] > 0.9


def test_a_box_outside_the_picture_looks_like_nothing() -> None:
    frame = np.zeros((20, 30, 3), np.uint8)
    boxes = np.array([[40.0, 5.0, 50.0, 10.0], [-5.0, -5.0, 3.0, 3.0]])
    found = appearance(frame, frame, boxes)
    assert not found[0].any()
    assert np.isclose(np.linalg.norm(found[1]), 1)
