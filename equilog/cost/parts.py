"""Count, components, area and power of every block, from a written netlist: what the chip is made of, in one table.

Counts and components are those of the deck's own lines. Crossbar, fixed and feedback resistors take what those lines
dissipate at the resting points given. Amplifiers, activations and converters are macro-models in a deck, without a
supply: they draw what the technology says of them, everything else what the process says. A circuit of transistors is
settled in ngspice instead, see :mod:`equilog.circuit.sky130.supply`.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from equilog.circuit.dissipation import block_watt
from equilog.circuit.elements import elements
from equilog.circuit.ngspice import Ngspice
from equilog.circuit.parts import Block, blocks_of
from equilog.cost.analog import activation_watt, amplifier_watt
from equilog.cost.process import Process, default_process
from equilog.cost.span import Span, total
from equilog.hardware import ProgrammedLayer
from equilog.names import Strict

CROSSBAR, INTEGRATORS, FIXED = "crossbar devices", "summing integrators", "fixed resistors"
BOARD = "discrete parts: see the board's bill of materials"
AT_REST = "V²/R of every resistor of the netlist at rest, mean over samples"


class BlockCost(Strict):
    """One row: how many a deck holds, what they are made of, what area and power they take together."""

    name: str
    count: int
    components: dict[str, int]
    """elements of the netlist by kind, macro-models' own included"""
    area_m2: Span | None
    watt: Span | None
    area_source: str
    watt_source: str


def block_table(
    layer: ProgrammedLayer,
    folder: Path,
    p: Tensor | None,
    z: Tensor | None,
    played: Tensor,
    process: Process | None = None,
) -> list[BlockCost]:
    """Return the table of a chip whose circuit of blocks lies in `folder`.

    Args:
        layer: the chip.
        folder: written for it by :func:`equilog.circuit.write_circuit`, with or without its detector, or by
            :func:`equilog.circuit.chain.write_chain`.
        p, z: resting ``v/V_a`` and ``s/V_s``, shape ``(batch, n)``; None of a chip that does not come to rest, whose
            resistors then have no power.
        played: drives as played, shape ``(batch, m)``.
        process: the one that ships with equilog unless given. Discrete parts have no area here, and no power but what
            the technology says: the bill of materials of their board has.

    Raises:
        DeckError: if there is no circuit.
    """
    discrete = process is None and layer.spec.crossbar.e_series is not None
    process = process or default_process()
    found = elements(folder)
    rows = blocks_of(found)
    burnt = None if p is None or z is None else block_watt(found, _node_volt(layer, p, z, played))
    watt = _watt(layer, rows, burnt, None if discrete else process)
    return [_row(row, None if discrete else process, watt) for row in rows]


def transistor_table(
    layer: ProgrammedLayer, folder: Path, played: Tensor, simulator: Ngspice, process: Process | None = None
) -> list[BlockCost]:
    """Return the table of a chip in SKY130 transistors, its power as ngspice settles it.

    Args:
        layer: the chip.
        folder: written for it by :func:`equilog.circuit.sky130.write_transistor_circuit`.
        played: drives as played, shape ``(batch, m)``.
        simulator: ngspice.
        process: the one that ships with equilog unless given; areas of transistors are the netlist's.

    Raises:
        DeckError: if there is no circuit.
        NgspiceError: if the simulator fails.
    """
    from equilog.circuit.sky130.supply import block_watt as settled  # noqa: PLC0415  # its models are an extra's

    found = elements(folder)
    volt = played * float(layer.spec.dac.full_scale_volt)
    source = f"I·V of every element of the netlist at rest in ngspice {simulator.version}, mean over samples"
    watt = {name: (Span.of(value), source) for name, value in settled(simulator, folder, found, volt).items()}
    rows = blocks_of(found)
    converters = _watt(layer, rows, None, process or default_process())
    watt |= {name: converters[name] for name in ("DACs", "ADCs") if name in converters}
    return [_row(row, process or default_process(), watt) for row in rows]


def table_total(rows: list[BlockCost]) -> tuple[Span, Span]:
    """Return area in m² and power in W of all blocks that have one."""
    return (
        total([row.area_m2 for row in rows if row.area_m2 is not None]),
        total([row.watt for row in rows if row.watt is not None]),
    )


def _row(row: Block, process: Process | None, watt: Mapping[str, tuple[Span, str]]) -> BlockCost:
    area, area_source = (None, BOARD) if process is None else _area(row, process)
    power, watt_source = watt.get(row.name, (None, BOARD if process is None else "not modelled"))
    return BlockCost(
        name=row.name,
        count=row.count,
        components=row.components,
        area_m2=area,
        watt=power,
        area_source=area_source,
        watt_source=watt_source,
    )


def _area(row: Block, process: Process) -> tuple[Span | None, str]:
    parts = []
    each = {
        CROSSBAR: process.device_m2,
        "DACs": process.dac_m2,
        "sample-and-holds": process.sample_hold_m2,
        "ADCs": process.adc_m2,
        "detector comparators": process.comparator_m2,
    }
    macro = {
        INTEGRATORS: process.amplifier_m2,
        "activations": process.activation_m2,
        "linear outputs": process.activation_m2,
        "references": process.reference_m2,
    }
    figure = each.get(row.name)
    if row.gate_m2:
        parts.append((Span.of(process.layout_per_gate) * row.gate_m2, f"W·L × {process.layout_per_gate.source}"))
    else:
        figure = figure or macro.get(row.name)
    if figure is not None:
        parts.append((Span.of(figure) * row.count, figure.source))
    if row.name != CROSSBAR:
        passives = ((process.resistor_m2_per_ohm, row.ohm), (process.capacitor_m2_per_farad, row.farad))
        parts += [(Span.of(per) * value, per.source) for per, value in passives if value]
    if not parts:
        return None, "no number known"
    return total([span for span, _ in parts]), "; ".join(source for _, source in parts)


def _watt(
    layer: ProgrammedLayer, rows: list[Block], burnt: dict[str, float] | None, process: Process | None
) -> dict[str, tuple[Span, str]]:
    """Return power and its source by block; everything but converters is on all the time."""
    spec = layer.spec
    counts = {row.name: row.count for row in rows}
    amplifiers = "n · branches · V_dd · 2π GBW C_L/(g_m/I_D)"
    watt = {INTEGRATORS: (amplifier_watt(layer), f"{amplifiers}, technology; no resting point: without R_f")}
    of_output = activation_watt(layer) / float(layer.states)
    for name in ("activations", "linear outputs"):
        watt[name] = (of_output * counts.get(name, 0), "n · V_dd · I_bias, technology")
    if burnt is not None:
        for name in (CROSSBAR, FIXED):
            watt[name] = (Span.of(burnt.get(name, 0.0)), AT_REST)
        watt[INTEGRATORS] = (
            amplifier_watt(layer) + burnt[INTEGRATORS],
            f"amplifiers: {amplifiers}, technology; R_f: {AT_REST}",
        )
    for name, block in (("DACs", spec.dac), ("ADCs", spec.adc)):
        energy = Span.of(block.energy_joule) * counts.get(name, 0)
        watt[name] = (energy / float(block.conversion_second), "energy over time of a conversion, while converting")
    if process is not None:
        for name, each in (
            ("sample-and-holds", process.sample_hold_watt),
            ("detector comparators", process.comparator_watt),
            ("references", process.reference_watt),
        ):
            watt[name] = (Span.of(each) * counts.get(name, 0), each.source)
    return watt


def _node_volt(layer: ProgrammedLayer, p: Tensor, z: Tensor, played: Tensor) -> dict[str, np.ndarray]:
    """Return the voltages of all outputs, under the names of :mod:`equilog.circuit.netlist`."""
    spec = layer.spec
    full = float(spec.dac.full_scale_volt)
    outputs = {
        "sp": z * float(spec.activation.v_out_volt),
        "dp": played * full,
        "refp": torch.full((len(played), 1), full, dtype=torch.float64),
    }
    volt = {f"v{i}": column for i, column in enumerate(_columns(p * float(spec.activation.v_scale_volt)))}
    for name, values in outputs.items():
        for k, column in enumerate(_columns(values)):
            positive = name if name == "refp" else f"{name}{k}"
            volt |= {positive: column, positive.replace("p", "n", 1): -column}
    return volt


def _columns(values: Tensor) -> np.ndarray:
    return values.detach().to("cpu", torch.float64).numpy().T
