"""The types of all settings. Their values and what they mean stand in conf/."""

from detr_diff.settings.bench import BenchSettings
from detr_diff.settings.data_sets import CheckSettings, ExportSettings, ImportSettings, SynthSettings
from detr_diff.settings.runs import (
    CompareSettings,
    DoctorSettings,
    EvaluateSettings,
    PredictSettings,
    RunsSettings,
    TrainSettings,
)

SCHEMAS = {
    "train": TrainSettings,
    "doctor": DoctorSettings,
    "evaluate": EvaluateSettings,
    "predict": PredictSettings,
    "runs": RunsSettings,
    "compare": CompareSettings,
    "bench": BenchSettings,
    "data_synth": SynthSettings,
    "data_import": ImportSettings,
    "data_export": ExportSettings,
    "data_check": CheckSettings,
}
