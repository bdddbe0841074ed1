"""Networks for sequences of tokens that never look ahead, and the equilibrium in the place of a block's last layer.

A Transformer block mixes positions by attention and then changes each position by a feed-forward network. Here the
first part is digital, and each position settles on the chip in the place of the second: with the same weights at every
position, as a feed-forward network has them.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from equilog.cells import CircuitCell
from equilog.model import HybridDEQ


class CausalConvolution(nn.Module):
    """``x + a ⊙ σ(b)``, (a, b) a convolution of normalised x over a few positions back (Dauphin et al., ICML 2017).

    Args:
        width: numbers a position.
        reach: positions that it sees, its own included.
    """

    def __init__(self, width: int, reach: int) -> None:
        super().__init__()
        self.reach = reach
        self.norm = nn.LayerNorm(width)
        self.mix = nn.Linear(reach * width, 2 * width)

    def forward(self, x: Tensor) -> Tensor:
        """Return shape of x, ``(batch, positions, width)``."""
        before = nn.functional.pad(self.norm(x), (0, 0, self.reach - 1, 0))
        seen = before.unfold(1, self.reach, 1).flatten(2)  # (batch, positions, width · reach)
        return x + nn.functional.glu(self.mix(seen), -1)


class CausalAttention(nn.Module):
    """``x + attention(x)``, every position over itself and those before it (Vaswani et al., NeurIPS 2017).

    Args:
        width: numbers a position, a multiple of `heads`.
        heads: number of heads.

    Raises:
        ValueError: if the width does not divide by the heads.
    """

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        if width % heads:
            raise ValueError(f"width = {width}: expected a multiple of {heads} heads")
        self.heads = heads
        self.norm = nn.LayerNorm(width)
        self.project = nn.Linear(width, 3 * width)
        self.out = nn.Linear(width, width)

    def forward(self, x: Tensor) -> Tensor:
        """Return shape of x, ``(batch, positions, width)``."""
        shape = (*x.shape[:2], 3, self.heads, -1)
        q, k, v = self.project(self.norm(x)).view(shape).permute(2, 0, 3, 1, 4)
        # In full: PyTorch's counter of operations does not see a fused attention on the CPU.
        ahead = torch.ones(x.shape[1], x.shape[1], dtype=torch.bool, device=x.device).triu(1)
        scores = (q @ k.transpose(-1, -2) / q.shape[-1] ** 0.5).masked_fill(ahead, -math.inf)
        seen = scores.softmax(-1) @ v
        y: Tensor = x + self.out(seen.transpose(1, 2).flatten(2))
        return y


class Tokens(nn.Module):
    """A learnt vector for every token, and one for every position.

    Args:
        vocabulary: number of tokens.
        positions: of a window, at most.
        width: of the vectors.
    """

    def __init__(self, vocabulary: int, positions: int, width: int) -> None:
        super().__init__()
        self.token = nn.Embedding(vocabulary, width)
        self.place = nn.Parameter(torch.zeros(positions, width))
        nn.init.normal_(self.token.weight, std=width**-0.5)

    def forward(self, x: Tensor) -> Tensor:
        """Return ``(batch, positions, width)`` for ids ``(batch, positions)``, integers or floats that are integers."""
        y: Tensor = self.token(x.long()) + self.place[: x.shape[1]]
        return y


def causal_front(
    vocabulary: int, positions: int, drives: int, *, width: int, heads: int, reach: int, blocks: int = 1
) -> nn.Sequential:
    """Return the digital part: from ids ``(batch, positions)`` to drives within ±1, ``(batch · positions, drives)``.

    Args:
        vocabulary, positions: see :class:`Tokens`.
        drives: of the equilibrium.
        width: numbers a position.
        heads, reach: see :class:`CausalAttention` and :class:`CausalConvolution`.
        blocks: of one convolution and one attention each.
    """
    layers: list[nn.Module] = [Tokens(vocabulary, positions, width)]
    for _ in range(blocks):
        layers += [CausalConvolution(width, reach), CausalAttention(width, heads)]
    last = [nn.LayerNorm(width), nn.Linear(width, drives), nn.Tanh(), nn.Flatten(0, 1)]
    return nn.Sequential(*layers, *last)


def language_model(front: nn.Sequential, cell: CircuitCell, vocabulary: int, positions: int) -> HybridDEQ:
    """Return an implicit Transformer: a digital front, an equilibrium for every position, logits of the next token.

    Args:
        front: as :func:`causal_front` makes it.
        cell: what settles, once a position.
        vocabulary: number of logits.
        positions: of a window: rows a sample. Outputs are ``(batch, positions, vocabulary)``.
    """
    readout = nn.Sequential(nn.Linear(cell.states, vocabulary), nn.Unflatten(-2, (-1, positions)))
    return HybridDEQ(front, cell, readout, rows=positions)
