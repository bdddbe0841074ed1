"""The bill of materials: what to buy, how many, for which designators, and what was assumed."""

from __future__ import annotations

import csv
import io
import re
from dataclasses import dataclass
from itertools import groupby

from equilog.circuit.board.catalogue import Part
from equilog.circuit.board.design import Board, Component
from equilog.circuit.board.values import RAIL_VOLT, activation_values

HEADINGS = ("Designators", "Quantity", "Value", "Description", "Manufacturer", "Part number", "Footprint", "Assumed")


@dataclass(frozen=True)
class Line:
    """One line: all components of one part."""

    part: Part
    refs: tuple[str, ...]

    @property
    def designators(self) -> str:
        """All designators, runs of three and more shortened: ``R1-R4, R9``."""
        return ", ".join(_runs(self.refs))

    @property
    def cells(self) -> tuple[str, ...]:
        """The line as text, in the order of :data:`HEADINGS`."""
        part = self.part
        return (
            self.designators, str(len(self.refs)), part.value, part.description, part.maker, part.code,
            part.footprint.partition(":")[2], part.assumed,
        )  # fmt: skip


def bill(board: Board) -> list[Line]:
    """Return the lines: integrated circuits, transistors, resistors by value, capacitors, connectors."""
    found: dict[Part, list[str]] = {}
    for component in board.components:
        found.setdefault(component.part, []).append(component.ref)
    order = {letter: rank for rank, letter in enumerate("UQRCJ")}
    lines = [Line(part, tuple(sorted(refs, key=_by_number))) for part, refs in found.items()]
    return sorted(lines, key=lambda line: (order[line.part.letter], line.part.ohm, _by_number(line.refs[0])))


def csv_text(lines: list[Line]) -> str:
    """Return the bill as CSV."""
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(HEADINGS)
    writer.writerows(line.cells for line in lines)
    return out.getvalue()


def power_watt(board: Board) -> dict[str, float]:
    """Return the typical power from ±5 V in watts, by kind of part; supply currents at rest, as the catalogue has them.

    The crossbar's entry is its bound: every source at full scale. Currents that op-amps deliver into resistors come out
    of the same rails, so that bound counts at the rail's 5 V.
    """
    layer = board.nominal
    spec = layer.spec
    found: dict[str, float] = {}
    for component in board.components:
        part = component.part
        if amperes := part.positive_ampere + part.negative_ampere:
            found[part.value] = found.get(part.value, 0.0) + amperes * RAIL_VOLT
    tail = activation_values(float(spec.activation.v_out_volt), board.series).tail_ampere
    # The pair's current runs from +5 V to −5 V, the mirror's other half from ground to −5 V.
    found["tanh pairs"] = layer.states * tail * 3 * RAIL_VOLT
    volts = [float(spec.activation.v_out_volt)] * layer.states
    volts += [float(spec.dac.full_scale_volt)] * (layer.drives + 1)
    plus, minus = layer.resistors
    per_column = (plus + minus).sum(0).tolist()
    found["crossbar, at most"] = RAIL_VOLT * sum(g * v for g, v in zip(per_column, volts))
    return found


@dataclass(frozen=True)
class BlockRow:
    """What one kind of block has: parts, the area of their courtyards without traces between them, supply power."""

    block: str
    parts: int
    area_mm2: float
    watt: float


def block_rows(board: Board) -> list[BlockRow]:
    """Return a row for every kind of block (all neurons are one), in order of first use."""
    found: dict[str, list[Component]] = {}
    for component in board.components:
        found.setdefault(re.sub(r" \d+$", "", component.block), []).append(component)
    pairs, crossbar = power_watt(board)["tanh pairs"], power_watt(board)["crossbar, at most"]
    more = {"neuron": pairs, "crossbar row": crossbar}
    return [
        BlockRow(
            block,
            len(components),
            sum(c.part.area_mm2 for c in components),
            sum(c.part.positive_ampere + c.part.negative_ampere for c in components) * RAIL_VOLT + more.get(block, 0.0),
        )
        for block, components in found.items()
    ]


def markdown(board: Board, lines: list[Line]) -> str:
    """Return the bill, the power and the assumptions as a page."""
    layer = board.nominal
    total = sum(len(line.refs) for line in lines)
    watt, rows_by_block = power_watt(board), block_rows(board)
    rows = ["| " + " | ".join(HEADINGS[:6]) + " |", "|---|---:|---|---|---|---|"]
    rows += ["| " + " | ".join(line.cells[:6]) + " |" for line in lines]
    page = [
        f"# Board of {layer.states} neurons and {layer.drives} drives",
        f"Technology {layer.spec.name}, resistors of {board.series}. {total} parts in {len(lines)} lines.",
        "\n".join(rows),
        "## By block",
        "Area of all courtyards side by side, without traces; a board of two layers takes two to three times that.",
        "\n".join(
            ["| block | parts | area mm² | W |", "|---|---:|---:|---:|"]
            + [f"| {r.block} | {r.parts} | {r.area_mm2:.0f} | {r.watt:.3f} |" for r in rows_by_block]
            + [f"| in all | {total} | {sum(r.area_mm2 for r in rows_by_block):.0f} | {sum(watt.values()):.3f} |"]
        ),
        "## Power",
        "Typical currents at rest from ±5 V; the crossbar with every source at full scale.",
        "\n".join(
            ["| what | W |", "|---|---:|"]
            + [f"| {name} | {value:.3f} |" for name, value in watt.items()]
            + [f"| in all | {sum(watt.values()):.2f} |"]
        ),
        "## Assumed, to be checked before ordering",
        "\n".join(f"- {names}: {why}" for why, names in _assumptions(lines)),
        "\n".join(f"- {text}" for text in ABOUT_THE_DESIGN),
        "",
    ]
    return "\n\n".join(page)


ABOUT_THE_DESIGN = (
    "The tail current comes from −5 V: 1 % of that rail is 1.1 % of all states. Regulate it to 0.5 %, or measure V_s "
    "and program with that.",
    "The resistors' tolerance is part of the twin (crossbar.programming_sigma); the 1 % of those above 1 MΩ is not.",
    "V_BE = 0.65 V and h_FE = 290 are typical; the pair's amplitude follows them by a per cent, which the twin has as "
    "activation.gain_sigma.",
    "Hold time and timeout of the detector are counted by the host, which reads STILL.",
    "Not laid out and not built: netlist and bill are checked against the simulated circuit, not against a bench.",
)


def _assumptions(lines: list[Line]) -> list[tuple[str, str]]:
    found: dict[str, list[str]] = {}
    for line in lines:
        if line.part.assumed:
            name = line.part.description if line.part.letter in "RC" else line.part.value
            names = found.setdefault(line.part.assumed, [])
            if name not in names:
                names.append(name)
    return [(why, ", ".join(names)) for why, names in found.items()]


def _by_number(ref: str) -> int:
    return int(re.sub(r"\D", "", ref))


def _runs(refs: tuple[str, ...]) -> list[str]:
    found = []
    for _, group in groupby(enumerate(refs), key=lambda pair: _by_number(pair[1]) - pair[0]):
        run = [ref for _, ref in group]
        found += [f"{run[0]}-{run[-1]}"] if len(run) > 2 else run
    return found
