"""Equilibria are found in the precision of their own tensors, whatever the surroundings are cast to."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch


def without_autocast(device: str) -> AbstractContextManager[Any]:
    """Return a context in which nothing is cast, on a device of this type ("cpu", "cuda")."""
    # Entering the context costs as much as two evaluations of a small cell: only where it is on.
    return torch.autocast(device, enabled=False) if torch.is_autocast_enabled(device) else nullcontext()
