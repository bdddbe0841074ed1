"""Which chip a converted network computes on: none, one, or another at every call."""

from __future__ import annotations

import zlib
from typing import Any, Literal, TypeVar

import numpy as np
import torch
from torch import nn

from equilog.conversion.layers import OnChip
from equilog.conversion.sites import called
from equilog.hardware import Chip, Conditions
from equilog.names import UserError

M = TypeVar("M", bound=nn.Module)
_HANDLE = "_equilog_fresh_chip"


def set_chip(model: M, chip: int | Chip | Literal["fresh"] | None, conditions: Conditions | None = None) -> M:
    """Put all converted layers of a network on a chip, until the next call; returns the network.

    Every layer gets a part of the chip of its own: its seed follows from the chip's and from the layer's name in
    `model`, and so is the same in every process.

    Args:
        model: the network, or a part of it.
        chip: a seed, or a chip of the technology that the layers were converted for; None for the ideal mathematics;
            "fresh" for another chip at every call of `model`, in training and in evaluation alike, drawn from PyTorch's
            global generator.
        conditions: when, how warm and with which noise the chip is read; just programmed and noiseless unless given.

    Raises:
        UserError: if no layer is converted, the chip is of another technology, or the seed is negative.
    """
    layers = _layers(model)
    if not layers:
        raise UserError("the model has no layer on analog hardware: make one with equilog.convert(model)")
    if isinstance(chip, str) and chip != "fresh":
        raise UserError(f"chip = {chip!r}: expected a seed, a Chip, 'fresh' or None")
    if isinstance(chip, Chip):
        for name, layer in layers.items():
            if layer.spec != chip.spec:
                raise UserError(
                    f"the chip is of technology {chip.spec.name!r}, but {called(name)} was converted for another, "
                    f"{layer.spec.name!r}; convert with hardware=chip.spec"
                )
    for module in model.modules():
        if handle := module.__dict__.pop(_HANDLE, None):
            handle.remove()
    if chip == "fresh":
        model.__dict__[_HANDLE] = model.register_forward_pre_hook(_Fresh(conditions))
        # Until the first call, which replaces it, a layer called on its own is on some chip and not ideal.
        chip = 0
    _put(layers, chip.seed if isinstance(chip, Chip) else chip, conditions)
    return model


class _Fresh:
    """The hook that brings another chip at every call; an object, because a model is copied and pickled with it."""

    def __init__(self, conditions: Conditions | None) -> None:
        self.conditions = conditions

    def __call__(self, module: nn.Module, args: Any) -> None:
        _put(_layers(module), int(torch.randint(2**62, ())), self.conditions)


def _layers(model: nn.Module) -> dict[str, OnChip]:
    return {name: module for name, module in model.named_modules() if isinstance(module, OnChip)}


def _put(layers: dict[str, OnChip], seed: int | None, conditions: Conditions | None) -> None:
    if seed is not None and seed < 0:
        raise UserError(f"chip = {seed}: expected a seed of 0 or more")
    for name, layer in layers.items():
        layer.chip = None if seed is None else Chip(layer.spec, part_seed(seed, name))
        layer.conditions = conditions


def part_seed(seed: int, name: str) -> int:
    """Return the seed of the part of chip `seed` that the layer called `name` is on."""
    sequence = np.random.SeedSequence([seed, zlib.crc32(name.encode())])
    return int(sequence.generate_state(1, np.uint64)[0] >> 1)
