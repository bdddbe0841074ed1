"""A ladder of resistors and capacitors in time: one step of its node voltages, and a roll-out beside ngspice."""

from __future__ import annotations

from typing import Any, ClassVar

import numpy as np
import torch
from scipy.linalg import expm
from torch import Tensor

from equilog.circuit.ngspice import NgspiceError, NgspiceMissingError
from equilog.model import HybridDEQ
from equilog.objective import Objective, Regression
from equilog.priors import Constant, Field, LinearLaw, implicit_step, linearised
from equilog.priors.stepping import Rule
from equilog.tasks.beside import curves_beside
from equilog.tasks.computed import Computed, seeded, uniform
from equilog.tasks.lawful import lawful_model
from equilog.tasks.measures import Measure, Picture, SolverAnswer, noisy_error
from equilog.tasks.physics.kept import kept
from equilog.tasks.physics.simulated import ladder_in_ngspice
from equilog.tasks.solved import one_by_one
from equilog.tasks.task import Data, ModelConfig, Predict
from equilog.training.config import TrainConfig
from equilog.training.curriculum import ideal_then_twin

OHM = tuple(1e3 * r for r in (1.0, 1.2, 0.82, 1.5, 1.0, 0.68, 1.2, 1.0, 1.5, 0.82))
"""from the source to node 1, from there to node 2 and so on; the last node carries nothing else"""
FARAD = tuple(1e-9 * c for c in (100, 82, 120, 100, 68, 120, 100, 150, 82, 100))
"""from every node to ground"""
STEP_SECOND = 1e-4
ROLLED_STEPS = 50
TRAIN_RUNS, TEST_RUNS, RUN_STEPS = 32, 8, 64
_DATA_SEEDS, _ROLLED_SEED = (31, 32), 33
NODES = len(OHM)


@kept
def ladder() -> tuple[Tensor, Tensor]:
    """Return M ``(n, n)`` and b ``(n,)`` of ``v̇ = M v + b u`` in 1/s, float64: ``M = −C⁻¹ G``."""
    g = 1 / torch.tensor(OHM, dtype=torch.float64)
    after = torch.cat([g[1:], g.new_zeros(1)])
    conductance = torch.diag(g + after) - torch.diag(g[1:], 1) - torch.diag(g[1:], -1)
    farad = torch.tensor(FARAD, dtype=torch.float64)
    b = torch.zeros(NODES, dtype=torch.float64)
    b[0] = g[0] / farad[0]
    return -conductance / farad[:, None], b


@kept
def exact_step() -> Tensor:
    """Return ``[Φ Γ]``, ``(n, n + 1)``: ``v⁺ = Φ v + Γ u`` for a source that stays through the step.

    The upper rows of ``exp(h [[M, b], [0, 0]])`` (Van Loan, *IEEE Trans. Automatic Control* 23, 1978).
    """
    m, b = ladder()
    both = np.zeros((NODES + 1, NODES + 1))
    both[:NODES, :NODES], both[:NODES, NODES] = m, b
    return torch.from_numpy(expm(STEP_SECOND * both)[:NODES])


def answer(x: Tensor) -> Tensor:
    """Return voltages after the step, ``(samples, n)``, for voltages before it and the source, ``(samples, n + 1)``."""
    return x.double() @ exact_step().T


def rolled(u: Tensor) -> Tensor:
    """Return voltages after every step, ``(runs, steps, n)``, discharged at first, for sources ``(runs, steps)``."""
    v, found = torch.zeros(len(u), NODES, dtype=torch.float64), []
    for level in u.double().unbind(1):
        v = answer(torch.cat([v, level[:, None]], dim=1))
        found.append(v)
    return torch.stack(found, dim=1)


def sources(runs: int, steps: int, seed: int) -> Tensor:
    """Return source voltages ``(runs, steps)``: uniform in ±1 V, a new one after every step with a chance of 1 in 5."""
    new = uniform(runs * steps, 1, seed).view(runs, steps)
    turns = torch.rand(runs, steps, dtype=torch.float64, generator=seeded(seed + 1000)) < 0.2
    turns[:, 0] = True
    last = torch.where(turns, torch.arange(steps), 0).cummax(1).values
    return new.gather(1, last)


@kept
def law(rule: Rule = "backward-euler") -> LinearLaw:
    """Return one implicit step of the ladder as a law of voltages before it and the source."""
    m, b = ladder()
    voltage = Field("voltage", (NODES,), "V")
    step = implicit_step(
        lambda v, u, rates, feed: v @ rates.T + u * feed, voltage, STEP_SECOND, rule=rule,
        input=Field("source", (1,), "V"), constants={"rates": Constant(m, "1/s"), "feed": Constant(b, "1/s")},
    )  # fmt: skip
    return linearised(step, m.new_zeros(NODES), m.new_zeros(NODES), m.new_zeros(1))


def law_alone(x: Tensor, rule: Rule = "backward-euler") -> Tensor:
    """Return what the law says by itself, as :func:`answer` is asked."""
    return law(rule).solve(x[:, :NODES].double(), x[:, NODES:].double())


def _inputs(samples: int, seed: int) -> Tensor:
    runs = -(-samples // RUN_STEPS)
    u = sources(runs, RUN_STEPS, seed)
    after = rolled(u)
    before = torch.cat([after.new_zeros(runs, 1, NODES), after[:, :-1]], dim=1)
    return torch.cat([before, u[..., None]], dim=2).flatten(0, 1)[:samples]


class RcLadder(Computed):
    """Voltages of ten nodes a tenth of a millisecond later."""

    name = "rc-ladder"
    summary = (
        "one step of 0.1 ms of an RC ladder of ten nodes: voltages and source before it, voltages after it, by the "
        "exponential of its matrix; the law in conductances is a backward Euler step"
    )
    split = (
        "runs of 64 steps from rest with random steps of the source: 32 for training (seed 31), 8 for tests (seed 32)"
    )
    caveat = (
        "linear, so that a step is one matrix; the law is of first order in the step, and what it misses of the exact "
        "one is learnt"
    )
    counts, seeds = (TRAIN_RUNS * RUN_STEPS, TEST_RUNS * RUN_STEPS), _DATA_SEEDS
    what = "exponential of the ladder's matrix (SciPy)"
    inputs, targets = staticmethod(_inputs), staticmethod(answer)
    model_defaults = ModelConfig(states=NODES + 4, drives=NODES + 2, margin=0.3)
    train_defaults = TrainConfig(stages=ideal_then_twin(30), batch_size=64, learning_rate=0.01, weight_decay=0.0)
    verify_defaults: ClassVar[dict[str, Any]] = {"rest_samples": 50, "settle_samples": 2, "chain_samples": 2}

    def objective(self, data: Data, config: TrainConfig) -> Objective:
        """Return squared error over the training targets' mean square; the score is the rms error in volts."""
        return Regression.scaled_by(data.train_y, score="rms", unit="V")

    def build(self, config: ModelConfig) -> HybridDEQ:
        """Voltages and source to drives, the ladder's step in conductances, voltages out."""
        return lawful_model(law(), config, scale=1.0, input_scale=torch.ones(NODES + 1), apart=True)

    @torch.no_grad()
    def measures(self, predict: Predict, data: Data, *, ideal: bool) -> list[Measure]:
        """Return roll-outs against the exact one and ngspice's, the error under noise, and what the law alone gives."""
        u = sources(1, ROLLED_STEPS, _ROLLED_SEED)
        own = _rolled_by(predict, u[0])
        over = f"rms over {ROLLED_STEPS} steps and all nodes, from rest, each step from the model's own voltages"
        found = [
            Measure(name="roll-out", value=_rms(own - rolled(u)[0]), unit="V", note=over),
            _against_ngspice(own, u[0]),
            noisy_error(predict, data),
        ]
        if ideal:
            rules: tuple[Rule, ...] = ("backward-euler", "trapezoid")
            found += [
                Measure(
                    name=f"error of the law alone, {rule}",
                    value=_rms(law_alone(data.test_x, rule) - data.test_y, dim=1), unit="V",
                    note="mean of samples' rms, as the score; nothing learnt",
                )
                for rule in rules
            ]  # fmt: skip
        return found

    @torch.no_grad()
    def pictures(self, ideal: Predict, twin: Predict, data: Data) -> list[Picture]:
        """Return a roll-out of three nodes beside ngspice's, or the exact one where there is no simulator."""
        u = sources(1, ROLLED_STEPS, _ROLLED_SEED)
        try:
            trusted, by = ladder_in_ngspice(OHM, FARAD, u[0], STEP_SECOND), "ngspice's transient of the ladder"
        except (NgspiceMissingError, NgspiceError):
            trusted, by = rolled(u)[0], "the exponential of the ladder's matrix"
        shown = {f"node {k + 1}": k for k in (0, NODES // 2 - 1, NODES - 1)}
        runs = (trusted, _rolled_by(ideal, u[0]), _rolled_by(twin, u[0]))
        parts = [{name: run[:, k] for name, k in shown.items()} for run in runs]
        at = 1e3 * STEP_SECOND * torch.arange(1, ROLLED_STEPS + 1, dtype=torch.float64)
        caption = f"Fifty steps from rest, each from the model's own voltages before it. Trusted: {by}."
        return [curves_beside("roll-out", "A roll-out", caption, at, *parts, across="time, ms", up="V")]

    def solver(self, x: Tensor) -> SolverAnswer:
        """Return the product with the exact step's matrix, ``n (n + 1)`` multiply–accumulates."""
        return one_by_one("matrix exponential (SciPy), made once", answer, x, NODES * (NODES + 1))


def _rolled_by(predict: Predict, u: Tensor) -> Tensor:
    """Return a model's voltages ``(steps, n)``, each step from its own before."""
    v, found = torch.zeros(1, NODES, dtype=torch.float64), []
    for level in u:
        # A chip that runs away is cut where a ladder cannot be, or the roll-out would end in infinities.
        v = predict(torch.cat([v, level.view(1, 1)], dim=1)).clamp(-2, 2)
        found.append(v[0])
    return torch.stack(found)


def _against_ngspice(own: Tensor, u: Tensor) -> Measure:
    name = "roll-out against ngspice"
    try:
        trusted = ladder_in_ngspice(OHM, FARAD, u, STEP_SECOND)
    except (NgspiceMissingError, NgspiceError) as error:
        return Measure(name=name, value=None, unit="V", note=str(error))
    return Measure(name=name, value=_rms(own - trusted), unit="V", note="the same steps, a transient of the ladder")


def _rms(difference: Tensor, dim: int | None = None) -> float:
    """Return the root mean square, or the mean of those along a dimension."""
    return float(difference.square().mean(dim).sqrt().mean())
