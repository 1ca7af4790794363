import json
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from detr_diff.data.formats import coco
from detr_diff.data.formats.imported import Change, Imported
from detr_diff.data.formats.json_records import read_lists
from detr_diff.errors import SettingError
from tests.data.formats.mutation import mutate
from tests.data.formats.pictures import save

CATEGORIES = [{"id": 7, "name": "car"}, {"id": 3, "name": "person"}]
VALUES: list[Any] = [
    None,
    True,
    -1,
    0,
    3,
    7,
    1e-9,
    5.5,
    1e999,
    float("nan"),
    10**400,
    "",
    "1",
    "car",
    "2.png",
]
VALUES += ["\ud800", "a\0", "../..", "/", "é" * 300, [], [1, 2, 3, 4], {}, {"id": 1}]
scalar = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text()
value = st.recursive(scalar, lambda v: st.lists(v, max_size=3) | st.dictionaries(st.text(), v, max_size=3))


def annotation(number: int, image: int, bbox: list[float], **more: Any) -> dict[str, Any]:
    return {"id": number, "image_id": image, "category_id": 3, "bbox": bbox, "iscrowd": 0, **more}


def write(path: Path, images: list, annotations: list, categories: list = CATEGORIES) -> Path:
    """A COCO file with a record a line: categories from line 3, images after them, ..."""
    lists = {"categories": categories, "images": images, "annotations": annotations}
    blocks = [
        f'"{name}": [\n' + ",\n".join(map(json.dumps, records)) + "\n]" for name, records in lists.items()
    ]
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("{\n" + ",\n".join(blocks) + "\n}\n")
    return path


def line_of(path: Path, name: str, index: int) -> int:
    return path.read_text().split("\n").index(f'"{name}": [') + 2 + index


def frames(root: Path, *names: str, size: tuple[int, int] = (64, 48)) -> None:
    for name in names:
        save(root / name, np.zeros((size[1], size[0], 3), np.uint8))


def read(src: Path, **settings: Any) -> Imported:
    return coco.read(src, **{"before": None, "after": None, "images": None, "moved_iou": 0.0, **settings})


def pairs_of(imported: Imported) -> list[tuple]:
    return [(p.name, p.before and p.before.name, p.after.name, p.scene, p.split) for p in imported.pairs]


@given(st.dictionaries(st.text(), value, max_size=4), st.sampled_from([None, 0, 2]))
def test_lists_are_those_of_json(
    tmp_path_factory: pytest.TempPathFactory, content: dict, indent: int
) -> None:
    path = tmp_path_factory.mktemp("json") / "a.json"
    path.write_text(json.dumps(content, indent=indent))
    lists, problems = read_lists(path)
    assert problems == []
    found = {name: [record.value for record in records] for name, records in lists.items()}
    assert found == {name: v for name, v in content.items() if isinstance(v, list)}


def test_lines_are_told(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    path.write_bytes(
        b'\xef\xbb\xbf{\r\n"a": {"b": [1,\n2]}, "c":\n[\n {"d":\n 1}, 2\n,\n[3, {"e": 1, "e": 2}]]}'
    )
    lists, problems = read_lists(path)
    assert problems == []
    assert [(r.line, r.value, r.twice) for r in lists["c"]] == [
        (5, {"d": 1}, ()),
        (6, 2, ()),
        (8, [3, {"e": 2}], ("e",)),
    ]
    assert list(lists) == ["c"]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('{"a": [1,\n2,\n]}', "3: not readable as JSON: Expecting value"),
        ('{"a": [1\n2]}', "2: not readable as JSON: ',' expected"),
        ('{"a": []}\n{}', "2: not readable as JSON: text after the end"),
        ('{"a": [],\n"a": []}', "2: not readable as JSON: 'a' is given twice"),
        ("[]", "1: not readable as JSON: '{' expected"),
        ("", "1: not readable as JSON: '{' expected"),
        ("{1: 2}", "1: not readable as JSON: a name in double quotes expected"),
        ('{"a":\n[' + "[" * 100_000, "2: not readable as JSON: maximum recursion depth exceeded"),
        ('{"a":\n[1' + "0" * 5000, "2: not readable as JSON: Exceeds the limit"),
        ('{"a":\n"\udcff"', "2: not UTF-8 text"),
    ],
)
def test_what_is_no_json_is_told_with_its_line(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "a.json"
    path.write_bytes(text.encode("utf-8", "surrogateescape"))
    imported = read(path)
    assert len(imported.problems) == 1
    assert str(imported.problems[0]).startswith(f"{path}:{message}")


def test_one_file_names_both_frames(tmp_path: Path) -> None:
    frames(tmp_path, "a/1.png", "a/2.png", "a/3_after.png")
    images = [
        {
            "id": 5,
            "file_name": "a/2.png",
            "before_file_name": "a/1.png",
            "width": 64,
            "height": 48,
            "pair": "x/1",
        },
        {"id": 6, "after_file_name": "a/3_after.png", "before_file_name": "a/2.png", "scene": "yard"},
    ]
    boxes = [
        annotation(1, 5, [1, 2, 3, 4.5]),
        {"image_id": 5, "category_id": 7, "bbox": [-5, 40, 20, 20]},
        annotation(3, 5, [0, 0, 9, 9], iscrowd=1),
    ]
    imported = read(write(tmp_path / "annotations/val.json", images, boxes))
    assert imported.problems == []
    assert (imported.names, imported.places) == (["person", "car"], None)
    assert pairs_of(imported) == [
        ("x/1", "1.png", "2.png", None, "val"),
        ("a/3", "2.png", "3_after.png", "yard", "val"),
    ]
    assert imported.pairs[0].changes == [Change(0, None, (1, 2, 4, 6.5)), Change(1, None, (-5, 40, 15, 60))]
    assert imported.pairs[1].changes == []
    assert imported.notes == ["1 annotations with iscrowd=1 mark no single object and were left out"]


def test_images_without_a_before_frame_are_ready_diff_images(tmp_path: Path) -> None:
    frames(tmp_path / "pictures", "1.png", "2.png")
    images = [{"id": i, "file_name": f"{i}.png"} for i in (1, 2)]
    path = write(tmp_path / "any.json", images, [annotation(1, 2, [0, 0, 5, 5])])
    with pytest.raises(SettingError, match=r"coco.images=null: none of the 2 pictures of .* as 1.png"):
        read(path)
    imported = read(path, images="pictures")
    assert imported.problems == []
    assert pairs_of(imported) == [("1", None, "1.png", None, None), ("2", None, "2.png", None, None)]
    images[1]["before_file_name"] = "1.png"
    imported = read(write(path, images, []), images="pictures")
    assert [p.message for p in imported.problems] == [
        "images[0] (id 1): no before_file_name, which other images have"
    ]


@pytest.mark.parametrize(
    "layout", ["{}.json", "annotations/instances_{}2017.json", "{}/_annotations.coco.json"]
)
def test_each_file_of_a_folder_is_a_split(tmp_path: Path, layout: str) -> None:
    for index, split in enumerate(("train", "val")):
        path = tmp_path / layout.format(split)
        categories = [{"id": 1 + index, "name": "b"}, {"id": 4 - index, "name": "a"}]
        write(
            path,
            [{"id": 1, "file_name": f"{split}.png"}],
            [annotation(1, 1, [0, 0, 5, 5], category_id=1 + index)],
            categories,
        )
        frames(tmp_path if path.parent.name == "annotations" else path.parent, f"{split}.png")
    imported = read(tmp_path)
    assert imported.problems == []
    assert imported.names == ["b", "a"]
    assert [(p.name, p.split, p.changes[0].label) for p in imported.pairs] == [
        ("train", "train", 0),
        ("val", "val", 0),
    ]


def test_the_same_frames_twice_are_reported(tmp_path: Path) -> None:
    frames(tmp_path, "1.png")
    images = [{"id": i, "file_name": "1.png"} for i in (1, 2)]
    path = write(tmp_path / "a.json", images, [])
    imported = read(path)
    assert len(imported.pairs) == 1
    assert str(imported.problems[0]) == (
        f"{path}:{line_of(path, 'images', 1)}: images[1] (id 2): "
        f"the same frames as images[0] (id 1) in {path}"
    )


@pytest.mark.parametrize(
    ("name", "change", "message"),
    [
        ("annotations", {"image_id": 9}, "annotations[1] (id 2): image_id 9 is unknown"),
        ("annotations", {"image_id": "1"}, "annotations[1] (id 2): image_id must be a whole number, got '1'"),
        (
            "annotations",
            {"image_id": True},
            "annotations[1] (id 2): image_id must be a whole number, got True",
        ),
        ("annotations", {"category_id": 1}, "annotations[1] (id 2): category_id 1 is unknown"),
        ("annotations", {"id": 1}, "annotations[1] (id 1): the id is there already"),
        ("annotations", {"iscrowd": 2}, "annotations[1] (id 2): iscrowd 2, allowed: 0, 1"),
        (
            "annotations",
            {"bbox": None},
            "annotations[1] (id 2): bbox must be four finite numbers x, y, w, h, got None",
        ),
        ("annotations", {"bbox": [1, 2, 3]}, "annotations[1] (id 2): bbox must be four finite numbers"),
        (
            "annotations",
            {"bbox": [1, 2, float("nan"), 3]},
            "annotations[1] (id 2): bbox must be four finite numbers",
        ),
        (
            "annotations",
            {"bbox": [1, 2, 10**400, 3]},
            "annotations[1] (id 2): bbox must be four finite numbers",
        ),
        ("annotations", {"bbox": [1, 2, 0, 3]}, "annotations[1] (id 2): bbox [1, 2, 0, 3]: width and height"),
        (
            "annotations",
            {"bbox": [64, 2, 5, 3]},
            "annotations[1] (id 2): box 64 2 69 5 (x0 y0 x1 y1) lies outside",
        ),
        (
            "annotations",
            {"track_id": 1.5},
            "annotations[1] (id 2): track_id must be a whole number or text, got 1.5",
        ),
        ("images", {"id": 1}, "images[1] (id 1): the id is there already"),
        ("images", {"id": None}, "images[1] (id None): id must be a whole number, got None"),
        ("images", {"file_name": ""}, "images[1] (id 2): file_name must be text, got ''"),
        (
            "images",
            {"file_name": "\ud800.png"},
            "images[1] (id 2): file_name '\\ud800.png' is not UTF-8 text",
        ),
        ("images", {"file_name": "3.png"}, "images[1] (id 2): {root}/3.png: no such file"),
        ("images", {"file_name": "a\0.png"}, "images[1] (id 2): {root}/a\0.png: unreadable image"),
        ("images", {"file_name": "a" * 999}, "images[1] (id 2): {root}/aaa"),
        (
            "images",
            {"file_name": "big.png"},
            "images[1] (id 2): {root}/big.png: 65x48 pixels, but its before frame",
        ),
        (
            "images",
            {"width": 65},
            "images[1] (id 2): width and height are (65, 48), but {root}/2.png has 64x48",
        ),
        ("images", {"width": None}, "images[1] (id 2): width must be a whole number, got None"),
        ("categories", {"id": 7}, "categories[1] (id 7): id 7 or name 'person' is there already"),
        ("categories", {"name": "car"}, "categories[1] (id 3): id 3 or name 'car' is there already"),
    ],
)
def test_a_wrong_record_is_told_with_its_line(tmp_path: Path, name: str, change: dict, message: str) -> None:
    frames(tmp_path, "0.png", "1.png", "2.png")
    frames(tmp_path, "big.png", size=(65, 48))
    records: dict[str, list[dict[str, Any]]] = {
        "images": [
            {"id": i, "file_name": f"{i}.png", "before_file_name": "0.png", "width": 64, "height": 48}
            for i in (1, 2)
        ],
        "annotations": [annotation(i, 1, [i, i, 5, 5]) for i in (1, 2)],
        "categories": [dict(category) for category in CATEGORIES],
    }
    records[name][1] |= change
    path = write(tmp_path / "a.json", **records)
    problems = read(path).problems
    place = f"{path}:{line_of(path, name, 1)}"
    assert str(problems[0]).startswith(f"{place}: {message.replace('{root}', str(tmp_path))}")
    assert len(problems) == (3 if name == "categories" and "id" in change else 1) or name == "categories"


def test_a_file_that_is_no_coco_file_is_told(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    path.write_text('{"images": 3, "annotations": [],\n"categories": [7, {"id": 1, "id": 2, "name": "a"}]}')
    assert [str(p) for p in read(path).problems] == [
        f"{path}:2: categories[0]: 7 is no object",
        f"{path}:2: categories[1]: 'id' is given twice",
        f"{path}: no list 'images', which every COCO file has",
    ]


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"before": "a.json"}, "coco.before=a.json coco.after=None: give both or none"),
        ({"before": "a.json", "after": "b.json"}, "coco.before=a.json: no file"),
        ({"images": "none"}, "coco.images=none: no folder"),
        ({}, "no COCO file .*json. in it"),
    ],
)
def test_a_wrong_place_is_told(tmp_path: Path, settings: dict, message: str) -> None:
    with pytest.raises(SettingError, match=message):
        read(tmp_path, **settings)


def two_files(root: Path, follow: Callable[[int], dict[str, Any]]) -> tuple[np.ndarray, np.ndarray]:
    """One pair of frames with textures: 1 stays, 2 moves, 3 leaves, 4 appears."""
    rng = np.random.default_rng(3)
    before = rng.integers(100, 110, (120, 160, 3), np.uint8)
    after = before.copy()
    places = {1: ([10, 10], [10, 10]), 2: ([60, 10], [60, 80]), 3: ([100, 40], None), 4: (None, [10, 80])}
    records: tuple[list, list] = [], []
    for track, two in places.items():
        coarse = rng.integers(0, 255, (4, 5, 3), np.uint8)
        for place, frame, own in zip(two, (before, after), records, strict=True):
            if place is not None:
                x, y = place
                frame[y : y + 16, x : x + 20] = np.kron(coarse, np.ones((4, 4, 1), np.uint8))
                own.append(
                    annotation(
                        len(own) + 1, 1, [x, y, 20, 16], category_id=3 if track < 4 else 7, **follow(track)
                    )
                )
    save(root / "one/0001.png", before)
    save(root / "two/0001.png", after)
    write(root / "before.json", [{"id": 1, "file_name": "one/0001.png"}], records[0])
    write(root / "after.json", [{"id": 1, "file_name": "two/0001.png"}], records[1])
    return before, after


@pytest.mark.parametrize(
    "follow",
    [
        lambda track: {"track_id": track},
        lambda track: {"attributes": {"instance_id": f"t{track}"}},
        lambda track: {},
    ],
    ids=["ids", "attributes", "appearance"],
)
def test_two_files_are_compared(tmp_path: Path, follow: Callable[[int], dict[str, Any]]) -> None:
    two_files(tmp_path, follow)
    imported = read(tmp_path, before="before.json", after="after.json")
    assert imported.problems == []
    (pair,) = imported.pairs
    assert (pair.before, pair.after) == (tmp_path / "one/0001.png", tmp_path / "two/0001.png")
    assert pair.stayed == 1
    assert set(pair.changes) == {
        Change(0, (60, 10, 80, 26), (60, 80, 80, 96)),
        Change(0, (100, 40, 120, 56), None),
        Change(1, None, (10, 80, 30, 96)),
    }
    how = "their ids" if follow(1) else "the Hungarian method"
    assert imported.notes == [
        f"the objects of the two files were matched by {how}",
        "the images of the two files were paired by file name",
    ]


def test_moved_depends_on_the_overlap(tmp_path: Path) -> None:
    frames(tmp_path, "1_before.png", "1_after.png")
    for name, x in (("before", 0), ("after", 5)):
        images = [{"id": 1, "file_name": f"1_{name}.png"}]
        write(tmp_path / f"{name}.json", images, [annotation(1, 1, [x, 0, 10, 10], track_id=1)])
    still = read(tmp_path, before="before.json", after="after.json", moved_iou=0.33)
    assert (still.pairs[0].changes, still.pairs[0].stayed) == ([], 1)
    moved = read(tmp_path, before="before.json", after="after.json", moved_iou=0.34)
    assert (len(moved.pairs[0].changes), moved.pairs[0].stayed) == (1, 0)


def test_ids_that_contradict_are_told(tmp_path: Path) -> None:
    frames(tmp_path, "1_before.png", "1_after.png")
    boxes = [annotation(i, 1, [10 * i, 0, 5, 5], track_id=min(i, 2)) for i in (1, 2, 3)]
    write(tmp_path / "before.json", [{"id": 1, "file_name": "1_before.png"}], boxes)
    boxes = [annotation(1, 1, [10, 0, 5, 5], track_id=1, category_id=7)]
    write(tmp_path / "after.json", [{"id": 1, "file_name": "1_after.png"}], boxes)
    imported = read(tmp_path, before="before.json", after="after.json")
    first, second = tmp_path / "before.json", tmp_path / "after.json"
    assert [str(p) for p in imported.problems] == [
        f"{first}:{line_of(first, 'annotations', 2)}: annotations[2] (id 3): "
        "track_id 2 is there already in this image",
        f"{second}:{line_of(second, 'annotations', 0)}: annotations[0] (id 1): "
        "track_id 1 is car, but person in the before frame",
    ]
    assert imported.pairs[0].changes == [Change(0, (20, 0, 25, 5), None)]


@pytest.mark.parametrize(
    ("before", "after", "how", "found"),
    [
        (["a/1_before.png", "b/1_before.png"], ["b/1_after.png", "a/1_after.png"], "path", ["b/1", "a/1"]),
        (["x/1.png", "x/2.png"], ["y/2.png", "y/3.png"], "file name", ["y/2"]),
        (["p.png", "q.png"], ["r.png", "s.png"], "id", ["r", "s"]),
    ],
)
def test_images_find_their_partners(
    tmp_path: Path, before: list[str], after: list[str], how: str, found: list[str]
) -> None:
    frames(tmp_path, *before, *after)
    for name, files in (("before", before), ("after", after)):
        write(tmp_path / f"{name}.json", [{"id": i, "file_name": file} for i, file in enumerate(files)], [])
    imported = read(tmp_path, before="before.json", after="after.json")
    assert f"the images of the two files were paired by {how}" in imported.notes
    assert [pair.name for pair in imported.pairs] == found
    assert [p.message for p in imported.problems] == (
        [
            f"images[0] (id 0): no image has the same file name in {tmp_path}/after.json",
            f"images[1] (id 1): no image has the same file name in {tmp_path}/before.json",
        ]
        if len(found) == 1
        else []
    )


def test_damaged_files_are_read_or_reported(tmp_path: Path) -> None:
    frames(tmp_path, "0.png", "1.png", "2.png", "3.png")
    images = [
        {"id": i, "file_name": f"{i}.png", "before_file_name": "0.png", "scene": "yard"} for i in (1, 2, 3)
    ]
    boxes = [annotation(i, 1 + i % 3, [i, 2.5 * i, 5 + i, 5]) for i in range(1, 7)]
    records = {"images": images, "annotations": boxes, "categories": CATEGORIES}
    path = tmp_path / "a.json"
    clean = 0
    for seed in range(1000):
        write(path, **alter(records, seed))
        if seed % 3 == 0:
            path.write_bytes(mutate(path.read_bytes(), seed))
        imported = read(path)
        assert all(p.path == path and p.message for p in imported.problems)
        account_for(path, imported)
        clean += not imported.problems
    assert 100 < clean < 900


def alter(records: dict[str, list], seed: int) -> dict[str, list]:
    """The records with another value, a value or record less, or a record more; a function of the seed."""
    rng = random.Random(seed)
    altered = json.loads(json.dumps(records))
    own = altered[rng.choice(["images", "annotations", "annotations", "categories"])]
    record = rng.choice(own)
    key = rng.choice(list(record))
    kind = rng.randrange(8)
    if kind == 0:
        own.remove(record)
    elif kind == 1:
        own.insert(rng.randrange(len(own)), dict(record))
    elif kind == 2:
        del record[key]
    elif kind == 3 and "bbox" in record:
        record["bbox"][rng.randrange(4)] = rng.choice(VALUES)
    else:
        record[key] = rng.choice(VALUES)
    return altered


def account_for(path: Path, imported: Imported) -> None:
    """Every annotation of a file that json can read is in a pair, in a problem, or its image is."""
    told = {p.message.split(":")[0].split(" ")[0] for p in imported.problems}
    lines = {p.line for p in imported.problems}
    try:
        content = json.loads(path.read_bytes().decode("utf-8-sig"))
    except (ValueError, RecursionError):
        assert imported.problems
        assert imported.pairs == []
        return
    assert isinstance(content, dict) or imported.problems
    if (
        not isinstance(content, dict)
        or 0 in lines
        or any("not readable" in p.message for p in imported.problems)
    ):
        return
    boxes = {pair.after.name: [change.after for change in pair.changes] for pair in imported.pairs}
    of_image = {}
    for index, image in enumerate(content["images"]):
        if f"images[{index}]" not in told:
            of_image[image["id"]] = image["file_name"]
            assert image["file_name"] in boxes
    assert len(boxes) == len(of_image)
    count = 0
    for index, found in enumerate(content["annotations"]):
        if f"annotations[{index}]" in told or found["image_id"] not in of_image or found.get("iscrowd"):
            continue
        x, y, w, h = found["bbox"]
        assert (x, y, x + w, y + h) in boxes[of_image[found["image_id"]]]
        count += 1
    assert count == sum(map(len, boxes.values()))


def test_ids_that_names_contradict_are_told(tmp_path: Path) -> None:
    """One picture was missing in the middle, and all behind it were paired with their neighbour."""
    before, after = [f"x{n}.png" for n in (1, 2, 3)], [f"y{n}.png" for n in (1, 3, 4)]
    frames(tmp_path, *before, *after)
    for name, files in (("before", before), ("after", after)):
        write(tmp_path / f"{name}.json", [{"id": i, "file_name": file} for i, file in enumerate(files)], [])
    imported = read(tmp_path, before="before.json", after="after.json")
    assert "the numbers in their names are 0 to 1 apart: are the ids of pairs?" in imported.notes


def test_before_and_after_may_come_first_in_a_name(tmp_path: Path) -> None:
    before, after = [f"before_{n}.png" for n in (1, 2, 3)], [f"after_{n}.png" for n in (1, 3)]
    frames(tmp_path, *before, *after)
    for name, files in (("before", before), ("after", after)):
        write(tmp_path / f"{name}.json", [{"id": i, "file_name": file} for i, file in enumerate(files)], [])
    imported = read(tmp_path, before="before.json", after="after.json")
    assert [pair.name for pair in imported.pairs] == ["after_1", "after_3"]
    assert [pair.before.name for pair in imported.pairs if pair.before] == ["before_1.png", "before_3.png"]
    assert len(imported.problems) == 1
