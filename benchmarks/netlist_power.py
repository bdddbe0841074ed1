"""The cost model's power and energy against what ngspice's own sources deliver, integrated over a transient.

    python benchmarks/netlist_power.py --json results/netlist_power.json

A small layer settles from reset in ngspice twice. Once of blocks, whose amplifiers have no supply: all that its sources
deliver (activations, DACs, reference, amplifier outputs) goes through crossbar and feedback resistors and into their
capacitors. Once of SKY130 transistors, where the supplies deliver everything. Compared are the cost model's power at
rest times the time (what an estimate charges), and the same formula along the twin's own transient.
"""

from __future__ import annotations

import argparse
import json
import re
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import torch
from rich.console import Console
from rich.table import Table
from scipy.integrate import trapezoid

from equilog.circuit import Ngspice, find_ngspice, write_circuit
from equilog.circuit.elements import Element, elements
from equilog.circuit.parts import block_of
from equilog.circuit.rawfile import Plot
from equilog.circuit.sky130 import Sky130MissingError, characterised_spec, require, write_transistor_circuit
from equilog.circuit.sky130.supply import block_watt
from equilog.cost.analog import activation_watt, amplifier_watt, array_watt
from equilog.cost.settling_energy import settling_joule
from equilog.equilibrium.reference_problems import monotone_weight
from equilog.hardware import Chip, ProgrammedLayer, Spec, load_spec, program
from equilog.hardware.rest import at_rest
from equilog.hardware.twin import dac

OUTPUTS = ("activations", "DACs", "references")
"""blocks whose sources drive resistors, in a circuit of blocks; amplifiers' outputs beside them"""


def layer_of(spec: Spec, n: int, m: int, seed: int) -> ProgrammedLayer:
    draw = torch.Generator().manual_seed(seed)
    normal = lambda *shape: torch.randn(*shape, dtype=torch.float64, generator=draw)  # noqa: E731
    return program((monotone_weight(n, 2.0, seed=seed), normal(n, m), 0.3 * normal(n)), Chip(spec, seed))


def transient(simulator: Ngspice, folder: Path) -> Plot:
    """Run the first test bench with all voltages and source currents kept."""
    deck = (folder / "settle_0.cir").read_text(encoding="utf-8")
    deck = re.sub(r"^\.save .*\n", "", deck, flags=re.MULTILINE).replace(".tran", ".save all\n.tran", 1)
    (folder / "power.cir").write_text(deck, encoding="utf-8")
    return simulator.run(folder, "power.cir", "tran.raw", timeout_second=300)[-1]


def delivered_watt(plot: Plot, sources: list[Element]) -> np.ndarray:
    """Return what these sources deliver at every instant: minus voltage times ngspice's branch current."""
    watt = np.zeros_like(plot["time"])
    for e in sources:
        if f"i({e.spice_name})" in plot.names:
            a, b = (0.0 if node == "0" else plot[f"v({node})"] for node in e.nodes[:2])
            watt -= (a - b) * plot[f"i({e.spice_name})"]
    return watt


def energy(time: np.ndarray, watt: np.ndarray, until: float) -> float:
    inside = time <= until
    last = np.interp(until, time, watt)
    return float(trapezoid(np.append(watt[inside], last), np.append(time[inside], until)))


def of_blocks(simulator: Ngspice, preset: str, n: int, m: int, seed: int, taus: float) -> dict[str, Any]:
    layer = layer_of(load_spec(preset), n, m, seed)
    played = dac(layer, 2 * torch.rand(1, m, dtype=torch.float64, generator=torch.Generator().manual_seed(seed)) - 1)
    until = taus * layer.time_constant_second
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        write_circuit(layer, folder, settle=played, duration_second=1.05 * until)
        plot = transient(simulator, folder)
        found = elements(folder)
    sources = [e for e in found if e.name[0] in "veb" and not e.subckt]
    outputs = [e for e in sources if block_of(e) in OUTPUTS or e.name in ("bout", "eout")]
    spice = energy(plot["time"], delivered_watt(plot, outputs), until)
    dissipated, stored = settling_joule(layer, played, until)
    twin = float((dissipated + stored)[0])
    rest = at_rest(layer, played)
    at_rest_joule = array_watt(layer, rest.p, rest.z, played) * until
    return {
        "circuit": f"{preset}, blocks, n = {n}, {taus:g} τ",
        "ngspice_joule": spice,
        "twin_joule": twin,
        "estimate_joule": at_rest_joule,
        "twin_off": twin / spice - 1,
        "estimate_off": at_rest_joule / spice - 1,
        "ngspice_watt_at_rest": float(delivered_watt(plot, outputs)[-1]),
        "estimate_watt": at_rest_joule / until,
    }


def of_transistors(simulator: Ngspice, n: int, m: int, seed: int, taus: float) -> dict[str, Any]:
    layer = layer_of(characterised_spec(), n, m, seed)
    played = dac(layer, 2 * torch.rand(1, m, dtype=torch.float64, generator=torch.Generator().manual_seed(seed)) - 1)
    until = taus * layer.time_constant_second
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        write_transistor_circuit(layer, folder, settle=played, duration_second=1.05 * until)
        plot = transient(simulator, folder)
        found = elements(folder)
        blocks = block_watt(simulator, folder, found, played * float(layer.spec.dac.full_scale_volt))
    sources = [e for e in found if e.name[0] in "ve" and not e.subckt and e.name not in ("vreset",)]
    watt = delivered_watt(plot, [e for e in sources if not e.path])
    spice = energy(plot["time"], watt, until)
    rest = at_rest(layer, played)
    parts = {
        "amplifiers": amplifier_watt(layer).typical,
        "activations": activation_watt(layer).typical,
        "crossbar and feedback": array_watt(layer, rest.p, rest.z, played),
        "references": blocks.get("references", 0.0),
    }
    estimate = sum(parts.values()) * until
    return {
        "circuit": f"SKY130 transistors, n = {n}, {taus:g} τ",
        "ngspice_joule": spice,
        "twin_joule": None,
        "estimate_joule": estimate,
        "twin_off": None,
        "estimate_off": estimate / spice - 1,
        "ngspice_watt_at_rest": float(watt[-1]),
        "estimate_watt": sum(parts.values()),
        "estimate_parts_watt": parts,
        "ngspice_blocks_watt": blocks,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--states", type=int, default=6)
    parser.add_argument("--drives", type=int, default=3)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--json", type=Path, help="write the rows here")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    simulator, size = find_ngspice(), (arguments.states, arguments.drives, arguments.seed)
    rows = [of_blocks(simulator, preset, *size, taus) for preset in ("rram", "board") for taus in (8.0, 25.0)]
    try:
        require()
        rows.append(of_transistors(simulator, *size, 8.0))
        rows.append(of_transistors(simulator, *size, 25.0))
    except Sky130MissingError as missing:
        print(f"without transistors: {missing}")
    table = Table(
        "circuit", "ngspice, J", "along the twin's transient", "estimate: power at rest × time", "ngspice at rest, W"
    )
    for r in rows:
        twin = "" if r["twin_off"] is None else f"{r['twin_off']:+.3%}"
        table.add_row(
            r["circuit"],
            f"{r['ngspice_joule']:.4e}",
            twin,
            f"{r['estimate_off']:+.2%}",
            f"{r['ngspice_watt_at_rest']:.4e}",
        )
    table.caption = "deviation of the energy from what ngspice's sources deliver; 5 % is allowed"
    Console().print(table)
    for r in rows:
        if "ngspice_blocks_watt" in r:
            print({k: f"{v:.3e}" for k, v in r["ngspice_blocks_watt"].items()})
            print({k: f"{v:.3e}" for k, v in r["estimate_parts_watt"].items()})
    if arguments.json:
        arguments.json.parent.mkdir(parents=True, exist_ok=True)
        arguments.json.write_text(json.dumps({"ngspice": simulator.version, "rows": rows}, indent=1) + "\n")


if __name__ == "__main__":
    main()
