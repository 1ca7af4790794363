"""What an evaluation leaves beside its figures, whether it ends a training or `evaluate` asked for it."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from rich.table import Table

from detr_diff.data.dataset import MovedObjectDataset
from detr_diff.evaluation.analysis import Analysis, analyse
from detr_diff.evaluation.pair_errors import pair_errors, write_pair_errors
from detr_diff.evaluation.record import Record
from detr_diff.evaluation.tables import tables
from detr_diff.training.baseline import Baseline
from detr_diff.training.detector import Detector
from detr_diff.training.run import write_sweep

RECORD = "record.npz"
PAIR_ERRORS = "pair_errors.csv"
SCORE_SWEEP = "score_sweep.csv"


@dataclass(frozen=True)
class Results:
    """What was found on the pairs of one split.

    Attributes:
        figures: By their names, without a prefix as test/.
        record: Predictions and objects.
        analysis: A closer look at them.
        pairs: Name of each image of the record.
        scenes: Scene of each image of the record.
        parts: What each image of the record was in the training: train, val, test or none; None: not known.
        dataset: The pairs; the record has positions in it.
        names: Class names.
        threshold: Score from which on a prediction is shown and counted.
    """

    figures: dict[str, float]
    record: Record
    analysis: Analysis
    pairs: list[str]
    scenes: list[str | None]
    parts: list[str | None]
    dataset: MovedObjectDataset
    names: list[str]
    threshold: float

    @classmethod
    def of(
        cls,
        model: Detector | Baseline,
        dataset: MovedObjectDataset,
        figures: Mapping[str, float],
        parts: Mapping[str, str] | None,
        resamples: int,
        seed: int,
    ) -> "Results":
        """Look closely at what a model has just been evaluated on.

        Args:
            model: Its metrics hold the evaluation.
            dataset: The pairs of the split.
            figures: As Lightning gave them, with the prefix test/.
            parts: Of pairs by their names, see above; a pair that is not named was none. None: not known.
            resamples: Of the bootstrap; 0: no intervals.
            seed: Of the bootstrap.
        """
        record = model.metrics.record.compute()
        pairs = [dataset.pairs[int(position)].pair for position in record.images]
        scenes = [pair.scene for pair in pairs]
        own = {key.removeprefix("test/"): value for key, value in figures.items()}
        if lost := model.metrics.record.not_finite:
            own["not_finite"] = float(lost)
        return cls(
            own,
            record,
            analyse(record, model.names, model.threshold, scenes, resamples, seed),
            [pair.name for pair in pairs],
            scenes,
            [None if parts is None else parts.get(pair.name, "none") for pair in pairs],
            dataset,
            model.names,
            model.threshold,
        )

    def write(self, out: Path, model: Detector | Baseline) -> None:
        """Write record.npz, pair_errors.csv and score_sweep.csv into a folder."""
        write_sweep(out / SCORE_SWEEP, model.sweep)
        self.record.save(out / RECORD)
        errors = pair_errors(self.record, self.threshold)
        write_pair_errors(out / PAIR_ERRORS, errors, self.pairs, self.scenes, self.parts)

    def tables(self, title: str) -> list[Table]:
        """For the terminal; the title is that of the first table."""
        return tables(self.figures, self.analysis, title)
