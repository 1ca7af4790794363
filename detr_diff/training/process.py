"""The process that runs a model: what it prints, and what becomes of the memory that it frees."""

import ctypes
import logging
import os
import warnings

# What the libraries say about themselves and a user can do nothing about.
NOISE = (
    ".*You'd better set embed_dim.*",
    ".*does not have many workers.*",
    ".*Checkpoint directory .* exists and is not empty.*",
    ".*Experiment logs directory .* exists and is not empty.*",
    ".*number of training batches .* is smaller than the logging interval.*",
    ".*litlogger.*",
    ".*LeafSpec.*",
    ".*weights_only.*",
    ".*dataloader is not resumable.*",  # ours is: what it loads depends on the epoch and the batch alone
    ".*in eval mode at the start of training.*",  # frozen blocks
    ".*overridden `transfer_batch_to_device`.*",  # as it is meant
    ".*It is recommended to use `self.log.*",  # what is the same in every process needs no averaging
)
# Of mallopt(3), and the words by which a user says the same before Python starts.
TRIM_THRESHOLD, MMAP_THRESHOLD = -1, -3
SAID = ("MALLOC_TRIM_THRESHOLD_", "MALLOC_MMAP_THRESHOLD_", "GLIBC_TUNABLES")


def prepare_process() -> None:
    """What every verb does that runs a model, before it makes tensors."""
    quiet()
    keep_freed_memory()


def quiet() -> None:
    """Keep the console for what concerns the run."""
    for message in NOISE:
        warnings.filterwarnings("ignore", message)
    for name in ("lightning.pytorch", "lightning.fabric", "matplotlib"):
        logging.getLogger(name).setLevel(logging.WARNING)
    # What trainer.profiler was asked for.
    logging.getLogger("lightning.pytorch.profilers").setLevel(logging.INFO)


def keep_freed_memory() -> None:
    """Let the next tensor have the memory of the last one.

    glibc gives large blocks back to the kernel when they are freed, and gets them again, zeroed page by
    page, for the next layer: up to a quarter of a forward pass on a CPU. Blocks up to 1 GiB stay in
    the process here. What the user has said in the environment counts more; other C libraries
    have no such setting.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None) if os.name == "posix" else None
    if mallopt is not None and not any(name in os.environ for name in SAID):
        mallopt(MMAP_THRESHOLD, 2**30)
        mallopt(TRIM_THRESHOLD, 2**31 - 1)
