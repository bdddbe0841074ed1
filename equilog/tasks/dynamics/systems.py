"""Eight well-known dynamical systems as data: right-hand sides, parameters with their sources, where they live.

Everything is without dimension, as in the sources: time is in the system's own unit. Rates are written on components,
so that the same line serves floats, arrays, complex numbers and tensors.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor

Rates = Callable[..., tuple[Any, ...]]
Kind = Literal["cycle", "orbits", "wells", "chaos"]


@dataclass(frozen=True, eq=False)
class System:
    """``ẋ = f(x)`` and what is known of it.

    Attributes:
        name: of the task.
        equation: in symbols.
        source: of equation and parameters.
        rates: f on components, ``(x_1, …, x_n, **parameters) -> (ẋ_1, …, ẋ_n)``.
        parameters: by name.
        coordinates: names of the n components.
        step: h, which the stepper learns to take.
        low, high: corners of the box in which trajectories start, n numbers each.
        reach: what no coordinate exceeds in size on any trajectory from the box, n numbers: full scale.
        about: point at which f is linearised for the law.
        degree: of f as a polynomial.
        kind: "cycle" (one attracting), "orbits" (a closed one through every point), "wells" (two points at rest),
            "chaos".
        probe: a start that measures and pictures use.
        length: of training trajectories, in time.
        horizon: of roll-outs, in time.
        exponent: largest Lyapunov exponent in the literature, 1/time, and where; of chaotic systems.
        invariant: a function of components that does not change in time.
        at_rest: where the invariant is smallest.
    """

    name: str
    equation: str
    source: str
    rates: Rates
    parameters: Mapping[str, float]
    coordinates: tuple[str, ...]
    step: float
    low: tuple[float, ...]
    high: tuple[float, ...]
    reach: tuple[float, ...]
    about: tuple[float, ...]
    degree: int
    kind: Kind
    probe: tuple[float, ...]
    length: float
    horizon: float
    exponent: tuple[float, str] | None = None
    invariant: Callable[..., Any] | None = None
    at_rest: tuple[float, ...] | None = None

    @property
    def size(self) -> int:
        """Number of components n."""
        return len(self.coordinates)

    def f(self, x: Tensor) -> Tensor:
        """Return rates at states ``(…, n)``, of the same shape."""
        return torch.stack(self.rates(*x.unbind(-1), **self.parameters), dim=-1)

    def f_array(self, x: np.ndarray) -> np.ndarray:
        """Return rates at states ``(n, …)``, components first; real or complex."""
        found = np.empty_like(x)
        for k, rate in enumerate(self.rates(*x, **self.parameters)):
            found[k] = rate
        return found

    @cached_property
    def operations(self) -> int:
        """Multiply–accumulates of one f: its products and quotients; sums ride along with them."""
        counted = [_Counted() for _ in range(self.size)]
        before = _Counted.products
        self.rates(*counted, **self.parameters)
        return _Counted.products - before

    def steps(self, time: float) -> int:
        """Return how many steps h are nearest to a time, at least one."""
        return max(1, round(time / self.step))


class _Counted:
    """Stands for a number, and counts what it is multiplied or divided by."""

    products = 0

    def _product(self, _other: object = None) -> _Counted:
        _Counted.products += 1
        return self

    def _sum(self, _other: object = None) -> _Counted:
        return self

    __mul__ = __rmul__ = __truediv__ = __rtruediv__ = _product
    __add__ = __radd__ = __sub__ = __rsub__ = __neg__ = _sum


def _van_der_pol(x: Any, v: Any, *, mu: float) -> tuple[Any, ...]:
    return v, mu * (1 - x * x) * v - x


def _duffing(x: Any, v: Any, *, alpha: float, beta: float) -> tuple[Any, ...]:
    return v, -(alpha + beta * x * x) * x


def _fitzhugh_nagumo(v: Any, w: Any, *, a: float, b: float, epsilon: float, current: float) -> tuple[Any, ...]:
    return v - v * v * v / 3 - w + current, epsilon * (v + a - b * w)


def _lotka_volterra(u: Any, v: Any, *, alpha: float) -> tuple[Any, ...]:
    return u * (1 - v), alpha * v * (u - 1)


def _bistable(x: Any, v: Any, *, delta: float) -> tuple[Any, ...]:
    return v, x - x * x * x - delta * v


def _lorenz63(x: Any, y: Any, z: Any, *, sigma: float, rho: float, beta: float) -> tuple[Any, ...]:
    return sigma * (y - x), x * (rho - z) - y, x * y - beta * z


def _roessler(x: Any, y: Any, z: Any, *, a: float, b: float, c: float) -> tuple[Any, ...]:
    return -y - z, x + a * y, b + z * (x - c)


def _lorenz96(*x: Any, forcing: float) -> tuple[Any, ...]:
    k = len(x)
    return tuple((x[(i + 1) % k] - x[i - 2]) * x[i - 1] - x[i] + forcing for i in range(k))


def _duffing_energy(x: Any, v: Any) -> Any:
    return v * v / 2 + x * x / 2 + x * x * x * x / 4


def _volterra_invariant(u: Any, v: Any) -> Any:
    log = torch.log if isinstance(u, Tensor) else np.log
    return u + v - log(u) - log(v)


VAN_DER_POL = System(
    name="van-der-pol",
    equation="ẋ = v, v̇ = μ(1 − x²)v − x",
    source="van der Pol, Phil. Mag. 2 (1926) 978; μ = 1",
    rates=_van_der_pol,
    parameters={"mu": 1.0},
    coordinates=("x", "v"),
    step=0.2,
    low=(-2.5, -2.5),
    high=(2.5, 2.5),
    reach=(3.2, 4.2),
    about=(0.0, 0.0),
    degree=3,
    kind="cycle",
    probe=(2.0, 0.0),
    length=6.4,
    horizon=20.0,
)

DUFFING = System(
    name="duffing",
    equation="ẋ = v, v̇ = −αx − βx³",
    source="Duffing, Erzwungene Schwingungen (1918); without forcing and damping, α = β = 1",
    rates=_duffing,
    parameters={"alpha": 1.0, "beta": 1.0},
    coordinates=("x", "v"),
    step=0.2,
    low=(-1.5, -1.5),
    high=(1.5, 1.5),
    reach=(1.8, 2.8),
    about=(0.0, 0.0),
    degree=3,
    kind="orbits",
    probe=(1.3, 0.0),
    length=6.4,
    horizon=20.0,
    invariant=_duffing_energy,
    at_rest=(0.0, 0.0),
)

FITZHUGH_NAGUMO = System(
    name="fitzhugh-nagumo",
    equation="v̇ = v − v³/3 − w + I, ẇ = ε(v + a − bw)",
    source="FitzHugh, Biophys. J. 1 (1961) 445; Nagumo et al., Proc. IRE 50 (1962) 2061; a = 0.7, b = 0.8, ε = 0.08, "
    "I = 0.5",
    rates=_fitzhugh_nagumo,
    parameters={"a": 0.7, "b": 0.8, "epsilon": 0.08, "current": 0.5},
    coordinates=("v", "w"),
    step=0.5,
    low=(-2.2, -0.6),
    high=(2.2, 1.8),
    reach=(2.6, 2.1),
    about=(0.0, 0.5),
    degree=3,
    kind="cycle",
    probe=(-1.0, -0.5),
    length=16.0,
    horizon=120.0,
)

LOTKA_VOLTERRA = System(
    name="lotka-volterra",
    equation="u̇ = u(1 − v), v̇ = αv(u − 1)",
    source="Lotka 1925 and Volterra, Mem. Acad. Lincei 2 (1926) 31, in the form of Murray, Mathematical Biology I "
    "(2002), eq. 3.4; α = 1",
    rates=_lotka_volterra,
    parameters={"alpha": 1.0},
    coordinates=("prey", "predators"),
    step=0.2,
    low=(0.5, 0.5),
    high=(2.0, 2.0),
    reach=(2.8, 2.8),
    about=(1.0, 1.0),
    degree=2,
    kind="orbits",
    probe=(2.0, 1.0),
    length=6.4,
    horizon=20.0,
    invariant=_volterra_invariant,
    at_rest=(1.0, 1.0),
)

BISTABLE = System(
    name="bistable",
    equation="ẋ = v, v̇ = x − x³ − δv",
    source="Guckenheimer & Holmes, Nonlinear Oscillations (1983), §2.2; two wells, δ = 0.25",
    rates=_bistable,
    parameters={"delta": 0.25},
    coordinates=("x", "v"),
    step=0.2,
    low=(-1.6, -1.6),
    high=(1.6, 1.6),
    reach=(2.0, 2.2),
    about=(0.0, 0.0),
    degree=3,
    kind="wells",
    probe=(1.5, -1.0),
    length=6.4,
    horizon=30.0,
)

LORENZ63 = System(
    name="lorenz63",
    equation="ẋ = σ(y − x), ẏ = x(ρ − z) − y, ż = xy − βz",
    source="Lorenz, J. Atmos. Sci. 20 (1963) 130; σ = 10, ρ = 28, β = 8/3",
    rates=_lorenz63,
    parameters={"sigma": 10.0, "rho": 28.0, "beta": 8 / 3},
    coordinates=("x", "y", "z"),
    step=0.05,
    low=(-15.0, -20.0, 8.0),
    high=(15.0, 20.0, 42.0),
    reach=(24.0, 34.0, 58.0),
    about=(0.0, 0.0, 23.5),
    degree=2,
    kind="chaos",
    probe=(1.0, 1.0, 20.0),
    length=1.6,
    horizon=12.0,
    exponent=(0.9056, "Sprott, Chaos and Time-Series Analysis (2003)"),
)

ROESSLER = System(
    name="roessler",
    equation="ẋ = −y − z, ẏ = x + ay, ż = b + z(x − c)",
    source="Rössler, Phys. Lett. A 57 (1976) 397; a = b = 0.2, c = 5.7",
    rates=_roessler,
    parameters={"a": 0.2, "b": 0.2, "c": 5.7},
    coordinates=("x", "y", "z"),
    step=0.2,
    low=(-5.0, -5.0, 0.0),
    high=(5.0, 5.0, 0.2),
    reach=(13.0, 12.5, 27.0),
    about=(0.0, 0.0, 0.0),
    degree=2,
    kind="chaos",
    probe=(5.0, 0.0, 0.1),
    length=25.6,
    horizon=84.0,
    exponent=(0.0714, "Sprott, Chaos and Time-Series Analysis (2003)"),
)

LORENZ96 = System(
    name="lorenz96",
    equation="ẋ_k = (x_{k+1} − x_{k−2}) x_{k−1} − x_k + F, cyclic",
    source="Lorenz, Proc. Seminar on Predictability, ECMWF (1996); F = 8, eight variables",
    rates=_lorenz96,
    parameters={"forcing": 8.0},
    coordinates=tuple(f"x{k + 1}" for k in range(8)),
    step=0.05,
    low=(-4.0,) * 8,
    high=(8.0,) * 8,
    reach=(15.0,) * 8,
    about=(2.4,) * 8,
    degree=2,
    kind="chaos",
    probe=(8.0, 8.01, 8.0, 8.0, 8.0, 8.0, 8.0, 8.0),
    length=1.6,
    horizon=6.0,
)
