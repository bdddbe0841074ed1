"""Settings of a training run, as data."""

from __future__ import annotations

from itertools import accumulate
from typing import Literal

from pydantic import Field

from equilog.names import Strict
from equilog.training.curriculum import full
from equilog.training.stage import Stage


class TrainConfig(Strict):
    """A curriculum and how its steps are taken. Stages follow each other in the order they stand in."""

    stages: dict[str, Stage] = Field(default_factory=lambda: full(40))
    """by name; see :mod:`equilog.training.curriculum` for some to start from"""
    batch_size: int = Field(default=64, ge=1)
    learning_rate: float = Field(default=0.01, gt=0)
    """peak of a one-cycle schedule over all stages"""
    weight_decay: float = Field(default=1e-3, ge=0)
    label_smoothing: float = Field(default=0.05, ge=0, lt=1)
    gradient_clip: float = Field(default=1.0, gt=0)
    precision: Literal["float32", "bfloat16"] = "float32"
    """what the digital ends compute in while training, by autocast; weights, optimiser, loss and all that a chip does
    stay in float32. bfloat16 takes about half the time on processors that multiply it (AMX, AVX512-BF16), and more time
    on others"""

    @property
    def epochs(self) -> int:
        """Epochs of all stages together."""
        return sum(stage.epochs for stage in self.stages.values())

    def stage_at(self, epoch: int) -> tuple[str, Stage, int]:
        """Return name and settings of the stage that an epoch belongs to, and the epoch at which it begins.

        Raises:
            ValueError: beyond the last epoch.
        """
        ends = accumulate(stage.epochs for stage in self.stages.values())
        for (name, stage), end in zip(self.stages.items(), ends):
            if epoch < end:
                return name, stage, end - stage.epochs
        raise ValueError(f"epoch {epoch}: the curriculum has {self.epochs}")
