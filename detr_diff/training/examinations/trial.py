"""A trial: a copy of the model learns a few pairs, so that the model itself stays as it is."""

import copy
import math
from collections.abc import Callable, Collection, Mapping
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
from torch import Tensor, nn

from detr_diff.data.batch import Samples
from detr_diff.data.truth import truths_in_pixels
from detr_diff.evaluation.detection_metrics import DetectionMetrics
from detr_diff.model.blocks import let_learn, parameter_groups
from detr_diff.model.selection import ParameterNames
from detr_diff.training.detector import Detector


class Trial:
    """Some pairs, learnt again and again from the same start.

    Args:
        detector: Its model is copied.
        samples: The pairs, on the CPU.
        shares: Block to its learning rate as a share of the largest.
        size: Pairs in a step.
        precision: As the trainer's.
        device: Where it learns.
        chosen: Names of the parameters that learn; None: all of these blocks.
    """

    def __init__(
        self,
        detector: Detector,
        samples: Samples,
        shares: Mapping[str, float],
        size: int,
        precision: str = "32-true",
        device: torch.device | str = "cpu",
        chosen: Collection[str] | None = None,
    ) -> None:
        self.detector = copy.deepcopy(detector).to(device)
        self.detector.average = None  # it follows the steps of a training alone
        self.device = torch.device(device)
        self.batch = detector.transfer_batch_to_device(samples, self.device, 0)
        self.shares = shares
        names = ParameterNames(self.detector.detr, detector.family)
        self.chosen = names.learning(shares, (), "trial") if chosen is None else chosen
        self.size = min(size, len(samples.images))
        self.precision = precision
        self.start = copy.deepcopy(self.detector.detr.state_dict())

    def restart(self) -> None:
        """Back to the start."""
        self.detector.detr.load_state_dict(self.start)
        groups = parameter_groups(self.detector.detr, self.detector.rate_groups, 0.0)
        self.optimizer = torch.optim.AdamW([{**group, "lr": 0.0} for group in groups])
        self.steps = 0

    def losses(self, rate_at: Callable[[int], float], steps: int, *, same: bool = False) -> list[float]:
        """Learn from the start on; ends early where the loss is no number.

        Args:
            rate_at: Learning rate of a step, from 0.
            steps: How many.
            same: The same pairs, dropout and denoising in each step, so that only the weights differ.
        """
        self.restart()
        found: list[float] = []
        for step in range(steps):
            found.append(self.step(rate_at(step), 0 if same else step))
            if not math.isfinite(found[-1]):
                break
        return found

    def step(self, rate: float, number: int) -> float:
        """Learn the pairs of a step; returns their loss before it."""
        detr: Any = self.detector.detr
        detr.train()
        let_learn(detr, self.detector.family, self.chosen)
        for group in self.optimizer.param_groups:
            group["lr"] = rate * group["multiple"] * self.shares.get(group["block"], 0.0)
        with torch.random.fork_rng():
            torch.manual_seed(number)
            loss = self.loss(self.part(number))
            self.optimizer.zero_grad()
            if bool(loss.isfinite()):
                loss.backward()
                self.optimizer.step()
        return float(loss.detach())

    def part(self, number: int) -> list[int]:
        """Positions of the pairs of a step."""
        total = len(self.batch.images)
        return [(number * self.size + index) % total for index in range(self.size)]

    def loss(self, positions: list[int]) -> Tensor:
        """The loss of some of the pairs."""
        detr: Any = self.detector.detr
        batch = self.batch.take(positions)
        labels = self.detector.labels(batch)
        with autocast(self.precision, self.device):
            loss: Tensor = detr(pixel_values=batch.images, pixel_mask=batch.masks, labels=labels).loss
        return loss

    @torch.no_grad()
    def average_precision(self) -> float:
        """AP50 of all the pairs, with the weights as they are now; nan where no class has objects."""
        self.detector.eval()
        metrics = DetectionMetrics(self.detector.names)
        found = self.detector.predict_step(self.batch, 0)
        predictions = [{key: value.cpu() for key, value in prediction.items()} for prediction in found]
        truths = truths_in_pixels([{k: v.cpu() for k, v in target.items()} for target in self.batch.targets])
        metrics.update(predictions, truths, list(range(len(truths))))
        return float(metrics.compute()[0]["map_50"])

    def saved_bytes(self, positions: list[int]) -> int:
        """Bytes that the forward pass keeps for the backward pass, beside the weights."""
        detr: nn.Module = self.detector.detr
        detr.train()
        let_learn(detr, self.detector.family, self.chosen)
        tensors = [*detr.parameters(), *detr.buffers()]
        weights = {tensor.untyped_storage().data_ptr() for tensor in tensors}
        sizes: dict[int, int] = {}

        def keep(tensor: Tensor) -> Tensor:
            storage = tensor.untyped_storage()
            if storage.data_ptr() not in weights:
                sizes[storage.data_ptr()] = storage.nbytes()
            return tensor

        with torch.random.fork_rng(), torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
            loss = self.loss(positions)
        del loss  # until here, or freed storages would be counted once for many
        return sum(sizes.values())


def autocast(precision: str, device: torch.device) -> AbstractContextManager[Any]:
    """What the trainer's precision does to a forward pass."""
    if not str(precision).endswith("-mixed"):
        return nullcontext()
    kind = torch.bfloat16 if "bf16" in str(precision) else torch.float16
    return torch.autocast(device.type, kind)
