"""What each block of a transistor circuit draws at rest, element by element as ngspice settles it.

All blocks share two supplies, so that a block's share is the power that its transistors, resistors and current sources
turn into heat. Together that is what supplies, DACs and reference deliver.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from torch import Tensor

from equilog.circuit.elements import Element
from equilog.circuit.ngspice import Ngspice, NgspiceError
from equilog.circuit.parts import block_of
from equilog.circuit.sky130.circuit import OP_OPTIONS
from equilog.circuit.text import number, write_files

DECK = "power.cir"
IN_A_LINE = 20


def block_watt(simulator: Ngspice, folder: Path, found: Sequence[Element], volt: Tensor) -> dict[str, float]:
    """Return what each block turns into heat at rest, mean over samples; writes ``power.cir`` into the folder.

    Args:
        simulator: ngspice.
        folder: written by :func:`equilog.circuit.sky130.write_transistor_circuit`.
        found: its elements, of :func:`equilog.circuit.elements.elements`.
        volt: what the DACs put out, shape ``(samples, m)``.

    Raises:
        NgspiceError: if the simulator fails or settles fewer samples than it is asked for.
    """
    write_files(folder, {DECK: _bench(found, volt)})
    plots = simulator.run(folder, DECK, "power.raw", timeout_second=60 + 5.0 * len(volt))
    if len(plots) != len(volt):
        raise NgspiceError(f"{DECK} asks for {len(volt)} operating points, ngspice returned {len(plots)}")
    watts: dict[str, float] = defaultdict(float)
    for plot in plots:
        at_rest = dict(zip(plot.names, plot.data[0].tolist()))
        for element in found:
            watts[block_of(element)] += _watt(element, at_rest) / len(plots)
    return {name: watt for name, watt in watts.items() if watt}


def _device(element: Element) -> str:
    """Return ngspice's name of the transistor within an instance of a foundry's subcircuit."""
    return f"@m.{element.spice_name.partition('.')[2]}.m1"


def _watt(element: Element, at_rest: Mapping[str, float]) -> float:
    """Return I·V of a transistor from drain to source, of a resistor or of a current source; 0 for all else."""
    kind = "m" if element.is_transistor else element.name[0]
    if kind not in "mri":
        return 0.0
    volts = [0.0 if node == "0" else at_rest[f"v({node})"] for node in element.nodes]
    if kind == "m":
        # A channel only ever takes power; the sign that ngspice gives its current depends on the polarity.
        return abs((volts[0] - volts[2]) * at_rest[f"i({_device(element)}[id])"])
    drop, value = volts[0] - volts[1], element.value or math.nan
    return drop * value if kind == "i" else drop**2 / value


def _bench(found: Sequence[Element], volt: Tensor) -> str:
    wanted = [f"{_device(e)}[id]" for e in found if e.is_transistor]
    lines = [
        "* Resting point of every sample with all that it takes to know the power of every element; writes power.raw",
        ".include layer.cir",
        f".options {OP_OPTIONS}",
        ".save all",
        *(f".save {' '.join(wanted[k : k + IN_A_LINE])}" for k in range(0, len(wanted), IN_A_LINE)),
        ".op",
        ".control",
        "set filetype=binary",
        "set appendwrite",
    ]
    for row in volt.detach().to("cpu").numpy().astype(np.float64):
        lines += [f"alter Vd{k} dc = {number(value)}" for k, value in enumerate(row)]
        lines += ["op", "write power.raw", "destroy all"]
    return "\n".join([*lines, "quit 0", ".endc", ".end", ""])
