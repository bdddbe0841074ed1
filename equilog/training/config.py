"""Settings of a training run, as data."""

from __future__ import annotations

from pydantic import Field

from equilog.names import Strict


class TrainConfig(Strict):
    """Two stages: the ideal model first, then the static twin on a new chip at every step."""

    epochs_ideal: int = Field(default=20, ge=0)
    epochs_twin: int = Field(default=20, ge=0)
    batch_size: int = Field(default=64, ge=1)
    learning_rate: float = Field(default=0.01, gt=0)
    """peak of a one-cycle schedule over both stages"""
    weight_decay: float = Field(default=1e-3, ge=0)
    label_smoothing: float = Field(default=0.05, ge=0, lt=1)
    gradient_clip: float = Field(default=1.0, gt=0)

    @property
    def epochs(self) -> int:
        """Epochs of both stages together."""
        return self.epochs_ideal + self.epochs_twin
