"""Equal parameter counts: the width at which a network has as many as another."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

import torch
from torch import nn

Network = TypeVar("Network", bound=nn.Module)
WIDEST = 1 << 16


def parameter_count(model: nn.Module) -> int:
    """Return how many numbers are trained."""
    return sum(p.numel() for p in model.parameters() if p.requires_grad)


def matched(make: Callable[[int], Network], parameters: int) -> Network:
    """Return the network, of all widths from 1 on, whose number of parameters is nearest to `parameters`.

    Only the one that is returned draws from torch's global generator.

    Args:
        make: ``width -> network``; more parameters at every wider one.
        parameters: to come near to.

    Raises:
        ValueError: if `parameters` is below 1, or no width up to 65536 has so many.
    """
    if parameters < 1:
        raise ValueError(f"parameters = {parameters}: expected 1 or more")

    def count(width: int) -> int:
        return count_of(lambda: make(width))

    low, high = 1, 2
    while count(high) < parameters:
        low, high = high, 2 * high
        if high > WIDEST:
            raise ValueError(f"no width up to {WIDEST} has {parameters} parameters")
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if count(middle) >= parameters else (middle, high)
    return make(min((low, high), key=lambda width: abs(count(width) - parameters)))


def count_of(make: Callable[[], nn.Module]) -> int:
    """Return how many parameters a network would have; nothing is drawn and nothing allocated."""
    with torch.device("meta"):
        return parameter_count(make())
