"""Poisson's equation on a square: the law is the whole model, exact before any training."""

from __future__ import annotations

import math
import time
from functools import cache
from typing import Any, ClassVar

import torch
from scipy.sparse import csc_matrix
from scipy.sparse.linalg import splu
from torch import Tensor

from equilog.model import HybridDEQ
from equilog.priors import LinearLaw
from equilog.tasks.beside import fields_beside
from equilog.tasks.computed import Computed, uniform
from equilog.tasks.lawful import lawful_model
from equilog.tasks.measures import Measure, Picture, SolverAnswer, consistency, noisy_error
from equilog.tasks.physics.sparse_lu import multiplications
from equilog.tasks.physics.square import nodes, square_poisson
from equilog.tasks.task import Data, ModelConfig, Predict
from equilog.training.config import TrainConfig
from equilog.training.curriculum import ideal, ideal_then_twin

NODES, WAVES = 16, 4
AMPLITUDE = 20.0
"""of a pattern whose coefficient is 1, in V/m²: potentials are then around a volt"""
TRAIN_SAMPLES, TEST_SAMPLES = 256, 128
_DATA_SEEDS = 1, 2
_HEADROOM = 1.1


def waves() -> Tensor:
    """Return i and j of every pattern ``sin(iπx) sin(jπy)``, float64, shape ``(16, 2)``, 1 to 4 each."""
    counts = torch.arange(1, WAVES + 1, dtype=torch.float64)
    return torch.cartesian_prod(counts, counts)


def patterns() -> Tensor:
    """Return all patterns in V/m², at the nodes, ``(256, 16)``; rows of the grid along y, from the bottom."""
    at = nodes(NODES)
    sines = torch.sin(math.pi * waves()[:, :, None] * at)
    return AMPLITUDE * torch.einsum("kx,ky->kyx", sines[:, 0], sines[:, 1]).flatten(1).T


@cache
def law() -> LinearLaw:
    """Return the law of the task; its residual counts in the root mean square of f."""
    with torch.device("cpu"):
        size = float((patterns().square().sum(1).mean() / 3).sqrt())
    return square_poisson(NODES, name="potential", source="source", unit="V", scale=size)


def answer(x: Tensor) -> Tensor:
    """Return u at the nodes by sparse LU for coefficients ``(samples, 16)``, shape ``(samples, 16, 16)``."""
    return law().solve((x @ patterns().to(x).T).unflatten(1, (NODES, NODES)))


def continuous(x: Tensor) -> Tensor:
    """Return u of the equation itself at the nodes, without a grid: every pattern over ``π²(i² + j²)``."""
    weights = 1 / (math.pi**2 * waves().square().sum(1))
    return ((x * weights) @ patterns().T).unflatten(1, (NODES, NODES))


def _inputs(samples: int, seed: int) -> Tensor:
    return uniform(samples, WAVES**2, seed)


class Poisson(Computed):
    """Which potential belongs to a source: 256 neurons and resistors between them, nothing to learn."""

    name = "poisson"
    summary = (
        "−∇²u = f on the unit square, u = 0 at its walls, 16×16 inner nodes; f a sum of 16 patterns "
        "20 V/m² sin(iπx) sin(jπy), i and j from 1 to 4, with coefficients in [−1, 1]"
    )
    split = "computed in float64 from seeds: 256 training samples (seed 1) and 128 test samples (seed 2)"
    caveat = (
        "targets solve the equations of the grid, so the law is exact untrained; the grid itself is 1.5 % of the "
        "largest value from the closed form, which is measured beside"
    )
    counts, seeds = (TRAIN_SAMPLES, TEST_SAMPLES), _DATA_SEEDS
    what = "five-point Poisson equation, sparse LU"
    inputs, targets = staticmethod(_inputs), staticmethod(answer)
    model_defaults = ModelConfig(states=NODES**2, drives=WAVES**2)
    train_defaults = TrainConfig(stages=ideal(0), learning_rate=0.003, weight_decay=0.0)
    train_without_law = train_defaults.model_copy(update={"stages": ideal_then_twin(60)})
    verify_defaults: ClassVar[dict[str, Any]] = {"rest_samples": 4, "settle_samples": 1, "chain_samples": 0}

    def build(self, config: ModelConfig) -> HybridDEQ:
        """Every pattern a drive, every node a neuron; a neuron's 1 is a tenth above the largest training target."""
        with torch.device("cpu"):
            largest = float(answer(_inputs(TRAIN_SAMPLES, _DATA_SEEDS[0])).abs().max())
            given = patterns()
        return lawful_model(
            law(), config, scale=_HEADROOM * largest, input_scale=torch.ones(WAVES**2), patterns=given, apart=True
        )

    @torch.no_grad()
    def measures(self, predict: Predict, data: Data, *, ideal: bool) -> list[Measure]:
        """Return errors at the worst node, against the closed form and with noisy inputs, and the law's residual."""
        x = data.test_x.double()
        u, exact, wanted = predict(x), answer(x), continuous(x)
        f = (x @ patterns().T).unflatten(1, (NODES, NODES))
        return [
            Measure(
                name="largest error",
                value=100 * _largest(u, exact),
                unit="%",
                note="at the worst node, of the largest |u| of the sample; mean over samples",
            ),
            Measure(
                name="largest error against the closed form",
                value=100 * _largest(u, wanted),
                unit="%",
                reference=100 * _largest(exact, wanted),
                note="the grid's own error, that of sparse LU, is the trusted one",
            ),
            consistency(law(), u, f),
            noisy_error(predict, data),
        ]

    @torch.no_grad()
    def pictures(self, ideal: Predict, twin: Predict, data: Data) -> list[Picture]:
        """Return the potential of the first test sample."""
        x, edge = data.test_x[:1].double(), 0.5 / (NODES + 1)
        return [
            fields_beside(
                "potential",
                "Potential",
                "The first test sample: sparse LU, the ideal model, this chip.",
                answer(x)[0], ideal(x)[0], twin(x)[0],
                unit="V", extent=(edge, 1 - edge) * 2,
            )
        ]  # fmt: skip

    def solver(self, x: Tensor) -> SolverAnswer:
        """Return sparse LU's answers; factors are kept, for the matrix is that of every sample."""
        answer(x[:1])
        began = time.perf_counter()
        y = torch.cat([answer(one[None]) for one in x])
        second = (time.perf_counter() - began) / len(x)
        _, solving = multiplications(splu(csc_matrix(law().a)))
        mixing = WAVES**2 * NODES**2
        return SolverAnswer("sparse LU, factors kept", y, second, solving + mixing)


def _largest(u: Tensor, exact: Tensor) -> float:
    return float(((u - exact).abs().amax((1, 2)) / exact.abs().amax((1, 2))).mean())
