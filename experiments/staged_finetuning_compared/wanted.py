"""The two schedules, as the rate that each part of a DETR is to learn at in each step."""

import math
import re

from detr_diff.model.families import ALIASES, BACKBONE, family

EPOCHS, STEPS = 6, 6  # steps of an epoch
PARTS = ("heads", "transformer", "backbone")

# Peak rate in each epoch; 0 is frozen. The report's with 2/2/2 epochs for 20/20/80; the gradual one with
# the rate of the thaw kept, which is what the libraries are made for.
PEAKS = {
    "report": {
        "heads": (1e-4, 1e-4, 5e-5, 5e-5, 1e-5, 1e-5),
        "transformer": (0.0, 0.0, 5e-5, 5e-5, 1e-5, 1e-5),
        "backbone": (0.0, 0.0, 5e-5, 5e-5, 1e-5, 1e-5),
    },
    "gradual": {
        "heads": (1e-4,) * 6,
        "transformer": (0.0, 0.0, 1e-4, 1e-4, 1e-4, 1e-4),
        "backbone": (0.0, 0.0, 0.0, 0.0, 1e-5, 1e-5),
    },
}
THAWS = {"report": (2,), "gradual": (2, 4)}  # epochs


def wanted(schedule: str, part: str, step: int) -> float:
    """The rate of a part at an optimizer step from the start of training.

    The report's cosines are here one an epoch, without warm-up; gradual has constant rates.
    """
    peak = PEAKS[schedule][part][min(step // STEPS, EPOCHS - 1)]
    cosine = 0.5 * (1.0 + math.cos(math.pi * (step % STEPS) / STEPS))
    return peak * cosine if schedule == "report" else peak


def part_of(name: str) -> str:
    """heads, transformer or backbone, of a parameter of a DETR."""
    if name.startswith(BACKBONE):
        return "backbone"
    block = next(b for b, pattern in family("detr").blocks.items() if re.match(pattern, name))
    return next(part for part in PARTS if block in ALIASES[part])


def deviation(schedule: str, rates: dict[int, dict[str, float]]) -> str:
    """The first difference between the rates of a run and those wanted, in words; empty for none.

    Args:
        schedule: report or gradual.
        rates: Step to parameter or part to its rate, 0 when it does not learn.
    """
    for step in range(EPOCHS * STEPS):
        if step not in rates:
            return f"step {step} was not trained"
        for part in PARTS:
            right = wanted(schedule, part, step)
            seen = {rate for name, rate in rates[step].items() if part in (name, part_of(name))}
            if any(not math.isclose(rate, right, rel_tol=1e-6) for rate in seen):
                words = " and ".join(sorted(map(_words, seen)))
                return f"epoch {step // STEPS}: {part} at {words}, wanted {_words(right)}"
    return ""


def _words(rate: float) -> str:
    return f"{rate:.3g}" if rate else "frozen"
