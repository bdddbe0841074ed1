"""Anchor-free detection on one map: what a network gives, what it should have given, and what people read of it.

As in FCOS (Tian et al., ICCV 2019) every location of a map says which class an object around it has, and its box. As in
CenterNet (Zhou et al. 2019) a box is its centre's offset and the logarithm of its size, for an object may be smaller
than a location. Losses: focal (Lin et al., ICCV 2017), generalised IoU (Rezatofighi et al., CVPR 2019).
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

ALPHA, GAMMA = 0.25, 2.0
RADIUS = 0.75
"""locations, in units of their distance, up to which one is an object's: the nearest is always"""
LARGEST = 4.0
"""of a logarithm of a size, in units of a location's: e⁴ locations"""


@dataclass(frozen=True)
class Found:
    """The objects of one picture, the surest first.

    Attributes:
        boxes: ``(k, 4)``, left, top, right and bottom in pixels.
        scores: ``(k,)`` in (0, 1).
        labels: ``(k,)``, classes.
    """

    boxes: Tensor
    scores: Tensor
    labels: Tensor


def boxes_of(output: Tensor, stride: float) -> Tensor:
    """Return boxes ``(batch, h, w, 4)``, corners in pixels, that the last four channels say."""
    place = _locations(output, stride)
    move, size = output[:, -4:].movedim(1, -1).split(2, dim=-1)
    half = stride * size.clamp(-LARGEST, LARGEST).exp() / 2
    centre = place + stride * move
    return torch.cat([centre - half, centre + half], dim=-1)


def loss(output: Tensor, y: Tensor, stride: float) -> Tensor:
    """Return focal loss and ``1 − GIoU`` of all objects' locations, both per location of an object.

    Args:
        output: ``(batch, classes + 4, h, w)``.
        y: ``(batch, most, 6)``: left, top, width and height in pixels, class, and 1 for a crowd; class −1 is no object.
        stride: pixels between locations.
    """
    which, ignored = assigned(output, y, stride)
    classes = output.shape[1] - 4
    there = which >= 0
    chosen = torch.gather(y, 1, which.clamp(min=0).flatten(1)[..., None].expand(-1, -1, 6)).view(*which.shape, 6)
    labels = torch.where(there, chosen[..., 4], classes).long()
    wanted = nn.functional.one_hot(labels, classes + 1)[..., :classes].to(output)
    logits = output[:, :classes].movedim(1, -1)
    count = there.sum().clamp(min=1)
    focal = (_focal(logits, wanted) * ~ignored[..., None]).sum() / count
    corners = torch.cat([chosen[..., :2], chosen[..., :2] + chosen[..., 2:4]], dim=-1).to(output)
    apart = 1 - generalised_iou(boxes_of(output, stride)[there], corners[there])
    return focal + apart.sum() / count


def assigned(output: Tensor, y: Tensor, stride: float) -> tuple[Tensor, Tensor]:
    """Return for every location the object it belongs to, −1 for none, and whether it is within a crowd instead.

    Both ``(batch, h, w)``. Of several objects the smallest takes a location.
    """
    place = _locations(output, stride)
    real, crowd = (y[..., 4] >= 0) & (y[..., 5] == 0), (y[..., 4] >= 0) & (y[..., 5] > 0)
    centre = y[:, :, None, None, :2] + y[:, :, None, None, 2:4] / 2
    distance = (place - centre).abs().amax(-1) / stride
    nearest = distance <= distance.amin((-2, -1), keepdim=True) + 1e-6
    own = ((distance <= RADIUS) | nearest) & real[..., None, None]
    area = (y[..., 2] * y[..., 3])[..., None, None].expand_as(distance)
    least, which = torch.where(own, area, torch.inf).min(1)
    which = torch.where(least.isfinite(), which, -1)
    low, high = y[:, :, None, None, :2], y[:, :, None, None, :2] + y[:, :, None, None, 2:4]
    within = ((place >= low) & (place <= high)).all(-1) & crowd[..., None, None]
    return which, within.any(1) & (which < 0)


@torch.no_grad()
def found(output: Tensor, stride: float, *, least: float = 0.05, most: int = 100, overlap: float = 0.5) -> list[Found]:
    """Return the objects of every picture.

    Args:
        output: ``(batch, classes + 4, h, w)``.
        stride: pixels between locations.
        least: score that counts.
        most: objects of a picture.
        overlap: intersection over union with a surer object of its class above which one is the same.
    """
    classes = output.shape[1] - 4
    scores = output[:, :classes].sigmoid().movedim(1, -1).flatten(1)
    boxes = boxes_of(output, stride).flatten(1, 2)
    answers = []
    for score, box in zip(scores, boxes):
        top = score.topk(min(4 * most, len(score)))
        index = top.indices[top.values >= least]
        label, where = index % classes, box[index // classes]
        # Boxes of other classes are far away, so that one pass does for all.
        same = iou(where + 1e5 * label[:, None], where + 1e5 * label[:, None]) > overlap
        keep = _surest(same)[:most]
        answers.append(Found(where[keep], score[index][keep], label[keep]))
    return answers


def iou(a: Tensor, b: Tensor) -> Tensor:
    """Return intersections over union of every box with every other, ``(len(a), len(b))``."""
    inner = _intersection(a[:, None], b[None])
    return inner / (_area(a)[:, None] + _area(b)[None] - inner).clamp(min=1e-9)


def generalised_iou(a: Tensor, b: Tensor) -> Tensor:
    """Return the generalised intersection over union, in (−1, 1], of boxes pair by pair, ``(k,)``."""
    inner = _intersection(a, b)
    union = (_area(a) + _area(b) - inner).clamp(min=1e-9)
    around = torch.maximum(a[:, 2:], b[:, 2:]) - torch.minimum(a[:, :2], b[:, :2])
    hull = around.prod(-1).clamp(min=1e-9)
    return inner / union - (hull - union) / hull


def matches(answer: Found, y: Tensor, *, sure: float, overlap: float = 0.5) -> tuple[int, int, int]:
    """Return how many objects of a picture were found, how many answers were none, and how many objects were missed.

    The surest answer chooses first, among objects of its class. An answer in a crowd counts for nothing.

    Args:
        answer: of the network.
        y: ``(most, 6)``, see :func:`loss`.
        sure: score from which on an answer counts.
        overlap: least intersection over union with the object.
    """
    truth = y[y[:, 4] >= 0]
    corners = torch.cat([truth[:, :2], truth[:, :2] + truth[:, 2:4]], dim=1).to(answer.boxes)
    crowd, free = truth[:, 5] > 0, truth[:, 5] == 0
    hits = wrong = 0
    sures = answer.scores >= sure
    for box, label in zip(answer.boxes[sures], answer.labels[sures]):
        over = iou(box[None], corners)[0] * (truth[:, 4] == label)
        mine = torch.where(free, over, 0.0)
        if len(mine) and float(mine.max()) >= overlap:
            free[mine.argmax()] = False
            hits += 1
        elif not (len(over) and bool((over[crowd] > 0).any())):
            wrong += 1
    return hits, wrong, int(free.sum())


def _locations(output: Tensor, stride: float) -> Tensor:
    """Return centres of locations in pixels, ``(h, w, 2)``, x before y."""
    height, width = output.shape[-2:]
    x, y = (stride * (torch.arange(n, device=output.device, dtype=output.dtype) + 0.5) for n in (width, height))
    return torch.stack([x.expand(height, width), y[:, None].expand(height, width)], dim=-1)


def _focal(logits: Tensor, wanted: Tensor) -> Tensor:
    plain = nn.functional.binary_cross_entropy_with_logits(logits, wanted, reduction="none")
    p = logits.sigmoid()
    miss = p + wanted - 2 * p * wanted
    return (ALPHA * wanted + (1 - ALPHA) * (1 - wanted)) * miss**GAMMA * plain


def _surest(same: Tensor) -> list[int]:
    """Return which to keep of answers in falling order: none that is the same as one kept before."""
    kept: list[int] = []
    gone = torch.zeros(len(same), dtype=torch.bool)
    for k in range(len(same)):
        if not gone[k]:
            kept.append(k)
            gone |= same[k]
    return kept


def _intersection(a: Tensor, b: Tensor) -> Tensor:
    sides = torch.minimum(a[..., 2:], b[..., 2:]) - torch.maximum(a[..., :2], b[..., :2])
    return sides.clamp(min=0).prod(-1)


def _area(boxes: Tensor) -> Tensor:
    return (boxes[..., 2:] - boxes[..., :2]).clamp(min=0).prod(-1)
