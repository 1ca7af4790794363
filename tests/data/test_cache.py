"""Cached frames are those of the uncached road, whatever happens to the cache."""

import os
import resource
import shutil
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from transformers import RTDetrImageProcessor

from detr_diff.choices import Augment, Diff, Registration
from detr_diff.data import frame_cache
from detr_diff.data.datamodule import MovedObjectDataModule
from detr_diff.data.dataset import MovedObjectDataset
from detr_diff.data.diff import Comparison
from detr_diff.data.disk_cache import DiskCache
from detr_diff.data.frame_cache import FrameCache, Frames, pack
from detr_diff.data.sampler import SampleKey
from detr_diff.data.synthetic import NAMES
from detr_diff.errors import SettingError

PROCESSOR = RTDetrImageProcessor(size={"height": 32, "width": 64})


@pytest.fixture
def root(data_root: Path, tmp_path: Path) -> Path:
    """The miniature data, to be changed."""
    return Path(shutil.copytree(data_root, tmp_path / "data"))


@pytest.fixture(autouse=True)
def small_shards(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(frame_cache, "SHARD_BYTES", 40_000)


def module(root: Path, cache: str = "disk", **settings: Any) -> MovedObjectDataModule:
    comparison = settings.pop("comparison", Comparison(Diff.stack))
    splits = settings.pop("splits", ("train", "val", "test"))
    given = {"split_by": "scene", "test": 0.2, "cache_dir": str(root.parent / "cache"), **settings}
    processor = given.pop("processor", PROCESSOR)
    data = MovedObjectDataModule(str(root), NAMES, processor, comparison, cache=cache, **given)
    data.setup()
    data.fill_cache(*splits)
    return data


def samples(dataset: MovedObjectDataset, epoch: int = 1) -> list[Any]:
    return [dataset[SampleKey(epoch, index)] for index in range(len(dataset))]


def assert_same(first: MovedObjectDataset, second: MovedObjectDataset) -> None:
    assert len(first) == len(second) > 0
    for (image, target), (other, other_target) in zip(samples(first), samples(second), strict=True):
        assert torch.equal(image, other)
        assert target.keys() == other_target.keys()
        assert all(torch.equal(target[key], other_target[key]) for key in target)


def prepared(data: MovedObjectDataModule, monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Positions of the pairs that are decoded from now on."""
    decoded = []
    dataset = data.datasets["train"]
    own = dataset.prepare
    monkeypatch.setattr(dataset, "prepare", lambda index: decoded.append(index) or own(index))
    return decoded


@pytest.mark.parametrize("cache", ["disk", "memory"])
@pytest.mark.parametrize("workers", [0, 2])
@pytest.mark.parametrize(
    ("augment", "comparison"),
    [
        ("strong", Comparison(Diff.stack)),
        ("strong", Comparison(Diff.stack, Registration.phase)),
        ("strong", Comparison(Diff.abs)),
        ("none", Comparison(Diff.tolerant, Registration.phase, light_compensation=True)),
    ],
)
def test_cached_samples_are_bit_identical(
    root: Path,
    cache: str,
    workers: int,
    augment: str,
    comparison: Comparison,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    settings = {"augment": augment, "comparison": comparison}
    plain = module(root, "off", **settings)
    cached = module(root, cache, num_workers=workers, **settings)
    decoded = prepared(cached, monkeypatch)
    for split in ("train", "val", "test"):
        assert_same(plain.datasets[split], cached.datasets[split])
    assert not decoded
    if workers:
        for first, second in zip(plain.loader("val"), cached.loader("val"), strict=True):
            for image, again in zip(first.images, second.images, strict=True):
                assert torch.equal(image, again)


@pytest.mark.parametrize("cache", ["disk", "memory"])
def test_augmentation_does_not_change_what_is_kept(root: Path, cache: str) -> None:
    """Samples are made of the kept bytes themselves, not of a copy."""
    comparison = Comparison(Diff.signed, light_compensation=True)
    dataset = module(root, cache, augment="strong", comparison=comparison).datasets["train"]
    assert dataset.cache is not None
    kept = [dataset.cache.get(index).pixels.clone() for index in range(len(dataset))]  # type: ignore[union-attr]
    for epoch in range(8):
        samples(dataset, epoch)
    for index, pixels in enumerate(kept):
        assert torch.equal(dataset.cache.get(index).pixels, pixels)  # type: ignore[union-attr]


@pytest.mark.parametrize("diff", [Diff.stack, Diff.signed])
def test_a_second_job_prepares_nothing(root: Path, diff: Diff, monkeypatch: pytest.MonkeyPatch) -> None:
    module(root, comparison=Comparison(diff))
    monkeypatch.setattr(MovedObjectDataset, "prepare", lambda *_: pytest.fail("prepared again"))
    module(root, comparison=Comparison(diff))


@pytest.mark.parametrize(
    ("diff", "augment", "of_stages", "kept"),
    [
        (Diff.abs, "none", (None,), {"train": 1, "val": 1}),  # frames, or the one diff image
        (Diff.abs, "light", (None,), {"train": 2, "val": 1}),
        (Diff.abs, "none", (None, "strong"), {"train": 2, "val": 1}),
        (Diff.abs, "light", ("none",), {"train": 1, "val": 1}),
        (Diff.stack, "none", (None,), {"train": 2, "val": 2}),
    ],
)
def test_what_no_epoch_varies_is_compared_before_it_is_kept(
    root: Path, diff: Diff, augment: str, of_stages: tuple[str | None, ...], kept: dict[str, int]
) -> None:
    data = module(root, "off", comparison=Comparison(diff), augment=augment)
    data.settings.cache = "disk"
    data.augment_of_stages = [None if own is None else Augment(own) for own in of_stages]
    data.fill_cache("train", "val")
    for split, number in kept.items():
        cache = data.datasets[split].cache
        assert cache is not None
        frames = cache.get(0)
        assert frames is not None
        assert len(frames.pixels) == number


@pytest.mark.parametrize("other", [Diff.signed, Diff.tolerant])
def test_a_kept_diff_is_not_taken_for_another(root: Path, other: Diff) -> None:
    module(root, comparison=Comparison(Diff.abs))
    assert_same(
        module(root, "off", comparison=Comparison(other)).datasets["val"],
        module(root, comparison=Comparison(other)).datasets["val"],
    )


def test_a_moved_data_set_is_found_by_its_contents(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    module(root)
    moved = root.rename(root.parent / "elsewhere")
    monkeypatch.setattr(MovedObjectDataset, "prepare", lambda *_: pytest.fail("prepared again"))
    module(moved)


def test_what_changed_is_prepared_again(root: Path) -> None:
    module(root)
    frame = sorted((root / "images").rglob("*_after.jpg"))[0]
    before = frame.stat()
    pixels = np.asarray(Image.open(frame))
    Image.fromarray(255 - pixels).save(frame, quality=95)
    os.utime(frame, ns=(before.st_atime_ns, before.st_mtime_ns))  # the clock does not tell
    for split in ("train", "val", "test"):
        assert_same(module(root, "off").datasets[split], module(root).datasets[split])


@pytest.mark.parametrize(
    "other",
    [
        {"comparison": Comparison(Diff.stack, Registration.phase)},
        {"processor": RTDetrImageProcessor(size={"height": 64, "width": 64})},
    ],
)
def test_other_settings_have_their_own_entries(root: Path, other: dict[str, Any]) -> None:
    module(root)
    assert_same(module(root, "off", **other).datasets["val"], module(root, **other).datasets["val"])


def test_another_diff_uses_the_same_entries(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    module(root)
    monkeypatch.setattr(MovedObjectDataset, "prepare", lambda *_: pytest.fail("prepared again"))
    comparison = Comparison(Diff.tolerant, light_compensation=True)
    module(root, comparison=comparison, augment="strong", splits=["train"])


def shards(root: Path) -> list[Path]:
    return sorted((root.parent / "cache").glob("*/*.npz"))


@pytest.mark.parametrize("damage", ["pixels cut", "pixels gone", "index cut", "index empty"])
def test_a_damaged_shard_is_prepared_again(root: Path, damage: str, caplog: pytest.LogCaptureFixture) -> None:
    module(root)
    index = shards(root)[0]
    pixels = index.with_suffix(".bin")
    if damage == "pixels cut":
        os.truncate(pixels, 100)
    elif damage == "pixels gone":
        pixels.unlink()
    else:
        os.truncate(index, 100 if damage == "index cut" else 0)
    assert_same(module(root, "off").datasets["train"], module(root).datasets["train"])
    assert str(index) in caplog.text


def test_a_killed_job_leaves_whole_shards(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    calls = []
    own = MovedObjectDataset.prepare

    def killed(self: MovedObjectDataset, index: int) -> Frames:
        calls.append(index)
        if len(calls) == 12:
            raise KeyboardInterrupt
        return own(self, index)

    monkeypatch.setattr(MovedObjectDataset, "prepare", killed)
    with pytest.raises(KeyboardInterrupt):
        module(root)
    monkeypatch.setattr(MovedObjectDataset, "prepare", own)
    kept = len(shards(root))
    assert kept >= 1
    (shards(root)[0].parent / "rest.bin.tmp").write_bytes(b"half")
    orphan = shards(root)[0].parent / "orphan.bin"  # killed before the index came
    orphan.write_bytes(b"whole")
    assert_same(module(root, "off").datasets["train"], module(root).datasets["train"])
    assert len(shards(root)) > kept
    assert not list((root.parent / "cache").rglob("*.tmp"))
    assert not orphan.exists()


@pytest.mark.parametrize("cache", ["disk", "memory"])
def test_the_size_is_bounded(root: Path, cache: str, caplog: pytest.LogCaptureFixture) -> None:
    data = module(root, cache, cache_gb=100_000 / 1e9)
    assert "no room (data.cache_gb, or the disk)" in caplog.text
    assert 0 < sum(path.stat().st_size for path in (root.parent / "cache").rglob("*.bin")) <= 100_000 or (
        cache == "memory"
    )
    assert_same(module(root, "off").datasets["train"], data.datasets["train"])


def test_what_was_not_used_for_longest_makes_room(root: Path) -> None:
    other = {"processor": RTDetrImageProcessor(size={"height": 32, "width": 32})}
    module(root, **other)
    old = shards(root)
    for path in old:
        os.utime(path, (1, 1))
    size = sum(path.stat().st_size for path in (root.parent / "cache").rglob("*.bin"))
    data = module(root, cache_gb=2.5 * size / 1e9)  # the new ones take twice as much
    assert not all(path.exists() for path in old)
    caches = [data.datasets[split].cache for split in ("train", "val", "test")]
    assert all(cache is not None and not len(cache.missing()) for cache in caches)


@pytest.mark.parametrize("gigabytes", [0.0, -1.0, float("nan")])
def test_a_size_is_more_than_nothing(root: Path, gigabytes: float) -> None:
    with pytest.raises(SettingError, match="data.cache_gb"):
        module(root, cache_gb=gigabytes)


def test_frames_of_several_shapes_and_equal_contents() -> None:
    keys = np.array([5, -3, 5, 9, 4], np.int64)
    made = {5: Frames(torch.ones(2, 3, 4, 6, dtype=torch.uint8), True)}
    made[-3] = Frames(torch.full((1, 3, 2, 2), 7, dtype=torch.uint8), False)
    made[9] = Frames(torch.full((2, 3, 1, 3), 9, dtype=torch.uint8), True)
    cache = FrameCache(keys)
    assert keys[cache.missing()].tolist() == [5, -3, 9, 4]
    for shard in pack(np.array([9, 5, -3]), [made[key] for key in (9, 5, -3)]):
        assert cache.add(shard)
        assert not cache.add(shard)
    assert keys[cache.missing()].tolist() == [4]
    for index, key in enumerate(keys[:4].tolist()):
        kept = cache.get(index)
        assert kept is not None
        assert torch.equal(kept.pixels, made[key].pixels)
        assert kept.aligned == made[key].aligned
    assert cache.get(4) is None


def test_two_jobs_take_turns(tmp_path: Path) -> None:
    first, second = (DiskCache(tmp_path, {"size": 1}, 10_000) for _ in range(2))
    with first.filling():
        import fcntl

        with (second.folder / "lock").open("w") as file, pytest.raises(BlockingIOError):
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        (shard,) = pack(np.array([3]), [Frames(torch.ones(1, 3, 2, 2, dtype=torch.uint8), True)])
        assert first.store(shard) is not None
    with second.filling():
        assert [own.keys.tolist() for _, own in second.shards()] == [[3]]


def test_a_full_disk_leaves_frames_out(root: Path, caplog: pytest.LogCaptureFixture) -> None:
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, before[1]))  # a real failure to write, of half a shard
    try:
        data = module(root)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert "cannot be written: " in caplog.text
    assert "pairs are not cached" in caplog.text
    assert not list((root.parent / "cache").rglob("*.tmp"))
    assert not list((root.parent / "cache").rglob("*.bin"))
    assert_same(module(root, "off").datasets["train"], data.datasets["train"])


def test_many_jobs_begin_at_once(tmp_path: Path) -> None:
    with ThreadPoolExecutor(8) as pool:
        caches = list(pool.map(lambda _: DiskCache(tmp_path, {"size": 1}, 10_000), range(200)))
    assert {cache.folder for cache in caches} == {caches[0].folder}
    assert [path.name for path in caches[0].folder.iterdir()] == ["recipe.json"]
