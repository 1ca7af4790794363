import torch

from detr_diff.data.truth import truths_in_pixels


def target(boxes: list[list[float]], height: int, width: int) -> dict[str, torch.Tensor]:
    return {
        "boxes": torch.tensor(boxes).reshape(-1, 4),
        "class_labels": torch.arange(len(boxes)),
        "objects": torch.arange(len(boxes)) + 7,
        "size": torch.tensor([height, width]),
    }


def test_each_image_has_its_own_size_and_its_own_objects() -> None:
    targets = [
        target([[0.5, 0.5, 0.2, 0.4], [0.25, 0.75, 0.5, 0.5]], 100, 200),
        target([], 50, 50),
        target([[0.5, 0.5, 1.0, 1.0]], 30, 40),
    ]
    truths = truths_in_pixels(targets)
    expected = [[[80, 30, 120, 70], [0, 50, 100, 100]], [], [[0, 0, 40, 30]]]
    for truth, own, boxes in zip(truths, targets, expected, strict=True):
        torch.testing.assert_close(truth["boxes"], torch.tensor(boxes, dtype=torch.float32).reshape(-1, 4))
        assert truth["labels"] is own["class_labels"]
        assert truth["objects"] is own["objects"]
        assert "places" not in truth


def test_no_image() -> None:
    assert truths_in_pixels([]) == []
