"""A learned stepper: from the state of a dynamical system to its state one step later."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Any, ClassVar

import torch
from torch import Tensor

from equilog.model import HybridDEQ
from equilog.objective import Objective, Regression
from equilog.priors import Field, LinearLaw
from equilog.priors.linear_law import linearised
from equilog.priors.stepping import implicit_step
from equilog.tasks.computed import refuse_folder, seeded
from equilog.tasks.dynamics.judged import judge
from equilog.tasks.dynamics.portrait import pictures_of
from equilog.tasks.dynamics.products import Products
from equilog.tasks.dynamics.reference import solve_one_by_one, starts, trajectories
from equilog.tasks.dynamics.systems import System
from equilog.tasks.lawful import lawful_model
from equilog.tasks.measures import Measure, Picture, SolverAnswer, noisy_error
from equilog.tasks.task import Data, ModelConfig, Predict, Task
from equilog.training.config import TrainConfig

TRAIN_SAMPLES, TEST_SAMPLES = 4096, 1024
TRAJECTORIES = 256
TRAIN_SEED, TEST_SEED = 1, 2


class Stepper(Task):
    """``x(t) → x(t + h)`` of one system; subclasses name it and the settings that suit it.

    The law is the implicit midpoint step of the system's linear part about a point, of which A may well be unstable:
    ``(I − hA/2) z = (I + hA/2) x + hc``. What is nonlinear is learnt by the other states, from products of the inputs.
    """

    system: ClassVar[System]
    verify_defaults: ClassVar[dict[str, Any]] = {"rest_samples": 32, "settle_samples": 2, "chain_samples": 2}

    def __init_subclass__(cls) -> None:
        """Say what the data are, from the system."""
        s = cls.system
        cls.name = s.name
        cls.summary = f"x(t) → x(t + h) of {s.equation}, h = {s.step:g} ({s.source})"
        cls.split = (
            f"computed by DOP853 at 1e-12: {TRAIN_SAMPLES} training and {TEST_SAMPLES} test states, each drawn from "
            f"{TRAJECTORIES} trajectories of length {s.length:g} that start at random in a box (seeds {TRAIN_SEED} and "
            f"{TEST_SEED})"
        )
        cls.caveat = (
            "made up, without noise; digital products of inputs are offered to the model, as the right-hand side is a "
            "polynomial"
        )

    def load(self, folder: Path | None = None) -> Data:
        """Return the computed data; `folder` is refused."""
        refuse_folder(self.name, folder)
        train_x, train_y = pairs(self.system, TRAIN_SAMPLES, TRAIN_SEED)
        test_x, test_y = pairs(self.system, TEST_SAMPLES, TEST_SEED)
        return Data(train_x, train_y, test_x, test_y, f"trajectories of {self.name} by DOP853")

    def objective(self, data: Data, config: TrainConfig) -> Objective:
        """Return squared error over the training targets' mean square; the score is the relative L2 error of a step."""
        return Regression.scaled_by(data.train_y)

    def build(self, config: ModelConfig) -> HybridDEQ:
        """Return the law beside hidden states, products of inputs in front of it."""
        s = self.system
        reach = torch.tensor(s.reach)
        learnt = max(0, config.drives - s.size)
        return lawful_model(
            law_of(s),
            config,
            scale=reach,
            input_scale=reach,
            mixture=Products(s.size, learnt, s.degree) if learnt else None,
            apart=True,
        )

    def measures(self, predict: Predict, data: Data, *, ideal: bool) -> list[Measure]:
        """Return the error under noise, and what roll-outs say beside the trusted solver."""
        return [noisy_error(predict, data), *judge(self.system, predict)]

    def pictures(self, ideal: Predict, twin: Predict, data: Data) -> list[Picture]:
        """Return a trajectory in time and in state space."""
        return pictures_of(self.system, ideal, twin)

    def solver(self, x: Tensor) -> SolverAnswer:
        """Return DOP853's answers at 1e-6, a step for every sample."""
        return solve_one_by_one(self.system, x)


@cache
def law_of(system: System) -> LinearLaw:
    """Return the implicit midpoint step of the system's linear part."""
    state = Field(f"state of {system.name}", (system.size,))
    # Numbers, also where a model is only counted: on torch's device without any.
    with torch.device("cpu"):
        point = torch.tensor(system.about, dtype=torch.float64)
        return linearised(implicit_step(system.f, state, system.step, rule="midpoint"), point, point)


def pairs(system: System, samples: int, seed: int) -> tuple[Tensor, Tensor]:
    """Return states and their successors, float32, ``(samples, n)`` each, in random order.

    Args:
        system: whose trajectories to take.
        samples: how many of all states on them.
        seed: of starts and order.
    """
    path = trajectories(system, starts(system, TRAJECTORIES, seed), system.steps(system.length))
    before, after = path[:, :-1].flatten(0, 1), path[:, 1:].flatten(0, 1)
    chosen = torch.randperm(len(before), generator=seeded(seed))[:samples]
    return before[chosen].float(), after[chosen].float()
