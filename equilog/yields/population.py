"""Chips that were programmed one by one, as the population that they are."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import fields, replace

import torch
from torch import Tensor

from equilog.hardware import ProgrammedLayer
from equilog.hardware.programming import SHARED


def population(layers: Sequence[ProgrammedLayer]) -> ProgrammedLayer:
    """Return chips that hold the same weights as one layer whose tensors have a leading dimension ``chips``.

    Programmed together they would draw read noise in an order that depends on who is in the population.
    """
    one = layers[0]
    each = {
        field.name: torch.stack([getattr(layer, field.name) for layer in layers])
        for field in fields(one)
        if field.name not in SHARED and isinstance(getattr(one, field.name), Tensor)
    }
    seeds = tuple(layer.seed for layer in layers)
    return replace(one, **each, seed=seeds, conditions=replace(one.conditions, reads=None))  # type: ignore[arg-type]
