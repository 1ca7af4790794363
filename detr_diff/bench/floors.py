"""What each part of a training step takes, beside the least that its operations and bytes can take."""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from functools import partial
from statistics import median
from time import perf_counter
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from detr_diff.bench.clock import synchronize

TIMES = 5
# Of a parameter in AdamW: it, its gradient and two moments are read; it and the moments are written.
OPTIMIZER_TENSORS = 7


@dataclass(frozen=True)
class Floor:
    """A part of a step.

    Attributes:
        part: A module in the forward pass, or all of the rest.
        seconds: What it takes.
        operations: Floating point operations in it.
        bytes: Parameters, input and output of it, each moved once.
        by_operations: The seconds that the operations take at the peak.
        by_bytes: The seconds that the bytes take at the bandwidth.
    """

    part: str
    seconds: float
    operations: int
    bytes: int
    by_operations: float
    by_bytes: float


def floors(
    detr: nn.Module,
    loss: Callable[[], Tensor],
    context: Callable[[], AbstractContextManager[Any]],
    peak: float,
    bandwidth: float,
) -> list[Floor]:
    """The parts of a step of a model whose parameters all learn.

    Args:
        detr: The model.
        loss: Runs it forward.
        context: The precision of the forward pass.
        peak: Operations a second.
        bandwidth: Bytes a second.
    """
    device = next(detr.parameters()).device
    modules = parts(detr)
    times: dict[str, list[float]] = {}
    moved: dict[str, int] = {}
    optimizer = torch.optim.AdamW(detr.parameters(), lr=0.0, fused=True)
    with _timed(modules, times, moved, device):
        for _ in range(1 + TIMES):
            with _lasting(times, "forward", device), context():
                value = loss()
            with _lasting(times, "backward", device):
                value.backward()
            with _lasting(times, "optimizer", device):
                optimizer.step()
            optimizer.zero_grad()
    counted = _operations(detr, modules, loss, context)
    # The first time warms up.
    seconds = {name: median(found[1:]) for name, found in times.items() if len(found) > 1}
    inside = sum(seconds[name] for name in modules if name in seconds)
    seconds["loss and matching"] = max(0.0, seconds.pop("forward") - inside)
    moved["optimizer"] = OPTIMIZER_TENSORS * sum(p.numel() * p.element_size() for p in detr.parameters())
    return [
        Floor(
            name,
            lasted,
            count := counted.get(name, 0),
            size := moved.get(name, 0),
            count / peak,
            size / bandwidth,
        )
        for name, lasted in seconds.items()
    ]


def parts(detr: Any) -> dict[str, nn.Module]:
    """The modules that a forward pass goes through one after the other."""
    inner = {f"model.{name}": module for name, module in detr.model.named_children()}
    outer = {name: module for name, module in detr.named_children() if name != "model"}
    return {**inner, **outer}


def bandwidth(device: torch.device, gigabytes: float = 2.0) -> float:
    """Bytes a second of a plain copy, those read and those written, the best of some."""
    source = torch.empty(int(gigabytes * 1e9), dtype=torch.uint8, device=device)
    target = torch.empty_like(source)
    best = float("inf")
    for _ in range(TIMES):
        synchronize(device)
        start = perf_counter()
        target.copy_(source)
        synchronize(device)
        best = min(best, perf_counter() - start)
    return 2 * source.numel() / best


@contextmanager
def _lasting(times: dict[str, list[float]], name: str, device: torch.device) -> Iterator[None]:
    synchronize(device)
    start = perf_counter()
    yield
    synchronize(device)
    times.setdefault(name, []).append(perf_counter() - start)


@contextmanager
def _timed(
    modules: dict[str, nn.Module], times: dict[str, list[float]], moved: dict[str, int], device: torch.device
) -> Iterator[None]:
    """Notes when modules run and what they move; a module that runs several times in a pass counts once."""
    begun: dict[str, float] = {}
    hooks = []
    compiled: dict[nn.Module, Callable[..., Any]] = {}
    for name, module in modules.items():

        def before(_: nn.Module, given: Any, named: Any, name: str = name) -> None:
            synchronize(device)
            begun[name] = perf_counter()

        def after(own: nn.Module, given: Any, named: Any, output: Any, name: str = name) -> None:
            synchronize(device)
            times.setdefault(name, []).append(perf_counter() - begun[name])
            tensors = [*own.parameters(), *_tensors([given, named, output])]
            moved[name] = sum(tensor.numel() * tensor.element_size() for tensor in tensors)

        if (call := module._compiled_call_impl) is not None:
            # From outside: a hook would be compiled, and break the graph where it looks at the clock.
            compiled[module] = call
            module._compiled_call_impl = partial(_around, module, call, before, after)
            continue
        hooks += [
            module.register_forward_pre_hook(before, with_kwargs=True),
            module.register_forward_hook(after, with_kwargs=True),
        ]
    try:
        yield
    finally:
        for hook in hooks:
            hook.remove()
        for module, call in compiled.items():
            module._compiled_call_impl = call


def _around(
    module: nn.Module,
    call: Callable[..., Any],
    before: Callable[..., None],
    after: Callable[..., None],
    /,
    *given: Any,
    **named: Any,
) -> Any:
    before(module, given, named)
    output = call(*given, **named)
    after(module, given, named, output)
    return output


def _tensors(given: Any) -> Iterator[Tensor]:
    if isinstance(given, Tensor):
        yield given
    elif isinstance(given, dict):
        yield from _tensors(list(given.values()))
    elif isinstance(given, list | tuple):
        for one in given:
            yield from _tensors(one)


def _operations(
    detr: nn.Module,
    modules: dict[str, nn.Module],
    loss: Callable[[], Tensor],
    context: Callable[[], AbstractContextManager[Any]],
) -> dict[str, int]:
    with FlopCounterMode(display=False) as counter, context():
        value = loss()
    forward, by_module = int(counter.get_total_flops()), counter.get_flop_counts()
    top = type(detr).__name__
    counted = {name: int(sum(by_module.get(f"{top}.{name}", {}).values())) for name in modules}
    with FlopCounterMode(display=False) as counter:
        value.backward()
    detr.zero_grad()
    return {**counted, "forward": forward, "backward": int(counter.get_total_flops())}
