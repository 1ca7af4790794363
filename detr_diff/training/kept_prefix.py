"""The frozen blocks of a stage run once; its epochs go on from their outputs."""

import logging
from collections.abc import Mapping, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from detr_diff import __version__
from detr_diff.choices import Cache
from detr_diff.data.augment import NO_AUGMENTATION
from detr_diff.data.batch import Samples
from detr_diff.data.cache import MemoryCache
from detr_diff.data.datamodule import MovedObjectDataModule
from detr_diff.data.dataset import MovedObjectDataset
from detr_diff.data.disk_cache import DiskCache
from detr_diff.data.kept_outputs import KeptOutputs, Layout, contents_of, first_layout, keep_outputs
from detr_diff.data.loading import limited
from detr_diff.errors import SettingError, UserError
from detr_diff.model.cuts import Cut
from detr_diff.model.prefix import before_cut, blocks_before, deepest_cut, digest, keep, versions
from detr_diff.training.detector import Detector
from detr_diff.training.stages import Span, StagePlan

log = logging.getLogger(__name__)


class KeptPrefix:
    """What the frozen blocks of the stage at hand make of the images.

    It is a function of weights, data and settings and is in no checkpoint: a resumed run makes it
    again, or finds it on disk.

    Args:
        detector: Its trainer must be known when outputs are asked for.
        data: Whose images.
        where: off, memory or disk.
        gigabytes: Outputs that need more, of training and validation together, are not kept.
        folder: Of the outputs on disk; jobs share it.
    """

    def __init__(
        self, detector: Detector, data: MovedObjectDataModule, where: Cache, gigabytes: float, folder: str
    ) -> None:
        if not gigabytes > 0:
            raise SettingError(f"kept_prefix.gb={gigabytes}: a size above 0")
        self.detector = detector
        self.data = data
        self.where = where
        self.limit = int(gigabytes * 1e9)
        self.folder = folder
        self._seen: tuple[int, Any] | None = None
        self._key: tuple[int, str] | None = None
        self._made: tuple[str, ...] = ()
        self._kept: dict[str, KeptOutputs] = {}

    def possible(self, plan: StagePlan) -> bool:
        """Whether there may be anything to keep in some stage."""
        cuts = (deepest_cut(self.detector.family, stage.blocks) for stage in plan.stages)
        return self.where is not Cache.off and any(cuts)

    def at(self, epoch: int) -> Mapping[str, KeptOutputs]:
        """The data sets of an epoch that have outputs instead of images: train, val, or none.

        Raises:
            SettingError: Nothing can be written to their folder.
            UserError: The disk is full.
        """
        span = self.detector.timeline.at_epoch(epoch)
        cut = deepest_cut(self.detector.family, span.stage.blocks)
        if cut is None or self.where is Cache.off:
            self._seen, self._key = None, None
            self._drop()
            return {}
        tensors = before_cut(self.detector.detr, self.detector.family, cut)
        seen = span.first_epoch, versions(tensors)
        if seen == self._seen:
            return self._kept
        self._seen = seen
        key = span.first_epoch, digest(tensors)
        if key != self._key:
            self._key = key
            self._enter(span, cut, key[1])
        return self._kept

    def _enter(self, span: Span, cut: Cut, weights: str) -> None:
        """Keep what a stage needs, or say why not."""
        splits = self._splits(span, cut)
        reason = self._reason(span, splits)
        made = cut.last, weights, *splits
        if not reason and made == self._made:
            return  # by the stage before
        self._drop()  # before the new ones come
        kept = reason or self._keep(span, cut, splits, weights)
        if isinstance(kept, str):
            log.info("stage %s: %s run anew in every epoch: %s", span.stage.name, _blocks(cut), kept)
        else:
            self._made, self._kept = made, kept

    def _drop(self) -> None:
        for old in self._kept.values():  # loaders still have it, and read nothing of it any more
            old.forget()
        self._made, self._kept = (), {}

    def _splits(self, span: Span, cut: Cut) -> list[str]:
        """Which splits go on from outputs.

        Averaged weights are evaluated. They follow those that learned, so before the cut they are
        the same only when nothing there has learned yet.
        """
        before = set(blocks_before(cut))
        earlier = (one for one in self.detector.timeline.spans if one.first_epoch < span.first_epoch)
        learned = any(before & set(one.stage.blocks) for one in earlier)
        lag = self.detector.average is not None and learned
        return ["train"] if lag or limited(self.detector.trainer.limit_val_batches) else ["train", "val"]

    def _reason(self, span: Span, splits: Sequence[str]) -> str:
        """Why nothing can be kept; empty when it can."""
        if self.data.strength(span.first_epoch) != NO_AUGMENTATION:
            return (
                "the images are augmented; data.augment=none, or augment: none in the stage, runs them once"
            )
        limit = self.detector.trainer.limit_train_batches
        if limited(limit):
            return f"trainer.limit_train_batches={limit}: only some of the images are looked at"
        sizes = set[tuple[int, int]]().union(*(self.data.datasets[split].sizes() for split in splits))
        if len(sizes) > 1:
            (height, width), (other_height, other_width), *_ = sorted(sizes)
            return (
                f"the images have different sizes ({width}x{height}, {other_width}x{other_height}), so each "
                "is padded as the others of its batch demand"
            )
        multiple = self.data.settings.pad_to
        if any(side % multiple for side in next(iter(sizes))):
            return f"data.pad_to={multiple} pads the images"
        return ""

    def _keep(
        self, span: Span, cut: Cut, splits: Sequence[str], weights: str
    ) -> dict[str, KeptOutputs] | str:
        """The outputs of these splits, or why they are not kept."""
        datasets, settings = [self.data.datasets[split] for split in splits], self.data.settings

        def run(samples: Samples) -> list[Tensor]:
            return self._run(cut, samples)

        layout = first_layout(datasets[0], run, settings.batch_size)
        needed = layout.nbytes * sum(map(len, datasets))
        size = f"{needed / 1e9:.2g} GB"
        if needed > self.limit:
            return f"their outputs take {size}, but kept_prefix.gb={self.limit / 1e9:g}"
        store = self._store(self._recipe(cut, weights, layout, datasets))
        log.info(
            "stage %s: %s run once, on %d pairs; their outputs (%s) are kept in %s",
            span.stage.name,
            _blocks(cut),
            sum(map(len, datasets)),
            size,
            store.folder if isinstance(store, DiskCache) else "memory",
        )
        try:
            kept = keep_outputs(datasets, run, layout, store, settings.batch_size, self.data.workers)
        except OSError as error:
            raise UserError(f"kept_prefix.where={self.where}: the outputs cannot be kept: {error}") from error
        return dict(zip(splits, kept, strict=True))

    def _run(self, cut: Cut, samples: Samples) -> list[Tensor]:
        """The outputs of a batch, in the precision and on the device of the training."""
        detector, trainer = self.detector, self.detector.trainer
        plugin = trainer.precision_plugin
        batch = detector.transfer_batch_to_device(plugin.convert_input(samples), detector.device, 0)
        if batch.masks is not None:
            raise ValueError("a padded image: its outputs depend on the other images of the batch")
        with plugin.forward_context():
            return keep(detector.detr, cut, batch.images)

    def _recipe(
        self, cut: Cut, weights: str, layout: Layout, datasets: Sequence[MovedObjectDataset]
    ) -> dict[str, Any]:
        """All that the outputs depend on; another entry on disk for another recipe."""
        device = self.detector.device
        architecture = self.detector.architecture.settings()
        config = {k: v for k, v in architecture.pop("config").items() if k not in ("id2label", "label2id")}
        return {
            "frames": datasets[0].recipe(),
            "comparison": self.data.comparison.settings(),
            "contents": contents_of(datasets) if self.where is Cache.disk else None,
            "lengths": [len(dataset) for dataset in datasets],
            "batch_size": self.data.settings.batch_size,
            "architecture": architecture | {"config": config},
            "weights": weights,
            "before": cut.last,
            "layout": layout,
            "precision": self.detector.trainer.precision,
            "compiled": any(vars(m).get("_compiled_call_impl") for m in self.detector.detr.modules()),
            # Other machines round in other ways.
            "machine": torch.cuda.get_device_name(device)
            if device.type == "cuda"
            else f"{device.type} {torch.backends.cpu.get_cpu_capability()} {torch.get_num_threads()}",
            # Ours by itself: it may run from its source alone.
            "versions": [__version__, *map(version, ("torch", "transformers", "timm"))],
        }

    def _store(self, recipe: Mapping[str, Any]) -> DiskCache | MemoryCache:
        if self.where is Cache.memory:
            return MemoryCache(self.limit)
        try:
            return DiskCache(Path(self.folder).expanduser() / "prefix", recipe, self.limit)
        except OSError as error:
            raise SettingError(f"data.cache_dir={self.folder}: cannot be written to: {error}") from error


def _blocks(cut: Cut) -> str:
    """The blocks before a cut, in words."""
    first, *_, last = blocks_before(cut)
    return f"the frozen blocks ({first} to {last})"
