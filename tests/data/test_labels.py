from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from detr_diff.data.labels import read_labels

NAMES = ["person", "car"]
inside = st.floats(0.001, 1.0, allow_nan=False)
row = st.tuples(st.integers(0, 1), inside, inside, inside, inside)


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("labels") / "a.txt"


@given(rows=st.lists(row, max_size=6, unique=True), end=st.sampled_from(["\n", "\r\n", "\r"]))
def test_what_is_written_is_read(path: Path, rows: list[tuple[float, ...]], end: str) -> None:
    lines = ["# a comment", "", *(" ".join(map(repr, r)) + "  # moved" for r in rows)]
    path.write_bytes(end.join(lines).encode())
    labels, problems = read_labels(path, NAMES)
    assert problems == []
    assert labels.class_labels.tolist() == [r[0] for r in rows]
    np.testing.assert_allclose(labels.boxes, np.array([r[1:] for r in rows]).reshape(-1, 4), rtol=1e-6)


@given(st.binary(max_size=200))
def test_any_bytes_are_read_or_reported(path: Path, content: bytes) -> None:
    path.write_bytes(content)
    labels, problems = read_labels(path, NAMES)
    assert ((labels.boxes >= 0) & (labels.boxes <= 1)).all()
    assert (labels.boxes[:, 2:] > 0).all()
    try:
        lines = content.decode("utf-8-sig").replace("\r\n", "\n").replace("\r", "\n").split("\n")
    except UnicodeDecodeError:
        assert len(problems) == 1
        return
    objects = [line for line in lines if line.split("#")[0].strip()]
    assert len(labels) + len(problems) == len(objects)


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("0 0.5 0.5 0.1", "4 fields, 5 expected: class cx cy w h"),
        ("0 0.5 0.5 0.1 0.1 0.9", "6 fields, 5 expected: class cx cy w h"),
        ("0 0.5 0.5 0.1 0.1 0.9 0.9", "7 fields, 5 expected: class cx cy w h"),
        ("0 0.5 0.5 0.1 0.1 both 1", "place 'both' is unknown, allowed: before, after"),
        ("0 0.5 0.5 0.1 0.1 after -1", "object '-1' is not a whole number from 0, of at most 9 digits"),
        ("0 0.5 0.5 0.1 0.1 after 1 2", "8 fields, at most 7 expected: class cx cy w h place object"),
        ("0.0 0.5 0.5 0.1 0.1", "class '0.0' is not an integer"),
        ("car 0.5 0.5 0.1 0.1", "class 'car' is not an integer"),
        ("1_0 0.5 0.5 0.1 0.1", "class '1_0' is not an integer"),
        ("2 0.5 0.5 0.1 0.1", "class 2 is unknown, allowed: 0 person, 1 car"),
        ("-1 0.5 0.5 0.1 0.1", "class -1 is unknown, allowed: 0 person, 1 car"),
        ("0 320 0.5 0.1 0.1", "cx 320 is outside [0, 1]; boxes are divided by the image size"),
        ("0 0.5 -0.1 0.1 0.1", "cy -0.1 is outside [0, 1]; boxes are divided by the image size"),
        ("0 0.5 0.5 inf 0.1", "w inf is outside [0, 1]; boxes are divided by the image size"),
        ("0 0.5 0.5 0 0.1", "w 0 must be greater than 0"),
        ("0 0.5 0.5 0.1 1e-60", "h 1e-60 must be greater than 0"),
        ("0 0.5 0.5 0.1 nan", "h 'nan' is not a number"),
        ("0 0.5 0,5 0.1 0.1", "cy '0,5' is not a number"),
    ],
)
def test_a_wrong_line_is_named(tmp_path: Path, line: str, message: str) -> None:
    path = tmp_path / "a.txt"
    path.write_text(f"# head\n0 0.5 0.5 0.2 0.2\n{line}\n")
    labels, problems = read_labels(path, NAMES)
    assert [str(problem) for problem in problems] == [f"{path}:3: {message}"]
    assert len(labels) == 1


def test_a_duplicate_line_is_named(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    path.write_text("0 0.5 0.5 0.2 0.2\n1 0.5 0.5 0.2 0.2\n0 0.50 0.5 0.2 0.20\n")
    labels, problems = read_labels(path, NAMES)
    assert [str(problem) for problem in problems] == [f"{path}:3: the same object as line 1"]
    assert len(labels) == 2


@given(
    st.lists(
        st.tuples(st.tuples(inside, inside, inside, inside), st.sampled_from(["", "before", "after"])),
        max_size=6,
        unique_by=lambda line: line[0],
    ),
    st.lists(st.one_of(st.none(), st.integers(0, 999_999_999)), min_size=6, max_size=6, unique=True),
)
def test_places_and_objects_are_read(
    path: Path, lines: list[tuple[tuple[float, ...], str]], numbers: list[int | None]
) -> None:
    """An object may be without a number, and a box without a place."""
    said = [number if word else None for (_, word), number in zip(lines, numbers, strict=False)]
    path.write_text(
        "".join(
            f"1 {' '.join(map(repr, box))} {word} {'' if number is None else number}\n"
            for (box, word), number in zip(lines, said, strict=True)
        )
    )
    labels, problems = read_labels(path, NAMES)
    assert problems == []
    assert labels.places.tolist() == [{"": -1, "before": 0, "after": 1}[word] for _, word in lines]
    assert labels.objects.tolist() == [-1 if number is None else number for number in said]
    np.testing.assert_allclose(labels.boxes, np.array([box for box, _ in lines]).reshape(-1, 4), rtol=1e-6)


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("0 0.1 0.1 0.1 0.1 before 3", "object 3 has a place before in line 1 already"),
        ("1 0.1 0.1 0.1 0.1 after 3", "object 3 is of class 1, in line 1 of class 0"),
        ("0 0.5 0.5 0.2 0.2 after 3", "the same object as line 1"),  # it did not move
        ("0 0.5 0.5 0.2 0.2 before 4", "the same object as line 1"),
        ("0 0.5 0.5 0.2 0.2", "the same object as line 1"),
    ],
)
def test_a_contradiction_between_lines_is_named(tmp_path: Path, line: str, message: str) -> None:
    path = tmp_path / "a.txt"
    path.write_text(f"0 0.5 0.5 0.2 0.2 before 3\n{line}\n")
    labels, problems = read_labels(path, NAMES)
    assert [str(problem) for problem in problems] == [f"{path}:2: {message}"]
    assert len(labels) == 1


def test_an_object_may_stand_where_another_stood(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    path.write_text("0 0.5 0.5 0.2 0.2 before 3\n0 0.5 0.5 0.2 0.2 after 4\n")
    labels, problems = read_labels(path, NAMES)
    assert (problems, labels.objects.tolist()) == ([], [3, 4])


def test_an_empty_file_is_a_pair_in_which_nothing_moved(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    path.write_text("")
    labels, problems = read_labels(path, NAMES)
    assert (len(labels), problems) == (0, [])
    assert labels.boxes.shape == (0, 4)


MUTATIONS = 10_000


def mutated(rng: np.random.Generator) -> bytes:
    """A right label file with one to three things done to it that happen to files."""
    rows = rng.uniform(0.01, 0.99, (rng.integers(0, 5), 4))
    content = "".join(
        f"{rng.integers(2)} " + " ".join(f"{v:.6f}" for v in row) + "\n" for row in rows
    ).encode()
    for _ in range(rng.integers(1, 4)):
        at = int(rng.integers(len(content) + 1))
        fields = content.split(b" ")
        field = int(rng.integers(len(fields)))
        junk = [
            b"nan",
            b"inf",
            b"-0",
            b"1e999",
            b"9" * 400,
            b"0x1",
            b"1_0",
            "\u0663".encode(),
            b"",
            b"-1",
            b"320",
            b"\x00",
            b"1e-320",
        ]
        kind = int(rng.integers(9))
        if kind == 0 and content:
            content = content[:at] + bytes([rng.integers(256)]) + content[at + 1 :]
        elif kind == 1:
            content = b" ".join(fields[:field] + fields[field + 1 :])
        elif kind == 2:
            content = b" ".join([*fields[:field], junk[rng.integers(len(junk))], *fields[field + 1 :]])
        elif kind == 3:
            content = content.replace(b"\n", [b"\r\n", b"\r", b"\n\n", b" \n"][rng.integers(4)])
        elif kind == 4:
            content = content.decode("latin-1").encode(["utf-16", "utf-8-sig", "utf-32"][rng.integers(3)])
        elif kind == 5:
            content = content[:at]
        elif kind == 6:
            content += content[at:]
        elif kind == 7:
            content = content.replace(b" ", [b",", b"\t", b"  ", b";"][rng.integers(4)])
        else:
            content = content[:at] + rng.bytes(int(rng.integers(1, 30))) + content[at:]
    return content


def test_mutated_files_are_read_or_reported(path: Path) -> None:
    """Read again by other means: each line is an object with its numbers, or is reported by number."""
    rng = np.random.default_rng(0)
    right = reported = 0
    for _ in range(MUTATIONS):
        content = mutated(rng)
        path.unlink(missing_ok=True)  # many file systems wait for the disk when a file is overwritten
        path.write_bytes(content)
        labels, problems = read_labels(path, NAMES)
        assert all(problem.path == path and problem.line > 0 for problem in problems)
        try:
            text = content.decode("utf-8-sig")
        except UnicodeDecodeError:
            assert [problem.message for problem in problems] == ["not UTF-8 text"]
            reported += 1
            continue
        lines = text.replace("\r\n", "\n").replace("\r", "\n").split("\n")
        wrong = {problem.line for problem in problems}
        assert len(wrong) == len(problems)
        read = [
            line.split("#")[0].split()
            for number, line in enumerate(lines, 1)
            if line.split("#")[0].strip() and number not in wrong
        ]
        assert all(lines[number - 1].strip() for number in wrong)
        assert labels.class_labels.tolist() == [int(fields[0]) for fields in read]
        expected = np.array([[np.float32(field) for field in fields[1:]] for fields in read]).reshape(-1, 4)
        np.testing.assert_array_equal(labels.boxes, expected)
        assert ((labels.boxes >= 0) & (labels.boxes <= 1)).all()
        assert (labels.boxes[:, 2:] > 0).all()
        right += len(read)
        reported += len(wrong)
    assert right > MUTATIONS / 2
    assert reported > MUTATIONS / 2
