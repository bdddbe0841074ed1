"""The state of an unfinished training run: one file, replaced whole at the end of every epoch."""

from __future__ import annotations

import os
from pathlib import Path

import lightning
from lightning.pytorch.callbacks import Checkpoint


class EpochCheckpoint(Checkpoint):
    """Write weights, optimiser, schedule and history after every epoch.

    Lightning writes a checkpoint in place, so that a kill at the wrong moment leaves a torn file under the right name;
    this one is written beside it and renamed.

    Args:
        path: of the checkpoint; its folder is made if need be.
    """

    def __init__(self, path: Path) -> None:
        self.path = path

    def on_train_epoch_end(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule) -> None:
        """Save; Lightning calls checkpoint callbacks after the module has written the epoch's row."""
        self.path.parent.mkdir(parents=True, exist_ok=True)
        scratch = self.path.with_suffix(".part")
        trainer.save_checkpoint(scratch, weights_only=False)
        if trainer.is_global_zero:
            os.replace(scratch, self.path)
