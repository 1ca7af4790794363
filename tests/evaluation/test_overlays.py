import torch

from detr_diff.evaluation.overlays import (
    OLD_PLACE,
    PREDICTION,
    TRUTH,
    above,
    best_and_worst,
    draw,
    errors,
    file_name,
    file_names,
)


def boxes(*rows: tuple[float, float, float, float], labels: list[int], scores: list[float] | None = None):
    result = {"boxes": torch.tensor(rows).reshape(-1, 4), "labels": torch.tensor(labels, dtype=torch.int64)}
    return result if scores is None else result | {"scores": torch.tensor(scores)}


TWO = boxes((0, 0, 10, 10), (20, 20, 30, 30), labels=[0, 1])


def test_hits_false_alarms_and_misses_are_counted() -> None:
    found = boxes((0, 0, 10, 9), (20, 20, 30, 30), (50, 50, 60, 60), labels=[0, 0, 1], scores=[0.9, 0.8, 0.2])
    assert errors(found, TWO, 0.5) == (1, 1, 1)
    assert errors(found, TWO, 0.1) == (1, 2, 1)
    assert errors(found, boxes(labels=[]), 0.5) == (0, 2, 0)
    assert errors(boxes(labels=[], scores=[]), TWO, 0.5) == (0, 0, 2)
    assert len(above(found, 0.8)["labels"]) == 2


def test_best_and_worst_share_no_image() -> None:
    results = [(2, 0, 0), (0, 0, 0), (1, 3, 0), (0, 1, 1), (4, 0, 0)]
    assert best_and_worst(results, 2) == ([4, 0], [2, 3])
    best, worst = best_and_worst(results, 9)
    assert sorted(best + worst) == [0, 1, 2, 3, 4]
    assert best_and_worst([], 3) == ([], [])
    assert best_and_worst([(0, 1, 0)], 3) == ([0], [])


def test_boxes_are_drawn_where_they_are() -> None:
    image = torch.zeros(9, 48, 64, dtype=torch.uint8)
    found = boxes((20, 10, 40, 30), labels=[1], scores=[0.75])
    picture = draw(image, ["a", "b"], found, boxes((5, 5, 15, 45), labels=[0]))
    assert picture.shape == (3, 480, 640)
    assert picture[:, 200, 201].tolist() == list(PREDICTION)
    assert picture[:, 300, 51].tolist() == list(TRUTH)
    assert picture[:, 470, 630].tolist() == [0, 0, 0]
    assert draw(image, ["a", "b"], boxes(labels=[], scores=[])).sum() == 0


def test_a_box_beyond_the_picture_is_drawn() -> None:
    image = torch.zeros(3, 48, 64, dtype=torch.uint8)
    found = boxes((-5, -5, 80, 60), labels=[0], scores=[0.9])
    assert draw(image, ["a"], found).sum() > 0


def test_names_become_file_names() -> None:
    assert file_name("scene 1/pair:2") == "scene_1_pair_2"
    assert len(file_name("ä" * 300).encode()) < 200


def test_an_arrow_leads_from_the_old_place_to_the_new_one() -> None:
    image = torch.zeros(3, 480, 480, dtype=torch.uint8)
    boxes = torch.tensor([[40.0, 40, 80, 80], [380, 380, 440, 440]])
    shared = {"boxes": boxes, "scores": torch.ones(2), "labels": torch.zeros(2, dtype=torch.int64)}
    places = torch.tensor([0, 1])
    linked = draw(image, ["car"], {**shared, "places": places, "links": torch.tensor([1, 0])})
    alone = draw(image, ["car"], {**shared, "places": places, "links": torch.tensor([-1, -1])})
    middle = (..., slice(200, 260), slice(200, 260))
    assert linked[middle].any()
    assert not alone[middle].any()
    # The old place has a colour of its own, which a prediction without places has not.
    corner = (slice(None), 80, 60)
    assert alone[corner].tolist() == list(OLD_PLACE)
    assert draw(image, ["car"], shared)[corner].tolist() == list(PREDICTION)


def test_files_of_pairs_have_names_of_their_own() -> None:
    names = file_names(["cam/1_0", "cam_1/0", "cam_1_0", "x" * 300])
    assert len(set(names)) == 4
    assert names[0] == "cam_1_0"
    assert max(map(len, names)) < 255
    # A pair may be called what another one would be with its number.
    assert file_names(["a-2", "a", "a"]) == ["a-2", "a", "a-2-2"]
