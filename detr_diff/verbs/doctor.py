"""`detr-diff doctor`: says why a training would fail, before it is tried."""

import json
import logging
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from lightning import seed_everything
from omegaconf import DictConfig

from detr_diff.choices import Cache, Diff, OnError, Registration, SplitBy
from detr_diff.compose import plain
from detr_diff.data.description import class_names
from detr_diff.data.examination import DataExamination, Division, examine
from detr_diff.data.finding import Finding
from detr_diff.data.names_diagnosis import diagnose_names, said_names
from detr_diff.data.new_folder import numbered_folder
from detr_diff.data.problem_diagnosis import diagnose_problems
from detr_diff.errors import NothingLearns, PretrainedError
from detr_diff.evaluation.contact_sheet import contact_sheet
from detr_diff.evaluation.overlays import write
from detr_diff.model.transfer_report import TransferReport
from detr_diff.text import render
from detr_diff.training.detector import Detector
from detr_diff.training.examinations.verdict import Diagnosis, fault, rows
from detr_diff.training.process import prepare_process
from detr_diff.training.stages import StagePlan
from detr_diff.verbs.bounds import require_epochs
from detr_diff.verbs.data_check import by_class, by_split, sections
from detr_diff.verbs.parts import new_detector, stage_plan, take_both_frames
from detr_diff.verbs.planned_training import PlannedTraining

SHOWN_PROBLEMS = 20


def run(settings: DictConfig) -> int:
    """Examine data, model, stages and a trial of learning; 1 when there are findings."""
    take_both_frames(settings)
    root = Path(settings.data.root).expanduser()
    names = class_names(root, settings.data.names)
    prepare_process()
    seed_everything(settings.seed, verbose=False)
    diagnosis = Diagnosis()
    numbered = numbered_folder(settings.out, Path("diagnoses"), root.resolve().name)
    with numbered as (out, folder), _without_warnings():
        plan, detector, report, built = _model(settings, diagnosis)
        if plan is not None:
            require_epochs(plain(settings.trainer), plan.epochs)
        seen = _data(settings, root, names, detector, diagnosis)
        diagnosis.causes += built  # after the data: what is wrong there spoils all that follows
        if plan is None or detector is None or report is None:
            diagnosis.left_out["training"] = "stages and model must be there first"
        elif not seen.statistics.splits or "train" not in seen.statistics.splits:
            diagnosis.left_out["training"] = "there is no usable training pair"
        else:
            PlannedTraining(settings, detector, report, diagnosis).examine()
        found = diagnosis.ranked()
        _show(found, diagnosis)
        content = {
            "verdict": diagnosis.verdict(),
            "healthy": diagnosis.healthy,
            "findings": rows(found),
            "not_examined": diagnosis.left_out,
            "figures": diagnosis.figures,
            "settings": plain(settings),
        }
        text = json.dumps(content, indent=1, ensure_ascii=False, default=str)
        (folder / "doctor.json").write_text(text + "\n", encoding="utf-8")
        if seen.inspected and settings.shown:
            diff = Diff(settings.data.diff)
            shown = sections(
                seen.report.pairs, seen.inspected, seen.findings, settings.shown, settings.seed, diff
            )
            write(folder / "contact_sheet.png", contact_sheet(str(root), shown))
    print(f"\nwritten: {', '.join(str(path) for path in sorted(out.iterdir()))}")
    print(f"verdict: {diagnosis.verdict()}")
    return 0 if diagnosis.healthy else 1


@contextmanager
def _without_warnings() -> Iterator[None]:
    """What the parts warn of are findings here."""
    log = logging.getLogger("detr_diff")
    level = log.level
    log.setLevel(logging.ERROR)
    try:
        yield
    finally:
        log.setLevel(level)


def _model(
    settings: DictConfig, diagnosis: Diagnosis
) -> tuple[StagePlan | None, Detector | None, TransferReport | None, list[Finding]]:
    """The stages and the model, and what is wrong with them where they cannot be made.

    Raises:
        SettingError: A setting is wrong in a way that is no fault of a training.
    """
    plan = detector = report = None
    found: list[Finding] = []
    try:
        plan = stage_plan(settings)
    except NothingLearns as error:
        found.append(_nothing_learns(str(error)))
    try:
        # Without stages the model alone is built, for the number of its queries.
        detector, report = new_detector(settings, plan or StagePlan.from_settings({"all": {"epochs": 1}}))
        diagnosis.figures["transfer"] = report.summary()
        print("\n".join([render(report.table()), *report.lines()]))
    except PretrainedError as error:
        found.append(
            fault(
                "pretrained weights cannot be used",
                str(error),
                "without them training does not start",
                "see the file or hub id in model.pretrained; null starts from random weights",
            )
        )
    return plan, detector, report, found


def _nothing_learns(message: str) -> Finding:
    return fault(
        "nothing learns",
        message,
        "all blocks are frozen, or their rates are 0",
        "name the blocks in learn (all, heads, ...) and give them a rate above 0 in lr",
    )


def _data(
    settings: DictConfig, root: Path, names: Sequence[str], detector: Detector | None, diagnosis: Diagnosis
) -> DataExamination:
    data = settings.data
    seen = examine(
        Division(
            root,
            data.pairs,
            data.labels,
            data.scene,
            SplitBy(data.split_by),
            data.val,
            data.test,
            data.split_seed,
        ),
        names,
        Diff(data.diff),
        most=settings.inspect,
        seed=settings.seed,
        max_objects=None if detector is None else detector.architecture.num_queries,
        aligned=Registration(data.registration) is not Registration.none,
        light_compensated=bool(data.light_compensation),
    )
    for problem in seen.problems[:SHOWN_PROBLEMS]:
        print(problem)
    if len(seen.problems) > SHOWN_PROBLEMS:
        print(f"and {len(seen.problems) - SHOWN_PROBLEMS} more")
    if seen.report.pairs:
        print(render(by_split(seen.statistics, str(root))))
        print(render(by_class(seen.statistics)))
    used = set(seen.statistics.class_labels.tolist())
    skipped = OnError(data.on_error) is OnError.skip
    diagnosis.causes += diagnose_problems(seen.problems, names, used, seen.found, skipped)
    diagnosis.causes += diagnose_names(names, said_names(root))
    diagnosis.causes += seen.findings
    diagnosis.figures["data"] = {
        "usable_pairs": len(seen.report.pairs),
        "spoilt_pairs": seen.report.left_out,
        "looked_at": len(seen.inspected),
        "splits": seen.statistics.by_split(),
        "classes": seen.statistics.by_class(),
    }
    if data.cache != Cache.off:
        diagnosis.figures["data"]["cache"] = str(data.cache)
    return seen


def _show(found: Sequence[Finding], diagnosis: Diagnosis) -> None:
    """The findings in their order, and what was left out."""
    print()
    for rank, finding in enumerate(found, 1):
        print(f"{rank}. {finding.level}: {finding.name}: {finding.what}")
        print(f"    cause: {finding.why}")
        print(f"    remedy: {finding.remedy}")
    for what, why in diagnosis.left_out.items():
        print(f"not examined: {what}: {why}")
