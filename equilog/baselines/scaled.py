"""What networks for numbers share: inputs and outputs of any shapes, in units of their own size."""

from __future__ import annotations

import torch
from torch import Tensor, nn

Scale = Tensor | float
"""a number, or one for each of a sample's"""


class Scaled(nn.Module):
    """``y = s_y g(x / s_x)``, x and y flattened; a subclass says g.

    Args:
        outputs: shape of one sample's.
        input_scale: s_x, of inputs.
        output_scale: s_y, of outputs.
    """

    input_scale: Tensor
    output_scale: Tensor

    def __init__(self, outputs: tuple[int, ...], input_scale: Scale, output_scale: Scale) -> None:
        super().__init__()
        self.outputs = outputs
        self.register_buffer("input_scale", torch.as_tensor(input_scale, dtype=torch.get_default_dtype()))
        self.register_buffer("output_scale", torch.as_tensor(output_scale, dtype=torch.get_default_dtype()))

    def answer(self, numbers: Tensor) -> Tensor:
        """Return g of shape ``(batch, numbers of outputs)`` for scaled inputs ``(batch, numbers of inputs)``."""
        raise NotImplementedError  # a subclass says

    def forward(self, x: Tensor) -> Tensor:
        """Return shape ``(batch, *outputs)``."""
        y = self.answer(x.flatten(1) / self.input_scale) * self.output_scale
        return y.unflatten(1, self.outputs)
