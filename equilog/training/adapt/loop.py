"""Transfer of a trained model to one device: what it computes is the device's, what it learns from is the twin's.

Physics-aware training (Wright et al., Nature 601 (2022) 549): the forward pass runs on the device, so that every flaw
of it counts, known or not; the backward pass runs through a differentiable twin at the state that was measured
(:meth:`equilog.equilibrium.EquilibriumLayer.rest_at`). The twin need not predict the device, it must
only point downhill.

Order and augmentation depend on ``(seed, epoch)`` and ``(seed, step)``: a transfer that was killed and goes on ends
with the same numbers, on a device that answers the same to the same question.
"""

from __future__ import annotations

import math
import warnings
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any, cast

import torch
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, SpinnerColumn, TextColumn, TimeRemainingColumn
from torch import Tensor, nn

from equilog.devices import Device
from equilog.hardware import Chip, Conditions, Spec
from equilog.model import HybridDEQ
from equilog.names import UserError
from equilog.objective import Classification, Objective
from equilog.training.adapt import state as states
from equilog.training.adapt.config import AdaptConfig
from equilog.training.adapt.identified_chip import IdentifiedChip
from equilog.training.adapt.identify import excitation, identify
from equilog.training.adapt.measured import calibration_of, on_tape
from equilog.training.adapt.readout import refit
from equilog.training.adapt.twin import Equations, Twin, equations
from equilog.training.finite import NotFiniteError, check_finite
from equilog.training.fit import TrainingInterrupted
from equilog.training.randomness import EpochOrder, derived_seed, step_generator

Augment = Callable[[Tensor, Tensor, torch.Generator], tuple[Tensor, Tensor]]
Tell = Callable[[str, int], None]

CALIBRATION_SAMPLES = 256
CHECKS = 64
"""Drives of the task at which a calibration is fitted, and an identification checked."""
SETTLES_PER_UNKNOWN = 10
_DRIVES = 101


class CalibrationWarning(UserWarning):
    """A device could not be calibrated; its readings are used as they are."""


def adapt(
    model: HybridDEQ,
    device: Device,
    x: Tensor,
    y: Tensor,
    config: AdaptConfig | None = None,
    *,
    twin: Twin = None,
    conditions: Conditions | None = None,
    seed: int = 0,
    objective: Objective | None = None,
    augment: Augment | None = None,
    state: Path | None = None,
    progress: bool = True,
) -> list[dict[str, Any]]:
    """Adapt a trained model in place to one device, and leave the device programmed and calibrated for it.

    Args:
        model: what to adapt; on the CPU. It is evaluated as when deployed: no dropout, normalisation as learnt.
        device: anything that can settle.
        x, y: inputs ``(samples, …)`` and what the objective compares outputs with; class indices for the default one.
        config: settings; defaults otherwise.
        twin: what gradients go through: a technology, whose typical chip is identified with the device's first if the
            settings say so; a chip, for one that is identified already; the cell's own equation unless given.
        conditions: when and how warm the device is read, as far as is known; for the twin.
        seed: fixes the order of batches, augmentation and the drives that identify.
        objective: the task's loss and score; classification with the configuration's label smoothing unless given.
        augment: ``(x, y, generator) -> (x, y)``, applied to the batch of every step.
        state: folder for the state. If it holds one, the transfer goes on from there.
        progress: show a progress bar.

    Returns:
        one row for each thing done, with its ``stage``: ``calibrate`` with ``residual``, ``identify`` with
        ``rms_before, rms_after`` (see :class:`~equilog.training.adapt.Identification`), ``refit`` with loss and score,
        and one of ``fine-tune`` for every epoch with ``epoch, loss``, score and ``learning_rate``. All have ``settles``
        and ``programmed``: how often the device has settled and has been programmed so far.

    Raises:
        UserError: if chip identification is asked for without a technology.
        NotFiniteError: for inf or nan in data, readings, loss or gradients.
        TrainingInterrupted: on Ctrl-C.

    Warns:
        CalibrationWarning: if the readings follow what is expected too badly to be calibrated.
    """
    config = config or AdaptConfig()
    check_finite(x, "training inputs")
    if len(x) != len(y) or len(x) == 0:
        raise ValueError(f"{len(x)} inputs and {len(y)} labels: expected as many of each, and at least one")
    if config.identify_settles and not isinstance(twin, Spec):
        raise UserError(
            f"identify_settles = {config.identify_settles}: a chip is identified as one of a technology; give one as "
            "twin, or set identify_settles: 0"
        )
    kept = slice(config.samples)
    goal = objective or Classification(config.label_smoothing)
    run = _Transfer(model, device, x[kept], y[kept], config, twin, conditions, seed, goal, augment)
    training = {module: module.training for module in model.modules()}
    model.eval()
    try:
        with _bar(config.epochs * len(run.order)) if progress else nullcontext(_silent) as tell:
            run.through(state, tell)
    except KeyboardInterrupt:
        path = None if state is None else state / states.FILE
        raise TrainingInterrupted(str(path) if path and path.exists() else "nothing was finished") from None
    finally:
        for module, mode in training.items():
            module.training = mode
    return run.rows


class _Transfer:
    def __init__(
        self,
        model: HybridDEQ,
        device: Device,
        x: Tensor,
        y: Tensor,
        config: AdaptConfig,
        twin: Twin,
        conditions: Conditions | None,
        seed: int,
        objective: Objective,
        augment: Augment | None,
    ) -> None:
        self.model, self.device, self.x, self.y, self.config = model, device, x, y, config
        self.twin, self.conditions, self.seed = twin, conditions, seed
        self.objective, self.augment = objective, augment
        self.technology = twin.spec if isinstance(twin, Chip) else twin
        self.identity = self._identity()
        self.order = EpochOrder(len(x), config.batch_size, seed)
        self.rows: list[dict[str, Any]] = []
        self.settles = self.programmed = 0
        self.epoch = 0
        parts: dict[str, list[nn.Module]] = {
            "all": [model],
            "digital": [model.parameterize, model.readout],
            "readout": [model.readout],
        }
        self.parameters = [p for part in parts[config.train] for p in part.parameters() if p.requires_grad]
        self.optimizer = torch.optim.Adam(self.parameters, lr=config.learning_rate)
        self._twin_at_rest: Equations | None = None

    def through(self, folder: Path | None, tell: Tell) -> None:
        """Do all that is not done yet."""
        before = None if folder is None else states.load(folder, self.identity)
        if before is not None:
            self._resume(before)
        self._program(count=before is None)
        for name, action in (("calibrate", self._calibrate), ("identify", self._identify), ("refit", self._refit)):
            if all(row["stage"] != name for row in self.rows) and self.epoch == 0:
                tell(name, 0)
                found = action()
                if found is not None:
                    self._row(name, found)
                    self._keep(folder)
        while self.epoch < self.config.epochs:
            self._row("fine-tune", self._fine_tune(tell))
            self.epoch += 1
            self._keep(folder)

    def _program(self, count: bool = True) -> None:
        self.device.program(self.model.cell)
        self.programmed += count

    def _settle(self, drive: Tensor) -> Any:
        settled = self.device.settle(drive.detach())
        self.settles += len(drive)
        check_finite(settled.read, f"readings of {self.device.name}")
        return settled

    @torch.no_grad()
    def _drives(self, count: int) -> Tensor:
        """Return drives of the task, those of a few samples."""
        return cast(Tensor, self.model.parameterize(self.x[:count]))

    def _calibrate(self) -> dict[str, Any] | None:
        """Bring readings close to those of the typical chip, which is what the readout was trained on."""
        if not self.config.calibrate:
            return None
        drive = self._drives(CALIBRATION_SAMPLES)
        with torch.no_grad():
            system = equations(self.model.cell, self.technology, self.conditions)(drive)
            expected = self.model.equilibrium(system)
        try:
            residual = float(self.device.calibrate(drive, expected).residual.square().mean().sqrt())
        except ValueError as error:
            warnings.warn(f"{self.device.name} is used without calibration: {error}", CalibrationWarning, stacklevel=5)
            residual = math.nan
        self.settles += len(drive)
        return {"residual": residual}

    def _identify(self) -> dict[str, Any] | None:
        """Find the chip, from drives half random, which move everything, and half the task's, which matter."""
        cell, asked = self.model.cell, self.config.identify_settles
        needed = 0 if self.config.train == "readout" else SETTLES_PER_UNKNOWN * (cell.states + cell.drives)
        count = needed if asked is None else asked
        if not isinstance(self.twin, Spec) or count == 0:
            return None
        generator = torch.Generator().manual_seed(derived_seed(_DRIVES, self.seed))
        task = self._drives(len(self.x)).double()
        own = task[torch.randint(len(task), (count // 2,), generator=generator)]
        drive = torch.cat([excitation(cell.drives, count - len(own), generator), own])
        check = task[torch.randperm(len(task), generator=generator)[:CHECKS]]
        found = identify(self.device, cell, self.twin, drive, conditions=self.conditions, check=check)
        self.twin = found.chip
        self.settles += len(drive) + len(check)
        return {"rms_before": found.rms_before, "rms_after": found.rms_after}

    def _refit(self) -> dict[str, Any] | None:
        if not self.config.refit_readout:
            return None
        read = self._settle(self._drives(len(self.x))).read.to(next(self.model.parameters()).dtype)
        loss = refit(self.model.readout, read, self.y, self.objective)
        with torch.no_grad():
            score = float(self.objective.score(self.model.readout(read), self.y)) / len(self.y)
        return {"loss": loss, self.objective.score_name: score}

    def _fine_tune(self, tell: Tell) -> dict[str, Any]:
        """Train for one epoch."""
        loss_sum = score_sum = 0.0
        steps = self.config.epochs * len(self.order)
        self.order.set_epoch(self.epoch)
        for batch, index in enumerate(self.order):
            step = self.epoch * len(self.order) + batch
            rate = self.config.learning_rate * (1 + math.cos(math.pi * step / steps)) / 2
            self.optimizer.param_groups[0]["lr"] = rate
            x, y = self.x[index], self.y[index]
            if self.augment is not None:
                x, y = self.augment(x, y, step_generator(self.seed, step))
            output = self.model.readout(self._read(x))
            loss = self.objective.loss(output, y)
            self._descend(loss, f"epoch {self.epoch}, batch {batch}")
            loss_sum += float(loss.detach()) * len(y)
            score_sum += float(self.objective.score(output.detach(), y))
            tell("fine-tune", step + 1)
        if self.config.train == "all":
            self._program()
        count = len(self.x)
        return {
            "epoch": self.epoch,
            "loss": loss_sum / count,
            self.objective.score_name: score_sum / count,
            "learning_rate": rate,
        }

    def _read(self, x: Tensor) -> Tensor:
        """Return what the device reads, on the tape as far as the settings train what is before it."""
        if self.config.train == "readout":
            with torch.no_grad():
                drive = self.model.parameterize(x)
            return cast(Tensor, self._settle(drive).read.to(drive.dtype))
        if self.config.train == "all":
            twin = equations(self.model.cell, self.twin, self.conditions)
            self._program()
        else:
            twin = self._held()
        drive = self.model.parameterize(x)
        settled = self._settle(drive)
        return on_tape(self.model.equilibrium, twin(drive), settled, calibration_of(self.device))

    def _held(self) -> Equations:
        """Return the twin's equations for weights that stay; made once."""
        if self._twin_at_rest is None:
            with torch.no_grad():
                self._twin_at_rest = equations(self.model.cell, self.twin, self.conditions)
        return self._twin_at_rest

    def _descend(self, loss: Tensor, where: str) -> None:
        gradients = torch.autograd.grad(loss, self.parameters, allow_unused=True)
        finite = [g.isfinite().all() for g in gradients if g is not None]
        if not bool(torch.stack([loss.isfinite(), *finite]).all()):
            raise NotFiniteError(f"{where}: inf or nan in the loss or its gradient; lower the learning rate")
        for parameter, gradient in zip(self.parameters, gradients):
            parameter.grad = gradient
        nn.utils.clip_grad_norm_(self.parameters, self.config.gradient_clip)
        self.optimizer.step()
        self.optimizer.zero_grad()

    def _row(self, stage: str, found: dict[str, Any]) -> None:
        self.rows.append({"stage": stage, **found, "settles": self.settles, "programmed": self.programmed})

    def _keep(self, folder: Path | None) -> None:
        if folder is None:
            return
        chip = self.twin if isinstance(self.twin, IdentifiedChip) else None
        kept = {
            "belongs_to": self.identity,
            "model": self.model.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "epoch": self.epoch,
            "rows": self.rows,
            "calibration": states.of_calibration(calibration_of(self.device)),
            "deviates": None if chip is None else dict(chip.deviates),
        }
        states.save(folder, kept)

    def _resume(self, kept: dict[str, Any]) -> None:
        self.model.load_state_dict(kept["model"])
        self.optimizer.load_state_dict(kept["optimizer"])
        self.epoch, self.rows = kept["epoch"], kept["rows"]
        self.settles, self.programmed = self.rows[-1]["settles"], self.rows[-1]["programmed"]
        if kept["deviates"] is not None and self.technology is not None:
            self.twin = IdentifiedChip(self.technology, 0, kept["deviates"])
        calibration = states.to_calibration(kept["calibration"])
        if calibration is not None or hasattr(self.device, "calibration"):
            cast(Any, self.device).calibration = calibration

    def _identity(self) -> dict[str, Any]:
        technology = None if self.technology is None else self.technology.model_dump(mode="json")
        data = [zlib.crc32(t.detach().contiguous().numpy().tobytes()) for t in (self.x, self.y)]
        return {
            "seed": self.seed,
            "settings": self.config.model_dump(mode="json"),
            "technology": technology,
            "device": self.device.name,
            "data": data,
        }


def _silent(stage: str, done: int) -> None:
    """Tell nobody."""


@contextmanager
def _bar(steps: int) -> Iterator[Tell]:
    """Yield what moves a bar on stderr."""
    columns = (
        SpinnerColumn(), TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn(),
    )  # fmt: skip
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task("calibrate", total=steps)
        yield lambda stage, done: bar.update(task, description=stage, completed=done)
