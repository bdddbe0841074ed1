"""The training loop: Lightning carries it, and a run that was killed ends with the same numbers.

The order of an epoch depends on ``(seed, epoch)``, the chip and the augmentation of a step on ``(seed, step)``, so a
resumed run repeats the epoch it was in exactly.
"""

from __future__ import annotations

import logging
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from equilog.hardware import Spec
from equilog.model import HybridDEQ
from equilog.names import UserError
from equilog.training.config import TrainConfig
from equilog.training.finite import check_finite
from equilog.training.randomness import EpochOrder

if TYPE_CHECKING:
    import lightning

    from equilog.training.module import Augment


class TrainingInterrupted(KeyboardInterrupt):
    """Ctrl-C during training; the state up to the last epoch is in the checkpoint named by the message."""


def fit(
    model: HybridDEQ,
    x: Tensor,
    y: Tensor,
    spec: Spec,
    config: TrainConfig | None = None,
    *,
    seed: int = 0,
    augment: Augment | None = None,
    state: Path | None = None,
    progress: bool = True,
    after_ideal: Callable[[HybridDEQ], dict[str, float]] | None = None,
) -> list[dict[str, Any]]:
    """Train in place: first the ideal model, then through the static twin of `spec` on changing chips.

    Args:
        model: what to train; on the CPU.
        x, y: inputs ``(samples, …)`` and class indices ``(samples,)``.
        spec: the technology whose chips the second stage meets.
        config: settings; defaults otherwise.
        seed: fixes order, chips and augmentation (not the initial weights, which `model` brings).
        augment: ``(batch, generator) -> batch``, applied to training inputs.
        state: folder for the checkpoint. If it holds one, training goes on from there.
        progress: show a progress bar.
        after_ideal: called once, between the stages; what it returns is added to that epoch's row.

    Returns:
        one row per epoch: ``epoch, stage, loss, accuracy, learning_rate`` (on training data, as met).

    Raises:
        NotFiniteError: for inf or nan in data, loss or gradients.
        TrainingInterrupted: on Ctrl-C.
        UserError: if Lightning is not installed.
    """
    config = config or TrainConfig()
    check_finite(x, "training inputs")
    if len(x) != len(y) or len(x) == 0:
        raise ValueError(f"{len(x)} inputs and {len(y)} labels: expected as many of each, and at least one")
    if config.epochs == 0:
        return []
    try:
        import lightning  # noqa: PLC0415  (heavy, and only training needs it)
    except ImportError:
        raise UserError("training needs Lightning: pip install 'equilog[train]'") from None
    from equilog.training.module import CurriculumModule  # noqa: PLC0415

    sampler = EpochOrder(len(x), config.batch_size, seed)
    module = CurriculumModule(model, spec, config, seed, len(sampler), augment, after_ideal)
    loader = DataLoader(_Tensors(x, y), sampler=sampler, batch_size=None)
    with warnings.catch_warnings(), _quiet_lightning():
        # Batches are slices of tensors in memory: worker processes would only slow them down.
        warnings.filterwarnings("ignore", ".*does not have many workers.*")
        warnings.filterwarnings("ignore", ".*LeafSpec.* is deprecated.*")
        last = None if state is None else state / "last.ckpt"
        trainer = _trainer(lightning, config, last, progress)
        resume = str(last) if last is not None and last.exists() else None
        try:
            trainer.fit(module, loader, ckpt_path=resume, weights_only=True)
        except (KeyboardInterrupt, SystemExit):
            raise TrainingInterrupted(str(last) if last and last.exists() else "no epoch was finished") from None
        if trainer.interrupted:
            raise TrainingInterrupted(str(last) if last and last.exists() else "no epoch was finished")
    return list(module.history)


class _Tensors(Dataset[tuple[Tensor, Tensor]]):
    """Whole batches by a list of indices: one gather instead of a Python loop over samples."""

    def __init__(self, x: Tensor, y: Tensor) -> None:
        self.x, self.y = x, y

    def __getitem__(self, index: list[int]) -> tuple[Tensor, Tensor]:
        return self.x[index], self.y[index]


def _trainer(lightning: Any, config: TrainConfig, last: Path | None, progress: bool) -> lightning.Trainer:
    from lightning.pytorch.callbacks import Callback, RichProgressBar  # noqa: PLC0415

    from equilog.training.checkpoint import EpochCheckpoint  # noqa: PLC0415

    callbacks: list[Callback] = []
    if progress:
        callbacks.append(RichProgressBar(console_kwargs={"stderr": True}))
    if last is not None:
        callbacks.append(EpochCheckpoint(last))
    return lightning.Trainer(
        max_epochs=config.epochs,
        accelerator="cpu",
        devices=1,
        callbacks=callbacks,
        logger=False,
        enable_checkpointing=last is not None,
        enable_model_summary=False,
        enable_progress_bar=progress,
        gradient_clip_val=config.gradient_clip,
        use_distributed_sampler=False,
    )


class _quiet_lightning:
    """Keep Lightning's banners about accelerators out of the user's terminal."""

    def __enter__(self) -> None:
        self._loggers = [logging.getLogger(n) for n in ("lightning.pytorch", "lightning.fabric")]
        self._levels = [logger.level for logger in self._loggers]
        for logger in self._loggers:
            logger.setLevel(logging.ERROR)

    def __exit__(self, *exc: object) -> None:
        for logger, level in zip(self._loggers, self._levels):
            logger.setLevel(level)
