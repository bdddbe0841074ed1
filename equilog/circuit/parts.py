"""What a written circuit is made of, block by block, counted in its own deck lines."""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from equilog.circuit.elements import Element, elements

OTHER = "other"
"""The block of an element that no pattern knows: a deck with parts that this file was not told of."""


class Kind(NamedTuple):
    """How a block is recognised by the labels of its elements, see :attr:`Element.label`."""

    holds: str
    """what belongs to it"""
    unit: str
    """what is counted as one of it"""


BLOCKS = {
    "crossbar devices": Kind(r"r[pmwb]_\d+_\d+", r"r[pm]_\d+_\d+"),
    "fixed resistors": Kind(r"rk[pm]_\d+_\d+", r"rk[pm]_\d+_\d+"),
    "summing integrators": Kind(r"xn\d+:\w+/xint:.*|ibias\d+|xreset\d+:.*", r"xn\d+:\w+/xint:integrator(_limited)?"),
    "activations": Kind(r"xn\d+:\w+/xact:.*", r"xn\d+:\w+/xact:activation"),
    "linear outputs": Kind(r"xn\d+:\w+/xlin:.*", r"xn\d+:\w+/xlin:linear"),
    "DACs": Kind(r"(vd|ed|vin)\d+|xdac\d+:.*", r"vd\d+|xdac\d+:dac"),
    "sample-and-holds": Kind(r"xhold\d+:.*", r"xhold\d+:sample_hold"),
    "ADCs": Kind(r"xadc\d+:.*|xclock:.*", r"xadc\d+:adc"),
    "detector comparators": Kind(r"xd\d+:.*|xtimer:.*|xempty\d+:.*|vrun", r"xd\d+:comparator_pair/b(high|low)"),
    "references": Kind(r"vref|eref|xbias:.*|vdd|vss", r"vref"),
}
"""The blocks of a chip. Fixed resistors are those of a law, linear outputs those of states without an activation. Wire
segments lie in the crossbar; the detector's timer and the switches that empty its lags with its comparators; the
switches that reset a neuron with its integrator; bias and supplies with the reference."""

COMPONENTS = {
    "r": "resistors", "c": "capacitors", "e": "controlled sources", "g": "controlled sources",
    "b": "controlled sources", "v": "sources", "i": "sources", "s": "switches", "x": "transistors",
}  # fmt: skip
"""What the first letter of an element says it is."""


# The crossbar, what lies around amplifiers, and what lies in them where they are transistors.
_PHYSICAL = re.compile(r"r([pmwb]|k[pm])_\d+_\d+|.*/(xint:\w+/[rc]f|xact:activation/[rc]\w+|\w+:opamp/(cc|rz))")


@dataclass(frozen=True)
class Block:
    """What a deck holds of one block.

    Attributes:
        name: of :data:`BLOCKS`, or :data:`OTHER`.
        count: how many of it.
        components: how many elements it is made of, by kind: see :data:`COMPONENTS`.
        ohm, farad: sum of the resistors and capacitors that stand for themselves: those around amplifiers, not those
            within a macro-model.
        gate_m2: sum of W·L over transistors.
    """

    name: str
    count: int
    components: dict[str, int]
    ohm: float
    farad: float
    gate_m2: float


def blocks(folder: Path) -> list[Block]:
    """Return what each block of a circuit folder holds, blocks that it does not have left out.

    In a deck without converters a source stands for every DAC, and an ADC, which is no line, for every neuron.

    Args:
        folder: written by :func:`equilog.circuit.write_circuit`, with its detector if it has one, by
            :func:`equilog.circuit.chain.write_chain` or
            :func:`equilog.circuit.sky130.write_transistor_circuit`.

    Raises:
        DeckError: if there is no circuit, or one that cannot be read.
    """
    return blocks_of(elements(folder))


def blocks_of(found: Iterable[Element]) -> list[Block]:
    """Return what each block holds of an expanded circuit."""
    counts: Counter[str] = Counter()
    parts: dict[str, Counter[str]] = {name: Counter() for name in (*BLOCKS, OTHER)}
    sums: defaultdict[tuple[str, str], float] = defaultdict(float)
    for element in found:
        name = block_of(element)
        if name != OTHER and re.fullmatch(BLOCKS[name].unit, element.label):
            counts[name] += 1
        if element.subckt and not element.is_transistor:
            continue
        parts[name][COMPONENTS.get(element.name[0], "others")] += 1
        if element.is_transistor:
            sums[name, "gate"] += _gate_m2(element)
        elif is_physical(element):
            sums[name, element.name[0]] += element.value or 0.0
    if not counts["ADCs"]:
        counts["ADCs"] = counts["summing integrators"]
    counts[OTHER] = sum(parts[OTHER].values())
    return [
        Block(name, counts[name], dict(parts[name]), sums[name, "r"], sums[name, "c"], sums[name, "gate"])
        for name in parts
        if counts[name] or parts[name]
    ]


def block_of(element: Element) -> str:
    """Return the block that an element belongs to; an instance with several blocks in it belongs to none of them."""
    return next((name for name, kind in BLOCKS.items() if re.fullmatch(kind.holds, element.label)), OTHER)


def is_physical(element: Element) -> bool:
    """Whether a resistor or capacitor is a part, and not a number of a macro-model."""
    return _PHYSICAL.fullmatch(element.label) is not None


def _gate_m2(element: Element) -> float:
    given = element.parameters
    return given["w"] * given["l"] * given.get("mult", 1.0) * 1e-12  # the foundry's are micrometres
