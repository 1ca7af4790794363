import json
import logging
import shutil
import subprocess
import sys
from importlib import import_module
from pathlib import Path

import pytest

from detr_diff import __version__
from detr_diff.training.provenance import ENVIRONMENT, environment, git_revision, read_launches, record_launch
from tests.conftest import ROOT


def git(folder: Path, *words: str) -> str:
    names = ["-c", "user.name=n", "-c", "user.email=e", "-c", "commit.gpgsign=false"]
    command = ["git", "-C", str(folder), *names, *words]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """A committed package with its settings; the folder of the package."""
    package = tmp_path / "work" / "package"
    for path in (package / "__init__.py", package.parent / "conf/train.yaml", package.parent / "notes.md"):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("")
    git(package.parent, "init", "-q")
    git(package.parent, "add", ".")
    git(package.parent, "commit", "-qm", "first")
    return package


def test_the_environment_is_that_of_this_process() -> None:
    found = environment(["detr-diff", "train"])
    assert json.loads(json.dumps(found)) == found
    for name in ("torch", "numpy"):
        assert import_module(name).__version__.startswith(found["packages"][name])
    assert found["python"] == ".".join(map(str, sys.version_info[:3]))
    assert found["detr_diff"] == __version__
    assert found["argv"] == ["detr-diff", "train"]
    assert found["threads"]["torch"] == 1
    assert found["threads"]["OMP_NUM_THREADS"] == "1"
    assert found["cpu"]["cores"] >= found["cpu"]["cores_allowed"] >= 1
    assert found["cpu"]["name"]
    assert isinstance(found["cuda"]["devices"], list)
    assert found["git"] == git_revision(ROOT / "detr_diff")


def test_each_launch_adds_an_entry_with_its_command_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert read_launches(tmp_path) == []
    record_launch(tmp_path, ["first"])
    # Hydra reads its overrides from sys.argv, so the run puts others there.
    monkeypatch.setattr(sys, "argv", ["detr-diff", "changed=by the run"])
    record_launch(tmp_path)
    first, second = read_launches(tmp_path)
    assert first["argv"] == ["first"]
    assert Path("/proc/self/cmdline").read_bytes() == "".join(f"{word}\0" for word in second["argv"]).encode()
    assert first["time"] <= second["time"]


def test_a_damaged_file_is_told_and_written_anew(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    for text in ("[{", '{"time": 1}', "[1]"):
        (tmp_path / ENVIRONMENT).write_text(text)
        with pytest.raises(ValueError, match="Expecting|not a list of launches"):
            read_launches(tmp_path)
    record_launch(tmp_path, [])
    assert "not readable (not a list of launches)" in caplog.text
    assert len(read_launches(tmp_path)) == 1


def test_a_folder_that_cannot_be_written_stops_nothing(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING):
        record_launch(tmp_path / "none", [])
    assert "cannot be written (No such file or directory); training goes on" in caplog.text


def test_only_the_first_process_writes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RANK", "1")
    record_launch(tmp_path)
    assert not list(tmp_path.iterdir())


def test_changes_of_code_and_settings_make_a_checkout_dirty(checkout: Path) -> None:
    revision = git(checkout, "rev-parse", "HEAD")
    assert git_revision(checkout) == {"revision": revision, "dirty": False}
    (checkout.parent / "notes.md").write_text("results depend on the code, not on notes")
    (checkout.parent / "runs").mkdir()
    (checkout.parent / "runs/status.json").write_text("")
    assert git_revision(checkout) == {"revision": revision, "dirty": False}
    for path in (checkout / "new.py", checkout.parent / "conf/train.yaml"):
        old = path.read_text() if path.exists() else None
        path.write_text("changed")
        assert git_revision(checkout) == {"revision": revision, "dirty": True}
        path.unlink() if old is None else path.write_text(old)
    assert git_revision(checkout) == {"revision": revision, "dirty": False}


def test_an_installed_package_has_no_revision(checkout: Path, tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    shutil.copytree(checkout, outside)
    assert git_revision(outside) is None
    # In a virtual environment inside another project.
    inside = checkout.parent / ".venv/site-packages/package"
    shutil.copytree(checkout, inside)
    assert git_revision(inside) is None


def test_a_hook_of_another_repository_does_not_mislead(
    checkout: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    expected = git_revision(checkout)
    monkeypatch.setenv("GIT_DIR", str(ROOT / ".git"))
    assert git_revision(checkout) == expected


def test_without_git_there_is_no_revision(checkout: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "")
    assert git_revision(checkout) is None
