"""Equilibria on text against a Transformer of as many parameters, with the same steps on the same windows.

    python benchmarks/language.py --task shakespeare --data FOLDER --json results/shakespeare.json

Both are trained ideally, as many epochs as the task's own curriculum has; the equilibrium's figures on chips are those
of `equilog run`.
"""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path

import torch
from torch import nn

from equilog.baselines.language import CausalTransformer
from equilog.baselines.matching import matched, parameter_count
from equilog.hardware import load_spec
from equilog.pipeline import mean_score
from equilog.tasks import get_task
from equilog.tasks.sequence.language import POSITIONS, Language
from equilog.training import fit
from equilog.training.curriculum import ideal

MODELS = ("equilibrium", "transformer")


def network(task: Language, which: str, seed: int) -> nn.Module:
    torch.manual_seed(seed)
    own = task.build(task.model_defaults)
    if which == "equilibrium":
        return own
    return matched(lambda width: CausalTransformer(task.vocabulary, POSITIONS, width), parameter_count(own))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--task", default="shakespeare", choices=("shakespeare", "wikitext2"))
    parser.add_argument("--data", type=Path)
    parser.add_argument("--models", nargs="+", default=list(MODELS), choices=MODELS)
    parser.add_argument("--epochs", type=int, help="as the task's curriculum has unless given")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--json", type=Path)
    args = parser.parse_args()
    task = get_task(args.task)
    assert isinstance(task, Language)
    data = task.load(args.data)
    epochs = args.epochs or task.train_defaults.epochs
    config = task.train_defaults.model_copy(update={"stages": ideal(epochs)})
    objective = task.objective(data, config)
    rows = []
    for which in args.models:
        model = network(task, which, args.seed)
        begun = time.process_time()
        history = fit(
            model, data.train_x, data.train_y, load_spec("rram"), config,
            seed=args.seed, objective=objective, augment=task.augment, progress=False,
        )  # fmt: skip
        spent = time.process_time() - begun
        model.eval()
        row = {
            "model": which,
            "parameters": parameter_count(model),
            "epochs": epochs,
            "train_bits": history[-1]["bits"],
            "test_bits": mean_score(model, data.test_x, data.test_y, objective),
            "training_cpu_second": spent,
        }
        rows.append(row)
        print(json.dumps(row), flush=True)
        if args.json:
            args.json.parent.mkdir(parents=True, exist_ok=True)
            args.json.write_text(json.dumps({"task": task.name, "source": data.source, "rows": rows}, indent=1) + "\n")


if __name__ == "__main__":
    main()
