"""MovedObjectDataModule: batches of diff images and targets."""

import logging
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import torch
from lightning import LightningDataModule
from torch.utils.data import DataLoader

from detr_diff.choices import Augment, Cache, OnError, Places, SplitBy
from detr_diff.data.augment import NO_AUGMENTATION, STRENGTHS, Strength
from detr_diff.data.batch import Samples, collate
from detr_diff.data.cache import fill, open_store
from detr_diff.data.check import CheckReport, check
from detr_diff.data.convention import warn_of_symmetric_diff
from detr_diff.data.dataset import MovedObjectDataset
from detr_diff.data.description import read_description
from detr_diff.data.diff import Comparison
from detr_diff.data.discovery import discover
from detr_diff.data.duplicates import warn_of_shared_files
from detr_diff.data.kept_outputs import KeptOutputs, collate_kept
from detr_diff.data.labelled_pairs import LabelledPairs
from detr_diff.data.loading import Reused, build_loader, evaluation_batch, limited, worker_count
from detr_diff.data.resizing import ImageProcessor
from detr_diff.data.sampler import EpochBatches, InOrder, Share, Shuffled, batches_of
from detr_diff.data.split import division, remedy_of_empty, split_usable, subset
from detr_diff.data.windows import Windows
from detr_diff.errors import SettingError

log = logging.getLogger(__name__)

BOTH_PLACES = (Places.both, Places.changed)
SPLITS = ("train", "val", "test")


class MovedObjectDataModule(LightningDataModule):
    """Frame pairs as batches, see `Samples`.

    Args:
        root: Data folder, see `discover`.
        names: Class names.
        processor: The image processor of the model.
        comparison: How two frames become one image.
        pairs, labels: Another csv, another label folder in it.
        scene: Regular expression that finds the scene in a pair's name.
        split_by: auto, column, scene, pair or time.
        split_seed: Of the division, and of `subset`; None: `seed`.
        val, test: Shares of validation and test.
        subset: Use only so many pairs of each split.
        on_error: refuse, or skip the pairs that have problems.
        augment: none, light or strong; of training images only.
        zoom: Smallest and largest zoom of the augmentation; None: as `augment` says.
        pad_to: Batches are padded, on the device, to a height and width that are multiples of it.
        cache: off, disk or memory: where decoded, aligned and resized frames are kept.
        cache_dir: Folder of the disk cache.
        cache_gb: Largest size of the cache, in gigabytes.
        batch_size: Pairs in a batch.
        eval_batch_size: Of validation and test; None: see `evaluation_batch`.
        num_workers: Processes that load; 0 loads in the main process; None: see `worker_count`.
        max_objects: Number of object queries; more objects in an image are a problem.
        seed: Of order and augmentation.
    """

    def __init__(
        self,
        root: str,
        names: Sequence[str],
        processor: ImageProcessor,
        comparison: Comparison,
        *,
        pairs: str | None = None,
        labels: str | None = None,
        scene: str | None = None,
        split_by: str = "auto",
        split_seed: int | None = None,
        val: float = 0.2,
        test: float = 0.0,
        subset: int | None = None,
        on_error: str = "refuse",
        augment: str = "none",
        zoom: Sequence[float] | None = None,
        pad_to: int = 1,
        cache: str = "off",
        cache_dir: str | None = None,
        cache_gb: float = 20.0,
        batch_size: int = 2,
        eval_batch_size: int | None = None,
        num_workers: int | None = 0,
        max_objects: int | None = None,
        seed: int = 0,
    ) -> None:
        super().__init__()
        self.save_hyperparameters(ignore=["processor", "names", "comparison"], logger=False)
        self.settings = SimpleNamespace(**self.hparams)
        self.names = list(names)
        self.processor = processor
        self.comparison = comparison
        self.workers = worker_count(num_workers)
        at_least = {"num_workers": 0, "batch_size": 1, "eval_batch_size": 1, "pad_to": 1, "subset": 1}
        for name, least in at_least.items():
            value = self.workers if name == "num_workers" else self.hparams[name]
            if value is not None and value < least:
                raise SettingError(f"data.{name}={value}: at least {least}")
        if zoom is not None and not (len(zoom) == 2 and 0 < zoom[0] <= zoom[1] < math.inf):
            raise SettingError(f"data.zoom={list(zoom)}: [smallest, largest], both above 0")
        self.datasets: dict[str, MovedObjectDataset] = {}
        # Of the stage of an epoch; training sets these.
        self.batch_size_at: Callable[[int], int | None] = lambda epoch: None
        self.augment_at: Callable[[int], Augment | None] = lambda epoch: None
        self.augment_of_stages: Sequence[Augment | None] = (None,)
        self.kept_at: Callable[[int], Mapping[str, KeptOutputs]] = lambda epoch: {}
        self._loaders: dict[str, Reused[Any]] = {"train": Reused(), "val": Reused()}

    def setup(self, stage: str | None = None) -> None:
        """Discover, check and split; once, whatever the stage.

        Raises:
            DataError: The data has problems and `on_error` is refuse, or no pair is usable.
        """
        if self.datasets:
            return
        settings = self.settings
        usable = self._check().accept(settings.root, OnError(settings.on_error))
        seed = settings.seed if settings.split_seed is None else settings.split_seed
        chosen = split_usable(usable, SplitBy(settings.split_by), settings.val, settings.test, seed)
        if outside := sum(split is None for split in chosen):
            log.info("%d pairs have frames on both sides of a cut in time and are left out", outside)
        warn_of_shared_files(usable.frame_pairs(), chosen)
        rows = {
            split: np.array([i for i, own in enumerate(chosen) if own == split], np.int64) for split in SPLITS
        }
        for split, positions in {**rows, "all": np.arange(len(usable))}.items():
            if settings.subset is not None:
                names = [usable[int(position)].pair.name for position in positions]
                positions = positions[subset(names, settings.subset, seed)]
            self.datasets[split] = self._dataset(usable.take(positions), split == "train")
        log.info("frame pairs: %s", division(self.datasets, SPLITS))
        if settings.augment == Augment.strong and self._places() not in BOTH_PLACES:
            needed = "that needs `labels: both` or `labels: changed` in dataset.yaml"
            log.info("data.augment=strong: no frames are swapped; %s", needed)

    def _check(self) -> CheckReport:
        settings = self.settings
        found = discover(
            Path(settings.root), pairs=settings.pairs, labels=settings.labels, scene=settings.scene
        )
        return check(
            found,
            self.names,
            max_objects=settings.max_objects,
            needs_frames=self.comparison.diff.needs_frames,
            contents=settings.cache != Cache.off,
        )

    def _dataset(self, pairs: LabelledPairs, training: bool) -> MovedObjectDataset:
        return MovedObjectDataset(
            pairs,
            self.comparison,
            self.processor,
            self._strength(None) if training else NO_AUGMENTATION,
            reversible=self._places() in BOTH_PLACES,
            seed=self.settings.seed,
            max_objects=self.settings.max_objects,
        )

    def strength(self, epoch: int) -> Strength:
        """How far the training pairs are varied in an epoch."""
        return self._strength(self.augment_at(epoch))

    def _strength(self, of_stage: Augment | None) -> Strength:
        strength, zoom = STRENGTHS[of_stage or Augment(self.settings.augment)], self.settings.zoom
        return strength if zoom is None or of_stage is Augment.none else replace(strength, scale=tuple(zoom))

    def _places(self) -> Places | None:
        """Which places the labels name, as far as the data set says; another label folder may differ."""
        if self.settings.labels is not None:
            return None
        return read_description(Path(self.settings.root)).places

    def fill_cache(self, *splits: str) -> None:
        """Prepare the frames of these splits and keep them, as `cache` says.

        Raises:
            SettingError: `cache_gb` is no size, or there is no folder to write to.
        """
        settings = self.settings
        if settings.cache == Cache.off:
            return
        recipe = self.datasets["all"].recipe()
        store = open_store(Cache(settings.cache), settings.cache_dir, settings.cache_gb, recipe)
        varied = any(self._strength(own) != NO_AUGMENTATION for own in self.augment_of_stages)
        for split in splits:
            dataset = self.datasets[split]
            # More channels than frames have would make the cache larger.
            dataset.keeps_diff = self.comparison.diff.channels == 3 and not (varied and split == "train")
            fill(dataset, store)

    def require(self, *splits: str) -> None:
        """Refuse to go on without pairs in these splits.

        Raises:
            SettingError: A split is empty.
        """
        for split in splits:
            if not len(self.datasets[split]):
                given, pairs = self.settings, self.datasets["all"].pairs.frame_pairs()
                remedy = remedy_of_empty(pairs, given.split_by, given.val, given.test)
                raise SettingError(f"no pairs in the {split} split of {given.root}; {remedy}")

    def warn_of_symmetric_diff(self, setting: str) -> None:
        """Say once when the training labels cannot be told apart; see convention.py."""
        warn_of_symmetric_diff(self.datasets["train"].pairs, setting, self._places())

    def train_dataloader(self) -> Windows:
        epoch, images = self.epoch(), self.datasets["train"]
        images.strength = self.strength(epoch)
        dataset = self.kept_at(epoch).get("train", images)
        batches = self._shuffled(epoch)
        accumulate = self.trainer.accumulate_grad_batches  # type: ignore[union-attr]

        def build() -> Windows:
            return Windows(self._loader(dataset, batches, accumulate), accumulate, self._remaining)

        return self._loaders["train"].get((dataset, images.strength, batches.batch_size), build)

    def first_batch(self) -> Samples:
        """The first training batch of this process."""
        samples = [self.datasets["train"][key] for key in next(iter(self._shuffled(0)))]
        return collate(samples, self.settings.pad_to)

    def val_dataloader(self) -> DataLoader[Any]:
        dataset = self.kept_at(self.epoch()).get("val", self.datasets["val"])
        return self._loaders["val"].get(dataset, lambda: self._in_order(dataset))

    def test_dataloader(self) -> DataLoader[Any]:
        return self.loader("test")

    def loader(self, split: str) -> DataLoader[Any]:
        """Batches of train, val, test or all, in the order found and without augmentation."""
        return self._in_order(self.datasets[split])

    def train_batches(self, batch_size: int | None = None, processes: int = 1) -> int:
        """Training batches of an epoch, the same for each of several processes."""
        return batches_of(len(self.datasets["train"]), batch_size or self.settings.batch_size, processes)

    def epoch(self) -> int:
        """The epoch of the training whose data are loaded."""
        # `processed`, not `current_epoch`: on resume the latter is one behind at this point.
        trainer: Any = self.trainer
        return 0 if trainer is None else int(trainer.fit_loop.epoch_progress.current.processed)

    def _start(self) -> int:
        """First batch of an epoch: 0, but where a run is resumed inside it."""
        loop: Any = self.trainer.fit_loop  # type: ignore[union-attr]
        return int(loop.epoch_loop.batch_progress.current.ready) if loop.restarting else 0

    def _remaining(self) -> int:
        """Batches that are left of an epoch."""
        trainer: Any = self.trainer
        return int(trainer.num_training_batches) - self._start()

    def _share(self) -> Share:
        trainer = self.trainer
        return Share() if trainer is None else Share(trainer.global_rank, trainer.world_size)

    def _in_order(self, dataset: MovedObjectDataset | KeptOutputs) -> DataLoader[Any]:
        size, trainer = self.settings.batch_size, self.trainer
        # A limit is meant for batches as they are said.
        if trainer is None or not (limited(trainer.limit_val_batches) or limited(trainer.limit_test_batches)):
            size = evaluation_batch(self.datasets["all"].sizes(), size)
        size = self.settings.eval_batch_size or size
        return self._loader(dataset, EpochBatches(InOrder(len(dataset)), size, self._share()))

    def _shuffled(self, epoch: int) -> EpochBatches:
        """The training batches from an epoch on."""
        order = Shuffled(len(self.datasets["train"]), self.settings.seed)
        size = self.batch_size_at(epoch) or self.settings.batch_size
        return EpochBatches(order, size, self._share(), self.epoch, self._start)

    def _loader(
        self, dataset: MovedObjectDataset | KeptOutputs, batches: EpochBatches, ahead: int = 2
    ) -> DataLoader[Any]:
        return build_loader(
            dataset,
            self.workers,
            ahead,  # the next window is loaded while one is learnt
            batch_sampler=batches,
            persistent_workers=self.workers > 0,
            collate_fn=collate_kept
            if isinstance(dataset, KeptOutputs)
            else partial(collate, multiple=self.settings.pad_to),
            pin_memory=torch.cuda.is_available(),
        )
