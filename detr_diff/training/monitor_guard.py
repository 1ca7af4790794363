"""What chooses the best checkpoint must be a figure that validation gives, and a number."""

import math

from lightning import Callback, LightningModule, Trainer

from detr_diff.errors import SettingError, nearest


def less_is_better(figure: str) -> bool:
    """Whether less of a figure is better: val/loss, val/loss_giou, val/cardinality_error."""
    name = figure.rpartition("/")[2]
    return name.startswith("loss") or name.endswith("_error")


class MonitorGuard(Callback):
    """Stops after the first validation, be it the short one before training, that does not give the figure.

    Args:
        settings: Name of a setting to the figure that it names.
    """

    def __init__(self, settings: dict[str, str]) -> None:
        self.settings = settings

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        figures = trainer.callback_metrics
        for setting, name in self.settings.items():
            if name not in figures:
                known = [figure for figure in figures if figure.startswith("val/")]
                raise SettingError(f"{setting}={name}: not a figure of validation, {nearest(name, known)}")
            # The short one may have seen no objects; a loss may come back from what is no number.
            lasting = not trainer.sanity_checking and not less_is_better(name)
            if lasting and math.isnan(float(figures[name])):
                raise SettingError(
                    f"{setting}={name}: not a number after epoch {trainer.current_epoch}, so no checkpoint "
                    "is better than another"
                )
