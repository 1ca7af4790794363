"""Where pretrained tensors may be, and files that are none."""

import argparse
import json
import os
import re
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

import pytest
import torch
from huggingface_hub import constants
from safetensors.torch import load_file, save_file
from torch import Tensor

from detr_diff.errors import SettingError
from detr_diff.model.load import load_model
from detr_diff.model.naming import Naming
from detr_diff.model.source import open_source
from tests.model.sources import pretrained
from tests.model.tiny_models import FAMILIES as TINY

DAMAGED = "cannot be loaded, the file is damaged or no file of tensors"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return pretrained("detr", ["dog", "car"], tmp_path_factory.mktemp("detr"))


@pytest.fixture(scope="module")
def stored(folder: Path) -> dict[str, Tensor]:
    return load_file(folder / "model.safetensors")


def test_a_folder_says_everything(folder: Path, stored: dict[str, Tensor]) -> None:
    source = open_source(str(folder))
    assert (source.naming, source.classes, source.family) == (
        Naming.transformers_older,
        ("dog", "car"),
        "detr",
    )
    assert source.tensors.keys() == stored.keys()
    assert source.processor is not None
    assert source.config is not None


@pytest.mark.parametrize(
    "kind", ["model", "ema", "lightning", "averaged", "parallel", "plain", "segmentation"]
)
def test_tensors_are_found_inside_a_training_checkpoint(
    kind: str, stored: dict[str, Tensor], tmp_path: Path
) -> None:
    contents = {
        "model": {
            "model": stored,
            "optimizer": {"state": {}},
            "args": argparse.Namespace(lr=1e-4),
            "epoch": 3,
        },
        "ema": {"date": "today", "ema": {"module": stored, "updates": 4}},
        "lightning": {
            "state_dict": {f"detr.{n}": t for n, t in stored.items()} | {"x": torch.zeros(1)},
            "epoch": 1,
        },
        # Both the weights of the last step and their average, which is what was evaluated.
        "averaged": {
            "state_dict": {f"detr.{n}": t + 1 for n, t in stored.items()}
            | {f"average.module.{n}": t for n, t in stored.items()}
            | {"average.n_averaged": torch.zeros((), dtype=torch.int64)}
        },
        "parallel": {f"module.{name}": tensor for name, tensor in stored.items()},
        "plain": stored,
        "segmentation": {
            "model": {f"detr.{n}": t for n, t in stored.items()} | {"mask.weight": torch.zeros(1)}
        },
    }
    torch.save(contents[kind], tmp_path / "a.pth")
    source = open_source(str(tmp_path / "a.pth"))
    assert source.tensors.keys() == stored.keys()
    assert all(torch.equal(source.tensors[name], tensor) for name, tensor in stored.items())


def test_a_folder_with_shards(folder: Path, stored: dict[str, Tensor], tmp_path: Path) -> None:
    names = list(stored)
    halves = {"model-1-of-2.safetensors": names[::2], "model-2-of-2.safetensors": names[1::2]}
    for file, part in halves.items():
        save_file({name: stored[name] for name in part}, tmp_path / file)
    index = {"weight_map": {name: file for file, part in halves.items() for name in part}}
    (tmp_path / "model.safetensors.index.json").write_text(json.dumps(index))
    (tmp_path / "config.json").write_bytes((folder / "config.json").read_bytes())
    source = open_source(str(tmp_path))
    assert all(torch.equal(source.tensors[name], tensor) for name, tensor in stored.items())
    assert source.classes == ("dog", "car")


class Opened:
    """Running this on loading would make a file."""

    def __reduce__(self) -> tuple:
        return (os.mkdir, ("/tmp/detr_diff_was_here",))


def test_no_code_is_run(tmp_path: Path) -> None:
    torch.save({"model": {"a": torch.zeros(1)}, "args": Opened()}, tmp_path / "a.pth")
    with pytest.raises(
        SettingError, match=r"a.pth holds a Python object \(\w+.mkdir\), which could run code"
    ):
        open_source(str(tmp_path / "a.pth"))
    assert not Path("/tmp/detr_diff_was_here").exists()


@pytest.mark.parametrize("suffix", [".pth", ".safetensors"])
@pytest.mark.parametrize("share", [0.0, 0.001, 0.5, 0.999])
def test_a_truncated_file_is_refused(
    suffix: str, share: float, stored: dict[str, Tensor], tmp_path: Path
) -> None:
    path = tmp_path / f"a{suffix}"
    save_file(stored, path) if suffix == ".safetensors" else torch.save(stored, path)
    content = path.read_bytes()
    path.write_bytes(content[: int(share * len(content))])
    expected = re.escape(
        f"model.pretrained={path}: cannot be loaded, the file is damaged or no file of tensors: "
    )
    with pytest.raises(SettingError, match=expected):
        open_source(str(path))


@pytest.mark.parametrize("suffix", [".pth", ".safetensors", ".ckpt"])
def test_another_file_is_refused(suffix: str, tmp_path: Path) -> None:
    (tmp_path / f"a{suffix}").write_text("these are words, and enough of them to fill a header\n" * 20)
    with pytest.raises(SettingError, match=DAMAGED):
        open_source(str(tmp_path / f"a{suffix}"))


@pytest.mark.parametrize("content", [[1, 2], {"epoch": 3}, torch.zeros(2), {}])
def test_a_file_without_tensors_is_refused(content: object, tmp_path: Path) -> None:
    torch.save(content, tmp_path / "a.pth")
    with pytest.raises(SettingError, match="a.pth holds no tensors with names"):
        open_source(str(tmp_path / "a.pth"))


def test_unknown_names_are_told(tmp_path: Path) -> None:
    torch.save({"first.weight": torch.zeros(1), "second.bias": torch.zeros(1)}, tmp_path / "a.pth")
    with pytest.raises(
        SettingError, match=r"names of its tensors \(first.weight, second.bias, ...\) are neither"
    ):
        open_source(str(tmp_path / "a.pth"))


def test_a_folder_without_weights_or_with_a_broken_configuration(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "config.json").write_bytes((folder / "config.json").read_bytes())
    with pytest.raises(SettingError, match=r"no model.safetensors or pytorch_model.bin in it"):
        open_source(str(tmp_path))
    (tmp_path / "model.safetensors").write_bytes((folder / "model.safetensors").read_bytes())
    (tmp_path / "config.json").write_text("{")
    with pytest.raises(SettingError, match="config.json is damaged"):
        open_source(str(tmp_path))


def test_another_family_in_the_folder_is_refused(folder: Path) -> None:
    with pytest.raises(SettingError, match="holds detr, not rt_detr"):
        load_model("rt_detr", ["a"], pretrained=str(folder))


class Hub(BaseHTTPRequestHandler):
    """As much of the hub as a download needs."""

    folder: Path

    def do_HEAD(self) -> None:
        self.answer(body=False)

    def do_GET(self) -> None:
        self.answer(body=True)

    def answer(self, body: bool) -> None:
        path = self.folder / self.path.rpartition("/resolve/main/")[2]
        content = path.read_bytes() if path.is_file() and "/resolve/main/" in self.path else None
        self.send_response(404 if content is None and self.path != "/" else 200)
        if content is None:
            self.send_header("X-Error-Code", "EntryNotFound")
            content = b""
        self.send_header("X-Repo-Commit", "0" * 40)
        self.send_header("ETag", f'"{path.name}"')
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        if body:
            self.wfile.write(content)

    def log_message(self, *words: object) -> None:
        """Nothing."""


@pytest.fixture
def hub(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """A hub that has the folder under every name."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), type("Handler", (Hub,), {"folder": folder}))
    address = f"http://127.0.0.1:{server.server_port}"
    Thread(target=server.serve_forever, daemon=True).start()
    monkeypatch.setattr(constants, "ENDPOINT", address)
    monkeypatch.setattr(
        constants, "HUGGINGFACE_CO_URL_TEMPLATE", address + "/{repo_id}/resolve/{revision}/{filename}"
    )
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
    yield address
    server.shutdown()
    server.server_close()


def test_a_model_of_the_hub_is_fetched_once(
    hub: str, stored: dict[str, Tensor], monkeypatch: pytest.MonkeyPatch
) -> None:
    first = open_source("owner/tiny")
    assert first.classes == ("dog", "car")
    assert all(torch.equal(first.tensors[name], tensor) for name, tensor in stored.items())
    monkeypatch.setattr(constants, "ENDPOINT", "http://127.0.0.1:9")  # nobody is there
    again = open_source("owner/tiny")
    assert again.tensors.keys() == first.tensors.keys()
    with pytest.raises(
        SettingError, match="owner/other: cannot be loaded: it is not in the local cache, and http"
    ):
        open_source("owner/other")


def test_weights_of_half_precision_become_single(stored: dict[str, Tensor], tmp_path: Path) -> None:
    save_file({name: tensor.half() for name, tensor in stored.items()}, tmp_path / "a.safetensors")
    model, _, report = load_model(
        "detr", ["dog"], pretrained=str(tmp_path / "a.safetensors"), config=TINY["detr"]
    )
    assert {tensor.dtype for tensor in model.state_dict().values()} == {torch.float32}
    assert all(tensor.equal for tensor in report.tensors if tensor.action == "copied")
