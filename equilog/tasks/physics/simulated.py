"""Given networks in ngspice: operating points of resistors, diodes and transistors, transients of RC ladders."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from equilog.circuit.ngspice import find_ngspice
from equilog.circuit.rawfile import Plot
from equilog.priors import Bipolar, CurrentSource, Diode, Network, Resistor, VoltageSource

EDGE_SECOND = 1e-9
"""in which a source goes to its next level"""
FINE = 200
"""the simulator's steps in one of ours, at least: what a straight line between them errs by is then lost"""
_TIGHT = ".options reltol=1e-9 abstol=1e-15 vntol=1e-12 temp={celsius!r} tnom=27"


def operating_point(network: Network) -> Tensor:
    """Return voltages of :attr:`~equilog.priors.Network.nodes` at rest, ``(nodes,)``, float64.

    Raises:
        NgspiceMissingError, NgspiceError: without a simulator, or if it fails.
    """
    plot = _run(deck(network), "op")
    return torch.tensor([float(plot[f"v(n{k + 1})"][0]) for k in range(len(network.nodes))], dtype=torch.float64)


def deck(network: Network) -> str:
    """Return a network as a deck that asks for its operating point; driven sources are at level 1.

    Nodes are n1, n2, … in the network's order: no name of its own reaches the simulator.
    """
    place = {network.ground: "0"} | {name: f"n{k + 1}" for k, name in enumerate(network.nodes)}
    lines = ["* a given network"]
    for k, e in enumerate(network.elements):
        match e:
            case Resistor(a, b, ohm):
                lines.append(f"R{k} {place[a]} {place[b]} {ohm!r}")
            case CurrentSource(a, b, ampere):
                lines.append(f"I{k} {place[a]} {place[b]} DC {ampere!r}")
            case VoltageSource(plus, minus, volt):
                lines.append(f"V{k} {place[plus]} {place[minus]} DC {volt!r}")
            case Diode(a, b, i_s, n):
                lines += [f"D{k} {place[a]} {place[b]} M{k}", f".model M{k} D(IS={i_s!r} N={n!r})"]
            case Bipolar(c, b, emitter, i_s, bf, br, kind):
                lines.append(f"Q{k} {place[c]} {place[b]} {place[emitter]} M{k}")
                lines.append(f".model M{k} {kind.upper()}(IS={i_s!r} BF={bf!r} BR={br!r})")
    celsius = network.temperature_kelvin - 273.15
    return "\n".join([*lines, _TIGHT.format(celsius=round(celsius, 9)), ".op", ".end"]) + "\n"


def ladder_in_ngspice(ohm: Sequence[float], farad: Sequence[float], u: Tensor, step_second: float) -> Tensor:
    """Return node voltages of an RC ladder after every step, ``(steps, nodes)``, float64, from discharged capacitors.

    Args:
        ohm: from the source to the first node, from there to the second, and so on.
        farad: from every node to ground.
        u: voltage of the source in every step, ``(steps,)``.
        step_second: of a step.

    Raises:
        NgspiceMissingError, NgspiceError: without a simulator, or if it fails.
    """
    points = [(0.0, float(u[0]))]
    for k in range(1, len(u)):
        points += [(k * step_second, float(u[k - 1])), (k * step_second + EDGE_SECOND, float(u[k]))]
    stop = len(u) * step_second
    wave = " ".join(f"{t!r} {v!r}" for t, v in points)
    lines = ["* a ladder of resistors and capacitors", f"V1 n0 0 PWL({wave})"]
    for k, (r, c) in enumerate(zip(ohm, farad)):
        lines += [f"R{k + 1} n{k} n{k + 1} {r!r}", f"C{k + 1} n{k + 1} 0 {c!r} IC=0"]
    fine = step_second / FINE
    lines += [".options reltol=1e-6 vntol=1e-9 abstol=1e-12", f".tran {fine!r} {stop!r} 0 {fine!r} UIC", ".end"]
    plot = _run("\n".join(lines) + "\n", "tran")
    at = step_second * np.arange(1, len(u) + 1)
    time = plot["time"]
    return torch.from_numpy(np.stack([np.interp(at, time, plot[f"v(n{k + 1})"]) for k in range(len(ohm))], 1))


def _run(text: str, name: str) -> Plot:
    simulator = find_ngspice()
    with tempfile.TemporaryDirectory(prefix="equilog-given-") as scratch:
        folder = Path(scratch)
        (folder / f"{name}.cir").write_text(text, encoding="utf-8")
        (plot,) = simulator.run(folder, f"{name}.cir", f"{name}.raw")
        return plot
