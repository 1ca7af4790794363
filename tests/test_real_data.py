"""Both real data sets are read as they are, where they are."""

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.conftest import ROOT

SHARED = ROOT.parent / "shared/data"
needs_data = pytest.mark.skipif(not SHARED.is_dir(), reason="the real data is not on this machine")


@needs_data
def test_pets_is_read(cli: Callable, tmp_path: Path) -> None:
    words = ["data.labels=labels_changed", "data.names=[person]", "data.split_by=time", "data.val=0.25"]
    words += ["inspect=40", "shown=0", f"out={tmp_path / 'check'}"]
    result = cli("data", "check", f"data.root={SHARED / 'pets2009_s2l1'}", *words)
    assert result.code == 0, result.out
    assert "780 usable pairs, 0 spoilt, 0 problems" in result.out
    assert [int(n) for n in result.out.split("│ pairs ")[1].splitlines()[0].split("│")[1:4]] == [550, 84, 146]


@needs_data
@pytest.mark.exhaustive
def test_deeppcb_is_read(cli: Callable, tmp_path: Path) -> None:
    words = ["data.names=[open,short,mousebite,spur,copper,pin-hole]", r"data.scene='^(\d{5})'"]
    words += ["inspect=40", "shown=0", f"out={tmp_path / 'check'}"]
    result = cli("data", "check", f"data.root={SHARED / 'deeppcb'}", *words, "data.split_by=scene")
    assert result.code == 0, result.out
    assert "1000 usable pairs, 0 spoilt, 0 problems" in result.out
