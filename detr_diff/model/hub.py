"""Fetching a pretrained model from the Hugging Face hub, or from the local cache of it."""

from pathlib import Path

from huggingface_hub import constants, get_session, hf_hub_download, snapshot_download
from huggingface_hub.errors import EntryNotFoundError, HfHubHTTPError

from detr_diff.errors import UserError
from detr_diff.model.tensor_file import shards

CONFIG = "config.json"
PROCESSOR = "preprocessor_config.json"
WEIGHTS = (
    "model.safetensors",
    "model.safetensors.index.json",
    "pytorch_model.bin",
    "pytorch_model.bin.index.json",
)


def fetch(repository: str) -> Path:
    """The folder with configuration, processor and weights of a model on the hub.

    Args:
        repository: Hub id, owner/name.

    Raises:
        OSError: It is not in the local cache and cannot be fetched.
    """
    try:
        folder = Path(snapshot_download(repository, local_files_only=True))
        if (folder / CONFIG).exists() and any((folder / name).exists() for name in WEIGHTS):
            return folder
    except OSError:
        pass  # not in the cache
    _reach_hub()
    try:
        folder = Path(hf_hub_download(repository, CONFIG)).parent
        for name in (PROCESSOR, *WEIGHTS):
            try:
                path = Path(hf_hub_download(repository, name))
            except EntryNotFoundError:
                continue
            if name.endswith(".index.json"):
                for shard in shards(path):
                    hf_hub_download(repository, shard.name)
            if name in WEIGHTS:
                break
    except HfHubHTTPError as error:
        raise OSError(str(error).strip().splitlines()[0]) from error
    return folder


def _reach_hub() -> None:
    """One quick question, because the hub's client tries for half a minute before it gives up."""
    try:
        get_session().head(constants.ENDPOINT, timeout=10)
    except UserError:  # a signal to stop is one, too
        raise
    except Exception as error:
        why = type(error).__name__
        message = f"it is not in the local cache, and {constants.ENDPOINT} cannot be reached ({why})"
        raise OSError(message) from error
