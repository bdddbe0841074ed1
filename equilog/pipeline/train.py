"""The first half of a run: its data, its training, and the transfer to the chip that is built."""

from __future__ import annotations

import shutil
from pathlib import Path

import torch
from torch import Tensor, nn

from equilog.devices import Device, NgspiceDevice
from equilog.devices.twin import TwinDevice
from equilog.hardware import Chip
from equilog.model import samples_at_once
from equilog.objective import Objective
from equilog.runs.config import RunConfig
from equilog.runs.folder import RunFolder
from equilog.tasks import Data, get_task
from equilog.training import fit
from equilog.training.adapt import adapt


def load_data(config: RunConfig) -> Data:
    """Return the data of a run's task, as many as the configuration wants."""
    folder = None if config.data is None else Path(config.data)
    task = get_task(config.task)
    task.on_damage = config.on_damage
    return task.load(folder).limited(config.samples)


def objective_of(config: RunConfig, data: Data) -> Objective:
    """Return loss and score of a run's task."""
    return get_task(config.task).objective(data, config.training)


def train_run(folder: RunFolder, data: Data, *, processes: int = 1, progress: bool = True) -> None:
    """Train the model of a run that was begun, or go on with it; nothing is done where it is trained.

    Args:
        folder: the run.
        data: its data.
        processes: that share every training batch.
        progress: show a bar.

    Raises:
        TrainingInterrupted: on Ctrl-C; calling again goes on.
    """
    if folder.trained:
        return
    config, task = folder.config(), get_task(folder.config().task)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(config.seed)
        model = task.build(config.model)
    objective = objective_of(config, data)
    rows = fit(
        model,
        data.train_x,
        data.train_y,
        folder.spec(),
        config.training,
        seed=config.seed,
        objective=objective,
        augment=task.augment,
        state=folder.state,
        progress=progress,
        after_stage=_TestScore(data.test_x, data.test_y, objective),
        processes=processes,
    )
    folder.save_training(rows)
    folder.save_model(model)
    shutil.rmtree(folder.state, ignore_errors=True)


def adapt_run(folder: RunFolder, data: Data, *, progress: bool = True) -> None:
    """Transfer a trained run's model to the chip that is built, or go on with it; nothing is done where it is adapted.

    Args:
        folder: the run; its configuration says on which device and how.
        data: its data.
        progress: show a bar.

    Raises:
        NgspiceMissingError: for a simulator in the loop where there is none.
        TrainingInterrupted: on Ctrl-C; calling again goes on.
    """
    config = folder.config()
    if config.adaptation is None or folder.adapted:
        return
    model = folder.load_model()
    task, smoothing = get_task(config.task), config.adaptation.label_smoothing
    with _device(config.adaptation.device, folder.chip()) as device:
        rows = adapt(
            model,
            device,
            data.train_x,
            data.train_y,
            config.adaptation,
            twin=folder.spec(),
            seed=config.seed,
            objective=task.objective(data, config.training.model_copy(update={"label_smoothing": smoothing})),
            augment=task.augment,
            state=folder.state / "adaptation",
            progress=progress,
        )
    folder.save_adapted(model, rows)
    shutil.rmtree(folder.state, ignore_errors=True)


def _device(name: str, chip: Chip) -> Device:
    return NgspiceDevice(chip) if name == "ngspice" else TwinDevice(chip)


@torch.no_grad()
def mean_score(model: nn.Module, x: Tensor, y: Tensor, objective: Objective, chip: Chip | None = None) -> float:
    """Return the mean score of outputs for `x` against `y`, in batches; ideal without a chip.

    Any module from inputs to outputs will do; with a chip, a :class:`~equilog.model.HybridDEQ`.
    """
    total, size = 0.0, samples_at_once(model, 1000)
    for start in range(0, len(x), size):
        part = slice(start, start + size)
        out = model(x[part]) if chip is None else model(x[part], chip)
        total += float(objective.score(out, y[part]))
    return total / len(x)


class _TestScore:
    """Measure the ideal model on test samples at the end of every stage; a class because processes are sent it."""

    def __init__(self, x: Tensor, y: Tensor, objective: Objective) -> None:
        self.x, self.y, self.objective = x, y, objective

    def __call__(self, model: nn.Module, stage: str) -> dict[str, float]:
        found = mean_score(model, self.x, self.y, self.objective)
        return {f"test_{self.objective.score_name}_ideal": found}
