"""From operations, candidates and prices to the problem that is solved: what each costs, and what each crossing.

One thing happens after the other: latency is the sum. A chip's layer draws its power from the DACs' start to the ADCs'
end, and the digital computer its standing power meanwhile. DACs and ADCs fetch and write their numbers in the
computer's memory. Costs are taken at one corner of their ranges: low, typical or high.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import astuple, dataclass
from typing import Literal

from equilog.allocate.candidates import Candidate
from equilog.allocate.graph import Operation
from equilog.allocate.price import AnalogPrice, digital_joule, digital_second, moved
from equilog.allocate.problem import DIGITAL, UNUSED, Cost, Option, Problem, Vertex
from equilog.cost.digital import DigitalTarget, Work
from equilog.cost.process import process_of
from equilog.cost.span import Span
from equilog.hardware import Spec

Corner = Literal["low", "typical", "high"]


@dataclass(frozen=True)
class Node:
    """A vertex of the problem: an operation, with the activation behind it where a candidate computes both.

    Attributes:
        operations: indices into the graph.
        module: dotted name of what a candidate converts; None for what is always digital.
        label: what people call it.
        what: what it is, in a word.
        inputs: nodes.
        slots: for every input, operation and position there that reads it.
        output: whether the model returns its result.
    """

    operations: tuple[int, ...]
    module: str | None
    label: str
    what: str
    inputs: tuple[int, ...]
    slots: tuple[tuple[int, int], ...]
    output: bool


def nodes_of(graph: list[Operation], found: list[Candidate]) -> list[Node]:
    """Return the operations with activations folded into the layers that may absorb them."""
    absorbing = {c.module: c.absorbs for c in found if c.absorbs is not None}
    behind = {}  # an activation's operation: the layer's
    for k, op in enumerate(graph):
        if op.module in absorbing.values() and len(op.inputs) == 1:
            layer = graph[op.inputs[0]].module
            if layer is not None and absorbing.get(layer) == op.module:
                behind[k] = op.inputs[0]
    node_of: dict[int, int] = {}
    nodes: list[Node] = []
    absorbed = {layer: k for k, layer in behind.items()}
    for k, op in enumerate(graph):
        if k in behind:
            continue
        last = absorbed.get(k)
        operations = (k,) if last is None else (k, last)
        node_of |= dict.fromkeys(operations, len(nodes))
        module = op.module if any(c.module == op.module for c in found) else None
        what = op.what if last is None else f"{op.what} + {graph[last].what}"
        nodes.append(
            Node(
                operations,
                module,
                op.label,
                what,
                tuple(node_of[i] for i in op.inputs),
                tuple((k, slot) for slot in range(len(op.inputs))),
                any(graph[j].output for j in operations),
            )
        )
    return nodes


@dataclass(frozen=True)
class Situation:
    """All that the problem is made of; :meth:`problem` makes it at one corner of the costs.

    Attributes:
        graph, nodes, found: operations, vertices, candidates.
        settling: digital work of equilibria, by module.
        losses: accuracy lost by module and kind.
        spec, target: the technology and the computer.
        linked: of layers that may read voltages of another crossbar, by module and kind: what they take then.
        pinned: kinds by module.
    """

    graph: list[Operation]
    nodes: list[Node]
    found: list[Candidate]
    settling: Mapping[str, Work]
    losses: Mapping[tuple[str, str], float]
    spec: Spec
    target: DigitalTarget
    linked: Mapping[tuple[str, str], AnalogPrice]
    pinned: Mapping[str, str]

    def kinds(self, node: Node) -> list[str]:
        """Return the names of a node's options, in order."""
        made = [c.kind for c in self.found if c.module == node.module]
        kinds = ["digital", *(made if node.module is not None else [])]
        pinned = self.pinned.get(node.module) if node.module is not None else None
        return kinds if pinned is None else [pinned]

    def candidate(self, node: Node, kind: str) -> Candidate:
        """Return the candidate behind an analog option."""
        return next(c for c in self.found if c.module == node.module and c.kind == kind)

    def works(self, node: Node) -> tuple[Work, ...]:
        """Return what a node takes digitally, operation by operation."""
        works: list[Work] = []
        for k in node.operations:
            op = self.graph[k]
            works += (self.settling[op.module or ""],) if op.works is None else op.works
        return tuple(works)

    def alone(self, node: Node, option: Option) -> Cost:
        """Return what one of a node's options takes at typical values without its converters."""
        if option.kind == "digital" or option.analog_out:
            return option.cost
        adc = _Writer(self, "typical").reading(self.candidate(node, option.kind).price, option.cost.area_m2 > 0)
        return _less(option.cost, adc)

    def problem(self, corner: Corner = "typical") -> Problem:
        """Return the problem."""
        return _Writer(self, corner).problem()


def may_link(nodes: list[Node], found: list[Candidate], source: int, node: Node, made: Candidate) -> bool:
    """Return whether a layer could read voltages of node `source`, should it give any: as one row, both used once."""
    giver = nodes[source]
    gives = any(c.module == giver.module and c.price.analog_out for c in found)
    row = made.price.vectors == 1 and made.price.listens.startswith("rows")
    once = all(sum(n.module == m.module for n in nodes) == 1 for m in (node, giver))
    return row and once and gives


def _less(whole: Cost, part: Cost) -> Cost:
    """Return the difference, where rounding could leave it below zero."""
    return Cost(*(max(0.0, a - b) for a, b in zip(astuple(whole), astuple(part))))


class _Writer:
    def __init__(self, of: Situation, corner: Corner) -> None:
        self.of, self.corner = of, corner
        self.dac: dict[tuple[int, str], Cost] = {}
        self.direct: dict[tuple[int, int, int], Cost] = {}
        self.process = process_of(of.spec)

    def problem(self) -> Problem:
        seen: dict[str, list[int]] = {}
        vertices = []
        for k, node in enumerate(self.of.nodes):
            first = node.module is None or node.module not in seen
            if node.module is not None:
                seen.setdefault(node.module, []).append(k)
            options = tuple(
                self._digital(node) if kind == "digital" else self._analog(k, node, o, kind, first)
                for o, kind in enumerate(self.of.kinds(node))
            )
            vertices.append(Vertex(f"{node.label}#{k}", node.inputs, options, node.output))
        ties = tuple(tuple(group) for group in seen.values() if len(group) > 1)
        return Problem(tuple(vertices), self.dac, self.direct, ties)

    def _digital(self, node: Node) -> Option:
        works = self.of.works(node)
        inputs = len(node.inputs)
        return Option("digital", self._computed(works), (DIGITAL,) * inputs, (Cost(),) * inputs)

    def _analog(self, k: int, node: Node, o: int, kind: str, first: bool) -> Option:
        made = self.of.candidate(node, kind)
        p, inputs = made.price, len(node.inputs)
        heard = range(inputs)[made.heard]
        source, form = node.inputs[heard], f"{p.listens}{self._wire(node, heard)}"
        own, leave = self._on(p), self.reading(p, first)
        if not p.analog_out:  # nobody could take voltages from it: its ADCs are part of it
            own, leave = own + leave, Cost()
        played_to = self._cost(p.watt * self.of.spec.dac.conversion_second * p.vectors)
        if (q := self.of.linked.get((made.module, kind))) is not None:
            # Other voltages at its columns take other power: what both ways have in common is its own. The reader
            # has a sample-and-hold at every column anyway.
            by_dac, by_link = own, self._on(q) + (Cost() if p.analog_out else self.reading(q, first))
            own = Cost(*map(min, astuple(by_dac), astuple(by_link)))
            played_to = played_to + _less(by_dac, own)
            self.direct[k, heard, o] = _less(by_link, own)
        own = own + self._computed((p.digital,))
        if kind == "product" and len(node.operations) > 1:  # the activation behind it stays digital
            own = own + self._computed(self.of.graph[node.operations[1]].works or ())
        if first:
            loss = self.of.losses[made.module, kind]
            own = own + self._cost(p.programming, area=p.area_m2) + Cost(loss=loss, tiles=made.tiles, neurons=p.neurons)
        self.dac.setdefault((source, form), self._played(p, first))
        reads = tuple(form if slot == heard else UNUSED for slot in range(inputs))
        enter = tuple(played_to if slot == heard else Cost() for slot in range(inputs))
        return Option(kind, own, reads, enter, p.analog_out, leave)

    def _on(self, p: AnalogPrice) -> Cost:
        """Return what a layer takes between its DACs and its ADCs."""
        on = Span.of(p.settle_second) * p.vectors
        return self._waited(p.watt * on, on)

    def _wire(self, node: Node, slot: int) -> str:
        operation, position = node.slots[slot]
        wires = self.of.graph[operation].wires[position]
        return f" of {'.'.join(wires)}" if wires else ""

    def _played(self, p: AnalogPrice, first: bool) -> Cost:
        dac, numbers = self.of.spec.dac, p.columns * p.vectors
        energy = Span.of(dac.energy_joule) * numbers
        area = Span.of(self.process.dac_m2) * p.columns if first else None
        return self._waited(energy, Span.of(dac.conversion_second) * p.vectors, area) + self._computed(moved(numbers))

    def reading(self, p: AnalogPrice, first: bool) -> Cost:
        """Return what a layer's ADCs take, with its own power meanwhile; their area, if it is the module's first."""
        adc, numbers = self.of.spec.adc, p.outputs * p.vectors
        time = Span.of(adc.conversion_second) * p.vectors
        energy = Span.of(adc.energy_joule) * numbers + p.watt * time
        area = Span.of(self.process.adc_m2) * p.outputs if first else None
        return self._waited(energy, time, area) + self._computed(moved(numbers))

    def _computed(self, works: tuple[Work, ...]) -> Cost:
        target = self.of.target
        return self._cost(digital_joule(works, target), digital_second(works, target))

    def _waited(self, energy: Span, time: Span, area: Span | None = None) -> Cost:
        """Return the cost of what chips do while the computer stands by."""
        return self._cost(energy + time * self.of.target.standing_watt, time, area)

    def _cost(self, energy: Span | None = None, latency: Span | None = None, area: Span | None = None) -> Cost:
        return Cost(*(0.0 if span is None else getattr(span, self.corner) for span in (energy, latency, area)))
