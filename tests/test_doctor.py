"""`detr-diff doctor` on miniature data; the bar of planted faults is in experiments/doctor/."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from tests.conftest import TINY

LONGER = ("stages.first.epochs=10", "stages.second.epochs=90", "memorise.steps=0", "shown=0")


def examined(cli: Callable, root: Path, out: Path, *words: str) -> tuple[Any, dict[str, Any]]:
    result = cli("doctor", *TINY, f"data.root={root}", f"out={out}", *LONGER, *words)
    assert (out / "doctor.json").exists(), result.err
    return result, json.loads((out / "doctor.json").read_text())


def names(content: dict[str, Any]) -> list[str]:
    return [finding["name"] for finding in content["findings"] if finding["severity"] != "note"]


def test_everything_is_examined(data_root: Path, tmp_path: Path, cli: Callable) -> None:
    words = ("memorise.steps=4", "memorise.seconds=600", "shown=2", "data.test=0")
    result, content = examined(cli, data_root, tmp_path / "out", *words)
    figures = content["figures"]
    assert set(figures) == {"transfer", "data", "plan", "input", "cost", "rates", "memorising"}
    assert content["not_examined"] == {}
    assert figures["data"]["usable_pairs"] == 30
    assert figures["plan"]["optimizer_steps"] == sum(
        stage["epochs"] * stage["steps_per_epoch"] for stage in figures["plan"]["stages"]
    )
    assert len(figures["memorising"]["losses"]) == 4
    assert figures["cost"]["memory"] < figures["cost"]["free"]
    assert not {f["severity"] for f in content["findings"]} & {"problem"}
    assert result.out.rstrip().endswith(f"verdict: {content['verdict']}")
    for text in ("tensors from random weights", "blocks that learn", "to load a pair", "pairs by heart"):
        assert text in result.out
    assert result.code == (0 if content["healthy"] else 1)
    assert Image.open(tmp_path / "out/contact_sheet.png").width == 2000
    assert [finding["rank"] for finding in content["findings"]] == list(
        range(1, len(content["findings"]) + 1)
    )


@pytest.mark.parametrize(
    ("expected", "words"),
    [
        ("nothing learns", ["stages.first.lr=0"]),
        ("images not normalised", ["+model.processor.do_rescale=false"]),
        ("fewer queries than objects", ["model.config.num_queries=2"]),
        ("no validation pairs", ["data.val=0"]),
    ],
)
def test_wrong_settings_are_named_first(
    expected: str, words: list[str], data_root: Path, tmp_path: Path, cli: Callable
) -> None:
    result, content = examined(cli, data_root, tmp_path / "out", "inspect=4", *words)
    assert result.code == 1
    assert names(content)[0] == expected
    assert f"most likely because of: {expected}" in content["verdict"]


def test_wrong_data_is_named_first(data_root: Path, tmp_path: Path, cli: Callable) -> None:
    root = Path(shutil.copytree(data_root, tmp_path / "data"))
    for path in (root / "labels").rglob("*.txt"):
        rows = [line.split() for line in path.read_text().splitlines()]
        path.write_text("".join(f"{r[0]} {' '.join(str(64 * float(v)) for v in r[1:5])}\n" for r in rows))
    result, content = examined(cli, root, tmp_path / "out", "memorise.steps=9")
    assert result.code == 1
    assert names(content)[0] == "boxes in pixels"
    # Learning by heart would tell nothing new.
    assert content["not_examined"]
    assert "memorising" not in content["figures"]


def test_the_training_may_run_elsewhere(data_root: Path, tmp_path: Path, cli: Callable) -> None:
    """On a machine with GPUs, or on several."""
    words = ("trainer.accelerator=gpu", "trainer.devices=4", "+trainer.num_nodes=2", "trainer.strategy=fsdp")
    _, content = examined(cli, data_root, tmp_path / "out", "inspect=2", "trainer.precision=16-mixed", *words)
    assert content["not_examined"].keys() <= {"learning-rate range and learning by heart"}
    assert content["figures"]["plan"]["optimizer_steps"] > 0


def test_labels_without_places_are_a_finding(data_root: Path, tmp_path: Path, cli: Callable) -> None:
    root = Path(shutil.copytree(data_root, tmp_path / "data"))
    for path in (root / "labels").rglob("*.txt"):
        rows = [line.split()[:5] for line in path.read_text().splitlines()]
        path.write_text("".join(" ".join(row) + "\n" for row in rows))
    result, content = examined(cli, root, tmp_path / "out", "model.places=true")
    assert result.code == 1
    assert "labels without places" in names(content)
    assert set(content["not_examined"]) == {"training"}


def test_damaged_weights_are_a_finding(data_root: Path, tmp_path: Path, cli: Callable) -> None:
    path = tmp_path / "weights.pth"
    path.write_bytes(b"half of a download")
    result, content = examined(cli, data_root, tmp_path / "out", f"model.pretrained={path}")
    assert result.code == 1
    assert names(content)[0] == "pretrained weights cannot be used"
    assert set(content["not_examined"]) == {"training"}


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["memorise.steps=-1"], "memorise.steps=-1: at least 0"),
        (["inspect=0"], "inspect=0: at least 1"),
        (["memorize.steps=3"], "memorize.steps: unknown setting, did you mean memorise.steps"),
        (["model=oracle"], "model=oracle: not for doctor"),
        (["model.config.num_querys=3"], "num_querys"),
        (["data.val=2"], "data.val=2.0"),
        (["+stages.first.warmup=3"], "stages.first.warmup=3"),
        (["trainer.gradient_clip_val=-1"], "trainer.gradient_clip_val=-1: at least 0"),
        (["+trainer.max_steps=3"], "trainer.max_steps=3: not taken"),
        (["+trainer.gradient_clip=0.5"], "trainer.gradient_clip: unknown, did you mean gradient_clip_val"),
        (["compile=inductr"], "compile=inductr: unknown, did you mean inductor"),
        (["kept_prefix.gb=0"], "kept_prefix.gb=0.0: a size above 0"),
        (["trainer.val_check_interval=1000"], "trainer.val_check_interval=1000: an epoch has"),
        (["+stages.first.warmup=null"], "stages.first.warmup=None: a share of the stage"),
        (["+stages.first.augment=false"], "stages.first.augment=False: allowed: "),
        (["model.feature_diff.compare=abs"], "model.feature_diff.compare=abs: nothing reads it without"),
    ],
)
def test_wrong_usage_is_no_finding(
    words: list[str], message: str, data_root: Path, tmp_path: Path, cli: Callable
) -> None:
    result = cli("doctor", *TINY, f"data.root={data_root}", f"out={tmp_path / 'out'}", *words)
    assert result.code == 2
    assert message in result.err
    assert not (tmp_path / "out").exists()


def test_a_result_is_never_overwritten(data_root: Path, tmp_path: Path, cli: Callable) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out/doctor.json").write_text("kept")
    result = cli("doctor", *TINY, f"data.root={data_root}", f"out={tmp_path / 'out'}")
    assert result.code == 2
    assert "never overwritten" in result.err
    assert (tmp_path / "out/doctor.json").read_text() == "kept"


def test_the_help_has_the_settings_of_train_too(cli: Callable) -> None:
    text = cli("doctor", "--help").out
    for setting in ("thorough: false", "steps: 200", "accumulate_grad_batches: 16", "first_batch: 5"):
        assert setting in text
    assert "# and those of train:" in text
    assert "\n  rt_detr_small " in text
    assert "threshold_blobs" not in text
