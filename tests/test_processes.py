import csv
import json
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from omegaconf import OmegaConf

from detr_diff import launch
from detr_diff.choices import Diff
from detr_diff.cli import main
from detr_diff.compose import compose
from detr_diff.data.sampler import EpochBatches, Share, Shuffled
from detr_diff.grammar import quoted
from detr_diff.model.load import load_model
from detr_diff.verbs.parts import new_detector, stage_plan, take_both_frames
from tests.conftest import ROOT, TINY

# Three stages, augmentation, incomplete batches and windows: 24 pairs in batches of 5, two a step.
STAGES = (
    "stages=all",
    "~stages.all",
    "+stages.heads={epochs: 2, learn: heads, lr: 1e-3}",
    "+stages.all={epochs: 2, learn: all, lr: 5e-4}",
    "+stages.settle={epochs: 1, learn: [decoder, heads], lr: 1e-4}",
)


@pytest.fixture(scope="module")
def pretrained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A DETR without dropout whose batch norm stays frozen, as a pretrained one's does."""
    torch.manual_seed(0)
    settings = yaml.safe_load((ROOT / "conf/model/detr_tiny.yaml").read_text())
    model, _, _ = load_model("detr", ["a"], config=settings["config"] | {"dropout": 0.0})
    folder = tmp_path_factory.mktemp("pretrained")
    model.save_pretrained(folder)
    return folder


def words(data_root: Path, runs: Path, pretrained: Path, *extra: str) -> list[str]:
    rest = [word for word in TINY if not word.startswith(("model", "stages", "~", "+"))]
    own = [
        "model=detr_tiny",
        "+model.config.dropout=0.0",
        "model.processor.size={shortest_edge: 64, longest_edge: 64}",
        f"model.pretrained={pretrained}",
        f"data.root={data_root}",
        f"runs={runs}",
        "trainer.accumulate_grad_batches=2",
        "data.augment=strong",
    ]
    return ["train", *rest, *STAGES, *own, *extra]


def weights(run: Path) -> dict[str, torch.Tensor]:
    return torch.load(run / "checkpoints/last.ckpt", weights_only=True)["state_dict"]


@pytest.mark.exhaustive
def test_two_processes_train_as_one(data_root: Path, tmp_path: Path, pretrained: Path) -> None:
    one = words(data_root, tmp_path / "one", pretrained, "data.batch_size=6")
    both = ("trainer.devices=2", "trainer.strategy=ddp")  # as auto
    two = words(data_root, tmp_path / "two", pretrained, "data.batch_size=3", *both)
    assert main(one) == 0
    assert main(two) == 0
    alone, together = weights(tmp_path / "one/train"), weights(tmp_path / "two/train")
    assert alone.keys() == together.keys()
    # Of all weights together: where a gradient is 0 but for rounding, Adam makes steps of it.
    flat = [torch.cat([one[name].float().flatten() for name in alone]) for one in (alone, together)]
    assert float((flat[0] - flat[1]).norm() / flat[0].norm()) < 1e-5
    figures = [json.loads((tmp_path / n / "train/metrics.json").read_text()) for n in ("one", "two")]
    for key in ("test/map", "test/map_50", "test/f1", "test/score_threshold", "test/loss"):
        # A loss of 16 is a float32: its neighbours are 2e-6 away.
        assert figures[0][key] == pytest.approx(figures[1][key], rel=1e-6, abs=1e-6), key
    launches = json.loads((tmp_path / "two/train/environment.json").read_text())
    assert "detr_diff.launch" not in str(launches)  # but the command that was given
    rows = [list(csv.DictReader((tmp_path / n / "train/metrics.csv").open())) for n in ("one", "two")]
    assert [row["step"] for row in rows[0]] == [row["step"] for row in rows[1]]

    assert main([*two, "resume=true", "run_name=train"]) == 0  # it has finished already
    assert main([*words(data_root, tmp_path / "two", pretrained, "data.batch_size=6"), "resume=true"]) == 2


def test_settings_mean_the_same_in_another_process(data_root: Path) -> None:
    """They go there as JSON, in which a choice is its name."""
    words = [f"data.root={quoted(str(data_root))}", "model=detr_tiny", "model.input=feature_diff"]
    settings = compose("train", words)
    sent = OmegaConf.create(json.loads(json.dumps(OmegaConf.to_container(settings, resolve=True))))
    for given in (settings, sent):
        take_both_frames(given)
        detector, _ = new_detector(given, stage_plan(given))
        assert detector.architecture.feature_diff is not None
        assert detector.comparison.diff is Diff.frames


@pytest.mark.parametrize(("size", "batch_size", "processes"), [(24, 5, 2), (7, 2, 3), (1, 4, 2), (12, 3, 4)])
def test_processes_share_the_batches_of_one(size: int, batch_size: int, processes: int) -> None:
    def batches(share: Share, batch_size: int) -> list[list[Any]]:
        return list(EpochBatches(Shuffled(size, 0), batch_size, share, epoch=lambda: 3))

    whole = batches(Share(), batch_size * processes)
    shares = [batches(Share(rank, processes), batch_size) for rank in range(processes)]
    assert {len(share) for share in shares} == {len(whole)}
    for number, batch in enumerate(whole):
        together = [key for share in shares for key in share[number] if not key.padding]
        assert together == batch
        assert all(share[number] for share in shares)


@pytest.mark.parametrize(
    ("word", "message"),
    [
        ("trainer.devices=two", "trainer.devices=two: a number from 1"),
        ("+trainer.num_nodes=2", "trainer.num_nodes=2: nothing has started this on the other machines"),
    ],
)
def test_a_wrong_number_of_devices_is_named(
    word: str, message: str, data_root: Path, tmp_path: Path, capfd: Any
) -> None:
    code = main(["train", *TINY, f"data.root={data_root}", f"runs={tmp_path}", word])
    assert (code, message in capfd.readouterr().err) == (2, True)


def test_the_first_process_to_fail_says_why(tmp_path: Path) -> None:
    assert launch._why(tmp_path) == ""
    (tmp_path / "traceback.txt").write_text("Traceback\n  line\nOSError: a.png: not a readable image\n")
    assert launch._why(tmp_path) == ": OSError: a.png: not a readable image"
