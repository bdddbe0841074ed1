"""More bits against thermal noise: a larger capacitor, or more readings? And what area the capacitor takes.

    python benchmarks/precision.py --json results/precision.json

One layer of `rram`, 64 neurons, medium conditioning. The integrating capacitor C_f is varied: thermal noise falls with
its root until the amplifiers' own noise, times the noise gain, is all that is left; settling time and area rise too.
For every C_f the energy of an inference at 8, 10 and 12 bits is given, with as many readings as its noise then needs.
The last column is what its programming error leaves, against ideal weights.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

import torch
from crossover import cell, drives, settling_by_bits, solve
from rich.console import Console
from rich.table import Table

from equilog.cells import AffineSystem, Tanh
from equilog.cost import Use, chip_inference, chip_watt
from equilog.cost.area import area_parts
from equilog.cost.converters import effective_bits, readings
from equilog.cost.span import total
from equilog.hardware import Chip, load_spec, program
from equilog.hardware.noise import noise_at_rest
from equilog.hardware.rest import at_rest
from equilog.hardware.twin import dac

PICOFARAD = (1.0, 4.0, 16.0, 64.0)
BITS = (8, 10, 12)
STATES = 64


@torch.no_grad()
def measure(picofarad: float) -> dict[str, Any]:
    """Return noise, settling, area and energies with one capacitor."""
    spec = load_spec("rram").changed(amplifier={"c_feedback_farad": picofarad * 1e-12})
    matrices, drive = cell(STATES, "medium"), drives(STATES)
    layer = program(matrices, Chip(spec, 1))
    played = dac(layer, drive)
    rest = at_rest(layer, played)
    noise = noise_at_rest(layer, rest.p[:1] * float(spec.activation.v_scale_volt))
    rms = float(noise.state_rms.square().mean().sqrt()) * float(spec.activation.v_out_volt / spec.adc.full_scale_volt)
    settling, watt = settling_by_bits(layer, played, rest.p), chip_watt(layer, rest.p, rest.z, played)
    ideal = solve(AffineSystem(matrices[0], drive @ matrices[1].T + matrices[2], Tanh()), 1e-6)[2]
    row: dict[str, Any] = {
        "picofarad": picofarad,
        "noise_rms": rms,
        "noise_bits": effective_bits(rms),
        "area_m2": total(list(area_parts(layer).values())).typical,
        "kept_bits": effective_bits(float((rest.z - ideal).square().mean().sqrt())),
    }
    for bits in BITS:
        count = readings(rms, bits)
        found = chip_inference(layer, watt, settling[bits], Use(readings=count, adc_enob=bits, dac_enob=bits))
        row |= {
            f"readings_{bits}": count,
            f"joule_{bits}": found.energy.typical,
            f"second_{bits}": found.latency.typical,
        }
    return row


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", type=Path, help="write the rows here")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    rows = [measure(value) for value in PICOFARAD]
    table = Table("C_f, pF", "noise bits", *(f"{b} bits: readings, nJ, µs" for b in BITS), "area, mm²", "kept bits")
    for r in rows:
        cells = [f"{r[f'readings_{b}']}, {1e9 * r[f'joule_{b}']:.3g}, {1e6 * r[f'second_{b}']:.3g}" for b in BITS]
        table.add_row(
            f"{r['picofarad']:g}",
            f"{r['noise_bits']:.1f}",
            *cells,
            f"{1e6 * r['area_m2']:.2f}",
            f"{r['kept_bits']:.1f}",
        )
    Console().print(table)
    if arguments.json:
        arguments.json.parent.mkdir(parents=True, exist_ok=True)
        arguments.json.write_text(
            json.dumps({"command": "python benchmarks/precision.py", "rows": rows}, indent=1) + "\n"
        )


if __name__ == "__main__":
    main()
