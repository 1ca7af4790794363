"""The rooms and who may import whom, as the README says."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.conftest import ROOT

PACKAGE = ROOT / "detr_diff"
ROOMS = ("data", "model", "evaluation", "training", "bench", "report", "verbs")
LEAVES = {"errors", "choices", "text"}  # import nothing of ours but each other
ENTRY = {"cli", "compose", "grammar", "help", "settings", "sweep", "launch", "__main__", "__init__"}
ALLOWED = {
    "data": set(),
    "model": set(),
    "evaluation": set(),
    "training": {"data", "model", "evaluation"},
    "bench": {"data", "evaluation"},
    "report": {"data", "evaluation", "training"},
    "verbs": {"data", "model", "evaluation", "training", "bench", "report", "compose", "grammar", "launch"},
}


def imports(path: Path) -> Iterator[str]:
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield node.module


def modules() -> list[Path]:
    return sorted(PACKAGE.rglob("*.py"))


@pytest.mark.parametrize("path", modules(), ids=lambda p: str(p.relative_to(PACKAGE)))
def test_imports_run_one_way(path: Path) -> None:
    room = path.relative_to(PACKAGE).parts[0].removesuffix(".py")
    for name in imports(path):
        top, _, rest = name.partition(".")
        if room in ROOMS and top in ("hydra", "omegaconf"):
            assert room == "verbs", f"{path.name} imports {name}"
        if room in ("data", "model", "evaluation") and top == "lightning":
            assert path.name == "datamodule.py", f"{path.name} imports {name}"
        if top == "wandb":
            assert path.name == "run_logger.py"
        if top == "detr_diff" and rest and room in ROOMS:  # all may know the version
            other = rest.partition(".")[0]
            assert other in {room, *LEAVES, *ALLOWED[room]}, f"{path.name} imports {name}"
        if room in LEAVES:
            assert top != "detr_diff"


def test_every_module_has_a_room() -> None:
    tops = {path.relative_to(PACKAGE).parts[0].removesuffix(".py") for path in modules()}
    assert tops == {*ROOMS, *LEAVES, *ENTRY}


@pytest.mark.parametrize("path", modules(), ids=lambda p: str(p.relative_to(PACKAGE)))
def test_modules_stay_small(path: Path) -> None:
    assert len(path.read_text().splitlines()) <= 300
    assert not {"utils", "misc", "helpers", "common", "base"} & {path.stem, path.parent.name}


def test_the_top_level_is_as_agreed() -> None:
    import subprocess

    listed = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=False).stdout
    tops = {line.split("/")[0] for line in listed.splitlines()}
    agreed = {"pyproject.toml", "conf", "detr_diff", "experiments", "notebooks", "tests", "Makefile"}
    agreed |= {"README.md", "CHANGELOG.md", "LICENSE"}
    assert {top for top in tops if not top.startswith(".")} <= agreed
