"""Stability: how far the poles of the circuit stay from where it would oscillate, amplifiers' poles included."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from equilog.hardware.noise.model import linear_circuit
from equilog.hardware.twin import TwinState
from equilog.training.losses.response import one_chip


class StabilityMargin(nn.Module):
    """``max(0, margin + τ max Re λ)``, mean over the samples that are looked at; λ the poles of the circuit at rest.

    Unit: 1/τ, with ``τ = R_f C_f`` of the chip. Zero where every pole decays faster than `margin` asks. The linearised
    circuit has two states a neuron (:mod:`equilog.hardware.noise.model`), so that a network whose map is stable and
    whose amplifiers are too slow for it is found out. Populations are refused.

    The gradient is that of a simple eigenvalue, ``dλ = wᴴ dA r/(wᴴ r)`` with left and right eigenvectors w and r
    (Wilkinson, The Algebraic Eigenvalue Problem, 1965, ch. 2); first derivatives only.

    Args:
        margin: asked of the slowest pole, in 1/τ.
        samples: those whose activations are steepest on average, where the loop has most gain: if any sample
            oscillates, these do. Each takes an eigenvalue problem of order 2n.

    Raises:
        ValueError: for a negative margin or less than one sample; when called, for a population.
    """

    def __init__(self, margin: float = 0.1, samples: int = 4) -> None:
        super().__init__()
        if not margin >= 0:
            raise ValueError(f"margin = {margin}: expected 0 or more, in units of 1/τ")
        if samples < 1:
            raise ValueError(f"samples = {samples}: expected 1 or more")
        self.margin, self.samples = margin, samples

    def forward(self, state: TwinState, generator: torch.Generator | None = None) -> Tensor:
        """Return the hinge, a scalar on the tape.

        Args:
            state: a batch at rest on one chip.
            generator: not used; nothing here is random.
        """
        one_chip(state)
        slope = state.system.activation.slope(state.p.detach()).mean(1)
        steepest = slope.topk(min(self.samples, len(slope))).indices
        with torch.no_grad():  # mostly there is nothing to put on the tape, and poles alone are quick
            found = torch.linalg.eigvals(_circuit(state, steepest)).real.amax(-1)
        missed = steepest[self.margin + found > 0]
        if not len(missed):
            return 0 * state.p.sum()
        return (self.margin + abscissa(_circuit(state, missed))).sum().to(state.p.dtype) / len(steepest)


def _circuit(state: TwinState, samples: Tensor) -> Tensor:
    """Return the matrix of the linearised circuit in units of 1/τ, float64, shape ``(k, 2n, 2n)``."""
    layer = state.layer
    rest_volt = state.p[samples] * float(layer.spec.activation.v_scale_volt)
    return linear_circuit(layer, rest_volt).matrix()[0] * (layer.r_feedback_ohm * layer.c_feedback_farad).double()


def abscissa(a: Tensor) -> Tensor:
    """Return ``max Re λ`` of every matrix ``(batch, n, n)``, shape ``(batch,)``, with its gradient."""
    with torch.no_grad():
        poles, right = torch.linalg.eig(a)
        worst = poles.real.argmax(-1)
        one = torch.nn.functional.one_hot(worst, a.shape[-1]).to(right)
        left = torch.linalg.solve(right.mH, one).conj()  # the row of the inverse: w with wᴴr = 1
        of_worst = right.gather(-1, worst[:, None, None].expand(-1, a.shape[-1], 1))
        towards = (left[:, :, None] * of_worst.mT).real
    return (a * towards).sum((-2, -1))
