"""A small Transformer for a handful of numbers: every input a token (Gorishniy et al., NeurIPS 2021)."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from equilog.baselines.scaled import Scale, Scaled


class NumberTransformer(Scaled):
    """Each number times a learnt vector plus another is a token; encoder layers; a head on the token that reads.

    Args:
        inputs, outputs: shapes of one sample.
        width: of tokens is four times this, with as many heads as keeps a head at 8 or more.
        depth: encoder layers.
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
        wide = 4 * width
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

    def answer(self, numbers: Tensor) -> Tensor:
        """Return what the reading token becomes, through the head."""
        tokens = nn.functional.pad(numbers[..., None] * self.embed, (0, 0, 1, 0)) + self.place
        y: Tensor = self.head(self.encoder(tokens)[:, 0])
        return y
