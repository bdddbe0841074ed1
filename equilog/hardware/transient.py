"""The twin in time: how a programmed chip gets to rest.

Two states per neuron, output ``v`` and ``y = x − v`` with ``x`` the virtual ground:

    C_f ẏ = −y/R_f − ΣG (y + v) − Σ_k (G⁺ − G⁻)_ik s_k
    v̇     = ω_t (o − y − v) − v ω_t/A₀

The linear part is a 2×2 block per neuron with poles near 1/τ and ω_t, three decades apart; neurons meet only in
``s(v)``. The exponential Runge–Kutta method ETDRK4 (Cox & Matthews, J. Comput. Phys. 176 (2002) 430) solves the
blocks exactly, so the step follows τ and not the amplifier's pole. Only the start is sampled finely, so that the
amplifiers' own first response can be interpolated between grid points.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from equilog.hardware.programming import ProgrammedLayer

DEFAULT_STEPS_PER_TAU = 100


@dataclass(frozen=True)
class Trajectory:
    """A transient from power-on reset.

    Attributes:
        time_second: shape ``(points,)``; dense at the start, even from then on.
        v_volt: amplifier outputs, shape ``(points, batch, n)``.
        slope_volt_per_second: ``v̇`` at the same instants, same shape; for accurate interpolation.
    """

    time_second: Tensor
    v_volt: Tensor
    slope_volt_per_second: Tensor


class Transient:
    """The initial value problem of one programmed chip under constant drives, from discharged capacitors.

    Args:
        layer: the chip.
        played: drives as the DACs play them from t = 0, shape ``(batch, m)``.
        steps_per_tau: time steps per ``τ + N/ω_t``, the time scale of a neuron on its own. At 100 the error stays below
            1e-5 of V_a; it falls with the fourth power where amplifiers are slow, and less steeply (order reduction, as
            with any exponential Runge–Kutta method) where ω_t τ is large.
    """

    def __init__(self, layer: ProgrammedLayer, played: Tensor, *, steps_per_tau: int = DEFAULT_STEPS_PER_TAU) -> None:
        layer = layer.to(torch.float64)
        n = layer.states
        spec = layer.spec
        self.v_a = float(spec.activation.v_scale_volt)
        # What a neuron on its own takes: its integrator, or its amplifier's closed loop where that is slower.
        closed_loop = layer.noise_gain / (2 * math.pi * layer.gbw_hertz)
        self.time_scale_second = layer.time_constant_second + float(closed_loop.min())
        self.step_second = self.time_scale_second / steps_per_tau
        self.first_step_second = min(self.step_second, 0.05 / (2 * math.pi * float(layer.gbw_hertz.max())))
        self.played = played.detach().to(torch.float64)
        c = layer.c_feedback_farad
        omega = 2 * math.pi * layer.gbw_hertz
        row = layer.row_conductance_siemens
        block = torch.empty(n, 2, 2, dtype=torch.float64)
        block[:, 0, 0] = -(1 / layer.r_feedback_ohm + row) / c
        block[:, 0, 1] = -row / c
        block[:, 1, 0] = -omega
        block[:, 1, 1] = -omega * (1 + 1 / layer.dc_gain)
        self.block = block.detach()
        signed = ((layer.g_plus_siemens - layer.g_minus_siemens) / c).detach()
        self.feedback = signed[:, :n] * spec.activation.v_out_volt
        full = torch.cat([self.played, torch.ones_like(self.played[:, :1])], dim=1)
        self.source = -(full * spec.dac.full_scale_volt) @ signed[:, n:].T
        self.offset = (omega * layer.amp_offset_volt).detach()
        self.act_gain = layer.act_gain.detach()
        self.act_shift = layer.act_offset_volt.detach()

    def grid(self, duration_second: float) -> Tensor:
        """Return instants from 0 to `duration_second`: steps grow by 15 % each from the amplifier's time scale."""
        steps = []
        h, now = self.first_step_second, 0.0
        while h < self.step_second and now + h < duration_second:
            steps.append(h)
            now += h
            h *= 1.15
        count = math.ceil((duration_second - now) / self.step_second - 1e-9)
        steps += [self.step_second] * count
        return torch.tensor([0.0, *steps], dtype=torch.float64).cumsum(0)

    def activation(self, v: Tensor) -> Tensor:
        """Return the activation outputs ``z = s/V_s`` at amplifier outputs ``v``, any leading shape."""
        return self.act_gain * torch.tanh((v - self.act_shift) / self.v_a)

    def _drive(self, v: Tensor) -> Tensor:
        """Everything in ẏ that is not the neuron's own linear part, shape ``(batch, n)``."""
        return self.source - self.activation(v) @ self.feedback.T

    @torch.no_grad()
    def slope(self, w: Tensor) -> Tensor:
        """Return ``d(y, v)/dt`` for states ``w`` of shape ``(batch, n, 2)``, components y and v."""
        return _apply(self.block, w) + torch.stack([self._drive(w[..., 1]), self.offset.expand_as(w[..., 1])], dim=-1)

    @torch.no_grad()
    def states(self, grid: Tensor) -> Iterator[Tensor]:
        """Yield the state ``(batch, n, 2)`` at every instant of `grid`, without keeping earlier ones."""
        batch, n = self.source.shape
        w = torch.zeros(batch, n, 2, dtype=torch.float64)
        offset = self.offset.expand(batch, n)
        h = math.nan
        yield w
        for step in grid.diff().tolist():
            if not math.isclose(step, h, rel_tol=1e-9):
                h = step
                e, e_half, q, f1, f2, f3 = _etd_weights(self.block * h)
            now = torch.stack([self._drive(w[..., 1]), offset], -1)
            half = _apply(e_half, w)
            a = half + h * _apply(q, now)
            at_a = torch.stack([self._drive(a[..., 1]), offset], -1)
            b = half + h * _apply(q, at_a)
            at_b = torch.stack([self._drive(b[..., 1]), offset], -1)
            c = _apply(e_half, a) + h * _apply(q, 2 * at_b - now)
            at_c = torch.stack([self._drive(c[..., 1]), offset], -1)
            w = _apply(e, w) + h * (_apply(f1, now) + _apply(f2, 2 * (at_a + at_b)) + _apply(f3, at_c))
            yield w

    def run(self, duration_second: float) -> Trajectory:
        """Return the whole trajectory up to (at least) `duration_second`."""
        grid = self.grid(duration_second)
        v, slope = [], []
        for w in self.states(grid):
            v.append(w[..., 1])
            slope.append(self.slope(w)[..., 1])
        return Trajectory(grid, torch.stack(v), torch.stack(slope))

    @torch.no_grad()
    def settle(self, rest_volt: Tensor, tolerance: float, duration_second: float) -> tuple[Tensor, Tensor]:
        """Watch all samples come to rest, keeping only what is needed.

        Args:
            rest_volt: resting outputs ``v*``, shape ``(batch, n)``.
            tolerance: half-width of the band around rest, in units of the state (1 is V_s).
            duration_second: how long to watch.

        Returns:
            the time after which every node's activation output stays within the band, shape ``(batch,)``, inf
            for a sample still outside at the end; and ``v`` at the end, shape ``(batch, n)``.
        """
        grid = self.grid(duration_second)
        after = torch.cat([grid[1:], grid.new_tensor([torch.inf])])
        rest = self.activation(rest_volt)
        settled = torch.zeros(rest_volt.shape[:1], dtype=torch.float64)
        v = rest_volt
        for next_instant, w in zip(after, self.states(grid)):
            v = w[..., 1]
            outside = (self.activation(v) - rest).abs().amax(1) > tolerance
            settled = torch.where(outside, next_instant, settled)
        return settled, v

    def activation_slope(self, v: Tensor) -> Tensor:
        """Return ``dz/dv`` in 1/V of every activation at amplifier outputs ``v``, any leading shape."""
        return self.act_gain * (1 - torch.tanh((v - self.act_shift) / self.v_a) ** 2) / self.v_a

    @torch.no_grad()
    def linearised(self, rest_volt: Tensor) -> Tensor:
        """Return the circuit's matrix ``A`` at rest, ``ẇ = A w``, in 1/s, shape ``(batch, 2n, 2n)``.

        States in the order y_0, v_0, y_1, v_1, …: neuron i has the 2×2 block at 2i.
        """
        batch, n = rest_volt.shape
        matrix = torch.zeros(batch, n, 2, n, 2, dtype=torch.float64)
        own = torch.arange(n)
        matrix[:, own, :, own, :] = self.block[:, None]
        matrix[:, :, 0, :, 1] -= self.feedback * self.activation_slope(rest_volt)[:, None, :]
        return matrix.reshape(batch, 2 * n, 2 * n)

    @torch.no_grad()
    def spectral_abscissa(self, rest_volt: Tensor) -> Tensor:
        """Return ``max Re λ`` of the circuit linearised at rest, in 1/s, shape ``(batch,)``.

        All 2n poles, the amplifiers' included: negative means the resting point is stable in the circuit and
        not only in the map.
        """
        return torch.linalg.eigvals(self.linearised(rest_volt)).real.amax(1)


def _apply(blocks: Tensor, w: Tensor) -> Tensor:
    """Multiply every neuron's 2×2 block with its state: ``(n, 2, 2), (batch, n, 2) -> (batch, n, 2)``."""
    return (blocks * w[..., None, :]).sum(-1)


def _etd_weights(a: Tensor) -> tuple[Tensor, ...]:
    """Return ETDRK4's matrices for blocks ``a = hL``: exp(a), exp(a/2), ½φ₁(a/2) and the three final weights.

    φ functions come from the exponential of an augmented matrix (Sidje, ACM TOMS 24 (1998) 130), which has
    none of the cancellation of their closed forms near zero.
    """
    e_half, half_1, _, _ = _phi(a / 2)
    e, p1, p2, p3 = _phi(a)
    return e, e_half, half_1 / 2, p1 - 3 * p2 + 4 * p3, p2 - 2 * p3, 4 * p3 - p2


def _phi(a: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Return ``exp(a), φ₁(a), φ₂(a), φ₃(a)`` for a batch of 2×2 matrices."""
    big = torch.zeros(a.shape[0], 8, 8, dtype=a.dtype)
    big[:, :2, :2] = a
    big[:, :6, 2:] += torch.eye(6, dtype=a.dtype)
    e = torch.linalg.matrix_exp(big)
    return e[:, :2, :2], e[:, :2, 2:4], e[:, :2, 4:6], e[:, :2, 6:8]
