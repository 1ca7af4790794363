"""Several processes for one training job, as `trainer.devices=2` asks for them.

Each process gets the composed settings, not the words of the command line: a job of a multirun is
the same in all of them, whatever has happened to conf/ meanwhile.
"""

import json
import logging
import logging.config
import os
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf

from detr_diff.errors import SettingError, UserError
from detr_diff.training.status_file import first_process

TRACEBACK = "traceback.txt"
STOPPED = 75  # exit code of a process that was asked to stop, see training/stop.py


def launched() -> bool:
    """Whether this is already one of several processes, started here, by torchrun or by Slurm."""
    return int(os.environ.get("WORLD_SIZE", "1")) > 1 or int(os.environ.get("SLURM_NTASKS", "1")) > 1


def processes(trainer: Mapping[str, Any]) -> int:
    """How many processes the trainer section asks for on this machine.

    Raises:
        SettingError: `devices` is nothing that Lightning understands, or other machines are asked for.
    """
    nodes = trainer.get("num_nodes", 1)
    if nodes != 1 and not launched():
        raise SettingError(
            f"trainer.num_nodes={nodes}: nothing has started this on the other machines; "
            "torchrun -m detr_diff train ... or srun detr-diff train ... does"
        )
    devices = trainer["devices"]
    if devices in ("auto", -1, "-1"):
        import torch

        gpu = trainer["accelerator"] in ("auto", "gpu", "cuda")
        return torch.cuda.device_count() if gpu and torch.cuda.is_available() else 1
    try:
        if isinstance(devices, str) and "," not in devices:
            devices = int(devices)
        count = devices if isinstance(devices, int) else len(str(devices).strip(",").split(","))
    except ValueError:
        count = 0
    if count < 1:
        raise SettingError(f"trainer.devices={devices}: a number from 1, a list of devices, -1 or auto")
    return count


def launch(count: int, settings: DictConfig, run_dir: Path, group: str | None) -> None:
    """Run a training job in several processes and wait for them.

    Args:
        count: How many.
        settings: Of the job.
        run_dir: Its folder.
        group: Name of the multirun.

    Raises:
        UserError: A process failed. It has said why; its exit code is that of this error.
    """
    from torch.distributed.elastic.multiprocessing.api import SignalException
    from torch.distributed.elastic.multiprocessing.errors import ChildFailedError
    from torch.distributed.launcher.api import LaunchConfig, elastic_launch

    # Together they use the cores once, or they would be many times slower.
    os.environ.setdefault("OMP_NUM_THREADS", str(max(1, (os.cpu_count() or 1) // count)))
    # Else it warns of unused parameters where there are none.
    os.environ.setdefault("TORCH_CPP_LOG_LEVEL", "ERROR")
    for name in ("torch.distributed.elastic", "torch.distributed.launcher"):
        logging.getLogger(name).setLevel(logging.CRITICAL)
    config = LaunchConfig(
        1,
        1,
        count,
        run_id=run_dir.name,
        rdzv_backend="c10d",
        rdzv_endpoint="localhost:0",
        max_restarts=0,
        signals_to_handle="SIGTERM,SIGINT,SIGUSR1",
    )
    job = {
        "settings": OmegaConf.to_container(settings, resolve=True),
        "run_dir": str(run_dir.absolute()),
        "group": group,
        "words": sys.argv,
        "command": sys.orig_argv,
    }
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "job.json"
        path.write_text(json.dumps(job), encoding="utf-8")
        try:
            elastic_launch(config, sys.executable)("-m", "detr_diff.launch", str(path))
        except SignalException as signal:
            raise _failed(STOPPED, f"stopped by {signal.sigval.name}; resume=true goes on") from None
        except ChildFailedError as error:
            code = error.get_first_failure()[1].exitcode
            raise _failed(
                code, f"{count} processes: one ended with exit code {code}{_why(run_dir)}"
            ) from None


def _why(run_dir: Path) -> str:
    """What the first process that failed has left; others fail because it is gone."""
    path = run_dir / TRACEBACK
    lines = path.read_text(encoding="utf-8").strip().splitlines() if path.exists() else []
    return f": {lines[-1]}" if lines else ""


def _failed(code: int, message: str) -> UserError:
    error = UserError(message)
    error.exit_code = code if code in (2, STOPPED) else 1
    return error


def _run(path: Path) -> int:
    """One of the processes."""
    job = json.loads(path.read_text(encoding="utf-8"))
    # As in the process that was started by hand, where both are looked up.
    run_dir, sys.argv, sys.orig_argv = Path(job["run_dir"]), job["words"], job["command"]
    _log_to(run_dir / "train.log")
    from detr_diff.cli import told
    from detr_diff.sweep import guarded

    settings = OmegaConf.create(job["settings"])
    return told(lambda: guarded(settings, run_dir, job["group"]), bool(settings.debug))


def _log_to(path: Path) -> None:
    """The first process logs, as Hydra makes a job that is alone log."""
    first = first_process()
    console, file = logging.StreamHandler(), logging.FileHandler(path)
    console.setFormatter(logging.Formatter("%(message)s"))
    file.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(message)s"))
    logging.basicConfig(level=logging.INFO if first else logging.ERROR, handlers=[console, file])


if __name__ == "__main__":
    sys.exit(_run(Path(sys.argv[1])))
