"""Convolutions in the place of an equilibrium on a grid: the same encoder and head, and as many parameters."""

from __future__ import annotations

import copy

from torch import nn

from equilog.baselines.matching import matched
from equilog.model import HybridDEQ


def grid_convolution(model: HybridDEQ, parameters: int) -> nn.Sequential:
    """Return a network of about as many parameters as a model on a grid, which does not settle.

    The model's parameterization and readout, as they are, and between them two 3×3 convolutions over the grid's
    channels, ReLU and tanh, whose hidden channels are as many as the number of parameters asks for.

    Args:
        model: its readout begins with ``nn.Unflatten(1, (channels, height, width))``.
        parameters: of the network.

    Raises:
        ValueError: for a readout that begins otherwise.
    """
    first = model.readout[0] if isinstance(model.readout, nn.Sequential) else None
    if not isinstance(first, nn.Unflatten) or len(first.unflattened_size) != 3:
        raise ValueError(f"readout begins with {first!r}: expected nn.Unflatten(1, (channels, height, width))")
    shape = tuple(int(k) for k in first.unflattened_size)
    channels = shape[0]
    ends = copy.deepcopy(model.parameterize), copy.deepcopy(model.readout)

    def make(width: int) -> nn.Sequential:
        return nn.Sequential(
            ends[0],
            nn.Unflatten(1, shape),
            nn.Conv2d(channels, width, 3, padding=1),
            nn.ReLU(),
            nn.Conv2d(width, channels, 3, padding=1),
            nn.Tanh(),
            nn.Flatten(),
            ends[1],
        )

    return matched(make, parameters)
