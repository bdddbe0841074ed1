"""What a task asks of the model's outputs: a loss to descend, and a score that people read."""

from __future__ import annotations

from typing import Protocol

from torch import Tensor, nn


class Objective(Protocol):
    """A loss and a score. Instances are sent to other processes: keep them picklable."""

    score_name: str
    """what rows and tables call the score"""

    def loss(self, output: Tensor, y: Tensor) -> Tensor:
        """Return the mean loss over a batch, on the tape."""

    def score(self, output: Tensor, y: Tensor) -> Tensor:
        """Return the sum of the samples' scores."""


class Classification:
    """Cross-entropy with label smoothing; the score is the fraction of samples whose largest logit is right.

    Args:
        label_smoothing: share of the probability spread evenly over all classes.
    """

    score_name = "accuracy"

    def __init__(self, label_smoothing: float = 0.0) -> None:
        self.label_smoothing = label_smoothing

    def loss(self, output: Tensor, y: Tensor) -> Tensor:
        """Return the mean cross-entropy of logits ``(batch, classes)`` against class indices ``(batch,)``, in nats."""
        return nn.functional.cross_entropy(output, y, label_smoothing=self.label_smoothing)

    def score(self, output: Tensor, y: Tensor) -> Tensor:
        """Return how many of the batch are right."""
        return (output.argmax(1) == y).sum()
