from pathlib import Path

import pytest

from detr_diff.data.new_folder import new_folder
from detr_diff.errors import SettingError


def test_what_a_killed_command_left_is_in_nobodys_way(tmp_path: Path) -> None:
    for _ in range(2):  # in a container every process has the same number
        unfinished = new_folder(tmp_path / "set")
        unfinished.__enter__()
    with new_folder(tmp_path / "set") as folder:
        (folder / "file").touch()
    assert (tmp_path / "set" / "file").exists()
    with pytest.raises(SettingError, match="is never overwritten"), new_folder(tmp_path / "set"):
        pass
