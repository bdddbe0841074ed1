"""A diode–resistor network as a SPICE circuit with the simulator's own diode model, and what it rests at.

Nodes: ``nI`` node I, ``dpK``/``dnK`` drive K and its inverse, ``refp``/``refn`` ±1 V, ``anode`` the common anode. No
amplifier anywhere: resistors, diodes and sources. :func:`linearised_rest` settles its adjoint, the same resistors with
every diode replaced by its conductance at rest and the gradient as currents into the nodes; G is symmetric, so nothing
has to be turned round (hardware linearization, Chaffey, arXiv:2509.13793).
"""

from __future__ import annotations

import tempfile
from pathlib import Path

import torch
from torch import Tensor

from equilog.cells.diode import DiodeNetworkCell
from equilog.circuit.netlist import OP_OPTIONS
from equilog.circuit.ngspice import Ngspice, NgspiceError, find_ngspice
from equilog.circuit.text import write_files

CELSIUS_ZERO_KELVIN = 273.15


@torch.no_grad()
def write_diode_network(cell: DiodeNetworkCell, folder: Path, drive: Tensor) -> list[Path]:
    """Write ``network.inc``, resistors and sources, and ``diodes.cir``, which settles every sample.

    Args:
        cell: the network.
        folder: where to; made if need be. Files of the same names are replaced.
        drive: in volts, shape ``(samples, m)``.

    Returns:
        the files written.
    """
    diode, n = cell.diode, cell.states
    celsius = repr(diode.kelvin - CELSIUS_ZERO_KELVIN)
    lines = [
        f"* Diode network at rest under every drive: {n} nodes, {cell.drives} drives; writes diodes.raw",
        ".include network.inc",
        f".options {OP_OPTIONS} temp={celsius} tnom={celsius}",
        f".model junction D(is={diode.saturation_ampere!r} n={diode.ideality!r} rs={diode.series_ohm!r})",
        f"Vanode anode 0 dc {float(cell.anode_volt)!r}",
        *(f"D{i} anode n{i} junction" for i in range(n)),
        *_begin(n),
    ]
    for row in drive.tolist():
        lines += [f"alter Vd{k} dc = {value!r}" for k, value in enumerate(row)]
        lines += ["op", "write diodes.raw", "destroy all"]
    return write_files(folder, {"network.inc": _resistors(cell), "diodes.cir": "\n".join([*lines, *_END])})


@torch.no_grad()
def diode_rest(
    cell: DiodeNetworkCell, drive: Tensor, simulator: Ngspice | None = None, folder: Path | None = None
) -> Tensor:
    """Return where the network rests in ngspice, in volts, shape ``(samples, n)``, float64.

    Args:
        cell: the network.
        drive: in volts, shape ``(samples, m)``.
        simulator: the one on this machine unless given.
        folder: keep the circuit here; a temporary folder otherwise.

    Raises:
        NgspiceError: if the simulator fails or settles fewer samples than asked for.
    """
    with tempfile.TemporaryDirectory(prefix="equilog-diodes-") as scratch:
        where = folder or Path(scratch)
        write_diode_network(cell, where, drive)
        return _run(simulator, where, "diodes", cell.states, len(drive))


@torch.no_grad()
def linearised_rest(
    cell: DiodeNetworkCell, volt: Tensor, g: Tensor, simulator: Ngspice | None = None, folder: Path | None = None
) -> Tensor:
    """Return λ = ∂L/∂i of ``(G + D) λ = g``, as the linearised network rests at it in ngspice; in units of g times Ω.

    Args:
        cell: the network.
        volt: where it rests, shape ``(samples, n)``, by twin or measurement.
        g: ∂L/∂v*, same shape; played as currents, the largest of a sample `unit_siemens` times a volt.
        simulator: the one on this machine unless given.
        folder: keep the circuit here; a temporary folder otherwise.

    Raises:
        NgspiceError: if the simulator fails or settles fewer samples than asked for.
    """
    n = cell.states
    conductances = cell.diode.conductance(cell.anode_volt - volt.double())
    lines = [
        f"* Linearised diode network, {n} nodes: diodes as conductances, the gradient as currents; writes linear.raw",
        ".include network.inc",
        f".options {OP_OPTIONS}",
        *(f"Gd{i} n{i} 0 n{i} 0 0" for i in range(n)),
        *(f"Ig{i} 0 n{i} dc 0" for i in range(n)),
        *_begin(n),
        "alter Vref dc = 0",
    ]
    largest = g.double().abs().amax(1, keepdim=True)
    scale = torch.where(largest > 0, largest, 1.0) / cell.unit_siemens
    for siemens, ampere in zip(conductances.tolist(), (g.double() / scale).tolist()):
        lines += [f"alter Gd{i} gain = {value!r}" for i, value in enumerate(siemens)]
        lines += [f"alter Ig{i} dc = {value!r}" for i, value in enumerate(ampere)]
        lines += ["op", "write linear.raw", "destroy all"]
    with tempfile.TemporaryDirectory(prefix="equilog-diodes-") as scratch:
        where = folder or Path(scratch)
        write_files(where, {"network.inc": _resistors(cell), "linear.cir": "\n".join([*lines, *_END])})
        return _run(simulator, where, "linear", n, len(g)) * scale


_END = ["quit 0", ".endc", ".end", ""]


def _begin(n: int) -> list[str]:
    return [f".save v(n{i})" for i in range(n)] + [".op", ".control", "set filetype=binary", "set appendwrite"]


def _run(simulator: Ngspice | None, folder: Path, name: str, states: int, samples: int) -> Tensor:
    run = (simulator or find_ngspice()).run
    plots = run(folder, f"{name}.cir", f"{name}.raw", timeout_second=60 + 2.0 * samples)
    if len(plots) != samples:
        raise NgspiceError(f"{name}.cir asks for {samples} operating points, ngspice returned {len(plots)}")
    return torch.tensor([[plot[f"v(n{i})"][0] for i in range(states)] for plot in plots], dtype=torch.float64)


def _resistors(cell: DiodeNetworkCell) -> str:
    """Return all resistors and sources but the anode's; a conductance of zero is no part."""
    n, m, unit = cell.states, cell.drives, cell.unit_siemens
    couplings, leaks = cell.couplings().tolist(), cell.leaks().tolist()
    weights, biases = cell.input_weight.tolist(), cell.bias.tolist()

    def resistor(name: str, a: str, b: str, g: float) -> list[str]:
        return [f"R{name} {a} {b} {1 / (g * unit)!r}"] if g > 0 else []

    lines = ["* Couplings between nodes and leaks to ground"]
    for i in range(n):
        lines += resistor(f"l{i}", f"n{i}", "0", leaks[i])
        for j in range(i + 1, n):
            lines += resistor(f"c{i}_{j}", f"n{i}", f"n{j}", couplings[i][j])
    lines += ["* A weight of either sign hangs on its drive or on the inverse"]
    for i in range(n):
        for k in range(m):
            u = weights[i][k]
            lines += resistor(f"u{i}_{k}", f"d{'p' if u > 0 else 'n'}{k}", f"n{i}", abs(u))
        lines += resistor(f"b{i}", f"ref{'p' if biases[i] > 0 else 'n'}", f"n{i}", abs(biases[i]))
    lines += ["* Sources"]
    for k in range(m):
        lines += [f"Vd{k} dp{k} 0 dc 0", f"Ed{k} dn{k} 0 dp{k} 0 -1"]
    return "\n".join([*lines, "Vref refp 0 dc 1", "Eref refn 0 refp 0 -1", ""])
