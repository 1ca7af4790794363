"""Findings about the weights that a training starts from."""

from collections.abc import Iterator, Sequence

from detr_diff.data.finding import Finding, Level, percent
from detr_diff.model.block_names import ALIASES, contract
from detr_diff.model.transfer_report import TransferReport, share
from detr_diff.training.stages import Stage

PRETRAINED = 0.95  # share of the backbone's tensors
FROM_SCRATCH = 10_000  # training pairs that a DETR without the tricks of RT-DETR wants from random weights


def diagnose_coverage(
    report: TransferReport, stages: Sequence[Stage], real_time: bool, pairs: int, batch_size: int
) -> Iterator[Finding]:
    """Whether what starts from random weights can work.

    Args:
        report: What became of every tensor.
        stages: Of the plan.
        real_time: Whether the family is RT-DETR or a descendant.
        pairs: Number of training pairs.
        batch_size: Pairs in a batch.
    """
    arrived = report.backbone_share() or 0.0
    if not report.live_batch_norm and arrived < PRETRAINED:
        yield Finding(
            Level.problem,
            "frozen batch norm without statistics",
            f"the batch norm of the backbone is frozen, but {percent(arrived)} of its tensors are pretrained",
            "batch norm that never saw an image normalises nothing",
            "model.transfer.batch_norm=auto, or pretrained weights (model.pretrained)",
        )
    yield from _never_learnt(report, stages)
    if arrived < PRETRAINED and not real_time and pairs < FROM_SCRATCH:
        yield Finding(
            Level.suspicious,
            "no pretrained weights",
            f"the backbone starts from random weights ({percent(arrived)} of it arrived), and there are "
            f"{pairs} training pairs",
            "a DETR of this family stays at AP 0 for hundreds of epochs on a few thousand images",
            "model.pretrained=facebook/detr-resnet-50, or model=rt_detr_small, which learns without",
        )
    if report.live_batch_norm and batch_size < 2 and arrived < PRETRAINED:
        yield Finding(
            Level.suspicious,
            "batch norm over one pair",
            "the batch norm of the backbone learns, and a batch has one pair",
            "its statistics are those of single images, and evaluation uses their average",
            "data.batch_size=4 or more",
        )
    if report.warning:
        yield Finding(
            Level.suspicious,
            "other features than the pretrained ones",
            report.warning,
            "what the other blocks learnt rests on these features",
            "see model.processor and model.transfer",
        )


def _never_learnt(report: TransferReport, stages: Sequence[Stage]) -> Iterator[Finding]:
    """Blocks that start from random weights and never learn."""
    learning = {block for stage in stages for block in stage.blocks if stage.rates[block]}
    fixed = []
    for block in report.counts():
        own = [tensor for tensor in report.tensors if tensor.block == block]
        if block not in learning and (share(own) or 0.0) < 0.5:
            fixed.append(block)
    if fixed:
        backbone = any(block in ALIASES["backbone"] for block in fixed)
        yield Finding(
            Level.problem,
            "frozen random weights",
            f"{', '.join(contract(fixed))} start from random weights and learn in no stage",
            "what is learnt rests on features without meaning"
            if backbone
            else "these blocks stay as they were drawn",
            "a stage with learn: all, or pretrained weights (model.pretrained)",
        )
