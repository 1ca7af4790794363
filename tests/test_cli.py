import subprocess
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest
from rich.table import Table

from detr_diff.cli import VERBS
from detr_diff.text import fits, render
from tests.conftest import ROOT, shell

HEAVY = ("torch", "lightning", "transformers", "matplotlib", "cv2", "wandb", "scipy")


@pytest.mark.parametrize("words", [["--help"], *([*verb.split(), "--help"] for verb in VERBS)])
def test_help_imports_nothing_heavy(words: list[str], tmp_path: Path) -> None:
    code = (
        "import sys; from detr_diff.cli import main\n"
        f"code = main({words})\n"
        f"loaded = [name for name in {HEAVY} if name in sys.modules]\n"
        "assert not loaded, loaded\n"
        "sys.exit(code)"
    )
    result = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, timeout=60, check=False
    )
    assert result.returncode == 0, result.stderr
    assert "usage: detr-diff" in result.stdout


@pytest.mark.parametrize(
    ("words", "told"),
    [
        ("train data.subsett=3", "did you mean data.subset"),
        ("train data.root=. data.eval_batch_size=0", "data.eval_batch_size=0: at least 1"),
        ("doctor data.root=. inspect=0", "inspect=0: at least 1"),
        ("evaluate", "not given: ckpt_path="),
        ("evaluate ckpt_path=x.ckpt out=.", "out=.: the folder in which the command is given"),
        ("evaluate ckpt_path=x.ckpt out=run", "out=run: exists and is never overwritten"),
        ("doctor data.root=. out=run", "out=run: exists and is never overwritten"),
        ("data synth out=run", "out=run: exists and is never overwritten"),
        ("predict ckpt_path=x.ckpt out=. data.root=.", "./predictions.json exists and is never overwritten"),
        ("predict ckpt_path=x.ckpt out=new", "give either before=... after=..., or data.root=..."),
        ("predict ckpt_path=x.ckpt out=new before=a.png", "before=... needs after=..."),
        ("compare a b", "a: no such folder"),
        ("bench", "reference=experiments/speed/reference.py: no such file"),
    ],
)
def test_wrong_settings_import_nothing_heavy(words: str, told: str, tmp_path: Path) -> None:
    for name in ("x.ckpt", "evaluation.json", "predictions.json"):
        (tmp_path / name).touch()
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "config.yaml").touch()
    code = (
        "import sys; from detr_diff.cli import main\n"
        f"code = main({words.split()})\n"
        f"loaded = [name for name in {HEAVY} if name in sys.modules]\n"
        "assert not loaded, loaded\n"
        "sys.exit(code)"
    )
    result = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, timeout=60, check=False
    )
    assert result.returncode == 2
    assert told in result.stderr


def test_help_explains_every_setting(cli: Callable) -> None:
    train = cli("train", "--help").out
    for setting in ("run_name: train", "on_error: refuse", "accumulate_grad_batches: 16", "patience: null"):
        assert setting in train
    for choice in ("demo", "report", "pets", "deeppcb", "rt_detr_small", "gradual", "wandb"):
        assert f"\n  {choice} " in train
    assert "hydra:" not in train
    assert "defaults:" not in train
    for verb in VERBS:
        text = cli(*verb.split(), "--help").out
        settings = [line for line in text.splitlines() if ": " in line and "usage" not in line]
        assert len(settings) >= 5


def test_help_shows_the_settings_of_what_is_chosen(cli: Callable, tmp_path: Path) -> None:
    plain = cli("train", "--help").out
    assert "project: detr_diff" not in plain
    assert "A stage: epochs, learn (blocks" in plain  # what a file says of all its settings
    assert "+trainer.name=value" in plain
    chosen = cli("train", "logger=wandb", "stages=gradual", "--help").out
    assert "logger:   # logger=wandb" in chosen
    assert "project: detr_diff" in chosen
    assert "stages:   # stages=gradual" in chosen
    assert "settle:" not in chosen
    assert "difference: " not in cli("evaluate", "--help").out
    assert "difference: " in cli("evaluate", "model=threshold_blobs", "--help").out
    assert "stages:   # stages=gradual" in cli("doctor", "stages=gradual", "--help").out
    demo = cli("train", "experiment=demo", "stages=gradual,all", "--help").out
    assert "experiment:   # experiment=demo" in demo
    assert "model:   # model=rt_detr_small" in demo  # which the experiment chooses
    assert "stages:   # stages=gradual" in demo  # and the command line goes before
    assert cli("evaluate", "model=null", "--help").out == cli("evaluate", "--help").out
    (tmp_path / "stages").mkdir()
    (tmp_path / "stages/slow.yaml").write_text("# Mine.\nslowly: {epochs: 7}\n")
    own = cli("train", "--config-dir", str(tmp_path), "stages=slow", "--help").out
    assert "\n  slow            Mine.\n" in own
    assert "slowly: {epochs: 7}" in own
    mine = ("train", "--config-dir", str(tmp_path), "stages=slow", "data.root=.")
    assert "stages.slowly.epoch: unknown setting, did you mean" in cli(*mine, "stages.slowly.epoch=1").err
    assert "+stages.slowly.warmup=0.1 adds it" in cli(*mine, "stages.slowly.warmup=0.1").err
    (tmp_path / "experiment").mkdir()
    (tmp_path / "experiment/own.yaml").write_text("# Mine.\n# @package _global_\nseed: 7\n")
    without = cli("train", "--config-dir", str(tmp_path), "experiment=own", "data.root=.")
    assert (without.code, "its first line must be `# @package _global_`" in without.err) == (2, True)
    wrong = cli("train", "logger=wandbb", "--help")
    assert (wrong.code, "logger=wandbb: unknown, did you mean wandb?" in wrong.err) == (2, True)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("trai", "trai: unknown verb, did you mean train?"),
        ("data chek", "data chek: unknown verb, allowed: data synth, data import, data export, data check"),
        ("train --multirn", "--multirn: unknown flag, did you mean --multirun?"),
        ("train data.subsett=3", "data.subsett: unknown setting, did you mean data.subset"),
        ("train batch_size=3", "batch_size: unknown setting, did you mean data.batch_size?"),
        ("train trainer.max_epoch=3", "trainer.max_epoch: unknown setting, did you mean trainer.max_epochs"),
        ("train logger.offline=true", "logger.offline: unknown setting"),
        (
            "train stages.heads.epoch=3",
            "unknown setting, did you mean stages.heads.epochs",
        ),
        (
            "train foo=3",
            "foo: unknown setting, allowed: run_name, runs, seed, resume, debug, overlays, bootstrap",
        ),
        ("train stages.extra={epochs:1}", "+stages.extra={epochs: ..., learn: ...} adds a stage"),
        ("train stages={a:{epochs:1}}", "stages takes the name of a file, allowed: all, deeppcb"),
        ("train data.root=. +foo=3", "+foo: nothing reads it, allowed: run_name, runs, seed"),
        (
            "train data.root=. model=detr_tiny +logger.tag=a",
            "logger.tag: nothing reads it with logger=tensorboard",
        ),
        ("train data.root=. +data.zom=3", "+data.zom: nothing reads it, did you mean zoom"),
        (
            "evaluate ckpt_path=x +disturbances.shfts=[1]",
            "+disturbances.shfts: nothing reads it, did you mean shift",
        ),
        ("train data.root=~/none/of/these", "/none/of/these: no such folder"),
        (
            "evaluate model=oracle data.root=. +model.pairs=3",
            "model.pairs: nothing reads it with model=or",
        ),
        ("train experiment=dmo", "experiment=dmo: unknown, did you mean demo?"),
        ("train modle=detr_tiny", "modle: unknown setting, did you mean model"),
        ("train data.batch_size=abc", "data.batch_size=abc: Value 'abc'"),
        (
            "train data.diff=foo",
            "data.diff=foo: Invalid value 'foo', expected one of [abs, tolerant, signed, stack, frames]",
        ),
        ("train data.root", "'data.root' is not of the form key=value"),
        ("train", "not given: data.root=..."),
        ("train data.root=. model=detr_tiny", "no class names: . has no dataset.yaml"),
        ("train data.root=none data.names=[a] model=detr_tiny", "data.root=none: no such folder"),
        ("train --config-dir none", "--config-dir none: no such folder"),
        ("evaluate", "not given: ckpt_path=..."),
        ("evaluate ckpt_path=none", "ckpt_path=none: no such file"),
        ("evaluate ckpt_path=x --multirun", "--multirun: only train can sweep"),
        ("predict ckpt_path=x", "not given: out=..."),
        ("predict ckpt_path=x out=y", "ckpt_path=x: no such file"),
        ("data synth out=x pairs=0", "pairs=0: at least 1"),
        ("data import format=mot src=. out=x moved_iou=2", "moved_iou=2.0: a number from 0 to 1"),
        ("data export format=foo", "format=foo: Invalid value 'foo', expected one of [coco, yolo]"),
        ("data synth out=x scenes=9 pairs=3", "scenes=9: at most the number of pairs, 3"),
        ("data check data.root=none", "data.root=none: no such folder"),
        ("data check data.root=a(b)'#=ä/日本", "data.root=a(b)'#=ä/日本: no such folder"),
        ("data check data.root=a,b", "data.root=a,b: several values, which train --multirun tries"),
        (
            "train data.root=. model=detr_tiny model.processor.size={height:8,width:8}",
            "has other keys than model.processor.size, whose own would stay; ~model.processor.size +model.",
        ),
        (
            "train data.root=. model=detr_tiny model.processor.do_resize=false",
            "+model.processor.do_resize=... passes it on to a library",
        ),
        ("train seed=0,1", "seed=0,1: several values, which train --multirun tries one after the other"),
        ("train =3", "'=3' is not of the form key=value: no key"),
        ("train data.root=a${b}", "Interpolation key 'b' not found"),
    ],
)
def test_a_mistake_gets_one_clear_line(
    words: str, message: str, cli: Callable, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    result = cli(*words.split())
    assert result.code == 2
    assert message in result.err
    assert "Traceback" not in result.err
    assert len([line for line in result.err.splitlines() if line.startswith("detr-diff: ")]) == 1


def test_the_traceback_is_there_when_asked(tmp_path: Path) -> None:
    asked = shell(["evaluate", "ckpt_path=none", "debug=true"], tmp_path)
    assert "Traceback" in asked.stderr
    asked = shell(["evaluate", "ckpt_path=none"], tmp_path, HYDRA_FULL_ERROR="1")
    assert "Traceback" in asked.stderr
    plain = shell(["evaluate", "ckpt_path=none"], tmp_path)
    assert (plain.returncode, plain.stderr) == (2, "detr-diff: ckpt_path=none: no such file\n")


def test_own_configuration_is_found(tmp_path: Path, cli: Callable, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "experiment").mkdir()
    (tmp_path / "experiment/mine.yaml").write_text("# @package _global_\ndata: {root: nowhere, names: [a]}\n")
    result = cli("train", "--config-dir", str(tmp_path), "experiment=mine", "model=detr_tiny")
    assert "data.root=nowhere: no such folder" in result.err


def test_the_wheel_holds_the_configuration_and_works_from_any_folder(tmp_path: Path) -> None:
    subprocess.run(
        [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(tmp_path)],
        cwd=ROOT,
        check=True,
        capture_output=True,
    )
    (wheel,) = tmp_path.glob("*.whl")
    site = tmp_path / "site"
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(site)
    assert {p.name for p in (site / "detr_diff/conf/experiment").iterdir()} == {
        p.name for p in (ROOT / "conf/experiment").iterdir()
    }
    page = ROOT / "detr_diff/report/page"
    assert {p.name for p in (site / "detr_diff/report/page").iterdir()} == {p.name for p in page.iterdir()}
    assert (site / "detr_diff/evaluation/contest_page.html.j2").exists()
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    done = subprocess.run(
        [sys.executable, "-m", "detr_diff", "data", "synth", "out=d", "pairs=2", "scenes=1"],
        cwd=elsewhere,
        env={"PYTHONPATH": str(site), "PATH": "/usr/bin:/bin", "HOME": str(tmp_path)},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert (elsewhere / "d/dataset.yaml").exists()


def test_names_in_tables_are_names() -> None:
    table = Table("class", "and its number of objects", title="/data/set[new] :smile:")
    table.add_row("car [old]")
    table.add_row("bike [/e]")
    shown = render(table)
    assert "/data/set[new] :smile:" in shown
    assert "car [old]" in shown
    assert "bike [/e]" in shown
    assert fits(table)
    assert not fits(table, width=5)


def test_a_reader_that_has_seen_enough_is_no_success() -> None:
    """As with head: what came after may not have been done."""
    program = (
        "from detr_diff.cli import told\ndef run(): raise BrokenPipeError\nraise SystemExit(told(run, False))"
    )
    assert subprocess.run([sys.executable, "-c", program], cwd=ROOT, check=False).returncode == 141


def test_training_imports_no_library_that_it_does_not_need() -> None:
    program = (
        "import gc, sys\nfrom detr_diff.verbs import module_of\nfirst = module_of('train')\n"
        "frozen = gc.get_freeze_count()\nassert frozen and gc.isenabled()\n"
        "garbage = []\ngarbage.append(garbage)\nassert module_of('train') is first\n"
        "assert gc.get_freeze_count() == frozen\nprint({'timm', 'wandb'} & set(sys.modules))"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stdout) == (0, "set()\n"), done.stderr
    assert "leaked" not in done.stderr
