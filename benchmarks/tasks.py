"""Vision and sequences: the equilibrium beside networks of as many parameters, ideal and on chips it has never met.

    python benchmarks/tasks.py --train --data ../shared/data                  # trains what is missing, then measures
    python benchmarks/tasks.py --data ../shared/data --json results/tasks.json    # measures what was trained
    python benchmarks/tasks.py --train --data ../shared/data --tasks cifar10 --models equilibrium ResNet --seeds 0
    python benchmarks/tasks.py --data ../shared/data --fronts --json results/tasks.json --picture results/tasks.svg

`--data` is a folder with the sets as `_sets.py` names them. Models, all on the same data, for the same epochs:

    equilibrium     the task's own model through its own curriculum, as `equilog run` trains it
    digital DEQ     the same, ideal in all epochs: an equilibrium without hardware constraints
    feed-forward    the same network without feedback, one analog layer, through the same curriculum on chips
    others          networks of as many parameters that are usual for the task, see `_sets.py`

Trained networks are kept in `--checkpoints`, one folder each, and training goes on where it was interrupted. Every
model is measured on the whole test set: ideal, with 1 % of noise on its inputs (of each input's own standard deviation;
not for tokens), and, if it has an analog part, on unseen chips of `--hardware`, just programmed and a day old. Chips
that do not stay at rest are counted and left out of means. Solver steps, settling, energy, power and area are those of
a chip and a few samples; energy against `--target`, both with the digital ends. Networks without an analog part have a
digital energy alone. `--fronts` adds scores and energies with converters of fewer bits; rows of the same networks
that `--json` has are not measured again. Without training, a task takes seconds to minutes, but `shakespeare`, whose
chips settle 220,000 times each, as long as its training.
"""

from __future__ import annotations

import argparse
import json
import math
import statistics
import sys
import time
from pathlib import Path
from typing import Any

import torch
from _chips import driven, ends, scores_on_chips, taken
from _harness import rows_of, show, table, write
from _sets import DIGITAL, MODELS, SETS, Set
from _task_fronts import draw, front
from safetensors.torch import load_file, save_file
from torch import nn

from equilog.baselines.matching import parameter_count
from equilog.cost import load_target, module_work
from equilog.cost.span import total
from equilog.hardware import Chip, Conditions, Spec, load_spec
from equilog.model import HybridDEQ
from equilog.names import UserError
from equilog.objective import Objective
from equilog.pipeline import UNSEEN_CHIPS, mean_score
from equilog.pipeline.measured import predictor
from equilog.tasks import Data
from equilog.tasks.measures import shaken
from equilog.training import fit

DAY_SECOND = 86400.0
FRONT_CHIPS = 2
Row = dict[str, Any]


def trained(
    network: nn.Module, each: Set, model: str, seed: int, data: Data, spec: Spec, place: Path, precision: str | None
) -> nn.Module | None:
    """Return the network trained, from its folder or now in a precision; None if there is neither."""
    if (place / "model.safetensors").is_file():
        network.load_state_dict(load_file(place / "model.safetensors"))
        return network
    if precision is None:
        return None
    config = each.training(model).model_copy(update={"precision": precision})
    begin, before = time.perf_counter(), _trained_how(place).get("second", 0.0)
    try:
        rows = []
        if (solve := each.solves(model)) is not None:
            solve(network, data)
        else:
            rows = fit(
                network, data.train_x, data.train_y, spec, config, seed=seed,
                objective=each.task.objective(data, config), augment=each.task.augment, state=place / "state",
            )  # fmt: skip
    finally:
        place.mkdir(parents=True, exist_ok=True)
        spent = before + time.perf_counter() - begin
        said = {"second": spent, "threads": torch.get_num_threads(), "precision": precision}
        (place / "training.json").write_text(json.dumps(said))
    (place / "training.json").write_text(json.dumps(said | {"rows": rows}))
    save_file({k: v.contiguous() for k, v in network.state_dict().items()}, place / "model.safetensors")
    return network


def _trained_how(place: Path) -> dict[str, Any]:
    """Return seconds, threads and precision of a training, of one that was interrupted too; empty before the first."""
    told = place / "training.json"
    return json.loads(told.read_text()) if told.is_file() else {}


@torch.no_grad()
def measured(each: Set, network: nn.Module, data: Data, spec: Spec, chips: int, target: str) -> Row:
    """Return all that is measured of one network."""
    network.eval()
    objective = each.task.objective(data, each.task.train_defaults)
    x, y = data.test_x, data.test_y
    begin = time.perf_counter()
    score = mean_score(network, x, y, objective)
    found: Row = {
        "score": objective.score_name, "higher_is_better": objective.higher_is_better,
        "parameters": parameter_count(network), "ideal": score,
        "sample_second": (time.perf_counter() - begin) / len(x),
        "noisy": None if each.tokens else mean_score(network, shaken(data).to(x), y, objective),
        "measures": told(each, predictor(network), data, ideal=True),
    }  # fmt: skip
    if not isinstance(network, HybridDEQ):
        work = module_work(network, x[:1])
        return found | {"macs": work.macs, "joule_digital": ends(work.energy_joule(load_target(target)))}
    last = network.equilibrium.last
    found["steps"] = None if last is None else float(last.steps.double().mean())
    return found | on_chips(each, network, data, objective, spec, chips, target)


def told(each: Set, predict: Any, data: Data, *, ideal: bool) -> dict[str, float | None]:
    """Return what the task measures besides its score."""
    return {m.name: m.value for m in each.task.measures(predict, data, ideal=ideal)}


def on_chips(
    each: Set, network: HybridDEQ, data: Data, objective: Objective, spec: Spec, chips: int, target: str
) -> Row:
    """Return scores on unseen chips, and what one of them takes."""
    x, y = data.test_x, data.test_y
    drives = driven(network, x)
    fresh = scores_on_chips(network, spec, drives, y, objective, chips)
    aged = scores_on_chips(network, spec, drives, y, objective, chips, Conditions(age_second=DAY_SECOND))
    later = [score for score in aged if math.isfinite(score)]
    resting = [k for k, score in enumerate(fresh) if math.isfinite(score)]
    found: Row = {"unstable_chips": chips - len(resting)}
    if not resting:
        return found
    chip = Chip(spec, UNSEEN_CHIPS + resting[0])
    worst = min if objective.higher_is_better else max
    found |= {
        "chips": statistics.fmean(fresh[k] for k in resting), "worst_chip": worst(fresh[k] for k in resting),
        "day_old": statistics.fmean(later) if later else None,
        "measures_twin": told(each, predictor(network, chip), data, ideal=False),
    }  # fmt: skip
    found["settling_second"], report = taken(network, chip, x, load_target(target))
    if report is None:
        return found
    return found | {
        "joule_hybrid": ends(report.hybrid_energy),
        "joule_digital": ends(report.digital_energy),
        "second_hybrid": ends(report.hybrid_latency),
        "chip_watt": ends(total(list(report.chip_watt.values()))),
        "area_m2": ends(total(list(report.area_m2.values()))),
    }


def mean_of(rows: list[Row], name: str, of: int | str | None = None) -> str:
    """Return the mean over seeds of one column, or of a place in what it holds, as text."""
    found = [r.get(name) for r in rows]
    if isinstance(of, int):
        found = [None if value is None else value[of] for value in found]
    elif of is not None:
        found = [None if value is None else value.get(of) for value in found]
    values = [value for value in found if value is not None]
    return f"{statistics.fmean(values):.4g}" if values else "–"


def tables(rows: list[Row], title: str) -> list[Any]:
    """Return what is right and what it takes: a line a task and model, means over seeds."""
    names, scores, costs = ("task", "model"), [], []
    for task, model in dict.fromkeys((r["task"], r["model"]) for r in rows):
        mine = [r for r in rows if (r["task"], r["model"]) == (task, model)]
        of = [mean_of(mine, key) for key in ("ideal", "chips", "worst_chip", "unstable_chips", "day_old", "noisy")]
        scores.append([f"{task}: {mine[0]['score']}", model, mean_of(mine, "parameters"), *of, str(len(mine))])
        for name in mine[0]["measures"]:
            both = [mean_of(mine, key, name) for key in ("measures", "measures_twin")]
            scores.append([f"  {name}", model, "", *both, "", "", "", "", ""])
        spent = [mean_of(mine, key) for key in ("training_second", "sample_second", "steps", "settling_second")]
        taken = [mean_of(mine, key, 1) for key in ("joule_hybrid", "joule_digital", "chip_watt", "area_m2")]
        costs.append([task, model, *spent, *taken])
    return [
        table(
            title, [*names, "parameters", "ideal", "chips", "worst", "unstable", "a day old", "noisy", "seeds"], scores
        ),
        table(
            "What it takes, typical values",
            [*names, "training, s", "s/sample", "steps", "settling, s", "hybrid J", "digital J", "chip W", "m²"],
            costs,
        ),
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tasks", nargs="+", default=list(SETS), choices=list(SETS), metavar="NAME", help=str([*SETS]))
    parser.add_argument("--models", nargs="+", help=f"{', '.join(MODELS)}, or another of the task; default all")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0])
    parser.add_argument("--data", type=Path, required=True, help="folder with the data sets")
    parser.add_argument("--checkpoints", type=Path, default=Path("runs/tasks"))
    parser.add_argument("--train", action="store_true", help="train what has no checkpoint")
    parser.add_argument(
        "--precision", default="float32", choices=["float32", "bfloat16"], help="of what --train trains"
    )
    parser.add_argument("--hardware", default="rram")
    parser.add_argument("--target", default="edge-npu-fp16")
    parser.add_argument("--chips", type=int, default=20)
    parser.add_argument("--fronts", action="store_true", help="accuracy against energy, of two chips, for each model")
    parser.add_argument("--picture", type=Path, help="draw all rows of --json, or those measured, here: .svg or .png")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--json", type=Path, help="write rows here; rows of other tasks, models and seeds stay")
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    spec, rows = load_spec(args.hardware), rows_of(args.json)
    wanted = [(SETS[t], m, s) for t in args.tasks for s in args.seeds for m in args.models or SETS[t].models]
    data: dict[str, Data] = {}
    for number, (each, model, seed) in enumerate(wanted, 1):
        print(f"{number}/{len(wanted)} {each.name}, {model}, seed {seed}", file=sys.stderr)
        if each.name not in data:
            data = {each.name: each.load(args.data)}  # one set at a time is enough to hold
        place = args.checkpoints / each.name.replace(" ", "-") / f"{model.replace(' ', '-')}-{seed}"
        torch.manual_seed(seed)
        try:
            made = each.built(model)
        except UserError as error:  # of a package that is not installed
            print(f"{error}: left out", file=sys.stderr)
            continue
        precision = args.precision if args.train else None
        network = trained(made, each, model, seed, data[each.name], spec, place, precision)
        if network is None:
            print(f"{place} holds no trained network: left out; --train trains it", file=sys.stderr)
            continue
        row: Row = {"task": each.name, "model": model, "seed": seed}
        row |= {f"training_{k}": v for k, v in _trained_how(place).items() if k != "rows"}
        # With --fronts a row stands that is of this very network, which its training tells.
        known = next((r for r in rows if args.fronts and row.items() <= r.items()), None)
        row = known or row | measured(each, network, data[each.name], spec, args.chips, args.target)
        if args.fronts and isinstance(network, HybridDEQ) and model != DIGITAL:
            objective = each.task.objective(data[each.name], each.task.train_defaults)
            row |= {"front": front(network.eval(), data[each.name], objective, spec, FRONT_CHIPS, args.target)}
        rows = [r for r in rows if key(r) != key(row)] + [row]
        rows.sort(key=lambda r: (r["task"], r["seed"]))
        write(args.json, rows, args)
    if args.picture:
        draw(rows, args.picture)
    shown = [r for r in rows if r["task"] in args.tasks]
    show(tables(shown, f"Whole test sets, mean over seeds; {args.chips} unseen chips of {args.hardware}"))


def key(row: Row) -> tuple[Any, ...]:
    """Return what a row is of."""
    return row["task"], row["model"], row["seed"]


if __name__ == "__main__":
    main()
