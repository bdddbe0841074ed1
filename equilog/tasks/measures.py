"""What a task says of a model besides its score: quantities beside the trusted ones, and pictures."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import torch
from torch import Tensor

from equilog.names import Strict
from equilog.objective import Regression
from equilog.tasks.task import Data, Predict

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from equilog.priors import Law

Better = Literal["lower", "higher", "near the reference"]
_NOISE_SEED = 7


class Measure(Strict):
    """One quantity, of one model."""

    name: str
    value: float | None
    """None where it could not be had; `note` then says why"""
    unit: str = ""
    """as people write it after the number: "V", "Lyapunov times"; "" for a plain number"""
    reference: float | None = None
    """the trusted value, in the same unit"""
    better: Better = "lower"
    note: str = ""
    """how it was obtained, and with what trusted"""


@dataclass(frozen=True)
class SolverAnswer:
    """What a trusted numerical solver gives for some inputs.

    Attributes:
        name: of the solver and its tolerance, as people call them.
        y: answers, shaped like the targets.
        second_per_sample: as measured, one sample after the other.
        operations_per_sample: multiply–accumulates, counted or from a formula that the task states.
    """

    name: str
    y: Tensor
    second_per_sample: float
    operations_per_sample: float


@dataclass(frozen=True)
class Picture:
    """A picture of the report; drawn in the report's own settings.

    Attributes:
        key: of its file; letters, digits and hyphens.
        title: over it.
        caption: under it: what to see.
        size: width and height in inches.
        draw: fills an empty figure; colours are those of :mod:`equilog.drawing.style`.
    """

    key: str
    title: str
    caption: str
    size: tuple[float, float]
    draw: Callable[[Figure], None]


def shaken(data: Data, noise: float = 0.01) -> Tensor:
    """Return the test inputs with noise, float64, always the same: `noise` as :func:`noisy_error` has it."""
    draw = torch.Generator().manual_seed(_NOISE_SEED)
    drawn = torch.randn(data.test_x.shape, dtype=torch.float64, generator=draw)
    return data.test_x.double() + noise * data.train_x.double().std(0) * drawn


@torch.no_grad()
def noisy_error(predict: Predict, data: Data, noise: float = 0.01) -> Measure:
    """Return the mean relative error on test samples whose inputs are noisy.

    Args:
        predict: the model.
        data: its test samples are used.
        noise: standard deviation, in units of each input's own over the training samples.
    """
    return Measure(
        name=f"error, inputs {100 * noise:g} % noisy",
        value=relative_error(predict(shaken(data, noise)), data.test_y),
        note="mean of ‖ŷ − y‖/‖y‖; noise in units of each input's standard deviation",
    )


@torch.no_grad()
def consistency(law: Law, z: Tensor, *x: Tensor, what: str = "residual of the law") -> Measure:
    """Return the mean residual of a law in units of its scale, see :meth:`equilog.priors.Law.consistency`."""
    return Measure(
        name=what, value=float(law.consistency(z, *x).mean()), note="rms over equations in units of the law's scale"
    )


def relative_error(output: Tensor, y: Tensor) -> float:
    """Return the mean over samples of ``‖ŷ − y‖/‖y‖``, see :class:`equilog.objective.Regression`."""
    return float(Regression().score(output.detach(), y)) / len(y)
