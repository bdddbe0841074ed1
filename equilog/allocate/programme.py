"""The decision as a mixed-integer programme, solved to proven optimality by HiGHS.

Binary x_vo: vertex v gets option o, one of each. A conversion is a variable between 0 and 1 that is at least 1 as soon
as its conditions hold:

    to digital of v, option o      y ≥ x_vo + Σ_q x_wq − 1     for every reader w, over its options q that need numbers
    DACs for v in a format         y ≥ Σ_q x_wq − a_v          over q that listen; without a_v where no link exists
    listening to DACs              y ≥ x_wq − a_v
    a link from v to w             y ≥ a_v + x_wq − 1          with a_v = Σ x_vo over options that give voltages

Costs are not below zero, so at an optimum these variables are 0 or 1 by themselves. Every resource is divided by its
largest coefficient; two totals closer than 1e-7 of that are one to the solver.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import astuple, dataclass

import numpy as np
from scipy.optimize import Bounds, LinearConstraint, milp
from scipy.sparse import csr_array

from equilog.allocate.problem import RESOURCES, UNUSED, Cost, Limits, Option, Problem, evaluate
from equilog.names import UserError

SECONDS = 60.0
UNIT = 1000.0
"""the largest cost, in the units of the objective: HiGHS stops at an absolute gap of 1e-6 of these"""


@dataclass(frozen=True)
class Optimum:
    """A choice that is proven best.

    Attributes:
        choice: index of every vertex's option.
        cost: of it, added up anew.
        objective: the resource that was minimised.
        bound: no choice takes less than this of it, by HiGHS' dual bound.
        gap: between the two, relative; HiGHS' own figure.
    """

    choice: tuple[int, ...]
    cost: Cost
    objective: str
    bound: float
    gap: float


class Infeasible(UserError):
    """No choice keeps all limits; the message names those that bind."""


class Programme:
    """The programme of one problem, to be solved for any objective and limits."""

    def __init__(self, problem: Problem) -> None:
        self.problem = problem
        self._costs: list[tuple[float, ...]] = []
        self._rows: list[dict[int, float]] = []
        self._least: list[float] = []
        self._x = [[self._column(o.cost) for o in vertex.options] for vertex in problem.vertices]
        self._binaries = len(self._costs)
        self._build()
        costs = np.array(self._costs, dtype=float)
        largest = costs.max(axis=0)
        self.scale = np.where(largest > 0, largest, 1.0)
        self._scaled = costs / self.scale
        entries = [(r, c, value) for r, row in enumerate(self._rows) for c, value in row.items()]
        at = np.array([(r, c) for r, c, _ in entries], dtype=np.int32).reshape(-1, 2)
        values = np.array([value for _, _, value in entries], dtype=float)
        self._matrix = csr_array((values, (at[:, 0], at[:, 1])), shape=(len(self._rows), len(costs)))

    def solve(self, objective: str, limits: Mapping[str, float]) -> Optimum | None:
        """Return the choice that takes least of `objective` within limits, by resource; None if there is none.

        Raises:
            UserError: if HiGHS does not prove an optimum in a minute.
        """
        which = RESOURCES.index(objective)
        constraints = [LinearConstraint(self._matrix, np.array(self._least), np.inf)]
        equal = csr_array(self._one_of_each())
        constraints.append(LinearConstraint(equal, *[np.array(self._one)] * 2))
        for name, most in limits.items():
            k = RESOURCES.index(name)
            constraints.append(LinearConstraint(self._scaled[:, k][None], -np.inf, most / self.scale[k]))
        columns = len(self._costs)
        integrality = np.zeros(columns)
        integrality[: self._binaries] = 1
        done = milp(
            UNIT * self._scaled[:, which],
            integrality=integrality,
            bounds=Bounds(np.zeros(columns), np.ones(columns)),
            constraints=constraints,
            options={"mip_rel_gap": 0.0, "time_limit": SECONDS},
        )
        if done.status == 2:
            return None
        if done.status != 0 or done.x is None:
            raise UserError(f"HiGHS proved no optimum in {SECONDS:.0f} s: {done.message}; fewer candidates help")
        choice = tuple(int(np.argmax(done.x[row])) for row in self._x)
        bound = float(done.mip_dual_bound * self.scale[which] / UNIT)
        return Optimum(choice, evaluate(self.problem, choice), objective, bound, float(done.mip_gap))

    def best(self, objective: str, limits: Limits) -> Optimum:
        """Return the choice that takes least of `objective` within the limits.

        Raises:
            Infeasible: naming the limits that bind, and what would be enough.
        """
        given = limits.given()
        if found := self.solve(objective, given):
            return found
        raise Infeasible(self._complaint(given))

    def _build(self) -> None:
        for k, vertex in enumerate(self.problem.vertices):
            readers = [
                (w, slot) for w, v in enumerate(self.problem.vertices) for slot, i in enumerate(v.inputs) if i == k
            ]
            for o, option in enumerate(vertex.options):
                if option.analog_out:
                    self._to_digital(k, o, option, readers, vertex.output)
            formats = {f for w, s in readers for q in self.problem.vertices[w].options if (f := q.plays(s)) is not None}
            for form in sorted(formats):
                self._played(k, form, readers)
            for w, slot in readers:
                self._listened(k, w, slot)

    def _to_digital(self, k: int, o: int, option: Option, readers: list[tuple[int, int]], output: bool) -> None:
        y = self._column(option.leave)
        if output:
            self._row({y: 1, self._x[k][o]: -1}, 0)
        for w, slot in readers:
            needing = [
                self._x[w][q]
                for q, reader in enumerate(self.problem.vertices[w].options)
                if reader.reads[slot] != UNUSED and (w, slot, q) not in self.problem.direct
            ]
            if needing:
                self._row({y: 1, self._x[k][o]: -1} | dict.fromkeys(needing, -1.0), -1)

    def _played(self, k: int, form: str, readers: list[tuple[int, int]]) -> None:
        y = self._column(self.problem.dac[k, form])
        for w, slot in readers:
            options = self.problem.vertices[w].options
            listening = [q for q, option in enumerate(options) if option.plays(slot) == form]
            linked = [q for q in listening if (w, slot, q) in self.problem.direct]
            for some, voltages in ((set(listening) - set(linked), []), (set(linked), self._voltages(k))):
                if some:
                    row = {y: 1.0} | {self._x[w][q]: -1.0 for q in some} | dict.fromkeys(voltages, 1.0)
                    self._row(row, 0)

    def _listened(self, k: int, w: int, slot: int) -> None:
        for q, option in enumerate(self.problem.vertices[w].options):
            x, voltages = self._x[w][q], self._voltages(k)
            link = self.problem.direct.get((w, slot, q))
            if option.plays(slot) is not None:
                enter = self._column(option.enter[slot])
                self._row({enter: 1, x: -1} | (dict.fromkeys(voltages, 1.0) if link is not None else {}), 0)
            if link is not None:
                self._row({self._column(link): 1, x: -1} | dict.fromkeys(voltages, -1.0), -1)

    def _voltages(self, k: int) -> list[int]:
        return [x for x, option in zip(self._x[k], self.problem.vertices[k].options) if option.analog_out]

    def _one_of_each(self) -> np.ndarray:
        rows: list[np.ndarray] = []
        self._one = []
        for row in self._x:
            line = np.zeros(len(self._costs))
            line[row] = 1
            rows.append(line)
            self._one.append(1.0)
        for first, *rest in self.problem.ties:
            for other in rest:
                for a, b in zip(self._x[first], self._x[other], strict=True):
                    line = np.zeros(len(self._costs))
                    line[a], line[b] = 1, -1
                    rows.append(line)
                    self._one.append(0.0)
        return np.array(rows)

    def _column(self, cost: Cost) -> int:
        self._costs.append(astuple(cost))
        return len(self._costs) - 1

    def _row(self, row: dict[int, float], least: float) -> None:
        self._rows.append(row)
        self._least.append(least)

    def _complaint(self, given: dict[str, float]) -> str:
        """Say which limits bind: those without which, or with more of which, there is a split."""
        alone = {name: least for name in given if (least := self._least_of(name, {})) > given[name] * (1 + 1e-9)}
        if alone:
            return "no split: " + "; ".join(
                f"{said(name, given[name])} binds, the least of any split is {shown(name, least)}"
                for name, least in alone.items()
            )
        binding = {}
        for name in given:
            others = {other: most for other, most in given.items() if other != name}
            least = self._least_of(name, others)
            if math.isfinite(least):
                binding[name] = least
        if binding:
            return (
                f"no split keeps all limits. {'Any of these' if len(binding) > 1 else 'This'} would do: "
                + "; ".join(
                    f"{said(name, given[name])} raised to {shown(name, least)}" for name, least in binding.items()
                )
            )
        together = ", ".join(said(name, most) for name, most in given.items())
        return f"no split keeps all limits, nor all but one of them: {together}; raise more than one"

    def _least_of(self, name: str, limits: Mapping[str, float]) -> float:
        found = self.solve(name, limits)
        return math.inf if found is None else getattr(found.cost, name)


_UNITS: dict[str, tuple[str, str, float, str]] = {
    "energy_joule": ("energy", "--max-energy", 1e9, "nJ"),
    "latency_second": ("latency", "--max-latency", 1e6, "µs"),
    "area_m2": ("area", "--max-area", 1e6, "mm²"),
    "loss": ("accuracy loss", "--budget-accuracy", 1.0, ""),
    "tiles": ("tiles", "--tiles", 1.0, ""),
    "neurons": ("neurons", "--neurons", 1.0, ""),
}


def shown(name: str, value: float) -> str:
    """Return an amount of a resource with its unit."""
    _, _, factor, unit = _UNITS[name]
    return f"{value * factor:.4g} {unit}".rstrip()


def said(name: str, most: float) -> str:
    """Return a limit as messages give it."""
    words, option, _, _ = _UNITS[name]
    return f"{words} ≤ {shown(name, most)} ({option})"
