"""What a verb refuses before anything heavy is imported: what its settings and the folders tell."""

from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path

from omegaconf import DictConfig

from detr_diff.compose import compose, require_paths, require_whole
from detr_diff.data.new_folder import require_new
from detr_diff.errors import SettingError
from detr_diff.verbs.bounds import USELESS, require_bounds, require_exact, require_result

# They write into a folder of their own.
NEW = ("doctor", "evaluate", "compare", "bench", "data synth", "data import", "data export", "data check")

TESTED = "limit_test_batches"


def require(verb: str, settings: DictConfig) -> None:
    """Refuse settings of a verb.

    Args:
        verb: As on the command line.
        settings: Of it.

    Raises:
        SettingError: A folder is not there, a number is out of its bounds, a result would be overwritten, or
            settings do not go together.
    """
    require_paths(settings)
    require_bounds(verb, settings)
    if "trainer" in settings:
        require_exact(settings.trainer)
    if verb in NEW and settings.out is not None:
        require_new(Path(settings.out).expanduser())
    if verb in OWN:
        OWN[verb](settings)


def _training(settings: DictConfig) -> None:
    require_whole("trainer", settings.trainer, "default", more=True)
    require_result(settings.trainer)


def _training_run(settings: DictConfig) -> None:
    _training(settings)
    require_whole("logger", settings.logger, str(settings.logger.kind), more=False)


def _evaluation(settings: DictConfig) -> None:
    if settings.trainer.get(TESTED) == 0:
        raise SettingError(f"trainer.{TESTED}=0: {USELESS[TESTED]}")
    if settings.model is None and settings.ckpt_path is None:
        raise SettingError(
            "not given: ckpt_path=...; or model=threshold_blobs or model=oracle, with data.root=..."
        )
    if settings.model is not None:
        require_whole("model", settings.model, str(settings.model.get("baseline")), more=False)


def _prediction(settings: DictConfig) -> None:
    # In a run folder it would be taken for what the training has written.
    for name in ("predictions.json", "status.json", "config.yaml"):
        _require_no_result(settings.out, name)
    single = settings.after is not None or settings.before is not None
    if single == (settings.data.root is not None):
        raise SettingError("give either before=... after=..., or data.root=...")
    if single and settings.after is None:
        raise SettingError("before=... needs after=...")


def _comparison(settings: DictConfig) -> None:
    for folder in settings.runs:
        if not Path(folder).expanduser().is_dir():
            raise SettingError(f"{folder}: no such folder")


def _benchmark(settings: DictConfig) -> None:
    if not Path(settings.reference).is_file():
        raise SettingError(
            f"reference={settings.reference}: no such file; it is in the source of detr-diff, where "
            "this command is given"
        )
    if find_spec("accelerate") is None or find_spec("pycocotools") is None:
        raise SettingError("the reference needs accelerate and pycocotools: pip install 'detr-diff[bench]'")
    compose("train", ["data.root=.", *settings.ours])  # they are settings of train


def _require_no_result(out: str, name: str) -> None:
    if (Path(out).expanduser() / name).exists():
        raise SettingError(f"{out}/{name} exists and is never overwritten; choose another out=...")


OWN: dict[str, Callable[[DictConfig], None]] = {
    "train": _training_run,
    "doctor": _training,
    "evaluate": _evaluation,
    "predict": _prediction,
    "compare": _comparison,
    "bench": _benchmark,
}
