"""The same model, data and randomness for all ways of staging, so that only the staging differs."""

from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
import yaml
from lightning import LightningModule
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset
from wanted import STEPS

from detr_diff.data.sampler import seed_for
from detr_diff.model.load import build_model, load_model

SETTINGS = Path(__file__).parents[2] / "conf/model/detr_tiny.yaml"
BATCH = 2
PAIRS = BATCH * STEPS


def build() -> nn.Module:
    """conf/model/detr_tiny.yaml with the frozen batch norm of a pretrained DETR, with dropout."""
    settings = yaml.safe_load(SETTINGS.read_text())
    torch.manual_seed(0)
    names = ["person", "car"]
    _, architecture, _ = load_model("detr", names, config=settings["config"], processor=settings["processor"])
    # Live batch norm has statistics that BackboneFinetuning leaves on; a pretrained DETR has none.
    detr = build_model(replace(architecture, live_batch_norm=False))
    return detr.requires_grad_(True)  # transformers freezes this backbone


class Images(Dataset[tuple[Tensor, dict[str, Tensor]]]):
    """Random diff images [3, 64, 64], each with one box."""

    def __len__(self) -> int:
        return PAIRS

    def __getitem__(self, index: int) -> tuple[Tensor, dict[str, Tensor]]:
        generator = torch.Generator().manual_seed(index)
        boxes = 0.3 + 0.3 * torch.rand(1, 4, generator=generator)
        return torch.randn(3, 64, 64, generator=generator), {
            "boxes": boxes,
            "class_labels": torch.tensor([index % 2]),
        }


def collate(samples: list[Any]) -> tuple[Tensor, list[dict[str, Tensor]]]:
    """(images [B, 3, 64, 64], target dicts)."""
    return torch.stack([image for image, _ in samples]), [target for _, target in samples]


class Order:
    """Batches in an order that is a function of the epoch, from the right batch on when resumed.

    Lightning restarts a loader at its first batch; a resume inside an epoch could not be exact.
    """

    def __init__(self, module: LightningModule) -> None:
        self.module = module

    def __len__(self) -> int:
        return STEPS // self.module.trainer.world_size

    def __iter__(self) -> Iterator[list[int]]:
        trainer = self.module.trainer
        loop = trainer.fit_loop
        epoch = loop.epoch_progress.current.processed
        generator = torch.Generator().manual_seed(seed_for(0, epoch))
        batches = torch.randperm(PAIRS, generator=generator).reshape(STEPS, BATCH).tolist()
        first = loop.epoch_loop.batch_progress.current.ready if loop.restarting else 0
        yield from batches[trainer.global_rank :: trainer.world_size][first:]


class TinyDetr(LightningModule):
    """A DETR of 0.4 M parameters.

    Args:
        optimizer: What configure_optimizers returns, from the module.
        step_start: Called with the module before each step.
    """

    def __init__(
        self,
        optimizer: Callable[["TinyDetr"], Any],
        step_start: Callable[["TinyDetr"], None] | None = None,
    ) -> None:
        super().__init__()
        self.detr = build()
        self.optimizer = optimizer
        self.step_start = step_start

    @property
    def backbone(self) -> nn.Module:
        """What BackboneFinetuning freezes: all but the heads."""
        return self.detr.model

    def configure_optimizers(self) -> Any:
        return self.optimizer(self)

    def on_train_batch_start(self, batch: Any, batch_idx: int) -> None:
        torch.manual_seed(seed_for(1, self.current_epoch, batch_idx, self.global_rank))  # dropout
        if self.step_start:
            self.step_start(self)

    def training_step(self, batch: Any, batch_idx: int) -> Tensor:
        images, targets = batch
        return self.detr(pixel_values=images, labels=targets).loss

    def train_dataloader(self) -> DataLoader[Any]:
        return DataLoader(
            Images(), batch_sampler=Order(self), collate_fn=collate, generator=torch.Generator()
        )
