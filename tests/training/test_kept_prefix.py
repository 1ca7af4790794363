"""Training on kept outputs is training on the images."""

import logging
import re
import shutil
import weakref
from collections.abc import Mapping
from dataclasses import asdict
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import pytest
import torch
from lightning import Callback, Trainer
from PIL import Image

from detr_diff.choices import Cache, Registration
from detr_diff.data.datamodule import MovedObjectDataModule
from detr_diff.data.dataset import MovedObjectDataset
from detr_diff.data.diff import Comparison
from detr_diff.data.synthetic import NAMES
from detr_diff.errors import SettingError
from detr_diff.model.families import FAMILIES
from detr_diff.model.load import load_model
from detr_diff.model.prefix import deepest_cut
from detr_diff.training import kept_prefix
from detr_diff.training.alignment_callback import AlignmentCallback
from detr_diff.training.checkpoints import ResumeCheckpoint, newest
from detr_diff.training.detector import Detector
from detr_diff.training.kept_prefix import KeptPrefix
from detr_diff.training.process import prepare_process
from detr_diff.training.run import build_trainer, follow_stages
from detr_diff.training.staged_finetuning import StagedFinetuning
from detr_diff.training.stop import Stop
from tests.killing import equal
from tests.model.tiny_models import MODELS

# The heads, then one of them with other batches, then everything; 24 pairs to learn, 3 to validate.
STAGES = {
    "heads": {"epochs": 2, "learn": "heads", "lr": 1e-3},
    "classes": {"epochs": 1, "learn": "class_head", "lr": 1e-3, "batch_size": 3},
    "all": {"epochs": 1, "lr": 1e-3},
}
PROCESSOR = {
    "detr": {"size": {"shortest_edge": 64, "longest_edge": 96}},
    "rt_detr": {"size": {"height": 64, "width": 64}},
}


@pytest.fixture(autouse=True)
def no_figures(monkeypatch: pytest.MonkeyPatch) -> None:
    """They take longer than these trainings."""
    monkeypatch.setattr(StagedFinetuning, "_draw", lambda *_: None)


class Diary(Callback):
    """Every loss of a training, and in which steps the images were not needed."""

    def __init__(self, dies_at: int | None = None) -> None:
        self.losses: list[float] = []
        self.figures: list[dict[str, float]] = []
        self.kept: list[bool] = []
        self.dies_at = dies_at

    def on_train_batch_start(self, trainer: Trainer, detector: Any, batch: Any, batch_idx: int) -> None:
        self.kept.append(batch.kept is not None)

    def on_before_backward(self, trainer: Trainer, *_: Any) -> None:
        if trainer.global_step == self.dies_at:
            raise KeyError("the power is gone")

    def on_train_batch_end(self, trainer: Trainer, detector: Any, outputs: Any, *_: Any) -> None:
        self.losses.append(float(outputs["loss"]))

    def on_validation_end(self, trainer: Trainer, detector: Any) -> None:
        self.figures.append({k: float(v) for k, v in trainer.callback_metrics.items() if k.startswith("val")})


class Run:
    """A training of a small model, set up but not begun."""

    def __init__(
        self,
        root: Path,
        folder: Path,
        key: str = "detr",
        where: Cache = Cache.memory,
        gigabytes: float = 1.0,
        stages: Mapping[str, Any] = STAGES,
        dies_at: int | None = None,
        patience: int | None = None,
        precision: Any = "32-true",
        limit_train_batches: float | None = None,
        **settings: Any,
    ) -> None:
        prepare_process()
        torch.manual_seed(0)
        family, config = MODELS[key]
        model, architecture, _ = load_model(
            family, NAMES, config=config | {"auxiliary_loss": True}, processor=PROCESSOR[family]
        )
        comparison = Comparison(registration=Registration.phase)
        decay = settings.pop("ema_decay", None)
        self.detector = Detector(
            asdict(architecture), comparison.settings(), stages, ema_decay=decay, detr=model
        )
        given = {"batch_size": 4, "split_by": "scene", "test": 0.0, "val": 0.2, "subset": 10, **settings}
        self.data = MovedObjectDataModule(str(root), NAMES, self.detector.processor, comparison, **given)
        self.kept = KeptPrefix(self.detector, self.data, where, gigabytes, str(folder.parent / "cache"))
        follow_stages(self.data, self.detector, self.kept)
        self.data.setup()
        self.diary = Diary(dies_at)
        staged = StagedFinetuning(folder, "val/loss", 1e9 if patience else 0.0)
        self.folder = folder
        self.trainer = build_trainer(
            {
                "accelerator": "cpu",
                "max_epochs": self.detector.plan.epochs,
                "enable_progress_bar": False,
                "num_sanity_val_steps": 1,
                "accumulate_grad_batches": 2,
                "reload_dataloaders_every_n_epochs": 1,
                "precision": precision,
                "limit_train_batches": limit_train_batches,
            },
            folder,
            self.detector,
            callbacks=[AlignmentCallback(), self.diary, staged, ResumeCheckpoint(folder, 0, 1, Stop())],
        )

    def ready(self) -> "Run":
        """As it is when the first loader is asked for."""
        self.detector.trainer = self.trainer
        self.trainer.datamodule = self.data
        return self

    def fit(self, resume: bool = False) -> "Run":
        path = newest(self.folder) if resume else None
        assert path is not None or not resume
        self.trainer.fit(self.detector, datamodule=self.data, ckpt_path=path, weights_only=True)
        return self

    @property
    def state(self) -> dict[str, Any]:
        return torch.load(newest(self.folder), weights_only=True)


@pytest.fixture
def decoded(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Positions of the pairs that were decoded."""
    listed: list[int] = []
    own = MovedObjectDataset.prepare
    monkeypatch.setattr(MovedObjectDataset, "prepare", lambda self, i: listed.append(i) or own(self, i))
    return listed


@pytest.mark.parametrize(("key", "epochs"), [("detr", (2, 1, 1)), ("rt_detr", (1,))])
def test_losses_are_those_of_training_on_images(
    key: str, epochs: tuple[int, ...], data_root: Path, tmp_path: Path, decoded: list[int]
) -> None:
    stages = {name: row | {"epochs": n} for (name, row), n in zip(STAGES.items(), epochs, strict=False)}
    plain = Run(data_root, tmp_path / "plain", key, Cache.off, stages=stages).fit()
    pairs = {split: len(plain.data.datasets[split]) for split in ("train", "val")}
    assert len(decoded) == sum(epochs) * sum(pairs.values()) + pairs["val"]  # a sanity check, too
    decoded.clear()
    kept = Run(data_root, tmp_path / "kept", key, stages=stages).fit()
    # Once; for the shapes a batch again; in the last of three stages in its epoch.
    assert len(decoded) == sum(pairs.values()) * (1 + ("all" in stages)) + 4
    steps = sum(kept.diary.kept)
    assert kept.diary.kept == [True] * steps + [False] * (3 if "all" in stages else 0)
    assert not any(plain.diary.kept)
    assert kept.diary.losses[:steps] == pytest.approx(plain.diary.losses[:steps], rel=1e-5, abs=1e-5)
    validated = sum(epochs[:2]) + 1
    for ours, theirs in zip(kept.diary.figures[:validated], plain.diary.figures[:validated], strict=True):
        assert ours == pytest.approx(theirs, rel=1e-5, abs=1e-5, nan_ok=True)
        assert "val/unaligned" in ours


@pytest.mark.exhaustive
def test_a_broken_run_ends_like_an_unbroken_one(data_root: Path, tmp_path: Path) -> None:
    heads = STAGES["heads"] | {"epochs": 5, "patience": 1}  # that ends after two epochs
    stages = {"heads": heads, "classes": STAGES["classes"]}
    common: dict[str, Any] = {"stages": stages, "patience": 1, "ema_decay": 0.9}
    whole = Run(data_root, tmp_path / "whole", **common).fit()
    assert whole.trainer.current_epoch == 3
    assert all(whole.diary.kept)
    with pytest.raises(KeyError, match="the power is gone"):
        # Inside the second stage, which follows one that ended early; and kept elsewhere.
        Run(data_root, tmp_path / "broken", where=Cache.disk, dies_at=5, **common).fit()
    resumed = Run(data_root, tmp_path / "broken", where=Cache.disk, **common).fit(resume=True)
    assert resumed.trainer.global_step == whole.trainer.global_step == 6
    for part in ("state_dict", "optimizer_states"):
        assert equal(resumed.state[part], whole.state[part])
    assert resumed.diary.losses == whole.diary.losses[-len(resumed.diary.losses) :]


@pytest.mark.parametrize("first", ["heads", "all"])
def test_a_run_broken_between_two_stages_goes_on(first: str, data_root: Path, tmp_path: Path) -> None:
    """The validation before the training got outputs of the next stage and replayed them in the last."""
    top = {"epochs": 1, "learn": ["heads", "queries", "decoder[-1:]"], "lr": 1e-3}
    stages = {first: STAGES[first] | {"epochs": 1}, "top": top}
    whole = Run(data_root, tmp_path / "whole", stages=stages).fit()
    with pytest.raises(KeyError, match="the power is gone"):
        Run(data_root, tmp_path / "broken", stages=stages, dies_at=2).fit()
    resumed = Run(data_root, tmp_path / "broken", stages=stages).fit(resume=True)
    assert resumed.trainer.global_step == whole.trainer.global_step == 4
    assert resumed.diary.kept == [True] * 3
    for part in ("state_dict", "optimizer_states"):
        assert equal(resumed.state[part], whole.state[part])


def test_outputs_are_kept_on_disk_by_a_source_that_is_not_installed(
    data_root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As on a lent machine, where it is on the path alone."""

    def known(name: str) -> str:
        if name == "detr-diff":
            raise PackageNotFoundError(name)
        return version(name)

    monkeypatch.setattr(kept_prefix, "version", known)
    stages = {"heads": STAGES["heads"] | {"epochs": 1}}
    run = Run(data_root, tmp_path / "run", where=Cache.disk, stages=stages).fit()
    assert all(run.diary.kept)


def passes(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Images in each batch that the frozen blocks are run on."""
    listed: list[int] = []
    own = kept_prefix.keep
    monkeypatch.setattr(kept_prefix, "keep", lambda *given: listed.append(len(given[2])) or own(*given))
    return listed


def test_a_stage_runs_its_frozen_blocks_once(
    data_root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = Run(data_root, tmp_path / "run").ready()
    made = passes(monkeypatch)
    kept = run.kept.at(0)
    assert set(kept) == {"train", "val"}
    assert sum(made) == 4 + sum(map(len, kept.values()))
    assert run.kept.at(1) is kept
    assert run.kept.at(2) is kept  # the next stage needs the same
    run.data.trainer = run.trainer
    assert run.data.train_dataloader() is run.data.train_dataloader()  # its workers stay
    count = len(made)

    records = weakref.ref(kept["train"].cache)
    with torch.no_grad():
        next(run.detector.detr.model.decoder.parameters()).add_(0.1)
    assert run.kept.at(1) is not kept
    assert records() is None  # although loaders still have the data sets
    assert len(made) == 2 * count
    with torch.no_grad():
        next(run.detector.detr.class_labels_classifier.parameters()).add_(0.1)
    run.kept.at(2)
    assert len(made) == 2 * count
    gone = weakref.ref(run.kept.at(2)["train"])
    del kept
    assert run.kept.at(3) == {}
    run.data._loaders["train"].get(None, object)
    assert gone() is None  # nothing holds them in a stage that cannot use them


@pytest.mark.exhaustive
def test_jobs_share_what_is_on_disk(data_root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    root = Path(shutil.copytree(data_root, tmp_path / "data"))
    made = passes(monkeypatch)

    def batches(**settings: Any) -> int:
        made.clear()
        Run(root, tmp_path / "run", where=Cache.disk, **settings).ready().kept.at(0)
        return len(made)

    first = batches()
    assert first == 1 + 3 + 1
    assert batches() == 1  # to learn the shapes
    other = {"heads": {"epochs": 9, "learn": "heads", "lr": 3.0}}
    assert batches(stages=other) == 1
    assert batches(seed=1) == first  # other pairs are trained on
    assert batches(batch_size=5) > 1
    assert batches(precision="bf16-mixed") == first
    assert batches() == 1
    pairs = Run(root, tmp_path / "run").data.datasets["train"].pairs
    frame = pairs[3].pair.after
    Image.open(frame).rotate(180).save(frame)
    assert batches() == first


@pytest.mark.parametrize(
    ("settings", "reason"),
    [
        ({"augment": "light"}, "the images are augmented; data.augment=none, or augment: none in the stage"),
        ({"zoom": [1.0, 2.0]}, "the images are augmented"),
        ({"gigabytes": 1e-6}, "kept_prefix.gb=1e-06"),
        ({"limit_train_batches": 2}, "trainer.limit_train_batches=2: only some of the images"),
        ({"odd": True}, r"the images have different sizes \(64x64, 96x64\)"),
    ],
)
def test_one_line_says_why_nothing_is_kept(
    settings: dict[str, Any],
    reason: str,
    data_root: Path,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
) -> None:
    root = data_root
    if settings.pop("odd", False):
        root = Path(shutil.copytree(data_root, tmp_path / "data"))
        for frame in Run(root, tmp_path / "run").data.datasets["train"].pairs[3].pair.frames:
            Image.open(frame).resize((96, 64)).save(frame)
    run = Run(root, tmp_path / "run", **settings).ready()
    with caplog.at_level(logging.INFO, logger=kept_prefix.__name__):
        assert run.kept.at(0) == run.kept.at(1) == {}
    # Other loggers speak too, once a command has run in this process.
    (line,) = [record.getMessage() for record in caplog.records if record.name == kept_prefix.__name__]
    assert line.startswith("stage heads: the frozen blocks (stem to queries) run anew in every epoch: ")
    assert re.search(reason, line)


def test_a_stage_may_do_without_augmentation(data_root: Path, tmp_path: Path) -> None:
    stages = {
        "heads": STAGES["heads"] | {"augment": "none"},
        "more": {"epochs": 1, "learn": "heads"},
        "all": {"epochs": 1, "augment": "strong"},
    }
    run = Run(data_root, tmp_path / "run", stages=stages, augment="light", zoom=[1.0, 2.0]).ready()
    assert set(run.kept.at(0)) == {"train", "val"}
    assert run.kept.at(2) == {}
    scales = [run.data.strength(epoch).scale for epoch in (0, 2, 3)]
    assert scales == [(1.0, 1.0), (1.0, 2.0), (1.0, 2.0)]
    assert run.data.strength(2) != run.data.strength(3)


def test_averaged_weights_that_lag_behind_see_images(data_root: Path, tmp_path: Path) -> None:
    stages = {
        "heads": {"epochs": 1, "learn": "heads"},
        "decoder": {"epochs": 1, "learn": ["heads", "decoder"]},
        "again": {"epochs": 1, "learn": "heads"},
    }
    run = Run(data_root, tmp_path / "run", stages=stages, ema_decay=0.9).ready()
    assert [sorted(run.kept.at(epoch)) for epoch in range(3)] == [["train", "val"]] * 2 + [["train"]]
    without = Run(data_root, tmp_path / "run", stages=stages).ready()
    assert sorted(without.kept.at(2)) == ["train", "val"]


def test_mixed_precision_is_that_of_the_training(data_root: Path, tmp_path: Path) -> None:
    run = Run(data_root, tmp_path / "run", stages=STAGES, precision="bf16-mixed").ready()
    cut = deepest_cut(FAMILIES["detr"], ["class_head"])
    assert cut is not None
    (outputs, _), loaded = run.kept.at(0)["train"][0], next(iter(run.data.loader("train")))
    batch = run.detector.transfer_batch_to_device(loaded, torch.device("cpu"), 0)
    with torch.autocast("cpu", torch.bfloat16):
        live = kept_prefix.keep(run.detector.detr, cut, batch.images)
    for ours, theirs in zip(outputs, live, strict=True):
        assert ours.dtype == theirs.dtype
        torch.testing.assert_close(ours, theirs[0], atol=2e-2, rtol=2e-2)


def test_a_wrong_setting_is_named(data_root: Path, tmp_path: Path) -> None:
    with pytest.raises(SettingError, match="kept_prefix.gb=0: a size above 0"):
        Run(data_root, tmp_path / "run", gigabytes=0)
    (tmp_path / "cache").write_text("a file")
    run = Run(data_root, tmp_path / "run", where=Cache.disk).ready()
    with pytest.raises(SettingError, match=r"data.cache_dir=.*cache: cannot be written to"):
        run.kept.at(0)
