"""A settled chip as a linear circuit with noise sources: what moves it, what holds it; differentiable in both.

Deviations from rest, amplifier output ``v`` and ``y = x − v`` with ``x`` the virtual ground, obey for every sample

    ẏ = −H y − K v + i/C_f,       H = (L + 1/R_f)/C_f,    K = (L + V_s T D)/C_f
    v̇ = −ω_t (y + v + v/A₀) + ω_t e

with L what loads the virtual grounds, T what the array transfers (:class:`~equilog.hardware.ProgrammedLayer`) and D
the activations' slopes at rest. The sources are white:

- **thermal current** ``i`` of all resistors. The array, its wires included, is a passive network that ends in the
  virtual grounds; with its drivers held, its short-circuit noise currents have the one-sided density ``4kT L`` and are
  correlated wherever L couples two neurons (Twiss, J. Appl. Phys. 26 (1955) 599). R_f adds 4kT/R_f. Together, as the
  intensity of a white process (half the one-sided density), ``Q_yy = 2kT (L + 1/R_f)/C_f² = (2kT/C_f) H``.
- **amplifier voltage** ``e`` in series with every + input, density e_n²: ``Q_vv = ω_t² e_n²/2``.

An output that rests at its rail does not move, whatever its virtual ground does.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

import torch
from scipy.constants import Boltzmann
from torch import Tensor

from equilog.hardware.curve import activation_of
from equilog.hardware.programming import ProgrammedLayer

LARGEST_CHUNK = 2**24
"""numbers in a matrix of the linear circuits that are worked on at the same time: 128 MB"""


@dataclass(frozen=True)
class LinearCircuit:
    """Chips about their resting points; a single chip is a population of one. All rates in 1/s, float64.

    Attributes:
        held: H, shape ``(chips, 1, n, n)``.
        fed: ``V_s T/C_f`` in V/s, shape ``(chips, 1, n, n)``.
        slope_per_volt: D, ``dz/dv``, shape ``(chips, batch, n)``.
        follow: ω_t, zero for an output at its rail, shape ``(chips, batch, n)``.
        leak: ``ω_t (1 + 1/A₀)``, shape ``(chips, 1, n)``.
        rate: ``1/τ``, scalar.
        thermal: ``2kT/C_f`` in V², scalar.
        amplifier_noise: e_n in V/√Hz.
        v_scale_volt: V_a.
        temperature_kelvin: of all resistors.
        wired: whether H is more than its diagonal.
    """

    held: Tensor
    fed: Tensor
    slope_per_volt: Tensor
    follow: Tensor
    leak: Tensor
    rate: Tensor
    thermal: Tensor
    amplifier_noise: float
    v_scale_volt: float
    temperature_kelvin: float
    wired: bool

    @property
    def coupling(self) -> Tensor:
        """K, shape ``(chips, batch, n, n)``."""
        eye = torch.eye(self.held.shape[-1]).to(self.held)
        return self.held - self.rate * eye + self.fed * self.slope_per_volt[..., None, :]

    @property
    def amplifier(self) -> Tensor:
        """Intensity of the amplifiers' noise, the diagonal of Q_vv in V²/s, shape ``(chips, batch, n)``."""
        return (self.follow * self.amplifier_noise).square() / 2

    def matrix(self) -> Tensor:
        """Return A of ``ẇ = A w`` with all y before all v, shape ``(chips, batch, 2n, 2n)``."""
        coupling = self.coupling
        rows = [
            torch.cat([-self.held.expand_as(coupling), -coupling], dim=-1),
            torch.cat([-self.follow.diag_embed(), -self.leak.expand_as(self.follow).diag_embed()], dim=-1),
        ]
        return torch.cat(rows, dim=-2)

    def intensity(self) -> Tensor:
        """Return Q in V²/s, in the order of :meth:`matrix` and of its shape."""
        outputs = self.amplifier.diag_embed()
        nothing = torch.zeros_like(outputs)
        currents = (self.thermal * self.held).expand_as(outputs)
        return torch.cat([torch.cat([currents, nothing], -1), torch.cat([nothing, outputs], -1)], dim=-2)

    def shaken(self, white_y: Tensor, white_v: Tensor) -> tuple[Tensor, Tensor]:
        """Return ``Q^½ ξ`` for independent ξ of variance 1, each of shape ``(chips, batch, n, k)``."""
        if self.wired:
            currents = torch.linalg.cholesky(self.held) @ white_y
        else:
            currents = self.held.diagonal(dim1=-2, dim2=-1)[..., None].sqrt() * white_y
        # Not the root of `amplifier`, whose gradient is infinite at an output that does not move.
        outputs = (self.follow * (self.amplifier_noise / math.sqrt(2)))[..., None] * white_v
        return self.thermal.sqrt() * currents, outputs

    def shifted(self, p: Tensor) -> Callable[[Tensor, Tensor], tuple[Tensor, Tensor]]:
        """Return the map ``r -> (pI − A)⁻¹ r``, from one factorisation of n × n for each sample.

        Args:
            p: above 0, shape ``(chips, batch, 1)`` or one that broadcasts to it.
        """
        coupling = self.coupling
        own = (p + self.leak)[..., None]
        through = self.follow / (p + self.leak)  # v for a unit of y, from the second equation
        eye = torch.eye(self.held.shape[-1]).to(self.held)
        factor = torch.linalg.lu_factor(self.held + p[..., None] * eye - coupling * through[..., None, :])

        def solve(y: Tensor, v: Tensor) -> tuple[Tensor, Tensor]:
            v = v / own
            y = torch.linalg.lu_solve(*factor, y - coupling @ v)
            return y, v - through[..., None] * y

        return solve

    @torch.no_grad()
    def slow_rate(self) -> Tensor:
        """Return a typical rate of the network's own modes, without gradient, shape ``(chips, batch, 1)``.

        The root mean square singular value of ``(I − WD)/τ``, slowed down as amplifiers slow a neuron on its own.
        """
        eye = torch.eye(self.held.shape[-1]).to(self.held)
        ideal = torch.linalg.matrix_norm(self.rate * eye - self.fed * self.slope_per_volt[..., None, :])
        drag = 1 + (self.held.diagonal(dim1=-2, dim2=-1) / self.leak).mean(-1)
        return (ideal / (eye.shape[-1] ** 0.5 * drag))[..., None]

    @property
    def alike(self) -> bool:
        """Whether all samples of a chip are the same circuit, off the tape: states without an activation are."""
        own = (self.slope_per_volt, self.follow)
        taped = torch.is_grad_enabled() and any(value.requires_grad for value in own)
        return not taped and all(bool((value == value[:, :1]).all()) for value in own)

    def part(self, chip: slice, samples: slice) -> LinearCircuit:
        """Return the circuits of some chips and samples."""
        return replace(
            self,
            held=self.held[chip],
            fed=self.fed[chip],
            slope_per_volt=self.slope_per_volt[chip, samples],
            follow=self.follow[chip, samples],
            leak=self.leak[chip],
        )

    def chunks(self) -> Iterator[LinearCircuit]:
        """Yield circuits of one chip and so many samples that their matrices fit into memory, in order."""
        chips, batch, n = self.slope_per_volt.shape
        size = max(1, LARGEST_CHUNK // (2 * n) ** 2)
        for c in range(chips):
            for k in range(0, batch, size):
                yield self.part(slice(c, c + 1), slice(k, k + size))


def linear_circuit(
    layer: ProgrammedLayer,
    rest_volt: Tensor,
    temperature_kelvin: float | None = None,
    amplifier_noise: float | None = None,
) -> LinearCircuit:
    """Linearise a chip, or a population, about its resting points.

    Args:
        layer: the chip or the population.
        rest_volt: resting outputs ``v*``, shape ``(batch, n)``, or ``(chips, batch, n)`` for a population.
        temperature_kelvin: of all resistors; the layer's conditions unless given.
        amplifier_noise: e_n in V/√Hz; the technology's unless given, 0 if it states none.

    Raises:
        ValueError: for a temperature not above 0, a noise below 0, or another shape than the layer's.
    """
    n, lead = layer.states, () if layer.chips is None else (layer.chips,)
    if rest_volt.ndim != len(lead) + 2 or rest_volt.shape[: len(lead)] != lead or rest_volt.shape[-1] != n:
        expected = ", ".join([*map(str, lead), "batch", str(n)])
        raise ValueError(f"expected resting outputs of shape ({expected}), got {tuple(rest_volt.shape)}")
    kelvin, e_n = noise_conditions(layer, temperature_kelvin, amplifier_noise)
    layer, rest_volt = layer.to(torch.float64), rest_volt.to(torch.float64)
    spec = layer.spec
    v_a, rail = float(spec.activation.v_scale_volt), spec.amplifier.rail_volt
    load = layer.load_siemens if layer.wired else layer.load_siemens.diag_embed()
    slope = activation_of(layer).slope(rest_volt / v_a) / v_a
    omega = 2 * math.pi * layer.gbw_hertz
    follow = omega[..., None, :].expand_as(rest_volt)
    if rail is not None:
        follow = torch.where(rest_volt.abs() < float(rail), follow, 0.0)
    fed = layer.transfer_siemens[..., :n] * float(spec.activation.v_out_volt)
    rate = 1 / (layer.r_feedback_ohm * layer.c_feedback_farad)
    held = load / layer.c_feedback_farad + rate * torch.eye(n).to(load)
    return LinearCircuit(
        held=held.view(-1, 1, n, n),
        fed=(fed / layer.c_feedback_farad).reshape(-1, 1, n, n),
        slope_per_volt=slope.reshape(-1, *rest_volt.shape[-2:]),
        follow=follow.reshape(-1, *rest_volt.shape[-2:]),
        leak=(omega * (1 + 1 / layer.dc_gain)).view(-1, 1, n),
        rate=rate,
        thermal=2 * Boltzmann * kelvin / layer.c_feedback_farad,
        amplifier_noise=e_n,
        v_scale_volt=v_a,
        temperature_kelvin=kelvin,
        wired=layer.wired,
    )


def noise_conditions(
    layer: ProgrammedLayer, temperature_kelvin: float | None, amplifier_noise: float | None
) -> tuple[float, float]:
    """Return temperature in K and e_n in V/√Hz: as given, or as the layer's conditions and technology have them.

    Raises:
        ValueError: for a temperature not above 0, or a noise below 0.
    """
    kelvin = layer.conditions.temperature_kelvin if temperature_kelvin is None else temperature_kelvin
    e_n = (layer.spec.amplifier.noise_volt_per_rthz or 0.0) if amplifier_noise is None else amplifier_noise
    if not (0 < kelvin < math.inf and 0 <= e_n < math.inf):
        raise ValueError(
            f"expected a temperature above 0 K and an amplifier noise of 0 or more, got {kelvin} K and {e_n} V/√Hz"
        )
    return float(kelvin), float(e_n)
