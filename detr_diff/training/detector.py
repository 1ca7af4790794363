"""Detector, the LightningModule: DETR on diff images."""

import logging
import math
import re
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import torch
from lightning import LightningModule
from torch import Tensor, nn
from torch.optim import AdamW
from torch.optim.lr_scheduler import LambdaLR
from torchvision.ops import box_convert

from detr_diff.data.dataset import Batch
from detr_diff.data.diff import Comparison
from detr_diff.data.sampler import seed_for
from detr_diff.evaluation.detection_metrics import DetectionMetrics
from detr_diff.evaluation.score_sweep import DEFAULT_THRESHOLD, Sweep
from detr_diff.model.architecture import Architecture, build_model, build_processor
from detr_diff.model.blocks import parameter_groups
from detr_diff.model.families import family
from detr_diff.training.stages import StagePlan

log = logging.getLogger(__name__)

MAX_DETECTIONS = 100  # per image, as COCO counts them
Predictions = list[dict[str, Tensor]]


class Detector(LightningModule):
    """A DETR that learns in stages.

    A checkpoint of it holds all that prediction needs: architecture, class names, comparison,
    image processor and score threshold, as tensors and primitives.

    Args:
        architecture: The fields of Architecture.
        comparison: How two frames became the images, the fields of Comparison.
        stages: Stage name to its settings, see StagePlan.
        weight_decay: Of weights; norms and biases have none.
        seed: Dropout and denoising are drawn from (seed, epoch, batch).
        detr: The model, when it is already built and perhaps pretrained.
    """

    def __init__(
        self,
        architecture: Mapping[str, Any],
        comparison: Mapping[str, Any],
        stages: Mapping[str, Mapping[str, Any]],
        weight_decay: float = 1e-4,
        seed: int = 0,
        detr: nn.Module | None = None,
    ) -> None:
        super().__init__()
        self.save_hyperparameters(ignore=["detr"], logger=False)
        self.architecture = Architecture(**architecture)
        self.comparison = Comparison.from_settings(comparison)
        self.plan = StagePlan.from_settings(stages)
        self.weight_decay = weight_decay
        self.seed = seed
        self.family = family(self.architecture.family)
        self.names = self.architecture.names
        self.processor = build_processor(self.architecture)
        self.detr = build_model(self.architecture) if detr is None else detr
        # Convolutions are faster on it.
        self.detr.to(memory_format=torch.channels_last)
        self.metrics = DetectionMetrics(self.names)
        self.sweep: Sweep | None = None
        # Chosen on validation; a buffer, so that it is in every checkpoint.
        self.score_threshold: Tensor
        self.register_buffer("score_threshold", torch.tensor(DEFAULT_THRESHOLD))

    def on_train_batch_start(self, batch: Batch, batch_idx: int) -> None:
        # The global generator is not in a checkpoint; so what it gives depends on the step alone.
        torch.manual_seed(seed_for(self.seed, self.current_epoch, batch_idx))

    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:
        loss, _ = self._forward(batch, "train")
        return loss

    def on_before_optimizer_step(self, optimizer: torch.optim.Optimizer) -> None:
        rates = {f"lr/{group['block']}": float(group["lr"]) for group in optimizer.param_groups}
        self.log_dict(rates)

    def validation_step(self, batch: Batch, batch_idx: int) -> Any:
        return self._evaluate(batch, "val")

    def test_step(self, batch: Batch, batch_idx: int) -> Any:
        return self._evaluate(batch, "test")

    def predict_step(self, batch: Batch, batch_idx: int) -> Predictions:
        output = self.detr(pixel_values=batch.images, pixel_mask=batch.masks)
        return self._predictions(output, batch)

    def on_validation_epoch_start(self) -> None:
        self.metrics.reset()

    def on_test_epoch_start(self) -> None:
        self.metrics.reset()

    def on_validation_epoch_end(self) -> None:
        figures, self.sweep = self.metrics.compute()
        self.score_threshold.fill_(figures["score_threshold"])
        self.log_dict({f"val/{key}": value for key, value in figures.items()})

    def on_validation_end(self) -> None:
        if not self.trainer.sanity_checking:
            figures = self.trainer.callback_metrics
            shown = (f"{key} {float(figures[f'val/{key}']):.3f}" for key in ("loss", "map", "map_50", "f1"))
            log.info("epoch %d: validation %s", self.current_epoch, ", ".join(shown))

    def on_test_epoch_end(self) -> None:
        figures, self.sweep = self.metrics.compute(self.threshold)
        self.log_dict({f"test/{key}": value for key, value in figures.items()})

    @property
    def threshold(self) -> float:
        """Score from which on a prediction is shown and counted."""
        return round(float(self.score_threshold), 4)

    def configure_optimizers(self) -> Any:
        groups = parameter_groups(self.detr, self.family, self.weight_decay)
        # Lightning refuses to clip with a fused optimizer under mixed precision.
        fused = not str(self.trainer.precision).endswith("-mixed")
        optimizer = AdamW([{**group, "lr": 1.0} for group in groups], fused=fused)
        steps = self._steps_per_epoch()
        # The base rate is 1, so the factor of the schedule is the learning rate itself.
        rates: list[Callable[[int], float]] = [partial(self._rate, group["block"], steps) for group in groups]
        scheduler = LambdaLR(optimizer, rates)
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": scheduler, "interval": "step"}}

    def _steps_per_epoch(self) -> int:
        """Optimizer steps of an epoch.

        Not Lightning's estimated_stepping_batches: that begins to load the first epoch, before a
        resumed run knows in which epoch it is.
        """
        data: Any = self.trainer.datamodule  # type: ignore[attr-defined]
        batches = data.train_batches(self.trainer.world_size)
        limit = self.trainer.limit_train_batches
        batches = min(batches, limit) if isinstance(limit, int) else int(batches * limit)
        return math.ceil(batches / self.trainer.accumulate_grad_batches)

    def _rate(self, block: str, steps_per_epoch: int, step: int) -> float:
        return self.plan.rate(block, step, steps_per_epoch)

    def _forward(self, batch: Batch, split: str) -> tuple[Tensor, Any]:
        """The model's output and its loss, logged under the name of the split."""
        labels = [{key: t[key] for key in ("boxes", "class_labels")} for t in batch.targets]
        images = batch.images.contiguous(memory_format=torch.channels_last)
        output = self.detr(pixel_values=images, pixel_mask=batch.masks, labels=labels)
        # Losses of the auxiliary layers end in a number; they are in the sum.
        parts = {k: v for k, v in output.loss_dict.items() if not re.search(r"_\d+$", k)}
        figures = {f"{split}/{key}": value.detach() for key, value in parts.items()}
        figures[f"{split}/loss"] = output.loss.detach()
        self.log_dict(figures, batch_size=len(labels), on_epoch=split != "train", sync_dist=split != "train")
        gave_up = [not target["aligned"] for target in batch.targets if "aligned" in target]
        if gave_up:
            self.log(f"{split}/unaligned", float(sum(gave_up)), on_step=False, on_epoch=True, reduce_fx="sum")
        return output.loss, output

    def _evaluate(self, batch: Batch, split: str) -> Predictions:
        _, output = self._forward(batch, split)
        predictions = self._predictions(output, batch)
        self.metrics.update(predictions, [truth_in_pixels(target) for target in batch.targets])
        return predictions

    def _predictions(self, output: Any, batch: Batch) -> Predictions:
        """Prediction dicts, best first: boxes [D, 4] xyxy in pixels of the frame, scores, labels."""
        sizes = torch.stack([target["size"] for target in batch.targets])
        found = self.processor.post_process_object_detection(output, threshold=0.0, target_sizes=sizes)
        result = []
        for prediction in found:
            order = prediction["scores"].argsort(descending=True, stable=True)[:MAX_DETECTIONS]
            result.append(
                {
                    key: value[order].detach().float() if key != "labels" else value[order]
                    for key, value in prediction.items()
                }
            )
        return result


def truth_in_pixels(target: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """A target dict as boxes [N, 4] xyxy in pixels of the frame, and labels [N]."""
    height, width = target["size"].tolist()
    scale = target["boxes"].new_tensor([width, height, width, height])
    boxes = box_convert(target["boxes"], "cxcywh", "xyxy") * scale
    return {"boxes": boxes, "labels": target["class_labels"]}
