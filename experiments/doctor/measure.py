"""Whether the doctor names planted faults, and finds nothing in healthy data.

    python experiments/doctor/measure.py FOLDER result.csv [--only WORD ...]

Makes the data in FOLDER. Adds a line to the csv for each fault that has none yet, so it can be
stopped and started again. A rank is that of the finding among those worse than notes.
"""

import argparse
import csv
import json
import shutil
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from time import perf_counter

import torch

sys.path.insert(0, str(Path(__file__).parent))
from faults import FAULTS, SYNTH, WORDS, healthy

from detr_diff.cli import main as command

COLUMNS = ("fault", "expected", "exit", "rank", "level", "first", "second", "learnt", "seconds")
SHARED = Path(__file__).resolve().parents[3] / "shared/data"  # beside the checkout
REAL = (
    "experiment=pets",
    f"data.root={SHARED / 'pets2009_s2l1'}",
    "inspect=80",
    "shown=0",
    "trainer.accelerator=cpu",
)


def examined(name: str, expected: Sequence[str], words: Sequence[str], out: Path) -> dict[str, object]:
    """Run the doctor and say at which rank the fault was named."""
    shutil.rmtree(out, ignore_errors=True)
    start = perf_counter()
    code = command(["doctor", *words, f"out={out}"])
    seconds = perf_counter() - start
    result = out / "doctor.json"
    content = json.loads(result.read_text()) if result.exists() else {"findings": [], "figures": {}}
    found = [finding for finding in content["findings"] if finding["severity"] != "note"]
    names = [finding["name"] for finding in found]
    rank = next((place for place, own in enumerate(names, 1) if own in expected), "")
    return {
        "fault": name,
        "expected": " or ".join(expected),
        "exit": code,
        "rank": rank,
        "level": found[rank - 1]["severity"] if rank else "",
        "first": names[0] if names else "",
        "second": names[1] if len(names) > 1 else "",
        "learnt": int("memorising" in content["figures"]),
        "seconds": round(seconds, 1),
    }


def base(folder: Path, seed: int) -> Path:
    root = folder / f"seed_{seed}"
    if not root.exists():
        assert command(["data", "synth", f"out={root}", f"seed={seed}", *SYNTH]) == 0
    return root


def rows(folder: Path, done: set[str], only: Sequence[str]) -> Iterator[dict[str, object]]:
    def wanted(name: str) -> bool:
        return name not in done and (not only or any(word in name for word in only))

    for fault in FAULTS:
        if wanted(fault.name):
            root = base(folder, 0)
            if fault.plant is not None:
                root = folder / f"planted_{FAULTS.index(fault)}"
                shutil.rmtree(root, ignore_errors=True)
                shutil.copytree(base(folder, 0), root)
                fault.plant(root)
            words = [
                *WORDS,
                f"data.root={root}",
                *(word.format(root=root) if "{root}" in word else word for word in fault.words),
            ]
            yield examined(fault.name, fault.expected, words, folder / "out")
            if fault.plant is not None:
                shutil.rmtree(root)
    for name, seed in healthy():
        if wanted(name):
            yield examined(name, (), [*WORDS, f"data.root={base(folder, seed)}"], folder / "out")
    if wanted("healthy, PETS2009") and Path(REAL[1].partition("=")[2]).is_dir():
        yield examined("healthy, PETS2009", (), REAL, folder / "out")


def main() -> None:
    """Measure what is not measured yet."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("folder", type=Path, help="for the data")
    parser.add_argument("out", type=Path, help="the csv; lines are added")
    parser.add_argument("--only", nargs="*", default=(), help="faults whose name has one of these words")
    words = parser.parse_args()
    torch.set_num_threads(1)
    words.folder.mkdir(parents=True, exist_ok=True)
    known = list(csv.DictReader(words.out.open())) if words.out.exists() else []
    with words.out.open("a", newline="") as file:
        table = csv.DictWriter(file, COLUMNS, lineterminator="\n")
        if not known:
            table.writeheader()
        for row in rows(words.folder, {row["fault"] for row in known}, words.only):
            table.writerow(row)
            file.flush()
            print(f"### {row}", flush=True)


if __name__ == "__main__":
    main()
