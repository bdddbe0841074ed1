"""The Lightning module of a curriculum: which stage a step belongs to, its loss, and its sanity."""

from __future__ import annotations

import math
from collections.abc import Callable
from multiprocessing.util import Finalize
from typing import Any

import lightning
import torch
from torch import Tensor

from equilog.equilibrium import NotConvergedError
from equilog.hardware import Spec
from equilog.model import HybridDEQ
from equilog.names import UserError
from equilog.objective import Objective
from equilog.training.config import TrainConfig
from equilog.training.encounter import Encounters, read
from equilog.training.finite import NotFiniteError, parameters_not_finite
from equilog.training.losses import LOSSES
from equilog.training.randomness import loss_generator, noise_generator, step_generator
from equilog.training.share import Share
from equilog.training.stage import Stage

Augment = Callable[[Tensor, Tensor, torch.Generator], tuple[Tensor, Tensor]]
AfterStage = Callable[[Any, str], dict[str, float]]


STEPS_AT_ONCE = 16
"""Steps that Lightning is asked for together: what its loop costs is as much as a step of a small model."""


class CurriculumModule(lightning.LightningModule):
    """The task's loss through the ideal model or through a new chip at every step, and the stage's regularisers.

    What Lightning calls a batch are :data:`STEPS_AT_ONCE` of ours; the optimiser steps once for each of them.

    Args:
        model, spec, config, objective, seed, augment, after_stage: see :func:`equilog.training.fit`.
        batches: steps per epoch.
    """

    def __init__(
        self,
        model: torch.nn.Module,
        spec: Spec,
        config: TrainConfig,
        objective: Objective,
        seed: int,
        batches: int,
        augment: Augment | None,
        after_stage: AfterStage | None,
    ) -> None:
        super().__init__()
        self.automatic_optimization = False
        self.model = model
        self.spec, self.config, self.objective, self.seed, self.batches = spec, config, objective, seed, batches
        self.augment, self.after_stage = augment, after_stage
        self.encounters = Encounters(spec, seed)
        used = {name for stage in config.stages.values() for name, weight in stage.losses.items() if weight}
        self.losses = torch.nn.ModuleDict({name: LOSSES[name]() for name in LOSSES if name in used})
        self.history: list[dict[str, Any]] = []
        self._sums: dict[str, float] = {}

    def setup(self, stage: str) -> None:
        """Share the cores among processes: more threads than cores would wait for each other."""
        if self.trainer.world_size > 1:
            torch.set_num_threads(max(1, torch.get_num_threads() // self.trainer.world_size))
            # A process that ends while its threads still listen to the others is aborted, with all it has learnt.
            Finalize(None, _leave, exitpriority=100)

    def training_step(self, batches: list[tuple[Tensor, Tensor]], index: int) -> None:
        """Take a step for each batch, or for this process's share of it."""
        optimizer, schedule = self.optimizers(use_pl_optimizer=False), self.lr_schedulers()
        assert isinstance(optimizer, torch.optim.Optimizer)
        assert isinstance(schedule, torch.optim.lr_scheduler.OneCycleLR)
        parameters = list(self.model.parameters())
        for number, batch in enumerate(batches, index * STEPS_AT_ONCE):
            optimizer.zero_grad()
            loss = self._loss(batch, number)
            if self.trainer.world_size == 1:
                loss.backward()
            else:
                self.manual_backward(loss)  # which also averages over processes
            self._clip([p.grad for p in parameters if p.grad is not None], number)
            optimizer.step()
            schedule.step()

    def _loss(self, batch: tuple[Tensor, Tensor], index: int) -> Tensor:
        """Return the loss of a batch, by its number in the epoch; stop with names if it is not finite."""
        x, y = batch
        step = self.current_epoch * self.batches + index
        if self.augment is not None:
            # Before the batch is shared out: one process or several, a sample is varied the same way.
            x, y = self.augment(x, y, step_generator(self.seed, step))
        share = Share.of(len(y), self.global_rank, self.trainer.world_size)
        x, y = x[share.rows], y[share.rows]
        _, stage, first = self.config.stage_at(self.current_epoch)
        try:
            output, terms = self._through(x, stage, step, step - first * self.batches)
        except (ValueError, NotConvergedError) as error:
            self._refuse_if_broken(index, str(error))
            raise
        own = self.objective.loss(output, y)
        loss = own
        for name, term in terms.items():
            loss = torch.add(loss, term, alpha=stage.losses[name] * stage.losses_every)
        value = float(loss.detach())
        if not math.isfinite(value):
            self._refuse_if_broken(index, f"the loss is {value}")
            raise NotFiniteError(
                f"{self._where(index)}: the loss is {value} although inputs and parameters are finite; "
                "lower the learning rate"
            )
        score = self.objective.score(output.detach(), y)
        self._count(share, {"loss": float(own.detach()), "score": float(score) / max(1, share.samples)})
        if terms:
            self._count(share, {name: float(term.detach()) for name, term in terms.items()}, of="regularised")
        return loss if share.weight == 1 else loss * share.weight

    def _through(self, x: Tensor, stage: Stage, step: int, of_stage: int) -> tuple[Tensor, dict[str, Tensor]]:
        """Return the model's output as the stage meets it, and its regularisers by name, at the steps that have any.

        `of_stage` counts steps from the beginning of the stage.
        """
        model = self.model
        if not stage.twin:
            with self._ends():
                return _whole(model(x)), {}
        assert isinstance(model, HybridDEQ)  # fit has looked
        chip, conditions = self.encounters.at(stage, (of_stage + 1) / (stage.epochs * self.batches), step)
        # A chip is met once: what resistive wires do to it is not worth solving exactly.
        layer = model.program(chip, conditions, wires="first-order")
        with self._ends():
            drive = model.parameterize(x)
        state = model.on_chip(drive, layer)
        settled = read(state, noise_generator(self.seed, step) if stage.thermal_noise else None)
        with self._ends():
            output = _whole(model.readout(settled))
        if of_stage % stage.losses_every:
            return output, {}
        asked = [name for name, weight in stage.losses.items() if weight]
        return output, {name: self.losses[name](state, loss_generator(self.seed, step)) for name in asked}

    def _ends(self) -> torch.autocast:
        """Return what the digital ends are computed under; equilibria and regularisers are not."""
        return torch.autocast("cpu", torch.bfloat16, enabled=self.config.precision == "bfloat16")

    def _count(self, share: Share, means: dict[str, float], of: str = "samples") -> None:
        sums = self._sums
        for name, mean in means.items():
            sums[name] = sums.get(name, 0.0) + mean * share.samples
        sums[of] = sums.get(of, 0.0) + share.samples

    def _clip(self, grads: list[Tensor], index: int) -> None:
        """Clip the norm of all gradients together; refuse one that is not finite: it would poison every weight."""
        norm = float(torch.linalg.vector_norm(torch.stack(torch._foreach_norm(grads))))
        if not math.isfinite(norm):
            names = parameters_not_finite(self.model, lambda p: p.grad)
            raise NotFiniteError(f"{self._where(index)}: inf or nan in the gradient of {', '.join(names)}")
        if norm > self.config.gradient_clip:
            torch._foreach_mul_(grads, self.config.gradient_clip / norm)

    def on_train_epoch_end(self) -> None:
        """Write the epoch's row."""
        sums = self._summed()
        self._sums = {}
        count, regularised = sums.pop("samples"), sums.pop("regularised", 1.0)
        name, stage, first = self.config.stage_at(self.current_epoch)
        row: dict[str, Any] = {
            "epoch": self.current_epoch,
            "stage": name,
            "loss": sums.pop("loss") / count,
            self.objective.score_name: sums.pop("score") / count,
            "learning_rate": float(self.optimizers().param_groups[0]["lr"]),  # type: ignore[union-attr]
        }
        row |= {term: total / regularised for term, total in sums.items()}
        if self.current_epoch == first + stage.epochs - 1 and self.after_stage is not None:
            row |= self.after_stage(self.model, name)
        self.history.append(row)

    def _summed(self) -> dict[str, float]:
        """Return the sums of all processes; the same names in all, for all were in the same stage."""
        if self.trainer.world_size == 1:
            return self._sums
        sums = torch.tensor(list(self._sums.values()), dtype=torch.float64)
        torch.distributed.all_reduce(sums)
        return dict(zip(self._sums, sums.tolist()))

    def configure_optimizers(self) -> Any:
        """AdamW under a one-cycle schedule over all stages."""
        c = self.config
        # One kernel for all parameters: of many small ones, each costs more to call than to compute.
        optimizer = torch.optim.AdamW(self.parameters(), lr=c.learning_rate, weight_decay=c.weight_decay, fused=True)
        schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, c.learning_rate, total_steps=c.epochs * self.batches)
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}

    def get_extra_state(self) -> list[dict[str, Any]]:
        """Return the rows so far: they travel with the weights, into checkpoints and back from other processes."""
        return self.history

    def set_extra_state(self, state: list[dict[str, Any]]) -> None:
        """Take the rows of the epochs before."""
        self.history = list(state)

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Say whose checkpoint it is."""
        checkpoint["belongs_to"] = self._identity()

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Refuse the state of another run."""
        if checkpoint["belongs_to"] != self._identity():
            raise UserError(
                "the checkpoint belongs to a run with another seed, technology or training settings; "
                "continue that one, or train into another folder"
            )

    def _identity(self) -> dict[str, Any]:
        return {
            "seed": self.seed,
            "training": self.config.model_dump(mode="json"),
            "hardware": self.spec.model_dump(mode="json"),
        }

    def _where(self, index: int) -> str:
        return f"epoch {self.current_epoch}, batch {index}"

    def _refuse_if_broken(self, index: int, symptom: str) -> None:
        names = parameters_not_finite(self.model, lambda p: p)
        if names:
            raise NotFiniteError(f"{self._where(index)}: {symptom}; inf or nan in parameter {', '.join(names)}")


def _whole(output: Tensor) -> Tensor:
    return output.float() if output.dtype is torch.bfloat16 else output


def _leave() -> None:
    if torch.distributed.is_initialized():
        torch.distributed.destroy_process_group()
