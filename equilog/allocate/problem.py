"""The decision as data: operations, what each can become, and what crossing between the sides takes.

A vertex is an operation; its result is one tensor, read by any number of later vertices. Each vertex gets one of its
options. An option reads every input as digital numbers, in a format of its own that DACs play (rows of so many numbers,
windows of an image), or not at all; and gives its result as digital numbers or as voltages. Then

- voltages are **converted to digital once**, if a later operation needs the numbers, however many do;
- numbers are **played once for every format** that is wanted, however many layers listen;
- where a link exists, voltages reach the next crossbar **directly**, through sample-and-holds and no converter.

The total is linear in what is chosen and in what is converted. Costs are never below zero.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import astuple, dataclass, field, fields

from equilog.names import Strict

DIGITAL, UNUSED = "digital", "unused"
"""what an option may want of an input; anything else is a format of DACs"""


@dataclass(frozen=True)
class Cost:
    """What a part of an inference takes; ``loss`` is accuracy lost, as a fraction."""

    energy_joule: float = 0.0
    latency_second: float = 0.0
    area_m2: float = 0.0
    loss: float = 0.0
    tiles: float = 0.0
    neurons: float = 0.0

    def __add__(self, other: Cost) -> Cost:
        return Cost(*(a + b for a, b in zip(astuple(self), astuple(other))))


RESOURCES = tuple(f.name for f in fields(Cost))


class Limits(Strict):
    """What the whole may take at most; None is no limit."""

    energy_joule: float | None = None
    latency_second: float | None = None
    area_m2: float | None = None
    loss: float | None = None
    tiles: float | None = None
    neurons: float | None = None

    def given(self) -> dict[str, float]:
        """Return those that are limited, by resource."""
        return {name: value for name in RESOURCES if (value := getattr(self, name)) is not None}


@dataclass(frozen=True)
class Option:
    """One way to compute a vertex.

    Attributes:
        kind: its name.
        cost: of the operation itself.
        reads: for every input of the vertex, :data:`DIGITAL`, :data:`UNUSED` or a format.
        enter: for every input, what this consumer pays while DACs play it; not shared.
        analog_out: whether the result is voltages.
        leave: what converting them takes.
    """

    kind: str
    cost: Cost
    reads: tuple[str, ...] = ()
    enter: tuple[Cost, ...] = ()
    analog_out: bool = False
    leave: Cost = Cost()

    def plays(self, slot: int) -> str | None:
        """Return the format in which DACs play input `slot`; None where none do."""
        form = self.reads[slot]
        return None if form in (DIGITAL, UNUSED) else form


@dataclass(frozen=True)
class Vertex:
    """An operation: its name, the vertices it reads, its options, and whether the model returns its result."""

    name: str
    inputs: tuple[int, ...]
    options: tuple[Option, ...]
    output: bool = False


@dataclass(frozen=True)
class Problem:
    """All of it.

    Attributes:
        vertices: in an order in which every input comes first.
        dac: what playing a vertex's result takes, by ``(vertex, format)``.
        direct: links without converters, ``(vertex, input slot, option)`` of the reader: what holding the voltages
            takes. Used where the input is voltages.
        ties: groups of vertices that get the same option, because they are one module.

    Raises:
        ValueError: for options that do not fit the inputs, an input that comes later, a format without a DAC, or a cost
            below zero.
    """

    vertices: tuple[Vertex, ...]
    dac: Mapping[tuple[int, str], Cost] = field(default_factory=dict)
    direct: Mapping[tuple[int, int, int], Cost] = field(default_factory=dict)
    ties: tuple[tuple[int, ...], ...] = ()

    def __post_init__(self) -> None:
        costs = [*self.dac.values(), *self.direct.values()]
        for k, vertex in enumerate(self.vertices):
            if not vertex.options:
                raise ValueError(f"vertex {vertex.name!r} has no option")
            if any(not 0 <= i < k for i in vertex.inputs):
                raise ValueError(f"vertex {vertex.name!r} reads a vertex that does not come before it")
            for option in vertex.options:
                if not len(option.reads) == len(option.enter) == len(vertex.inputs):
                    raise ValueError(f"option {option.kind!r} of {vertex.name!r} does not read {len(vertex.inputs)}")
                costs += [option.cost, *option.enter, option.leave]
                for slot, i in enumerate(vertex.inputs):
                    form = option.plays(slot)
                    if form is not None and (i, form) not in self.dac:
                        raise ValueError(f"nothing plays {self.vertices[i].name!r} as {form!r}")
        if any(value < 0 for cost in costs for value in astuple(cost)):
            raise ValueError("a cost is below zero: an optimum would convert what nobody reads")


@dataclass(frozen=True)
class Crossings:
    """What a choice converts.

    Attributes:
        to_digital: vertices whose voltages are converted.
        played: ``(vertex, format)`` that DACs play.
        entered: ``(vertex, slot)`` of the layers that listen to DACs.
        linked: ``(vertex, slot)`` of the layers that read voltages directly.
    """

    to_digital: frozenset[int]
    played: frozenset[tuple[int, str]]
    entered: frozenset[tuple[int, int]]
    linked: frozenset[tuple[int, int]]


def crossings(problem: Problem, choice: Sequence[int]) -> Crossings:
    """Return what has to be converted if every vertex gets the option with this index."""
    to_digital, played, entered, linked = set(), set(), set(), set()
    chosen = [vertex.options[o] for vertex, o in zip(problem.vertices, choice, strict=True)]
    for k, (vertex, option) in enumerate(zip(problem.vertices, chosen)):
        if vertex.output and option.analog_out:
            to_digital.add(k)
        for slot, i in enumerate(vertex.inputs):
            if option.reads[slot] == UNUSED:
                continue
            voltages, form = chosen[i].analog_out, option.plays(slot)
            if voltages and (k, slot, choice[k]) in problem.direct:
                linked.add((k, slot))
                continue
            if voltages:
                to_digital.add(i)
            if form is not None:
                played.add((i, form))
                entered.add((k, slot))
    return Crossings(frozenset(to_digital), frozenset(played), frozenset(entered), frozenset(linked))


def evaluate(problem: Problem, choice: Sequence[int]) -> Cost:
    """Return what a choice takes, by adding up."""
    cross = crossings(problem, choice)
    chosen = [vertex.options[o] for vertex, o in zip(problem.vertices, choice)]
    parts = [option.cost for option in chosen]
    parts += [chosen[k].leave for k in sorted(cross.to_digital)]
    parts += [problem.dac[key] for key in sorted(cross.played)]
    parts += [chosen[k].enter[slot] for k, slot in sorted(cross.entered)]
    parts += [problem.direct[k, slot, choice[k]] for k, slot in sorted(cross.linked)]
    return sum(parts, Cost())
