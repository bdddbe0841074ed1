"""The diode–resistor cell: nodes of a passive network, each held up by a diode; its equilibrium is Kirchhoff's law.

No amplifier: n nodes at voltages v, joined by resistors, loaded by resistors to ground, to the drives ±d and to a
reference ±1 V; into each flows the current of one diode from a common anode at V_r. The currents balance where

    G v + I_d(v) = i,      G = Laplacian(couplings) + diag(leaks),   I_d(v) = −I_D(V_r − v),   i = U d + b.

G is symmetric with ``λ_min(G) ≥`` the smallest leak, and I_d rises: a strongly monotone inclusion with exactly one
solution, the minimum of the co-content ``½ vᵀGv + Σ∫I_d − iᵀv`` (Millar, Phil. Mag. 42 (1951) 1150). Split by the
resolvent of I_d at any γ > 0: with ``p = v + I_d(v)/γ``,

    p = W φ(p) + i/γ,      W = I − G/γ,      v = φ(p) = (1 + I_d/γ)⁻¹(p),

the affine system that equilibrium solvers know, with margin ``λ_min(G)/γ`` and slopes of φ in (0, 1]. An ideal diode
makes φ a ReLU; a junction with series resistance makes it the smooth ReLU of :class:`DiodeReLU`. That resistor–diode
networks are monotone equilibrium networks: Chaffey, *Circuit realization and hardware linearization of monotone
operator equilibrium networks*, arXiv:2509.13793 (2025). Adjoint: with D = I_d'(v*), ``(G + D) λ = g``; G is its own
transpose, so the same resistors with every diode replaced by its conductance rest at the gradient.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import softplus

from equilog.cells.certificate import Certificate, certify
from equilog.cells.circuit_cell import check_drive
from equilog.cells.system import AffineSystem

BOLTZMANN_OVER_CHARGE = 8.617333262e-5
"""k/q in V/K"""


@dataclass(frozen=True)
class Diode:
    """A junction with series resistance: ``V = R_s I + N V_T ln(1 + I/I_s)``; the parameters of SPICE's model.

    Unless given, those of the 1N4148 as simulators ship it.

    Attributes:
        saturation_ampere: I_s.
        ideality: N.
        series_ohm: R_s.
        kelvin: temperature, which gives ``V_T = kT/q``; I_s is taken as that of this temperature.

    Raises:
        ValueError: for a number that is not above zero, or a negative series resistance.
    """

    saturation_ampere: float = 2.52e-9
    ideality: float = 1.752
    series_ohm: float = 0.568
    kelvin: float = 300.15

    def __post_init__(self) -> None:
        for name in ("saturation_ampere", "ideality", "kelvin"):
            if not 0 < getattr(self, name) < float("inf"):
                raise ValueError(f"{name} = {getattr(self, name)}: expected a number above 0")
        if not 0 <= self.series_ohm < float("inf"):
            raise ValueError(f"series_ohm = {self.series_ohm}: expected a resistance of 0 or more")

    @property
    def emission_volt(self) -> float:
        """``N V_T``."""
        return self.ideality * BOLTZMANN_OVER_CHARGE * self.kelvin

    def current(self, volt: Tensor, extra_ohm: float = 0.0) -> Tensor:
        """Return I through the diode and a further resistor in series, elementwise; in A for V.

        With R the sum of both resistances and ω Wright's function, ``ω + ln ω = x``,

            I = (N V_T/R) ω(x) − I_s,    x = (V + R I_s)/(N V_T) + ln(R I_s/(N V_T)).

        Raises:
            ValueError: if there is no resistance at all.
        """
        r, v_t, i_s = self.series_ohm + extra_ohm, self.emission_volt, self.saturation_ampere
        if not r > 0:
            raise ValueError("a diode without any series resistance draws unlimited current: give it some")
        x = (volt + r * i_s) / v_t + torch.log(volt.new_tensor(r * i_s / v_t))
        return wright_omega(x) * (v_t / r) - i_s

    def conductance(self, volt: Tensor, extra_ohm: float = 0.0) -> Tensor:
        """Return dI/dV of the same, elementwise: ``1/(R + N V_T/(I + I_s))``, in siemens."""
        junction = self.current(volt, extra_ohm) + self.saturation_ampere
        return junction / (junction * (self.series_ohm + extra_ohm) + self.emission_volt)

    def co_content(self, volt: Tensor) -> Tensor:
        """Return ``∫ I dV`` from zero, elementwise: ``R_s I²/2 + N V_T (I − I_s ln(1 + I/I_s))``, in watts."""
        i = self.current(volt)
        junction = i - self.saturation_ampere * torch.log1p(i / self.saturation_ampere)
        return 0.5 * self.series_ohm * i.square() + self.emission_volt * junction


class _WrightOmega(torch.autograd.Function):
    """ω + ln ω = x, by Newton's method on u = ln ω, which is convex and begun on the side where it descends."""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        u = torch.minimum(x, torch.log(x.clamp(min=1)).where(x > 1, x))
        for _ in range(6):
            e = u.exp()
            u = u - (u + e - x) / (1 + e)
        omega = u.exp()
        ctx.save_for_backward(omega)
        return omega

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> Tensor:
        (omega,) = ctx.saved_tensors
        return grad * omega / (1 + omega)


def wright_omega(x: Tensor) -> Tensor:
    """Return ω with ``ω + ln ω = x``, that is ``W(eˣ)``, elementwise; differentiable any number of times."""
    found: Tensor = _WrightOmega.apply(x)
    return found


@dataclass(frozen=True)
class DiodeReLU:
    """``v = φ(p)``, the resolvent of a diode that lifts a node towards its anode: ``φ(p) = p + I/γ``.

    I is what the diode and a resistor 1/γ let flow from V_r into a source p. Far below V_r less a diode's drop the
    node is held there, far above it follows p.

    Attributes:
        diode: the junction.
        gamma_siemens: γ.
        anode_volt: V_r.
    """

    diode: Diode
    gamma_siemens: float
    anode_volt: float

    def __call__(self, p: Tensor) -> Tensor:
        """Map ``p`` to node voltages of the same shape, in V."""
        ohm = 1 / self.gamma_siemens
        return p + ohm * self.diode.current(self.anode_volt - p, ohm)

    def slope(self, p: Tensor) -> Tensor:
        """Return ``dv/dp`` in (0, 1], elementwise."""
        ohm = 1 / self.gamma_siemens
        return 1 - ohm * self.diode.conductance(self.anode_volt - p, ohm)


class DiodeNetworkCell(nn.Module):
    """A network of resistors and diodes as a cell: states are its node voltages, in volts.

    Conductances are in units of `unit_siemens`. Couplings and leaks are positive whatever the parameters are; a weight
    of either sign to a drive is a resistor to the drive or to its inverse, and loads the node with its magnitude.

    Args:
        states: number of nodes n.
        drives: number m of sources; a drive of 1 is 1 V.
        diode: of every node; a 1N4148 unless given.
        anode_volt: V_r; with about a diode's drop the nodes rectify at zero.
        least_leak: smallest conductance from a node to ground, in units; the margin that holds by construction.
        unit_siemens: 0.1 mS, a resistor of 10 kΩ, unless given.

    Raises:
        ValueError: for a size below 1, or a leak or unit that is not above zero.
    """

    def __init__(
        self,
        states: int,
        drives: int,
        *,
        diode: Diode | None = None,
        anode_volt: float = 0.5,
        least_leak: float = 0.1,
        unit_siemens: float = 1e-4,
    ) -> None:
        super().__init__()
        if states < 1 or drives < 1:
            raise ValueError(f"states = {states}, drives = {drives}: expected at least one of each")
        for name, value in (("least_leak", least_leak), ("unit_siemens", unit_siemens)):
            if not 0 < value < float("inf"):
                raise ValueError(f"{name} = {value}: expected a number above 0")
        self.states, self.drives = states, drives
        self.diode = diode or Diode()
        self.anode_volt, self.least_leak, self.unit_siemens = anode_volt, least_leak, unit_siemens
        pairs = states * (states - 1) // 2
        self.raw_coupling = nn.Parameter(torch.randn(pairs) - 1)
        self.raw_leak = nn.Parameter(torch.randn(states) - 1)
        self.input_weight = nn.Parameter(torch.randn(states, drives) / drives**0.5)
        self.bias = nn.Parameter(0.1 * torch.randn(states))

    def couplings(self) -> Tensor:
        """Return the conductance between every two nodes in units, shape ``(n, n)``, symmetric, zero diagonal."""
        g = softplus(self.raw_coupling)
        rows, columns = torch.triu_indices(self.states, self.states, 1, device=g.device)
        upper = g.new_zeros(self.states, self.states).index_put((rows, columns), g)
        return upper + upper.T

    def leaks(self) -> Tensor:
        """Return the conductance from every node to ground in units, shape ``(n,)``."""
        return self.least_leak + softplus(self.raw_leak)

    def conductance(self) -> Tensor:
        """Return G in siemens, shape ``(n, n)``: symmetric, ``λ_min(G) ≥ least_leak · unit_siemens``."""
        couplings = self.couplings()
        to_sources = self.input_weight.abs().sum(1) + self.bias.abs()
        held = couplings.sum(1) + self.leaks() + to_sources
        return (torch.diag(held) - couplings) * self.unit_siemens

    def currents(self, drive: Tensor) -> Tensor:
        """Return i in A that the sources push into the grounded nodes, shape ``(batch, n)``.

        Raises:
            ValueError: if the drive does not have shape ``(batch, m)``.
        """
        check_drive(drive, self.drives)
        return (drive @ self.input_weight.T + self.bias) * self.unit_siemens

    def system(self, drive: Tensor) -> AffineSystem:
        """Return the equation for drives of shape ``(batch, m)``, in volts; its activation returns node voltages.

        γ is the largest diagonal entry of G: then ``‖W‖₂ < 1``. The solution does not depend on it, and no gradient
        flows to it.
        """
        g = self.conductance()
        gamma = float(g.detach().diagonal().max())
        eye = torch.eye(self.states, dtype=g.dtype, device=g.device)
        activation = DiodeReLU(self.diode, gamma, self.anode_volt)
        return AffineSystem(eye - g / gamma, self.currents(drive) / gamma, activation)

    def certificate(self) -> Certificate:
        """Return what the present W guarantees; its margin is ``λ_min(G)/γ``."""
        promise = f"λ_min(G) ≥ {self.least_leak * self.unit_siemens:.4g} S, W = Wᵀ"
        weight = self.system(self.bias.new_zeros(1, self.drives)).weight.detach()
        return replace(certify(weight), symmetric=True, promise=promise)

    def margin_siemens(self) -> float:
        """Return ``λ_min(G)``: ``‖Δv*‖ ≤ ‖Δi‖/λ_min(G)`` for every change of the currents."""
        return float(torch.linalg.eigvalsh(self.conductance().detach().double())[0])

    def imbalance(self, volt: Tensor, drive: Tensor) -> Tensor:
        """Return ``G v + I_d(v) − i`` in A, what Kirchhoff's law says is zero; shapes ``(batch, n)``, ``(batch, m)``.

        It is the gradient of :meth:`co_content`. Needs a diode with series resistance.
        """
        return volt @ self.conductance() - self.diode.current(self.anode_volt - volt) - self.currents(drive)

    def co_content(self, volt: Tensor, drive: Tensor) -> Tensor:
        """Return ``½ vᵀGv + Σ∫I_d − iᵀv`` in watts, shape ``(batch,)``; strongly convex, least at rest."""
        linear = (volt * (0.5 * volt @ self.conductance() - self.currents(drive))).sum(-1)
        return linear + self.diode.co_content(self.anode_volt - volt).sum(-1)

    def extra_repr(self) -> str:
        """Describe the cell in ``repr``."""
        return f"states={self.states}, drives={self.drives}, anode_volt={self.anode_volt}"
