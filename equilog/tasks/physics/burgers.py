"""Burgers' equation: a step in which waves steepen into fronts, learnt beside the diffusion that a chip holds."""

from __future__ import annotations

import math
from dataclasses import replace
from functools import cache
from typing import Any, ClassVar

import torch
from torch import Tensor

from equilog.model import HybridDEQ
from equilog.priors import Field, Grid, Law, LinearLaw, heat_step, implicit_step, periodic
from equilog.tasks.beside import curves_beside
from equilog.tasks.computed import Computed, seeded
from equilog.tasks.lawful import lawful_model
from equilog.tasks.measures import Measure, Picture, SolverAnswer, consistency, noisy_error, relative_error
from equilog.tasks.physics.burgers_flow import (
    LARGEST,
    LENGTH_METRE,
    POINTS,
    VISCOSITY,
    cole_hopf,
    pseudo_spectral,
    smooth_states,
)
from equilog.tasks.physics.offers import WithFlux, offered
from equilog.tasks.solved import one_by_one
from equilog.tasks.task import Data, ModelConfig, Predict
from equilog.training.config import TrainConfig
from equilog.training.curriculum import ideal_then_twin

STEP_SECOND = 0.25
BIAS = 0.5
AGES = 8
STEPS, ROLLED, ROLL_SEED = 10, 64, 3
TRAIN_SAMPLES, TEST_SAMPLES = 2048, 256
_DATA_SEEDS = 1, 2
# m/s²: above every product u u_x of the data, 1.7; a DAC plays no more than its full scale.
_STEEPEST = 2.5
_SOLVER_POINTS = 128


def ages(samples: int, seed: int) -> Tensor:
    """Return states of every age from 0 to 7 steps, in equal shares and in no order, as :func:`smooth_states`."""
    u = smooth_states(samples, seed)
    aged = torch.cat([cole_hopf(u[k::AGES], k * STEP_SECOND) for k in range(AGES)])
    return aged[torch.randperm(samples, generator=seeded(seed))]


def diffusion() -> LinearLaw:
    """Return what the chip holds: ``u⁺ − τν ∇²u⁺ = u + τ q`` on the circle, q what is to be learnt."""
    with torch.device("cpu"):  # also where a model is only counted
        grid = Grid((POINTS,), LENGTH_METRE / POINTS, ((periodic(), periodic()),))
        return heat_step(grid, VISCOSITY, STEP_SECOND, unit="m/s")


def rate(u: Tensor) -> Tensor:
    """Return ``ν u_xx − (u²/2)_x`` of ``(batch, 32)`` velocities, by Fourier modes."""
    k = torch.arange(POINTS // 2 + 1, dtype=u.dtype)
    product, modes = torch.fft.rfft(u * u), torch.fft.rfft(u)
    found: Tensor = torch.fft.irfft(-0.5j * k * product - VISCOSITY * k**2 * modes, n=POINTS)
    return found


def midpoint(change: float) -> Law:
    """Return Burgers' equation over a step by the midpoint rule, its residual in units of `change` m/s."""
    return implicit_step(rate, Field("velocity", (POINTS,)), STEP_SECOND, rule="midpoint", scale=change)


@torch.no_grad()
def rolled_out(predict: Predict, u: Tensor, steps: int = STEPS) -> Tensor:
    """Return states after 1, 2, … steps, each the model's answer to the one before, ``(steps, batch, 32)``."""
    found = []
    for _ in range(steps):
        u = predict(u).double()
        found.append(u)
    return torch.stack(found)


@cache
def _trajectories() -> tuple[Tensor, Tensor]:
    """States that no sample comes from, and where they are after 1, 2, … steps."""
    start = smooth_states(ROLLED, ROLL_SEED)
    return start, torch.stack([cole_hopf(start, k * STEP_SECOND) for k in range(1, STEPS + 1)])


def _step(u: Tensor) -> Tensor:
    return cole_hopf(u, STEP_SECOND)


class Burgers(Computed):
    """Velocities at 32 points of a circle, to be moved on by a quarter of a second."""

    name = "burgers"
    summary = (
        "one step of 0.25 s of u_t + u u_x = ν u_xx on a circle of 2π m, 32 points, ν = 0.1 m²/s, smooth random states "
        "of up to 1.2 m/s; exact by the Cole–Hopf transform"
    )
    split = (
        "computed in float64 from seeds: 2048 training samples (seed 1) and 256 test samples (seed 2), 0 to 7 steps "
        "after random beginnings; roll-outs from 64 others (seed 3)"
    )
    caveat = "made up, without noise; powers of u and the differences of their flux are formed digitally"
    counts, seeds = (TRAIN_SAMPLES, TEST_SAMPLES), _DATA_SEEDS
    what = "Burgers' equation by the Cole–Hopf transform"
    inputs, targets = staticmethod(ages), staticmethod(_step)
    model_defaults = ModelConfig(states=POINTS + 16, drives=2 * POINTS + 16, margin=0.3)
    train_defaults = TrainConfig(
        stages=ideal_then_twin(80, share=0.25),
        batch_size=64,
        learning_rate=0.01,
        weight_decay=0.0,
    )
    verify_defaults: ClassVar[dict[str, Any]] = {
        "rest_samples": 20,
        "settle_samples": 1,
        "chain_samples": 0,
        "chips": 10,
    }

    def build(self, config: ModelConfig) -> HybridDEQ:
        """Diffusion in conductances, driven by u and by a learnt flux of its powers; hidden states for the rest."""
        scale = torch.tensor([LARGEST, _STEEPEST], device="cpu").repeat_interleave(POINTS)
        model = lawful_model(
            diffusion(), config, scale=LARGEST, input_scale=scale, shape=(POINTS,), damping=2.0, apart=True
        )
        return offered(model, WithFlux(LARGEST, LENGTH_METRE / POINTS), bias=BIAS)

    @torch.no_grad()
    def measures(self, predict: Predict, data: Data, *, ideal: bool) -> list[Measure]:
        """Say how a roll-out ends, and what of mass, energy and the equation itself a step keeps."""
        x, y = data.test_x.double(), data.test_y.double()
        output = predict(x).double()
        start, truth = _trajectories()
        rolled = rolled_out(predict, start)
        law = midpoint(float((y - x).square().mean().sqrt()))
        residual = consistency(law, output, x, what="residual of Burgers' equation")
        gained = (output.sum(1) - x.sum(1)).abs() / x.abs().sum(1)
        grown = (output.square().sum(1) > x.square().sum(1)).double().mean()
        return [
            Measure(
                name=f"error after {STEPS} steps", value=relative_error(rolled[-1], truth[-1]),
                note=f"mean of ‖û − u‖/‖u‖, {ROLLED} states rolled out, beside the Cole–Hopf transform",
            ),
            Measure(name="mass gained in a step", value=float(gained.mean()), reference=0.0, note="|Σu⁺ − Σu|/Σ|u|"),
            Measure(
                name="steps in which energy grows", value=float(grown), reference=0.0,
                note="share of test samples with Σu⁺² > Σu²; diffusion takes from every one",
            ),
            Measure(
                name=residual.name, value=residual.value, reference=float(law.consistency(y, x).mean()),
                better="near the reference", note="midpoint rule, rms in units of the change in a step; its own error "
                "is the reference",
            ),
            noisy_error(predict, data),
        ]  # fmt: skip

    @torch.no_grad()
    def pictures(self, ideal: Predict, twin: Predict, data: Data) -> list[Picture]:
        """Draw one roll-out: a wave that steepens into a front and fades."""
        start, truth = _trajectories()
        # The steepest front that is well within the picture.
        middle = truth[3, :, POINTS // 4 : 3 * POINTS // 4]
        one = int((middle[:, 1:] - middle[:, :-1]).amin(1).argmin())
        outputs = [rolled_out(predict, start[one : one + 1])[:, 0] for predict in (ideal, twin)]
        shown = {f"u, {k * STEP_SECOND:g} s": k - 1 for k in (1, 4, STEPS)}
        trusted, of_ideal, of_twin = ({n: u[k] for n, k in shown.items()} for u in (truth[:, one], *outputs))
        at = torch.arange(POINTS, dtype=torch.float64) * (LENGTH_METRE / POINTS)
        caption = "A state rolled out, each step from the model's own answer to the last; trusted: Cole–Hopf transform."
        return [
            curves_beside(
                "burgers", "Fronts", caption, at, trusted, of_ideal, of_twin, across="x, metre", up="m/s",
            )
        ]  # fmt: skip

    def solver(self, x: Tensor) -> SolverAnswer:
        """Integrate each state; operations: 3 real FFTs of 128 points, 5/4 n log₂ n each, and 5 n, a derivative."""
        asked: list[int] = []

        def solve(states: Tensor) -> Tensor:
            found = [pseudo_spectral(u, STEP_SECOND, points=_SOLVER_POINTS) for u in states]
            asked.extend(count for _, count in found)
            return torch.stack([u for u, _ in found])

        n = _SOLVER_POINTS
        each = 3 * 1.25 * n * math.log2(n) + 5 * n
        answer = one_by_one(f"pseudo-spectral, {n} points, DOP853 1e-10", solve, x, each)
        return replace(answer, operations_per_sample=each * sum(asked) / len(asked))
