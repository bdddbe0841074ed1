"""microsoft/aoc as a contestant: its package out of a checkout, and its training in blocks of steps."""

from __future__ import annotations

import argparse
import importlib
import itertools
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import redirect_stdout
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from unittest.mock import MagicMock

import torch
from torch import Tensor, nn

from equilog.tasks import Data

HOW_TO_GET = "git clone https://github.com/microsoft/aoc, and name the folder with --aoc"
UNUSED = ("torchvision", "torchvision.datasets", "torchvision.transforms", "einops")


def load_aoc(folder: Path | None) -> SimpleNamespace:
    """Import their package from a checkout.

    It imports torchvision, to download data, and einops, to run ensembles. Neither happens here: where they are not
    installed, stand-ins do.
    """
    if folder is None or not (folder / "src" / "aoc" / "models.py").is_file():
        raise SystemExit(f"--aoc {folder}: no checkout of microsoft/aoc (src/aoc/models.py is missing); {HOW_TO_GET}")
    stand_ins = [name for name in UNUSED if not _importable(name)]
    for name in stand_ins:
        sys.modules[name] = MagicMock()
    sys.path.insert(0, str(folder / "src"))
    try:
        models, training = importlib.import_module("aoc.models"), importlib.import_module("aoc.training")
    except ImportError as error:
        raise SystemExit(f"--aoc {folder}: their package does not import ({error}); {HOW_TO_GET}") from None
    finally:
        # Nobody else is to take them for the real ones.
        for name in stand_ins:
            del sys.modules[name]
    return SimpleNamespace(model=models.DEQInputOutputProjection, training=training)


def commit_of(folder: Path) -> str | None:
    """Return the commit of a checkout, if git knows one."""
    try:
        command = ["git", "-C", str(folder), "rev-parse", "HEAD"]
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return None


def _importable(name: str) -> bool:
    try:
        importlib.import_module(name)
    except ImportError:
        return False
    return True


@dataclass(frozen=True)
class Block:
    """Some steps of a training in a row: the epoch in which they began, how many they were, what they took."""

    epoch: int
    steps: int
    seconds: float


class Theirs:
    """One training of theirs, to be continued block by block.

    Args:
        aoc: their package.
        cell: "twin" or "ideal".
        rate: learning rate.
        args: of the command line.
        data: what to train and test with.

    Attributes:
        blocks: so far; their epoch is not known here.
        iterations: of their forward solver, mean of the latest block.
    """

    def __init__(self, aoc: SimpleNamespace, cell: str, rate: float, args: argparse.Namespace, data: Data) -> None:
        self.training, self.cell, self.rate, self.data = aoc.training, cell, rate, data
        self.blocks: list[Block] = []
        self.iterations = 0.0
        torch.manual_seed(args.seed)
        kind = "create_default_aoc_model" if cell == "twin" else "create_simple_cell_model"
        with redirect_stdout(sys.stderr):  # they print which calibration they take
            self.model = getattr(aoc.model, kind)(d_in=784, d_hidden=[args.states] * 2, d_out=10)
        steps = len(data.train_x) // args.batch
        self.optimiser = aoc.training.get_optimizer(self.model, optimizer_name="Adam", lr=rate, weight_decay=0)
        self.schedule = aoc.training.get_lr_scheduler(
            self.optimiser, scheduler_name="CosineAnnealingLR", T_max=args.epochs * steps
        )
        self._batches = batches(data, args.epochs, steps, args.batch, args.seed)

    def train(self, steps: int | None) -> None:
        """Take so many steps, or all that are left, by their own ``train_epoch``."""
        begin = time.perf_counter()
        some = list(itertools.islice(self._batches, steps))
        if not some:
            return
        metrics = self.training.train_epoch(
            model=self.model,
            train_loader=some,
            loss_fn=nn.CrossEntropyLoss(),
            optimizer=self.optimiser,
            device=torch.device("cpu"),
            lr_scheduler=self.schedule,
            clip_grad_norm=1.0,
            fixed_point_init="zeros",
            show_progress=False,
        )
        self.blocks.append(Block(-1, len(some), time.perf_counter() - begin))
        self.iterations = metrics.f_nstep_avg

    def accuracy(self) -> float:
        """Return the fraction of test pictures that their ``eval_epoch`` finds right."""
        metrics = self.training.eval_epoch(
            model=self.model,
            data_loader=list(zip(self.data.test_x.split(256), self.data.test_y.split(256))),
            loss_fn=nn.CrossEntropyLoss(),
            device=torch.device("cpu"),
            mode=self.training.ExecutionMode.TEST,
            fixed_point_init="zeros",
            show_progress=False,
        )
        return float(metrics.accuracy)


def batches(data: Data, epochs: int, steps: int, size: int, seed: int) -> Iterator[tuple[Tensor, Tensor]]:
    """Yield the batches of every epoch in a new order, without what is left over, as their loader does."""
    generator = torch.Generator().manual_seed(seed)
    for _ in range(epochs):
        order = torch.randperm(len(data.train_x), generator=generator)
        for k in range(steps):
            rows = order[k * size : (k + 1) * size]
            yield data.train_x[rows], data.train_y[rows]
