"""The records of an offline run of Weights & Biases.

wandb 0.31 has no reader in Python any more; the messages are read with its own protobuf classes. The
file is a LevelDB log (https://github.com/google/leveldb/blob/main/doc/log_format.md) after 7 bytes.
"""

import json
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from wandb.proto.wandb_internal_pb2 import Record

BLOCK, HEADER = 32768, 7
FULL, LAST = 1, 4


def records(path: Path) -> Iterator[Record]:
    content = path.read_bytes()
    assert content[:4] == b":W&B"
    place, message = HEADER, b""
    while place < len(content):
        if BLOCK - place % BLOCK < HEADER:  # too little is left of the block for a header
            place += BLOCK - place % BLOCK
            continue
        _, length, kind = struct.unpack_from("<IHB", content, place)
        message += content[place + HEADER : place + HEADER + length]
        place += HEADER + length
        if kind in (FULL, LAST):
            record = Record()
            record.ParseFromString(message)
            message = b""
            yield record


def _values(items: Any) -> dict[str, Any]:
    found = {}
    for item in items:
        found["/".join(item.nested_key) if item.nested_key else item.key] = json.loads(item.value_json)
    return found


class OfflineRun:
    """Name, group, curves, summary and tables of the run in a folder offline-run-*."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.history: list[dict[str, Any]] = []
        self.summary: dict[str, Any] = {}
        self.exit_code: int | None = None
        (path,) = folder.glob("run-*.wandb")
        for record in records(path):
            kind = record.WhichOneof("record_type")
            if kind == "run" and record.run.run_id:
                self.id, self.name, self.group = (
                    record.run.run_id,
                    record.run.display_name,
                    record.run.run_group,
                )
                self.config = _values(record.run.config.update)
            elif kind == "history":
                self.history.append(_values(record.history.item))
                self.summary |= self.history[-1]
            elif kind == "summary":
                self.summary |= _values(record.summary.update)
            elif kind == "exit":
                self.exit_code = record.exit.exit_code

    def curve(self, key: str) -> list[Any]:
        return [row[key] for row in self.history if key in row]

    def shown(self, key: str) -> dict[str, Any]:
        """The last table or pictures under that name."""
        parts = [
            {name.removeprefix(f"{key}/"): value for name, value in row.items() if name.startswith(f"{key}/")}
            for row in self.history
        ]
        return [part for part in parts if part][-1]

    def table(self, key: str) -> dict[str, Any]:
        return json.loads((self.folder / "files" / self.shown(key)["path"]).read_text())
