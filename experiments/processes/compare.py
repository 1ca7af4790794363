"""How far two runs are apart: weights and final figures. python -m experiments.processes.compare A B"""

import json
import sys
from pathlib import Path

import torch


def compare(first: Path, second: Path) -> None:
    """Print the relative distance of the weights, and the final figures side by side."""
    states = [
        torch.load(run / "checkpoints/last.ckpt", weights_only=True)["state_dict"] for run in (first, second)
    ]
    for state in states:
        print("score threshold of the last validation", float(state.pop("score_threshold")))
    flat = [torch.cat([state[name].double().flatten() for name in states[0]]) for state in states]
    print(f"weights: relative distance {float((flat[0] - flat[1]).norm() / flat[0].norm()):.2e}")
    moved = {name: float((states[0][name] - states[1][name]).abs().max()) for name in states[0]}
    print("largest single difference:", *max(moved.items(), key=lambda item: item[1]))
    figures = [json.loads((run / "metrics.json").read_text()) for run in (first, second)]
    for key in ("test/map", "test/map_50", "test/f1", "test/score_threshold", "test/loss"):
        print(key, *(values[key] for values in figures))


if __name__ == "__main__":
    compare(*map(Path, sys.argv[1:]))
