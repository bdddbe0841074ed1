"""What does the curriculum buy on chips that training never saw, and which of its parts does it?

    python benchmarks/curriculum.py --json results/curriculum.json
    python benchmarks/curriculum.py --tasks digits --hardware rram --seeds 0 --ways "full curriculum" --json /tmp/c.json
    python benchmarks/curriculum.py --json results/curriculum.json --resume      # goes on after Ctrl-C

Every way of training has the task's own model, epochs and learning rate, and starts from the same weights. Each model
is put on the same unseen chips, read with noise: just programmed at 300 K; a month old at 330 K; and just programmed
with three times the programming error that training was told of. The accuracy is that of the whole test set, mean over
chips and on the worst chip; a sample that never comes to rest is wrong.

    ideal, then deployed   trained without a chip
    noise injection        half of the epochs with the technology's programming error on the weights
    full curriculum        ideal, ramp, changing chips of all ages and temperatures, robustness in the loss; what
                           `equilog run` does
    ablations              the full curriculum but for one thing, or with one regulariser more

Training reckons with resistive wires to first order, measuring exactly.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from _harness import prepare, progress, show, table, write
from torch import Tensor

from equilog.equilibrium import Chord, EquilibriumLayer, Settle, Solution
from equilog.equilibrium.problem import Problem
from equilog.equilibrium.solution import Tolerance
from equilog.equilibrium.solvers.auto import hand_over
from equilog.hardware import Conditions, Population, Spec, load_spec
from equilog.model import HybridDEQ
from equilog.objective import Classification
from equilog.pipeline import mean_score
from equilog.tasks import get_task
from equilog.tasks.task import Data, Task
from equilog.training import Stage, fit
from equilog.training.curriculum import MONTH_SECOND, ROBUSTNESS, Stages, full, ideal, noise_injection

UNSEEN_CHIPS = 1_000_000
# Age, temperature, and by how much the devices' programming error misses the technology's figures.
WHEN = {"fresh": (None, 300.0, 1.0), "month": (MONTH_SECOND, 330.0, 1.0), "tripled": (None, 300.0, 3.0)}
Row = dict[str, Any]


def changed(epochs: int, **over: Any) -> Stages:
    """Return the full curriculum with something else in every stage that meets chips."""
    return {name: stage.model_copy(update=over) if stage.twin else stage for name, stage in full(epochs).items()}


def regularised(name: str, weight: float) -> Callable[[int], Stages]:
    """Return the full curriculum with one regulariser more."""
    return lambda epochs: changed(epochs, losses={"robustness": ROBUSTNESS, name: weight})


def without_ramp(epochs: int) -> Stages:
    """Return the full curriculum with the ramp's epochs at full strength."""
    stages = full(epochs)
    return stages | {"ramp": stages["ramp"].model_copy(update={"ramp": False})}


def without_ideal(epochs: int) -> Stages:
    """Return the ramp and the twin in all epochs."""
    stages = full(epochs)
    extra = stages["ideal"].epochs
    return {"ramp": stages["ramp"], "twin": longer(stages["twin"], extra)}


def longer(stage: Stage, epochs: int) -> Stage:
    """Return the stage with more epochs."""
    return stage.model_copy(update={"epochs": stage.epochs + epochs})


WAYS: dict[str, Callable[[int], Stages]] = {
    "ideal, then deployed": ideal,
    "noise injection": noise_injection,
    "full curriculum": full,
}
ABLATIONS: dict[str, Callable[[int], Stages]] = {
    "no ideal stage": without_ideal,
    "no ramp": without_ramp,
    "noiseless reads": lambda epochs: changed(epochs, reads=False, thermal_noise=False),
    "fresh chips at 300 K only": lambda epochs: changed(epochs, max_age_second=None, temperature_kelvin=None),
    "programming error only": lambda epochs: changed(epochs, effects=("programming-error", "drift")),
    "no robustness": lambda epochs: changed(epochs, losses={}),
    "with precision": regularised("precision", 30.0),
    "with stability": regularised("stability", 1.0),
    "with energy": regularised("energy", 1e7),
}


def train(task: Task, data: Data, spec: Spec, stages: Stages, seed: int) -> tuple[HybridDEQ, float]:
    """Return a trained model and the seconds it took."""
    torch.manual_seed(seed)
    model = task.build(task.model_defaults)
    config = task.train_defaults.model_copy(update={"stages": stages})
    begin = time.perf_counter()
    fit(model, data.train_x, data.train_y, spec, config, seed=seed, augment=task.augment, progress=False)
    return model, time.perf_counter() - begin


def worse(spec: Spec, factor: float) -> Spec:
    """Return the technology with its programming error so many times as large, at every age."""
    bar = spec.crossbar
    if factor == 1 or bar.programming_sigma is None:
        return spec

    def larger(law: Any) -> dict[str, Any]:
        return {"coefficients_siemens": [factor * c for c in law.coefficients_siemens]}

    changes: dict[str, Any] = {"programming_sigma": larger(bar.programming_sigma)}
    if bar.relaxation is not None:
        changes["relaxation"] = {"sigma": larger(bar.relaxation.sigma)}
    return spec.changed(crossbar=changes)


class AsTheCircuit(Chord):
    """The chord method; what it leaves follows the flow ``ṗ = Wφ(p) + u − p``, as the circuit does, for 300 steps.

    Newton's method would find more resting points, and more slowly, but those that no circuit stays at as well.
    """

    def solve_flat(
        self, problem: Problem, start: Tensor | None, tolerance: Tolerance, *, keep_inverse: bool = False
    ) -> Solution:
        """Solve in two stages."""
        first = super().solve_flat(problem, start, tolerance, keep_inverse=keep_inverse)
        if first.complete:
            return first
        return hand_over(first, problem, Settle(max_steps=300), start, tolerance, ~first.converged, keep_inverse)


@torch.no_grad()
def on_chips(
    model: HybridDEQ, spec: Spec, x: Tensor, y: Tensor, chips: int, age: float | None, kelvin: float
) -> Tensor:
    """Return the accuracy on every unseen chip, read with noise."""
    drives = [model.parameterize(part) for part in x.split(1000)]
    together = 8
    found = []
    trained_with = model.equilibrium
    model.equilibrium = EquilibriumLayer(AsTheCircuit(max_steps=60), on_failure="ignore")
    for first in range(0, chips, together):
        seeds = range(UNSEEN_CHIPS + first, UNSEEN_CHIPS + min(first + together, chips))
        reads = torch.Generator().manual_seed(first)
        layer = model.program(Population(spec, seeds), Conditions(age, kelvin, reads))
        hits = torch.zeros(len(seeds))
        for drive, labels in zip(drives, y.split(1000)):
            read = model.on_chip(drive, layer).read
            assert model.equilibrium.last is not None
            hits += ((model.readout(read).argmax(-1) == labels) & model.equilibrium.last.converged).sum(1)
        found.append(hits / len(y))
    model.equilibrium = trained_with
    return torch.cat(found)


def off_chips(model: HybridDEQ, x: Tensor, y: Tensor) -> float:
    """Return the ideal model's accuracy."""
    return mean_score(model, x, y, Classification())


def measured(model: HybridDEQ, spec: Spec, data: Data, chips: int) -> Row:
    """Return what a model does without a chip and on unseen ones."""
    row: Row = {"ideal": off_chips(model, data.test_x, data.test_y)}
    for name, (age, kelvin, factor) in WHEN.items():
        made = worse(spec, factor)
        each = on_chips(model, made, data.test_x, data.test_y, chips, age, kelvin)
        row |= {f"{name}_mean": float(each.mean()), f"{name}_worst": float(each.min()), f"{name}_each": each.tolist()}
    return row


def summary(rows: list[Row], task: str, hardware: str, ways: list[str]) -> list[list[str]]:
    """Return the table's lines of one task on one technology: means over seeds, and the spread of the worst chip."""
    lines = []
    for way in ways:
        of = [r for r in rows if (r["task"], r["hardware"], r["way"]) == (task, hardware, way)]
        if not of:
            continue
        cells = [f"{100 * statistics.mean(r[key] for r in of):.2f}" for key in COLUMNS]
        seconds = f"{statistics.mean(r['train_second'] for r in of):.0f}"
        lines.append([way, str(len(of)), *cells, seconds])
    return lines


COLUMNS = ("ideal", *(f"{when}_{what}" for when in WHEN for what in ("mean", "worst")))
HEADS = ("ideal", *(f"{when}, {what}" for when in WHEN for what in ("mean chip", "worst chip")))


def main() -> None:
    """Parse, train, measure, print, write."""
    every = {**WAYS, **ABLATIONS}
    made = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    made.add_argument("--tasks", nargs="+", default=["digits", "fashion-mnist"])
    made.add_argument("--hardware", nargs="+", default=["rram", "pcm"])
    made.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    made.add_argument("--ways", nargs="+", choices=every, default=list(every), metavar="WAY", help=str(list(every)))
    made.add_argument("--ablations-on", nargs=2, default=["digits", "rram"], metavar=("TASK", "HARDWARE"))
    made.add_argument("--chips", type=int, default=50)
    made.add_argument("--epochs", type=int, help="instead of the task's own")
    made.add_argument("--threads", type=int, default=2)
    made.add_argument("--json", type=Path)
    made.add_argument("--resume", action="store_true", help="keep the rows that --json already holds")
    args = made.parse_args()
    prepare(args.threads)
    rows: list[Row] = json.loads(args.json.read_text())["rows"] if args.resume and args.json.is_file() else []
    done = {(r["task"], r["hardware"], r["way"], r["seed"]) for r in rows}
    jobs = [
        (task, hardware, way, seed)
        for task in args.tasks
        for seed in args.seeds
        for way in args.ways
        for hardware in args.hardware
        if way in WAYS or [task, hardware] == args.ablations_on
    ]
    ideals: dict[tuple[str, int], tuple[HybridDEQ, float]] = {}
    with progress(len(jobs), "curricula") as step:
        for job in jobs:
            step(" · ".join(map(str, job)))
            if job in done:
                continue
            task_name, hardware, way, seed = job
            task, spec = get_task(task_name), load_spec(hardware)
            data = task.load()
            stages = every[way](task.train_defaults.epochs if args.epochs is None else args.epochs)
            if way == "ideal, then deployed":  # the same for every technology
                if (task_name, seed) not in ideals:
                    ideals = {(task_name, seed): train(task, data, spec, stages, seed)}
                model, seconds = ideals[task_name, seed]
            else:
                model, seconds = train(task, data, spec, stages, seed)
            row = dict(zip(("task", "hardware", "way", "seed"), job)) | {"train_second": seconds}
            rows.append(row | measured(model, spec, data, args.chips))
            write(args.json, rows, args)
    tables = []
    for task_name in args.tasks:
        for hardware in args.hardware:
            lines = summary(rows, task_name, hardware, list(every))
            title = f"{task_name} on {hardware}: accuracy in %, {args.chips} unseen chips"
            tables.append(table(title, ["training", "seeds", *HEADS, "train s"], lines))
    show(tables)


if __name__ == "__main__":
    try:
        main()
    except KeyboardInterrupt:
        sys.exit("interrupted; the same command with --resume goes on")
