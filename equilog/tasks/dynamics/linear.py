"""The steady state of a linear system: an answer known to every digit, for the whole way from data to circuit."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor, nn

from equilog.cells import CircuitCell
from equilog.model import HybridDEQ
from equilog.objective import Objective, Regression
from equilog.tasks.dynamics.synthetic import made_up, refuse_folder, seeded, stable_matrix, uniform
from equilog.tasks.task import Data, ModelConfig, Task
from equilog.training.config import TrainConfig
from equilog.training.curriculum import ideal_then_twin

STATES, INPUTS = 8, 4
TRAIN_SAMPLES, TEST_SAMPLES = 512, 256
_SYSTEM_SEED, _DATA_SEEDS = 20, (1, 2)


def system() -> tuple[Tensor, Tensor]:
    """Return A ``(8, 8)`` and B ``(8, 4)`` of ``ż = A z + B x``, float64.

    B is scaled so that the largest steady state of any input in [−1, 1]⁴ is 1 exactly.
    """
    a = stable_matrix(STATES, slowest=0.5, fastest=2.0, coupling=1.0, seed=_SYSTEM_SEED)
    b = torch.randn(STATES, INPUTS, dtype=torch.float64, generator=seeded(_SYSTEM_SEED + 1))
    return a, b / torch.linalg.solve(a, b).abs().sum(1).max()


def steady_state(x: Tensor) -> Tensor:
    """Return ``−A⁻¹ B x`` for inputs of shape ``(samples, 4)``, shape ``(samples, 8)``."""
    a, b = system()
    return -x @ torch.linalg.solve(a, b).T


class LinearSystem(Task):
    """Eight coupled rates of four inputs each, at rest; the model learns the map from samples of it."""

    name = "linear-system"
    summary = (
        "steady states of ż = A z + B x, 8 states and 4 inputs in [−1, 1]; A fixed and random, rates 0.5 to 2, skew "
        "part of norm 1, condition number 3.2"
    )
    split = "computed in float64 from seeds: 512 training samples (seed 1) and 256 test samples (seed 2)"
    caveat = "made up, without noise: the error is the model's and the hardware's alone"
    model_defaults = ModelConfig(states=16, drives=4, margin=0.3)
    train_defaults = TrainConfig(stages=ideal_then_twin(80), batch_size=64, learning_rate=0.02, weight_decay=0.0)

    def load(self, folder: Path | None = None) -> Data:
        """Return the computed data; `folder` is refused."""
        refuse_folder(self.name, folder)
        counts = TRAIN_SAMPLES, TEST_SAMPLES
        return made_up(_inputs, steady_state, counts, _DATA_SEEDS, "steady states of a linear system")

    def objective(self, data: Data, config: TrainConfig) -> Objective:
        """Return squared error over the training targets' mean square; the score is the relative L2 error."""
        return Regression.scaled_by(data.train_y)

    def build(self, config: ModelConfig) -> HybridDEQ:
        """A linear map that begins as the identity, the equilibrium, a linear readout."""
        first = nn.Linear(INPUTS, config.drives)
        nn.init.eye_(first.weight)
        nn.init.zeros_(first.bias)
        return HybridDEQ(
            nn.Sequential(first, nn.Hardtanh()),
            CircuitCell(config.states, config.drives, margin=config.margin),
            nn.Linear(config.states, STATES),
        )


def _inputs(samples: int, seed: int) -> Tensor:
    return uniform(samples, INPUTS, seed)
