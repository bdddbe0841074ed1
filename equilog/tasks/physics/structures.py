"""What elastic structures share: a law at small displacements, its trusted answer, and how it is drawn."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from scipy import linalg
from torch import Tensor

from equilog.model import HybridDEQ
from equilog.priors import Elastic
from equilog.tasks.lawful import lawful_model
from equilog.tasks.measures import Measure, Picture, SolverAnswer, consistency, noisy_error
from equilog.tasks.solved import one_by_one
from equilog.tasks.task import Data, ModelConfig, Predict

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

MILLIMETRE = 1e-3
DAMPING = 40.0
"""Of the coupling: the margin grows with it, and noise gain much less until K outweighs the feedback resistors."""


@dataclass(frozen=True)
class Structure:
    """A structure at rest under mixtures of load patterns, ``K u = P x``, displacements in millimetres.

    Attributes:
        law: in free degrees of freedom, metres and newtons.
        patterns: P, newtons in every free degree of freedom for an input of 1, ``(n, k)``.
        largest: what no input exceeds, ``(k,)``.
        stiffness: K of all degrees of freedom as an independent assembly has it, ``(total, total)``, N/m.
        nodes: coordinates in metres, ``(count, 2)``.
        lines: pairs of nodes to draw.
    """

    law: Elastic
    patterns: Tensor
    largest: Tensor
    stiffness: np.ndarray
    nodes: Tensor
    lines: Sequence[tuple[int, int]]

    @cached_property
    def _factor(self) -> tuple[np.ndarray, bool]:
        free = self.law.free
        factor: tuple[np.ndarray, bool] = linalg.cho_factor(self.stiffness[np.ix_(free, free)])
        return factor

    def answer(self, x: Tensor) -> Tensor:
        """Return free displacements in millimetres, ``(samples, n)``, for inputs ``(samples, k)``, float64.

        By Cholesky factors of the independent assembly, not of the law.
        """
        loads = (x.double() @ self.patterns.T).numpy()
        u = torch.from_numpy(np.ascontiguousarray(linalg.cho_solve(self._factor, loads.T).T))
        return u / MILLIMETRE

    def solver(self, x: Tensor) -> SolverAnswer:
        """Return the trusted answer: a sample costs two triangular solves, ``n (n + 1)`` multiply–accumulates."""
        n = len(self.law.free)
        return one_by_one("Cholesky factors (SciPy), made once", self.answer, x, n * (n + 1))

    @property
    def reach(self) -> Tensor:
        """No displacement can be larger for inputs within their limits: ``Σ_j |K⁻¹P|_ij x̂_j`` in metres, ``(n,)``."""
        moved = torch.diag(self.largest.double())
        return MILLIMETRE * self.answer(moved).abs().sum(0)

    def model(self, config: ModelConfig, damping: float = DAMPING) -> HybridDEQ:
        """Return the model that holds the law apart, one neuron a free degree of freedom; millimetres come out."""
        n = self.law.state.size
        return lawful_model(
            self.law, config, scale=self.reach, input_scale=self.largest, patterns=self.patterns,
            readout=(torch.eye(n, dtype=torch.float64) / MILLIMETRE, torch.zeros(n, dtype=torch.float64)),
            damping=damping, apart=True,
        )  # fmt: skip

    def whole(self, u: Tensor) -> Tensor:
        """Return displacements of all nodes in metres, ``(samples, count, 2)``, from free ones in millimetres."""
        return self.law.displacements(MILLIMETRE * u.detach().double()).unflatten(1, (-1, 2))

    def measures(self, predict: Predict, data: Data) -> list[Measure]:
        """Return the largest error, what is missing to equilibrium, and the error under noisy loads."""
        x, y = data.test_x.double(), data.test_y.double()
        with torch.no_grad():
            u = predict(x)
        worst = float((u - y).abs().max())
        return [
            Measure(
                name="largest error of a displacement", value=worst, unit="mm",
                note=f"over all test samples, whose largest displacement is {float(y.abs().max()):.3g} mm",
            ),
            consistency(self.law, MILLIMETRE * u, x @ self.patterns.T, what="forces out of balance"),
            noisy_error(predict, data),
        ]  # fmt: skip

    def drawn(self, key: str, title: str, ideal: Predict, twin: Predict, x: Tensor) -> Picture:
        """Return the deformed shape under one load, ``(1, k)``: trusted, ideal and on the chip."""
        x = x.double()
        with torch.no_grad():
            shapes = {"trusted": self.answer(x), "ideal": ideal(x), "on the chip": twin(x)}
        moved = {name: self.whole(u)[0] for name, u in shapes.items()}
        span = float((self.nodes.max(0).values - self.nodes.min(0).values).max())
        factor = _rounded(0.1 * span / float(moved["trusted"].norm(dim=1).max()))
        caption = f"Displacements {factor:g} times as large as they are; grey: without load. Trusted under the others."

        def draw(figure: Figure) -> None:
            from equilog.drawing.style import ANALOG, INK, SIMULATOR  # noqa: PLC0415  # an optional extra

            styles = {"trusted": (INK, "-", 1.8), "ideal": (SIMULATOR, "--", 1.2), "on the chip": (ANALOG, "-", 1.0)}
            axes = figure.subplots()
            _lines(axes, self.nodes, self.lines, color="0.82", linewidth=0.8)
            for name, (color, dashes, width) in styles.items():
                at = self.nodes.double() + factor * moved[name]
                _lines(axes, at, self.lines, color=color, linestyle=dashes, linewidth=width, label=name)
            axes.set_aspect("equal")
            axes.grid(visible=False)
            axes.set_xlabel("metre")
            # What leaves by far does not push the structure into a corner.
            low, high = self.nodes.min(0).values.double(), self.nodes.max(0).values.double()
            axes.set_xlim(float(low[0]) - 0.2 * span, float(high[0]) + 0.2 * span)
            axes.set_ylim(float(low[1]) - 0.2 * span, float(high[1]) + 0.2 * span)
            handles, labels = axes.get_legend_handles_labels()
            figure.legend(handles, labels, loc="outside upper right", ncols=3)

        height = float(self.nodes[:, 1].max() - self.nodes[:, 1].min())
        size = (6.4, 1.0 + 5.6 * (height + 0.4 * span) / (1.4 * span))
        return Picture(key=key, title=title, caption=caption, size=size, draw=draw)


def _lines(axes: Axes, nodes: Tensor, lines: Sequence[tuple[int, int]], **style: Any) -> None:
    """Draw all lines as one, broken by nan."""
    pairs = torch.tensor(lines)
    gap = nodes.new_full((len(pairs), 1, 2), float("nan"))
    at = torch.cat([nodes[pairs], gap], dim=1).reshape(-1, 2).double()
    axes.plot(at[:, 0], at[:, 1], **style)


def _rounded(factor: float) -> float:
    """Return the largest of 1, 2, 5 times a power of ten that is not above."""
    power = 10.0 ** np.floor(np.log10(factor))
    return float(next(step for step in (5, 2, 1) if step * power <= factor) * power)
