"""A digital computer as data: arithmetic, instructions, a hierarchy of memories, at a stated node and precision."""

from __future__ import annotations

from functools import cache
from importlib import resources
from pathlib import Path
from typing import Literal, Self, get_args

from pydantic import Field, model_validator

from equilog.cost.nodes import Kind, energy_factor, rate_factor
from equilog.cost.span import Span
from equilog.hardware.technology.figure import Figure
from equilog.names import Strict, UserError, load_yaml, parse, unknown

Precision = Literal["int8", "fp16", "fp32"]
PRECISIONS: tuple[Precision, ...] = get_args(Precision)
DEFAULT = "edge-npu-fp16"


class MemoryLevel(Strict):
    """One level; an access counts everything between it and the arithmetic."""

    name: str
    capacity_byte: Figure | None = None
    """left out of the last: it holds anything"""
    joule_per_byte: Figure
    byte_per_second: Figure
    scaling: Kind
    """how its energy changes with the node"""
    weights_only: bool = False
    """registers beside the multipliers: loaded once, of use to weights that are read again and again"""


class Arithmetic(Strict):
    """What depends on the precision."""

    mac_joule: Figure
    """one multiplication and one addition, nothing around them"""
    bytes_per_number: Figure
    macs_per_instruction: Figure
    """multiply–accumulates that share the energy of one instruction"""
    mac_per_second: Figure
    """at most"""


class _Machine(Strict):
    name: str
    summary: str
    node_nanometre: Figure
    instruction_joule: Figure
    """fetch, decode, operands, control of one instruction"""
    activation_macs: Figure
    """what one activation costs, in multiply–accumulates"""
    launch_second: Figure
    """what every sequential step takes before it begins"""
    utilisation: Figure
    """share of the highest rate that is reached"""
    standing_watt: Figure
    """drawn all the time that it computes, whatever it does"""
    memory: tuple[MemoryLevel, ...] = Field(min_length=1)
    """nearest first"""

    @model_validator(mode="after")
    def _last_holds_anything(self) -> Self:
        *inner, last = self.memory
        if last.capacity_byte is not None or any(level.capacity_byte is None for level in inner):
            raise ValueError("every level of memory but the last needs a capacity_byte, and the last has none")
        if last.weights_only:
            raise ValueError("the last level of memory holds anything, it cannot be weights_only")
        return self


class Computer(_Machine):
    """A computer and the precisions that it has, as its file holds it."""

    precisions: dict[Precision, Arithmetic]

    def at(self, precision: Precision) -> DigitalTarget:
        """Return it computing in one precision."""
        data = {key: getattr(self, key) for key in _Machine.model_fields}
        number = {key: getattr(self.precisions[precision], key) for key in Arithmetic.model_fields}
        return DigitalTarget(**data | number | {"name": f"{self.name}-{precision}", "precision": precision})


class DigitalTarget(_Machine, Arithmetic):
    """A computer computing in one precision."""

    precision: Precision

    @property
    def joule_per_mac(self) -> Span:
        """Multiplication, addition, and the share of an instruction."""
        return Span.of(self.instruction_joule) / self.macs_per_instruction + Span.of(self.mac_joule)

    @property
    def mac_rate(self) -> Span:
        """Multiply–accumulates in a second that are reached."""
        return Span.of(self.mac_per_second) * self.utilisation

    @property
    def sram_joule_per_byte(self) -> Span:
        """Of the largest memory on the chip; of the only one where there is no other."""
        return Span.of(self.memory[max(0, len(self.memory) - 2)].joule_per_byte)

    def holds(self, byte: float, among: tuple[MemoryLevel, ...] | None = None) -> MemoryLevel:
        """Return the nearest level, among these or all, that holds so many bytes by its typical capacity."""
        return next(m for m in among or self.memory if m.capacity_byte is None or byte <= m.capacity_byte)

    def at_node(self, nanometre: float) -> DigitalTarget:
        """Return the same design at another node, by the law of :mod:`equilog.cost.nodes`.

        Logic and memories on the chip follow their exponents, DRAM does not; standing power follows logic; rates and
        launches follow the speed of gates.
        """
        origin = float(self.node_nanometre)
        if nanometre == origin:
            return self
        logic, faster = energy_factor("logic", origin, nanometre), rate_factor(origin, nanometre)
        law = f"scaled from {origin:g} nm to {nanometre:g} nm"

        def scaled(figure: Figure, factor: Span) -> Figure:
            low, typical, high = _bounds(Span.of(figure) * factor)
            return Figure(typical, f"{figure.source}; {law}", low, high, figure.valid)

        def level(memory: MemoryLevel) -> MemoryLevel:
            changed = {
                "joule_per_byte": scaled(memory.joule_per_byte, energy_factor(memory.scaling, origin, nanometre))
            }
            if memory.scaling != "dram":
                changed["byte_per_second"] = scaled(memory.byte_per_second, faster)
            return memory.model_copy(update=changed)

        return self.model_copy(
            update={
                "name": f"{self.name}@{nanometre:g}nm",
                "node_nanometre": Figure(nanometre, law),
                "mac_joule": scaled(self.mac_joule, logic),
                "instruction_joule": scaled(self.instruction_joule, logic),
                "standing_watt": scaled(self.standing_watt, logic * faster),
                "mac_per_second": scaled(self.mac_per_second, faster),
                "launch_second": scaled(self.launch_second, Span.of(1.0) / faster),
                "memory": tuple(level(memory) for memory in self.memory),
            }
        )


def _bounds(span: Span) -> tuple[float, float, float]:
    return span.low, span.typical, span.high


def target_names() -> list[str]:
    """Return the targets that ship with equilog, ``computer-precision``."""
    return [f"{name}-{precision}" for name in _computers() for precision in PRECISIONS]


def load_target(name_or_path: str | Path) -> DigitalTarget:
    """Return a digital target by name, or one of a YAML file.

    Args:
        name_or_path: one of :func:`target_names`, at another node as ``cpu-fp32@28nm``; or ``FILE.yaml:fp16``, where
            the precision may be left out if the file has one only.

    Raises:
        UserError: for a name that is not there (naming the nearest), a file that cannot be read, a precision that it
            does not have, or a node that is no length.
    """
    text = str(name_or_path)
    path, _, wanted = text.rpartition(":") if ".yaml:" in text or ".yml:" in text else (text, "", "")
    if path.endswith((".yaml", ".yml")):
        computer = parse(Computer, load_yaml(Path(path)), path)
        if not wanted and len(computer.precisions) == 1:
            return computer.at(next(iter(computer.precisions)))
        precision = next((p for p in computer.precisions if p == wanted), None)
        if precision is None:
            raise unknown(f"precision in {path}", wanted, computer.precisions)
        return computer.at(precision)
    name, _, node = text.partition("@")
    if name not in target_names():
        raise unknown("digital target", name, target_names())
    machine, _, last = name.rpartition("-")
    target = _computers()[machine].at(next(p for p in PRECISIONS if p == last))
    if not node:
        return target
    try:
        return target.at_node(float(node.removesuffix("nm")))
    except ValueError:
        raise UserError(f"digital target {text!r}: expected a node such as @28nm behind the name") from None


def default_target() -> DigitalTarget:
    """Return the target that is meant unless another is named."""
    return load_target(DEFAULT)


@cache
def _computers() -> dict[str, Computer]:
    folder = resources.files("equilog.cost") / "targets"
    found = {}
    for file in sorted(folder.iterdir(), key=lambda f: f.name):
        if file.name.endswith(".yaml"):
            with resources.as_file(file) as path:
                computer = parse(Computer, load_yaml(path), f"equilog's digital target {file.name}")
            found[computer.name] = computer
    return found
