"""The Pareto front over energy, latency and accuracy loss, by the ε-constraint method.

A region is all choices with latency ≤ T and loss ≤ L. Its cheapest choice, ties broken by latency and then by loss, is
on the front; what else is on it lies in the regions with less latency or with less loss. A region inside an empty one
is empty; one that holds the optimum of a region around it has the same. That finds every point of the front, up to
differences of 1e-5 of the largest single cost.
"""

from __future__ import annotations

import itertools
import math

from equilog.allocate.problem import RESOURCES, Limits
from equilog.allocate.programme import Optimum, Programme

AXES = ("energy_joule", "latency_second", "loss")
STEP = 1e-5
MOST = 100


def pareto(programme: Programme, limits: Limits, most: int = MOST) -> tuple[list[Optimum], bool]:
    """Return the points of the front, cheapest first, and whether that is all of them.

    Args:
        programme: the problem.
        limits: all but those on latency and loss, which the front is over; these bound where it is looked for.
        most: points after which to stop.
    """
    given = limits.given()
    fixed = {name: value for name, value in given.items() if name not in AXES[1:]}
    step = {name: STEP * float(programme.scale[RESOURCES.index(name)]) for name in AXES}
    found: dict[tuple[float, ...], Optimum] = {}
    solved: list[tuple[float, float, Optimum | None]] = []
    todo = [(given.get("latency_second", math.inf), given.get("loss", math.inf))]
    seen = set(todo)
    while todo:
        if len(found) >= most:
            return _sorted(found), False
        latency, loss = todo.pop()
        known, point = _known(solved, latency, loss)
        if not known:
            point = _cheapest(programme, fixed, latency, loss, step)
            solved.append((latency, loss, point))
        if point is None:
            continue
        found.setdefault(tuple(round(getattr(point.cost, a) / step[a]) for a in AXES), point)
        less_time, less_loss = point.cost.latency_second - step["latency_second"], point.cost.loss - step["loss"]
        for region in ((less_time, loss), (latency, less_loss)):
            if min(region) >= 0 and region not in seen:
                seen.add(region)
                todo.append(region)
    return _sorted(found), True


def _known(
    solved: list[tuple[float, float, Optimum | None]], latency: float, loss: float
) -> tuple[bool, Optimum | None]:
    for wide_latency, wide_loss, point in solved:
        if latency <= wide_latency and loss <= wide_loss:
            if point is None:
                return True, None
            if point.cost.latency_second <= latency and point.cost.loss <= loss:
                return True, point
    return False, None


def _cheapest(
    programme: Programme, fixed: dict[str, float], latency: float, loss: float, step: dict[str, float]
) -> Optimum | None:
    """Return the cheapest of a region; of several as cheap the fastest, and of these the most accurate."""
    limits = fixed | {n: v for n, v in (("latency_second", latency), ("loss", loss)) if math.isfinite(v)}
    best = point = programme.solve(AXES[0], limits)
    for done, axis in itertools.pairwise(AXES):
        if point is None:
            return None
        limits[done] = getattr(point.cost, done) + 0.01 * step[done]
        point = programme.solve(axis, limits) or point
    return point if point is not None else best


def _sorted(found: dict[tuple[float, ...], Optimum]) -> list[Optimum]:
    points = sorted(found.values(), key=lambda p: tuple(getattr(p.cost, a) for a in AXES))
    return [p for p in points if not any(_beats(q, p) for q in points if q is not p)]


def _beats(one: Optimum, other: Optimum) -> bool:
    pairs = [(getattr(one.cost, a), getattr(other.cost, a)) for a in AXES]
    return all(a <= b for a, b in pairs) and any(a < b for a, b in pairs)
