"""What a process that loads data does apart from loading. Imports nothing heavy, see SIGNALS."""

import os
import signal
import sys
from threading import Thread

SIGNALS = (signal.SIGTERM, signal.SIGUSR1)  # of schedulers: the time is up, or soon will be


def start_worker(worker: int) -> None:
    """One thread, or workers fight for the cores; and signals to stop are for the main process.

    Schedulers send them to all processes of a job. A worker that ends by one is an error there, and the
    run cannot save itself.
    """
    import torch

    torch.set_num_threads(1)
    if sys.platform != "linux":  # others do not tell the sender
        return
    signal.pthread_sigmask(signal.SIG_BLOCK, SIGNALS)
    Thread(target=_obey_parent, args=(os.getppid(),), daemon=True).start()


def _obey_parent(parent: int) -> None:
    """End when the main process says so, as when it ends itself; the sender tells it from a scheduler."""
    while True:
        info = signal.sigwaitinfo(SIGNALS)
        if info.si_signo == signal.SIGTERM and info.si_pid == parent:
            os._exit(0)
