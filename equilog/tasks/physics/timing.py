"""How long a trusted solver takes: one sample after the other, as it would be asked."""

from __future__ import annotations

import time
from collections.abc import Callable

import torch
from torch import Tensor


def one_by_one(solve: Callable[[Tensor], Tensor], x: Tensor) -> tuple[Tensor, float]:
    """Return answers ``(samples, …)`` and the mean seconds for one.

    Args:
        solve: one input, without a batch, to one answer.
        x: inputs, ``(samples, …)``, at least one.
    """
    begin = time.perf_counter()
    y = torch.stack([solve(sample) for sample in x])
    return y, (time.perf_counter() - begin) / len(x)
