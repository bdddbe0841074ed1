"""The analog optical computer's digital twin against ours: Fashion-MNIST with 24 settling states.

    git clone https://github.com/microsoft/aoc
    python benchmarks/against_aoc.py --aoc aoc --json results/against_aoc.json
    python benchmarks/against_aoc.py --aoc aoc --quick         # 6 epochs on 6,000 samples

Theirs is `DEQInputOutputProjection` of microsoft/aoc: a digital linear map from 784 pixels to 24 drives, then either
the twin of their machine (`AOCCell`, z ← αz + βWf(z) + u with its measured flaws) or an ideal cell (`SimpleCell`,
z ← tanh(Wz + u)), then a linear readout. Their own `train_epoch` trains it as their examples/train_fmnist.py does:
Adam, cosine schedule, gradient norm clipped at 1, start from zero, up to 100 steps of fixed-point iteration to 1e-3
forward and backward. Their script's learning rate is 3e-4; that of `--rate-theirs`, which is better, has a row of its
own. Two things differ from their script: all 60,000 pictures train, where it puts 6,000 aside, and batches are cut
from memory. Their twin is one machine without noise, calibrated at 16 and 48 states; elsewhere it takes means.

Ours has the same encoder, a linear map to as many drives (bounded by converters at ±1 as theirs is at ±1.3), then the
equilibrium and a linear readout. It settles to the same 1e-3 and is trained by `equilog.training.fit`: ideal, or by
the full curriculum (ideal, ramped, with noise on a new chip every step). One row has the task's own convolutions as
encoder. Accuracies are those on the 10,000 test pictures: of the ideal model, and of chips that it never met, with the
noise of every read. Theirs in the place of chips is that in their twin.

The two trainings of a pair take turns in one process, block by block from the first step to the last. A step is all
that happens in the loop: order, batch, loss, optimiser, schedule, book-keeping. `ms a step` is the median over the
blocks of a stage, stages weighted by their steps; `ratio` is theirs in the blocks next to ours over ours.
"""

from __future__ import annotations

import argparse
import math
import statistics
import time
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from _aoc import HOW_TO_GET, Block, Theirs, commit_of, load_aoc
from _harness import number, prepare, progress, show, table, write
from rich.table import Table
from torch import Tensor, nn

from equilog import HybridDEQ, TrainConfig, fit, get_task, load_spec
from equilog.cells import CircuitCell
from equilog.equilibrium import Auto, Chord, EquilibriumLayer, Reuse
from equilog.hardware import Chip, Conditions
from equilog.tasks import Data
from equilog.training.curriculum import curriculum
from equilog.training.encounter import read

RATE_OF_THEIR_SCRIPT = 3e-4
# Both libraries stop at this relative residual.
RTOL = 1e-3
# About so many steps a training takes before it is the other's turn: 14 blocks an epoch, half a second or less each.
BLOCK = 67
# Chips to measure accuracy on, far from the seeds that training derives its own from.
UNSEEN_CHIPS = 1_000_000
LINEAR, CONVOLUTIONS = "linear", "convolutions"


class Turns:
    """Our training's augmentation, which leaves the pictures as they are: between blocks of ours it is theirs' turn.

    Args:
        theirs: who takes turns with us, if anybody.
        per_epoch: steps of ours in an epoch; it is divided into blocks of about the same length.

    Attributes:
        blocks: of ours so far.
    """

    def __init__(self, theirs: Theirs | None, per_epoch: int) -> None:
        self.theirs, self.per_epoch = theirs, per_epoch
        self.size = math.ceil(per_epoch / max(1, round(per_epoch / BLOCK)))
        self.blocks: list[Block] = []
        self._step, self._first, self._begin = 0, 0, 0.0

    def __call__(self, x: Tensor, y: Tensor, _generator: torch.Generator) -> tuple[Tensor, Tensor]:
        """Return both; called at the beginning of each step."""
        if self._step % self.per_epoch % self.size == 0:
            self.stop()
            if self.theirs is not None:
                self.theirs.train(self.size)
            self._first, self._begin = self._step, time.perf_counter()
        self._step += 1
        return x, y

    def stop(self) -> None:
        """Close the block that is open."""
        if steps := self._step - self._first:
            self.blocks.append(Block(self._first // self.per_epoch, steps, time.perf_counter() - self._begin))


@dataclass(frozen=True)
class Ours:
    """One training of ours: which encoder, which curriculum, which technology."""

    encoder: str
    stages: str
    hardware: str

    @property
    def label(self) -> str:
        """How the table calls it."""
        return f"equilog, {self.encoder}, {'ideal' if self.stages == 'ideal' else f'full on {self.hardware}'}"

    def settings(self, args: argparse.Namespace) -> TrainConfig:
        """Return how it is trained."""
        return TrainConfig(
            stages=curriculum(self.stages, args.epochs),
            batch_size=args.batch,
            learning_rate=args.rate_ours,
            weight_decay=args.weight_decay,
        )

    def build(self, args: argparse.Namespace) -> HybridDEQ:
        """Return the untrained model."""
        n = args.states
        torch.manual_seed(args.seed)
        cell = CircuitCell(n, n, margin=args.margin)
        if args.reuse:
            settle = EquilibriumLayer(Chord(rtol=RTOL, atol=0.0), gradient=Reuse())
        else:
            settle = EquilibriumLayer(Auto(probe=False, rtol=RTOL, atol=0.0))
        if self.encoder == LINEAR:
            encoder: nn.Module = nn.Sequential(nn.Flatten(), nn.Linear(784, n), nn.Hardtanh())
        else:
            task = get_task("fashion-mnist")
            own = task.model_defaults.model_copy(update={"states": n, "drives": n})
            encoder = task.build(own).parameterize
        return HybridDEQ(encoder, cell, nn.Linear(n, 10), settle)


def train(ours: Ours, theirs: Theirs | None, args: argparse.Namespace, data: Data) -> tuple[HybridDEQ, Turns]:
    """Return our trained model, theirs having been trained meanwhile."""
    model, turns = ours.build(args), Turns(theirs, math.ceil(len(data.train_x) / args.batch))
    spec, settings = load_spec(ours.hardware), ours.settings(args)
    fit(model, data.train_x, data.train_y, spec, settings, seed=args.seed, augment=turns, progress=False)
    turns.stop()
    if theirs is not None:
        theirs.train(None)
    return model, turns


@torch.no_grad()
def accuracy(model: HybridDEQ, data: Data) -> float:
    """Return the fraction of test pictures that the ideal model finds right."""
    parts = zip(data.test_x.split(1000), data.test_y.split(1000))
    return sum(int((model(x).argmax(1) == y).sum()) for x, y in parts) / len(data.test_x)


@torch.no_grad()
def accuracy_on_chips(model: HybridDEQ, hardware: str, chips: int, data: Data) -> list[float]:
    """Return the fraction that every unseen chip finds right, with converters, read and thermal noise."""
    spec, found = load_spec(hardware), []
    drives = [model.parameterize(x) for x in data.test_x.split(1000)]
    for k in range(chips):
        noise = torch.Generator().manual_seed(k)
        layer = model.program(Chip(spec, UNSEEN_CHIPS + k), Conditions(reads=noise))
        hits = 0
        for drive, y in zip(drives, data.test_y.split(1000)):
            hits += int((model.readout(read(model.on_chip(drive, layer), noise)).argmax(1) == y).sum())
        found.append(hits / len(data.test_x))
    return found


def per_stage(blocks: list[Block], turns: Turns, config: TrainConfig) -> dict[str, tuple[float, int]]:
    """Return the median seconds of a step in the blocks beside those of each stage of ours, and their number."""
    by_stage: dict[str, list[float]] = {}
    for block, ours in zip(blocks, turns.blocks):
        by_stage.setdefault(config.stage_at(ours.epoch)[0], []).append(block.seconds / block.steps)
    return {name: (statistics.median(values), len(values)) for name, values in by_stage.items()}


def whole(stages: dict[str, tuple[float, int]]) -> float:
    """Return the seconds of a step over all stages."""
    return sum(taken * blocks for taken, blocks in stages.values()) / sum(blocks for _, blocks in stages.values())


def pair(ours: Ours, theirs: Theirs | None, args: argparse.Namespace, data: Data) -> list[dict[str, Any]]:
    """Train both in turns and return a row for each."""
    model, turns = train(ours, theirs, args, data)
    stages = per_stage(turns.blocks, turns, ours.settings(args))
    with torch.no_grad():
        model(data.test_x[:1000])
    assert model.equilibrium.last is not None
    iterations = float(model.equilibrium.last.steps.double().mean())
    chips = accuracy_on_chips(model, ours.hardware, args.chips, data)
    row = {
        "contestant": ours.label,
        "learning_rate": args.rate_ours,
        "parameters": parameters(model),
        "accuracy_ideal": accuracy(model, data),
        "hardware": ours.hardware,
        "accuracy_chips_mean": statistics.mean(chips),
        "accuracy_chips_worst": min(chips),
        "accuracy_chips": chips,
        "iterations": iterations,
        "step_second": whole(stages),
        "step_second_by_stage": {name: taken for name, (taken, _) in stages.items()},
        "training_second": sum(block.seconds for block in turns.blocks),
    }
    if theirs is None:
        return [row]
    beside, hits = per_stage(theirs.blocks, turns, ours.settings(args)), theirs.accuracy()
    other = {
        "contestant": f"aoc, {LINEAR}, {theirs.cell}",
        "learning_rate": theirs.rate,
        "parameters": parameters(theirs.model),
        "accuracy_ideal" if theirs.cell == "ideal" else "accuracy_chips_mean": hits,
        "iterations": theirs.iterations,
        "step_second": whole(beside),
        "training_second": sum(block.seconds for block in theirs.blocks),
    }
    row["ratio"] = whole(beside) / whole(stages)
    row["ratio_by_stage"] = {name: beside[name][0] / taken for name, (taken, _) in stages.items()}
    return [other, row]


def parameters(model: nn.Module) -> int:
    """Return how many numbers are trained."""
    return sum(p.numel() for p in model.parameters() if p.requires_grad)


def tables(rows: list[dict[str, Any]], args: argparse.Namespace) -> list[Table]:
    """Return what people read."""

    def percent(row: dict[str, Any], key: str) -> str:
        return "–" if row.get(key) is None else f"{100 * row[key]:.2f}"

    accuracies = [
        [
            row["contestant"],
            f"rate {row['learning_rate']:g}",
            f"{row['parameters']:,}",
            *(percent(row, f"accuracy_{key}") for key in ("ideal", "chips_mean", "chips_worst")),
            number(1e3 * row["step_second"]),
            f"{row['ratio']:.2f}" if row.get("ratio") else "–",
            f"{row['training_second']:.0f}",
        ]
        for row in rows
    ]
    stages = [
        [
            row["contestant"],
            stage,
            number(1e3 * taken),
            f"{row['ratio_by_stage'][stage]:.2f}" if "ratio" in row else "–",
        ]
        for row in rows
        for stage, taken in row.get("step_second_by_stage", {}).items()
    ]
    columns = ["encoder, training", "", "parameters", "ideal %", "chips %", "worst %", "ms a step", "ratio", "train s"]
    return [
        table(
            f"Fashion-MNIST, {args.states} states, {args.epochs} epochs, batch {args.batch}, {args.threads} threads",
            columns,
            accuracies,
            f"chips: {args.chips} unseen ones, with noise; of theirs, their twin. ratio: theirs in the pair / ours",
        ),
        table("A step in the stages of the curriculum", ["training", "stage", "ms a step", "ratio"], stages),
    ]


def main() -> None:
    """Train everybody, print, write."""
    made = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    made.add_argument("--aoc", type=Path, metavar="DIR", help="a checkout of microsoft/aoc: " + HOW_TO_GET)
    made.add_argument("--data", type=Path, help="folder with the files of Fashion-MNIST, if not the usual place")
    made.add_argument("--quick", action="store_true", help="6 epochs on 6,000 samples, 3 chips")
    made.add_argument("--reuse", action="store_true", help="take our gradient from the chord's inverse, not exactly")
    for name, kind, default in (
        ("epochs", int, 12),
        ("states", int, 24),
        ("batch", int, 64),
        ("threads", int, 2),
        ("chips", int, 20),
        ("seed", int, 0),
        ("rate-theirs", float, 2e-3),
        ("rate-ours", float, 2e-3),
        ("weight-decay", float, 0.05),
        ("margin", float, 0.3),
    ):
        made.add_argument(f"--{name}", type=kind, default=default, help="default: %(default)s")
    made.add_argument("--json", type=Path, help="write everything measured here")
    args = made.parse_args()
    aoc = load_aoc(args.aoc)
    prepare(args.threads)
    warnings.simplefilter("ignore")
    data = get_task("fashion-mnist").load(args.data)
    if args.quick:
        args.epochs, args.chips = 6, 3
        data = Data(data.train_x[:6000], data.train_y[:6000], data.test_x, data.test_y, data.source)
    trainings: list[tuple[Ours, tuple[str, float] | None]] = [
        (Ours(LINEAR, "full", "optical"), ("twin", RATE_OF_THEIR_SCRIPT)),
        (Ours(LINEAR, "full", "rram"), ("twin", args.rate_theirs)),
        (Ours(LINEAR, "ideal", "optical"), ("ideal", args.rate_theirs)),
        (Ours(CONVOLUTIONS, "full", "optical"), None),
    ]
    rows: list[dict[str, Any]] = []
    with progress(len(trainings), "training") as step:
        for ours, against in trainings:
            step(ours.label)
            rows += pair(ours, Theirs(aoc, *against, args, data) if against else None, args, data)
    show(tables(rows, args))
    write(args.json, rows, args, aoc_commit=commit_of(args.aoc), samples=len(data.train_x), source=data.source)


if __name__ == "__main__":
    main()
