"""The tables of the README from the csv files beside this script.

python experiments/staged_finetuning_compared/table.py
"""

import csv
from pathlib import Path

FOLDER = Path(__file__).parent
COMPARED = ("learning and rates", "weights", "optimizer state")
Row = dict[str, str]


def rows(name: str) -> list[Row]:
    """Of one of the csv files."""
    with (FOLDER / f"{name}.csv").open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def chosen(written: list[Row], key: tuple[str, ...]) -> list[Row]:
    """The rows that agree with a row of expressible.csv, or of resume.csv, in its first columns."""
    return [row for row in written if tuple(row.values())[: len(key)] == key]


def resumed(tried: list[Row]) -> str:
    """How many ended exactly, and how the others went wrong."""
    wrong = [row for row in tried if any(row[column] == "no" for column in COMPARED)]
    errors = sum("Error:" in row["seen"] for row in wrong)
    silent = len(wrong) - errors
    parts = [f"{len(tried) - len(wrong)} of {len(tried)}"]
    parts += [f"{silent} silently wrong"] if silent else []
    parts += [f"{errors} errors"] if errors else []
    return ", ".join(parts)


def in_sync(tried: list[Row]) -> str:
    """Whether all were, with all strategies."""
    return "yes" if all(row["in sync"] == "yes" for row in tried) else "no, silently"


def detailed() -> list[tuple[str, ...]]:
    """One row for each way that was found to write a schedule, and to resume it."""
    exact = "exact between epochs", "exact inside epochs"
    table = [("way", "schedule", "written as", "resumed by", *exact, "DDP in sync")]
    for row in rows("expressible"):
        if row["expressible"] == "no":
            continue
        key = row["way"], row["schedule"], row["written as"]
        own = "" if row["expressible"] == "yes" else f" ({row['expressible']})"
        points, sync = chosen(rows("resume"), key), in_sync(chosen(rows("ddp"), key))
        for call in dict.fromkeys(point["resumed by"] for point in points):
            tried = chosen(points, (*key, call))
            between = [point for point in tried if point["batch"] == "0"]
            inside = [point for point in tried if point["batch"] != "0"]
            cells = (call, resumed(between), resumed(inside), sync)
            table.append((*key[:2], key[2] + own, *cells))
    return table


def markdown(table: list[tuple[str, ...]]) -> str:
    """A table as the README has it."""
    head, *body = (f"| {' | '.join(row)} |" for row in table)
    return "\n".join((head, "|" + "---|" * len(table[0]), *body))


def failed() -> list[tuple[str, ...]]:
    """What does not write its schedule."""
    tried = [row for row in rows("expressible") if row["expressible"] == "no"]
    body = [(row["way"], row["schedule"], row["written as"], row["seen"].partition(". ")[0]) for row in tried]
    return [("way", "schedule", "written as", "seen"), *body]


if __name__ == "__main__":
    print(markdown(detailed()), markdown(failed()), sep="\n\n")
