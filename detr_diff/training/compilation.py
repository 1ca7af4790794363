"""torch.compile for what has the same shapes in every step."""

from typing import Any

import torch

from detr_diff.errors import SettingError, nearest

# So many shapes and states (training or not, frozen or not); what comes after them is not compiled.
SHAPES = 64


def require_backend(backend: str) -> None:
    """Refuse a compiler that is not there.

    Raises:
        SettingError: torch.compile has no such backend.
    """
    known = torch.compiler.list_backends(exclude_tags=())
    if backend not in known:
        raise SettingError(f"compile={backend}: unknown, {nearest(backend, known)}")


def compile_model(detr: Any, backend: str) -> None:
    """Compile backbone and encoder, and the decoder where no denoising queries enter it.

    With those, and in the loss, shapes change with the number of objects. Each shape is compiled by
    itself. Code for any shape is written when a second one comes, so a resumed run would compute
    with other code than the unbroken one.

    Raises:
        SettingError: torch.compile has no such backend.
    """
    require_backend(backend)
    torch._dynamo.config.recompile_limit = SHAPES
    inner: Any = detr.model
    parts = [inner.backbone, inner.encoder]
    if not getattr(inner.config, "num_denoising", 0):
        parts.append(inner.decoder)
    for part in parts:
        part.compile(backend=backend, dynamic=False)
