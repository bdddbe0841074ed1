"""Allocation from end to end: trace, price, measure, solve; and what came of it when the split was run."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from equilog.allocate.candidates import CHIP, Candidate, Capacity, Refused, as_linked, candidates, inputs_met
from equilog.allocate.formulate import Corner, Node, Situation, may_link, nodes_of
from equilog.allocate.front import pareto
from equilog.allocate.graph import trace
from equilog.allocate.price import AnalogPrice, settling_work
from equilog.allocate.problem import Cost, Crossings, Limits, Problem, crossings, evaluate
from equilog.allocate.programme import Optimum, Programme
from equilog.allocate.recount import Recount, recount
from equilog.allocate.sensitivity import OnChips, Score, answers, right_class, score, score_on
from equilog.allocate.split import build
from equilog.allocate.stages import Settling, staged
from equilog.cost.digital import DigitalTarget, default_target
from equilog.cost.span import Span
from equilog.hardware import Conditions, Spec, load_spec
from equilog.names import UserError, unknown

UNSEEN = 1_000_000
"""seed of the first chip that a split is run on"""
Progress = Callable[[str], None]


@dataclass(frozen=True)
class Outcome:
    """What happened when the split ran, on chips and data that it was not chosen with.

    Attributes:
        ideal: score of the original model there.
        predicted: that, less the losses of the chosen layers. Gains count as none: they are luck more often than not.
        happened: on unseen chips.
        same_chip: recount on the chip and the inputs that costs were measured on: the prediction to rounding, unless
            an equilibrium reads voltages and is read by ADCs, whose share of its power is that of playing DACs.
        unseen_chip: recount on an unseen chip, with what its layers get there.
    """

    ideal: float
    predicted: float
    happened: OnChips
    same_chip: Recount
    unseen_chip: Recount


@dataclass(frozen=True)
class Allocation:
    """The chosen split and all that led to it.

    Attributes:
        situation: operations, candidates, prices, losses.
        measured: score of every candidate alone, by module and kind.
        ideal: score of the original model on the same data.
        refused: what could not be a candidate, and why.
        limits: that were kept.
        optimum: the choice, its cost and the proof.
        front: Pareto points over energy, latency and loss, cheapest first.
        front_whole: whether these are all.
        seconds: that each part took.
    """

    model: nn.Module
    situation: Situation
    problem: Problem
    measured: Mapping[tuple[str, str], OnChips]
    ideal: float
    refused: tuple[Refused, ...]
    limits: Limits
    optimum: Optimum
    front: tuple[Optimum, ...]
    front_whole: bool
    seconds: Mapping[str, float]
    measuring: tuple[tuple[Any, ...], Tensor]
    checking: tuple[tuple[Any, ...], Tensor]
    score: Score
    conditions: Conditions | None

    @property
    def kinds(self) -> dict[str, str]:
        """Kind of every layer that had a choice, by dotted name."""
        return self.kinds_of(self.optimum.choice)

    def kinds_of(self, choice: tuple[int, ...]) -> dict[str, str]:
        """Return the same of any choice."""
        nodes = self.situation.nodes
        return {node.module: self.situation.kinds(node)[o] for node, o in zip(nodes, choice) if node.module is not None}

    @property
    def crossings(self) -> Crossings:
        """What the choice converts."""
        return crossings(self.problem, self.optimum.choice)

    @property
    def reported(self) -> tuple[int, ...]:
        """Nodes behind which ADCs stand."""
        chosen = (v.options[o] for v, o in zip(self.problem.vertices, self.optimum.choice))
        always = {k for k, option in enumerate(chosen) if option.kind != "digital" and not option.analog_out}
        return tuple(sorted(always | self.crossings.to_digital))

    @property
    def all_digital(self) -> tuple[Situation, tuple[int, ...]]:
        """The situation without pins, and the choice in it that computes all of it digitally."""
        return Situation(**(self.situation.__dict__ | {"pinned": {}})), (0,) * len(self.situation.nodes)

    @property
    def digital(self) -> Cost:
        """Cost of computing all of it digitally, at typical values; pins are not asked."""
        free, choice = self.all_digital
        return evaluate(free.problem(), choice)

    def span(self, resource: str, choice: tuple[int, ...] | None = None) -> Span:
        """Return the range of a resource of a choice, the chosen one unless given."""
        chosen = self.optimum.choice if choice is None else choice
        low, typical, high = (
            getattr(evaluate(self.situation.problem(corner), chosen), resource) for corner in _CORNERS
        )
        return Span(low=low, typical=typical, high=high)

    def split(self) -> nn.Module:
        """Return the chosen split as a network, ideal until :func:`~equilog.conversion.set_chip`."""
        nodes, cross, chosen = self.situation.nodes, self.crossings, self.kinds
        analog = {name: kind for name, kind in chosen.items() if kind != "digital"}
        banks: dict[tuple[int, str], list[str]] = {}
        for k, slot in cross.entered:
            option = self.problem.vertices[k].options[self.optimum.choice[k]]
            banks.setdefault((nodes[k].inputs[slot], option.reads[slot]), []).append(str(nodes[k].module))
        outs = {k for k, o in enumerate(self.optimum.choice) if self.problem.vertices[k].options[o].analog_out}
        return build(
            self.model,
            self.situation.spec,
            analog,
            self.measuring[0],
            given=[str(nodes[k].module) for k in sorted(outs - cross.to_digital)],
            read=sorted({str(nodes[k].module) for k, _ in cross.linked}),
            together=[sorted(set(names)) for names in banks.values() if len(set(names)) > 1],
        )

    def run(self, chips: int = 10) -> Outcome:
        """Run the split on unseen chips and data, and count what it takes.

        Raises:
            UserError: for less than one chip.
        """
        if chips < 1:
            raise UserError(f"chips = {chips}: expected at least one to run on")
        split, (x, labels) = self.split(), self.checking
        ideal = score(self.model, x, labels, self.score)
        of, sample = self.situation, self.measuring[0]
        if all(kind == "digital" for kind in self.kinds.values()):
            happened = OnChips((score(split, x, labels, self.score),))
            counted = recount(split, of.spec, of.target, sample, None)
            return Outcome(ideal, ideal, happened, counted, counted)
        happened = score_on(split, range(UNSEEN, UNSEEN + chips), x, labels, self.score, self.conditions)
        same = recount(split, of.spec, of.target, sample, CHIP, inputs="ideal")
        unseen = recount(split, of.spec, of.target, sample, UNSEEN)
        return Outcome(ideal, ideal - self.optimum.cost.loss, happened, same, unseen)


_CORNERS: tuple[Corner, ...] = ("low", "typical", "high")
OBJECTIVES = {"energy": "energy_joule", "latency": "latency_second", "area": "area_m2", "loss": "loss"}


@torch.no_grad()
def allocate(
    model: nn.Module,
    x: Any,
    labels: Tensor | None = None,
    hardware: str | Path | Spec = "rram",
    target: DigitalTarget | None = None,
    *,
    limits: Limits | None = None,
    capacity: Capacity | None = None,
    minimise: str = "energy",
    pin: Mapping[str, str] | None = None,
    cells: Collection[str] = (),
    links: bool = True,
    chips: int = 8,
    by: Score = right_class,
    conditions: Conditions | None = None,
    front: bool = True,
    progress: Progress | None = None,
) -> Allocation:
    """Decide for every operation of a network whether it is computed on analog hardware or digitally.

    Args:
        model: any network, a :class:`~equilog.HybridDEQ` or one with such parts included; stays as it is.
        x: inputs, batch first; a tuple for several. Losses and ranges are measured on every other sample, and
            :meth:`Allocation.run` is on those in between.
        labels: classes, or whatever `by` takes. The model's own answers unless given: the loss is then the share of
            answers that change.
        hardware: preset, path of a technology file, or technology.
        target: the digital computer; the one that ships with equilog unless given.
        limits: of accuracy loss, latency, area and energy.
        capacity: tiles and neurons that there are.
        minimise: "energy", "latency", "area" or "loss".
        pin: layers that are given a kind, by dotted name: "digital", "product" or "equilibrium".
        cells: modules ``f(z, u)`` or ``f(x)`` that may become equilibria; each is one operation.
        links: whether states may go from one crossbar to the next as voltages.
        chips: on how many every candidate is measured.
        by: score of every sample, 1 the best.
        conditions: under which chips are read.
        front: whether to find the Pareto front too.
        progress: called with a phrase for each part of the work.

    Raises:
        UserError: for a model that cannot be traced, names that are not there, or samples that do not fit.
        Infeasible: if no split keeps the limits; the message names those that bind.
    """
    tell, clock = progress or (lambda _phrase: None), _Clock()
    spec = hardware if isinstance(hardware, Spec) else load_spec(hardware)
    target, capacity = target or default_target(), capacity or Capacity()
    if minimise not in OBJECTIVES:
        raise unknown("objective", minimise, OBJECTIVES)
    if chips < 1:
        raise UserError(f"chips = {chips}: expected at least one to measure on")
    limits = _with_capacity(limits or Limits(), capacity)
    made = staged(model)
    measuring, checking = _halves(made, x, labels)
    tell("tracing the graph")
    for name in cells:
        if name not in dict(made.named_modules()):
            raise unknown("cell", name, (n for n, _ in made.named_modules() if n))
    graph = trace(made, tuple(t[:1] for t in measuring[0]), cells)
    clock.lap("trace")
    tell("pricing what could be analog")
    found, refused = candidates(made, graph, spec, measuring[0], capacity, cells)
    nodes = nodes_of(graph, found)
    linked = _linked(made, nodes, found, spec, measuring[0]) if links else {}
    clock.lap("price")
    ideal = score(made, measuring[0], measuring[1], by)
    measured, seeds = {}, range(CHIP, CHIP + chips)
    for c in found:
        tell(f"measuring {c.module} as {c.kind} on {chips} chips")
        measured[c.module, c.kind] = score_on(c.model, seeds, measuring[0], measuring[1], by, conditions)
    clock.lap("measure")
    tell("solving")
    losses = {key: max(0.0, ideal - on.mean) for key, on in measured.items()}
    situation = Situation(
        graph, nodes, found, _settling(made, measuring[0], spec), losses, spec, target, linked,
        _pins(pin or {}, found, refused),
    )  # fmt: skip
    problem = situation.problem()
    programme = Programme(problem)
    optimum = programme.best(OBJECTIVES[minimise], limits)
    clock.lap("solve")
    points, whole = pareto(programme, limits) if front else ([], False)
    clock.lap("front")
    return Allocation(
        made, situation, problem, measured, ideal, tuple(refused), limits, optimum, tuple(points), whole, clock.laps,
        measuring, checking, by, conditions,
    )  # fmt: skip


class _Clock:
    def __init__(self) -> None:
        self.laps: dict[str, float] = {}
        self._last = time.perf_counter()

    def lap(self, name: str) -> None:
        now = time.perf_counter()
        self.laps[name], self._last = now - self._last, now


def _with_capacity(limits: Limits, capacity: Capacity) -> Limits:
    given = {name: value for name in ("tiles", "neurons") if (value := getattr(capacity, name)) is not None}
    limits = limits.model_copy(update=given)
    for name, value in limits.given().items():
        if value < 0:
            raise UserError(f"{name} = {value}: expected a limit of 0 or more")
    return limits


def _halves(model: nn.Module, x: Any, labels: Tensor | None) -> tuple[Any, Any]:
    inputs = x if isinstance(x, tuple) else (x,)
    if not inputs or not all(isinstance(t, Tensor) and t.ndim for t in inputs):
        raise UserError("expected inputs as a tensor, or a tuple of tensors, with the batch first")
    lengths = {len(t) for t in inputs} | (set() if labels is None else {len(labels)})
    if len(lengths) > 1 or min(lengths) < 2:
        raise UserError(
            f"inputs and labels have {sorted(lengths)} samples: expected the same number of each, at least 2"
        )
    wanted = answers(model, inputs) if labels is None else labels
    even, odd = slice(0, None, 2), slice(1, None, 2)
    first, second = ((tuple(t[part] for t in inputs), wanted[part]) for part in (even, odd))
    return first, second


def _linked(
    model: nn.Module, nodes: list[Node], found: list[Candidate], spec: Spec, sample: tuple[Any, ...]
) -> dict[tuple[str, str], AnalogPrice]:
    prices = {}
    for node in nodes:
        for c in (c for c in found if c.module == node.module):
            source = node.inputs[range(len(node.inputs))[c.heard]]
            if may_link(nodes, found, source, node, c) and (priced := as_linked(c, model, spec, sample)) is not None:
                prices[c.module, c.kind] = priced
    return prices


def _settling(model: nn.Module, sample: tuple[Any, ...], spec: Spec) -> dict[str, Any]:
    found: dict[str, nn.Module] = {n: m for n, m in model.named_modules() if isinstance(m, Settling)}
    if not found:
        return {}
    met = inputs_met(model, found, sample)
    try:
        return {name: settling_work(layer, met[name], spec) for name, layer in found.items() if name in met}
    except ValueError as error:
        raise UserError(f"an equilibrium cannot be charged digitally: {error}") from None


def _pins(pin: Mapping[str, str], found: list[Candidate], refused: list[Refused]) -> dict[str, str]:
    can: dict[str, list[str]] = {}
    for c in found:
        can.setdefault(c.module, ["digital"]).append(c.kind)
    for name, kind in pin.items():
        why = next((r.reason for r in refused if r.module == name and r.kind == kind), None)
        if name not in can and why is None:
            raise unknown("layer to pin", name, can)
        if kind not in can.get(name, ["digital"]):
            reason = f": {why}" if why else f"; expected one of: {', '.join(can.get(name, ['digital']))}"
            raise UserError(f"layer {name!r} cannot be pinned to {kind!r}{reason}")
    return dict(pin)
