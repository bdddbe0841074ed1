"""Inf and nan are caught where they enter, and named."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn

from equilog.names import UserError


class NotFiniteError(UserError):
    """Inf or nan in data, loss, gradient or parameter; the message names batch and parameter."""


def check_finite(x: Tensor, what: str) -> None:
    """Raise :class:`NotFiniteError` naming the first sample and position with inf or nan."""
    bad = (~torch.isfinite(x)).nonzero()
    if len(bad):
        sample, *position = bad[0].tolist()
        where = f", position {tuple(position)}" if position else ""
        raise NotFiniteError(
            f"{what}: sample {sample}{where} is {float(x[tuple(bad[0])])}; "
            f"{len(torch.unique(bad[:, 0]))} of {len(x)} samples hold inf or nan"
        )


def parameters_not_finite(model: nn.Module, of: Callable[[nn.Parameter], Tensor | None]) -> list[str]:
    """Return the names of parameters whose value or gradient (chosen by `of`) holds inf or nan."""
    found = []
    for name, parameter in model.named_parameters():
        tensor = of(parameter)
        if tensor is not None and not bool(torch.isfinite(tensor).all()):
            found.append(name)
    return found
