"""When training warns that a diff cannot tell which of two places is labelled."""

import logging

import cv2
import numpy as np
import pytest

from detr_diff.choices import Places
from detr_diff.data.change import change, unlabelled_change
from detr_diff.data.check import check
from detr_diff.data.convention import LIMIT, unlabelled_share, warn_of_symmetric_diff
from detr_diff.data.discovery import discover
from detr_diff.data.image import read_image
from detr_diff.data.labelled_pairs import LabelledPairs
from detr_diff.data.synthetic import Scene, SceneSettings

NAMES = ["person", "car", "bicycle"]


@pytest.fixture(scope="module")
def shaken(tmp_path_factory: pytest.TempPathFactory) -> LabelledPairs:
    """Both places are labelled, and the camera has moved by eight pixels."""
    root, look = tmp_path_factory.mktemp("shaken"), SceneSettings(width=320, height=256, shake=0, empty=0)
    (root / "images").mkdir()
    (root / "labels").mkdir()
    for index in range(4):
        pair = Scene(0, look).pair(index)
        moved = np.roll(pair.before, 8, axis=1)
        for role, frame in (("before", moved), ("after", pair.after)):
            cv2.imwrite(str(root / f"images/{index}_{role}.png"), frame[..., ::-1])
        rows = np.array(pair.rows).reshape(-1, 5)
        lines = [" ".join([str(int(row[0])), *map(str, row[1:])]) for row in rows.tolist()]
        (root / f"labels/{index}.txt").write_text("\n".join(lines))
    return check(discover(root), NAMES).pairs


def test_a_camera_that_shook_is_no_change(shaken: LabelledPairs) -> None:
    item = shaken[0]
    assert item.pair.before is not None
    frames = read_image(item.pair.before), read_image(item.pair.after)
    assert unlabelled_change(change(*frames), item.labels.boxes) > LIMIT  # type: ignore[operator]
    assert unlabelled_share(shaken) < LIMIT


@pytest.mark.parametrize(
    ("places", "share", "message"),
    [
        (
            Places.after,
            0.0,
            "dataset.yaml says labels: after, but data.diff=abs cannot tell before from after",
        ),
        (Places.before, 0.0, "dataset.yaml says labels: before, but"),
        (None, 0.9, "90 % of the changed pixels are outside every box: it seems that only the AFTER places"),
        (Places.both, 0.9, "outside every box, although dataset.yaml says labels: both: it seems"),
        (Places.changed, 0.1, None),
        (None, 0.1, None),
    ],
)
def test_the_word_of_the_data_set_and_the_pictures_count(
    places: Places | None,
    share: float,
    message: str | None,
    shaken: LabelledPairs,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("detr_diff.data.convention.unlabelled_share", lambda pairs: share)
    with caplog.at_level(logging.WARNING):
        warn_of_symmetric_diff(shaken, "data.diff=abs", places)
    assert (message in caplog.text) if message else not caplog.text
