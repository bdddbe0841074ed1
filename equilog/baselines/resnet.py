"""The residual network that an equilibrium on pictures is compared with (He et al., CVPR 2016)."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Sequence

from torch import nn

from equilog.baselines.matching import count_of
from equilog.tasks.vision.encoders import Standardise, residual_stages

STEP = 4
"""channels by which stages grow: odd widths would have to be normalised as one group"""
POOLED = 2
"""places a side that features are averaged over before the head"""
_AROUND = 6
Count = Callable[[Sequence[int]], int]


def resnet(
    mean: Sequence[float], std: Sequence[float], widths: Sequence[int], classes: int, blocks: int = 1
) -> nn.Sequential:
    """Return standardisation, residual stages, the means over four quarters and a linear map to logits.

    Means over the whole picture would differ little between pictures: what is normalised over a picture has the same
    mean for all of them before it is rectified.

    Args:
        mean, std: of the training pictures, one a channel.
        widths: channels of each stage.
        classes: number of logits.
        blocks: in each stage.
    """
    return nn.Sequential(
        Standardise(mean, std),
        residual_stages(len(mean), widths, blocks),
        nn.AdaptiveAvgPool2d(POOLED),
        nn.Flatten(),
        nn.Linear(widths[-1] * POOLED**2, classes),
    )


def matched_resnet(
    parameters: int,
    mean: Sequence[float],
    std: Sequence[float],
    widths: Sequence[int],
    classes: int,
    blocks: int = 1,
    *,
    tolerance: float = 0.02,
) -> tuple[nn.Sequential, tuple[int, ...]]:
    """Return the network with about as many parameters whose stages are nearest to the proportions of `widths`.

    Of all widths in steps of 4 channels that come within `tolerance` of the number of parameters, those are taken whose
    worst stage, by ``|log|`` of its growth over the common one, is best. Only the network returned draws from torch's
    global generator.

    Args:
        parameters: how many the other model trains.
        mean, std, classes, blocks: see :func:`resnet`.
        widths: proportions of the stages.
        tolerance: largest relative difference of parameters.

    Returns:
        the network and the widths of its stages.

    Raises:
        ValueError: if no such widths come near enough.
    """

    def count(sizes: Sequence[int]) -> int:
        return count_of(lambda: resnet(mean, std, sizes, classes, blocks))

    growth = _common_growth(parameters, widths, count)
    near = [_steps_around(growth * width) for width in widths]

    def departs(sizes: tuple[int, ...]) -> float:
        return max(abs(math.log(size / (growth * width))) for size, width in zip(sizes, widths))

    for sizes in sorted(itertools.product(*near), key=departs):
        if abs(count(sizes) - parameters) <= tolerance * parameters:
            return resnet(mean, std, sizes, classes, blocks), sizes
    raise ValueError(
        f"no stages near {tuple(widths)} in steps of {STEP} channels have {parameters} parameters to "
        f"{100 * tolerance:g} %: expected more parameters, or a wider tolerance"
    )


def _common_growth(parameters: int, widths: Sequence[int], count: Count) -> float:
    """Return the factor on all widths that gives about so many parameters, which grow with its square."""
    growth = 1.0
    for _ in range(8):
        sizes = [max(1, round(growth * width)) for width in widths]
        growth *= math.sqrt(parameters / count(sizes))
    return growth


def _steps_around(width: float) -> list[int]:
    middle = round(width / STEP)
    return [STEP * k for k in range(max(1, middle - _AROUND), middle + _AROUND + 1)]
