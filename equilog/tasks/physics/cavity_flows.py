"""Steady flows in the cavity at many Reynolds numbers, by the trusted solver; kept once they were computed.

:func:`equilog.priors.solve_cavity` is of second order in its spacing, so two grids together give what neither has:
``f = f_69 + (f_69 − f_52)/((68/51)² − 1)`` (Richardson, *Phil. Trans. R. Soc. A* 210 (1911) 307). Both grids hold the
nodes of 16 × 16 inner ones. Reynolds numbers are passed in order, each flow begun at the parabola in log Re through the
three before it, which saves most of Newton's steps.
"""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
from functools import cache

import numpy as np
import torch
from torch import Tensor

from equilog.priors import CavityFlow, solve_cavity
from equilog.tasks.damage import Skipped
from equilog.tasks.files.cache import cached
from equilog.tasks.physics.cavity_velocity import centre_lines

VERSION = 1
"""of how flows are computed; another number forgets those kept before"""
NODES = 16
GRIDS = 52, 69
"""points on a side, walls included; spacings are whole parts of the nodes' own"""
TRAIN, TEST = 24, 9
LOWEST, HIGHEST = 45.0, 1100.0
HELD_OUT = 100.0, 400.0, 1000.0
LINE = np.linspace(0, 1, 201)
"""places on the centre lines"""


@dataclass(frozen=True)
class Flows:
    """Flows in units of lid speed and side.

    Attributes:
        reynolds: shape ``(samples,)``.
        psi: at inner nodes, ``(samples, 16, 16)``, rows from the bottom up.
        u, v: on the lines x = ½ and y = ½ at :data:`LINE`, ``(samples, 201)``.
    """

    reynolds: Tensor
    psi: Tensor
    u: Tensor
    v: Tensor


def train_reynolds() -> list[float]:
    """Return the Reynolds numbers of training, even in the logarithm."""
    at = (np.arange(TRAIN) + 0.5) / TRAIN
    return [float(LOWEST * (HIGHEST / LOWEST) ** a) for a in at]


def test_reynolds() -> list[float]:
    """Return those of testing: 100, 400 and 1000, then others, from 50 to 1000, none of which is trained on."""
    spread = np.geomspace(50, 1000, TEST + 1)[:-1]
    return [*HELD_OUT, *(float(r) for r in spread)]


@cache
def flows() -> tuple[Flows, Flows]:
    """Return the flows of training and of testing; computed once, then read from the user's cache."""
    wanted = train_reynolds(), test_reynolds()
    about = json.dumps(["cavity", VERSION, NODES, GRIDS, len(LINE), *wanted])
    with torch.device("cpu"):  # also where a model is only counted
        arrays = cached("computed", about, Skipped(), lambda _: _computed([*wanted[0], *wanted[1]]))
        both = []
        for part in (slice(0, len(wanted[0])), slice(len(wanted[0]), None)):
            both.append(Flows(*(torch.from_numpy(np.array(arrays[k][part])) for k in ("reynolds", "psi", "u", "v"))))
    return both[0], both[1]


def extrapolated(coarse: np.ndarray, fine: np.ndarray) -> np.ndarray:
    """Return Richardson's value of a quantity that was found on both grids."""
    ratio = (GRIDS[1] - 1) / (GRIDS[0] - 1)
    found: np.ndarray = fine + (fine - coarse) / (ratio**2 - 1)
    return found


def at_nodes(flow: CavityFlow) -> np.ndarray:
    """Return ψ at the inner nodes of the coarse grid, ``(16, 16)``."""
    every = (len(flow.psi) - 1) // (NODES + 1)
    return flow.psi[every:-1:every, every:-1:every].numpy()


def from_rest(reynolds: float, n: int) -> tuple[CavityFlow, int]:
    """Return the flow by way of lower Reynolds numbers as ``solve_cavity`` goes, and Newton's steps altogether."""
    start, steps = None, 0
    for re in (*(r for r in (100.0, 400.0) if r < reynolds), reynolds):
        flow = solve_cavity(re, n, start=torch.zeros(2, n - 2, n - 2) if start is None else start)
        start, steps = flow.state, steps + flow.steps
    return flow, steps


def _computed(reynolds: list[float]) -> dict[str, np.ndarray]:
    order = np.argsort(reynolds)
    found: list[tuple[np.ndarray, np.ndarray, np.ndarray]] = []
    for n in GRIDS:
        passed = _passed([reynolds[k] for k in order], n)
        psi = np.stack([at_nodes(flow) for flow in passed])
        u, v = centre_lines(np.stack([flow.psi[1:-1, 1:-1].numpy() for flow in passed]), LINE)
        found.append((psi, u, v))
    back = np.argsort(order)
    psi, u, v = (extrapolated(*pair)[back] for pair in zip(*found))
    return {"reynolds": np.array(reynolds), "psi": psi, "u": u, "v": v}


def _passed(reynolds: list[float], n: int) -> list[CavityFlow]:
    """Flows at rising Reynolds numbers."""
    found: list[CavityFlow] = []
    for k, re in enumerate(reynolds):
        known = range(max(0, k - 3), k)
        weights = _lagrange([reynolds[j] for j in known], re)
        start = torch.stack([w * found[j].state for j, w in zip(known, weights)]).sum(0) if k else None
        found.append(solve_cavity(re, n, start=start))
    return found


def _lagrange(known: list[float], wanted: float) -> list[float]:
    """Weights of values known at some places for that at another, in the logarithm."""
    at, x = [math.log(r) for r in known], math.log(wanted)
    return [math.prod((x - b) / (a - b) for b in at if b != a) for a in at]
