import runpy

from tests.conftest import ROOT

STUDY = ROOT / "experiments/staged_finetuning_compared"


def test_the_tables_are_those_of_the_csv_files() -> None:
    script = runpy.run_path(str(STUDY / "table.py"))
    readme = (STUDY / "README.md").read_text()
    for table in (script["detailed"](), script["failed"]()):
        assert len(table) > 3
        assert script["markdown"](table) in readme


def test_ours_is_exact_in_every_row() -> None:
    script = runpy.run_path(str(STUDY / "table.py"))
    ours = [row for row in script["detailed"]() if row[0] == "detr_diff"]
    assert {row[1] for row in ours} == {"report", "gradual"}
    assert {row[-3:] for row in ours} == {("5 of 5", "5 of 5", "yes")}
