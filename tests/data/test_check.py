import os
import re
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image

from detr_diff.data.check import check
from detr_diff.data.description import class_names
from detr_diff.data.discovery import discover
from detr_diff.data.image import inspect_image, read_image
from detr_diff.errors import SettingError

GOOD = "0 0.5 0.5 0.2 0.2\n"


def write_pair(root: Path, name: str, label: str | None = GOOD, size: tuple[int, int] = (8, 6)) -> None:
    for folder in ("images", "labels"):
        (root / folder).mkdir(parents=True, exist_ok=True)
    for role in ("before", "after"):
        Image.new("RGB", (8, 6) if role == "before" else size).save(root / f"images/{name}_{role}.png")
    if label is not None:
        (root / f"labels/{name}.txt").write_text(label)


@pytest.fixture
def broken(tmp_path: Path) -> Path:
    """One pair that is right and one for each thing that can be wrong."""
    write_pair(tmp_path, "good")
    write_pair(tmp_path, "empty", "")
    write_pair(tmp_path, "label_missing", None)
    write_pair(tmp_path, "line", GOOD + "0 2 0.5 0.2 0.2\n0 0.5 0.5\n")
    write_pair(tmp_path, "many", "".join(f"0 0.5 0.{i} 0.2 0.2\n" for i in range(1, 8)))
    write_pair(tmp_path, "sizes", size=(8, 7))
    write_pair(tmp_path, "torn")
    path = tmp_path / "images/torn_after.png"
    Image.fromarray(np.random.default_rng(0).integers(0, 255, (64, 64, 3), np.uint8)).save(path)
    path.write_bytes(path.read_bytes()[:900])
    write_pair(tmp_path, "text")
    (tmp_path / "images/text_before.png").write_text("no picture")
    write_pair(tmp_path, "deep")
    Image.fromarray(np.zeros((6, 8), np.uint16)).save(tmp_path / "images/deep_after.png")
    write_pair(tmp_path, "thin", size=(8, 1))
    write_pair(tmp_path, "half")
    (tmp_path / "images/half_after.png").unlink()
    (tmp_path / "dataset.yaml").write_text("names: [thing]")
    return tmp_path


def expected(root: Path) -> list[str]:
    images, labels = root / "images", root / "labels"
    return [
        f"{images}/half_before.png: its after frame is missing",
        f"{images}/deep_after.png: I;16 pixels, 8 bits a channel expected",
        f"{labels}/label_missing.txt: label file of pair label_missing is missing",
        f"{labels}/line.txt:2: cx 2 is outside [0, 1]; boxes are divided by the image size",
        f"{labels}/line.txt:3: 3 fields, 5 expected: class cx cy w h",
        f"{labels}/many.txt: 7 objects, but the model has 5 queries",
        f"{images}/sizes_after.png: 8x7 pixels, but its before frame has 8x6",
        f"{images}/text_before.png: unreadable image",
        f"{images}/thin_after.png: 8x1 pixels, at least 2x2 expected",
        f"{images}/torn_after.png: unreadable image",
    ]


def test_every_problem_is_listed(broken: Path) -> None:
    report = check(discover(broken), ["thing"], max_objects=5)
    messages = [str(problem) for problem in report.problems]
    assert len(messages) == len(expected(broken))
    for message, start in zip(messages, expected(broken), strict=True):
        assert message.startswith(start)
    assert [item.pair.name for item in report.pairs] == ["empty", "good"]
    assert report.left_out == 9


def test_ready_diff_images_do_not_stack(tmp_path: Path) -> None:
    write_pair(tmp_path, "a")
    (tmp_path / "images/a_before.png").unlink()
    (tmp_path / "images/a_after.png").rename(tmp_path / "images/a.png")
    assert len(check(discover(tmp_path), ["thing"]).pairs) == 1
    report = check(discover(tmp_path), ["thing"], needs_frames=True)
    assert "the model needs both frames" in str(report.problems[0])


def test_the_verb_lists_and_fails(broken: Path, tmp_path: Path, cli: Callable) -> None:
    result = cli("data", "check", f"data.root={broken}", "max_objects=5", f"out={tmp_path / 'check'}")
    assert result.code == 1
    for start in expected(broken):
        assert start in result.out
    findings = len(re.findall(r"^problem: ", result.out, flags=re.M))  # of the pictures
    assert f"2 usable pairs, 9 spoilt, {10 + findings} problems" in result.out


def test_the_verb_is_content_with_good_data(data_root: Path, tmp_path: Path, cli: Callable) -> None:
    result = cli("data", "check", f"data.root={data_root}", f"out={tmp_path / 'check'}")
    assert result.code == 0
    assert "30 usable pairs, 0 spoilt, 0 problems" in result.out


def test_training_refuses_or_leaves_out(broken: Path, tmp_path: Path, cli: Callable) -> None:
    from tests.conftest import TINY

    for index in range(8):
        write_pair(broken, f"more{index}")
    common = [*TINY, f"data.root={broken}", f"runs={tmp_path}", "data.split_by=pair", "trainer.max_epochs=1"]
    common += ["model.config.num_queries=5"]
    refused = cli("train", *common, "run_name=refused")
    assert refused.code == 1
    for start in expected(broken):
        assert start in refused.err
    assert "data.on_error=skip" in refused.err
    assert "Traceback" not in refused.err
    skipped = cli("train", *common, "run_name=skipped", "data.on_error=skip")
    assert skipped.code == 0
    assert "10 problems" in skipped.err
    assert "pairs left out: 9" in skipped.err


def test_pictures_that_would_be_read_otherwise_are_problems(tmp_path: Path) -> None:
    colours = np.full((6, 8, 3), 3200, np.uint16)
    cv2.imwrite(str(tmp_path / "deep.png"), colours)
    cv2.imwrite(str(tmp_path / "deep.tif"), colours)
    for name in ("deep.png", "deep.tif"):
        assert inspect_image(tmp_path / name) == "16 bits a channel, 8 expected"
    for suffix in ("jpg", "tif", "png"):
        path, turned = tmp_path / f"turned.{suffix}", Image.Exif()
        turned[0x0112] = 6
        Image.new("RGB", (8, 6)).save(path, exif=turned)
        assert (
            inspect_image(path)
            == "orientation 6 (EXIF), which is not applied: write it upright, without that"
        )
        turned[0x0112] = 1
        Image.new("RGB", (8, 6)).save(path, exif=turned)
        assert inspect_image(path) == (6, 8)
    for suffix in ("jpg", "png"):  # what cannot be read says nothing
        path = tmp_path / f"torn.{suffix}"
        Image.new("RGB", (8, 6)).save(path, exif=b"Exif\0\0II")
        assert inspect_image(path) == (6, 8)
    path = Path(os.fsdecode(os.fsencode(tmp_path) + b"/k\xe9.png"))
    Image.new("RGB", (8, 6)).save(path)
    assert inspect_image(path) == "its name is not UTF-8 text"
    with pytest.raises(OSError, match="its name is not UTF-8 text"):
        read_image(path)


def test_class_names_are_text_and_different(tmp_path: Path) -> None:
    (tmp_path / "dataset.yaml").write_text("names: [no, yes, 1]\n")
    assert class_names(tmp_path, None) == ["no", "yes", "1"]
    (tmp_path / "dataset.yaml").write_text("\ufeffnames: {1: b, 0: a}\nlabels: both\n")
    assert class_names(tmp_path, None) == ["a", "b"]
    with pytest.raises(SettingError, match=r"data.names=\['car', 'car'\]: different class names expected"):
        class_names(tmp_path, ["car", "car"])
    (tmp_path / "dataset.yaml").write_text("names: [a, ]\nlabels: all\n")
    with pytest.raises(SettingError, match="labels: 'all' is unknown"):
        class_names(tmp_path, None)
