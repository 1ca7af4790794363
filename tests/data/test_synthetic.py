import filecmp
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from detr_diff.choices import Registration
from detr_diff.data.check import check
from detr_diff.data.convention import LIMIT, unlabelled_share
from detr_diff.data.description import read_description
from detr_diff.data.diff import abs_diff
from detr_diff.data.discovery import discover
from detr_diff.data.image import read_image
from detr_diff.data.registration import estimate
from detr_diff.data.sprites import NAMES
from detr_diff.data.synthetic import Scene, SceneSettings


def files(root: Path) -> list[str]:
    return sorted(str(path.relative_to(root)) for path in root.rglob("*") if path.is_file())


def test_the_same_seed_gives_the_same_files(tmp_path: Path, cli: Callable) -> None:
    for name, seed in (("a", 1), ("b", 1), ("c", 2)):
        assert cli("data", "synth", f"out={tmp_path / name}", "pairs=6", "scenes=2", f"seed={seed}").code == 0
    listed = files(tmp_path / "a")
    assert len(listed) == 6 * 3 + 1
    same, different, _ = filecmp.cmpfiles(tmp_path / "a", tmp_path / "b", listed, shallow=False)
    assert (len(same), different) == (len(listed), [])
    assert not filecmp.cmp(tmp_path / "a" / listed[1], tmp_path / "c" / listed[1], shallow=False)


def test_an_existing_folder_is_kept(tmp_path: Path, cli: Callable) -> None:
    (tmp_path / "mine.txt").write_text("precious")
    result = cli("data", "synth", f"out={tmp_path}")
    assert result.code == 2
    assert "never overwritten" in result.err
    assert files(tmp_path) == ["mine.txt"]


def test_the_data_set_is_sound(data_root: Path) -> None:
    found = discover(data_root)
    report = check(found, read_description(data_root).names)
    assert report.problems == []
    assert len({pair.scene for pair in found.pairs}) == 10
    assert read_description(data_root).names == list(NAMES)


def test_boxes_are_where_the_picture_changed() -> None:
    settings = SceneSettings(shake=0, noise=0)
    inside, outside = [], []
    for index in range(30):
        pair = Scene(3, settings).pair(index)
        before, after = (torch.from_numpy(f).permute(2, 0, 1) for f in (pair.before, pair.after))
        change = abs_diff(before, after).float().mean(0).numpy()
        mask = np.zeros(change.shape, bool)
        height, width = change.shape
        for _, cx, cy, w, h in pair.rows:
            rows = slice(round((cy - h / 2) * height), round((cy + h / 2) * height))
            mask[rows, round((cx - w / 2) * width) : round((cx + w / 2) * width)] = True
        if pair.rows:
            inside.append(change[mask].mean())
        outside.append(change[~mask].mean())
    assert np.mean(inside) > 5 * np.mean(outside)


def test_moved_objects_are_labelled_in_both_places() -> None:
    scene = Scene(0, SceneSettings(empty=0, width=320, height=256))
    counts = [len(scene.pair(index).rows) for index in range(20)]
    assert sum(count >= 2 for count in counts) >= 15
    assert not Scene(0, SceneSettings(empty=1)).pair(0).rows


def test_each_place_is_said_where_the_object_is() -> None:
    """In the frame that the place names the picture is not that of the empty scene; in the other it is."""
    scene = Scene(1, SceneSettings(empty=0, shake=0, noise=0, appear=0.4))
    empty = scene._draw(scene.parked)[0]
    own, other, both = [], [], 0
    for index in range(30):
        pair = scene.pair(index)
        assert len(pair.places) == len(pair.rows)
        assert len(set(pair.places)) == len(pair.places)
        classes: dict[int, int] = {}
        for (label, cx, cy, w, h), (place, number) in zip(pair.rows, pair.places, strict=True):
            both += number in classes
            assert classes.setdefault(number, label) == label
            rows = slice(round((cy - h / 2) * 128), round((cy + h / 2) * 128))
            columns = slice(round((cx - w / 2) * 160), round((cx + w / 2) * 160))
            frames = {"before": pair.before, "after": pair.after}
            own.append(np.abs(frames.pop(place)[rows, columns] - empty[rows, columns]).mean())
            other.append(np.abs(next(iter(frames.values()))[rows, columns] - empty[rows, columns]).mean())
    assert np.median(own) > 3 * np.median(other)
    assert np.mean(np.array(own) > other) > 0.95
    assert both > 15


def test_the_earlier_frame_is_shaken_and_turned() -> None:
    """The labels are those of the unshaken pair, the later frame too; registration finds the motion."""
    still, shaken = (
        Scene(3, SceneSettings(seed=1, noise=0, width=320, height=256, shake=shake, turn=turn, empty=1))
        for shake, turn in ((0, 0), (6, 2))
    )
    for index in range(5):
        expected, pair = still.pair(index), shaken.pair(index)
        assert pair.rows == expected.rows
        frames = [torch.from_numpy(frame).permute(2, 0, 1) for frame in (pair.before, pair.after)]
        motion = estimate(frames[0], frames[1], Registration.ecc)
        assert motion is not None
        centre = motion @ [159.5, 127.5, 1] - [159.5, 127.5]
        assert np.abs(centre).max() <= 6.2
        assert np.degrees(abs(np.arctan2(motion[1, 0], motion[0, 0]))) <= 2.1


def test_objects_appear_and_leave_when_asked() -> None:
    both = [len(Scene(0, SceneSettings(empty=0)).pair(i).rows) for i in range(20)]
    one = [len(Scene(0, SceneSettings(empty=0, appear=1)).pair(i).rows) for i in range(20)]
    assert sum(one) < 0.7 * sum(both)


def test_after_only_labels_are_noticed(data_root: Path, tmp_path: Path) -> None:
    names = read_description(data_root).names
    both = check(discover(data_root), names).pairs
    assert unlabelled_share(both) < LIMIT
    for pair in both:
        assert pair.pair.label is not None
        target = tmp_path / pair.pair.label.relative_to(data_root)
        target.parent.mkdir(parents=True, exist_ok=True)
        lines = pair.pair.label.read_text().splitlines(keepends=True)
        # The generator writes the old places first.
        target.write_text("".join(lines[len(lines) // 2 :]))
    (tmp_path / "images").symlink_to(data_root / "images")
    after = check(discover(tmp_path), names).pairs
    assert unlabelled_share(after) > LIMIT


def test_frames_are_what_was_drawn(data_root: Path) -> None:
    pair = discover(data_root).pairs[0]
    assert pair.before is not None
    assert read_image(pair.before).shape == (3, 64, 64)
    assert Image.open(pair.after).size == (64, 64)
