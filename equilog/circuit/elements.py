"""A written circuit element by element: subcircuits expanded, nodes and values as the simulator sees them.

What is found here is read from deck lines, never from the layer that they were written for: a part that the writer
forgot is missing here too.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from equilog.circuit.arithmetic import spice_number
from equilog.circuit.deck import DeckError, Line, read_deck

DECKS = ("layer.cir", "detector.cir")
_NODES = {"r": 2, "c": 2, "v": 2, "i": 2, "b": 2, "e": 4, "g": 4, "s": 4}
_TRANSISTOR = re.compile(r"sky130_fd_pr__\w+")


@dataclass(frozen=True)
class Element:
    """One element of the expanded circuit.

    Attributes:
        path: the instances it lies in, outermost first, each as ``name:subcircuit``.
        name: as in the deck, in lower case.
        nodes: what it connects, under ngspice's names: ``xn0.xint.plus`` for a node within instances.
        subckt: which subcircuit it is an instance of; empty for others.
        value: of a resistor, capacitor or direct source; ohm, farad, volt or ampere. None for others.
        parameters: what an instance is given, defaults of its subcircuit included.
    """

    path: tuple[str, ...]
    name: str
    nodes: tuple[str, ...]
    subckt: str = ""
    value: float | None = None
    parameters: Mapping[str, float] = field(default_factory=dict)

    @property
    def label(self) -> str:
        """Path and name, ``xn0:neuron/xint:integrator/rf``."""
        return "/".join((*self.path, f"{self.name}:{self.subckt}" if self.subckt else self.name))

    @property
    def spice_name(self) -> str:
        """The name under which ngspice knows it, ``r.xn0.xint.rf``."""
        within = [part.partition(":")[0] for part in self.path]
        return ".".join([self.name[0], *within, self.name]) if within else self.name

    @property
    def is_transistor(self) -> bool:
        """Whether it is an instance of a foundry's transistor."""
        return _TRANSISTOR.fullmatch(self.subckt) is not None


def elements(folder: Path) -> list[Element]:
    """Return every element of a circuit folder, instances and what is in them; transistors are not opened.

    Of ``chain.cir`` if there is one, which includes all; else of ``layer.cir``, and of ``detector.cir`` if it is there.

    Raises:
        DeckError: if a file is missing, or a subcircuit that is used, or if a value is no number.
    """
    circuit = _Circuit()
    decks = ("chain.cir",) if (folder / "chain.cir").exists() else DECKS
    for name in decks:
        if name != "detector.cir" or (folder / name).exists():
            circuit.read(read_deck(folder, name))
    return list(_expand(circuit, circuit.top, (), {}, {}))


@dataclass
class _Subckt:
    ports: list[str] = field(default_factory=list)
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
                within = _Subckt([word for word in words[2:] if "=" not in word], _parameters(words[2:]))
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


def _expand(
    circuit: _Circuit,
    within: _Subckt,
    path: tuple[str, ...],
    given: Mapping[str, float],
    ports: Mapping[str, str],
) -> Iterator[Element]:
    prefix = "".join(f"{part.partition(':')[0]}." for part in path)

    def node(name: str) -> str:
        return name if name == "0" else ports.get(name, prefix + name)

    for line, words in within.lines:
        name = words[0]
        try:
            if name[0] != "x":
                nodes = tuple(node(word) for word in words[1 : 1 + _NODES.get(name[0], 2)])
                yield Element(path, name, nodes, value=_value(words, given))
                continue
            *inner_nodes, subckt = [word for word in words[1:] if "=" not in word]
            passed = {key: spice_number(value, given) for key, value in _parameters(words).items()}
            nodes = tuple(map(node, inner_nodes))
            instance = Element(path, name, nodes, subckt, parameters=passed)
            if instance.is_transistor:
                yield instance
                continue
            if subckt not in circuit.subckts:
                raise DeckError(f"{line}: there is no subcircuit {subckt!r}")
            inner = circuit.subckts[subckt]
            known = {key: spice_number(value, given) for key, value in inner.parameters.items()} | passed
        except ValueError as error:
            raise DeckError(f"{line}: {error}") from None
        yield Element(path, name, nodes, subckt, parameters=known)
        yield from _expand(circuit, inner, (*path, f"{name}:{subckt}"), known, dict(zip(inner.ports, nodes)))


def _parameters(words: list[str]) -> dict[str, str]:
    return {key: value for key, _, value in (word.partition("=") for word in words if "=" in word)}


def _value(words: list[str], given: Mapping[str, float]) -> float | None:
    kind = words[0][0]
    if kind in "rc":
        return spice_number(words[3], given)
    if kind in "vi" and words[3:4] == ["dc"]:
        return spice_number(words[4], given)
    return None
