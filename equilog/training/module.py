"""The Lightning module of the curriculum: which stage a step belongs to, its loss, and its sanity."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import lightning
import torch
from torch import Tensor, nn

from equilog.equilibrium import NotConvergedError
from equilog.hardware import Spec
from equilog.model import HybridDEQ
from equilog.names import UserError
from equilog.training.config import TrainConfig
from equilog.training.finite import NotFiniteError, parameters_not_finite
from equilog.training.randomness import step_generator, training_chip

Augment = Callable[[Tensor, torch.Generator], Tensor]


class CurriculumModule(lightning.LightningModule):
    """Cross-entropy through the ideal model, then through the twin of a new chip at every step.

    Args:
        model, spec, config, seed, augment, after_ideal: see :func:`equilog.training.fit`.
        batches: steps per epoch.
    """

    def __init__(
        self,
        model: HybridDEQ,
        spec: Spec,
        config: TrainConfig,
        seed: int,
        batches: int,
        augment: Augment | None,
        after_ideal: Callable[[HybridDEQ], dict[str, float]] | None,
    ) -> None:
        super().__init__()
        self.model = model
        self.spec, self.config, self.seed, self.batches = spec, config, seed, batches
        self.augment, self.after_ideal = augment, after_ideal
        self.history: list[dict[str, Any]] = []
        self._sums = torch.zeros(3, dtype=torch.float64)

    @property
    def stage(self) -> str:
        """``"ideal"`` or ``"twin"``."""
        return "ideal" if self.current_epoch < self.config.epochs_ideal else "twin"

    def training_step(self, batch: tuple[Tensor, Tensor], index: int) -> Tensor:
        """Return the loss of one batch; stop with names if it is not finite."""
        x, y = batch
        if self.augment is not None:
            x = self.augment(x, step_generator(self.seed, self.global_step))
        chip = None if self.stage == "ideal" else training_chip(self.spec, self.seed, self.global_step)
        try:
            logits = self.model(x, chip)
        except (ValueError, NotConvergedError) as error:
            self._refuse_if_broken(index, str(error))
            raise
        loss = nn.functional.cross_entropy(logits, y, label_smoothing=self.config.label_smoothing)
        value = float(loss.detach())
        if not math.isfinite(value):
            self._refuse_if_broken(index, f"the loss is {value}")
            raise NotFiniteError(
                f"{self._where(index)}: the loss is {value} although inputs and parameters are finite; "
                "lower the learning rate"
            )
        hits = (logits.detach().argmax(1) == y).sum()
        self._sums += torch.tensor([value * len(y), float(hits), len(y)], dtype=torch.float64)
        return loss

    def on_after_backward(self) -> None:
        """Refuse to step on a gradient that is not finite: it would poison every weight."""
        grads = [p.grad for p in self.model.parameters() if p.grad is not None]
        if not bool(torch.isfinite(torch.stack(torch._foreach_norm(grads))).all()):
            names = parameters_not_finite(self.model, lambda p: p.grad)
            raise NotFiniteError(
                f"epoch {self.current_epoch}, step {self.global_step}: inf or nan in the gradient of {', '.join(names)}"
            )

    def on_train_epoch_end(self) -> None:
        """Write the epoch's row."""
        loss, hits, count = self._sums.tolist()
        self._sums.zero_()
        row: dict[str, Any] = {
            "epoch": self.current_epoch,
            "stage": self.stage,
            "loss": loss / count,
            "accuracy": hits / count,
            "learning_rate": float(self.optimizers().param_groups[0]["lr"]),  # type: ignore[union-attr]
        }
        if self.current_epoch == self.config.epochs_ideal - 1 and self.after_ideal is not None:
            row |= self.after_ideal(self.model)
        self.history.append(row)

    def configure_optimizers(self) -> Any:
        """AdamW under a one-cycle schedule over both stages."""
        c = self.config
        optimizer = torch.optim.AdamW(self.parameters(), lr=c.learning_rate, weight_decay=c.weight_decay)
        schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, c.learning_rate, total_steps=c.epochs * self.batches)
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Keep the rows of the epochs so far."""
        checkpoint["history"] = self.history
        checkpoint["belongs_to"] = self._identity()

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Take the rows of the epochs before the interruption; refuse the state of another run."""
        if checkpoint["belongs_to"] != self._identity():
            raise UserError(
                "the checkpoint belongs to a run with another seed, technology or training settings; "
                "continue that one, or train into another folder"
            )
        self.history = list(checkpoint["history"])

    def _identity(self) -> dict[str, Any]:
        return {"seed": self.seed, "training": self.config.model_dump(), "hardware": self.spec.model_dump(mode="json")}

    def _where(self, index: int) -> str:
        return f"epoch {self.current_epoch}, batch {index}"

    def _refuse_if_broken(self, index: int, symptom: str) -> None:
        names = parameters_not_finite(self.model, lambda p: p)
        if names:
            raise NotFiniteError(f"{self._where(index)}: {symptom}; inf or nan in parameter {', '.join(names)}")
