"""A Warren girder over two spans under random loads at its joints: displacements of a plane truss."""

from __future__ import annotations

from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor

from equilog.model import HybridDEQ
from equilog.priors import truss
from equilog.tasks.computed import Computed, uniform
from equilog.tasks.measures import Measure, Picture, SolverAnswer
from equilog.tasks.physics.kept import kept
from equilog.tasks.physics.structures import Structure
from equilog.tasks.task import Data, ModelConfig, Predict
from equilog.training.config import TrainConfig
from equilog.training.curriculum import ideal, ideal_then_twin

PANELS, PANEL_METRE, HEIGHT_METRE = 6, 4.0, 3.0
AXIAL_NEWTON = 210e9 * 20e-4
"""E A of every bar: steel of 20 cm²"""
DOWN_KILONEWTON, SIDEWAYS_KILONEWTON = 20.0, 5.0
TRAIN_SAMPLES, TEST_SAMPLES = 512, 256
_DATA_SEEDS = (11, 12)


@kept
def girder() -> Structure:
    """Return the girder: 13 joints, 23 bars, held at its left end and on two rollers; 16 loads in kilonewtons.

    Loads are vertical at every joint without a support, then horizontal at those of the upper chord.
    """
    lower = [(PANEL_METRE * k, 0.0) for k in range(PANELS + 1)]
    upper = [(PANEL_METRE * (k + 0.5), HEIGHT_METRE) for k in range(PANELS)]
    nodes, first = torch.tensor(lower + upper, dtype=torch.float64), len(lower)
    chords = [(k, k + 1) for k in range(PANELS)] + [(first + k, first + k + 1) for k in range(PANELS - 1)]
    diagonals = [pair for k in range(PANELS) for pair in ((k, first + k), (first + k, k + 1))]
    bars = chords + diagonals
    supports = [(0, 0), (0, 1), (PANELS // 2, 1), (PANELS, 1)]
    law = truss(nodes, bars, AXIAL_NEWTON, supports, scale=1e3 * DOWN_KILONEWTON)
    upright = [i for i in range(len(nodes)) if (i, 1) not in supports]
    loaded = [2 * i + 1 for i in upright] + [2 * (first + k) for k in range(PANELS)]
    patterns = 1e3 * (torch.from_numpy(law.free)[:, None] == torch.tensor(loaded)).double()
    largest = torch.tensor([DOWN_KILONEWTON] * len(upright) + [SIDEWAYS_KILONEWTON] * PANELS)
    return Structure(law, patterns, largest, assembled(nodes, bars, AXIAL_NEWTON), nodes, bars)


def assembled(nodes: Tensor, bars: list[tuple[int, int]], axial_newton: float) -> np.ndarray:
    """Return K of all degrees of freedom, bar by bar from direction cosines, as hand calculations do.

    ``k = (EA/l) [[c², cs, −c², −cs], …]`` (Przemieniecki, *Theory of Matrix Structural Analysis*, 1968, ch. 5). It
    shares nothing with :func:`equilog.priors.truss`, which multiplies sparse matrices.
    """
    stiffness = np.zeros((2 * len(nodes), 2 * len(nodes)))
    for a, b in bars:
        (xa, ya), (xb, yb) = nodes[a].tolist(), nodes[b].tolist()
        length = np.hypot(xb - xa, yb - ya)
        direction = np.array([xb - xa, yb - ya]) / length
        block = axial_newton / length * np.outer(direction, direction)
        i, j = slice(2 * a, 2 * a + 2), slice(2 * b, 2 * b + 2)
        stiffness[i, i] += block
        stiffness[j, j] += block
        stiffness[i, j] -= block
        stiffness[j, i] -= block
    return stiffness


def loads(samples: int, seed: int) -> Tensor:
    """Return loads in kilonewtons, ``(samples, 16)``: down from 0 to 20, sideways up to 5 either way."""
    x = uniform(samples, len(girder().largest), seed)
    down = len(x[0]) - PANELS
    return torch.cat([(x[:, :down] - 1) / 2 * DOWN_KILONEWTON, x[:, down:] * SIDEWAYS_KILONEWTON], dim=1)


def answer(x: Tensor) -> Tensor:
    """Return displacements in millimetres, ``(samples, 22)``, for loads ``(samples, 16)``."""
    return girder().answer(x)


class Trusses(Computed):
    """Displacements of the girder's joints in millimetres; the law alone answers."""

    name = "trusses"
    summary = (
        "displacements of a Warren girder over two spans of 12 m (13 joints, 23 bars, 22 degrees of freedom) under 16 "
        "random loads at its joints; K u = f in fixed conductances"
    )
    split = "computed in float64 from seeds: 512 training samples (seed 11) and 256 test samples (seed 12)"
    caveat = (
        "linear, one girder and small displacements, so that the law alone is the answer and needs no training; what "
        "remains is the hardware's error, times the condition number of K"
    )
    counts, seeds = (TRAIN_SAMPLES, TEST_SAMPLES), _DATA_SEEDS
    what = "Cholesky factors of an independent assembly"
    inputs, targets = staticmethod(loads), staticmethod(answer)
    model_defaults = ModelConfig(states=22, drives=16, margin=0.3)
    train_defaults = TrainConfig(stages=ideal(0), batch_size=64, learning_rate=0.01, weight_decay=0.0)
    train_without_law = train_defaults.model_copy(update={"stages": ideal_then_twin(60)})
    verify_defaults: ClassVar[dict[str, Any]] = {"rest_samples": 16, "settle_samples": 1, "chain_samples": 0}

    def build(self, config: ModelConfig) -> HybridDEQ:
        """Loads to drives, K in conductances, displacements in millimetres out."""
        return girder().model(config)

    def measures(self, predict: Predict, data: Data, *, ideal: bool) -> list[Measure]:
        """Return the largest error, forces out of balance, and the error under noisy loads."""
        return girder().measures(predict, data)

    def pictures(self, ideal: Predict, twin: Predict, data: Data) -> list[Picture]:
        """Return the girder under the loads of the first test sample."""
        return [girder().drawn("girder", "The girder under load", ideal, twin, data.test_x[:1])]

    def solver(self, x: Tensor) -> SolverAnswer:
        """Return the displacements by Cholesky factors."""
        return girder().solver(x)
