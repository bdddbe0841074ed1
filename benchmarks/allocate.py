"""Which operations belong on chips, what was predicted of that, and what happened when the split ran.

    python benchmarks/allocate.py --json results/allocate.json

Two models of scikit-learn's digits are trained by `equilog.fit` for chips of each technology: the task's own (two
convolutions, an equilibrium of 32 neurons, a linear head), and a lean one whose equilibrium of 128 neurons stands
behind a linear map. A third network is an MLP with two hidden layers of 512, trained without a thought of chips. Each
is allocated with one point of accuracy to lose, on half of the test samples and 8 chips; the split then runs on the
other half and on 20 chips that it has not met.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import _harness as harness
import torch
from _chips import ends
from torch import Tensor, nn

from equilog.allocate import Allocation, Limits, allocate
from equilog.allocate.problem import evaluate
from equilog.cells import CircuitCell
from equilog.cost import Span, load_target
from equilog.drawing.units import engineering
from equilog.hardware import load_spec
from equilog.model import HybridDEQ
from equilog.tasks import Data, get_task
from equilog.training import TrainConfig, fit
from equilog.training.curriculum import curriculum

CASES = (
    ("conv, 32, head", "rram", "edge-npu-fp16"),
    ("conv, 32, head", "rram", "cpu-fp32"),
    ("conv, 32, head", "rram", "gpu-fp16"),
    ("conv, 32, head", "cmos-sky130", "edge-npu-fp16"),
    ("conv, 32, head", "cmos-sky130", "cpu-fp32"),
    ("conv, 32, head", "board", "edge-npu-fp16"),
    ("linear, 128, head", "rram", "edge-npu-fp16"),
    ("linear, 128, head", "rram", "cpu-fp32"),
    ("linear, 128, head", "cmos-sky130", "edge-npu-fp16"),
    ("MLP, 512 wide", "rram", "edge-npu-fp16"),
    ("MLP, 512 wide", "rram", "cpu-fp32"),
    ("MLP, 512 wide", "cmos-sky130", "edge-npu-fp16"),
)
Augment = Callable[[Tensor, Tensor, torch.Generator], tuple[Tensor, Tensor]]
BUDGET, CHIPS, UNSEEN = 0.01, 8, 20


def trained(name: str, technology: str, data: Data, epochs: int, seed: int) -> nn.Module:
    """Return a model, trained for chips of the technology if it is one that learns."""
    task = get_task("digits")
    torch.manual_seed(seed)
    if name == "MLP, 512 wide":
        return plain(wide(512), data, epochs, task.augment)
    model = task.build(task.model_defaults)
    if name == "linear, 128, head":
        front = nn.Sequential(nn.Flatten(), nn.Linear(64, 64), nn.Tanh())
        model = HybridDEQ(front, CircuitCell(128, 64), nn.Linear(128, 10))
    config = TrainConfig(**task.train_defaults.model_dump(exclude={"stages"}), stages=curriculum("full", epochs))
    fit(
        model, data.train_x, data.train_y, load_spec(technology), config,
        seed=seed, augment=task.augment, progress=False,
    )  # fmt: skip
    return model.eval()


def wide(width: int) -> nn.Module:
    return nn.Sequential(
        nn.Flatten(), nn.Linear(64, width), nn.ReLU(), nn.Linear(width, width), nn.ReLU(), nn.Linear(width, 10)
    )  # fmt: skip


def plain(model: nn.Module, data: Data, epochs: int, augment: Augment) -> nn.Module:
    draw = torch.Generator().manual_seed(0)
    optimiser = torch.optim.AdamW(model.parameters(), lr=1e-3, weight_decay=1e-3)
    for _ in range(epochs):
        for rows in torch.randperm(len(data.train_x), generator=draw).split(64):
            x, y = augment(data.train_x[rows], data.train_y[rows], draw)
            loss = nn.functional.cross_entropy(model(x), y)
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
    return model.eval()


def measure(name: str, technology: str, target: str, model: nn.Module, data: Data) -> dict[str, Any]:
    begin = time.perf_counter()
    found = allocate(
        model, data.test_x, data.test_y, technology, load_target(target), limits=Limits(loss=BUDGET), chips=CHIPS
    )
    took = time.perf_counter() - begin
    ran = found.run(UNSEEN)
    on, cost = ran.happened, found.optimum.cost
    energy, digital = found.span("energy_joule"), all_digital(found)
    return {
        "model": name,
        "technology": technology,
        "target": target,
        "kinds": found.kinds,
        "operations": len(found.situation.nodes),
        "seconds": took,
        "seconds_by_part": dict(found.seconds),
        "energy_joule": ends(energy),
        "energy_all_digital_joule": ends(digital),
        "ranges_apart": energy.high < digital.low,
        "energy_recounted_joule": ran.same_chip.energy_joule.typical,
        "energy_recounted_unseen_chip_joule": ran.unseen_chip.energy_joule.typical,
        "latency_second": cost.latency_second,
        "latency_all_digital_second": found.digital.latency_second,
        "latency_recounted_second": ran.same_chip.latency_second.typical,
        "latency_recounted_unseen_chip_second": ran.unseen_chip.latency_second.typical,
        "loss_predicted": cost.loss,
        "accuracy_ideal": ran.ideal,
        "accuracy_predicted": ran.predicted,
        "accuracy_unseen_chips": {"mean": on.mean, "worst": on.worst, "standard_error": on.standard_error},
        "samples": len(found.checking[1]),
        "objective": found.optimum.objective,
        "bound": found.optimum.bound,
        "gap": found.optimum.gap,
        "front": [[p.cost.energy_joule, p.cost.latency_second, p.cost.loss] for p in found.front],
        "front_whole": found.front_whole,
        "losses_alone": {f"{m} as {k}": loss for (m, k), loss in found.situation.losses.items()},
        "refused": {f"{r.module} as {r.kind}": r.reason for r in found.refused},
    }


def all_digital(found: Allocation) -> Span:
    situation, choice = found.all_digital
    low, typical, high = (
        evaluate(situation.problem(corner), choice).energy_joule for corner in ("low", "typical", "high")
    )
    return Span(low=low, typical=typical, high=high)


def on_chips(row: dict[str, Any]) -> str:
    names = [name.replace("parameterize", "front") for name, kind in row["kinds"].items() if kind != "digital"]
    return ", ".join(names) or "nothing"


def costs(row: dict[str, Any]) -> list[str]:
    energy, digital = row["energy_joule"][1], row["energy_all_digital_joule"][1]
    counted, unseen = row["energy_recounted_joule"], row["energy_recounted_unseen_chip_joule"]
    second, elsewhere = row["latency_second"], row["latency_recounted_unseen_chip_second"]
    return [
        row["model"],
        f"{row['technology']}, {row['target']}",
        on_chips(row),
        engineering(energy, "J"),
        f"{abs(counted / energy - 1):.0e}",
        f"{unseen / energy - 1:+.1%}",
        engineering(digital, "J"),
        f"{digital / energy:.2f}{' !' if row['ranges_apart'] else ''}",
        engineering(second, "s"),
        f"{elsewhere / second - 1:+.1%}",
        engineering(row["latency_all_digital_second"], "s"),
    ]


def outcome(row: dict[str, Any]) -> list[str]:
    accuracy = row["accuracy_unseen_chips"]
    return [
        row["model"],
        f"{row['technology']}, {row['target']}",
        f"{row['accuracy_ideal']:.4f}",
        f"{row['accuracy_predicted']:.4f}",
        f"{accuracy['mean']:.4f}",
        f"{100 * (accuracy['mean'] - row['accuracy_predicted']):+.2f}",
        f"{accuracy['worst']:.4f}",
        engineering(row["bound"], "J", digits=5),
        f"{row['gap']:g}",
        f"{len(row['front'])}{'' if row['front_whole'] else '+'}",
        f"{row['seconds']:.1f}",
    ]


COSTS = (
    "model", "hardware, computer", "on chips", "energy", "recount", "unseen", "digital", "ratio", "latency",
    "unseen", "digital",
)  # fmt: skip
OUTCOME = (
    "model", "hardware, computer", "ideal", "predicted", f"{UNSEEN} chips", "points", "worst", "bound", "gap",
    "front", "s",
)  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--epochs", type=int, default=120, help="of every training, default %(default)s")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--only", type=int, nargs="+", help="rows of the table, counted from 0")
    parser.add_argument("--json", type=Path, help="write everything measured here")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    data = get_task("digits").load()
    cases = CASES if arguments.only is None else [CASES[k] for k in arguments.only]
    models: dict[tuple[str, str], nn.Module] = {}
    rows = []
    with harness.progress(len(cases), "allocate") as step:
        for name, technology, target in cases:
            step(f"{name}, {technology}, {target}")
            if (name, technology) not in models:
                models[name, technology] = trained(name, technology, data, arguments.epochs, arguments.seed)
            rows.append(measure(name, technology, target, models[name, technology], data))
    harness.show(
        [
            harness.table(
                "Energy and latency of one inference at typical values",
                COSTS,
                [costs(row) for row in rows],
                "recount: on the chip and inputs that costs were measured on, relative difference; unseen: another "
                "chip; ratio: all digital over the split, ! where the ranges are apart",
            ),
            harness.table(
                f"Accuracy, of which {BUDGET:g} may be lost, and proof",
                OUTCOME,
                [outcome(row) for row in rows],
                "points: what was measured less what was predicted; s: the whole of allocate, front included",
            ),
        ]
    )
    harness.write(arguments.json, rows, arguments)


if __name__ == "__main__":
    main()
