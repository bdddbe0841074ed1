"""The ranges of converters, from what layers meet on sample data."""

from __future__ import annotations

import math
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import nn

from equilog.conversion.layers import OnChip, Reach
from equilog.conversion.sites import called
from equilog.names import UserError


class ConversionWarning(UserWarning):
    """A conversion that is not all that was asked for; the message names the layer."""


@torch.no_grad()
def calibrate(model: nn.Module, *sample: Any, headroom: float = 1.0) -> None:
    """Set every converted layer's input and output range to the largest number it meets when the model runs.

    The ideal function of the model does not change. It runs once, ideal, in evaluation mode.

    Args:
        model: a converted network.
        sample: what to call it with.
        headroom: factor on the largest numbers met; above 1 trades resolution for less clipping of data not seen.

    Warns:
        ConversionWarning: naming the layers that the sample did not reach; their ranges stay.

    Raises:
        UserError: for a headroom not above 0, a model without converted layers, or if a layer meets inf or nan.
    """
    if not 0 < headroom < math.inf:
        raise UserError(f"headroom = {headroom}: expected a number above 0")
    layers = {name: module for name, module in model.named_modules() if isinstance(module, OnChip)}
    if not layers:
        raise UserError("the model has no layer on analog hardware: make one with equilog.convert(model)")
    met = {name: Reach() for name in layers}
    try:
        for name, layer in layers.items():
            layer.reach = met[name]
        with evaluating(model):
            model(*sample)
    finally:
        for layer in layers.values():
            layer.reach = None
    if broken := [n for n, reach in met.items() if not math.isfinite(reach.input) or not math.isfinite(reach.product)]:
        raise UserError(f"{called(broken[0])} meets inf or nan on the sample: no range can be chosen")
    if idle := [name for name, reach in met.items() if not reach.input]:
        warnings.warn(
            f"the sample brings no input to {', '.join(map(called, idle))}: the range stays as it was",
            ConversionWarning,
            stacklevel=2,
        )
    for name, layer in layers.items():
        layer.rescale(met[name], headroom)


@contextmanager
def evaluating(model: nn.Module) -> Iterator[None]:
    """Run the model in evaluation mode, and put every module back into its own afterwards."""
    before = {module: module.training for module in model.modules()}
    model.eval()
    try:
        yield
    finally:
        for module, training in before.items():
            module.training = training
