import csv
import os
import random
import shutil
import signal
import subprocess
import sys
import time
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from lightning import Trainer

from detr_diff.cli import main
from detr_diff.compose import compose
from detr_diff.errors import UserError
from detr_diff.training import checkpoints, precision
from detr_diff.training.checkpoints import ResumeCheckpoint, newest
from detr_diff.training.status_file import StatusFile
from detr_diff.training.stop import Stop
from detr_diff.verbs.train import train
from tests.conftest import ROOT, TINY, shell
from tests.killing import (
    CHOSEN,
    DOUBLE,
    EARLY,
    STAGED,
    Kill,
    assert_same_end,
    load,
    random_kills,
    run_and_kill,
    timed,
)


def words(data_root: Path, runs: Path, *extra: str) -> list[str]:
    return ["train", *TINY, f"data.root={data_root}", f"runs={runs}", "resume=true", *extra]


# The unbroken runs have neither workers nor a cache.
@pytest.mark.parametrize(
    ("settings", "workers", "cache"),
    [
        pytest.param(STAGED, 2, "disk", id="staged"),
        pytest.param(EARLY, 0, "off", id="early", marks=pytest.mark.exhaustive),
        pytest.param(DOUBLE, 0, "off", id="double", marks=pytest.mark.exhaustive),
    ],
)
def test_a_run_killed_again_and_again_ends_like_an_unbroken_one(
    settings: tuple[str, ...], workers: int, cache: str, data_root: Path, tmp_path: Path
) -> None:
    seconds = timed(words(data_root, tmp_path / "unbroken", *settings))
    own = f"data.num_workers={workers}", f"data.cache={cache}", f"data.cache_dir={tmp_path}/cache"
    kills = random_kills(random.Random(workers), 1, seconds / 2)
    codes = run_and_kill(
        words(data_root, tmp_path / "killed", *settings, *own),
        [Kill("write", 3), Kill("commit", 1), *kills],
    )
    assert codes[:2] == [-9, -9]
    assert set(codes[:-1]) <= {-9, -15, -10, 75}
    assert codes[-1] == 0
    assert_same_end(tmp_path / "killed/train", tmp_path / "unbroken/train")


@pytest.mark.exhaustive
def test_a_run_killed_in_a_stage_of_layers_and_expressions_ends_the_same(
    data_root: Path, tmp_path: Path
) -> None:
    assert run_and_kill(words(data_root, tmp_path / "unbroken", *CHOSEN), []) == [0]
    codes = run_and_kill(
        words(data_root, tmp_path / "killed", *CHOSEN), [Kill("write", 2), Kill("commit", 4)]
    )
    assert codes == [-9, -9, 0]
    assert_same_end(tmp_path / "killed/train", tmp_path / "unbroken/train")
    last = load(tmp_path / "killed/train/checkpoints/last.ckpt")
    multiples = {group["multiple"] for group in last["optimizer_states"][0]["param_groups"]}
    assert len(multiples) > 8
    said = (tmp_path / "killed/train/train.log").read_text()
    assert "part of encoder" in said


@pytest.mark.parametrize("hook", ["on_train_batch_end", "on_validation_start", "on_train_end"])
def test_a_signal_around_a_validation_loses_nothing(
    hook: str, data_root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, cli: Callable
) -> None:
    """At the last batch of an epoch, in its validation, and after that of the last one."""
    few = ("data.subset=12", "checkpoint.every_minutes=30")
    assert main(words(data_root, tmp_path / "unbroken", *few)) == 0
    step = load(tmp_path / "unbroken/train/checkpoints/last.ckpt")["global_step"]
    step = step if hook == "on_train_end" else step // 2
    own = getattr(ResumeCheckpoint, hook)

    def kills(self: ResumeCheckpoint, trainer: Trainer, *rest: object) -> None:
        if trainer.global_step == step and not trainer.sanity_checking:
            os.kill(os.getpid(), signal.SIGTERM)
        own(self, trainer, *rest)

    for grace in (0.0, 60.0):
        with monkeypatch.context() as patched:
            patched.setattr(ResumeCheckpoint, hook, kills)
            patched.setattr(checkpoints, "GRACE", grace)
            stopped = cli(*words(data_root, tmp_path / "killed", *few))
        assert stopped.code == 75
        if grace == 0.0 and hook != "on_train_end":
            assert f"takes longer than 0 s: {step} steps are lost; resume=true begins anew" in stopped.err
        else:
            assert f"stopped by SIGTERM after step {step}, saved" in stopped.err
            assert load(tmp_path / "killed/train/checkpoints/last.ckpt")["global_step"] == step
            break
    assert main(words(data_root, tmp_path / "killed", *few)) == 0
    assert_same_end(tmp_path / "killed/train", tmp_path / "unbroken/train")


def test_a_signal_inside_an_accumulation_window_waits_for_its_step(
    data_root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A validation may come between two batches of a step."""
    few = ("data.subset=16", "trainer.accumulate_grad_batches=2", "trainer.val_check_interval=3")
    assert main(words(data_root, tmp_path / "unbroken", *few)) == 0
    own = ResumeCheckpoint.on_validation_start

    def kills(self: ResumeCheckpoint, trainer: Trainer, *rest: object) -> None:
        if trainer.global_step == 1 and not trainer.sanity_checking:
            os.kill(os.getpid(), signal.SIGTERM)
        own(self, trainer, *rest)

    with monkeypatch.context() as patched:
        patched.setattr(ResumeCheckpoint, "on_validation_start", kills)
        assert main(words(data_root, tmp_path / "killed", *few)) == 75
    assert load(tmp_path / "killed/train/checkpoints/last.ckpt")["global_step"] == 2
    assert main(words(data_root, tmp_path / "killed", *few)) == 0
    assert_same_end(tmp_path / "killed/train", tmp_path / "unbroken/train")


def test_a_signal_to_all_processes_is_one_to_the_run(data_root: Path, tmp_path: Path) -> None:
    """Schedulers and `timeout` send it to the workers, too, whose end was an error of the run."""
    listed = words(data_root, tmp_path, "data.num_workers=2", "stages.second.epochs=500")
    process = subprocess.Popen(
        [sys.executable, "-m", "detr_diff", *listed],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    try:
        while not (tmp_path / "train/checkpoints/last.ckpt").exists():
            assert process.poll() is None
            time.sleep(0.1)
        os.killpg(process.pid, signal.SIGTERM)
        _, said = process.communicate(timeout=120)
    finally:
        process.kill()
    assert process.returncode == 75, said
    assert "saved; resume=true goes on" in said.splitlines()[-1]


def test_resume_without_anything_begins(data_root: Path, tmp_path: Path) -> None:
    assert main(words(data_root, tmp_path, "trainer.max_epochs=1", "data.subset=4")) == 0
    assert (tmp_path / "train/metrics.json").exists()


def test_a_finished_run_is_finished_without_what_it_is_resumed_from(
    data_root: Path, tmp_path: Path, cli: Callable
) -> None:
    """last.ckpt is three times as large as best.ckpt, and who needs the room deletes it."""
    assert main(words(data_root, tmp_path)) == 0
    run = tmp_path / "train"
    for name in ("last.ckpt", "previous.ckpt"):
        (run / "checkpoints" / name).unlink(missing_ok=True)
    names = ("metrics.json", "metrics.csv", "config.yaml", "checkpoints/best.ckpt")
    before = {name: (run / name).read_bytes() for name in names}
    again = cli(*words(data_root, tmp_path))
    assert again.code == 0
    assert "has finished already" in again.err
    other = cli(*words(data_root, tmp_path, "optimizer.weight_decay=0.5"))
    assert (other.code, "resume=true: optimizer.weight_decay was" in other.err) == (2, True)
    assert {name: (run / name).read_bytes() for name in names} == before
    # A sweeper is told what the run reached.
    with (run / "metrics.csv").open(encoding="utf-8") as file:
        reached = [float(row["val/map"]) for row in csv.DictReader(file) if row["val/map"]]
    settings = compose("train", words(data_root, tmp_path)[1:])
    status = StatusFile.begin(run, resume=True)
    assert train(settings, run, None, status, Stop()) == pytest.approx(max(reached))


def test_a_damaged_checkpoint_is_named_and_skipped(run_dir: Path, tmp_path: Path) -> None:
    good = (run_dir / "checkpoints/last.ckpt").read_bytes()
    last, previous = tmp_path / "last.ckpt", tmp_path / "previous.ckpt"
    said: list[str] = []
    assert newest(tmp_path, said.append) is None
    previous.write_bytes(good)
    (tmp_path / "next.ckpt").write_bytes(good)
    with zipfile.ZipFile(previous) as archive:
        largest = max(archive.infolist(), key=lambda entry: entry.file_size)
    flipped = bytearray(good)
    flipped[largest.header_offset + 200] ^= 1  # one bit of a weight
    for damaged in (good[: len(good) // 2], b"", b"no checkpoint", bytes(flipped)):
        last.write_bytes(damaged)
        said.clear()
        assert newest(tmp_path, said.append) == previous
        assert len(said) == 1
        assert said[0].startswith(f"{last}: damaged, skipped (")
    assert not (tmp_path / "next.ckpt").exists()  # it never counted
    previous.write_bytes(b"")
    with pytest.raises(UserError, match=r"no checkpoint can be read \(last.ckpt, previous.ckpt\)"):
        newest(tmp_path, said.append)


def fill_disk_after(checkpoints: int, patched: pytest.MonkeyPatch) -> None:
    save, room = torch.save, checkpoints

    def full(checkpoint: object, file: object) -> None:
        nonlocal room
        room -= 1
        if room < 0:
            raise OSError(28, "No space left on device")
        save(checkpoint, file)

    patched.setattr("detr_diff.training.checkpoints.torch.save", full)


def test_a_full_disk_leaves_the_checkpoint_before(
    data_root: Path, tmp_path: Path, cli: Callable, monkeypatch: pytest.MonkeyPatch
) -> None:
    listed = words(data_root, tmp_path, "checkpoint.every_n_steps=1", "data.subset=8")
    with monkeypatch.context() as patched:
        fill_disk_after(3, patched)
        result = cli(*listed)
    assert result.code == 1
    assert "cannot be written: No space left on device; the checkpoint before it is intact" in result.err
    folder = tmp_path / "train/checkpoints"
    assert newest(folder) == folder / "last.ckpt"
    assert not list(folder.glob("*.tmp"))
    result = cli(*listed)
    assert result.code == 0
    assert "resuming from" in result.err


def test_a_run_goes_on_in_another_folder_and_not_with_other_data(
    data_root: Path, tmp_path: Path, cli: Callable, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Lightning forgets the best figure where the folder has another path."""
    data = Path(shutil.copytree(data_root, tmp_path / "data"))
    with monkeypatch.context() as patched:
        fill_disk_after(2, patched)  # best.ckpt and last.ckpt of the first epoch
        assert cli(*words(data, tmp_path / "here")).code == 1
    (tmp_path / "here").rename(tmp_path / "there")
    folder = tmp_path / "there/train/checkpoints"
    last = load(folder / "last.ckpt")
    assert last["pairs"]["train"] > last["pairs"]["val"] > 0
    (state,) = (own for own in last["callbacks"].values() if "best_model_score" in own)
    state["best_model_score"] = torch.tensor(2.0)  # better than any can be
    state["best_k_models"] = dict.fromkeys(state["best_k_models"], torch.tensor(2.0))
    torch.save(last, folder / "last.ckpt")
    best = (folder / "best.ckpt").read_bytes()

    moved = words(data, tmp_path / "there")
    labels = sorted((data / "labels").rglob("*.txt"))
    taken = [path.read_text() for path in labels]
    for path in labels[::5]:
        path.write_text("no label")
    result = cli(*moved, "data.on_error=skip")
    assert (result.code, "data.on_error was refuse" in result.err) == (2, True)
    config = tmp_path / "there/train/config.yaml"
    config.write_text(config.read_text().replace("on_error: refuse", "on_error: skip"))
    result = cli(*moved, "data.on_error=skip")
    assert (result.code, "resume=true: the run began with" in result.err) == (2, True)
    assert "now there are" in result.err
    for path, text in zip(labels, taken, strict=True):
        path.write_text(text)
    labels[0].write_text(taken[0] + "\n0 0.5 0.5 0.1 0.1\n")
    result = cli(*moved, "data.on_error=skip")
    assert (result.code, "are not as when the run began" in result.err) == (2, True)
    labels[0].write_text(taken[0])
    described = (data / "dataset.yaml").read_text()
    (data / "dataset.yaml").write_text(described + "\nlabels: after\n")
    result = cli(*moved, "data.on_error=skip")
    assert (result.code, "are not as when the run began" in result.err) == (2, True)
    (data / "dataset.yaml").write_text(described)
    # The same pairs in another folder.
    data.rename(tmp_path / "elsewhere")
    moved = words(tmp_path / "elsewhere", tmp_path / "there")
    assert cli(*moved, "data.on_error=skip").code == 0
    assert (folder / "best.ckpt").read_bytes() == best
    assert not (tmp_path / "here").exists()


@pytest.mark.parametrize(("minutes", "earlier"), [(60, False), (1e-9, True)])
def test_a_checkpoint_is_written_when_its_time_has_come(
    minutes: float, earlier: bool, data_root: Path, tmp_path: Path
) -> None:
    listed = words(data_root, tmp_path, f"checkpoint.every_minutes={minutes}", "data.subset=8")
    assert main(listed) == 0
    folder = tmp_path / "train/checkpoints"
    assert (folder / "previous.ckpt").exists() is earlier
    last, best = load(folder / "last.ckpt"), load(folder / "best.ckpt")
    assert last["epoch"] == 1
    assert last["optimizer_states"]
    assert "optimizer_states" not in best
    before = (folder / "last.ckpt").read_bytes()
    assert main([*listed, "resume=true"]) == 0
    assert (folder / "last.ckpt").read_bytes() == before


def test_a_run_goes_on_on_another_machine_as_it_began(
    data_root: Path, tmp_path: Path, cli: Callable, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In bf16 on a processor without it, inside an epoch, with another path to the data."""
    listed = words(data_root, tmp_path, "checkpoint.every_n_steps=1", "data.subset=12", "data.batch_size=2")
    with monkeypatch.context() as patched:
        patched.setattr(precision, "LARGE", 0)
        patched.setattr(torch.cpu, "get_capabilities", lambda: {"avx512_bf16": True}, raising=False)
        fill_disk_after(2, patched)
        begun = cli(*listed)
    assert (begun.code, "on cpu in bf16-mixed" in begun.err) == (1, True)
    assert load(tmp_path / "train/checkpoints/last.ckpt")["global_step"] == 2
    # In a process of its own, whose warnings nobody catches.
    resumed = shell([*listed, f"data.root={data_root.name}"], data_root.parent)
    assert resumed.returncode == 0, resumed.stderr
    assert "on cpu in bf16-mixed" in resumed.stderr
    said = resumed.stdout + resumed.stderr
    assert "stage 1 of 2" in said[: said.index("epoch 0: validation")]
    assert "not resumable" not in said


def test_a_run_from_before_its_precision_was_kept_goes_on_in_float32(
    data_root: Path, tmp_path: Path, cli: Callable, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On a CPU nothing else was chosen then."""
    listed = words(data_root, tmp_path, "checkpoint.every_n_steps=1", "data.subset=12")
    with monkeypatch.context() as patched:
        fill_disk_after(2, patched)
        assert cli(*listed).code == 1
    last = tmp_path / "train/checkpoints/last.ckpt"
    checkpoint = load(last)
    assert checkpoint.pop("precision") == "32-true"
    torch.save(checkpoint, last)
    monkeypatch.setattr(precision, "LARGE", 1)
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: {"avx512_bf16": True}, raising=False)
    assert "on cpu in 32-true" in cli(*listed).err
