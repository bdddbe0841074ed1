"""Handwritten digits, 8×8: the set that scikit-learn carries."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor, nn

from equilog.cells import CircuitCell
from equilog.model import HybridDEQ
from equilog.names import UserError
from equilog.tasks.task import Data, ModelConfig, Task
from equilog.tasks.vision.images import conv_parameterization, random_affine
from equilog.training.config import TrainConfig
from equilog.training.curriculum import full

TRAIN_SAMPLES = 898


class Digits(Task):
    """1,797 digits of 13 writers: the test part of UCI's optdigits, which is all that scikit-learn ships."""

    name = "digits"
    summary = "scikit-learn's 8×8 handwritten digits, 10 classes"
    split = (
        "scikit-learn ships no split; this is the one of its documented example 'Recognizing hand-written digits': "
        "the first 898 samples train, the last 899 test, unshuffled"
    )
    caveat = "899 test samples: one standard error of an accuracy of 0.97 is 0.006"
    model_defaults = ModelConfig(states=32, drives=16, margin=0.3)
    train_defaults = TrainConfig(stages=full(120), batch_size=64, learning_rate=0.005)

    def load(self, folder: Path | None = None) -> Data:
        """Return the set from scikit-learn; `folder` is refused, there is nothing to read from one."""
        if folder is not None:
            raise UserError("digits come with scikit-learn: leave out --data")
        try:
            from sklearn.datasets import load_digits  # noqa: PLC0415  (heavy, and only this task needs it)
        except ImportError:
            raise UserError("the digits task needs scikit-learn: pip install 'equilog[data]'") from None
        bunch = load_digits()
        x = torch.tensor(bunch.images, dtype=torch.float32)[:, None] / 16
        y = torch.tensor(bunch.target, dtype=torch.int64)
        s = TRAIN_SAMPLES
        return Data(x[:s], y[:s], x[s:], y[s:], "sklearn.datasets.load_digits")

    def build(self, config: ModelConfig) -> HybridDEQ:
        """Two small convolutions, the equilibrium, a linear readout."""
        return HybridDEQ(
            conv_parameterization(8, 32, config.drives),
            CircuitCell(config.states, config.drives, margin=config.margin),
            nn.Linear(config.states, 10),
        )

    def augment(self, x: Tensor, y: Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        """Slightly rotated, scaled and shifted digits, as other writers would have written them."""
        return random_affine(x, generator, degrees=14, scale=0.15, shift=0.11), y
