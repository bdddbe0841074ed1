"""What does adapting a model to one bad chip recover, with which gradients, and with a simulator in the loop?

    python benchmarks/adaptation.py --json results/adaptation.json
    python benchmarks/adaptation.py --parts chips --tasks fashion-mnist --json results/adaptation-fashion-mnist.json

    chips     The worst of --chips chips that come to rest, with programming error --factor times what training was told
              of, a month old and 30 K warmer: held-out twins with flaws that the training twin does not model, chosen
              by training samples. Accuracy on the test set before and after: calibrating readings, refitting the
              readout, training the digital ends, training all.
    ngspice   A model of 16 neurons with the chip's netlist in ngspice in the loop: finite gain, mismatch and, in one
              run, wires that the training twin (the bare technology) knows nothing of. With --transistors also SKY130
              transistors.
    rivals    The same chip, the same data and the same number of steps for every way to obtain gradients: through the
              identified twin, through the nominal one, equilibrium propagation, the adjoint circuit, random
              perturbations of the weights; cells with symmetric weights, because equilibrium propagation needs them.

`recovered` is how much of what the chip lost against the ideal model is won back.
"""

from __future__ import annotations

import argparse
import copy
import math
import time
from pathlib import Path
from typing import Any

import torch
from _harness import prepare, progress, show, table, write
from curriculum import WAYS, off_chips, on_chips, train, worse
from torch import Tensor, nn

from equilog.cells import CircuitCell, SymmetricWeight
from equilog.devices import Device, NgspiceDevice, TwinDevice, run_on
from equilog.equilibrium import NotConvergedError
from equilog.hardware import Chip, Conditions, Spec, load_spec
from equilog.hardware.transient import UnstableChipError
from equilog.model import HybridDEQ
from equilog.tasks import get_task
from equilog.tasks.task import Data
from equilog.training import TrainConfig, fit
from equilog.training.adapt import AdaptConfig, adapt
from equilog.training.curriculum import MONTH_SECOND, ideal
from equilog.training.gradients import AdjointReading, EquilibriumPropagation, GradientSource, WeightPerturbation
from equilog.training.gradients.on_device import OnDevice

Row = dict[str, Any]
FIRST_CHIP = 1_000_000
HELD_OUT = Conditions(MONTH_SECOND, 330.0)
MEASURES: dict[str, dict[str, Any]] = {
    "calibrated": {"refit_readout": False, "epochs": 0, "identify_settles": 0},
    "readout refitted": {"calibrate": False, "epochs": 0, "identify_settles": 0},
    "digital ends trained": {"calibrate": False, "train": "digital"},
    "all trained": {"calibrate": False, "train": "all"},
}


def tested(model: HybridDEQ, device: Device, data: Data, samples: int | None) -> float:
    """Return the accuracy on a programmed device."""
    x, y = data.test_x[:samples], data.test_y[:samples]
    hits = sum(
        int((run_on(model, device, part).argmax(1) == labels).sum())
        for part, labels in zip(x.split(1000), y.split(1000))
    )
    return hits / len(y)


def row(part: str, what: str, before: float, bad: float, after: float, **more: Any) -> Row:
    """Return one line of the tables."""
    recovered = (after - bad) / (before - bad) if before > bad else float("nan")
    return {
        "part": part,
        "what": what,
        "ideal": before,
        "deployed": bad,
        "adapted": after,
        "recovered": recovered,
    } | more


def chips(task_name: str, hardware: str, seed: int, args: argparse.Namespace, step: Any) -> list[Row]:
    """Adapt to the worst chip of many."""
    task, spec = get_task(task_name), load_spec(hardware)
    data = task.load()
    rows = []
    for way in ("ideal, then deployed", "full curriculum"):
        step(f"{task_name} on {hardware}, {way}")
        epochs = task.train_defaults.epochs if args.epochs is None else args.epochs
        model, _ = train(task, data, spec, WAYS[way](epochs), seed)
        made = worse(spec, args.factor)
        some = slice(2000)
        each = on_chips(model, made, data.train_x[some], data.train_y[some], args.chips, MONTH_SECOND, 330.0)
        before = off_chips(model, data.test_x, data.test_y)
        bad, deployed, passed_over = worst_that_settles(model, made, data, each)
        with TwinDevice(bad, HELD_OUT, stability="none") as device:
            device.program(model.cell)
            for name, settings in MEASURES.items():
                changed, device.calibration = copy.deepcopy(model), None
                config = AdaptConfig(epochs=args.adapt_epochs, samples=args.samples).model_copy(update=settings)
                begin = time.perf_counter()
                x, y, augment = data.train_x, data.train_y, task.augment
                done: list[Row] = []
                try:
                    done = adapt(changed, device, x, y, config, twin=spec, seed=seed, augment=augment, progress=False)
                    adapted = tested(changed, device, data, None)
                except NotConvergedError:  # nothing is won where a sample no longer settles
                    adapted = deployed
                rows.append(
                    row(
                        "chips",
                        name,
                        before,
                        deployed,
                        adapted,
                        task=task_name,
                        hardware=hardware,
                        way=way,
                        seed=seed,
                        chip=bad.seed,
                        never_settle=passed_over,
                        second=time.perf_counter() - begin,
                        settles=done[-1]["settles"] if done else 0,
                    )
                )
    return rows


def worst_that_settles(model: HybridDEQ, spec: Spec, data: Data, each: Tensor) -> tuple[Chip, float, int]:
    """Return the worst chip on which samples come to rest, its accuracy, and how many worse ones do not."""
    for passed_over, k in enumerate(each.argsort().tolist()):
        chip = Chip(spec, FIRST_CHIP + k)
        with TwinDevice(chip, HELD_OUT, stability="none") as device:
            device.program(model.cell)
            try:
                run_on(model, device, data.train_x[:2000])
                return chip, tested(model, device, data, None), passed_over
            except NotConvergedError:
                continue
    raise SystemExit("no chip on which every sample comes to rest")


def small(cell: CircuitCell) -> HybridDEQ:
    """Return a model for 8 × 8 pictures whose equilibrium is most of it."""
    return HybridDEQ(
        nn.Sequential(nn.Flatten(), nn.Linear(64, cell.drives), nn.Hardtanh()), cell, nn.Linear(cell.states, 10)
    )


def trained_small(cell: CircuitCell, spec: Spec, data: Data, epochs: int, seed: int) -> HybridDEQ:
    """Return it trained without a chip."""
    model = small(cell)
    config = TrainConfig(stages=ideal(epochs), learning_rate=0.01)
    fit(model, data.train_x, data.train_y, spec, config, seed=seed, progress=False)
    return model


def in_ngspice(args: argparse.Namespace, step: Any) -> list[Row]:
    """Adapt with the simulator in the loop."""
    task, spec = get_task("digits"), load_spec("rram")
    data = task.load()
    torch.manual_seed(args.seeds[0])
    model = trained_small(CircuitCell(16, 8), spec, data, 40, args.seeds[0])
    before = off_chips(model, data.test_x, data.test_y)
    flaws = {"amplifier": {"dc_gain": 300.0}, "activation": {"gain_sigma": 0.06}}
    hidden = worse(spec, args.factor).changed(**flaws)
    wires = {"word_line_ohm": 20.0, "bit_line_ohm": 20.0}
    wired = worse(spec, args.factor).changed(crossbar={"wires": wires}, **flaws)
    machines: dict[str, tuple[Any, Spec]] = {
        "macro-models, A0 = 300": (NgspiceDevice(Chip(hidden, 5)), spec),
        "macro-models, A0 = 300, wires of 20 ohm": (NgspiceDevice(Chip(wired, 5)), spec),
    }
    if args.transistors:
        from equilog.circuit.sky130 import characterised_spec

        made = characterised_spec()
        machines["SKY130 transistors"] = (NgspiceDevice(Chip(made, 5), blocks="transistors"), load_spec("cmos-sky130"))
    rows = []
    for name, (device, told) in machines.items():
        transistors, slow = name.startswith("SKY130"), "wires" in name
        # A settle takes 2 ms of macro-models, 50 ms with a mesh of wires, and a second of transistors.
        samples, test, epochs = (args.samples, None, args.adapt_epochs)
        if transistors or slow:
            samples, test, epochs = (96, 100, 2) if transistors else (256, 300, args.adapt_epochs)
        for train_what in ("digital",) if transistors or slow else ("digital", "all"):
            step(f"ngspice, {name}, training {train_what}")
            changed = copy.deepcopy(model)
            device.program(model.cell)
            deployed = tested(model, device, data, test)
            config = AdaptConfig(
                calibrate=False,
                train=train_what,
                epochs=epochs,
                samples=samples,
                identify_settles=48 if transistors else None,
            )
            begin = time.perf_counter()
            done = adapt(changed, device, data.train_x, data.train_y, config, twin=told, progress=False)
            rows.append(
                row(
                    "ngspice",
                    f"{name}, {train_what} trained",
                    before,
                    deployed,
                    tested(changed, device, data, test),
                    second=time.perf_counter() - begin,
                    settles=done[-1]["settles"],
                    programmed=done[-1]["programmed"],
                    history=[r for r in done if r["stage"] == "fine-tune"],
                )
            )
        device.close()
    return rows


def rivals(args: argparse.Namespace, step: Any) -> list[Row]:
    """Adapt to one chip with every way to obtain gradients: same data, same steps, same optimiser."""
    task, spec = get_task("digits"), load_spec("rram")
    data = task.load()
    seed = args.seeds[0]
    torch.manual_seed(seed)
    cell = CircuitCell(16, 8, recurrent=SymmetricWeight(16))
    model = trained_small(cell, spec, data, 40, seed)
    before = off_chips(model, data.test_x, data.test_y)
    bad = Chip(worse(spec, args.factor), 5)
    sources: dict[str, GradientSource | None] = {
        "through the identified twin": None,
        "through the nominal twin": None,
        "equilibrium propagation": EquilibriumPropagation(),
        "adjoint circuit": AdjointReading(),
        "weight perturbation": WeightPerturbation(probes=8),
    }
    rows = []
    for name, source in sources.items():
        step(f"rivals, {name}")
        changed = copy.deepcopy(model)
        device = TwinDevice(bad, stability="none")
        device.program(model.cell)
        deployed = tested(model, device, data, None)
        begin = time.perf_counter()
        if source is None:
            settles = None if "identified" in name else 0
            config = AdaptConfig(
                calibrate=False, refit_readout=False, identify_settles=settles, epochs=args.adapt_epochs
            )
            adapt(changed, device, data.train_x, data.train_y, config, twin=spec, seed=seed, progress=False)
        else:
            try:
                by_source(changed, device, source, data, args.adapt_epochs, seed)
            except (NotConvergedError, UnstableChipError) as error:
                failed = {"failed": str(error), "second": time.perf_counter() - begin}
                rows.append(row("rivals", f"{name}: a sample no longer settles", before, deployed, math.nan, **failed))
                continue
            device.program(changed.cell)
        after = tested(changed, device, data, None)
        rows.append(row("rivals", name, before, deployed, after, second=time.perf_counter() - begin))
    return rows


def by_source(model: HybridDEQ, device: Device, source: GradientSource, data: Data, epochs: int, seed: int) -> None:
    """Train on the device with gradients of a source, as `adapt` does: its order, optimiser, schedule and loss."""
    from equilog.training.randomness import EpochOrder

    config = AdaptConfig(epochs=epochs)
    on = OnDevice(model, device, source)
    order = EpochOrder(len(data.train_x), config.batch_size, seed)
    optimiser = torch.optim.Adam(on.parameters(), config.learning_rate)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, max(1, epochs * len(order)))
    for epoch in range(epochs):
        order.set_epoch(epoch)
        for rows in order:
            optimiser.zero_grad()
            output: Tensor = on(data.train_x[rows])
            loss = nn.functional.cross_entropy(output, data.train_y[rows], label_smoothing=config.label_smoothing)
            loss.backward()
            nn.utils.clip_grad_norm_(on.parameters(), config.gradient_clip)
            optimiser.step()
            schedule.step()


def main() -> None:
    """Parse, adapt, print, write."""
    made = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    made.add_argument(
        "--parts", nargs="+", choices=("chips", "ngspice", "rivals"), default=["chips", "ngspice", "rivals"]
    )
    made.add_argument("--tasks", nargs="+", default=["digits"])
    made.add_argument("--hardware", nargs="+", default=["rram", "pcm"])
    made.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    made.add_argument("--factor", type=float, default=3.0, help="of the programming error, default %(default)s")
    made.add_argument("--chips", type=int, default=50)
    made.add_argument("--epochs", type=int, help="of the training before, instead of the task's own")
    made.add_argument("--adapt-epochs", type=int, default=10)
    made.add_argument("--samples", type=int, help="to adapt with; default all training samples")
    made.add_argument("--transistors", action="store_true", help="also settle SKY130 transistors; minutes")
    made.add_argument("--threads", type=int, default=2)
    made.add_argument("--json", type=Path)
    args = made.parse_args()
    prepare(args.threads)
    rows: list[Row] = []
    count = 2 * len(args.tasks) * len(args.hardware) * len(args.seeds) * ("chips" in args.parts)
    count += (3 + args.transistors) * ("ngspice" in args.parts) + 5 * ("rivals" in args.parts)
    with progress(count, "adaptation") as step:
        if "chips" in args.parts:
            for task in args.tasks:
                for hardware in args.hardware:
                    for seed in args.seeds:
                        rows += chips(task, hardware, seed, args, step)
                        write(args.json, rows, args)
        if "ngspice" in args.parts:
            rows += in_ngspice(args, step)
            write(args.json, rows, args)
        if "rivals" in args.parts:
            rows += rivals(args, step)
    write(args.json, rows, args)
    show(tables(rows, args))


def tables(rows: list[Row], args: argparse.Namespace) -> list[Any]:
    """Return one table a part; of chips the means over seeds."""
    made = []
    heads = ["", "", "ideal", "deployed", "adapted", "recovered", "s"]
    lines = []
    for task in args.tasks:
        for hardware in args.hardware:
            for way in ("ideal, then deployed", "full curriculum"):
                for name in MEASURES:
                    key = (task, hardware, way, name)
                    of = [r for r in rows if (r.get("task"), r.get("hardware"), r.get("way"), r["what"]) == key]
                    if of:
                        lines.append([f"{task}, {hardware}, {way}", name, *means(of)])
    if lines:
        made.append(table("the worst chip, means over seeds", heads, lines))
    for part in ("ngspice", "rivals"):
        if of_part := [r for r in rows if r["part"] == part]:
            made.append(table(part, heads, [[part, r["what"], *means([r])] for r in of_part]))
    return made


def means(rows: list[Row]) -> list[str]:
    """Return accuracies in per cent; recovered is that of the means, not the mean of ratios."""
    ideal_, deployed, adapted, second = (
        sum(r[key] for r in rows) / len(rows) for key in ("ideal", "deployed", "adapted", "second")
    )
    share = f"{100 * (adapted - deployed) / (ideal_ - deployed):.0f} %" if ideal_ > deployed else "–"
    return [f"{100 * ideal_:.2f}", f"{100 * deployed:.2f}", f"{100 * adapted:.2f}", share, f"{second:.0f}"]


if __name__ == "__main__":
    main()
