"""A class for every pixel as an objective: weighted cross-entropy, and intersection over union."""

from __future__ import annotations

from typing import Self

import torch
from torch import Tensor, nn

from equilog.tasks.vision.voc import VOID

HEAVIEST = 8.0
"""times as much as the most frequent class, of a pixel in the loss: one that is hardly there teaches little"""


class Segmentation:
    """Cross-entropy a pixel; the score is each picture's mean intersection over union. Void pixels count in neither.

    A picture's mean is over the classes in its mask or in the answer. One that is void throughout scores 0.

    Args:
        classes: number of classes.
        weights: of classes in the loss, ``(classes,)``; all alike unless given.
    """

    score_name = "iou"
    higher_is_better = True
    hits = False
    score_unit: str | None = None

    def __init__(self, classes: int, weights: Tensor | None = None) -> None:
        self.classes = classes
        self.weights = weights

    @classmethod
    def balanced(cls, y: Tensor, classes: int) -> Self:
        """Return the objective with weights ∝ 1/√(share of pixels), from 1 to at most :data:`HEAVIEST`.

        Classes that do not occur weigh 0.
        """
        count = torch.bincount(y[y != VOID].flatten(), minlength=classes).double()
        weights = (count.max().clamp(min=1) / count.clamp(min=1)).sqrt().clamp(max=HEAVIEST)
        return cls(classes, torch.where(count > 0, weights, 0.0).float())

    def loss(self, output: Tensor, y: Tensor) -> Tensor:
        """Return the weighted mean cross-entropy of ``(batch, classes, h, w)`` against ``(batch, h, w)``, in nats."""
        weights = None if self.weights is None else self.weights.to(output)
        total = nn.functional.cross_entropy(output, y, weight=weights, ignore_index=VOID, reduction="sum")
        seen = y[y != VOID]
        size = seen.numel() if weights is None else weights[seen].sum()
        return total / max(float(size), 1e-12)  # a batch that is void throughout has a loss of 0

    def score(self, output: Tensor, y: Tensor) -> Tensor:
        """Return the sum of the pictures' mean intersections over union, float64."""
        each = [_mean_iou(confusion(o[None], t[None], self.classes)) for o, t in zip(output, y)]
        return torch.stack(each).sum() if each else torch.zeros((), dtype=torch.float64)

    def same_answer(self, output: Tensor, other: Tensor) -> None:
        """Return None: thousands of pixels are rarely all the same."""


def confusion(output: Tensor, y: Tensor, classes: int) -> Tensor:
    """Return how many pixels of each true class, by rows, got each answer, by columns: ``(classes, classes)``."""
    seen = y != VOID
    pairs = y[seen] * classes + output.argmax(1)[seen]
    return torch.bincount(pairs, minlength=classes**2).view(classes, classes)


def class_iou(counts: Tensor) -> Tensor:
    """Return ``TP/(TP + FP + FN)`` of each class, float64; nan for one in neither masks nor answers."""
    hit = counts.diagonal().double()
    return hit / (counts.sum(0) + counts.sum(1) - counts.diagonal()).double()


def _mean_iou(counts: Tensor) -> Tensor:
    return class_iou(counts).nanmean().nan_to_num(0.0)
