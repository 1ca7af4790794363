"""Forward and backward of our loss and of transformers' own, in turns in one process.

python experiments/loss_speed/measure.py RESULT.csv [cuda]
"""

import csv
import statistics
import sys
import time
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from detr_diff.model.families import FAMILIES, family
from detr_diff.training.criterion import Criterion

ROUNDS, WARM = 25, 3
# Family, layers, queries, batch, objects of an image, denoising queries.
CASES = [
    ("detr", 6, 100, 2, 6, 0),
    ("detr", 6, 100, 16, 6, 0),
    ("rt_detr", 2, 20, 4, 3, 20),  # the demo
    ("rt_detr", 2, 20, 8, 3, 20),
    ("detr", 6, 300, 16, 20, 0),
    ("conditional_detr", 6, 300, 16, 20, 0),
    ("rt_detr", 6, 300, 16, 20, 100),
]
COLUMNS = "family layers queries batch objects denoising transformers_ms ours_ms ratio loss_off gradient_off"

Call = Callable[[], tuple[list[Any], dict[str, Any]]]


def predictions(case: tuple[Any, ...], device: str) -> tuple[list[Tensor], Call]:
    """What the heads give, as leaves, and what the model then hands to its loss."""
    name, layers, queries, batch, objects, denoising = case
    generator = torch.Generator().manual_seed(0)
    config = FAMILIES[name].config_class()
    config.num_labels, config.auxiliary_loss, config.decoder_layers = 3, True, layers
    classes = 3 + (name == "detr")
    labels = [
        {
            "boxes": (0.3 + 0.3 * torch.rand(objects, 4, generator=generator)).to(device),
            "class_labels": torch.randint(3, (objects,), generator=generator).to(device),
        }
        for _ in range(batch)
    ]
    groups = max(denoising // objects, 1) if denoising else 0
    known = 2 * groups * objects
    shape = (layers, batch, queries) if not denoising else (batch, layers, queries + known)

    def head(*size: int) -> Tensor:
        return torch.randn(*size, generator=generator).to(device).requires_grad_()

    leaves = [head(*shape, classes), head(*shape, 4)]
    if not denoising:

        def call() -> tuple[list[Any], dict[str, Any]]:
            logits, boxes = leaves[0], leaves[1].sigmoid()
            return [logits[-1], labels, device, boxes[-1], config, logits, boxes], {}

        return leaves, call
    leaves += [head(batch, queries, classes), head(batch, queries, 4)]
    positive = torch.cat([torch.arange(objects) + 2 * objects * group for group in range(groups)]).to(device)
    meta = {
        "dn_positive_idx": [positive] * batch,
        "dn_num_group": groups,
        "dn_num_split": [known, queries],
    }

    def call_real_time() -> tuple[list[Any], dict[str, Any]]:
        logits, boxes = leaves[0], leaves[1].sigmoid()
        more = {
            "enc_topk_logits": leaves[2],
            "enc_topk_bboxes": leaves[3].sigmoid(),
            "denoising_meta_values": meta,
        }
        return [logits[:, -1], labels, device, boxes[:, -1], config, logits, boxes], more

    return leaves, call_real_time


def measure(case: tuple[Any, ...], device: str) -> list[Any]:
    """One row of the table."""
    own = family(case[0])
    library = own.model_class(own.config_class(**SMALL[case[0]])).loss_function
    roads = {"transformers": library, "ours": Criterion(own.class_loss)}
    leaves, call = predictions(case, device)
    seconds: dict[str, list[float]] = {road: [] for road in roads}
    found: dict[str, tuple[Tensor, Tensor]] = {}
    for _ in range(WARM + ROUNDS):
        for road, loss_function in roads.items():
            for leaf in leaves:
                leaf.grad = None
            given, named = call()
            begun = now(device)
            loss = loss_function(*given, **named)[0]
            loss.backward()
            seconds[road].append(now(device) - begun)
            found[road] = loss.detach(), torch.cat([leaf.grad.flatten() for leaf in leaves])
    (expected, gradient), (actual, own_gradient) = found["transformers"], found["ours"]
    slow, fast = (1e3 * statistics.median(seconds[road][WARM:]) for road in roads)
    return [
        *case,
        *(f"{value:.2f}" for value in (slow, fast, slow / fast)),
        *(
            f"{float(off):.1e}"
            for off in (
                (actual - expected).abs() / expected,
                (own_gradient - gradient).norm() / gradient.norm(),
            )
        ),
    ]


def now(device: str) -> float:
    """Seconds: of the processor on a CPU, which other jobs share, else on the wall."""
    if device == "cpu":
        return time.process_time()
    torch.cuda.synchronize()
    return time.perf_counter()


# Only to be asked for its loss function.
RESNET = {"model_type": "resnet", "embedding_size": 8, "hidden_sizes": [8] * 4, "depths": [1] * 4}
ONE_LAYER = {"encoder_layers": 1, "decoder_layers": 1, "d_model": 32}
SMALL: dict[str, dict[str, Any]] = {
    name: {**ONE_LAYER, "backbone_config": {**RESNET, "out_features": ["stage4"]}}
    for name in ("detr", "conditional_detr")
}
SMALL["rt_detr"] = {**ONE_LAYER, "encoder_hidden_dim": 32, "decoder_in_channels": [32] * 3}


def main() -> None:
    """Write the table and show it."""
    path, device = sys.argv[1], (sys.argv[2:] or ["cpu"])[0]
    torch.set_num_threads(1)
    rows = [measure(case, device) for case in CASES]
    with open(path, "w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([COLUMNS.split(), *rows])
    for row in [COLUMNS.split(), *rows]:
        print(" | ".join(map(str, row)))


if __name__ == "__main__":
    main()
