"""Energy of a settling circuit: the cost model's against what ngspice's own sources deliver, integrated."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest
import torch
from builders import drives, layer_of, monotone, normal
from scipy.integrate import trapezoid

from equilog.circuit import Ngspice, write_circuit
from equilog.circuit.elements import Element, elements
from equilog.circuit.parts import block_of
from equilog.circuit.rawfile import Plot
from equilog.circuit.sky130 import Sky130MissingError, characterised_spec, require, write_transistor_circuit
from equilog.cost.analog import activation_watt, amplifier_watt, array_watt
from equilog.cost.settling_energy import settling_joule
from equilog.hardware import Chip, load_spec, program
from equilog.hardware.rest import at_rest
from equilog.hardware.twin import dac


def transient(simulator: Ngspice, folder: Path) -> Plot:
    deck = (folder / "settle_0.cir").read_text(encoding="utf-8")
    deck = re.sub(r"^\.save .*\n", "", deck, flags=re.MULTILINE).replace(".tran", ".save all\n.tran", 1)
    (folder / "power.cir").write_text(deck, encoding="utf-8")
    return simulator.run(folder, "power.cir", "tran.raw")[-1]


def delivered_joule(plot: Plot, sources: list[Element], until: float) -> float:
    watt = np.zeros_like(plot["time"])
    for e in sources:
        if f"i({e.spice_name})" in plot.names:
            a, b = (0.0 if node == "0" else plot[f"v({node})"] for node in e.nodes[:2])
            watt -= (a - b) * plot[f"i({e.spice_name})"]
    time = plot["time"]
    inside = time <= until
    return float(trapezoid(np.append(watt[inside], np.interp(until, time, watt)), np.append(time[inside], until)))


@pytest.mark.ngspice
def test_energy_in_resistors_is_what_the_sources_deliver(simulator: Ngspice, tmp_path: Path) -> None:
    layer = layer_of(load_spec("rram"), 4, 2)
    played = dac(layer, drives(1, 2))
    until = 8 * layer.time_constant_second
    write_circuit(layer, tmp_path, settle=played, duration_second=1.05 * until)
    found = [e for e in elements(tmp_path) if e.name[0] in "veb" and not e.subckt]
    outputs = [e for e in found if block_of(e) in ("activations", "DACs", "references") or e.name in ("bout", "eout")]
    spice = delivered_joule(transient(simulator, tmp_path), outputs, until)
    dissipated, stored = settling_joule(layer, played, until)
    assert float((dissipated + stored)[0]) == pytest.approx(spice, rel=1e-3)
    # Power at rest from the beginning on, as an estimate charges it, is more than that, by little.
    rest = at_rest(layer, played)
    shortcut = array_watt(layer, rest.p, rest.z, played) * until
    assert 1.0 < shortcut / spice < 1.15


@pytest.mark.ngspice
def test_transistors_take_from_their_supplies_what_the_model_charges(simulator: Ngspice, tmp_path: Path) -> None:
    try:
        require()
    except Sky130MissingError as missing:
        pytest.skip(str(missing))
    layer = program((monotone(3, 2.0, 0), normal(1, 3, 2), 0.3 * normal(2, 3)), Chip(characterised_spec(), 0))
    played = dac(layer, drives(1, 2))
    until = 8 * layer.time_constant_second
    write_transistor_circuit(layer, tmp_path, settle=played, duration_second=1.05 * until)
    found = [e for e in elements(tmp_path) if e.name[0] in "ve" and not e.path]
    spice = delivered_joule(transient(simulator, tmp_path), found, until)
    rest = at_rest(layer, played)
    watt = amplifier_watt(layer).typical + activation_watt(layer).typical
    watt += array_watt(layer, rest.p, rest.z, played) + 1.78e-5  # the bias cell, benchmarks/netlist_power.py
    assert watt * until == pytest.approx(spice, rel=0.05)


def test_power_at_rest_is_where_the_energy_ends() -> None:
    layer = layer_of(load_spec("rram"), 4, 2)
    played = dac(layer, drives(3, 2))
    tau = layer.time_constant_second
    early, late = (settling_joule(layer, played, k * tau)[0] for k in (40, 50))
    rest = at_rest(layer, played)
    watt = float(((late - early) / (10 * tau)).mean())
    assert watt == pytest.approx(array_watt(layer, rest.p, rest.z, played), rel=1e-3)
    assert bool((early > 0).all())
    with pytest.raises(ValueError, match="until_second = 0"):
        settling_joule(layer, played, 0.0)
    assert torch.isfinite(late).all()
