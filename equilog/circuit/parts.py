"""What a written circuit is made of, counted in its own deck lines, and what area that takes.

Subcircuits are expanded, so that what counts is what the simulator sees: a part that the writer forgot is missing here
too. Converters are sources in a deck; an ADC reads the output of every neuron and has no line of its own.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import cache
from importlib import resources
from pathlib import Path

from equilog.circuit.deck import DeckError, Line, read_deck
from equilog.hardware import Figure
from equilog.names import Strict, load_yaml, parse

BLOCKS = {
    "crossbar devices": r"/r[pm]_\d+_\d+",
    "wire segments": r"/r[wb]_\d+_\d+",
    "op-amps": r".*:(opamp|opamp_limited)",
    "feedback resistors": r".*integrator(_limited)?/rf",
    "feedback capacitors": r".*integrator(_limited)?/cf",
    "activation blocks": r".*:activation",
    "DACs": r"/vd\d+",
    "references": r"/vref",
    "comparators": r".*comparator_pair/b(high|low)",
    "hold timers": r".*:hold_timer",
}
"""What each block's part looks like as path of subcircuits, ``/``, name, and for an instance ``:`` its subcircuit."""


@dataclass(frozen=True)
class Element:
    """One element of the expanded circuit.

    Attributes:
        path: subcircuits it lies in, outermost first.
        name: as in the deck, in lower case.
        subckt: which subcircuit it is an instance of; empty for others.
        value: of a resistor or capacitor, if the deck gives it as a number; ohm or farad.
    """

    path: tuple[str, ...]
    name: str
    subckt: str = ""
    value: float | None = None

    @property
    def label(self) -> str:
        """What :data:`BLOCKS` matches."""
        return f"{'/'.join(self.path)}/{self.name}" + (f":{self.subckt}" if self.subckt else "")


class Areas(Strict):
    """Areas of a process as data, in m²."""

    name: str
    summary: str
    device_m2: Figure
    amplifier_m2: Figure
    activation_m2: Figure
    dac_m2: Figure
    adc_m2: Figure
    comparator_m2: Figure
    reference_m2: Figure
    resistor_m2_per_ohm: Figure
    capacitor_m2_per_farad: Figure


@dataclass(frozen=True)
class Block:
    """One row of the table.

    Attributes:
        name: of :data:`BLOCKS`, or ``ADCs``.
        count: how many the deck holds.
        area_m2: low, typical, high of all of them; None where no number is known.
        source: of the area.
    """

    name: str
    count: int
    area_m2: tuple[float, float, float] | None
    source: str


def blocks(folder: Path, areas: Areas | None = None) -> list[Block]:
    """Return how many of each block a circuit folder holds, with its detector if it has one, and their area.

    Args:
        folder: written by :func:`equilog.circuit.write_circuit`.
        areas: the process; the one that ships with equilog unless given.

    Raises:
        DeckError: if there is no circuit.
    """
    areas = areas or default_areas()
    found = elements(folder)
    counts = count(found)
    counts["ADCs"] = sum(e.subckt in ("neuron", "neuron_limited") for e in found)
    each = {
        "crossbar devices": areas.device_m2,
        "op-amps": areas.amplifier_m2,
        "activation blocks": areas.activation_m2,
        "DACs": areas.dac_m2,
        "ADCs": areas.adc_m2,
        "references": areas.reference_m2,
        "comparators": areas.comparator_m2,
    }
    per_value = {
        "feedback resistors": areas.resistor_m2_per_ohm,
        "feedback capacitors": areas.capacitor_m2_per_farad,
    }
    rows = []
    for name, number in counts.items():
        if not number:
            continue
        figure = each.get(name) or per_value.get(name)
        if figure is None:
            rows.append(Block(name, number, None, "not counted as area"))
            continue
        scale = float(number)
        if name in per_value:
            scale = sum(e.value or 0.0 for e in found if re.fullmatch(BLOCKS[name], e.label))
        low, typical, high = (bound * scale for bound in figure.bounds())
        rows.append(Block(name, number, (low, typical, high), figure.source))
    return rows


def count(found: list[Element]) -> Counter[str]:
    """Return how many elements each block has, in the order of :data:`BLOCKS`."""
    counts: Counter[str] = Counter(dict.fromkeys(BLOCKS, 0))
    for element in found:
        for name, pattern in BLOCKS.items():
            counts[name] += re.fullmatch(pattern, element.label) is not None
    return counts


def elements(folder: Path) -> list[Element]:
    """Return every element of ``layer.cir``, and of ``detector.cir`` if it is there, subcircuits expanded.

    Raises:
        DeckError: if a file is missing, or a subcircuit that is used.
    """
    circuit = _Circuit()
    for name in ("layer.cir", "detector.cir"):
        if name == "layer.cir" or (folder / name).exists():
            circuit.read(read_deck(folder, name))
    return list(_expand(circuit, circuit.top, (), {}))


@cache
def default_areas() -> Areas:
    """Return the process that ships with equilog."""
    with resources.as_file(resources.files("equilog.circuit") / "areas.yaml") as path:
        return parse(Areas, load_yaml(path), "equilog's areas")


@dataclass
class _Subckt:
    parameters: dict[str, str] = field(default_factory=dict)
    lines: list[tuple[Line, list[str]]] = field(default_factory=list)


@dataclass
class _Circuit:
    top: _Subckt = field(default_factory=_Subckt)
    subckts: dict[str, _Subckt] = field(default_factory=dict)

    def read(self, lines: list[Line]) -> None:
        within = self.top
        for line, text in _joined(lines):
            words = text.lower().split()
            if words[0] == ".subckt":
                within = _Subckt(_parameters(words[2:]))
                self.subckts[words[1]] = within
            elif words[0] == ".ends":
                within = self.top
            elif words[0][0].isalpha():
                within.lines.append((line, words))


def _joined(lines: list[Line]) -> Iterator[tuple[Line, str]]:
    """Yield the lines that say something, continuations appended; the title is a comment in all that we write."""
    held: tuple[Line, str] | None = None
    for line in lines:
        text = line.text.strip()
        if not text or text.startswith("*"):
            continue
        if text.startswith("+") and held is not None:
            held = (held[0], f"{held[1]} {text[1:]}")
            continue
        if held is not None:
            yield held
        held = (line, text)
    if held is not None:
        yield held


def _expand(circuit: _Circuit, within: _Subckt, path: tuple[str, ...], given: Mapping[str, str]) -> Iterator[Element]:
    for line, words in within.lines:
        name = words[0]
        if name[0] != "x":
            value = _value(words[3], given) if name[0] in "rc" and len(words) > 3 else None
            yield Element(path, name, value=value)
            continue
        nodes = [word for word in words[1:] if "=" not in word]
        subckt = nodes[-1]
        if subckt not in circuit.subckts:
            raise DeckError(f"{line}: there is no subcircuit {subckt!r}")
        yield Element(path, name, subckt)
        inner = circuit.subckts[subckt]
        passed = {key: _resolved(value, given) for key, value in _parameters(words).items()}
        yield from _expand(circuit, inner, (*path, subckt), inner.parameters | passed)


def _parameters(words: list[str]) -> dict[str, str]:
    return {key: value for key, _, value in (word.partition("=") for word in words if "=" in word)}


def _resolved(text: str, given: Mapping[str, str]) -> str:
    return given.get(text[1:-1], text) if text.startswith("{") and text.endswith("}") else text


def _value(text: str, given: Mapping[str, str]) -> float | None:
    try:
        return float(_resolved(text, given))
    except ValueError:
        return None
