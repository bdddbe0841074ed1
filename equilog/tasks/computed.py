"""What tasks share whose data are computed: seeded draws, training and test samples, no folder to read."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable
from pathlib import Path
from typing import ClassVar

import torch
from torch import Tensor

from equilog.names import UserError
from equilog.objective import Objective, Regression
from equilog.tasks.task import Data, Task
from equilog.training.config import TrainConfig


def seeded(seed: int) -> torch.Generator:
    """Return a generator of its own: data are the same whatever was drawn before."""
    return torch.Generator().manual_seed(seed)


def uniform(samples: int, features: int, seed: int) -> Tensor:
    """Return inputs in [−1, 1), float64, shape ``(samples, features)``."""
    return 2 * torch.rand(samples, features, dtype=torch.float64, generator=seeded(seed)) - 1


def made_up(
    inputs: Callable[[int, int], Tensor],
    answer: Callable[[Tensor], Tensor],
    counts: tuple[int, int],
    seeds: tuple[int, int],
    source: str,
) -> Data:
    """Return training and test data that are computed: in float64, kept in float32.

    Args:
        inputs: ``(samples, seed) -> x``, float64.
        answer: ``x -> y``, float64.
        counts: of training and test samples.
        seeds: of both; they must differ, or the test samples would be training samples.
        source: what is computed.

    Raises:
        ValueError: for equal seeds.
    """
    if seeds[0] == seeds[1]:
        raise ValueError(f"seeds {seeds}: expected two different ones, for training and test samples")
    parts = [inputs(count, seed) for count, seed in zip(counts, seeds)]
    train_x, train_y, test_x, test_y = (t.float() for x in parts for t in (x, answer(x)))
    return Data(train_x, train_y, test_x, test_y, source)


def refuse_folder(task: str, folder: Path | None) -> None:
    """Raise ``UserError`` if somebody brings data to a task that computes its own."""
    if folder is not None:
        raise UserError(f"the data of {task} are computed: leave out --data")


class Computed(Task):
    """A task whose samples are drawn and answered; a subclass says by what.

    Attributes:
        counts: of training and test samples.
        seeds: of both.
        what: is computed, in a few words.
    """

    counts: ClassVar[tuple[int, int]]
    seeds: ClassVar[tuple[int, int]]
    what: ClassVar[str]

    @staticmethod
    @abstractmethod
    def inputs(samples: int, seed: int, /) -> Tensor:
        """Return x, float64, ``(samples, …)``."""

    @staticmethod
    @abstractmethod
    def targets(x: Tensor, /) -> Tensor:
        """Return y, float64, ``(samples, …)``."""

    def load(self, folder: Path | None = None) -> Data:
        """Return the computed data; `folder` is refused."""
        refuse_folder(self.name, folder)
        return made_up(self.inputs, self.targets, self.counts, self.seeds, self.what)

    def objective(self, data: Data, config: TrainConfig) -> Objective:
        """Return squared error over the training targets' mean square; the score is the relative L2 error."""
        return Regression.scaled_by(data.train_y)
