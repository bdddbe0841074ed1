"""Energy of one inference at equal accuracy: on a chip, and digitally as DEQ, MLP and CNN.

    python benchmarks/energy_per_inference.py --task digits --json results/energy-digits.json
    python benchmarks/energy_per_inference.py --task fashion-mnist --json results/energy-fashion-mnist.json

Two equilibrium models are trained, the task's own (two convolutions in front of the equilibrium) and a lean one (a
linear map in front, so that the equilibrium is most of the work), through the twin on changing chips; and MLPs and CNNs
of rising size, all for the same epochs with the same augmentation, batches and learning rate. For each equilibrium
model the cheapest MLP and CNN are taken that reach its accuracy less one point, where there is one. int8 baselines have
weights rounded to 8 bits for their accuracy, activations not.

The chip is charged as :func:`equilog.cost.estimate` does, at batch 1 with the digital ends on the same computer.
"""

from __future__ import annotations

import argparse
import copy
import json
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from _chips import ends, settling_second
from rich.console import Console
from rich.table import Table
from torch import Tensor, nn
from torch.nn import functional as F

from equilog.cells import CircuitCell
from equilog.cost import Span, Work, estimate, load_target, module_work
from equilog.cost.span import dominant
from equilog.hardware import Chip, load_spec
from equilog.hardware.quantise import half_code
from equilog.model import HybridDEQ
from equilog.objective import Classification
from equilog.pipeline import UNSEEN_CHIPS, mean_score
from equilog.tasks import Data, get_task
from equilog.training import TrainConfig, fit
from equilog.training.curriculum import curriculum

TECHNOLOGIES = ("rram", "cmos-sky130", "board")
TARGETS = ("edge-npu-int8", "edge-npu-fp16", "cpu-fp32", "gpu-fp16")
CHIPS, SETTLED, LONGEST_TAU = 5, 32, 100
POINT = 0.01
Augment = Callable[[Tensor, Tensor, torch.Generator], tuple[Tensor, Tensor]]


def mlp(pixels: int, hidden: int) -> nn.Module:
    return nn.Sequential(nn.Flatten(), nn.Linear(pixels, hidden), nn.ReLU(), nn.Linear(hidden, 10))


def cnn(size: int, channels: int) -> nn.Module:
    half = (size + 1) // 2
    quarter = (half + 1) // 2
    return nn.Sequential(
        nn.Conv2d(1, channels, 3, stride=2, padding=1), nn.ReLU(),
        nn.Conv2d(channels, 2 * channels, 3, stride=2, padding=1), nn.ReLU(),
        nn.Flatten(), nn.Linear(2 * channels * quarter * quarter, 10),
    )  # fmt: skip


def train(model: nn.Module, data: Data, config: TrainConfig, augment: Augment, seed: int) -> nn.Module:
    draw = torch.Generator().manual_seed(seed)
    optimiser = torch.optim.AdamW(model.parameters(), weight_decay=config.weight_decay)
    batches = -(-len(data.train_x) // config.batch_size)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, config.learning_rate, total_steps=config.epochs * batches)
    for _ in range(config.epochs):
        for index in torch.randperm(len(data.train_x), generator=draw).split(config.batch_size):
            x, y = augment(data.train_x[index], data.train_y[index], draw)
            loss = F.cross_entropy(model(x), y, label_smoothing=config.label_smoothing)
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
            schedule.step()
    return model.eval()


@torch.no_grad()
def right(model: nn.Module, data: Data) -> float:
    parts = zip(data.test_x.split(1000), data.test_y.split(1000))
    return sum(int((model(x).argmax(1) == y).sum()) for x, y in parts) / len(data.test_x)


@torch.no_grad()
def rounded(model: nn.Module) -> nn.Module:
    """Return a copy whose weights have 8 bits, one scale a tensor."""
    made = copy.deepcopy(model)
    for p in made.parameters():
        step = float(p.abs().max()) / 127 or 1.0
        p.copy_((p / step).round() * step)
    return made


def of_module(name: str, model: nn.Module, data: Data) -> dict[str, Any]:
    work = module_work(model, data.test_x[:1])
    found = {"model": name, "accuracy": right(model, data), "accuracy_int8": right(rounded(model), data)}
    return found | {"macs": work.macs, "weights": work.weight_numbers, "joule": priced(work)}


def priced(work: Work) -> dict[str, list[float]]:
    return {name: ends(work.energy_joule(load_target(name))) for name in TARGETS}


def of_equilibrium(name: str, model: HybridDEQ, technology: str, data: Data, chips: int) -> dict[str, Any]:
    spec = load_spec(technology)
    test = model, data.test_x, data.test_y, Classification()
    on_chips = [mean_score(*test, Chip(spec, UNSEEN_CHIPS + k)) for k in range(chips)]
    chip, x = Chip(spec, 1), data.test_x[:SETTLED]
    times = settling_second(model, chip, x, half_code(spec), LONGEST_TAU)
    row: dict[str, Any] = {
        "model": name,
        "technology": technology,
        "accuracy": mean_score(*test),
        "accuracy_chips": sum(on_chips) / len(on_chips),
        "settling_second": max(times),
        "joule": {}, "joule_chip": {}, "joule_digital": {}, "joule_digital_equilibrium": {}, "dominant": {},
    }  # fmt: skip
    for target in TARGETS:
        report = estimate(model, chip, x, times, load_target(target))
        alone = [report.hybrid_energy_joule, report.digital_energy_joule]
        only = [{k: v for k, v in a.items() if k not in b} for a, b in (alone, alone[::-1])]
        row["joule"][target] = ends(report.hybrid_energy)
        row["joule_digital"][target] = ends(report.digital_energy)
        row["joule_chip"][target] = ends(sum(only[0].values(), Span.of(0.0)))
        row["joule_digital_equilibrium"][target] = ends(sum(only[1].values(), Span.of(0.0)))
        row["dominant"][target] = dominant(report.hybrid_energy_joule)
    return row


def say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--task", default="digits")
    parser.add_argument("--data", type=Path)
    parser.add_argument("--samples", type=int, help="use only so many training and test samples")
    parser.add_argument("--epochs", type=int, help="of every model; the task's own unless given")
    parser.add_argument("--technologies", nargs="+", default=list(TECHNOLOGIES), choices=TECHNOLOGIES)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--json", type=Path, help="write the rows here")
    arguments = parser.parse_args()
    task = get_task(arguments.task)
    data = task.load(arguments.data).limited(arguments.samples)
    epochs = arguments.epochs or task.train_defaults.epochs
    config = task.train_defaults.model_copy(update={"stages": curriculum("ideal-then-twin", epochs)})
    size = data.train_x.shape[-1]

    baselines = []
    for name, build, steps in (
        ("MLP", lambda k: mlp(size * size, k), (8, 16, 32, 64, 128)),
        ("CNN", lambda k: cnn(size, k), (4, 8, 16, 32)),
    ):
        for k in steps:
            begin = time.perf_counter()
            torch.manual_seed(arguments.seed)
            made = train(build(k), data, config, task.augment, arguments.seed)
            baselines.append(of_module(f"{name} {k}", made, data) | {"kind": name})
            say(f"{name} {k}: accuracy {baselines[-1]['accuracy']:.4f}, {time.perf_counter() - begin:.0f} s")
    # The convolutions of the task's own model with nothing behind them but a linear readout.
    torch.manual_seed(arguments.seed)
    front = nn.Sequential(task.build(task.model_defaults).parameterize, nn.Linear(task.model_defaults.drives, 10))
    made = train(front, data, config, task.augment, arguments.seed)
    baselines.append(of_module("CNN, the task's front", made, data) | {"kind": "CNN"})
    say(f"CNN, the task's front: accuracy {baselines[-1]['accuracy']:.4f}")

    sizes, rows = task.model_defaults, []
    for technology in arguments.technologies:
        for name in ("task's own", "lean"):
            begin = time.perf_counter()
            torch.manual_seed(arguments.seed)
            model = task.build(sizes)
            if name == "lean":
                front = nn.Sequential(nn.Flatten(), nn.Linear(size * size, sizes.drives), nn.Tanh())
                cell = CircuitCell(sizes.states, sizes.drives, margin=sizes.margin)
                model = HybridDEQ(front, cell, nn.Linear(sizes.states, 10))
            fit(
                model, data.train_x, data.train_y, load_spec(technology), config,
                seed=arguments.seed, augment=task.augment, progress=False,
            )  # fmt: skip
            row = of_equilibrium(name, model.eval(), technology, data, CHIPS)
            reached = row["accuracy_chips"] - POINT
            for kind in ("MLP", "CNN"):
                fits = [b for b in baselines if b["kind"] == kind and b["accuracy"] >= reached]
                row[kind] = min(fits, key=lambda b: b["macs"])["model"] if fits else None
            rows.append(row)
            say(f"{technology}, {name}: {row['accuracy_chips']:.4f} on chips, {time.perf_counter() - begin:.0f} s")

    show(arguments.task, rows, baselines)
    if arguments.json:
        arguments.json.parent.mkdir(parents=True, exist_ok=True)
        data_out = {"command": " ".join(["python", *sys.argv]), "epochs": epochs, "rows": rows, "baselines": baselines}
        arguments.json.write_text(json.dumps(data_out, indent=1) + "\n")


def show(task: str, rows: list[dict[str, Any]], baselines: list[dict[str, Any]]) -> None:
    by_name = {b["model"]: b for b in baselines}
    for target in TARGETS:
        table = Table(
            "technology", "model", "accuracy on chips (ideal)", "chip", "digital DEQ", "MLP", "CNN", "largest term"
        )
        for r in rows:
            rivals = []
            for kind in ("MLP", "CNN"):
                b = by_name.get(r[kind])
                rivals.append(
                    "none reaches it" if b is None else f"{b['model']}, {b['accuracy']:.3f}\n{span(b['joule'][target])}"
                )
            name, share = r["dominant"][target]
            table.add_row(
                r["technology"], r["model"], f"{r['accuracy_chips']:.4f} ({r['accuracy']:.4f})",
                f"{span(r['joule'][target])}\nchip alone {span(r['joule_chip'][target])}",
                f"{span(r['joule_digital'][target])}\nequilibrium alone {span(r['joule_digital_equilibrium'][target])}",
                *rivals, f"{name} {share:.0%}",
            )  # fmt: skip
        table.title = f"{task}: energy of one inference, digital work on {target}: typical (low … high)"
        Console().print(table)


def span(joule: list[float]) -> str:
    """Return typical, low and high in the unit that suits the typical value."""
    scale, unit = next(((s, u) for s, u in ((1e-3, "mJ"), (1e-6, "µJ"), (1e-9, "nJ")) if joule[1] >= s), (1e-12, "pJ"))
    low, typical, high = (f"{float(f'{v / scale:.2g}'):g}" for v in joule)
    return f"{typical} ({low} … {high}) {unit}"


if __name__ == "__main__":
    main()
