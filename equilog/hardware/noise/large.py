"""Noise at rest of large chips: the variances alone, from random probes, by linear solves of n × n.

The noise's intensity ``Q = BBᵀ`` in the Lyapunov equation has full rank; but ``Q = E[bbᵀ]`` for ``b = Bz`` with
independent signs z, and the equation is linear: solved for a few random ``b bᵀ``, its solutions scatter about the
wanted one (Hutchinson, Commun. Stat. Simul. 18 (1989) 1059). For a single b the solution is a sum that needs only
shifted solves (low-rank ADI: Penzl, SIAM J. Sci. Comput. 21 (1999) 1401),

    w₀ = b,   V_j = (p_j I − A)⁻¹ w_{j−1},   w_j = w_{j−1} − 2p_j V_j,    Σ ≈ Σ_j 2p_j V_j V_jᵀ

and its residual is exactly ``w_j w_jᵀ``, which dies out if and only if A is stable. What a neuron hears of its own
thermal current is right with a single probe, as a sign squared is 1; what it hears of other sources scatters.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from equilog.hardware.noise.model import LinearCircuit

TOLERANCE = 1e-4
"""residual relative to Q at which a solution is good enough: far below what probes scatter"""

MOST_CYCLES = 40


@dataclass(frozen=True)
class Sampled:
    """Variances as found by probes, each with its statistical standard error, and what is left of the equation.

    Attributes:
        variance_volt2: of the outputs, shape ``(chips, batch, n)``.
        variance_error: its standard error, same shape.
        displacement: trace of the states' covariance, shape ``(chips, batch)``.
        displacement_error: its standard error, same shape.
        residual: of the Lyapunov equation relative to Q, shape ``(chips, batch)``; above :data:`TOLERANCE` for an
            unstable chip.
    """

    variance_volt2: Tensor
    variance_error: Tensor
    displacement: Tensor
    displacement_error: Tensor
    residual: Tensor


@torch.no_grad()
def sampled_noise(circuit: LinearCircuit, probes: int, generator: torch.Generator) -> Sampled:
    """Estimate the noise of every sample; see :class:`Sampled`. Memory: a few n × n matrices, whatever the batch.

    The relative standard error of an rms is at most about ``1/√(2·probes)``, less where neurons hear mainly themselves;
    that of the trace is much smaller yet, unless one slow mode dominates it.
    """
    chips, batch, _ = circuit.slope_per_volt.shape
    single = [circuit.part(slice(c, c + 1), slice(k, k + 1)) for c in range(chips) for k in range(batch)]
    found = [_one(sample, probes, generator) for sample in single]
    variance = torch.stack([each for each, _, _ in found])
    moved = torch.stack([trace for _, trace, _ in found])
    residual = torch.tensor([left for _, _, left in found]).to(variance)

    def mean(values: Tensor) -> tuple[Tensor, Tensor]:
        spread = values.std(-1) / probes**0.5
        return values.mean(-1).view(chips, batch, *values.shape[1:-1]), spread.view(chips, batch, *values.shape[1:-1])

    return Sampled(*mean(variance), *mean(moved), residual.view(chips, batch))


def _one(circuit: LinearCircuit, probes: int, generator: torch.Generator) -> tuple[Tensor, Tensor, float]:
    """Return, for one sample, variances ``(n, probes)``, traces ``(probes,)`` and the relative residual."""
    n = circuit.slope_per_volt.shape[-1]

    def signs() -> Tensor:
        drawn = torch.randint(0, 2, (1, 1, n, probes), generator=generator, device=generator.device)
        return (2.0 * drawn - 1).to(circuit.held)

    y, v = circuit.shaken(signs(), signs())
    whole = _size(y, v)
    total = torch.zeros_like(v)
    left = 1.0
    slow = circuit.slow_rate()
    fast = circuit.leak.mean() + circuit.held.diagonal(dim1=-2, dim2=-1).mean()
    # Amplifiers, what lies between, and the network's own modes, several steps on each factorisation.
    schedule = [(fast.expand_as(slow), 2), ((fast * slow).sqrt(), 2), (slow, 16), (slow / 4, 16), (slow / 16, 16)]
    for _ in range(MOST_CYCLES):
        for p, repeats in schedule:
            solve = circuit.shifted(p)
            for k in range(repeats):
                ahead_y, ahead_v = solve(y, v)
                total += 2 * float(p) * ahead_v.square()
                y, v = y - 2 * float(p) * ahead_y, v - 2 * float(p) * ahead_v
                if k % 4 == 3 and (left := _size(y, v) / whole) < TOLERANCE:
                    total = total[0, 0]
                    moved = (circuit.slope_per_volt[0, 0, :, None].square() * total).sum(0)
                    return total, moved, left
        if not left < 1e12:
            break
    return total[0, 0], total[0, 0].sum(0), max(left, 2 * TOLERANCE)


def _size(y: Tensor, v: Tensor) -> float:
    """Return the Frobenius norm of ``wwᵀ``, without forming it."""
    return float(torch.linalg.matrix_norm(y[0, 0].T @ y[0, 0] + v[0, 0].T @ v[0, 0]))
