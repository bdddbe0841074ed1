"""The twin in time: how a programmed chip gets to rest.

Two states per neuron, output ``v`` and ``y = x − v`` with ``x`` the virtual ground:

    C_f ẏ = −y/R_f − ΣG (y + v) − Σ_k (G⁺ − G⁻)_ik s_k
    v̇     = ω_t (o − y − v) − v ω_t/A₀

with ideal wires, no bias current, and amplifiers that neither slew nor meet their rails; all of it is in
:mod:`~equilog.hardware.transient.dynamics`. The linear part is a 2 × 2 block per neuron with poles near 1/τ and ω_t,
decades apart; neurons meet only in ``s(v)``. An exponential Runge–Kutta method solves the blocks exactly
(:mod:`~equilog.hardware.transient.etd`), so that the step follows τ and not the amplifier's pole, and every sample
takes the steps that it needs (:mod:`~equilog.hardware.transient.step_control`).
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, fields, replace
from functools import cached_property

import torch
from torch import Tensor

from equilog.hardware.programming import ProgrammedLayer
from equilog.hardware.transient.dynamics import Dynamics, time_scale_second
from equilog.hardware.transient.step_control import Blocks, Statistics

DEFAULT_TOLERANCE = 1e-5
DEFAULT_POINTS_PER_TAU = 20
_SAMPLES_AT_ONCE = 64
_TIGHTEST = {torch.float64: 1e-10, torch.float32: 1e-5}


class UnstableChipError(RuntimeError):
    """The circuit does not stay at the resting point: pushed off it, it goes away; its noise grows without bound."""


@dataclass(frozen=True)
class Trajectory:
    """A transient from power-on reset.

    Attributes:
        time_second: shape ``(points,)``.
        v_volt: amplifier outputs, shape ``(points, batch, n)``, for a population ``(points, chips, batch, n)``.
        slope_volt_per_second: ``v̇`` at the same instants, same shape; for accurate interpolation.
    """

    time_second: Tensor
    v_volt: Tensor
    slope_volt_per_second: Tensor


class Transient:
    """The initial value problem of a programmed chip under constant drives, from discharged capacitors.

    Shapes below are those of one chip; a population's have a leading dimension ``chips``.

    Args:
        layer: the chip, or a population.
        played: drives as the DACs play them from t = 0, shape ``(batch, m)`` or, for a population,
            ``(chips, batch, m)``.
        tolerance: every sample takes steps of its own, such that outputs are off by about this much of V_a at most
            along the whole way; 1e-5 unless given.
        steps_per_tau: instants of :meth:`grid` per ``τ + N/ω_t``, the time scale of a neuron on its own; 20 by default.
            Given without a `tolerance`, these are the steps, too, after a start in growing ones, and the error is
            whatever results: slower than a tolerance for the same error. Amplifiers with slew or rails are always
            followed to a tolerance.
        dtype: float64, or float32 for speed.

    Attributes:
        v_a: V_a in volts.
        time_scale_second: ``τ + N/ω_t``.

    Raises:
        ValueError: for a tolerance that the dtype cannot keep, another dtype, less than one step, drives that are not
            finite or of another shape, or a slew rate too low to hold the outputs against their finite gain.
    """

    def __init__(
        self,
        layer: ProgrammedLayer,
        played: Tensor,
        *,
        tolerance: float | None = None,
        steps_per_tau: int | None = None,
        dtype: torch.dtype = torch.float64,
    ) -> None:
        _check(layer, played, tolerance, steps_per_tau, dtype)
        self.layer = layer = _plain(layer)
        self.played = played.detach().to(torch.float64)
        self._of = of = Dynamics(layer, self.played, dtype)
        self.v_a = of.v_a
        self.time_scale_second = float(time_scale_second(layer).min())
        self.step_second = self.time_scale_second / (steps_per_tau or DEFAULT_POINTS_PER_TAU)
        self.first_step_second = min(self.step_second, 0.05 / float(of.omega.max()))
        if tolerance is None and (steps_per_tau is None or of.limited):
            tolerance = DEFAULT_TOLERANCE
        self._tolerance, self._longest = tolerance, self.step_second if tolerance is None else None

    @cached_property
    def _stepper(self) -> Blocks:
        return Blocks(self.layer, self.played, self._of.dtype, self._tolerance, self._longest)

    @property
    def statistics(self) -> Statistics:
        """What the latest pass took; all zero before the first."""
        found = self._stepper.statistics
        return found if self.layer.chips is not None else found.first()

    def grid(self, duration_second: float) -> Tensor:
        """Return instants from 0 to `duration_second`: gaps grow by 15 % each from the amplifier's time scale.

        Close enough for cubic interpolation of what is smooth, the amplifiers' own first response included. The kink
        where an output meets its rail is not smooth: :meth:`at` follows it at any instant.
        """
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
        return self._of.activation(v / self.v_a)

    def activation_slope(self, v: Tensor) -> Tensor:
        """Return ``dz/dv`` in 1/V of every activation at amplifier outputs ``v``, any leading shape."""
        return self._of.activation.slope(v / self.v_a) / self.v_a

    @torch.no_grad()
    def slope(self, w: Tensor) -> Tensor:
        """Return ``d(y, v)/dt`` for states ``w`` of shape ``(batch, n, 2)``, components y and v."""
        y, v = (self._inner(part) for part in w.to(self._of.dtype).unbind(-1))
        return torch.stack([self._outer(part) for part in self._of.rates_of_change(y, v)], dim=-1)

    @torch.no_grad()
    def states(self, grid: Tensor) -> Iterator[Tensor]:
        """Yield the state ``(batch, n, 2)`` at every instant of `grid`, without keeping earlier ones.

        Args:
            grid: in seconds, from 0 or later on, rising.

        Raises:
            ValueError: for another grid.
        """
        for v, x in self._stepper.follow(_checked(grid), ground=True):
            yield self._outer(torch.stack([x - v, v], dim=-1))

    def run(self, duration_second: float) -> Trajectory:
        """Return the whole trajectory up to (at least) `duration_second`, on :meth:`grid`."""
        return self.at(self.grid(duration_second))

    @torch.no_grad()
    def at(self, time_second: Tensor) -> Trajectory:
        """Return the trajectory at given instants; arguments and errors as :meth:`states`."""
        v, slope = [], []
        for value, rate in self._stepper.follow(_checked(time_second), slope=True):
            v.append(self._outer(value))
            slope.append(self._outer(rate))
        return Trajectory(time_second, torch.stack(v), torch.stack(slope))

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
        settled = torch.zeros(rest_volt.shape[:-1], dtype=torch.float64)
        v = rest_volt
        for next_instant, (value,) in zip(after, self._stepper.follow(grid)):
            v = self._outer(value)
            outside = (self.activation(v) - rest).abs().amax(-1) > tolerance
            settled = torch.where(outside, next_instant, settled)
        return settled, v

    @torch.no_grad()
    def linearised(self, rest_volt: Tensor) -> Tensor:
        """Return the circuit's matrix ``A`` at rest, ``ẇ = A w``, in 1/s, shape ``(batch, 2n, 2n)``.

        States in the order y_0, v_0, y_1, v_1, …: neuron i has the 2×2 block at 2i. An output at or beyond its rail
        stays there: nothing acts on it, and it returns to the rail at the speed of its amplifier.
        """
        of, v = self._of, self._inner(rest_volt.to(torch.float64))
        chips, batch, n = v.shape
        matrix = torch.zeros(chips, batch, n, 2, n, 2, dtype=torch.float64)
        slope = self._inner(self.activation_slope(rest_volt.to(torch.float64)))
        matrix[..., 0, :, 1] -= of.feedback[:, None] * slope[:, :, None, :]
        if of.neighbours is not None:
            matrix[..., 0, :, :] -= of.neighbours[:, None, :, :, None]
        free = (v.abs() < of.rail).to(torch.float64)
        own = torch.arange(n)
        blocks = [[-of.decay, -of.load], [-of.omega * free, -(of.omega + of.leak)]]
        for i, row in enumerate(blocks):
            for j, value in enumerate(row):
                matrix[:, :, own, i, own, j] += value.expand(chips, batch, n)
        return self._outer(matrix.view(chips, batch, 2 * n, 2 * n))

    @torch.no_grad()
    def spectral_abscissa(self, rest_volt: Tensor) -> Tensor:
        """Return ``max Re λ`` of the circuit linearised at rest, in 1/s, shape ``(batch,)``.

        All 2n poles, the amplifiers' included: negative means the resting point is stable in the circuit and
        not only in the map. One dense eigenvalue problem a sample: 2 ms at n = 64, 16 ms at n = 128 on one core; one
        for all of them where slopes are the same in all, as those of states without an activation are.
        """
        if rest_volt.shape[-2] > 1 and self._alike(rest_volt.to(torch.float64)):
            return self.spectral_abscissa(rest_volt[..., :1, :]).expand(rest_volt.shape[:-1]).clone()
        parts = rest_volt.split(_SAMPLES_AT_ONCE, dim=-2)
        return torch.cat([torch.linalg.eigvals(self.linearised(part)).real.amax(-1) for part in parts], dim=-1)

    def _alike(self, rest_volt: Tensor) -> bool:
        """Return whether all samples of a chip have the same slopes and the same outputs at their rails."""
        slope, free = self.activation_slope(rest_volt), rest_volt.abs() < self._of.rail
        return all(bool((value == value[..., :1, :]).all()) for value in (slope, free))

    def _inner(self, value: Tensor) -> Tensor:
        """(batch, n) → (1, batch, n)."""
        return value if self.layer.chips is not None else value[None]

    def _outer(self, value: Tensor) -> Tensor:
        """(1, batch, n, …) → (batch, n, …)."""
        return value if self.layer.chips is not None else value[0]


def _plain(layer: ProgrammedLayer) -> ProgrammedLayer:
    """Return the layer in float64, without gradients."""
    tensors = {f.name: v.detach() for f in fields(layer) if isinstance(v := getattr(layer, f.name), Tensor)}
    return replace(layer, **tensors).to(torch.float64)  # type: ignore[arg-type]  # only tensors are replaced


def _checked(grid: Tensor) -> Tensor:
    grid = grid.to(torch.float64)
    if grid.ndim != 1 or not len(grid) or not bool((grid.diff() >= 0).all() and grid[0] >= 0 and grid[-1] < math.inf):
        raise ValueError("expected instants in seconds, rising, from 0 or later on")
    return grid


def _check(
    layer: ProgrammedLayer, played: Tensor, tolerance: float | None, steps_per_tau: int | None, dtype: torch.dtype
) -> None:
    if dtype not in _TIGHTEST:
        raise ValueError(f"dtype = {dtype}: expected torch.float64 or torch.float32")
    if tolerance is not None and not _TIGHTEST[dtype] <= tolerance < 1:
        raise ValueError(f"tolerance = {tolerance}: expected from {_TIGHTEST[dtype]:g} to 1 in {dtype}")
    if steps_per_tau is not None and not steps_per_tau >= 1:
        raise ValueError(f"steps_per_tau = {steps_per_tau}: expected 1 or more")
    lead = () if played.ndim == 2 else (layer.chips,)
    if played.ndim not in (2, 3) or (played.ndim == 3 and layer.chips is None):
        raise ValueError(f"expected drives of shape (batch, {layer.drives}), got {tuple(played.shape)}")
    if played.shape[-1] != layer.drives or played.shape[:-2] != lead:
        raise ValueError(f"expected drives of shape {(*lead, 'batch', layer.drives)}, got {tuple(played.shape)}")
    if not bool(played.isfinite().all()):
        raise ValueError("a drive is inf or nan")
