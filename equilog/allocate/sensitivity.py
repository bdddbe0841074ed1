"""How much accuracy each layer costs, measured: it alone on chips of the twin, everything else ideal.

The programme adds these losses up, those below zero as zero. That assumes that errors of different layers neither
cancel nor make each other worse; running the whole split on other chips and other data shows how far that held.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from equilog.conversion import set_chip
from equilog.hardware import Conditions
from equilog.names import UserError

Score = Callable[[Tensor, Tensor], Tensor]
"""outputs and labels to a score of every sample; higher is better, and 1 the best"""
AT_ONCE = 1000


def right_class(output: Tensor, labels: Tensor) -> Tensor:
    """Return 1 where the largest output is the label's, shape ``(batch,)``.

    Raises:
        UserError: unless outputs are ``(batch, classes)`` and labels ``(batch,)``.
    """
    if output.ndim != 2 or labels.ndim != 1:
        raise UserError(
            f"outputs of shape {tuple(output.shape)} and labels of shape {tuple(labels.shape)}: accuracy needs "
            "(batch, classes) and (batch,); give a score(output, labels) of your own for anything else"
        )
    return (output.argmax(1) == labels).double()


@dataclass(frozen=True)
class OnChips:
    """A network's score on several chips.

    Attributes:
        each: mean over samples, chip by chip.
    """

    each: tuple[float, ...]

    @property
    def mean(self) -> float:
        """Mean over chips."""
        return sum(self.each) / len(self.each)

    @property
    def worst(self) -> float:
        """The worst chip's."""
        return min(self.each)

    @property
    def standard_error(self) -> float:
        """Of the mean over chips; 0 for one chip."""
        if len(self.each) < 2:
            return 0.0
        spread = sum((a - self.mean) ** 2 for a in self.each) / (len(self.each) - 1)
        return math.sqrt(spread / len(self.each))


@torch.no_grad()
def score(model: nn.Module, x: tuple[Any, ...], labels: Tensor, by: Score = right_class) -> float:
    """Return the mean score of a model.

    Raises:
        UserError: if the score is not one finite number for every sample.
    """
    total = 0.0
    for start in range(0, len(labels), AT_ONCE):
        part = slice(start, start + AT_ONCE)
        each = by(model(*(t[part] for t in x)), labels[part])
        if each.shape != labels[part].shape[:1] or not bool(each.isfinite().all()):
            raise UserError(f"the score has shape {tuple(each.shape)}: expected one finite number for every sample")
        total += float(each.sum())
    return total / len(labels)


def score_on(
    model: nn.Module,
    seeds: Sequence[int],
    x: tuple[Any, ...],
    labels: Tensor,
    by: Score = right_class,
    conditions: Conditions | None = None,
) -> OnChips:
    """Return the score of a converted model on chips; it is ideal again afterwards."""
    each = tuple(score(set_chip(model, seed, conditions), x, labels, by) for seed in seeds)
    set_chip(model, None)
    return OnChips(each)


@torch.no_grad()
def answers(model: nn.Module, x: tuple[Any, ...]) -> Tensor:
    """Return the classes that a model chooses itself: labels where none are given.

    Raises:
        UserError: if it cannot be called with the inputs, or its outputs are not ``(batch, classes)``.
    """
    try:
        output = model(*x)
    except Exception as error:  # of a user's own code
        raise UserError(
            f"{type(model).__name__} cannot be called with inputs of shape {[tuple(t.shape) for t in x]}: "
            f"{type(error).__name__}: {error}"
        ) from None
    if not isinstance(output, Tensor) or output.ndim != 2 or output.shape[1] < 2:
        what = tuple(output.shape) if isinstance(output, Tensor) else type(output).__name__
        raise UserError(
            f"without labels the loss is in classes that change, but the model returns {what}, not (batch, classes): "
            "give labels, and a score(output, labels) if they are not classes"
        )
    return output.argmax(1)
