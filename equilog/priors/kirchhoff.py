"""Kirchhoff's current law of a given network: resistors, sources, diodes and bipolar transistors.

Modified nodal analysis (Ho, Ruehli & Brennan, *IEEE Trans. Circuits Syst.* 22, 1975): voltages of nodes, then currents
of voltage sources. Diodes are Shockley's, transistors Ebers and Moll's in transport form (Getreu, *Modeling the Bipolar
Transistor*, 1976, ch. 2): i_ct = I_s (e^{v_be/V_T} − e^{v_bc/V_T}), and a base current I_s (e^{v/V_T} − 1)/β at either
junction. As in SPICE, every junction has a small conductance beside it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Literal

import torch
from torch import Tensor

from equilog.priors.law import Constant, Field, Law

BOLTZMANN_PER_CHARGE = 1.380649e-23 / 1.602176634e-19
"""V/K, exact (CODATA 2018)"""
STEEPEST = 40.0
"""Beyond this many V_T an exponential goes on as its tangent: 2·10¹⁷ I_s, which no operating point reaches."""
BRANCH_OHM = 1.0
"""The current of a voltage source is a state in volts: what it would drop over this."""


@dataclass(frozen=True)
class Resistor:
    """A resistance between two nodes."""

    a: str
    b: str
    ohm: float


@dataclass(frozen=True)
class CurrentSource:
    """A current out of node a into node b; if driven, times its level, an input."""

    a: str
    b: str
    ampere: float
    driven: bool = False


@dataclass(frozen=True)
class VoltageSource:
    """``v_plus − v_minus``; if driven, times its level, an input."""

    plus: str
    minus: str
    volt: float
    driven: bool = False


@dataclass(frozen=True)
class Diode:
    """``I_s (e^{v/(n V_T)} − 1)``."""

    anode: str
    cathode: str
    saturation_ampere: float = 1e-14
    emission: float = 1.0


@dataclass(frozen=True)
class Bipolar:
    """A transistor without resistances and Early effect; for "pnp" all voltages and currents turn their sign."""

    collector: str
    base: str
    emitter: str
    saturation_ampere: float = 1e-16
    beta_forward: float = 100.0
    beta_reverse: float = 1.0
    kind: Literal["npn", "pnp"] = "npn"


Element = Resistor | CurrentSource | VoltageSource | Diode | Bipolar


class NoOperatingPointError(RuntimeError):
    """Neither Newton's method nor stepping of conductances or sources found where a network rests."""


@dataclass(frozen=True)
class Network:
    """Elements between named nodes.

    Attributes:
        elements: in any order; driven sources are inputs in this order.
        ground: the node of 0 V.
        temperature_kelvin: of all junctions; SPICE's 27 °C unless given.
        gmin_siemens: beside every junction.
        nodes: all nodes but ground, in the order in which they appear.

    Raises:
        ValueError: for a number out of range, or a network that does not touch ground.
    """

    elements: Sequence[Element]
    ground: str = "0"
    temperature_kelvin: float = 300.15
    gmin_siemens: float = 1e-12
    nodes: tuple[str, ...] = field(init=False)

    def __post_init__(self) -> None:
        for e in self.elements:
            wrong = [
                n for n, v in vars(e).items() if n.startswith(("ohm", "saturation", "emission", "beta")) and not v > 0
            ]
            if wrong:
                raise ValueError(f"{e}: expected {wrong[0]} above 0")
            if isinstance(e, Bipolar) and e.kind not in ("npn", "pnp"):
                raise ValueError(f"{e}: expected kind 'npn' or 'pnp'")
        names = list(dict.fromkeys(name for e in self.elements for name in _nodes(e)))
        if self.ground not in names:
            raise ValueError(f"no element touches ground, node {self.ground!r}; there are {', '.join(names) or 'none'}")
        object.__setattr__(self, "nodes", tuple(n for n in names if n != self.ground))

    @property
    def thermal_volt(self) -> float:
        """V_T = kT/q."""
        return BOLTZMANN_PER_CHARGE * self.temperature_kelvin

    def law(self) -> Law:
        """Return the residual: at every node the current that leaves it, then at every voltage source what it misses.

        State: voltages of `nodes`, then currents of voltage sources (from plus through the source) times 1 Ω, in V.
        Source, if any is driven: levels, one each. Residual in A; the scale of :meth:`Law.consistency` is 1 mA.
        With the signs chosen the law rises with its state for every network of resistors, diodes and sources.
        """
        r = [e for e in self.elements if isinstance(e, Resistor)]
        i = [e for e in self.elements if isinstance(e, CurrentSource)]
        v = [e for e in self.elements if isinstance(e, VoltageSource)]
        d = [e for e in self.elements if isinstance(e, Diode)]
        q = [e for e in self.elements if isinstance(e, Bipolar)]
        driven = [e for e in self.elements if getattr(e, "driven", False)]
        n = len(self.nodes)
        # Junctions: all diodes, then base-emitter and base-collector of all transistors.
        signs = _vector([1.0 if e.kind == "npn" else -1.0 for e in q])
        junctions = [(e.anode, e.cathode) for e in d]
        junctions += [_turned(e, e.base, e.emitter) for e in q] + [_turned(e, e.base, e.collector) for e in q]
        held = {
            "resistors": self._incidence([(e.a, e.b) for e in r]),
            "currents": self._incidence([(e.a, e.b) for e in i]),
            "voltages": self._incidence([(e.plus, e.minus) for e in v]),
            "junctions": self._incidence(junctions),
            "transports": signs[:, None] * self._incidence([(e.collector, e.emitter) for e in q]),
            "emission": _vector([e.emission for e in d] + [1.0] * 2 * len(q)),
            # What of a transistor's exponential flows through its own junction: 1/β.
            "share": _vector([1.0] * len(d) + [1 / e.beta_forward for e in q] + [1 / e.beta_reverse for e in q]),
            "level_i": _levels(i, driven),
            "level_v": _levels(v, driven),
        }
        constants = {name: Constant(value) for name, value in held.items()} | {
            "siemens": Constant(_vector([1 / e.ohm for e in r]), "S"),
            "ampere": Constant(_vector([e.ampere for e in i]), "A"),
            "volt": Constant(_vector([e.volt for e in v]), "V"),
            "saturation": Constant(
                _vector([e.saturation_ampere for e in d] + 2 * [e.saturation_ampere for e in q]), "A"
            ),
            "thermal": Constant(self.thermal_volt, "V"),
            "gmin": Constant(self.gmin_siemens, "S"),
            "branch": Constant(1 / BRANCH_OHM, "S"),
        }
        size, transistors = n + len(v), len(q)

        def residual(z: Tensor, *x: Tensor, **k: Tensor) -> Tensor:
            level_i, level_v = (k[name][:, -1] for name in ("level_i", "level_v"))
            if x:
                level_i, level_v = (k[name][:, -1] + x[0] @ k[name][:, :-1].T for name in ("level_i", "level_v"))
            voltage, branch = z[:, :n], z[:, n:] * k["branch"]
            leaving = (voltage @ k["resistors"].T * k["siemens"]) @ k["resistors"]
            leaving = leaving + (level_i * k["ampere"]) @ k["currents"] + branch @ k["voltages"]
            across = voltage @ k["junctions"].T
            flow = k["saturation"] * limited_exponential(across / (k["emission"] * k["thermal"]))
            leaving = leaving + (flow * k["share"] + k["gmin"] * across) @ k["junctions"]
            if transistors:
                forward, backward = flow[:, -2 * transistors : -transistors], flow[:, -transistors:]
                leaving = leaving + (forward - backward) @ k["transports"]
            missing = (level_v * k["volt"] - voltage @ k["voltages"].T) * k["branch"]
            return torch.cat([leaving, missing], dim=1)

        return Law(
            residual,
            Field("node voltage", (size,), "V"),
            (Field("source level", (len(driven),)),) if driven else (),
            unit="A",
            scale=1e-3,
            constants=constants,
        )

    def operating_point(self, x: Tensor | None = None) -> Tensor:
        """Return where the network rests, the state of :meth:`law`, in float64; a reference, without gradient.

        Newton's method with the law's Jacobian; if that does not converge, with a conductance from every node to ground
        that is taken away step by step; then with sources that are turned up step by step.

        Args:
            x: levels of driven sources, ``(batch, m)``; None if there are none.

        Raises:
            NoOperatingPointError: naming the sample.
            ValueError: for levels of another shape.
        """
        law = self.law()
        levels = torch.zeros(1, 0) if x is None else x.detach().double()
        found = []
        for k, sample in enumerate(levels):
            z = self._settle(law, () if x is None else (sample[None],))
            if z is None:
                raise NoOperatingPointError(f"sample {k}: no operating point found, starting from 0 V everywhere")
            found.append(z)
        return torch.stack(found)

    def _settle(self, law: Law, x: tuple[Tensor, ...]) -> Tensor | None:
        nodes = (torch.arange(law.state.size) < len(self.nodes)).double()
        zero = torch.zeros_like(nodes)
        still = law(zero[None], *x)[0]  # what the sources alone do: junctions carry nothing at 0 V

        def held(z: Tensor, conductance: float, level: float) -> Tensor:
            return law(z[None], *x)[0] + conductance * nodes * z - (1 - level) * still

        plain = [(0.0, 1.0)]
        conductances = [(10.0**-k, 1.0) for k in range(2, 13)] + plain
        sources = [(0.0, level / 20) for level in range(1, 21)]
        for way in (plain, conductances, sources):
            z = _follow(held, zero, way)
            if z is not None:
                return z
        return None

    def _incidence(self, pairs: Sequence[tuple[str, str]]) -> Tensor:
        """Rows of +1 at the first node and −1 at the second, ``(len(pairs), nodes)``."""
        found = torch.zeros(len(pairs), len(self.nodes), dtype=torch.float64)
        for row, pair in enumerate(pairs):
            for name, sign in zip(pair, (1.0, -1.0)):
                if name != self.ground:
                    found[row, self.nodes.index(name)] += sign
        return found


def limited_exponential(x: Tensor) -> Tensor:
    """Return ``eˣ − 1``, and its tangent beyond x = 40: finite wherever x is, with a continuous slope."""
    low = x.clamp(max=STEEPEST)
    return torch.expm1(low) + torch.exp(low) * (x - low)


def _follow(held: Callable[..., Tensor], z: Tensor, way: Sequence[tuple[float, float]]) -> Tensor | None:
    for conductance, level in way:
        found = _newton(partial(held, conductance=conductance, level=level), z)
        if found is None:
            return None
        z = found
    return z


def _newton(residual: Callable[[Tensor], Tensor], z: Tensor, steps: int = 120) -> Tensor | None:
    """Newton's method until the step is lost in rounding; None if that does not come."""
    for _ in range(steps):
        jacobian, r = torch.func.jacrev(residual)(z), residual(z)
        step, failed = torch.linalg.solve_ex(jacobian, r)
        if bool(failed) or not bool(step.isfinite().all()):
            return None
        z = z - step
        if float(step.abs().max()) < 1e-11 * (1 + float(z.abs().max())):
            return z
    return None


def _nodes(e: Element) -> tuple[str, ...]:
    if isinstance(e, Bipolar):
        return e.collector, e.base, e.emitter
    first, second = list(vars(e).values())[:2]
    return first, second


def _turned(e: Bipolar, a: str, b: str) -> tuple[str, str]:
    return (a, b) if e.kind == "npn" else (b, a)


def _vector(values: Sequence[float]) -> Tensor:
    return torch.tensor(list(values), dtype=torch.float64)


def _levels(sources: Sequence[Element], driven: Sequence[Element]) -> Tensor:
    """Rows that pick a source's level out of the inputs; the last column is 1 for one that is not driven."""
    found = torch.zeros(len(sources), len(driven) + 1, dtype=torch.float64)
    for row, source in enumerate(sources):
        place = next((k for k, d in enumerate(driven) if d is source), len(driven))
        found[row, place] = 1.0
    return found
