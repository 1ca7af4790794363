import csv
import json
import re
from collections.abc import Callable
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import pytest
import torch
from PIL import Image

from detr_diff.evaluation.contender import PAIR_ERRORS, RECORD, read_contender
from detr_diff.verbs import compare
from tests.conftest import shell
from tests.evaluation.contenders import contender, planted, some_pairs, write

QUICK = "bootstrap=100"


@pytest.fixture
def runs(tmp_path: Path) -> Path:
    """A run with curves and settings, a better one, and a sweep of three jobs of which one failed."""
    root = tmp_path / "runs"
    for name, found, seed in (("a", 0.6, 1), ("b", 0.95, 2), ("sweep/2", 0.7, 3), ("sweep/10", 0.6, 4)):
        folder = write(root / name, contender(name, *planted(found, seed)), "val/")
        rows = "".join(f"{step},{2 / (step + 1)},{'0.5' if step % 10 == 9 else ''}\n" for step in range(40))
        (folder / "metrics.csv").write_text(f"step,train/loss,val/map_50\n{rows}")
        (folder / "config.yaml").write_text(f"run_name: {name}\nseed: 0\ndata: {{diff: d{seed}, root: x}}\n")
    (root / "sweep/3").mkdir()
    return root


def test_a_comparison_is_told_and_written(runs: Path, cli: Callable, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(runs.parent)
    result = cli("compare", "runs/a", "runs/b", QUICK)
    assert result.code == 0, result.err
    assert "b is better than a in AP50: +0." in result.out
    assert "data.diff" in result.out
    assert "run_name" not in result.out
    out = runs / "compare/a-vs-b"
    assert "written to runs/compare/a-vs-b" in result.out
    assert {path.name for path in out.iterdir()} == {"compare.html", "compare.png", "compare.csv"}
    with (out / "compare.csv").open() as file:
        rows = {(row["run"], row["figure"]): row for row in csv.DictReader(file)}
    facts = json.loads((runs / "b/metrics.json").read_text())
    assert float(rows["b", "map"]["value"]) == pytest.approx(facts["val/map"], abs=1e-5)
    change = float(rows["b", "f1"]["value"]) - float(rows["a", "f1"]["value"])
    assert float(rows["b", "f1"]["difference"]) == pytest.approx(change, abs=1e-5)
    assert float(rows["b", "f1"]["difference_low"]) > 0
    assert float(rows["b", "f1"]["p"]) < 0.05
    assert rows["a", "f1"]["p"] == ""
    assert [rows[run, "map"]["data.diff"] for run in "ab"] == ["d1", "d2"]
    with Image.open(out / "compare.png") as picture:
        assert picture.size[0] > 1000
    again = cli("compare", "runs/a", "runs/b", QUICK)
    assert (again.code, "never overwritten" in again.err) == (2, True)


class Page(HTMLParser):
    """Tags and the addresses that a browser would fetch."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.fetched: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.fetched += [value or "" for key, value in attrs if key in ("src", "href") and tag != "use"]


def test_the_page_stands_alone_and_escapes_names(runs: Path, tmp_path: Path, cli: Callable) -> None:
    evil = runs / "<script>alert(1)<$x^2$"
    (runs / "a").rename(evil)
    result = cli("compare", str(evil), str(runs / "b"), f"out={tmp_path / 'out'}", QUICK)
    assert result.code == 0, result.err
    text = (tmp_path / "out/compare.html").read_text()
    page = Page(text)
    assert "script" not in page.tags
    assert "&lt;script&gt;alert(1)&lt;$x^2$" in text
    assert page.tags.count("svg") == 1
    assert page.fetched == []
    assert not re.search(r"url\((?!#)|@import", text)
    assert "#1f2328" not in text[text.index("<svg") :]


def test_the_jobs_of_a_multirun_are_the_runs_and_folders_may_have_any_name(
    runs: Path, cli: Callable, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(runs)
    sweep = "lr=0.1, it's \\ [a]\\"
    (runs / "sweep").rename(sweep)
    result = cli("compare", sweep, QUICK)
    assert result.code == 0, result.err
    assert f"{sweep}: without record.npz and left out: 3" in result.out
    with (runs / sweep / "compare/2-vs-10/compare.csv").open() as file:
        assert list(dict.fromkeys(row["run"] for row in csv.DictReader(file))) == ["2", "10"]


def test_a_part_of_the_pairs_is_enough(runs: Path, cli: Callable) -> None:
    write(runs / "part/evaluation/x", some_pairs(contender("part", *planted(0.6, 9)), range(7)))
    (runs / "part/config.yaml").write_text("seed: 1\ndata: {diff: d9, root: x}\n")
    result = cli("compare", f"runs=[{runs}/a,{runs}/part/evaluation/x,{runs}/sweep]", f"out={runs}/c", QUICK)
    assert result.code == 0, result.err
    said = (
        "Different pairs: a has 40, part/evaluation/x has 7, sweep/2 has 40, sweep/10 has 40. "
        "They are compared on the 7 common ones."
    )
    assert said in result.out
    page = (runs / "c/compare.html").read_text()
    assert "sweep: without record.npz and left out: 3" in result.out
    assert "p, corrected" in result.out
    assert "p, corrected" in page
    assert said in page
    assert "too narrow" in page
    assert ", probably too small" not in result.out  # of p that prove nothing
    assert "d9" in page  # settings of the run around the evaluation


@pytest.mark.parametrize(
    ("words", "code", "message"),
    [
        ("none a", 2, "none: no such folder"),
        ("a", 2, "a: at least two runs are needed"),
        ("a b a", 2, "a is given twice"),
        ("a bare", 1, "bare: no record.npz, so it is no finished run and no folder of detr-diff evaluate"),
        (
            "a trained",
            1,
            "detr-diff evaluate ckpt_path=trained/checkpoints/best.ckpt split=test writes",
        ),
        ("a judged", 1, "judged: no record.npz, but judged/evaluation/x has one"),
        ("a nofigures", 1, "nofigures: neither evaluation.json nor metrics.json"),
        ("a older", 1, "pair_errors.csv: no column image; evaluate again, an older version wrote it"),
        ("a torn", 1, "record.npz: not readable"),
        ("a other", 1, "class names: a has ['a', 'b', 'c'], other has ['x']"),
        ("a b bootstrap=9", 2, "bootstrap=9: at least 100"),
        ("a b runs=[a]", 2, "runs=[a]: the folders are already given as a b"),
        ("a b boostrap=200", 2, "boostrap: unknown setting, did you mean bootstrap"),
        ("", 2, "not given: runs=..."),
    ],
)
def test_a_mistake_gets_one_clear_line(
    words: str, code: int, message: str, runs: Path, cli: Callable, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(runs)
    (runs / "bare").mkdir()
    (runs / "trained/checkpoints").mkdir(parents=True)
    (runs / "trained/checkpoints/best.ckpt").write_text("")
    one = contender("x", *planted(0.6, 9, images=5))
    write(runs / "judged/evaluation/x", one)
    (write(runs / "nofigures", one) / "evaluation.json").unlink()
    older = write(runs / "older", one) / PAIR_ERRORS
    lines = [line.rpartition(",")[0] for line in older.read_text().splitlines()]
    older.write_text("\n".join(lines))
    (write(runs / "torn", one) / RECORD).write_bytes(b"PK\x03\x04nothing")
    other = write(runs / "other", one) / "evaluation.json"
    other.write_text(json.dumps({"test/map": 1, "test/map/x": 1, "test/score_threshold": 0.5}))
    result = cli("compare", *words.split())
    assert result.code == code
    assert message in result.err
    assert not (runs / "compare").exists()


def test_pairs_that_a_run_knows_are_told(runs: Path, cli: Callable) -> None:
    """Of those on which they are compared: what else a run has learnt does not matter here."""
    known = contender("known", *planted(0.6, 1))
    parts: dict[str, list[str | None]] = {
        "known": ["train"] * 30 + ["test"] * 10,
        "chosen": ["val"] * 40,
        "moved": [None] * 40,
    }
    for name, own in parts.items():
        write(runs / f"{name}/evaluation/x", replace(known, parts=own))
    some = replace(some_pairs(known, range(28, 40)), parts=["test"] * 12)
    write(runs / "some", some)
    compared = [f"{runs}/some", *(f"{runs}/{name}/evaluation/x" for name in parts)]
    result = cli("compare", *compared, f"out={runs}/c", QUICK)
    assert result.code == 0, result.err
    page = (runs / "c/compare.html").read_text()
    for said in (
        "known/evaluation/x has learnt 2 of these 12 pairs.",
        "The checkpoint of chosen/evaluation/x was chosen by 12 of these 12 pairs.",
        "Of moved/evaluation/x it is not known which of these pairs were learnt.",
    ):
        assert said in result.out
        assert said in page
    assert "some has learnt" not in result.out


def test_few_pairs_have_no_intervals_and_the_page_says_why(runs: Path, cli: Callable) -> None:
    for name in "xy":
        write(runs / f"few/{name}", some_pairs(contender(name, *planted(0.6, ord(name))), range(3)))
    result = cli("compare", f"{runs}/few", f"out={runs}/c", QUICK)
    assert result.code == 0, result.err
    said = "There are no intervals, and nothing is proved: 3 pairs are fewer than 6."
    assert said in result.out
    assert said in (runs / "c/compare.html").read_text()


def test_what_was_killed_is_no_run(runs: Path, cli: Callable) -> None:
    """A killed evaluation leaves a folder whose name begins with a dot."""
    folder = write(runs / "several/.x.1234", contender("x", *planted(0.6, 1)))
    (folder / "evaluation.json").unlink()
    for name in "xy":
        write(runs / f"several/{name}", contender(name, *planted(0.6, 1)))
    result = cli("compare", f"{runs}/several", f"out={runs}/c", QUICK)
    assert result.code == 0, result.err


def test_settings_are_those_of_the_run_that_was_evaluated(
    runs: Path, tmp_path: Path, cli: Callable, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A checkpoint was named as seen from a folder in which another run had the same name."""
    for number, rate in enumerate(("1e-4", "0.5")):
        project = tmp_path / f"p{number}"
        (project / "runs/demo/checkpoints").mkdir(parents=True)
        (project / "runs/demo/config.yaml").write_text(f"optimizer: {{weight_decay: {rate}}}\n")
        evaluation = write(tmp_path / f"e{number}", contender("x", *planted(0.6, number)))
        facts = json.loads((evaluation / "evaluation.json").read_text())
        facts |= {"checkpoint": f"{project}/runs/demo/checkpoints/best.ckpt"}
        facts |= {"settings": {"data": {"registration": "orb"}}} if number else {}
        (evaluation / "evaluation.json").write_text(json.dumps(facts))
    monkeypatch.chdir(tmp_path / "p0")
    result = cli("compare", f"{tmp_path}/e0", f"{tmp_path}/e1", f"out={tmp_path}/c", QUICK)
    assert result.code == 0, result.err
    assert re.search(r"optimizer.weight_decay +│ 0.0001 +│ 0.5", result.out)
    assert re.search(r"evaluate.data.registration +│ - +│ orb", result.out)
    (tmp_path / "p1/runs").rename(tmp_path / "p1/moved")
    result = cli("compare", f"{tmp_path}/e0", f"{tmp_path}/e1", f"out={tmp_path}/d", QUICK)
    assert f"settings e1 was trained is not known: no run at {tmp_path}/p1/runs/demo" in result.out


def test_a_baseline_has_no_learning_curves(runs: Path) -> None:
    """Even where it was evaluated on the data of a run, in whose folder it lies."""
    curves = {}
    for name, more in (("x", {}), ("blobs", {"model": {"baseline": "threshold_blobs"}})):
        folder = write(runs / f"a/evaluation/{name}", contender(name, *planted(0.6, 1)), "test/")
        facts = json.loads((folder / "evaluation.json").read_text())
        (folder / "evaluation.json").write_text(json.dumps(facts | more))
        curves[name] = compare._with_run(read_contender(folder, name))[0].curves
    assert set(curves["x"]) == {"train/loss", "val/map_50"}
    assert curves["blobs"] == {}


def test_what_is_not_defined_is_no_number(runs: Path) -> None:
    """Of pairs in which nothing moved, and nothing was predicted."""
    nothing = {"boxes": torch.zeros(0, 4), "labels": torch.zeros(0, dtype=torch.int64)}
    silent = [{**nothing, "scores": torch.zeros(0)}] * 10
    for name in ("one", "two"):
        write(runs / name, contender(name, silent, [nothing] * 10), "test/")
    result = shell(["compare", "runs=[one,two]", "out=still"], runs)
    assert result.returncode == 0, result.stderr
    assert "nan" not in result.stdout.lower()
    assert "F1 is not defined on these pairs." in result.stdout
