"""Detector, the LightningModule: DETR on diff images."""

import logging
import math
from collections.abc import Mapping
from typing import Any

import torch
from lightning import LightningModule
from torch import Tensor, nn
from torch.optim import AdamW

from detr_diff.choices import Normalize
from detr_diff.data.batch import Batch, Contents, Samples, contents
from detr_diff.data.diff import Comparison
from detr_diff.data.pixels import batched
from detr_diff.data.sampler import seed_for
from detr_diff.data.truth import truths_in_pixels
from detr_diff.evaluation.detection_metrics import DetectionMetrics
from detr_diff.evaluation.score_sweep import DEFAULT_THRESHOLD, Sweep
from detr_diff.model.architecture import Architecture, build_model, build_processor
from detr_diff.model.autocast import autocast_backbone_and_encoder
from detr_diff.model.blocks import parameter_groups, rate_groups
from detr_diff.model.evaluation_form import fold_in_evaluation
from detr_diff.model.folded_batch_norm import fold_batch_norms
from detr_diff.model.host_checks import leave_checks_out
from detr_diff.model.padding_mask import mask_padding_alone
from detr_diff.model.place_labels import PlaceLabels
from detr_diff.model.predictions import Predictions, best_first
from detr_diff.model.prefix import deepest_cut, replay
from detr_diff.model.query_selection import box_queries_alone
from detr_diff.model.selection import ParameterNames
from detr_diff.training.criterion import give_loss
from detr_diff.training.ema import WeightAverage
from detr_diff.training.loss_scale import BatchLoss, Divisors, EpochLoss, Part
from detr_diff.training.rates import set_rates
from detr_diff.training.stages import Stage, StagePlan, Timeline

log = logging.getLogger(__name__)

# Of a target dict: looked at by the host in every step, which would wait for another device.
ON_HOST = ("size", "index", "padding", "aligned")


class Detector(LightningModule):
    """A DETR that learns in stages.

    A checkpoint of it holds all that prediction needs: architecture, class names, comparison,
    image processor and score threshold, as tensors and primitives.

    Args:
        architecture: The fields of Architecture.
        comparison: How two frames became the images, the fields of Comparison.
        stages: Stage name to its settings, see StagePlan.
        weight_decay: Of weights; norms and biases have none.
        normalize: What the loss is divided by: the objects of the optimizer step, or of the batch.
        ema_decay: Of the averaged weights, which are then those that are evaluated; None: no average.
        seed: Dropout and denoising are drawn from (seed, epoch, batch, process).
        detr: The model, when it is already built and perhaps pretrained.
        multiples: Words of a selection to multiples of the rates of the stages.
        layer_decay: What the rates are multiplied by from each layer to the one below it.
    """

    def __init__(
        self,
        architecture: Mapping[str, Any],
        comparison: Mapping[str, Any],
        stages: Mapping[str, Mapping[str, Any]],
        weight_decay: float = 1e-4,
        normalize: str = "step",
        ema_decay: float | None = None,
        seed: int = 0,
        detr: nn.Module | None = None,
        multiples: Mapping[str, float] | None = None,
        layer_decay: float | None = None,
    ) -> None:
        super().__init__()
        self.save_hyperparameters(ignore=["detr"], logger=False)
        self.architecture = Architecture.from_settings(architecture)
        self.comparison = Comparison.from_settings(comparison)
        self.ended: dict[int, int] = {}
        self.weight_decay = weight_decay
        self.normalize = Normalize(normalize)
        self.seed = seed
        self.family = self.architecture.kind
        self.names = self.architecture.names
        self.place_labels = PlaceLabels(len(self.names)) if self.architecture.places else None
        self.processor = build_processor(self.architecture)
        self.detr = build_model(self.architecture) if detr is None else detr
        fold_batch_norms(self.detr)
        fold_in_evaluation(self.detr)
        autocast_backbone_and_encoder(self.detr, self.family.autocast_without_gradient)
        leave_checks_out(self.detr)
        mask_padding_alone(self.detr, self.family)
        box_queries_alone(self.detr)
        # Transformers freezes some backbones, and what is frozen when DDP wraps the model is never in sync.
        self.detr.requires_grad_(True)
        named = ParameterNames(self.detr, self.family)
        self.rate_groups = rate_groups(named, multiples, layer_decay)
        still = [name for group in self.rate_groups if not group.multiple for name in group.names]
        self.plan = StagePlan.from_settings(stages).bound(named, still)
        give_loss(self.detr, self.family.class_loss)
        # Convolutions are faster on it. And torch 2.15 gives wrong gradients of batch norm for a
        # single image in the other layout, when they come from a transposed view as in RT-DETR.
        self.detr.to(memory_format=torch.channels_last)
        self.average: WeightAverage | None = (
            None if ema_decay is None else WeightAverage(self.detr, ema_decay)
        )
        self.divisors = Divisors(1)
        self.parts: dict[str, Part] = {}  # of the loss of the last training batch
        self.gradient_norm: Tensor | None = None  # where a guard has worked it out already
        self.metrics = DetectionMetrics(self.names)
        self.losses = EpochLoss()
        self.sweep: Sweep | None = None
        # Chosen on validation; a buffer, so that it is in every checkpoint.
        self.score_threshold: Tensor
        self.register_buffer("score_threshold", torch.tensor(DEFAULT_THRESHOLD))
        # AlignmentCallback counts it; checkpoints from before have it here.
        self.register_load_state_dict_pre_hook(lambda _, state, *rest: state.pop("unaligned.sum_value", None))

    def transfer_batch_to_device(self, batch: Samples, device: torch.device, dataloader_idx: int) -> Batch:
        """A batch on a device, its images as the model takes them: float, normalised."""
        columns = batch.packed.columns
        there = {key: column for key, column in columns.items() if key not in ON_HOST}
        images, kept, there = super().transfer_batch_to_device(
            (batch.images, batch.kept, there), device, dataloader_idx
        )
        packed = batch.packed._replace(columns=columns | there)
        moved = batched(batch._replace(images=images, kept=kept, packed=packed), self.processor)
        return moved._replace(images=moved.images.to(self.dtype))

    def on_train_batch_start(self, batch: Batch, batch_idx: int) -> None:
        # The global generator is not in a checkpoint; so what it gives depends on the step alone.
        seed = seed_for(self.seed, self.current_epoch, batch_idx, self.global_rank)
        # To seed a GPU that is not used takes two milliseconds.
        (torch.default_generator if self.device.type == "cpu" else torch).manual_seed(seed)

    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:
        output = self._output(self.detr, batch, labels=self.labels(batch))
        loss: BatchLoss = output.loss_dict
        self.parts = {**loss.parts, "loss": Part(output.loss.detach(), 1)}
        own, accumulated = contents(batch), self.trainer.accumulate_grad_batches
        if self.normalize is Normalize.batch:
            # Lightning divides by all batches of a window, and the last one of an epoch may have fewer.
            first = batch_idx - batch_idx % accumulated
            window = min(accumulated, int(self.trainer.num_training_batches) - first)
            return loss.divided(loss.own) * (accumulated / window * bool(own.samples))
        if batch_idx % accumulated == 0:
            self.divisors = self._divisors(self._over_processes(batch.window or own))
        # Lightning averages over the batches of a step, and over the processes: this is a sum.
        batches = accumulated * self.trainer.world_size
        return loss.part(self.divisors, own.samples) * batches

    def _divisors(self, step: Contents) -> Divisors:
        queries = step.samples * self.architecture.num_queries
        config: Any = self.detr.config
        return Divisors.of(step.objects, queries, getattr(config, "eos_coefficient", 1.0))

    def _over_processes(self, counted: Contents) -> Contents:
        if self.trainer.world_size == 1:
            return counted
        counts = torch.tensor(counted, device=self.device)
        return Contents(*self.trainer.strategy.reduce(counts, reduce_op="sum").tolist())

    def on_before_optimizer_step(self, optimizer: torch.optim.Optimizer) -> None:
        trainer: Any = self.trainer
        rates, every = set_rates(optimizer, self.timeline, self.global_step), trainer.log_every_n_steps
        # Only when they are written: Lightning's bookkeeping costs more than the loss.
        if every and (self.global_step + 1) % every == 0:
            self.log_dict(rates | {f"train/{key}": part.mean for key, part in self.parts.items()})

    def configure_gradient_clipping(
        self, optimizer: Any, gradient_clip_val: Any = None, gradient_clip_algorithm: Any = None
    ) -> None:
        norm, self.gradient_norm = self.gradient_norm, None
        if norm is None or not gradient_clip_val or gradient_clip_algorithm == "value":
            self.clip_gradients(optimizer, gradient_clip_val, gradient_clip_algorithm)
            return
        learnt = [parameter for group in optimizer.param_groups for parameter in group["params"]]
        # Gradients that are no numbers stay as they are, to be told.
        nn.utils.clip_grads_with_norm_(learnt, gradient_clip_val, norm.nan_to_num(0.0, 0.0, 0.0))

    def optimizer_step(self, *args: Any, **kwargs: Any) -> None:
        super().optimizer_step(*args, **kwargs)
        if self.average is not None:
            self.average.update(self.detr, self.global_step)

    def validation_step(self, batch: Batch, batch_idx: int) -> Any:
        return self._evaluate(batch)

    def test_step(self, batch: Batch, batch_idx: int) -> Any:
        return self._evaluate(batch)

    def predict_step(self, batch: Batch, batch_idx: int) -> Predictions:
        return self._predictions(self._output(self.evaluated, batch), batch)

    @property
    def evaluated(self) -> Any:
        """The model with the weights that validation and prediction use."""
        return self.detr if self.average is None else self.average.module

    def on_validation_epoch_start(self) -> None:
        self.metrics.reset()
        self.losses.reset()

    on_test_epoch_start = on_validation_epoch_start

    def on_validation_epoch_end(self) -> None:
        figures, self.sweep = self.metrics.compute()
        self.score_threshold.fill_(figures["score_threshold"])
        self.log_dict({f"val/{key}": value for key, value in (figures | self.losses.compute()).items()})

    def on_validation_end(self) -> None:
        if not self.trainer.sanity_checking:
            figures = self.trainer.callback_metrics
            shown = (f"{key} {float(figures[f'val/{key}']):.3f}" for key in ("loss", "map", "map_50", "f1"))
            log.info("epoch %d: validation %s", self.current_epoch, ", ".join(shown))

    def on_test_epoch_end(self) -> None:
        figures, self.sweep = self.metrics.compute(self.threshold)
        self.log_dict({f"test/{key}": value for key, value in (figures | self.losses.compute()).items()})

    @property
    def threshold(self) -> float:
        """Score from which on a prediction is shown and counted."""
        return round(float(self.score_threshold), 4)

    def configure_optimizers(self) -> Any:
        groups = parameter_groups(self.detr, self.rate_groups, self.weight_decay)
        # The rate of every step is set before it, see on_before_optimizer_step.
        groups = [{**group, "lr": 0.0} for group in groups]
        optimizer = AdamW(groups, fused=self.trainer.precision != "16-mixed")
        # Lightning does not clip for what unscales gradients itself; without fp16 they are not scaled.
        optimizer._step_supports_amp_scaling = False
        return optimizer

    @property
    def timeline(self) -> Timeline:
        """The stages in their places, with those that ended early."""
        return self.plan.timeline(self._steps_per_epoch, self.ended)

    def _steps_per_epoch(self, stage: Stage) -> int:
        """Optimizer steps of an epoch.

        Not Lightning's estimated_stepping_batches: that begins to load the first epoch, before a
        resumed run knows in which epoch it is.
        """
        data: Any = self.trainer.datamodule  # type: ignore[attr-defined]
        batches = data.train_batches(stage.batch_size, self.trainer.world_size)
        limit = self.trainer.limit_train_batches
        batches = min(batches, limit) if isinstance(limit, int) else int(batches * limit)
        return math.ceil(batches / self.trainer.accumulate_grad_batches)

    def labels(self, batch: Batch) -> Predictions:
        """What the model learns from, as it knows them: boxes (of the picture, or of all), class_labels."""
        labels = [{key: target[key] for key in ("boxes", "class_labels")} for target in batch.targets]
        if batch.shares is not None and not self.family.sees_padding:
            scales = batch.shares.flip(1).repeat(1, 2).to(batch.images.device, non_blocking=True)
            for own, scale in zip(labels, scales, strict=True):
                own["boxes"] = own["boxes"] * scale
        if self.place_labels is not None:
            for own, target in zip(labels, batch.targets, strict=True):
                own["class_labels"] = self.place_labels.join(target["class_labels"], target["places"])
        return labels

    def _output(self, model: Any, batch: Batch, **labels: Any) -> Any:
        if batch.kept is None:
            return model(pixel_values=batch.images, pixel_mask=batch.masks, **labels)
        # The epoch that the data are of: on resume, Lightning's is one behind in the validation before.
        data: Any = self.trainer.datamodule  # type: ignore[attr-defined]
        cut = deepest_cut(self.family, self.timeline.at_epoch(data.epoch()).stage.blocks)
        assert cut is not None
        with replay(model, cut, batch.kept):
            return model(pixel_values=batch.images, **labels)

    def _evaluate(self, batch: Batch) -> Predictions:
        output = self._output(self.evaluated, batch, labels=self.labels(batch))
        self.losses.update(output.loss_dict, contents(batch))
        predictions, truths = self._predictions(output, batch), truths_in_pixels(batch.targets)
        counted = [
            (prediction, truth, int(target["index"]))
            for prediction, truth, target in zip(predictions, truths, batch.targets, strict=True)
            if not target["padding"]
        ]
        if counted:
            self.metrics.update(*zip(*counted, strict=True))
        return predictions

    def _predictions(self, output: Any, batch: Batch) -> Predictions:
        sizes = torch.stack([target["size"] for target in batch.targets])
        if batch.shares is not None and not self.family.sees_padding:
            sizes = sizes / batch.shares
        return best_first(output, self.family, sizes, self.place_labels)
