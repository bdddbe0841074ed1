"""A chip's differential equations, in coordinates in which every neuron's own part is diagonal.

Two states per neuron: ``y = x − v``, the voltage on its capacitor, and its amplifier's output v, x the virtual ground:

    C_f ẏ = −y/R_f − Σ_j L_ij (y_j + v_j) − Σ_k T_ik s_k − I_b
    v̇     = S(ω_t (o − y − v)) − v ω_t/A₀

with T what arrives of the crossbar, L its load (ΣG on the diagonal, nothing beside it with ideal wires), and S a hard
limit at ±slew: the first stage has only so much current for the pole's capacitor. Rails clamp the pole: at ±rail, v̇ is
zero in the outward direction, and the way back begins at once. A limit that the technology does not give is not there.

A neuron's own part of this is a 2 × 2 matrix with poles near −1/τ and −ω_t. In the coordinates

    c_k = y − e_k v,    k = slow, fast,    (e_k, 1) the eigenvector of the *other* pole

it is ``ċ_k = λ_k c_k + d``, with one drive d of all the rest for both. A neuron that slews or lies at its rail is
*held*: its v moves by a law of its own, and its states are y and v, with rates −(1/R_f + ΣG)/C_f and 0.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, fields, replace
from typing import Any, NamedTuple

import torch
from torch import Tensor

from equilog.cells import Tanh
from equilog.hardware.curve import activation_of
from equilog.hardware.programming import SHARED, ProgrammedLayer


@dataclass(frozen=True)
class Regime:
    """The neurons that are held, and by what; they are few, so they are listed.

    Attributes:
        where: flat indices into ``(chips, batch, n)``, shape ``(k,)``.
        law: ±slew where the neuron slews, 0 at a rail, shape ``(k,)``.
        side: ±1 at that rail, 0 where the neuron slews, shape ``(k,)``.
    """

    where: Tensor
    law: Tensor
    side: Tensor


@dataclass(frozen=True)
class Point:
    """A state of all samples, and what moves it.

    Attributes:
        state: in the coordinates of every neuron's regime, shape ``(2, chips, batch, n)``.
        now: N of the exponential method; shape likewise, or with a leading 1 where both coordinates share it.
        regime: None where no neuron is held.
    """

    state: Tensor
    now: Tensor
    regime: Regime | None = None


class Own(NamedTuple):
    """What a neuron's own dynamics are made of; in 1/s but `push` in V/s, `shift` in V, and `e` a number.

    The last two have a leading dimension for the slow coordinate and the fast.
    """

    omega: Tensor
    leak: Tensor
    load: Tensor
    decay: Tensor
    push: Tensor
    e: Tensor
    shift: Tensor


class Dynamics:
    """The equations of a chip, or of every chip of a population, under constant drives.

    All shapes ``(chips, batch, n)``, with 1 chip for a single one.

    Args:
        layer: the chip, or a population, in float64 and without gradients.
        played: drives as played, shape ``(batch, m)`` or ``(chips, batch, m)``, float64.
        dtype: to compute in; what the equations are made of is found in float64.

    Raises:
        ValueError: if amplifiers slew so slowly that they could not hold their outputs against their finite gain.
    """

    def __init__(self, layer: ProgrammedLayer, played: Tensor, dtype: torch.dtype) -> None:
        self.layer, self.dtype = layer, dtype
        n, spec, amp = layer.states, layer.spec, layer.spec.amplifier
        self.v_a = float(spec.activation.v_scale_volt)
        self.slew, self.rail = _limit(amp.slew_volt_per_second), _limit(amp.rail_volt)
        self.limited = min(self.slew, self.rail) < math.inf

        def rows(value: Tensor) -> Tensor:
            """(n,) or (chips, n) → (chips, 1, n)."""
            return value.reshape(-1, 1, n)

        c, r_f = layer.c_feedback_farad, layer.r_feedback_ohm
        self.omega = rows(2 * math.pi * layer.gbw_hertz)
        self.leak = self.omega / rows(layer.dc_gain)
        self.load = rows(layer.row_conductance_siemens) / c
        self.decay = 1 / (r_f * c) + self.load
        self.push = self.omega * rows(layer.amp_offset_volt)
        self._check_slew()

        transfer = layer.transfer_siemens / c
        transfer = transfer[None] if transfer.ndim == 2 else transfer
        self.feedback = transfer[..., :n] * float(spec.activation.v_out_volt)
        full = torch.cat([played, torch.ones_like(played[..., :1])], dim=-1)
        source = -(full * float(spec.dac.full_scale_volt)) @ transfer[..., n:].mT
        self.source = source - float(amp.input_bias_ampere or 0.0) / c
        self.neighbours: Tensor | None = None
        if layer.wired:
            matrix = (layer.load_siemens / c).reshape(-1, n, n)
            self.neighbours = matrix - torch.diag_embed(matrix.diagonal(dim1=-2, dim2=-1))
        self._modes()
        self._drives(layer)

    def _check_slew(self) -> None:
        amp = self.layer.spec.amplifier
        reach = min(self.rail, float(amp.supply_volt) / 2)
        held = float((self.slew / self.leak).min())
        if held < reach:
            raise ValueError(
                f"slew_volt_per_second = {self.slew:g}: with this dc_gain and gbw_hertz the first stage holds the "
                f"output only up to {held:.3g} V of {reach:.3g} V; expected at least {self.slew * reach / held:.3g}"
            )

    def _modes(self) -> None:
        """Find the eigenvalues and the change of coordinates, in float64, and keep them in the dtype to compute in."""
        own = self.omega + self.leak
        root = (((self.decay - own) / 2).square() + self.load * self.omega).sqrt()
        fast = -(self.decay + own) / 2 - root
        slow = (self.decay * own - self.load * self.omega) / fast  # not the difference of two large numbers
        e_slow, e_fast = -(slow + own) / self.omega, -(fast + own) / self.omega
        spread = e_fast - e_slow
        to = self.dtype
        self.rates = torch.stack([slow, fast])
        self.rates_held = torch.stack([-self.decay, torch.zeros_like(self.decay)])
        # c = y − e v, shifted so that the constant push o ω_t, which acts on v alone, vanishes.
        shift = torch.stack([e_fast / slow, e_slow / fast]) * self.push
        e = torch.stack([e_fast, e_slow])
        self.own = Own(*(value.to(to) for value in (self.omega, self.leak, self.load, self.decay, self.push, e, shift)))
        self.per_spread = (1 / spread).to(to)
        self.v_0 = ((shift[1] - shift[0]) / spread).to(to)
        x_fast, x_slow = (-(pole + self.leak) / self.omega / spread for pole in (fast, slow))  # (1 + e)/spread
        self.x_fast, self.x_slow = x_fast.to(to), x_slow.to(to)
        self.x_0 = (x_fast * shift[1] - x_slow * shift[0]).to(to)
        self._rates = self.rates.to(to)

    def _drives(self, layer: ProgrammedLayer) -> None:
        """Prepare :meth:`drive`; tanh becomes a logistic function, which costs PyTorch a sixth."""
        self.activation = act = activation_of(layer)
        self.activation_here = activation_of(layer.to(self.dtype))
        self.logistic = isinstance(act, Tanh)
        source, matrix = self.source, self.feedback
        if isinstance(act, Tanh):
            gain = torch.as_tensor(act.gain, dtype=torch.float64)
            shift = torch.as_tensor(act.shift, dtype=torch.float64)
            matrix = matrix * gain  # (n,) or (chips, 1, n), along the columns
            source = source + matrix.sum(-1)[:, None, :]
            self.twice_shift = (2 * shift).expand(matrix.shape[0], 1, -1).to(self.dtype)
            matrix = 2 * matrix
        self.constant = source.expand(matrix.shape[0], -1, -1).to(self.dtype).contiguous()
        self.matrix = -matrix.mT.to(self.dtype).contiguous()
        self.between = None if self.neighbours is None else -self.neighbours.mT.to(self.dtype).contiguous()

    def own_of(self, where: Tensor) -> Own:
        """Return what the listed neurons are made of, shapes ``(k,)`` and ``(2, k)``."""
        chips, batch, n = self.shape
        column = where % n if chips == 1 else where // (batch * n) * n + where % n
        return Own(*(take(value, column) for value in self.own))

    @property
    def shape(self) -> tuple[int, int, int]:
        """Chips, batch, n."""
        chips, batch, n = self.constant.shape
        return chips, batch, n

    def fastest_coupling(self) -> Tensor:
        """Return a bound in 1/s on how fast the neurons of every chip act on each other, shape ``(chips,)``."""
        p = torch.linspace(-8, 8, 257, dtype=torch.float64)[:, None].expand(-1, self.shape[2])
        slope = self.activation.slope(p).amax(-2, keepdim=True) / self.v_a
        bound = torch.linalg.matrix_norm(self.feedback * slope * self.per_spread.mT, 2)
        if self.neighbours is not None:
            reach = self.x_fast.abs() + self.x_slow.abs()
            bound = bound + torch.linalg.matrix_norm(self.neighbours * reach, 2)
        return bound

    def drive(self, v: Tensor, x: Tensor | None) -> Tensor:
        """Return d in V/s at outputs ``v`` within the rails; virtual grounds ``x`` matter with resistive wires only."""
        if self.logistic:
            z = torch.sub(v * (2 / self.v_a), self.twice_shift).sigmoid_()
        else:
            z = self.activation_here(v / self.v_a)
        d = torch.baddbmm(self.constant, z, self.matrix)
        return d if self.between is None or x is None else torch.baddbmm(d, x, self.between)

    def output(self, state: Tensor, regime: Regime | None) -> Tensor:
        """Return v; of a step that ends beyond a rail, beyond it too."""
        v = torch.addcmul(self.v_0, state[1] - state[0], self.per_spread)
        if regime is not None:
            put(v, regime.where, take(state, regime.where)[1])
        return v

    def ground(self, state: Tensor, regime: Regime | None) -> Tensor:
        """Return ``x = y + v`` with v as from :meth:`output`."""
        x = torch.addcmul(self.x_0, state[1], self.x_fast).addcmul_(state[0], self.x_slow, value=-1)
        if regime is not None:
            put(x, regime.where, take(state, regime.where).sum(0))
        return x

    def slopes(self, point: Point, ground: bool) -> tuple[Tensor, Tensor | None]:
        """Return the rates of change of :meth:`output` and, if wanted, of :meth:`ground`."""
        moving = torch.addcmul(point.now, self._rates, point.state)
        v = (moving[1] - moving[0]) * self.per_spread
        x = (moving[1] * self.x_fast).addcmul_(moving[0], self.x_slow, value=-1) if ground else None
        if point.regime is not None:
            where = point.regime.where
            now = take(point.now, where)
            put(v, where, now[1])
            if x is not None:
                put(x, where, now.sum(0) - self.own_of(where).decay * take(point.state, where)[0])
        return v, x

    def start(self) -> Point:
        """Return the discharged circuit at t = 0."""
        zero = self.constant.new_zeros(self.shape)
        return Point((-self.own.shift).expand(2, *self.shape).contiguous(), self.drive(zero, zero)[None])

    def rates_of_change(self, y: Tensor, v: Tensor) -> tuple[Tensor, Tensor]:
        """Return ``ẏ`` and ``v̇`` with capacitors at ``y`` and outputs at ``v`` within the rails."""
        x = y + v
        charge = self.drive(v, x) - self.own.decay * y - self.own.load * v
        output = (self.own.push - self.own.omega * x).clamp_(-self.slew, self.slew) - self.own.leak * v
        return charge, torch.where((v.abs() >= self.rail) & (output * v > 0), 0.0, output)


def time_scale_second(layer: ProgrammedLayer) -> Tensor:
    """Return what a neuron of every chip takes on its own, shape ``(chips,)``: ``τ + N/ω_t``, the smallest of the chip.

    Its integrator's time constant, or its amplifier's closed loop where that is slower.
    """
    closed_loop = (layer.noise_gain / (2 * math.pi * layer.gbw_hertz)).reshape(-1, layer.states)
    return layer.time_constant_second + closed_loop.amin(1)


def some_chips(layer: ProgrammedLayer, which: slice) -> ProgrammedLayer:
    """Return a part of a population."""
    own = [f.name for f in fields(layer) if f.name not in SHARED]
    parts: dict[str, Any] = {name: v[which] for name in own if isinstance(v := getattr(layer, name), Tensor | tuple)}
    return replace(layer, **parts)


def take(value: Tensor, where: Tensor) -> Tensor:
    """Return the values of some neurons, shape ``(k,)``; of a state ``(2, k)``, of a shared N ``(1, k)``."""
    if value.ndim == 3:
        return value.view(-1).index_select(0, where)
    return value.view(len(value), -1).index_select(1, where)


def put(value: Tensor, where: Tensor, what: Tensor) -> None:
    """Write the values of some neurons; the reverse of :func:`take`."""
    if value.ndim == 3:
        value.view(-1).index_copy_(0, where, what)
    else:
        value.view(len(value), -1).index_copy_(1, where, what)


def _limit(figure: float | None) -> float:
    return math.inf if figure is None else float(figure)
