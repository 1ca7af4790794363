"""Two runs compared bit for bit."""

import torch
from record import Outcome
from wanted import EPOCHS, STEPS

COLUMNS = ("learning and rates", "weights", "optimizer state", "seen")


def same(first: dict[str, torch.Tensor], second: dict[str, torch.Tensor]) -> bool:
    """Bit for bit."""
    return first.keys() == second.keys() and all(torch.equal(first[key], second[key]) for key in first)


def compare(whole: Outcome, resumed: Outcome, first: int) -> tuple[str, str, str, str]:
    """What of COLUMNS is equal, yes or no, from a step on; and what was seen."""
    if resumed.error:
        return "no", "no", "no", resumed.error
    seen = next(filter(None, (_at(whole, resumed, step) for step in range(first, EPOCHS * STEPS))), "")
    weights = same(whole.weights[EPOCHS - 1], resumed.weights.get(EPOCHS - 1, {}))
    state = whole.optimizer.keys() == resumed.optimizer.keys() and all(
        same(whole.optimizer[name], resumed.optimizer[name]) for name in whole.optimizer
    )
    learning, weights, state = ("yes" if good else "no" for good in (not seen, weights, state))
    return learning, weights, state, seen


def _at(whole: Outcome, resumed: Outcome, step: int) -> str:
    """What differs in a step: what learns, or its rate; in words, empty for nothing."""
    where, before, after = f"epoch {step // STEPS}", whole.rates[step], resumed.rates.get(step)
    if after is None:
        return f"{where} was not trained"
    if before == after:
        return ""
    learn = {name for name, rate in before.items() if rate}
    now = {name for name, rate in after.items() if rate}
    if now - learn:
        return f"{where}: {len(now - learn)} tensors learn that should not"
    if learn - now:
        return f"{where}: {len(learn - now)} of {len(learn)} learning tensors are frozen"
    old, new = (sorted({f"{rate:.3g}" for rate in rates.values() if rate}) for rates in (before, after))
    return f"{where}: rates {', '.join(old)} became {', '.join(new)}"
