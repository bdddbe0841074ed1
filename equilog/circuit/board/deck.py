"""The board's own parts as a SPICE circuit: what was drawn can be settled before it is built.

Resistors, capacitors, transistors and op-amps are those of the netlist, by designator. The reference is a source of
2.5 V, each DAC output a source named after its net, each ADC input 1 MΩ. Comparators are left out: their inputs draw no
current that matters, and they act on nothing. Op-amps and transistors are typical ones, all alike.
"""

from __future__ import annotations

import re
from importlib import resources
from pathlib import Path

from torch import Tensor

from equilog.circuit.board.design import Board, Component
from equilog.circuit.board.values import (
    BASE_EMITTER_VOLT,
    CURRENT_GAIN,
    RAIL_VOLT,
    REFERENCE_VOLT,
    drive_values,
)

# IS such that V_BE is what the resistors were chosen for, at 1 mA and 27 °C.
SATURATION_AMPERE = 1e-3 * 2.718281828459045 ** (-BASE_EMITTER_VOLT / 0.0258649)
EARLY_VOLT = 60.0
ADC_INPUT_OHM = 1e6
OPTIONS = "reltol=1e-9 abstol=1e-14 vntol=1e-10 gmin=1e-14 itl1=500"

_NODES = {"GND": "0", "+5V": "vpos", "-5V": "vneg"}


def deck(board: Board) -> str:
    """Return the circuit without a test bench, every DAC at drive 0."""
    spec = board.nominal.spec
    blocks = (resources.files("equilog.circuit") / "blocks.lib").read_text(encoding="utf-8")
    amplifier = re.search(r"^\.subckt opamp .*?^\.ends opamp\n", blocks, re.MULTILINE | re.DOTALL)
    assert amplifier is not None
    lines = [
        f"* equilog board: {board.nominal.states} neurons, {board.nominal.drives} drives, part by part",
        amplifier.group(0),
        f".model pair NPN(IS={SATURATION_AMPERE!r} BF={CURRENT_GAIN!r} VAF={EARLY_VOLT!r} CJE=9p CJC=3p TF=0.5n)",
        f"Vpos vpos 0 dc {RAIL_VOLT!r}",
        f"Vneg vneg 0 dc {-RAIL_VOLT!r}",
        f"Vref VREF 0 dc {REFERENCE_VOLT!r}",
    ]
    zero = dac_volts(board, board.nominal.target.new_zeros(board.nominal.drives))
    lines += [f"Vdac{k} dac{k} 0 dc {volt!r}" for k, volt in enumerate(zero)]
    amp = f"a0={float(spec.amplifier.dc_gain)!r} gbw={float(spec.amplifier.gbw_hertz)!r}"
    parts = {component.ref: _lines(component, amp) for component in board.components}
    held = [*lines, *(line for c in board.components if c.part.letter != "C" for line in parts[c.ref])]
    driven = {word for line in held for word in line.split()}
    for component in board.components:
        # A capacitor at a pin of a part that is left out would leave its node without a path for direct current.
        if component.part.letter != "C" or {_node(net) for net in component.nets.values()} <= driven:
            lines += parts[component.ref]
    return "\n".join(lines) + "\n"


def dac_volts(board: Board, played: Tensor) -> list[float]:
    """Return what the DACs play for drives from −1 to 1, shape ``(m,)``: the resistors' scale and shift undone."""
    full_scale = float(board.nominal.spec.dac.full_scale_volt)
    values = drive_values(full_scale, board.series)
    return [values.dac_volt(float(drive), full_scale) for drive in played]


def write_rest_bench(board: Board, folder: Path, played: Tensor) -> Path:
    """Write ``board.cir`` and ``op.cir``, which finds the resting point of every sample, shape ``(samples, m)``.

    :func:`equilog.circuit.rest` runs it.
    """
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "board.cir").write_text(deck(board), encoding="utf-8")
    lines = ["* Resting point of every sample; writes op.raw", ".include board.cir", f".options {OPTIONS}"]
    lines += [f".save v(v{i}) v(sp{i})" for i in range(board.nominal.states)]
    lines += [".op", ".control", "set filetype=binary", "set appendwrite"]
    for row in played:
        lines += [f"alter Vdac{k} dc = {volt!r}" for k, volt in enumerate(dac_volts(board, row))]
        lines += ["op", "write op.raw", "destroy all"]
    lines += ["quit 0", ".endc", ".end", ""]
    path = folder / "op.cir"
    path.write_text("\n".join(lines), encoding="utf-8")
    return path


def write_settle_bench(board: Board, folder: Path, played: Tensor, time_constants: float = 60.0) -> Path:
    """Write ``board.cir`` and ``settle_0.cir``: one sample, shape ``(m,)``, from everything discharged.

    Difference amplifier and inverter add poles that the twin does not have; this says whether they matter.
    :func:`equilog.circuit.settle` runs it.
    """
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "board.cir").write_text(deck(board), encoding="utf-8")
    tau = board.nominal.time_constant_second
    lines = [
        "* Transient of the board from discharged capacitors; writes tran.raw",
        ".include board.cir",
        ".options reltol=1e-5 method=gear",
        *(f".save v(v{i}) v(sp{i})" for i in range(board.nominal.states)),
        f".tran {tau / 50!r} {time_constants * tau!r} 0 {tau / 20!r} uic",
        ".control",
        "set filetype=binary",
        *(f"alter Vdac{k} dc = {volt!r}" for k, volt in enumerate(dac_volts(board, played))),
        *("run", "write tran.raw", "quit 0", ".endc", ".end", ""),
    ]
    path = folder / "settle_0.cir"
    path.write_text("\n".join(lines), encoding="utf-8")
    return path


def _lines(component: Component, amp: str) -> list[str]:
    part, ref = component.part, component.ref
    node = {name: _node(component.nets[number]) for number, name in part.pins.items()}
    match part.letter:
        case "R":
            return [f"{ref} {_node(component.nets['1'])} {_node(component.nets['2'])} {part.ohm!r}"]
        case "C":
            return [f"{ref} {_node(component.nets['1'])} {_node(component.nets['2'])} {part.value}"]
        case "Q":
            return [f"{ref}_{k} {node[f'C{k}']} {node[f'B{k}']} {node[f'E{k}']} pair" for k in (1, 2)]
    if part.value.startswith("OPA"):
        sections = [name[-1] for name in part.pins.values() if name.startswith("OUT ")]
        return [f"X{ref}{s} {node[f'IN+ {s}']} {node[f'IN- {s}']} {node[f'OUT {s}']} opamp {amp}" for s in sections]
    if part.value == "AD7606":
        inputs = [node[f"V{k}"] for k in range(1, 9)]
        return [f"R{ref}_{k} {net} 0 {ADC_INPUT_OHM!r}" for k, net in enumerate(inputs, start=1) if net != "0"]
    return []


def _node(net: str) -> str:
    return _NODES.get(net, net)
