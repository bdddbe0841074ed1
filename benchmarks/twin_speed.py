"""How much faster is the twin than the simulator it agrees with, and than aihwkit at what both do?

    python benchmarks/twin_speed.py --json results/twin_speed.json
    python benchmarks/twin_speed.py --parts rest time --states 64
    python benchmarks/twin_speed.py --parts product          # needs aihwkit 1.2.0, see docs/comparison.md

    rest     resting points of one chip, per sample: the static twin, converters and solver included, on a batch,
             against ngspice's .op of the same netlist: the time of one more sample, without reading the netlist.
    time     transients of one chip over 20 time constants, per sample, against ngspice's .tran of the same netlist.
    step     a training step (forward, backward) of a hybrid model, ideal and through the static twin of a new chip, as
             training meets it: of the technology, of one with every static effect (preset pcm with 64 levels and
             converter flaws, read with noise), and with resistive wires as well, to first order and exactly, anew for
             every chip. How far the first order is from the exact solution, at the technology's resistance and at 2
             ohm: of what the wires take from the weights (Frobenius norm of the change over that of the weights), how
             much it misses, and what that moves resting states by, at most.
    product  a training step (forward, backward, update) of one noisy quantised layer: AnalogLinear and aihwkit's
             inference tiles with a weight modifier of the same size; AnalogLinear with the technology's own levels and
             state-dependent errors, and nn.Linear, for scale.

In turns within one process where all are Python; medians. The agreement of what is timed is measured in the same run.
"""

from __future__ import annotations

import argparse
import math
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from _harness import interleave, prepare, show, table, write
from rich.table import Table
from torch import Tensor, nn

from equilog import circuit
from equilog.cells import CircuitCell
from equilog.circuit.ngspice import find_ngspice
from equilog.equilibrium import Auto, EquilibriumLayer
from equilog.hardware import Chip, Conditions, ProgrammedLayer, Spec, load_spec, program, without
from equilog.hardware.pairs import Wires
from equilog.hardware.product.linear import AnalogLinear
from equilog.hardware.transient import Transient
from equilog.hardware.twin import adc, dac, static_system
from equilog.model import HybridDEQ
from equilog.training.randomness import training_chip

PARTS = ("rest", "time", "step", "product")
Row = dict[str, Any]
# Of a weight, as a fraction of the largest, in the comparison with aihwkit.
NOISE = 0.05
# Of a transient, in units of V_a: what the registry allows along the way.
TOLERANCE = 1e-4


def chip_of(states: int, drives: int, spec: Spec, seed: int) -> ProgrammedLayer:
    """Return what one chip makes of a cell with random weights, in float64."""
    torch.manual_seed(seed)
    with torch.no_grad():
        weight, input_weight, bias = (m.double() for m in CircuitCell(states, drives).matrices())
        return program((weight, input_weight, bias), Chip(spec, seed))


def inputs(batch: int, drives: int, seed: int) -> Tensor:
    """Return drives from −1 to 1."""
    return 2 * torch.rand(batch, drives, generator=torch.Generator().manual_seed(seed), dtype=torch.float64) - 1


def repeated(call: Callable[[], Any], repeats: int) -> list[float]:
    """Return the seconds of so many calls, after one that is not counted."""
    call()
    seconds = []
    for _ in range(repeats):
        begin = time.perf_counter()
        call()
        seconds.append(time.perf_counter() - begin)
    return seconds


def rest(states: int, batch: int, spec: Spec, args: argparse.Namespace) -> list[Row]:
    """Time resting points."""
    layer = chip_of(states, states // 4, spec, args.seed)
    drive = inputs(batch, states // 4, args.seed)
    settle = EquilibriumLayer(on_failure="raise")

    @torch.no_grad()
    def twin() -> Tensor:
        system = static_system(layer, dac(layer, drive))
        p: Tensor = settle.rest(system)
        adc(layer, system.activation(p))
        return p

    single, coarse = layer.to(torch.float32), EquilibriumLayer(Auto(rtol=1e-5), on_failure="raise")

    @torch.no_grad()
    def training_precision() -> None:
        system = static_system(single, dac(single, drive.float()))
        adc(single, coarse(system))

    simulator = find_ngspice()
    count = args.samples
    with torch.no_grad(), tempfile.TemporaryDirectory() as scratch:
        played = dac(layer, drive)
        folder = Path(scratch)
        seconds = {}
        for samples in (1, 1 + count):
            circuit.write_circuit(layer, folder, rest=played[:samples])
            begin = time.perf_counter()
            v, _ = circuit.rest(simulator, folder, states, samples)
            seconds[samples] = time.perf_counter() - begin
        error = float((v / float(spec.activation.v_scale_volt) - twin()[: 1 + count]).abs().max())
    spice = (seconds[1 + count] - seconds[1]) / count
    rows = []
    for name, call in (("float64", twin), ("float32", training_precision)):
        ours = statistics.median(repeated(call, args.repeats)) / batch
        rows.append(
            {
                "part": "rest",
                "case": f"n = {states}, batch {batch}, {name}",
                "twin_second": ours,
                "ngspice_second": spice,
                "ratio": spice / ours,
                "agreement": error if name == "float64" else None,
            }
        )
    return rows


def in_time(states: int, batch: int, spec: Spec, args: argparse.Namespace) -> list[Row]:
    """Time transients."""
    layer = chip_of(states, states // 4, spec, args.seed)
    with torch.no_grad():
        played = dac(layer, inputs(batch, states // 4, args.seed))
    duration = 20 * layer.time_constant_second

    @torch.no_grad()
    def twin(dtype: torch.dtype) -> None:
        moving = Transient(layer, played, tolerance=TOLERANCE, dtype=dtype)
        for _ in moving.states(moving.grid(duration)):
            pass

    simulator = find_ngspice()
    with torch.no_grad(), tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        circuit.write_circuit(layer, folder, settle=played[:1], duration_second=duration)
        begin = time.perf_counter()
        wave = circuit.settle(simulator, folder, states, 0)
        spice = time.perf_counter() - begin
    rows = []
    for name, dtype in (("float64", torch.float64), ("float32", torch.float32)):
        twin_volt = Transient(layer, played[:1], tolerance=TOLERANCE, dtype=dtype).at(wave.time_second).v_volt[:, 0]
        second = statistics.median(repeated(lambda dtype=dtype: twin(dtype), args.repeats)) / batch
        rows.append(
            {
                "part": "time",
                "case": f"n = {states}, 20 τ, batch {batch}, {name}",
                "twin_second": second,
                "ngspice_second": spice,
                "ratio": spice / second,
                "agreement": float((wave.v_volt - twin_volt).abs().max()) / float(spec.activation.v_scale_volt),
            }
        )
    return rows


def step(states: int, batch: int, spec: Spec, args: argparse.Namespace) -> list[Row]:
    """Time training steps."""
    drives, classes, features = states // 2, 10, 64
    torch.manual_seed(args.seed)
    model = HybridDEQ(
        nn.Sequential(nn.Linear(features, drives), nn.Tanh()), CircuitCell(states, drives), nn.Linear(states, classes)
    )
    x = torch.randn(batch, features)
    y = torch.randint(0, classes, (batch,))
    seeds = iter(range(10**9))

    def one(of: Spec | None, wires: Wires = "exact") -> None:
        model.zero_grad(set_to_none=True)
        when = Conditions(3600.0, 320.0, reads)
        layer = None if of is None else model.program(training_chip(of, 0, next(seeds)), when, wires=wires)
        nn.functional.cross_entropy(model(x, layer), y).backward()

    pcm, reads = load_spec("pcm"), torch.Generator().manual_seed(args.seed)
    flaws = {"inl_lsb": 0.5, "noise_volt": 1e-3}
    everything = pcm.changed(crossbar={"levels": 64}, dac=flaws, adc=flaws)
    contestants: dict[str, Callable[[], None]] = {
        "ideal": lambda: one(None),
        f"{spec.name} an hour old": lambda: one(spec),
        "every static effect but wires": lambda: one(without_wires),
        "wires too, to first order": lambda: one(everything, "first-order"),
        "wires too, exactly": lambda: one(everything),
    }
    without_wires = without(everything, "wires")
    times = interleave(contestants, args.repeats, args.budget)
    return [
        {
            "part": "step",
            "case": f"n = {states}, {drives} drives, batch {batch}, {name}",
            "ideal_second": times["ideal"].median,
            "twin_second": times[name].median,
            "ratio": times[name].over(times["ideal"]),
        }
        for name in contestants
        if name != "ideal"
    ] + [first_order(states, pcm, ohm, args.seed) for ohm in (None, 2.0)]


@torch.no_grad()
def first_order(states: int, spec: Spec, ohm: float | None, seed: int) -> Row:
    """Compare wires to first order with wires solved exactly, in float64."""
    if ohm is not None:
        spec = spec.changed(crossbar={"wires": {"word_line_ohm": ohm, "bit_line_ohm": ohm}})
    assert spec.crossbar.wires is not None
    torch.manual_seed(seed)
    weight, input_weight, bias = (m.double() for m in CircuitCell(states, states // 2).matrices())
    matrices, when = (weight, input_weight, bias), Conditions(3600.0, 320.0)
    bare = program(matrices, Chip(without(spec, "wires"), seed), when).effective
    exact, close = (program(matrices, Chip(spec, seed), when, wires=how) for how in ("exact", "first-order"))
    norm = float(torch.linalg.matrix_norm(exact.effective))
    settle, drive = EquilibriumLayer(on_failure="raise"), inputs(64, states // 2, seed)
    z, z_close = (settle(static_system(layer, dac(layer, drive))) for layer in (exact, close))
    return {
        "part": "wires",
        "case": f"n = {states}, {float(spec.crossbar.wires.word_line_ohm):g} ohm",
        "taken_by_wires": float(torch.linalg.matrix_norm(bare - exact.effective)) / norm,
        "missed_of_weights": float(torch.linalg.matrix_norm(close.effective - exact.effective)) / norm,
        "largest_difference_of_states": float((z - z_close).abs().max()),
    }


def product(size: int, batch: int, spec: Spec, args: argparse.Namespace) -> list[Row]:
    """Time training steps of one noisy layer against aihwkit's."""
    from aihwkit.nn import AnalogLinear as TheirLinear
    from aihwkit.optim import AnalogSGD
    from aihwkit.simulator.configs import (
        InferenceRPUConfig,
        TorchInferenceRPUConfig,
        WeightModifierType,
    )

    torch.manual_seed(args.seed)
    x = (2 * torch.rand(batch, size) - 1).requires_grad_()

    def theirs(config: Any) -> nn.Module:
        config.modifier.type = WeightModifierType.ADD_NORMAL
        config.modifier.std_dev = NOISE
        config.mapping.max_input_size = config.mapping.max_output_size = size
        made: nn.Module = TheirLinear(size, size, rpu_config=config).train()
        return made

    # The noise that aihwkit's modifier makes: the same for every device, NOISE of the largest weight; a pair has two.
    uniform = {"coefficients_siemens": [NOISE / 2**0.5 * float(spec.crossbar.g_max_siemens)], "source": "benchmark"}
    alike = spec.changed(crossbar={"levels": None, "relaxation": None, "programming_sigma": uniform})
    layers: dict[str, nn.Module] = {
        "nn.Linear": nn.Linear(size, size),
        "equilog": AnalogLinear(size, size, alike),
        f"equilog, {spec.name}": AnalogLinear(size, size, spec),
        "aihwkit InferenceRPU": theirs(InferenceRPUConfig()),
        "aihwkit TorchInference": theirs(TorchInferenceRPUConfig()),
    }

    def step_of(layer: nn.Module) -> Callable[[], None]:
        # InferenceRPU makes no weight gradient before its optimizer's step: the step is timed with everybody.
        theirs = hasattr(layer, "analog_tiles")
        optimizer = AnalogSGD(layer.parameters(), lr=1e-3) if theirs else torch.optim.SGD(layer.parameters(), lr=1e-3)
        if theirs:
            optimizer.regroup_param_groups(layer)

        def one() -> None:
            optimizer.zero_grad()
            layer(x).square().mean().backward()
            optimizer.step()

        return one

    times = interleave({name: step_of(layer) for name, layer in layers.items()}, args.repeats, args.budget)
    best = min(("aihwkit InferenceRPU", "aihwkit TorchInference"), key=lambda k: times[k].median)
    return [
        {
            "part": "product",
            "case": f"{size} × {size}, batch {batch}",
            **{f"{name}_second": timing.median for name, timing in times.items()},
            "ratio": times[best].over(times["equilog"]),
        }
    ]


def main() -> None:
    """Parse, measure, print, write."""
    made = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    made.add_argument("--parts", nargs="+", choices=PARTS, default=["rest", "time", "step"])
    made.add_argument(
        "--states", type=int, nargs="+", help="neurons; by default 128 at rest, 64 in time, 32 and 128 a step"
    )
    made.add_argument("--batch", type=int, default=256)
    made.add_argument("--hardware", default="rram")
    made.add_argument("--samples", type=int, default=4, help="samples that ngspice settles at rest, default 4")
    made.add_argument("--repeats", type=int, default=9)
    made.add_argument("--budget", type=float, default=10.0, help="seconds a contestant may spend on a case")
    made.add_argument("--threads", type=int, default=2)
    made.add_argument("--seed", type=int, default=0)
    made.add_argument("--json", type=Path)
    args = made.parse_args()
    prepare(args.threads)
    spec = load_spec(args.hardware)
    rows: list[Row] = []
    for part in args.parts:
        if part == "rest":
            for n in args.states or [128]:
                rows += rest(n, args.batch, spec, args)
        elif part == "time":
            for n in args.states or [64]:
                rows += in_time(n, args.batch, spec, args)
        elif part == "step":
            for n in args.states or [32, 128]:
                rows += step(n, args.batch, spec, args)
        else:
            for size in args.states or [512, 1024]:
                rows += product(size, 64, spec, args)
    show(tables(rows))
    write(args.json, rows, args)


def tables(rows: list[Row]) -> list[Table]:
    """Return one table for each kind of row."""
    against = [r for r in rows if r["part"] in ("rest", "time")]
    made = []
    if against:
        cells = [
            [r["part"], r["case"], us(r["twin_second"]), us(r["ngspice_second"]), f"{r['ratio']:,.0f}", error(r)]
            for r in against
        ]
        made.append(table("per sample", ["", "case", "twin", "ngspice", "ngspice / twin", "largest difference"], cells))
    if steps := [r for r in rows if r["part"] == "step"]:
        cells = [[r["case"], us(r["ideal_second"]), us(r["twin_second"]), f"{r['ratio']:.2f}"] for r in steps]
        made.append(table("training step", ["case", "ideal", "twin, a new chip", "twin / ideal"], cells))
    if wired := [r for r in rows if r["part"] == "wires"]:
        keys = "taken_by_wires", "missed_of_weights", "largest_difference_of_states"
        cells = [[r["case"], *(f"{r[key]:.1e}" for key in keys)] for r in wired]
        head = ["case", "wires take", "first order misses", "states differ by"]
        made.append(table("wires to first order", head, cells))
    if products := [r for r in rows if r["part"] == "product"]:
        names = [key.removesuffix("_second") for key in products[0] if key.endswith("_second")]
        cells = [[r["case"], *(us(r[f"{n}_second"]) for n in names), f"{r['ratio']:.2f}"] for r in products]
        title = "noisy quantised matrix product: forward, backward, update"
        made.append(table(title, ["case", *names, "quickest of aihwkit / equilog"], cells))
    return made


def us(second: float) -> str:
    """Return a time in the unit that suits it."""
    power = min(2, max(0, -math.floor(math.log10(second) / 3)))
    return f"{second * 1e3**power:.3g} {('s', 'ms', 'µs')[power]}"


def error(row: Row) -> str:
    """Return the agreement, in units of full scale."""
    return "" if row["agreement"] is None else f"{row['agreement']:.1e}"


if __name__ == "__main__":
    main()
