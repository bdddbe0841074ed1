"""What the next token is, as an objective: cross-entropy at every position of a window, scored in bits."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

CONTEXT = -100
"""target of a position that is only read: what comes next there is neither learnt nor scored"""


class NextToken:
    """Cross-entropy of the next token; the score is each window's mean in bits a token, ``−log₂ P(token)``.

    Args:
        label_smoothing: share of the probability spread evenly over the vocabulary, in the loss alone.
    """

    score_name = "bits"
    higher_is_better = False
    hits = False
    score_unit: str | None = ""

    def __init__(self, label_smoothing: float = 0.0) -> None:
        self.label_smoothing = label_smoothing

    def loss(self, output: Tensor, y: Tensor) -> Tensor:
        """Return the mean cross-entropy in nats, over all positions of a batch that are no context.

        Args:
            output: logits, shape ``(batch, positions, vocabulary)``.
            y: the tokens that come next, int64, shape ``(batch, positions)``; :data:`CONTEXT` where not asked for.

        Raises:
            ValueError: for other shapes.
        """
        _check_shapes(output, y)
        logits, targets = output.flatten(0, 1), y.flatten()
        total = nn.functional.cross_entropy(
            logits, targets, ignore_index=CONTEXT, reduction="sum", label_smoothing=self.label_smoothing
        )
        return total / (targets != CONTEXT).sum().clamp(min=1)  # nothing but context has a loss of 0

    def score(self, output: Tensor, y: Tensor) -> Tensor:
        """Return the sum over windows of their mean bits a token, float64; arguments as :meth:`loss`."""
        bits, asked = token_bits(output, y), y != CONTEXT
        return (bits.sum(1) / asked.sum(1).clamp(min=1)).sum()

    def same_answer(self, output: Tensor, other: Tensor) -> None:
        """Return None: an answer is a probability for every token of the vocabulary."""


def token_bits(output: Tensor, y: Tensor) -> Tensor:
    """Return ``−log₂ P`` of every token, float64, shape ``(batch, positions)``; 0 for context.

    Raises:
        ValueError: unless logits are ``(batch, positions, vocabulary)`` and targets ``(batch, positions)``.
    """
    _check_shapes(output, y)
    found = nn.functional.cross_entropy(output.flatten(0, 1), y.flatten(), ignore_index=CONTEXT, reduction="none")
    return found.view(y.shape).double() / math.log(2)


def perplexity(bits: float) -> float:
    """Return ``2^bits``: among how many equally likely tokens one would be as uncertain."""
    return float(torch.tensor(bits, dtype=torch.float64).exp2())


def _check_shapes(output: Tensor, y: Tensor) -> None:
    if output.ndim != 3 or output.shape[:2] != y.shape:
        raise ValueError(
            f"outputs of shape {tuple(output.shape)} and targets of shape {tuple(y.shape)}: expected logits "
            "(batch, positions, vocabulary) and tokens (batch, positions)"
        )
