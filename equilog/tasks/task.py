"""What a task is: where its data come from, how they are split, the model and settings that suit them."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import torch
from pydantic import Field
from torch import Tensor

from equilog.model import HybridDEQ
from equilog.names import Strict
from equilog.objective import Classification, Objective
from equilog.tasks.damage import OnDamage
from equilog.training.config import TrainConfig

if TYPE_CHECKING:
    from equilog.tasks.measures import Measure, Picture, SolverAnswer

Predict = Callable[[Tensor], Tensor]
"""A model as a function from inputs to outputs, in float64 and on the tape: ideal, or on one chip"""


@dataclass(frozen=True)
class Data:
    """Inputs as float32 in the shape the model takes, and what outputs are compared with.

    That is class indices as int64, shape ``(samples,)``, or targets as float32 in the shape the model gives,
    ``(samples, …)``; the task's objective says which. `skipped` counts damaged samples left out, by reason.
    """

    train_x: Tensor
    train_y: Tensor
    test_x: Tensor
    test_y: Tensor
    source: str
    skipped: dict[str, int] = field(default_factory=dict)

    def limited(self, samples: int | None) -> Data:
        """Return at most `samples` training and test samples, the first of each."""
        s = slice(samples)
        return Data(self.train_x[s], self.train_y[s], self.test_x[s], self.test_y[s], self.source, self.skipped)


class ModelConfig(Strict):
    """Size of the equilibrium."""

    states: int = Field(default=32, ge=1, le=4096)
    drives: int = Field(default=16, ge=1, le=4096)
    margin: float = Field(default=0.3, gt=0, le=1)
    prior: bool = True
    """hold the task's law in fixed conductances; False is the same model without, to see what physics buys. Tasks
    without a law have nothing to leave out"""


class Task(ABC):
    """One problem. Subclasses say everything a run needs to know about it."""

    name: ClassVar[str]
    summary: ClassVar[str]
    split: ClassVar[str]
    caveat: ClassVar[str]
    model_defaults: ClassVar[ModelConfig]
    train_defaults: ClassVar[TrainConfig]
    train_without_law: ClassVar[TrainConfig | None] = None
    """in place of `train_defaults` where the model does without its law, if that says it all and these train nothing"""
    verify_defaults: ClassVar[dict[str, Any]] = {}
    """of the run's verification, where it should not take the usual number of samples"""
    on_damage: OnDamage = "refuse"
    """what loading does with a damaged sample: refuse it by name, or skip and count it"""

    @abstractmethod
    def load(self, folder: Path | None = None) -> Data:
        """Return the data, from `folder` or wherever the task finds them.

        Raises:
            UserError: if they are not there, saying how to get them, or not what they should be.
        """

    def training(self, *, prior: bool) -> TrainConfig:
        """Return the settings that suit a model with the task's law, or without it."""
        return self.train_defaults if prior else self.train_without_law or self.train_defaults

    @abstractmethod
    def build(self, config: ModelConfig) -> HybridDEQ:
        """Return an untrained model; its random start follows torch's global generator."""

    def objective(self, data: Data, config: TrainConfig) -> Objective:
        """Return loss and score; classification with the configuration's label smoothing unless the task knows better.

        Args:
            data: which may set the scale of the loss.
            config: of the training, or a transfer's label smoothing in its place.
        """
        return Classification(config.label_smoothing)

    def augment(self, x: Tensor, y: Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        """Return a varied copy of a training batch, inputs and targets; unchanged unless the task knows better."""
        return x, y

    def measures(self, predict: Predict, data: Data, *, ideal: bool) -> list[Measure]:
        """Return what there is to say of a model besides its score; nothing unless the task knows better.

        Args:
            predict: the model, ideal or on the chip that is built.
            data: whose test samples to look at.
            ideal: which of the two; what does not depend on the model is said once, with the ideal one.
        """
        return []

    def pictures(self, ideal: Predict, twin: Predict, data: Data) -> list[Picture]:
        """Return pictures for the report: the ideal model and the chip beside what is trusted; none by default."""
        return []

    def solver(self, x: Tensor) -> SolverAnswer | None:
        """Return what the trusted numerical solver answers to inputs, float64; None for a task that has none."""
        return None
