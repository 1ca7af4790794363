"""`detr-diff data check` names what was planted, and leaves healthy data alone."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image

from detr_diff.cli import main
from tests.conftest import ROOT

SYNTH = ("pairs=48", "scenes=8", "width=128", "height=96")


@pytest.fixture(scope="module")
def healthy(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("healthy") / "data"
    assert main(["data", "synth", f"out={root}", *SYNTH]) == 0
    return root


@pytest.fixture
def planted(healthy: Path, tmp_path: Path) -> Path:
    """A copy of the healthy data to be spoilt."""
    return Path(shutil.copytree(healthy, tmp_path / "data"))


def findings(folder: Path) -> dict[str, str]:
    """Name and level of what check.json says."""
    content = json.loads((folder / "check.json").read_text())
    return {finding["name"]: finding["level"] for finding in content["findings"]}


def checked(cli: Callable, root: Path, out: Path, *words: str) -> tuple[int, dict[str, str]]:
    result = cli("data", "check", f"data.root={root}", f"out={out}", "shown=0", "inspect=20", *words)
    return result.code, findings(out)


def labels(root: Path) -> list[Path]:
    return sorted((root / "labels").rglob("*.txt"))


def rewrite(root: Path, change: Callable[[list[str]], list[str]]) -> None:
    """Change the rows of every label file; a row is a list of five words, without place and object."""
    for path in labels(root):
        rows = [change(line.split()[:5]) for line in path.read_text().splitlines()]
        path.write_text("".join(" ".join(row) + "\n" for row in rows))


def repaint(root: Path, role: str, change: Callable[[np.ndarray], np.ndarray]) -> None:
    """Change the pixels of every before or after frame."""
    for path in sorted((root / "images").rglob(f"*_{role}.jpg")):
        cv2.imwrite(str(path), change(cv2.imread(str(path))), [cv2.IMWRITE_JPEG_QUALITY, 95])


def test_healthy_data_has_nothing_worse_than_notes(healthy: Path, tmp_path: Path, cli: Callable) -> None:
    code, found = checked(cli, healthy, tmp_path / "out")
    assert code == 0
    assert set(found.values()) <= {"note"}
    content = json.loads((tmp_path / "out/check.json").read_text())
    assert not [pair for pair in content["inspected"] if any(pair["still"])]
    missing = [f["pairs"] for f in content["findings"] if f["name"] == "labels missing"]
    assert sum(map(len, missing)) <= 2


def test_the_report_is_written(healthy: Path, tmp_path: Path, cli: Callable) -> None:
    out = tmp_path / "out"
    result = cli("data", "check", f"data.root={healthy}", f"out={out}", "inspect=12", "shown=2")
    assert result.code == 0
    assert result.out.rstrip().endswith("48 usable pairs, 0 spoilt, 0 problems")
    for words in ("│ pairs ", "│ scenes ", "width px", f"{out}/check.json", f"{out}/contact_sheet.png"):
        assert words in result.out
    assert "note: not all pairs looked at: 12 of 48 pairs" in result.out
    content = json.loads((out / "check.json").read_text())
    assert len(content["inspected"]) == 12
    assert sum(split["pairs"] for split in content["splits"]) == 48
    assert sum(row["objects"] for row in content["classes"]) == sum(
        len(path.read_text().splitlines()) for path in labels(healthy)
    )
    assert Image.open(out / "contact_sheet.png").width == 2000


@pytest.mark.exhaustive
def test_the_result_is_a_function_of_the_seed(healthy: Path, tmp_path: Path, cli: Callable) -> None:
    for name, seed in (("a", 1), ("b", 1), ("c", 2)):
        checked(cli, healthy, tmp_path / name, "inspect=8", f"seed={seed}")
    a, b, c = ((tmp_path / name / "check.json").read_text() for name in "abc")
    assert a == b != c


def test_folders_are_numbered_and_never_overwritten(
    healthy: Path, tmp_path: Path, cli: Callable, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for _ in range(2):
        assert cli("data", "check", f"data.root={healthy}", "inspect=2", "shown=0").code == 0
    assert sorted(path.name for path in (tmp_path / "checks").iterdir()) == ["data-1", "data-2"]
    refused = cli("data", "check", f"data.root={healthy}", "out=checks/data-1")
    assert refused.code == 2
    assert "never overwritten" in refused.err
    wrong = cli("data", "check", f"data.root={healthy}", "data.val=2")
    assert wrong.code == 2
    assert len(list((tmp_path / "checks").iterdir())) == 2


@pytest.mark.parametrize("word", ["inspect=0", "shown=-1"])
def test_wrong_numbers_are_refused(healthy: Path, cli: Callable, word: str) -> None:
    result = cli("data", "check", f"data.root={healthy}", word)
    assert result.code == 2
    assert word in result.err


@pytest.mark.exhaustive
def test_labels_one_off_are_named(planted: Path, tmp_path: Path, cli: Callable) -> None:
    texts = [path.read_text() for path in labels(planted)]
    for path, text in zip(labels(planted), texts[1:] + texts[:1], strict=True):
        path.write_text(text)
    code, found = checked(cli, planted, tmp_path / "out")
    assert code == 1
    assert found["labels of another pair"] == "problem"
    assert "labels in another format" not in found


@pytest.mark.parametrize("order", [(0, 2, 1, 4, 3), (0, 2, 1, 3, 4)])
def test_x_and_y_swapped_is_named(
    planted: Path, tmp_path: Path, cli: Callable, order: tuple[int, ...]
) -> None:
    rewrite(planted, lambda row: [row[index] for index in order])
    code, found = checked(cli, planted, tmp_path / "out")
    assert code == 1
    assert found["labels in another format"] == "problem"


def test_upper_left_corners_are_named(planted: Path, tmp_path: Path, cli: Callable) -> None:
    def corner(row: list[str]) -> list[str]:
        cx, cy, w, h = map(float, row[1:])
        return [row[0], f"{max(0, cx - w / 2):.6f}", f"{max(0, cy - h / 2):.6f}", *row[3:]]

    rewrite(planted, corner)
    code, found = checked(cli, planted, tmp_path / "out")
    assert code == 1
    assert found["labels in another format"] == "problem"


def test_after_only_labels_do_not_fit_a_symmetric_diff(planted: Path, tmp_path: Path, cli: Callable) -> None:
    for path in labels(planted):
        lines = path.read_text().splitlines(keepends=True)
        path.write_text("".join(lines[len(lines) // 2 :]))  # the generator writes the old places first
    code, found = checked(cli, planted, tmp_path / "abs")
    assert code == 1
    assert found["one place labelled"] == "problem"
    code, found = checked(cli, planted, tmp_path / "signed", "data.diff=signed")
    assert code == 0
    assert found["one place labelled"] == "note"


def test_swapped_frames_of_after_only_labels_are_named(planted: Path, tmp_path: Path, cli: Callable) -> None:
    for number, path in enumerate(labels(planted)):
        lines = path.read_text().splitlines(keepends=True)
        path.write_text("".join(lines[len(lines) // 2 :]))
        if number % 3 == 0:
            frame = planted / "images" / path.relative_to(planted / "labels").with_suffix("")
            before, after = (Path(f"{frame}_{role}.jpg") for role in ("before", "after"))
            pixels = before.read_bytes()
            before.write_bytes(after.read_bytes())
            after.write_bytes(pixels)
    code, found = checked(cli, planted, tmp_path / "out", "data.diff=stack", "inspect=null")
    assert code == 1
    assert found["frames swapped"] == "problem"
    content = json.loads((tmp_path / "out/check.json").read_text())
    (finding,) = (f for f in content["findings"] if f["name"] == "frames swapped")
    swapped = {
        path.relative_to(planted / "labels").with_suffix("").as_posix() for path in labels(planted)[::3]
    }
    assert len(swapped & set(finding["pairs"])) >= 0.8 * len(finding["pairs"])


def test_dataset_yaml_tells_the_convention(planted: Path, tmp_path: Path, cli: Callable) -> None:
    description = planted / "dataset.yaml"
    description.write_text(description.read_text().replace("labels: changed", "labels: after"))
    code, found = checked(cli, planted, tmp_path / "out")
    assert code == 1
    assert found["one place labelled"] == "problem"


def test_half_of_the_rows_missing_is_named(planted: Path, tmp_path: Path, cli: Callable) -> None:
    rng = np.random.default_rng(0)
    for path in labels(planted):
        lines = path.read_text().splitlines(keepends=True)
        path.write_text("".join(line for line in lines if rng.random() < 0.5))
    code, found = checked(cli, planted, tmp_path / "out")
    assert code == 1
    assert found["labels missing"] == "problem"


@pytest.mark.exhaustive
def test_half_of_the_label_files_empty_is_named(planted: Path, tmp_path: Path, cli: Callable) -> None:
    for path in labels(planted)[::2]:
        path.write_text("")
    code, found = checked(cli, planted, tmp_path / "out")
    assert code == 1
    assert found["labels missing"] == "problem"


@pytest.mark.exhaustive
def test_labels_of_other_data_are_named(planted: Path, tmp_path: Path, cli: Callable) -> None:
    assert cli("data", "synth", f"out={tmp_path / 'other'}", "seed=9", *SYNTH).code == 0
    shutil.rmtree(planted / "labels")
    shutil.copytree(tmp_path / "other/labels", planted / "labels")
    code, found = checked(cli, planted, tmp_path / "out")
    assert code == 1
    assert found["labels do not fit"] == "problem"


@pytest.mark.exhaustive
def test_camera_shake_is_named(tmp_path: Path, cli: Callable) -> None:
    root = tmp_path / "data"
    assert cli("data", "synth", f"out={root}", "shake=4", *SYNTH).code == 0
    code, found = checked(cli, root, tmp_path / "out")
    assert code == 0
    assert found.pop("camera shake") == "suspicious"
    assert set(found.values()) <= {"note"}


def test_a_brightness_shift_is_named(planted: Path, tmp_path: Path, cli: Callable) -> None:
    repaint(planted, "after", lambda pixels: cv2.convertScaleAbs(pixels, alpha=1.1, beta=12))
    code, found = checked(cli, planted, tmp_path / "out")
    assert code == 0
    assert found.pop("brightness shift") == "suspicious"
    assert set(found.values()) <= {"note"}


def test_a_copied_picture_in_two_splits_is_named(planted: Path, tmp_path: Path, cli: Callable) -> None:
    first, *others = sorted((planted / "images/scene_0000").glob("*_before.jpg"))
    for path in others:
        cv2.imwrite(str(path), cv2.imread(str(first)), [cv2.IMWRITE_JPEG_QUALITY, 60])
    _, found = checked(cli, planted, tmp_path / "scene")
    assert "picture in two splits" not in found
    code, found = checked(cli, planted, tmp_path / "pair", "data.split_by=pair", "inspect=null")
    assert code == 1
    assert found["picture in two splits"] == "problem"


def test_scenes_and_frames_in_two_splits_are_named(healthy: Path, tmp_path: Path, cli: Callable) -> None:
    code, found = checked(cli, healthy, tmp_path / "pair", "data.split_by=pair", "inspect=2")
    assert code == 1
    assert found["scene in two splits"] == "problem"
    frames = sorted(str(path) for path in (healthy / "images/scene_0000").iterdir())
    rows = [f"{a},{b},{labels(healthy)[0]},{a}-{b}" for a in frames for b in frames if a < b]
    root = tmp_path / "csv"
    root.mkdir()
    (root / "pairs.csv").write_text("\n".join(["before,after,label,pair", *rows]))
    shutil.copy(healthy / "dataset.yaml", root)
    code, found = checked(cli, root, tmp_path / "shared", "inspect=2")
    assert code == 1
    assert found["frame in two splits"] == "problem"
    code, found = checked(cli, root, tmp_path / "time", "inspect=2", "data.split_by=time")
    assert "frame in two splits" not in found


def test_classes_counted_from_one_are_suspicious(planted: Path, tmp_path: Path, cli: Callable) -> None:
    rewrite(planted, lambda row: [str(min(2, int(row[0]) + 1)), *row[1:]])
    _, found = checked(cli, planted, tmp_path / "out")
    assert found["class never used"] == "suspicious"


def test_an_unreadable_picture_is_a_problem(planted: Path, tmp_path: Path, cli: Callable) -> None:
    path = sorted((planted / "images").rglob("*_after.jpg"))[0]
    path.write_bytes(path.read_bytes()[:300])
    result = cli("data", "check", f"data.root={planted}", f"out={tmp_path / 'out'}", "shown=0")
    assert result.code == 1
    assert f"{path}: unreadable image" in result.out


@pytest.mark.skipif(not (ROOT.parent / "shared/data").is_dir(), reason="the real data is not on this machine")
@pytest.mark.exhaustive
def test_after_only_labels_of_pets_are_named(tmp_path: Path, cli: Callable) -> None:
    root = ROOT.parent / "shared/data/pets2009_s2l1"
    words = ("data.names=[person]", "data.split_by=time", "inspect=20")
    code, found = checked(cli, root, tmp_path / "out", *words)
    assert code == 1
    assert found["one place labelled"] == "problem"
