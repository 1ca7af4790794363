"""Problems of real files become a few findings."""

import shutil
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest

from detr_diff.data.check import check
from detr_diff.data.discovery import discover
from detr_diff.data.finding import Finding, Level
from detr_diff.data.names_diagnosis import diagnose_names, said_names
from detr_diff.data.problem import Problem
from detr_diff.data.problem_diagnosis import KINDS, OTHER, diagnose_problems

NAMES = ["person", "car", "bicycle"]


def found(root: Path, skipped: bool = False, **settings: object) -> list[Finding]:
    pairs = discover(root)
    report = check(pairs, NAMES, **settings)
    used = {int(label) for item in report.pairs for label in item.labels.class_labels}
    return diagnose_problems(report.problems, NAMES, used, len(pairs.pairs), skipped)


@pytest.fixture
def root(data_root: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(data_root, tmp_path / "data"))


def labels(root: Path) -> list[Path]:
    return [path for path in sorted((root / "labels").rglob("*.txt")) if path.read_text()]


def rewritten(change: Callable[[list[str]], str]) -> Callable[[Path], None]:
    def plant(root: Path) -> None:
        for path in labels(root):
            path.write_text("\n".join(change(line.split()[:5]) for line in path.read_text().splitlines()))

    return plant


def beyond(row: list[str]) -> str:
    return f"{row[0]} 1.02 {' '.join(row[2:])}"


def missing(root: Path) -> None:
    labels(root)[0].unlink()


def truncated(root: Path) -> None:
    path = next((root / "images").rglob("*_after.jpg"))
    path.write_bytes(path.read_bytes()[:300])


def sixteen_bit(root: Path) -> None:
    path = next((root / "images").rglob("*_after.jpg"))
    path.unlink()
    cv2.imwrite(str(path.with_suffix(".png")), np.full((64, 64), 900, np.uint16))


def another_size(root: Path) -> None:
    cv2.imwrite(str(next((root / "images").rglob("*_after.jpg"))), np.zeros((32, 64, 3), np.uint8))


@pytest.mark.parametrize(
    ("name", "plant"),
    [
        ("boxes in pixels", rewritten(lambda r: f"{r[0]} {' '.join(str(64 * float(v)) for v in r[1:])}")),
        ("boxes outside the frame", rewritten(beyond)),
        ("classes counted from 1", rewritten(lambda r: f"{int(r[0]) + 1} {' '.join(r[1:])}")),
        ("class ids without a name", rewritten(lambda r: f"{int(r[0]) + 7} {' '.join(r[1:])}")),
        ("label lines in another format", rewritten(lambda r: " ".join(r[:4]))),
        ("repeated lines", rewritten(lambda r: f"{' '.join(r)}\n{' '.join(r)}")),
        ("label files missing", missing),
        ("unreadable frames", truncated),
        ("frames not of 8 bits", sixteen_bit),
        ("frames of two sizes", another_size),
    ],
)
def test_the_messages_of_the_check_are_known(name: str, plant: Callable, root: Path) -> None:
    assert found(root) == []
    plant(root)
    (finding,) = found(root)
    assert (finding.name, finding.level) == (name, Level.problem)
    assert "training refuses such data" in finding.why
    assert all(pair.name in finding.pairs for pair in discover(root).pairs) or len(finding.pairs) < 30


def test_queries_and_frames_that_the_model_needs(root: Path) -> None:
    assert [finding.name for finding in found(root, max_objects=2)] == ["fewer queries than objects"]
    for path in (root / "images").rglob("*_before.jpg"):
        path.unlink()
    for path in (root / "images").rglob("*_after.jpg"):
        path.rename(path.with_name(path.name.replace("_after", "")))
    assert [finding.name for finding in found(root, needs_frames=True)] == ["no before frames"]


def test_pairs_that_are_left_out_matter_by_their_share() -> None:
    problems = [Problem(Path(f"{n}.txt"), 1, "3 fields, 5 expected", f"pair {n}") for n in range(40)]
    for number, level in ((2, Level.note), (10, Level.suspicious), (40, Level.problem)):
        (finding,) = diagnose_problems(problems[:number], NAMES, {0}, 60, skipped=True)
        assert finding.level is level
        assert "refuses" not in finding.why
    (finding,) = diagnose_problems(problems[:1], NAMES, {0}, 60, skipped=False)
    assert finding.level is Level.problem
    assert "data.on_error=skip" in finding.remedy


def test_the_kind_that_spoils_most_pairs_comes_first() -> None:
    few = [Problem(Path("a.txt"), n, "3 fields, 5 expected", "a") for n in range(9)]
    many = [Problem(Path(f"{n}.txt"), 0, f"label file of pair {n} is missing", str(n)) for n in range(3)]
    other = [Problem(Path("b"), 0, "something else", "b")]
    names = [f.name for f in diagnose_problems([*few, *many, *other], NAMES, {0}, 20, False)]
    assert names == ["label files missing", "label lines in another format", OTHER[0]]
    assert len({name for _, name, *_ in KINDS}) == len(KINDS)


def test_class_names_in_another_order(root: Path) -> None:
    assert said_names(root) == {"dataset.yaml": NAMES}
    assert list(diagnose_names(NAMES, said_names(root))) == []
    (root / "classes.txt").write_text("car\nperson\n\nbicycle\n")
    (root / "labels/classes.txt").write_text("\ufeff" + "\n".join(NAMES), encoding="utf-8")
    (root / "data.yaml").write_text("names: {0: man, 1: car, 2: bicycle}")
    levels = {f.what.split()[0]: f.level for f in diagnose_names(NAMES, said_names(root))}
    assert levels == {"classes.txt": Level.problem, "data.yaml": Level.suspicious}
    (finding,) = diagnose_names(["car", "person", "bicycle"], {"dataset.yaml": NAMES})
    assert finding.name == "class names in another order"
    (root / "data.yaml").write_text("names: [unclosed")
    assert "data.yaml" not in said_names(root)
