"""Boxes as an objective, and COCO's mean average precision through its own evaluation (pycocotools)."""

from __future__ import annotations

import contextlib
import importlib
import io

import numpy as np
import torch
from torch import Tensor

from equilog.tasks.vision import detector
from equilog.tasks.vision.boxes import Annotated
from equilog.tasks.vision.detector import Found

SURE = 0.3
"""score from which on an answer counts for F1"""
LEFT = 0.5
"""of an object within a picture, from which on it is to be found"""


class Detection:
    """Focal loss and generalised intersection over union; the score is each picture's F1 at half overlap.

    ``F1 = 2 TP/(2 TP + FP + FN)`` over all classes of a picture, of answers with a score of 0.3 or more; 1 where there
    is nothing and nothing is answered.

    Args:
        stride: pixels between locations of the outputs.
    """

    score_name = "f1"
    higher_is_better = True
    hits = False
    score_unit: str | None = None

    def __init__(self, stride: float) -> None:
        self.stride = stride

    def loss(self, output: Tensor, y: Tensor) -> Tensor:
        """Return the loss of :func:`equilog.tasks.vision.detector.loss`."""
        return detector.loss(output, y.to(output), self.stride)

    def score(self, output: Tensor, y: Tensor) -> Tensor:
        """Return the sum of the pictures' F1, float64."""
        total = 0.0
        for answer, truth in zip(detector.found(output, self.stride, least=SURE), y):
            hits, wrong, missed = detector.matches(answer, truth, sure=SURE)
            total += 2 * hits / (2 * hits + wrong + missed) if hits + wrong + missed else 1.0
        return torch.tensor(total, dtype=torch.float64)

    def same_answer(self, output: Tensor, other: Tensor) -> None:
        """Return None: no two boxes are ever the same."""


def padded(items: list[Annotated], size: tuple[int, int]) -> Tensor:
    """Return targets ``(n, most, 6)``, float32, of pictures resized to height and width `size`."""
    most = max((len(item.boxes) for item in items), default=0)
    found = np.zeros((len(items), max(1, most), 6), np.float32)
    found[..., 4] = -1
    for row, item in zip(found, items):
        scale = size[1] / item.width, size[0] / item.height
        k = len(item.boxes)
        row[:k, :4] = item.boxes * np.array([*scale, *scale])
        row[:k, 4], row[:k, 5] = item.labels, item.crowd
    return torch.from_numpy(found)


def joined(parts: list[Tensor]) -> Tensor:
    """Return targets of several parts, each as :func:`padded` gives them, as one."""
    most = max(part.shape[1] for part in parts)
    no_object = torch.tensor([0.0, 0.0, 0.0, 0.0, -1.0, 0.0])
    return torch.cat([torch.cat([p, no_object.expand(len(p), most - p.shape[1], 6)], dim=1) for p in parts])


def flipped(y: Tensor, which: Tensor, axis: int, length: float) -> Tensor:
    """Return targets ``(n, most, 6)`` of pictures reversed along an axis, 0 across and 1 down.

    Args:
        y: as :func:`padded` gives them.
        which: pictures that are reversed, bool, ``(n,)``.
        axis: see above.
        length: of the pictures along it, pixels.
    """
    there = which[:, None] & (y[..., 4] >= 0)
    turned = y.clone()
    turned[..., axis] = torch.where(there, length - y[..., axis] - y[..., axis + 2], y[..., axis])
    return turned


def zoomed_boxes(y: Tensor, zoom: Tensor, size: tuple[int, int]) -> Tensor:
    """Return targets ``(n, most, 6)`` of pictures zoomed by :func:`equilog.tasks.vision.images.zoomed`.

    Boxes are clipped to the picture. Of an object that less than half is left of nobody asks whether it is found.

    Args:
        y: as :func:`padded` gives them.
        zoom: ``(n, 3)``, size over size before and shifts in units of the picture.
        size: height and width, pixels.
    """
    extent = y.new_tensor(size[::-1])
    low = (y[..., :2] - extent / 2) * zoom[:, None, :1] + extent * (0.5 + zoom[:, None, 1:])
    whole = y[..., 2:4] * zoom[:, None, :1]
    high = (low + whole).clamp(min=0).minimum(extent)
    low = low.clamp(min=0).minimum(extent)
    left = (high - low).prod(-1) / whole.prod(-1).clamp(min=1e-9)
    there = y[..., 4] >= 0
    label = torch.where(there & (left > 0), y[..., 4], -1.0)
    crowd = torch.where(there & (left < LEFT), 1.0, y[..., 5])
    moved = torch.cat([low, high - low, label[..., None], crowd[..., None]], dim=-1)
    return torch.where(there[..., None], moved, y)


def mean_average_precision(answers: list[Found], y: Tensor, classes: tuple[str, ...]) -> tuple[float, float] | None:
    """Return COCO's mAP over overlaps from 0.5 to 0.95, and at 0.5 alone; None where pycocotools is not installed."""
    try:
        coco, cocoeval = (importlib.import_module(f"pycocotools.{name}") for name in ("coco", "cocoeval"))
    except ImportError:
        return None
    truth = [
        {"id": 0, "image_id": k, "category_id": int(c), "bbox": [x, t, w, h], "area": w * h, "iscrowd": int(crowd)}
        for k, rows in enumerate(y.tolist())
        for x, t, w, h, c, crowd in rows
        if c >= 0
    ]
    for number, entry in enumerate(truth, 1):  # an id of 0 would count as no match
        entry["id"] = number
    given = [
        {"image_id": k, "category_id": label, "bbox": [x, t, r - x, b - t], "score": score}
        for k, found in enumerate(answers)
        for (x, t, r, b), score, label in zip(found.boxes.tolist(), found.scores.tolist(), found.labels.tolist())
    ]
    if not given or not truth:
        return 0.0, 0.0
    with contextlib.redirect_stdout(io.StringIO()):  # it talks
        known = coco.COCO()
        known.dataset = {
            "images": [{"id": k} for k in range(len(y))],
            "annotations": truth,
            "categories": [{"id": k, "name": name} for k, name in enumerate(classes)],
        }
        known.createIndex()
        judge = cocoeval.COCOeval(known, known.loadRes(given), "bbox")
        judge.evaluate()
        judge.accumulate()
        judge.summarize()
    return float(judge.stats[0]), float(judge.stats[1])
