"""environment.json: with what a run was made. One entry for each launch, so that a resumed run adds to it."""

import json
import logging
import os
import platform
import socket
import subprocess
import sys
from collections.abc import Sequence
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path
from typing import Any

import psutil

from detr_diff import __version__
from detr_diff.training.status_file import first_process
from detr_diff.training.whole_file import write_whole

log = logging.getLogger(__name__)

ENVIRONMENT = "environment.json"
# What can change a result.
PACKAGES = (
    "torch",
    "torchvision",
    "lightning",
    "transformers",
    "timm",
    "torchmetrics",
    "faster-coco-eval",
    "pycocotools",
    "numpy",
    "pillow",
    "opencv-python-headless",
    "scipy",
    "hydra-core",
    "omegaconf",
    "wandb",
)
THREADS = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")
CODE = Path(__file__).parents[1]


def record_launch(folder: Path, argv: Sequence[str] | None = None) -> None:
    """Add an entry to environment.json of a run folder; one that cannot be written is told in the log.

    Only the first of several processes does.

    Args:
        folder: The run folder; it exists.
        argv: The command line; None: that of this process.
    """
    if not first_process():
        return
    path = folder / ENVIRONMENT
    try:
        launches = read_launches(folder)
    except (OSError, ValueError) as error:
        log.warning("%s: not readable (%s); it is written anew", path, error)
        launches = []
    text = json.dumps([*launches, environment(argv)], indent=2, ensure_ascii=False)
    try:
        write_whole(path, text + "\n")
    except OSError as error:
        log.warning("%s cannot be written (%s); training goes on", path, error.strerror or error)


def read_launches(folder: Path) -> list[dict[str, Any]]:
    """The entries of environment.json of a run folder, the oldest first; none when there is no file.

    Raises:
        OSError: It cannot be read.
        ValueError: It is not one that a run wrote.
    """
    try:
        content = json.loads((folder / ENVIRONMENT).read_text(encoding="utf-8"))
    except FileNotFoundError:
        return []
    if not isinstance(content, list) or not all(isinstance(entry, dict) for entry in content):
        raise ValueError("not a list of launches")
    return content


def environment(argv: Sequence[str] | None = None) -> dict[str, Any]:
    """What this process is made of, as primitives.

    Returns:
        time (UTC), host, argv, folder (where the command was given), detr_diff, git, python,
        platform, packages, cpu, memory_gb, threads, cuda.
    """
    import torch

    # Not sys.argv: Hydra reads its overrides from that, so the verb is no longer in it.
    command = sys.orig_argv if argv is None else argv
    return {
        "time": datetime.now(UTC).isoformat(timespec="seconds"),
        "host": socket.gethostname(),
        "argv": list(command),
        "folder": os.getcwd(),
        "detr_diff": __version__,
        "git": git_revision(CODE),
        "python": platform.python_version(),
        "platform": platform.platform(),
        "packages": {name: version for name in PACKAGES if (version := _version(name))},
        "cpu": {
            "name": _cpu_name(),
            "cores": os.cpu_count(),
            "cores_allowed": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else None,
        },
        "memory_gb": round(psutil.virtual_memory().total / 2**30, 1),
        "threads": {
            "torch": torch.get_num_threads(),
            "torch_interop": torch.get_num_interop_threads(),
            **{name: os.environ.get(name) for name in THREADS},
        },
        "cuda": {
            "version": torch.version.cuda,
            "cudnn": torch.backends.cudnn.version() if torch.cuda.is_available() else None,
            "devices": [torch.cuda.get_device_name(index) for index in range(torch.cuda.device_count())],
        },
    }


def git_revision(code: Path) -> dict[str, Any] | None:
    """The revision of the checkout that a folder of code is part of.

    Args:
        code: The folder of the package.

    Returns:
        revision, and dirty: whether the package or the settings beside it were changed or added
        to since. None when the code is not from a checkout.
    """
    # An installed package may lie in another project's checkout; then that does not track it.
    if _git(code, "ls-files", "--error-unmatch", "__init__.py") is None:
        return None
    revision = _git(code, "rev-parse", "HEAD")
    if revision is None:
        return None
    settings = code.parent / "conf"
    paths = [str(path) for path in (code, settings) if path.is_dir()]
    changes = _git(code, "status", "--porcelain", "--", *paths)
    return {"revision": revision, "dirty": None if changes is None else bool(changes)}


def _git(folder: Path, *words: str) -> str | None:
    """What git prints; None when it fails or is not there."""
    # In a hook these name another repository.
    variables = {key: value for key, value in os.environ.items() if not key.startswith("GIT_")}
    # No lock: whoever works in the checkout meanwhile must not be disturbed.
    command = ["git", "--no-optional-locks", "-C", str(folder), *words]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=20, check=False, env=variables)
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout.strip() if done.returncode == 0 else None


def _version(name: str) -> str | None:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return None


def _cpu_name() -> str:
    """As people know it; Python itself knows no more than the architecture on Linux."""
    table = Path("/proc/cpuinfo")
    if table.exists():
        for line in table.read_text(encoding="utf-8", errors="replace").splitlines():
            key, _, value = line.partition(":")
            if key.strip() == "model name":
                return value.strip()
    return platform.processor() or platform.machine()
