"""Plain networks for numbers: a multilayer perceptron, and one that learns what is added to its input."""

from __future__ import annotations

import math
from itertools import pairwise

from torch import Tensor, nn

from equilog.baselines.scaled import Scale, Scaled


class Mlp(Scaled):
    """``x → y`` of any shapes through hidden layers of one width, GELU between them.

    Args:
        inputs, outputs: shapes of one sample.
        width: of hidden layers.
        depth: how many there are.
        input_scale, output_scale: see :class:`~equilog.baselines.scaled.Scaled`.
    """

    def __init__(
        self,
        inputs: tuple[int, ...],
        outputs: tuple[int, ...],
        width: int,
        *,
        depth: int = 2,
        input_scale: Scale = 1.0,
        output_scale: Scale = 1.0,
    ) -> None:
        super().__init__(outputs, input_scale, output_scale)
        sizes = [math.prod(inputs), *[width] * depth, math.prod(outputs)]
        layers: list[nn.Module] = []
        for a, b in pairwise(sizes):
            layers += [nn.Linear(a, b), nn.GELU()]
        self.layers = nn.Sequential(*layers[:-1])

    def answer(self, numbers: Tensor) -> Tensor:
        """Return what the layers make of them."""
        y: Tensor = self.layers(numbers)
        return y


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
