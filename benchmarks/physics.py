"""What physics buys: equilibria that hold a law, the same without it, plain networks of as many parameters, solvers.

    python benchmarks/physics.py --seeds 0 1 2 --jobs 2 --json results/physics.json

For every task, seed and share of the training data: the physics-informed equilibrium (PI-DEQ), where the task's model
holds a law, and the same sizes without it, both through the task's curriculum (ideal, then changing chips); the
equilibrium without law or chips (digital DEQ); an MLP, where targets are inputs a little later one that learns what is
added (ResNet); and a Fourier neural operator on grids, a small Transformer elsewhere, of the width that comes nearest
to as many parameters, for as many epochs. Errors are those of the task's score on unseen samples: ideal, with noisy
inputs, and the mean over unseen chips. Where the law alone is the answer nothing of it is trained, and the others train
as the task says for a model without it. The trusted solver's row has its own time and operations a sample.

Rows are written as they are done; a second call with the same `--json` does only those that are missing. A model that
cannot be trained or measured has a row that says why.
"""

from __future__ import annotations

import argparse
import math
import statistics
import sys
import time
from concurrent.futures import ProcessPoolExecutor, as_completed
from functools import partial
from itertools import product
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import _harness
import torch
from _chips import driven, ends, scores_on_chips, taken
from rich.console import Console
from rich.table import Table
from torch import nn

from equilog.baselines.fno import Fno
from equilog.baselines.matching import count_of, matched, parameter_count
from equilog.baselines.mlp import Mlp, Residual
from equilog.baselines.transformer import NumberTransformer
from equilog.cells import fixed_of
from equilog.cost import load_target, module_work
from equilog.hardware import Chip, load_spec
from equilog.model import HybridDEQ
from equilog.objective import Objective
from equilog.pipeline import UNSEEN_CHIPS, mean_score
from equilog.pipeline.measured import predictor
from equilog.tasks import Data, Task, get_task, task_names
from equilog.tasks.measures import noisy_error
from equilog.training import TrainConfig, fit
from equilog.training.curriculum import ideal

TECHNOLOGY, TARGET, CHIPS, TESTED = "rram", "edge-npu-fp16", 10, 256
PI, WITHOUT, DIGITAL, PLAIN, OPERATOR, SOLVER = "PI-DEQ", "without law", "digital DEQ", "MLP", "operator", "solver"
MODELS = (PI, WITHOUT, DIGITAL, PLAIN, OPERATOR)
SHARES = (1.0, 0.1)
FAILED = "failed"
"""why there are no figures"""


def tasks_of_physics() -> list[str]:
    """Return every task that is a physical system: those whose module lies in dynamics/ or physics/."""
    folders = ("equilog.tasks.dynamics", "equilog.tasks.physics")
    return [name for name in task_names() if type(get_task(name)).__module__.startswith(folders)]


def holds_law(name: str) -> bool:
    """Return whether a task's model has a law beside what it learns: without one there is no PI-DEQ to speak of."""
    task = get_task(name)
    return fixed_of(task.build(task.model_defaults).cell) is not None


def training(task: Task, model: str) -> TrainConfig:
    config = task.training(prior=model == PI)
    return config if model in (PI, WITHOUT) else config.model_copy(update={"stages": ideal(config.epochs)})


def build(task: Task, model: str, data: Data) -> tuple[str, nn.Module]:
    """Return what it is called, and the untrained network."""
    without = partial(task.build, task.model_defaults.model_copy(update={"prior": False}))
    if model == PI:
        return PI, task.build(task.model_defaults)
    if model in (WITHOUT, DIGITAL):
        return model, without()
    count = count_of(without)
    inputs, outputs = tuple(data.train_x.shape[1:]), tuple(data.train_y.shape[1:])
    scale_x, scale_y = float(data.train_x.square().mean().sqrt()), float(data.train_y.square().mean().sqrt())
    if model == PLAIN:
        change = float((data.train_y - data.train_x).square().mean().sqrt()) if inputs == outputs else math.inf
        if change < scale_y:  # a step, not a map from one quantity to another
            scaled = {"input_scale": scale_x, "output_scale": change}
            return "ResNet", matched(lambda width: Residual(Mlp(inputs, outputs, width, **scaled)), count)
        scaled = {"input_scale": scale_x, "output_scale": scale_y}
        return "MLP", matched(lambda width: Mlp(inputs, outputs, width, **scaled), count)
    scaled = {"input_scale": scale_x, "output_scale": scale_y}
    if inputs == outputs and (len(inputs) == 2 or inputs[0] >= 16):
        return "FNO", matched(lambda width: Fno(inputs, width, **scaled), count)
    return "Transformer", matched(lambda width: NumberTransformer(inputs, outputs, width, **scaled), count)


def of_share(data: Data, share: float) -> Data:
    count = max(8, round(share * len(data.train_x)))
    return Data(data.train_x[:count], data.train_y[:count], data.test_x[:TESTED], data.test_y[:TESTED], data.source)


def row(name: str, model: str, seed: int, share: float) -> dict[str, Any]:
    torch.set_num_threads(1)
    task = get_task(name)
    data = of_share(task.load(), share)
    spec = load_spec(TECHNOLOGY)
    torch.manual_seed(seed)
    called, network = build(task, model, data)
    config = training(task, model)
    objective = task.objective(data, config)
    begin = time.perf_counter()
    fit(
        network, data.train_x, data.train_y, spec, config,
        seed=seed, objective=objective, augment=task.augment, progress=False,
    )  # fmt: skip
    spent = time.perf_counter() - begin
    found = {
        "task": name, "model": model, "called": called, "seed": seed, "share": share,
        "training_second": spent, "parameters": parameter_count(network), "score": objective.score_name,
    }  # fmt: skip
    return found | judged(task, network, data, objective, with_chips=model in (PI, WITHOUT))


def judged(task: Task, network: nn.Module, data: Data, objective: Objective, *, with_chips: bool) -> dict[str, Any]:
    x, y = data.test_x, data.test_y
    predict = predictor(network)
    begin = time.perf_counter()
    with torch.no_grad():
        network(x)
    wall = (time.perf_counter() - begin) / len(x)
    found: dict[str, Any] = {
        "error_ideal": mean_score(network, x, y, objective),
        "error_noisy": noisy_error(predict, data).value,
        "inference_second": wall,
        "measures": {m.name: [m.value, m.reference] for m in task.measures(predict, data, ideal=True)},
    }
    if not isinstance(network, HybridDEQ):
        work = module_work(network, x[:1])
        return found | {"joule_digital": ends(work.energy_joule(load_target(TARGET))), "macs": work.macs}
    last = network.equilibrium.last
    found["steps"] = None if last is None else float(last.steps.double().mean())
    if not with_chips:
        return found
    return found | on_chips(task, network, data, objective)


def on_chips(task: Task, network: HybridDEQ, data: Data, objective: Objective) -> dict[str, Any]:
    spec, x, y = load_spec(TECHNOLOGY), data.test_x, data.test_y
    errors = scores_on_chips(network, spec, driven(network, x), y, objective, CHIPS)
    if not all(map(math.isfinite, errors)):  # a mean over the others would flatter
        raise ValueError(f"{sum(map(math.isnan, errors))} of {CHIPS} chips do not stay at rest")
    chip = Chip(spec, UNSEEN_CHIPS)
    of_twin = task.measures(predictor(network, chip), data, ideal=False)
    settling, report = taken(network, chip, x, load_target(TARGET))
    found: dict[str, Any] = {
        "error_chips": statistics.fmean(errors),
        "error_worst_chip": max(errors),
        "measures_twin": {m.name: [m.value, m.reference] for m in of_twin},
        "settling_second": settling,
    }
    if report is not None:
        found |= {"joule_analog": ends(report.hybrid_energy), "joule_digital": ends(report.digital_energy)}
        found |= {"digital_steps": report.digital_steps}
    return found


def trusted(name: str) -> dict[str, Any] | None:
    """Return the row of the task's own solver on test inputs, None for a task without one."""
    task = get_task(name)
    data = of_share(task.load(), 1.0)
    answer = task.solver(data.test_x.double())
    if answer is None:
        return None
    y = data.test_y.double()
    error = float(task.objective(data, task.train_defaults).score(answer.y.double(), y)) / len(y)
    return {
        "task": name, "model": SOLVER, "called": answer.name, "seed": None, "share": 1.0, "error_ideal": error,
        "inference_second": answer.second_per_sample, "operations": answer.operations_per_sample,
    }  # fmt: skip


def key(r: dict[str, Any]) -> tuple[Any, ...]:
    return r["task"], r["model"], r["seed"], r["share"]


def mean_of(rows: list[dict[str, Any]], name: str) -> float | None:
    values = [r[name] for r in rows if r.get(name) is not None and math.isfinite(r[name])]
    return statistics.fmean(values) if values and len(values) == len(rows) else None


def shown(value: float | None, form: str = ".2e") -> str:
    return "–" if value is None else f"{value:{form}}"


def table(rows: list[dict[str, Any]]) -> Table:
    made = Table(
        "task", "model", "parameters", "error", "10 % data", "noisy", "chips", "chips, 10 %", "steps", "settling",
        "chip J", "digital J", "s/sample",
    )  # fmt: skip
    for name in dict.fromkeys(r["task"] for r in rows):
        for model in (*MODELS, SOLVER):
            mine = [r for r in rows if r["task"] == name and r["model"] == model]
            full = [r for r in mine if r["share"] == 1.0]
            few = [r for r in mine if r["share"] != 1.0]
            if not full:
                continue
            joule = [[{"value": r[k][1]} for r in full if k in r] for k in ("joule_analog", "joule_digital")]
            made.add_row(
                name, full[0]["called"], shown(mean_of(full, "parameters"), ".0f"),
                shown(mean_of(full, "error_ideal")), shown(mean_of(few, "error_ideal")),
                shown(mean_of(full, "error_noisy")), shown(mean_of(full, "error_chips")),
                shown(mean_of(few, "error_chips")), shown(mean_of(full, "steps"), ".1f"),
                shown(mean_of(full, "settling_second")), *(shown(mean_of(j, "value")) for j in joule),
                shown(mean_of(full, "inference_second")),
            )  # fmt: skip
        made.add_section()
    made.caption = (
        f"means over seeds, – where one gave none; chips: {CHIPS} unseen ones of {TECHNOLOGY}; energy against {TARGET}"
    )
    return made


def measures_table(rows: list[dict[str, Any]]) -> Table:
    """Return the tasks' own quantities: one row each, a column for every model."""
    made = Table("task", "quantity", "trusted", *MODELS, f"{PI} on a chip", f"{WITHOUT} on a chip")
    full = [r for r in rows if r["share"] == 1.0 and r["model"] in MODELS and FAILED not in r]
    for name in dict.fromkeys(r["task"] for r in full):
        mine = [r for r in full if r["task"] == name]
        for quantity in dict.fromkeys(q for r in mine for q in [*r["measures"], *r.get("measures_twin", {})]):
            cells, reference = [], None
            for model, where in [*((m, "measures") for m in MODELS), (PI, "measures_twin"), (WITHOUT, "measures_twin")]:
                told = [r[where][quantity] for r in mine if r["model"] == model and quantity in r.get(where, {})]
                reference = next((t[1] for t in told if t[1] is not None), reference)
                cells.append(mean_of([{"value": t[0]} for t in told], "value"))
            made.add_row(name, quantity, shown(reference, ".4g"), *(shown(c, ".4g") for c in cells))
        made.add_section()
    return made


def main() -> None:
    known = tasks_of_physics()
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tasks", nargs="+", default=known, choices=known, metavar="NAME", help=", ".join(known))
    parser.add_argument("--models", nargs="+", default=MODELS, choices=MODELS, metavar="NAME", help=", ".join(MODELS))
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--shares", type=float, nargs="+", default=SHARES, help="of the training data; default 1 0.1")
    parser.add_argument("--jobs", type=int, default=1, help="processes of one thread each")
    parser.add_argument("--json", type=Path, help="write rows here, and do only those that it does not hold")
    arguments = parser.parse_args()
    rows = _harness.rows_of(arguments.json)
    done = {key(r) for r in rows}
    lawful = {task for task in arguments.tasks if holds_law(task)}
    wanted = [
        (task, model, seed, share)
        for seed, task, share, model in product(arguments.seeds, arguments.tasks, arguments.shares, arguments.models)
        if (task, model, seed, share) not in done
        and (share == 1.0 or model != DIGITAL)
        and (task in lawful or model != PI)
    ]
    for task in arguments.tasks:
        if (task, SOLVER, None, 1.0) not in done and (answer := trusted(task)) is not None:
            rows.append(answer)
    with ProcessPoolExecutor(arguments.jobs, mp_context=get_context("spawn")) as pool:
        waiting = {pool.submit(row, *each): each for each in wanted}
        for number, future in enumerate(as_completed(waiting), 1):
            task, model, seed, share = waiting[future]
            try:
                rows.append(future.result())
                said = f"{rows[-1]['error_ideal']:.2e}, {rows[-1]['training_second']:.0f} s"
            except Exception as error:  # one model that fails is a row of the table, not the end of the others
                said = f"{type(error).__name__}: {error}"
                rows.append({"task": task, "model": model, "called": model, "seed": seed, "share": share, FAILED: said})
            print(f"{number}/{len(wanted)} {task}, {model}, seed {seed}, {share:.0%}: {said}", file=sys.stderr)
            save(rows, arguments)
    save(rows, arguments)
    rows = [r for r in rows if r["task"] in arguments.tasks]
    console = Console(width=None if sys.stdout.isatty() else 200)
    console.print(table(rows))
    console.print(measures_table(rows))
    for r in rows:
        if FAILED in r:
            console.print(f"{r['task']}, {r['model']}, seed {r['seed']}, {r['share']:.0%} of the data: {r[FAILED]}")


def save(rows: list[dict[str, Any]], arguments: argparse.Namespace) -> None:
    order = {name: k for k, name in enumerate((*MODELS, SOLVER))}
    rows = sorted(rows, key=lambda r: (r["task"], -r["share"], r["seed"] or 0, order[r["model"]]))
    _harness.write(arguments.json, rows, arguments)


if __name__ == "__main__":
    main()
