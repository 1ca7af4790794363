"""What a model endures: its figures on pairs that are disturbed more and more."""

import logging
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace

from lightning import Trainer

from detr_diff.choices import Disturbance, Registration
from detr_diff.data.datamodule import MovedObjectDataModule
from detr_diff.data.dataset import MovedObjectDataset
from detr_diff.data.disturbance import Disturbing
from detr_diff.data.split import subset
from detr_diff.errors import SettingError
from detr_diff.evaluation.robustness import Endured
from detr_diff.training.baseline import Baseline
from detr_diff.training.detector import Detector
from detr_diff.training.run import evaluate

log = logging.getLogger(__name__)

PART = "disturbed"  # name of the pairs in the data module


class Robustness:
    """Measures a model on disturbed pairs.

    Args:
        levels: Of each disturbance; 0 is added.
        methods: Registration methods side by side, where the camera moves.
        everywhere: Side by side for all disturbances, and not the model's own method alone.
        pairs: At most so many of the pairs.
        seed: Of the disturbances and of the choice of pairs.

    Raises:
        SettingError: A level that makes no sense, or nothing to measure.
    """

    def __init__(
        self,
        levels: Mapping[Disturbance, Sequence[float]],
        methods: Sequence[Registration],
        everywhere: bool,
        pairs: int,
        seed: int,
    ) -> None:
        if pairs < 1:
            raise SettingError(f"disturbances.pairs={pairs}: at least 1")
        if not methods:
            raise SettingError("disturbances.registration=[]: at least one method")
        self.disturbing = {
            kind: [Disturbing(kind, float(level), seed) for level in sorted({0.0, *map(float, own)})]
            for kind, own in levels.items()
            if len(own)
        }
        if not self.disturbing:
            raise SettingError("robustness=true: disturbances leaves nothing to be measured")
        self.methods = list(dict.fromkeys(methods))
        self.everywhere = everywhere
        self.pairs = pairs
        self.seed = seed

    def measure(
        self, trainer: Trainer, model: Detector | Baseline, data: MovedObjectDataModule, split: str
    ) -> list[Endured]:
        """Figures at each level of each disturbance, level 0 first.

        Args:
            trainer: Without callbacks.
            model: It is evaluated with its own score threshold.
            data: After its setup.
            split: The pairs are of this split.

        Raises:
            SettingError: There are ready diff images in it, which have no before frame.
        """
        whole = data.datasets[split]
        names = [pair.name for pair in whole.pairs.frame_pairs()]
        pairs = whole.pairs.take(subset(names, self.pairs, self.seed))
        if ready := next((pair.name for pair in pairs.frame_pairs() if pair.before is None), None):
            raise SettingError(f"robustness=true: {ready} is a ready diff image, without a before frame")
        undisturbed: dict[Registration, Endured] = {}  # the same for every disturbance
        found = []
        for method, disturbing in self._plan(data.comparison.registration):
            if disturbing.level or method not in undisturbed:
                comparison = replace(data.comparison, registration=method)
                dataset = MovedObjectDataset(pairs, comparison, data.processor, seed=self.seed)
                dataset.disturbing = disturbing
                data.datasets[PART] = dataset
                figures = evaluate(trainer, model, data, PART)
                row = Endured(
                    disturbing.kind,
                    disturbing.level,
                    method,
                    figures["test/map_50"],
                    figures["test/map"],
                    figures["test/f1"],
                    len(model.metrics.record.compute().images),
                )
                log.info("%s %g, registration %s: AP50 %.3f", row.disturbance, row.level, method, row.map_50)
                if not disturbing.level:
                    undisturbed[method] = row
            else:
                row = undisturbed[method]._replace(disturbance=disturbing.kind)
            found.append(row)
        del data.datasets[PART]
        return found

    def _plan(self, own: Registration) -> Iterator[tuple[Registration, Disturbing]]:
        for kind, levels in self.disturbing.items():
            side_by_side = kind.moves_camera or self.everywhere
            for method in self.methods if side_by_side else [own]:
                for disturbing in levels:
                    yield method, disturbing
