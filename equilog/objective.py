"""What a task asks of the model's outputs: a loss to descend, and a score that people read."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal, Protocol, Self

import torch
from torch import Tensor, nn

from equilog.names import Strict, unknown

SCORES = ("relative", "rms")


class Objective(Protocol):
    """A loss and a score. Instances are sent to other processes: keep them picklable."""

    score_name: str
    """what rows, tables and figures call the score; the beginning of keys, so a word in lower case"""
    higher_is_better: bool
    hits: bool
    """whether a sample scores 0 or 1: a mean score is then a fraction of the samples, with a binomial error"""
    score_unit: str | None
    """of the score; None for a fraction of one, which is shown in percent"""

    def loss(self, output: Tensor, y: Tensor) -> Tensor:
        """Return the mean loss over a batch, on the tape."""

    def score(self, output: Tensor, y: Tensor) -> Tensor:
        """Return the sum of the samples' scores."""

    def same_answer(self, output: Tensor, other: Tensor) -> int | None:
        """Return for how many samples two outputs are the same answer; None where answers are numbers."""


class Classification:
    """Cross-entropy with label smoothing; the score is the fraction of samples whose largest logit is right.

    Args:
        label_smoothing: share of the probability spread evenly over all classes.
    """

    score_name = "accuracy"
    higher_is_better = True
    hits = True
    score_unit: str | None = None

    def __init__(self, label_smoothing: float = 0.0) -> None:
        self.label_smoothing = label_smoothing

    def loss(self, output: Tensor, y: Tensor) -> Tensor:
        """Return the mean cross-entropy of logits ``(batch, classes)`` against class indices ``(batch,)``, in nats."""
        return nn.functional.cross_entropy(output, y, label_smoothing=self.label_smoothing)

    def score(self, output: Tensor, y: Tensor) -> Tensor:
        """Return how many of the batch are right."""
        return (output.argmax(1) == y).sum()

    def same_answer(self, output: Tensor, other: Tensor) -> int:
        """Return how many samples both outputs put into the same class."""
        return int((output.argmax(1) == other.argmax(1)).sum())


class Regression:
    """Mean squared error in units of `scale`; the score is an error a sample, lower is better.

    With ``e = ŷ − y`` over all d numbers of a sample, and means over samples:

    - loss: ``mean(‖e‖²/d) / scale``; about 1 for an answer of zero where `scale` is the targets' mean square.
    - score "relative": ``mean(‖e‖/‖y‖)``, a fraction.
    - score "rms": ``mean(‖e‖/√d)``, in the targets' unit: each sample's root mean square, then their mean.

    Args:
        scale: of the squared error, above 0, in the targets' unit squared; see :meth:`scaled_by`.
        score: one of these two.
        unit: of the targets and thus of "rms", an SI unit without prefix; "" for plain numbers.

    Raises:
        ValueError: for a scale that is not above 0, or a unit of a relative error.
        UserError: for an unknown score, naming the nearest.
    """

    score_name = "error"
    higher_is_better = False
    hits = False

    def __init__(self, scale: float = 1.0, *, score: Literal["relative", "rms"] = "relative", unit: str = "") -> None:
        if not 0 < scale < float("inf"):
            raise ValueError(f"scale = {scale}: expected a number above 0, as the targets' mean square")
        if score not in SCORES:
            raise unknown("score", score, SCORES)
        if score == "relative" and unit:
            raise ValueError(f"unit = {unit!r}: a relative error has none; leave it out, or take score='rms'")
        self.scale = float(scale)
        self.relative = score == "relative"
        self.score_unit: str | None = None if self.relative else unit

    @classmethod
    def scaled_by(cls, y: Tensor, *, score: Literal["relative", "rms"] = "relative", unit: str = "") -> Self:
        """Return the objective with the mean square of targets, as those trained on, as its scale."""
        return cls(float(y.double().square().mean()), score=score, unit=unit)

    def loss(self, output: Tensor, y: Tensor) -> Tensor:
        """Return the mean squared error over ``scale``; raises ``ValueError`` for outputs of another shape."""
        _check_shapes(output, y)
        return (output - y).square().mean() / self.scale

    def score(self, output: Tensor, y: Tensor) -> Tensor:
        """Return the sum of the samples' errors, float64.

        Raises:
            ValueError: for outputs of another shape, or a relative error of a target that is zero.
        """
        _check_shapes(output, y)
        y = y.double().flatten(1)
        distance = torch.linalg.vector_norm(output.double().flatten(1) - y, dim=1)
        if not self.relative:
            return (distance / y.shape[1] ** 0.5).sum()
        size = torch.linalg.vector_norm(y, dim=1)
        if not bool((size > 0).all()):
            raise ValueError(
                f"target {int((size > 0).logical_not().nonzero()[0])} of a batch is zero throughout: no error is a "
                "fraction of it; take score='rms'"
            )
        return (distance / size).sum()

    def same_answer(self, output: Tensor, other: Tensor) -> None:
        """Return None: no two answers are ever the same."""


def _check_shapes(output: Tensor, y: Tensor) -> None:
    # Broadcasting (batch, 1) against (batch,) would compare every sample with every other.
    if output.shape != y.shape or output.ndim < 2:
        raise ValueError(
            f"outputs of shape {tuple(output.shape)} and targets of shape {tuple(y.shape)}: expected as many, each "
            "(batch, numbers, …)"
        )


def objective_for(y: Tensor) -> Objective:
    """Return what class indices stand for by themselves; raises ``ValueError`` for targets that are no integers."""
    if y.is_floating_point() or y.is_complex():
        raise ValueError(
            f"targets of {y.dtype} say nothing of how they are scored: pass an objective, as Regression(); class "
            "indices are integers"
        )
    return Classification()


class Scored(Strict):
    """What a report says of its scores, so that whoever reads it knows their name and which is better."""

    score_name: str = "accuracy"
    higher_is_better: bool = True
    hits: bool = True
    """whether scores are fractions of right samples"""
    score_unit: str | None = None
    """None for a fraction of one"""

    @staticmethod
    def fields_of(objective: Objective) -> dict[str, Any]:
        """Return these fields for an objective's scores."""
        return {name: getattr(objective, name) for name in Scored.model_fields}

    def rank(self, score: float) -> float:
        """Return a number that is higher for a better score."""
        return score if self.higher_is_better else -score

    def best_of(self, scores: Sequence[float]) -> float:
        """Return the best of some."""
        return max(scores, key=self.rank)

    def worst_of(self, scores: Sequence[float]) -> float:
        """Return the worst of some."""
        return min(scores, key=self.rank)

    def number(self, score: float | None) -> str:
        """Return a score as plain text, as in terminals: hits to four decimals, anything else to four digits."""
        if score is None:
            return ""
        return f"{score:.4f}" if self.hits else f"{score:.4g} {self.score_unit or ''}".rstrip()
