"""Forecasts: the equilibrium, DLinear and PatchTST on the same windows, trained by the same loop.

    python benchmarks/forecasting.py --data ETTh1.csv --tasks etth1-96 --json results/forecasting.json

The equilibrium goes through the task's curriculum (ideal, then changing chips); the others through as many ideal
epochs, or those of `--epochs`, each at a learning rate of its own. DLinear and PatchTST forecast values, from the same
look-back; PatchTST has its authors' sizes for ETTh1. A linear map of the whole window is solved for. Scores are mean
squared errors over all test windows and channels.
"""

from __future__ import annotations

import argparse
from functools import partial
from pathlib import Path

import _harness
import torch
from _against import EQUILIBRIUM, TECHNOLOGY, plain, row, told
from rich.table import Table
from torch import nn

from equilog.tasks import Data, get_task, task_names
from equilog.tasks.sequence.forecasting import Forecasting
from equilog.tasks.sequence.windows import ChangeOf, FromLast

DLINEAR, PATCHTST, RIDGE = "DLinear", "PatchTST", "NLinear, least squares"
MODELS = (EQUILIBRIUM, DLINEAR, PATCHTST, RIDGE)
RATES = {DLINEAR: 0.005, PATCHTST: 1e-3}


def least_squares(data: Data) -> nn.Module:
    """Return the linear map of a window relative to its last value, with a little ridge: 0.01 a window."""
    x, y = data.train_x, data.train_y
    known, after = x.shape[1], y.shape[1] - 1
    gram, mixed = torch.zeros(known, known).double(), torch.zeros(known, after).double()
    for part in torch.arange(len(x)).split(4096):
        a, b = FromLast()(x[part]).double(), (y[part, 1:] - y[part, :1]).double()
        gram, mixed = gram + a.T @ a, mixed + a.T @ b
    found = nn.Linear(known, after, bias=False)
    with torch.no_grad():
        found.weight.copy_(torch.linalg.solve(gram + 0.01 * len(x) * torch.eye(known), mixed).T)
    return nn.Sequential(FromLast(), found)


def build(task: Forecasting, model: str, data: Data) -> nn.Module:
    """Return a network, untrained but for the one that is solved for."""
    from equilog.baselines.dlinear import DLinear
    from equilog.baselines.patchtst import PatchTST

    if model == EQUILIBRIUM:
        return task.build(task.model_defaults)
    if model == RIDGE:
        return least_squares(data)
    return ChangeOf((DLinear if model == DLINEAR else PatchTST)(task.look_back, task.horizon))


def main() -> None:
    known = [name for name in task_names() if isinstance(get_task(name), Forecasting)]
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, help="file or folder of the series; downloaded unless given")
    parser.add_argument("--tasks", nargs="+", default=known, choices=known, metavar="NAME", help=", ".join(known))
    parser.add_argument("--models", nargs="+", default=MODELS, choices=MODELS, metavar="NAME", help=", ".join(MODELS))
    parser.add_argument("--seeds", type=int, nargs="+", default=[0])
    parser.add_argument("--epochs", type=int, help="of DLinear and PatchTST; as many as the equilibrium's unless given")
    parser.add_argument("--chips", type=int, default=10)
    parser.add_argument("--json", type=Path, help="write rows here, and do only those that it does not hold")
    arguments = parser.parse_args()
    rows = _harness.rows_of(arguments.json)
    for name in arguments.tasks:
        task = get_task(name)
        data = task.load(arguments.data)
        for model in arguments.models:
            for seed in arguments.seeds:
                if any((r["task"], r["model"], r["seed"]) == (name, model, seed) for r in rows):
                    continue
                config = task.train_defaults
                if model == RIDGE:
                    config = plain(config, 0)
                elif model != EQUILIBRIUM:
                    config = plain(config, arguments.epochs, RATES[model])
                rows.append(row(task, data, model, partial(build, task, model, data), config, seed, arguments.chips))
                _harness.write(arguments.json, rows, arguments, technology=TECHNOLOGY)
    made = Table("task", "model", "seed", "parameters", "MSE", "MAE", "chips, mean", "worst", "training CPU s")
    for r in rows:
        count, ideal, mean, worst, second = told(r)
        made.add_row(
            r["task"], r["model"], str(r["seed"]), count, ideal, f"{r['measures']['MAE']:.4f}", mean, worst, second
        )
    _harness.show([made])


if __name__ == "__main__":
    main()
