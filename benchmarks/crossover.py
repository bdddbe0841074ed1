"""Where analog wins: energy and latency of one equilibrium on a chip and on three digital computers, swept.

    python benchmarks/crossover.py --json results/crossover.json --figures docs/figures

Swept are the number of neurons n, the bits that the answer needs, the conditioning (margin and norm of a monotone
weight), the batch and the technology. Each chip is programmed, settled in time by its twin to half a code, and read as
often as its thermal noise asks for; each digital computer runs the cheapest of three solvers, with the steps that it
takes to the same residual. The digital ends of a model, which both sides pay, are left out: this is the equilibrium
alone. The bits are those of the reading: what the chip's own errors leave of its weights is listed as kept bits.

A cell of a map is certain where the ranges do not overlap. Digital precision is the lowest that holds the bits: int8 up
to 8, fp16 up to 11, fp32 above; rows at 7 nm (GPU: 4 nm), whatever the chip is made in.
"""

from __future__ import annotations

import argparse
import json
import math
import sys
import time
from collections.abc import Callable
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
from _chips import ends
from rich.console import Console
from rich.table import Table
from torch import Tensor

from equilog.cells import AffineSystem, Tanh
from equilog.cost import Use, chip_inference, chip_watt, load_target
from equilog.cost.area import area_parts
from equilog.cost.converters import effective_bits, readings
from equilog.cost.digital import solver_work
from equilog.cost.span import dominant, total
from equilog.equilibrium import Anderson, Chord, Picard
from equilog.equilibrium.reference_problems import monotone_weight
from equilog.hardware import Chip, ProgrammedLayer, load_spec, program
from equilog.hardware.noise import noise_at_rest
from equilog.hardware.rest import at_rest
from equilog.hardware.transient import Transient
from equilog.hardware.twin import dac

TECHNOLOGIES = ("rram", "cmos-sky130", "board")
COMPUTERS = ("cpu", "edge-npu", "gpu")
SIZES = (8, 16, 32, 64, 128, 256, 512)
BITS = (4, 6, 8, 10, 12)
BATCHES = (1, 4, 16, 64, 256)
CONDITIONS = {"easy": (0.6, 0.8), "medium": (0.3, 2.0), "hard": (0.1, 4.0)}
"""margin and norm of the weight"""
SAMPLES = 4
LONGEST_TAU = 160.0
SHOWN_BITS, SHOWN_CONDITION = 8, "medium"


def half_code(bits: int) -> float:
    return 0.5 / (2 ** (bits - 1) - 1)


@lru_cache(maxsize=4)
def cell(n: int, condition: str) -> tuple[Tensor, Tensor, Tensor]:
    margin, norm = CONDITIONS[condition]
    draw = torch.Generator().manual_seed(n)
    weight = monotone_weight(n, norm, seed=n, margin=margin)
    # Pre-activations of about one: the states use the range of their converters.
    inputs = torch.randn(n, n // 2, dtype=torch.float64, generator=draw) * math.sqrt(6 / n)
    return weight, inputs, 0.3 * torch.randn(n, dtype=torch.float64, generator=draw)


def drives(n: int) -> Tensor:
    draw = torch.Generator().manual_seed(n + 1)
    return 2 * torch.rand(SAMPLES, n // 2, dtype=torch.float64, generator=draw) - 1


@torch.no_grad()
def analog(technology: str, n: int, condition: str) -> dict[str, Any] | None:
    """Return power, settling times by bits, noise and what the chip keeps of its weights; None if it never rests."""
    matrices, drive = cell(n, condition), drives(n)
    layer = program(matrices, Chip(load_spec(technology), 1))
    played = dac(layer, drive)
    try:
        rest = at_rest(layer, played, stability="steepest" if n <= 128 else "none")
    except RuntimeError:
        return None
    settling = settling_by_bits(layer, played, rest.p)
    noise = noise_at_rest(layer, rest.p[:1] * float(layer.spec.activation.v_scale_volt))
    ideal = solve(AffineSystem(matrices[0], drive @ matrices[1].T + matrices[2], Tanh()), 1e-6)[2]
    full = layer.spec.adc.full_scale_volt / layer.spec.activation.v_out_volt
    return {
        "layer": layer,
        "watt": chip_watt(layer, rest.p, rest.z, played),
        "settling_second": settling,
        "noise_rms": float(noise.state_rms.square().mean().sqrt()) / full,
        "kept_bits": effective_bits(float((rest.z - ideal).square().mean().sqrt())),
        "noise_gain": float(layer.noise_gain.mean()),
        "area_m2": total(list(area_parts(layer).values())).typical,
    }


def settling_by_bits(layer: ProgrammedLayer, played: Tensor, p: Tensor) -> dict[int, float]:
    """Return the slowest sample's time to within half a code of rest; inf if it is not there while watched."""
    moving = Transient(layer, played)
    duration = 12.0
    while True:
        grid = moving.grid(duration * moving.time_scale_second)
        outside = []
        rest = moving.activation(p * moving.v_a)
        for state in moving.states(grid):
            outside.append(float((moving.activation(state[..., 1]) - rest).abs().max()))
        after = torch.cat([grid[1:], grid.new_tensor([math.inf])])
        found = {}
        for bits in BITS:
            late = torch.tensor(outside) > half_code(bits)
            found[bits] = float(after[late].max()) if bool(late.any()) else 0.0
        if max(found.values()) < math.inf or duration >= LONGEST_TAU:
            return found
        duration *= 2


@torch.no_grad()
def solve(system: AffineSystem, tolerance: float) -> tuple[float, int, Tensor]:
    """Return steps and memory of the cheapest of three solvers, and the states."""
    n, found = system.weight.shape[0], []
    for solver in (
        Picard(tolerance, tolerance),
        Anderson(tolerance, tolerance, memory=5),
        Chord(tolerance, tolerance, memory=3),
    ):
        result = solver.solve(system)
        if bool(result.converged.all()):
            memory, steps = getattr(solver, "memory", 0), float(result.steps.double().mean())
            found.append((solver_work(n, n // 2, steps, memory).fetched_numbers, steps, memory, result.state))
    if not found:
        raise RuntimeError(f"no solver reaches {tolerance:g} at n = {n}")
    _, steps, memory, p = min(found, key=lambda entry: entry[0])
    return steps, memory, torch.tanh(p)


def digital(n: int, condition: str, bits: int) -> tuple[float, int]:
    weight, inputs, bias = cell(n, condition)
    steps, memory, _ = solve(AffineSystem(weight, drives(n) @ inputs.T + bias, Tanh()), half_code(bits))
    return steps, memory


def precision(bits: int) -> str:
    return "int8" if bits <= 8 else "fp16" if bits <= 11 else "fp32"


def measure(
    technologies: list[str], sizes: list[int], conditions: list[str], tell: Callable[[str], None]
) -> list[dict[str, Any]]:
    rows = []
    for n in sizes:
        for condition in conditions:
            steps = {bits: digital(n, condition, bits) for bits in BITS}
            for technology in technologies:
                begin = time.perf_counter()
                chip = analog(technology, n, condition)
                rows += [row(technology, n, condition, bits, steps[bits], chip) for bits in BITS]
                tell(f"{technology}, n = {n}, {condition}: {time.perf_counter() - begin:.1f} s")
    return rows


def row(
    technology: str, n: int, condition: str, bits: int, solver: tuple[float, int], chip: dict[str, Any] | None
) -> dict[str, Any]:
    steps, memory = solver
    base = {"technology": technology, "n": n, "condition": condition, "bits": bits, "steps": steps}
    base |= {"margin": CONDITIONS[condition][0], "norm": CONDITIONS[condition][1]}
    work = solver_work(n, n // 2, steps, memory)
    sides: dict[str, Any] = {}
    for computer in COMPUTERS:
        target = load_target(f"{computer}-{precision(bits)}")
        for batch in BATCHES:
            parts = work.energy_parts(target, batch)
            sides[f"{computer} {batch}"] = {
                "joule": ends(work.energy_joule(target, batch)),
                "second": ends(work.latency_second(target, batch)),
                "dominant": dominant(parts)[0],
            }
    base["digital"] = sides
    if chip is None or not math.isfinite(chip["settling_second"][bits]):
        return base | {"analog": None, "why": "no stable rest" if chip is None else "not at rest while watched"}
    count = readings(chip["noise_rms"], bits)
    layer = chip["layer"]
    use = Use(readings=min(count, 10_000), dac_enob=bits, adc_enob=bits)
    found = chip_inference(layer, chip["watt"], chip["settling_second"][bits], use)
    name, share = dominant(found.energy_joule)
    base["analog"] = {
        "joule": ends(found.energy),
        "second": ends(found.latency),
        "settling_second": chip["settling_second"][bits],
        "tau_second": layer.time_constant_second,
        "noise_gain": chip["noise_gain"],
        "noise_rms": chip["noise_rms"],
        "readings": count,
        "kept_bits": chip["kept_bits"],
        "area_m2": chip["area_m2"],
        "dominant": name,
        "share": share,
        "parts_joule": {k: s.typical for k, s in found.energy_joule.items()},
    }
    return base


def ratio(r: dict[str, Any], computer: str, batch: int, what: str) -> tuple[float, bool]:
    """Return digital over analog at typical values, and whether the ranges are apart; nan if the chip never rests."""
    if r["analog"] is None:
        return math.nan, False
    theirs, ours = r["digital"][f"{computer} {batch}"][what], list(r["analog"][what])
    if what == "second":
        ours = [batch * t for t in ours]
    return theirs[1] / ours[1], theirs[0] > ours[2] or theirs[2] < ours[0]


def short(value: float) -> str:
    """Return a ratio in at most four characters."""
    if math.isnan(value):
        return "–"
    if value >= 995 or value < 0.0095:
        return f"{value:.0e}".replace("e+0", "e").replace("e-0", "e−")
    return f"{value:.0f}" if value >= 9.95 else f"{value:.2g}"


def draw(rows: list[dict[str, Any]], folder: Path) -> list[Path]:
    import matplotlib.colors as colours

    from equilog.drawing.style import MUTED, canvas, drawing

    sizes = sorted({r["n"] for r in rows})
    scale = colours.LinearSegmentedColormap.from_list("sides", ["#c2591c", "#f6f3ee", "#0b7d77"])
    scale.set_bad("#dddddd")
    paths = []
    for what, measure_of in (("joule", "energy"), ("second", "latency")):
        for against, steps in (("batch", BATCHES), ("bits", BITS)):
            with drawing(f"crossover-{measure_of}-{against}"):
                figure = canvas(8.4, 7.2)
                axes = figure.subplots(len(TECHNOLOGIES), len(COMPUTERS), sharex=True, sharey=True)
                for i, technology in enumerate(TECHNOLOGIES):
                    for j, computer in enumerate(COMPUTERS):
                        grid = np.full((len(steps), len(sizes)), np.nan)
                        at = axes[i][j]
                        for r in rows:
                            if r["technology"] != technology or r["condition"] != SHOWN_CONDITION:
                                continue
                            if against == "batch" and r["bits"] != SHOWN_BITS:
                                continue
                            for batch in BATCHES if against == "batch" else (1,):
                                y = steps.index(batch if against == "batch" else r["bits"])
                                x = sizes.index(r["n"])
                                value, certain = ratio(r, computer, batch, what)
                                grid[y, x] = math.log10(value) if value > 0 else math.nan
                                text = short(value)
                                at.text(
                                    x, y, text, ha="center", va="center", fontsize=5.5,
                                    fontweight="bold" if certain else "normal",
                                    color="white" if abs(grid[y, x]) > 2 else "#1f2a37",
                                )  # fmt: skip
                        image = at.imshow(
                            np.ma.masked_invalid(grid), cmap=scale, vmin=-3, vmax=3, aspect="auto", origin="lower"
                        )
                        at.grid(visible=False)
                        at.set_title(f"{technology} against {computer}", fontsize=8)
                        at.set_xticks(range(len(sizes)), [str(n) for n in sizes])
                        at.set_yticks(range(len(steps)), [str(s) for s in steps])
                        if i == len(TECHNOLOGIES) - 1:
                            at.set_xlabel("neurons n")
                        if j == 0:
                            at.set_ylabel(against)
                bar = figure.colorbar(image, ax=axes, shrink=0.6, ticks=[-3, -2, -1, 0, 1, 2, 3])
                bar.ax.set_yticklabels(["1/1000", "1/100", "1/10", "1", "10", "100", "1000"])
                fixed = f"{SHOWN_BITS} bits" if against == "batch" else "batch 1"
                bar.set_label(
                    f"digital {measure_of} over analog: above 1 analog wins; bold where ranges are apart", color=MUTED
                )
                figure.suptitle(
                    f"{measure_of.capitalize()} of one equilibrium, margin 0.3, norm 2, {fixed}", fontsize=9.5
                )
                path = folder / f"crossover-{measure_of}-{against}.svg"
                figure.savefig(path, metadata={"Date": None, "Creator": None}, facecolor="white")
                paths.append(path)
    paths.append(draw_settling(rows, sizes, folder))
    return paths


def draw_settling(rows: list[dict[str, Any]], sizes: list[int], folder: Path) -> Path:
    """Draw what conditioning and fan-in do to the settling time."""
    from matplotlib.ticker import FuncFormatter, LogLocator, NullLocator

    from equilog.drawing.style import SERIES, canvas, drawing

    with drawing("settling-conditioning"):
        figure = canvas(8.4, 2.9)
        axes = figure.subplots(1, len(TECHNOLOGIES))
        for at, technology in zip(axes, TECHNOLOGIES):
            for colour, condition in zip(SERIES, CONDITIONS):
                points = [
                    (r["n"], 1e6 * r["analog"]["settling_second"])
                    for r in rows
                    if (r["technology"], r["condition"], r["bits"]) == (technology, condition, SHOWN_BITS)
                    and r["analog"]
                ]
                margin, norm = CONDITIONS[condition]
                if points:
                    at.plot(*zip(*points), "o-", color=colour, markersize=3, label=f"margin {margin:g}, norm {norm:g}")
            at.set_xscale("log", base=2)
            at.set_yscale("log")
            at.set_xticks(sizes[::2], [str(n) for n in sizes[::2]])
            at.yaxis.set_major_locator(LogLocator(subs=(1.0, 1.5, 2.0, 3.0, 5.0, 7.0)))
            at.yaxis.set_major_formatter(FuncFormatter(lambda value, _place: f"{value:g}"))
            at.yaxis.set_minor_locator(NullLocator())
            at.xaxis.set_minor_locator(NullLocator())
            at.set_title(technology)
            at.set_xlabel("neurons n")
        axes[0].set_ylabel(f"settling to {SHOWN_BITS} bits, µs")
        axes[0].legend()
        path = folder / "settling-conditioning.svg"
        figure.savefig(path, metadata={"Date": None, "Creator": None}, facecolor="white")
    return path


def tables(rows: list[dict[str, Any]]) -> None:
    out = Console()
    for what, name in (("joule", "energy"), ("second", "latency")):
        table = Table("technology", "n", *(f"{c}, batch {b}" for c in COMPUTERS for b in (1, 256)))
        for r in rows:
            if r["bits"] == SHOWN_BITS and r["condition"] == SHOWN_CONDITION:
                cells = []
                for computer in COMPUTERS:
                    for batch in (1, 256):
                        value, certain = ratio(r, computer, batch, what)
                        cells.append("never at rest" if math.isnan(value) else f"{value:.2g}{' !' if certain else ''}")
                table.add_row(r["technology"], str(r["n"]), *cells)
        table.title = f"digital {name} over analog, {SHOWN_BITS} bits, {SHOWN_CONDITION} conditioning"
        table.caption = "above 1 analog wins; ! where the ranges are apart"
        out.print(table)
    table = Table(
        "technology",
        "n",
        "condition",
        "settling",
        "noise gain",
        "noise, rms",
        "readings",
        "kept bits",
        "chip, J",
        "largest term",
    )
    for r in rows:
        if r["bits"] == SHOWN_BITS and (a := r["analog"]):
            table.add_row(
                r["technology"], str(r["n"]), r["condition"], f"{a['settling_second'] * 1e6:.3g} µs",
                f"{a['noise_gain']:.3g}", f"{a['noise_rms']:.1e}", str(a["readings"]), f"{a['kept_bits']:.1f}",
                f"{a['joule'][1]:.2e}", f"{a['dominant']} {a['share']:.0%}",
            )  # fmt: skip
    out.print(table)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--technologies", nargs="+", default=list(TECHNOLOGIES), choices=TECHNOLOGIES)
    parser.add_argument("--sizes", type=int, nargs="+", default=list(SIZES))
    parser.add_argument("--conditions", nargs="+", default=list(CONDITIONS), choices=list(CONDITIONS))
    parser.add_argument("--draw", type=Path, metavar="JSON", help="measure nothing, draw and list what lies there")
    parser.add_argument("--json", type=Path, help="write the rows here; rows of other cases that lie there stay")
    parser.add_argument("--figures", type=Path, help="draw the maps into this folder")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    rows = (
        json.loads(arguments.draw.read_text())["rows"]
        if arguments.draw
        else measure(
            arguments.technologies, arguments.sizes, arguments.conditions, lambda text: print(text, file=sys.stderr)
        )
    )
    if arguments.json:
        kept = json.loads(arguments.json.read_text())["rows"] if arguments.json.is_file() else []
        key = lambda r: (TECHNOLOGIES.index(r["technology"]), r["n"], list(CONDITIONS).index(r["condition"]), r["bits"])  # noqa: E731
        merged = {key(r): r for r in [*kept, *rows]}
        rows = [merged[k] for k in sorted(merged)]
        arguments.json.parent.mkdir(parents=True, exist_ok=True)
        arguments.json.write_text(json.dumps({"command": "python benchmarks/crossover.py", "rows": rows}) + "\n")
    tables(rows)
    if arguments.figures:
        arguments.figures.mkdir(parents=True, exist_ok=True)
        for path in draw(rows, arguments.figures):
            print(path)


if __name__ == "__main__":
    main()
