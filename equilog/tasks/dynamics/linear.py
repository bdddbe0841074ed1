"""A linear system at rest and in steps: answers known to every digit, for the whole way from law to circuit."""

from __future__ import annotations

import torch
from torch import Tensor

from equilog.model import HybridDEQ
from equilog.priors import Field, LinearLaw
from equilog.tasks.beside import curves_beside
from equilog.tasks.computed import Computed, seeded, uniform
from equilog.tasks.dynamics.stable_matrix import stable_matrix
from equilog.tasks.lawful import lawful_model
from equilog.tasks.measures import Measure, Picture, SolverAnswer, consistency, noisy_error
from equilog.tasks.solved import one_by_one
from equilog.tasks.task import Data, ModelConfig, Predict
from equilog.training.config import TrainConfig
from equilog.training.curriculum import ideal, ideal_then_twin

STATES, INPUTS = 8, 4
TRAIN_SAMPLES, TEST_SAMPLES = 512, 256
SIZE = 1.1
"""what a neuron's 1 is in units of the state, whose largest is 1: converters do not clip what misses by a tenth"""
STEP_SECOND = 0.25
"""of a system whose rates are 0.5 to 2 a second"""
ROLLED, TRAJECTORIES = 40, 32
_SYSTEM_SEED = 20
_BOTH = f"{STATES} states and {INPUTS} inputs"
_SYSTEM = "A fixed and random, rates 0.5 to 2 a second, skew part of norm 1, condition number 3.2"


def system() -> tuple[Tensor, Tensor]:
    """Return A ``(8, 8)`` and B ``(8, 4)`` of ``ż = A z + B x``, float64, in 1/s.

    B is scaled so that the largest steady state of any input in [−1, 1]⁴ is 1 exactly.
    """
    a = stable_matrix(STATES, slowest=0.5, fastest=2.0, coupling=1.0, seed=_SYSTEM_SEED)
    b = torch.randn(STATES, INPUTS, dtype=torch.float64, generator=seeded(_SYSTEM_SEED + 1))
    return a, b / torch.linalg.solve(a, b).abs().sum(1).max()


def steady_state(x: Tensor) -> Tensor:
    """Return ``−A⁻¹ B x`` for inputs of shape ``(samples, 4)``, shape ``(samples, 8)``."""
    a, b = system()
    return -x @ torch.linalg.solve(a, b).T


def step(z_and_x: Tensor) -> Tensor:
    """Return ``z(h) = e^{hA} z + A⁻¹ (e^{hA} − 1) B x`` of ``[z, x]``, shape ``(samples, 8)`` of ``(samples, 12)``.

    Exact for an x that stays; Hairer, Nørsett & Wanner 1993, §I.12.
    """
    a, b = system()
    flow = torch.linalg.matrix_exp(STEP_SECOND * a)
    forced = torch.linalg.solve(a, (flow - torch.eye(STATES).to(a)) @ b)
    return z_and_x @ torch.cat([flow, forced], dim=1).T


class _Linear(Computed):
    """What both share: a law that is the whole answer, so that nothing is trained unless it is left out."""

    split = (
        f"computed in float64 from seeds: {TRAIN_SAMPLES} training samples (seed 1) and {TEST_SAMPLES} test samples "
        "(seed 2)"
    )
    caveat = "made up, without noise, and the law is the whole answer: the error is the hardware's alone"
    counts, seeds = (TRAIN_SAMPLES, TEST_SAMPLES), (1, 2)
    train_defaults = TrainConfig(stages=ideal(0), batch_size=64, learning_rate=0.02, weight_decay=0.0)
    train_without_law = train_defaults.model_copy(update={"stages": ideal_then_twin(80)})

    def law(self) -> LinearLaw:
        """Return the law whose solution the answer is."""
        raise NotImplementedError

    def build(self, config: ModelConfig) -> HybridDEQ:
        """The law's 8 states and hidden ones, if the configuration has more; they alone have a crossbar."""
        with torch.device("cpu"):  # numbers, also where a model is only counted
            law = self.law()
        return lawful_model(law, config, scale=SIZE, input_scale=torch.ones(law.b.shape[1]), apart=True)

    @torch.no_grad()
    def measures(self, predict: Predict, data: Data, *, ideal: bool) -> list[Measure]:
        """Largest error, residual of the law, error under noisy inputs."""
        x = data.test_x.double()
        y, law = predict(x), self.law()
        off = float((y - self.targets(x)).abs().max())
        return [
            Measure(name="largest error", value=off, note="of any state; the largest state is 1"),
            consistency(law, y, *_split(law, x)),
            noisy_error(predict, data),
        ]

    def solver(self, x: Tensor) -> SolverAnswer | None:
        """Dense LU of the law, factored once; a substitution is n² multiplications, the sources n·m."""
        law = self.law()
        operations = STATES * (STATES + law.b.shape[1])
        return one_by_one("LU of the law", lambda one: law.solve(*_split(law, one)), x, operations)


class LinearSystem(_Linear):
    """Eight coupled rates of four inputs each, at rest: ``−A z = B x`` in resistors."""

    name = "linear-system"
    summary = f"steady states of ż = A z + B x, {_BOTH} in [−1, 1]; {_SYSTEM}"
    what = "steady states of a linear system"
    inputs, targets = staticmethod(lambda samples, seed: uniform(samples, INPUTS, seed)), staticmethod(steady_state)
    model_defaults = ModelConfig(states=STATES, drives=INPUTS, margin=0.3)

    def law(self) -> LinearLaw:
        """Return ``−A z = B x``."""
        a, b = system()
        return LinearLaw(-a, b, state=Field("state", (STATES,)), sources=Field("input", (INPUTS,)))


class LinearSteps(_Linear):
    """The same system a quarter of a second later: ``e^{−hA} z⁺ = z + g x``, the exact implicit step, in resistors."""

    name = "linear-steps"
    summary = f"steps of {STEP_SECOND:g} s of ż = A z + B x, {_BOTH} in [−1, 1]; {_SYSTEM}"
    what = "steps of a linear system"
    inputs, targets = staticmethod(lambda samples, seed: uniform(samples, STATES + INPUTS, seed)), staticmethod(step)
    model_defaults = ModelConfig(states=STATES, drives=STATES + INPUTS, margin=0.3)

    def law(self) -> LinearLaw:
        """Return ``e^{−hA} z⁺ = z − A⁻¹ (e^{−hA} − 1) B x``."""
        a, b = system()
        back = torch.linalg.matrix_exp(-STEP_SECOND * a)
        forced = -torch.linalg.solve(a, (back - torch.eye(STATES).to(a)) @ b)
        before = Field("state before", (STATES,)), Field("input", (INPUTS,))
        sources = torch.cat([torch.eye(STATES).to(a), forced], dim=1)
        return LinearLaw(back, sources, state=Field("state after", (STATES,)), sources=before)

    @torch.no_grad()
    def measures(self, predict: Predict, data: Data, *, ideal: bool) -> list[Measure]:
        """Add how far a trajectory is off after many steps on its own."""
        rolled, exact = (_rolled(stepper, data.test_x[:TRAJECTORIES]) for stepper in (predict, step))
        off = torch.linalg.vector_norm(rolled[-1] - exact[-1], dim=-1) / torch.linalg.vector_norm(exact[-1], dim=-1)
        name = f"error after {ROLLED} steps"
        after = Measure(name=name, value=float(off.mean()), note=f"mean relative error of {TRAJECTORIES} trajectories")
        return [*super().measures(predict, data, ideal=ideal), after]

    @torch.no_grad()
    def pictures(self, ideal: Predict, twin: Predict, data: Data) -> list[Picture]:
        """One trajectory, three of its states."""
        exact, own, chip = (_rolled(stepper, data.test_x[:1])[:, 0] for stepper in (step, ideal, twin))
        shown = range(3)
        trusted, model, built = ({f"z{k + 1}": z[:, k] for k in shown} for z in (exact, own, chip))
        caption = f"{ROLLED} steps, each from the one before; the input stays. Trusted: the matrix exponential."
        at = STEP_SECOND * torch.arange(ROLLED + 1)
        return [
            curves_beside("steps", "A trajectory, step by step", caption, at, trusted, model, built, across="time, s")
        ]


def _split(law: LinearLaw, x: Tensor) -> tuple[Tensor, ...]:
    return x.split([source.size for source in law.sources], dim=1)


def _rolled(stepper: Predict, start: Tensor) -> Tensor:
    """Return states ``(steps + 1, trajectories, 8)`` under the inputs that follow the states in `start`."""
    z, x = start.double().split([STATES, INPUTS], dim=1)
    found = [z]
    for _ in range(ROLLED):
        found.append(stepper(torch.cat([found[-1], x], dim=1)))
    return torch.stack(found)
