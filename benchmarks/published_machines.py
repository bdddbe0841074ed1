"""The cost model against published machines: from their published parameters to their published figures.

    python benchmarks/published_machines.py --json results/published_machines.json

Each row is worked out with the formulas and constants of :mod:`equilog.cost` from what was published of a machine, and
compared with what was published of its speed or energy. What had to be assumed is said beside it. A factor of 2 either
way is allowed.

HERMES        Le Gallo et al., Nat. Electron. 6 (2023) 680, doi:10.1038/s41928-023-01010-1, arXiv:2212.02872
AOC           Kalinin et al., Nature (2025), doi:10.1038/s41586-025-09430-z
NeuRRAM       Wan et al., Nature 608 (2022) 504, doi:10.1038/s41586-022-04992-8; figures 12 b-d of its methods as
              transcribed in github.com/mit-emze/cimloop, models/arch/1_macro/wan_nature_2022
H100          NVIDIA H100 SXM data sheet: 1979 TOPS int8 dense, 700 W
Edge TPU      coral.ai: 4 TOPS, 2 TOPS/W

Independent are the first three: the digital rows were chosen with these data sheets at hand. Sun et al.
(PNAS 2019) and Mannocci et al. (Nat. Electron. 2026), closed-loop solvers nearest to our circuit, state times and
energies in pages that we could not read; they are left out rather than guessed.
"""

from __future__ import annotations

import argparse
import json
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
from rich.console import Console
from rich.table import Table

from equilog.cost import Span, Work, load_target
from equilog.cost.converters import conversion_joule
from equilog.equilibrium.reference_problems import monotone_weight
from equilog.hardware import Chip, load_spec, program
from equilog.hardware.rest import at_rest
from equilog.hardware.transient import Transient
from equilog.hardware.twin import dac


@dataclass(frozen=True)
class Row:
    """One published figure, and the range that the cost model gives for it."""

    machine: str
    figure: str
    unit: str
    published: float
    low: float
    typical: float
    high: float
    assumed: str = ""

    @property
    def ratio(self) -> float:
        """Cost model over published."""
        return self.typical / self.published


def row(machine: str, figure: str, unit: str, published: float, found: Span | float, assumed: str = "") -> Row:
    span = Span.of(found)
    return Row(machine, figure, unit, published, span.low, span.typical, span.high, assumed)


def hermes() -> list[Row]:
    cores, n, bits, lsb = 64, 256, 8, 1e-9
    # Sign and magnitude: the longest pulse of an 8-bit input has 2⁷ steps of 1 ns.
    phase = 2 ** (bits - 1) * lsb
    rows = []
    for phases, tops, microjoule in ((1, 63.1, 0.86), (4, 16.1, 3.38)):
        rows.append(
            row("HERMES", f"throughput, {phases}-phase", "TOPS", tops, cores * 2 * n * n / (phases * phase) / 1e12)
        )
        # Σ G V² as the array sees it, drawn from the supply; two devices of a unit cell's four carry its weight.
        mean, duty, read, supply = 0.27 * 20.7e-6, 0.5, 0.2, 0.8
        array = n * n * 2 * mean * duty * read * supply * phases * phase
        spec = load_spec("rram")
        converters = (conversion_joule(spec.adc, 8) + conversion_joule(spec.dac, 8)) * (n * phases)
        rows.append(
            row(
                "HERMES", f"energy of a product, {phases}-phase", "nJ", microjoule * 1e3 / cores,
                (converters + array) * 1e9,
                "conductances 27 % of 20.7 µS on average, pulses half as long as the longest, 0.2 V from a 0.8 V "
                "supply; converters from Murmann's survey",
            )
        )  # fmt: skip
    return rows


@torch.no_grad()
def aoc() -> list[Row]:
    # 16 states, 20 ns an iteration as time constant: when is the published weight range settled to 1 %?
    n, m = 16, 8
    draw = torch.Generator().manual_seed(0)
    times = []
    for seed in range(5):
        normal = lambda *shape: torch.randn(*shape, dtype=torch.float64, generator=draw)  # noqa: E731
        weight = monotone_weight(n, 0.9, seed=seed, margin=0.5)
        layer = program((weight, 0.5 * normal(n, m), 0.1 * normal(n)), Chip(load_spec("optical"), seed))
        played = dac(layer, 2 * torch.rand(8, m, dtype=torch.float64, generator=draw) - 1)
        rest = at_rest(layer, played).p * float(layer.spec.activation.v_scale_volt)
        moving = Transient(layer, played)
        times.append(float(moving.settle(rest, 0.01, 40 * layer.time_constant_second)[0].max()))
    found = Span(low=min(times), typical=sum(times) / len(times), high=max(times))
    assumed = (
        "random weights of norm 0.9 and margin 0.5, at rest within 1 % of full scale; R_f C_f scaled to the weights"
    )
    readout = Span.of(2.5e-6 + 40 / 6.25e6)
    return [
        row("AOC", "time to rest, 9 iterations of 20 ns", "ns", 180, found * 1e9, assumed),
        row(
            "AOC",
            "time of an answer, readout included",
            "µs",
            (180e-9 + 2.5e-6 + 6.4e-6) * 1e6,
            (found + readout) * 1e6,
        ),
    ]


def neurram() -> list[Row]:
    cores, rows_of, columns = 48, 256, 256
    macs = rows_of * columns / 2  # two devices a weight
    spec, found = load_spec("rram"), []
    for outputs, inputs, tops, tops_per_watt, femtojoule in (
        (6, 4, 0.7438677864, 15.95409517, (21.75617998, 29.1084171, 11.50740478)),
        (8, 6, 0.260797508, 9.12235241, (37.2192395, 52.48282041, 19.23892768)),
    ):
        steps = 2 ** (inputs - 1) - 1  # an input bit of weight 2^k is integrated 2^k times
        second = steps * 0.27e-6 + outputs * 0.3e-6 + 0.3e-6
        label = f"{inputs}-bit in, {outputs}-bit out"
        found.append(row("NeuRRAM", f"throughput, {label}", "TOPS", tops, cores * 2 * macs / second / 1e12))
        # 10 ns pulses of 0.2 V, half of them on; conductances a quarter of 40 µS on average.
        array = rows_of * columns * 0.25 * 40e-6 * 0.2**2 * 0.5 * steps * 10e-9
        lines = columns * ((1.5 + 0.6) * 256 + 48) * 1e-15 * 1.8**2 * (inputs / 4)
        energy = conversion_joule(spec.adc, outputs) * columns + array + lines
        assumed = "conductances a quarter of 40 µS on average, half of the inputs on, 0.2 V; ADCs from Murmann's survey"
        found.append(
            row("NeuRRAM", f"energy of its parts, {label}", "fJ/MAC", sum(femtojoule), energy * (1e15 / macs), assumed)
        )
        found.append(
            row(
                "NeuRRAM",
                f"efficiency of the whole, {label}",
                "TOPS/W",
                tops_per_watt,
                Span.of(2e-12 * macs) / energy,
                assumed,
            )
        )
    return found


def digital() -> list[Row]:
    # Large products at full load: what is left is arithmetic, operands, standing power.
    found = []
    for name, label, published, n, batch in (
        ("gpu-int8", "H100", 1979 / 700, 8192, 8192),
        ("gpu-fp16", "H100", 989 / 700, 8192, 8192),
        ("edge-npu-int8", "Edge TPU", 2.0, 1024, 1024),
    ):
        target = load_target(name)
        busy = target.model_copy(update={"utilisation": type(target.utilisation)(1.0)})
        work = Work(macs=n * n, fetched_numbers=n * n + 2 * n, weight_numbers=n * n)
        energy = work.energy_joule(busy, batch)
        found.append(
            row(
                label,
                f"efficiency at full load, {target.precision}",
                "TOPS/W",
                published,
                Span.of(2e-12 * n * n) / energy,
            )
        )
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", type=Path, help="write the rows here")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    rows = [*hermes(), *aoc(), *neurram(), *digital()]
    table = Table("machine", "figure", "published", "cost model", "low … high", "ratio")
    for r in rows:
        table.add_row(
            r.machine, f"{r.figure}, {r.unit}", f"{r.published:.3g}", f"{r.typical:.3g}",
            "" if r.low == r.high else f"{r.low:.3g} … {r.high:.3g}", f"{r.ratio:.2f}",
        )  # fmt: skip
    outside = [r for r in rows if not 0.5 <= r.ratio <= 2]
    table.caption = "all within a factor of 2" if not outside else f"{len(outside)} outside a factor of 2"
    Console().print(table)
    if arguments.json:
        arguments.json.parent.mkdir(parents=True, exist_ok=True)
        data = {
            "command": "python benchmarks/published_machines.py",
            "rows": [asdict(r) | {"ratio": r.ratio} for r in rows],
        }
        arguments.json.write_text(json.dumps(data, indent=1) + "\n")


if __name__ == "__main__":
    main()
