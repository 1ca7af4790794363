from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

from detr_diff.data.duplicates import NEAR, SAME, Pictures, fingerprint, shared_files
from detr_diff.data.frame_pair import FramePair
from detr_diff.data.synthetic import Scene, SceneSettings
from detr_diff.evaluation.overlays import write

SETTINGS = SceneSettings(width=240, height=180, shake=0)


def frame(scene: int, index: int = 0) -> torch.Tensor:
    return torch.from_numpy(Scene(scene, SETTINGS).pair(index).before).permute(2, 0, 1)


def add(pictures: Pictures, pair: str, path: Path, split: str, picture: torch.Tensor) -> None:
    write(path, picture)
    pictures.add(pair, path, split, picture)


def copied(picture: torch.Tensor, how: str) -> torch.Tensor:
    pixels = picture.permute(1, 2, 0).contiguous().numpy()
    if how.startswith("jpeg"):
        code = cv2.imencode(".jpg", pixels, [cv2.IMWRITE_JPEG_QUALITY, int(how[4:])])[1]
        return torch.from_numpy(cv2.imdecode(code, cv2.IMREAD_COLOR)).permute(2, 0, 1)
    size = {"half": (120, 90), "larger": (360, 270), "odd": (200, 150)}[how]
    way = cv2.INTER_CUBIC if how == "larger" else cv2.INTER_AREA
    return torch.from_numpy(cv2.resize(pixels, size, interpolation=way)).permute(2, 0, 1)


@pytest.mark.parametrize("how", ["jpeg90", "jpeg60", "half", "larger", "odd"])
def test_a_copy_is_found(how: str, tmp_path: Path) -> None:
    pictures = Pictures()
    for scene in range(3):
        add(pictures, f"train{scene}", tmp_path / f"t{scene}.png", "train", frame(scene))
    add(pictures, "val", tmp_path / "v.png", "val", copied(frame(1), how))
    (found,) = pictures.repeated()
    assert (found.pair, found.split, found.other_pair, found.other_split) == ("val", "val", "train1", "train")
    assert (found.path, found.other_path) == (tmp_path / "v.png", tmp_path / "t1.png")


def test_frames_that_differ_by_a_small_object_are_no_copies(tmp_path: Path) -> None:
    """In a still yard nothing tells them apart but what moved, and that is lost in a picture of 32x32."""
    empty = torch.randint(90, 110, (3, 1080, 1920), dtype=torch.uint8)
    empty[:, :500] = 30
    pictures = Pictures()
    for index, split in enumerate(("train", "val")):
        picture = empty.clone()
        picture[:, 600:624, 300 + 400 * index : 312 + 400 * index] += 60
        add(pictures, split, tmp_path / f"{split}.png", split, picture)
    assert np.abs(pictures._small[0].astype(int) - pictures._small[1]).max() <= SAME
    assert pictures.repeated() == []


def test_other_frames_of_a_camera_are_no_copies(tmp_path: Path) -> None:
    pictures = Pictures()
    for index in range(12):
        split = ("train", "val", "test")[index % 3]
        add(pictures, str(index), tmp_path / f"{index}.png", split, frame(0, index))
    assert pictures.repeated() == []
    assert pictures.one_camera()


def test_cameras_are_told_apart() -> None:
    pictures = Pictures()
    for scene in range(8):
        pictures.add(str(scene), Path(f"{scene}.png"), "train", frame(scene))
    assert not pictures.one_camera()
    assert not Pictures().one_camera()


def test_copies_within_a_split_or_left_out_do_not_count() -> None:
    pictures = Pictures()
    pictures.add("a", Path("a.png"), "train", frame(0))
    pictures.add("b", Path("b.png"), "train", frame(0))
    pictures.add("c", Path("c.png"), None, frame(0))
    assert pictures.repeated() == []


def test_empty_pictures_are_not_compared() -> None:
    pictures = Pictures()
    for split in ("train", "val"):
        pictures.add(split, Path(f"{split}.png"), split, torch.full((3, 60, 80), 7, dtype=torch.uint8))
    assert pictures.repeated() == []


def test_the_fingerprint_holds_the_energy_of_the_low_frequencies() -> None:
    coefficients, small = fingerprint(frame(0))
    # Orthonormal: the first coefficient is the mean times the side.
    assert coefficients[0] == pytest.approx(32 * small.mean(), rel=1e-4)
    assert np.square(coefficients).sum() <= np.square(small.astype(float)).sum() + 1
    brighter, _ = fingerprint((frame(0).float() + 2).clamp(0, 255).to(torch.uint8))
    assert np.linalg.norm(brighter - coefficients) > NEAR


def pair(name: str, before: str, after: str) -> FramePair:
    return FramePair(name, Path(before), Path(after), None)


def test_shared_files_are_counted_and_named() -> None:
    pairs = [pair("a", "1", "2"), pair("b", "2", "3"), pair("c", "3", "4"), pair("d", "4", "5")]
    number, found = shared_files(pairs, ["train", "train", "val", None])
    assert number == 1
    assert [(r.pair, r.split, r.other_pair, r.other_split, r.path) for r in found] == [
        ("c", "val", "b", "train", Path("3"))
    ]
    number, found = shared_files(pairs, ["test", "val", "train", "test"])
    assert number == 3
    assert [(r.path.name, r.split, r.other_split) for r in found] == [
        ("2", "test", "val"),
        ("3", "val", "train"),
        ("4", "test", "train"),
    ]
    assert len(shared_files(pairs, ["test", "val", "train", "test"], most=2)[1]) == 2
    assert shared_files(pairs, ["train"] * 4) == (0, [])
    assert shared_files(pairs, [None] * 4) == (0, [])
