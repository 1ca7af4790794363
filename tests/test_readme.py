"""Every command of the README, in order, on miniature data and a tiny model."""

import re
import shlex
import shutil
from pathlib import Path

import pytest
import yaml
from transformers import AutoModelForObjectDetection

from detr_diff.cli import main
from tests.conftest import ROOT

README = (ROOT / "README.md").read_text()
SMALLER = [
    "model=detr_tiny",
    "model.processor.size={shortest_edge: 64, longest_edge: 64}",
    "data.subset=4",
    "data.batch_size=2",
    "trainer.accelerator=cpu",
    "trainer.max_epochs=1",
    "trainer.check_val_every_n_epoch=1",
    "trainer.enable_progress_bar=false",
    "overlays=1",
]


def commands() -> list[str]:
    blocks = re.findall(r"```\n(.*?)```", README, flags=re.S)
    return [line for block in blocks for line in block.splitlines() if line.startswith("detr-diff ")]


def test_every_command_works(data_root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("my_data", "other_data", "data/demo"):
        Path(name).parent.mkdir(exist_ok=True)
        shutil.copytree(data_root, name)
    first, second = sorted((data_root / "images").rglob("*.jpg"))[:2]
    shutil.copy(second, "a.png")
    shutil.copy(first, "b.png")
    listed = commands()
    assert len(listed) >= 8
    for command in listed:
        words = shlex.split(command)[1:]
        if words[0] in ("train", "doctor"):
            words += SMALLER
        # The doctor finds that so short a training learns nothing.
        assert main(words) == (1 if words[0] == "doctor" else 0), command
    assert Path("runs/first/metrics.json").exists()
    assert Path("found/predictions.json").exists()
    assert Path("runs/diffs/sweep.csv").exists()
    assert Path("compared/compare.html").exists()
    assert Path("diagnosis/doctor.json").exists()
    shutil.copytree("runs/first", "runs/demo")
    shutil.copy("a.png", "before.png")
    shutil.copy("b.png", "after.png")
    (code,) = re.findall(r"```python\n(.*?)```", README, flags=re.S)
    exec(code, {})
    assert AutoModelForObjectDetection.from_pretrained("weights").config.model_type == "detr"


def test_the_two_commands_are_in_the_makefile() -> None:
    makefile = (ROOT / "Makefile").read_text()
    for target in ("train", "test"):
        assert f"make {target} " in README
        assert re.search(rf"^{target}:.*##", makefile, flags=re.M)
    assert "make test" in (ROOT / ".ci/run").read_text()


def test_files_that_the_readme_names_exist() -> None:
    for name in re.findall(r"`((?:detr_diff|conf|experiments|notebooks|tests)/[\w/.]*)`", README):
        assert (ROOT / name).exists(), name
    for name in re.findall(r"\]\(((?!http)[^)]+)\)", README):
        assert (ROOT / name).exists(), name


def test_experiments_say_what_they_ask() -> None:
    for path in (ROOT / "conf/experiment").glob("*.yaml"):
        lines = path.read_text().splitlines()
        assert lines[0] == "# @package _global_"
        assert lines[1].startswith("# ")
        assert yaml.safe_load(path.read_text())["run_name"] == path.stem
