"""Plain networks for numbers: a multilayer perceptron, and one that learns what is added to its input."""

from __future__ import annotations

import math
from itertools import pairwise

import torch
from torch import Tensor, nn


class Mlp(nn.Module):
    """``x → y`` of any shapes through hidden layers of one width, GELU between them.

    Args:
        inputs, outputs: shapes of one sample.
        width: of hidden layers.
        depth: how many there are.
        input_scale: what inputs are divided by, a number or ``(inputs,)``; 1 unless given.
        output_scale: what outputs are multiplied by likewise.
    """

    input_scale: Tensor
    output_scale: Tensor

    def __init__(
        self,
        inputs: tuple[int, ...],
        outputs: tuple[int, ...],
        width: int,
        *,
        depth: int = 2,
        input_scale: Tensor | float = 1.0,
        output_scale: Tensor | float = 1.0,
    ) -> None:
        super().__init__()
        self.outputs = outputs
        sizes = [math.prod(inputs), *[width] * depth, math.prod(outputs)]
        layers: list[nn.Module] = []
        for a, b in pairwise(sizes):
            layers += [nn.Linear(a, b), nn.GELU()]
        self.layers = nn.Sequential(*layers[:-1])
        self.register_buffer("input_scale", torch.as_tensor(input_scale, dtype=torch.get_default_dtype()))
        self.register_buffer("output_scale", torch.as_tensor(output_scale, dtype=torch.get_default_dtype()))

    def forward(self, x: Tensor) -> Tensor:
        """Return shape ``(batch, *outputs)``."""
        y: Tensor = self.layers(x.flatten(1) / self.input_scale) * self.output_scale
        return y.unflatten(1, self.outputs)


class Residual(nn.Module):
    """``y = x + g(x)``: what a stepper of a small step should be, for targets shaped like inputs.

    Args:
        g: any module from inputs to what is added.
    """

    def __init__(self, g: nn.Module) -> None:
        super().__init__()
        self.g = g

    def forward(self, x: Tensor) -> Tensor:
        """Return shape of x."""
        y: Tensor = self.g(x)
        return x + y
