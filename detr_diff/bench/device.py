"""What a device can do at best, and how busy it is."""

import threading
from time import perf_counter

import torch

from detr_diff.bench.clock import synchronize

SIDE = 8192  # of the square matrices whose product is the peak
WARM = 0.5  # seconds before the peak is measured
EVERY = 0.05  # seconds between looks at the utilisation


def peak(device: torch.device, side: int = SIDE, times: int = 10) -> float:
    """Floating point operations a second of a plain bf16 matrix product, the best of some."""
    left, right = (torch.randn(side, side, device=device, dtype=torch.bfloat16) for _ in range(2))
    best = float("inf")
    warm = perf_counter()
    while device.type == "cuda" and perf_counter() - warm < WARM:  # a GPU that idles is clocked down
        _ = left @ right
        synchronize(device)
    for _ in range(times):
        synchronize(device)
        start = perf_counter()
        _ = left @ right
        synchronize(device)
        best = min(best, perf_counter() - start)
    return 2 * side**3 / best


class Utilisation:
    """Looks at how busy the GPU is, until it is called; then it gives the mean in percent.

    Nothing is given where the driver does not tell.
    """

    def __init__(self) -> None:
        self._seen: list[int] = []
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._look, daemon=True)
        self._thread.start()

    def __call__(self) -> dict[str, float]:
        """Stop looking."""
        self._over.set()
        self._thread.join()
        return {"utilisation": sum(self._seen) / len(self._seen)} if self._seen else {}

    def _look(self) -> None:
        while not self._over.wait(EVERY):
            try:
                self._seen.append(torch.cuda.utilization())
            except (RuntimeError, AssertionError, ModuleNotFoundError):  # no driver, no GPU, no nvidia-ml-py
                return
