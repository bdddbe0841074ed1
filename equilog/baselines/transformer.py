"""A small Transformer for a handful of numbers: every input a token (Gorishniy et al., NeurIPS 2021)."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn


class NumberTransformer(nn.Module):
    """Each number times a learnt vector plus another is a token; encoder layers; a head on the token that reads.

    Args:
        inputs, outputs: shapes of one sample.
        width: of tokens is four times this, with as many heads as keeps a head at 8 or more.
        depth: encoder layers.
        input_scale: what inputs are divided by, a number or ``(inputs,)``.
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
        self.outputs, wide = outputs, 4 * width
        self.embed = nn.Parameter(torch.randn(math.prod(inputs), wide) / wide**0.5)
        self.place = nn.Parameter(torch.randn(math.prod(inputs) + 1, wide) / wide**0.5)
        layer = nn.TransformerEncoderLayer(
            wide,
            4 if wide % 32 == 0 else 1,
            2 * wide,
            dropout=0.0,
            activation="gelu",
            batch_first=True,
            norm_first=True,
        )
        self.encoder = nn.TransformerEncoder(layer, depth, enable_nested_tensor=False)
        self.head = nn.Linear(wide, math.prod(outputs))
        self.register_buffer("input_scale", torch.as_tensor(input_scale, dtype=torch.get_default_dtype()))
        self.register_buffer("output_scale", torch.as_tensor(output_scale, dtype=torch.get_default_dtype()))

    def forward(self, x: Tensor) -> Tensor:
        """Return shape ``(batch, *outputs)``."""
        numbers = x.flatten(1) / self.input_scale
        tokens = nn.functional.pad(numbers[..., None] * self.embed, (0, 0, 1, 0)) + self.place
        y: Tensor = self.head(self.encoder(tokens)[:, 0]) * self.output_scale
        return y.unflatten(1, self.outputs)
