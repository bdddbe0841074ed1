"""The training loop: Lightning carries it, and a run that was killed ends with the same numbers.

The order of an epoch depends on ``(seed, epoch)``; chip, noise and augmentation of a step on ``(seed, step)``: a
resumed run repeats the epoch it was in exactly, and several processes share the batches that one would see.
"""

from __future__ import annotations

import logging
import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Any

from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset

from equilog.hardware import Spec
from equilog.model import HybridDEQ
from equilog.names import UserError
from equilog.objective import Classification, Objective
from equilog.training.config import TrainConfig
from equilog.training.finite import check_finite
from equilog.training.randomness import EpochOrder, Together

if TYPE_CHECKING:
    import lightning

    from equilog.training.module import AfterStage, Augment


class TrainingInterrupted(KeyboardInterrupt):
    """Ctrl-C during training; the state up to the last epoch is in the checkpoint named by the message."""


def fit(
    model: nn.Module,
    x: Tensor,
    y: Tensor,
    spec: Spec,
    config: TrainConfig | None = None,
    *,
    seed: int = 0,
    objective: Objective | None = None,
    augment: Augment | None = None,
    state: Path | None = None,
    progress: bool = True,
    after_stage: AfterStage | None = None,
    processes: int = 1,
) -> list[dict[str, Any]]:
    """Train in place through the stages of a curriculum.

    Args:
        model: what to train, on the CPU: a :class:`~equilog.model.HybridDEQ`, or, in stages that meet no chip, any
            module from inputs to outputs.
        x, y: inputs ``(samples, …)`` and what the objective compares outputs with, ``(samples, …)``; class indices for
            the default one.
        spec: the technology whose chips the model meets.
        config: settings; defaults otherwise.
        seed: fixes order, chips, noise and augmentation (not the initial weights, which `model` brings).
        objective: the task's loss and score; classification with the configuration's label smoothing unless given.
        augment: ``(x, y, generator) -> (x, y)``, applied to every training batch.
        state: folder for the checkpoint. If it holds one, training goes on from there.
        progress: show a progress bar.
        after_stage: called with the model and the stage's name at the end of each; what it returns is added to that
            epoch's row.
        processes: share every batch among so many processes (DDP over gloo). Weights then equal those of a single
            process to rounding, except where a stage draws noise sample by sample (converter noise, thermal noise):
            each process draws its own. What is passed in must be picklable, and the script that calls this importable
            (``if __name__ == "__main__"``).

    Returns:
        one row per epoch: ``epoch, stage, loss``, the score by its name, ``learning_rate``, and every regulariser of
        the stage before its weight; on training data, as met.

    Raises:
        NotFiniteError: for inf or nan in data, loss or gradients.
        ValueError: for no samples or not as many labels, and for a module without an equilibrium that is to meet chips.
        TrainingInterrupted: on Ctrl-C.
        UserError: if Lightning is not installed.
    """
    config = config or TrainConfig()
    check_finite(x, "training inputs")
    if len(x) != len(y) or len(x) == 0:
        raise ValueError(f"{len(x)} inputs and {len(y)} labels: expected as many of each, and at least one")
    if processes < 1:
        raise ValueError(f"processes = {processes}: expected 1 or more")
    chips = [name for name, stage in config.stages.items() if stage.twin and stage.epochs]
    if chips and not isinstance(model, HybridDEQ):
        raise ValueError(
            f"stage {chips[0]!r} meets chips, and a {type(model).__name__} has no equilibrium to put on one: expected "
            "a HybridDEQ, or ideal stages only"
        )
    if config.epochs == 0:
        return []
    try:
        import lightning  # noqa: PLC0415  (heavy, and only training needs it)
    except ImportError:
        raise UserError("training needs Lightning: pip install 'equilog[train]'") from None
    from equilog.training.module import STEPS_AT_ONCE, CurriculumModule  # noqa: PLC0415

    order = EpochOrder(len(x), config.batch_size, seed)
    goal = objective or Classification(config.label_smoothing)
    module = CurriculumModule(model, spec, config, goal, seed, len(order), augment, after_stage)
    loader = DataLoader(_Tensors(x, y), sampler=Together(order, STEPS_AT_ONCE), batch_size=None)
    with warnings.catch_warnings(), _quiet_lightning():
        # Batches are slices of tensors in memory: worker processes would only slow them down.
        warnings.filterwarnings("ignore", ".*does not have many workers.*")
        warnings.filterwarnings("ignore", ".*LeafSpec.* is deprecated.*")
        last = None if state is None else state / "last.ckpt"
        trainer = _trainer(lightning, config, last, progress, processes)
        resume = str(last) if last is not None and last.exists() else None
        try:
            trainer.fit(module, loader, ckpt_path=resume, weights_only=True)
        except (KeyboardInterrupt, SystemExit):
            raise TrainingInterrupted(str(last) if last and last.exists() else "no epoch was finished") from None
        if trainer.interrupted:
            raise TrainingInterrupted(str(last) if last and last.exists() else "no epoch was finished")
    return list(module.history)


class _Tensors(Dataset[list[tuple[Tensor, Tensor]]]):
    """Some batches, each by a list of indices: one gather instead of a Python loop over samples."""

    def __init__(self, x: Tensor, y: Tensor) -> None:
        self.x, self.y = x, y

    def __getitem__(self, batches: list[Tensor]) -> list[tuple[Tensor, Tensor]]:
        return [(self.x[batch], self.y[batch]) for batch in batches]


def _trainer(
    lightning: Any, config: TrainConfig, last: Path | None, progress: bool, processes: int
) -> lightning.Trainer:
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
        devices=processes,
        strategy="auto" if processes == 1 else "ddp_spawn",
        callbacks=callbacks,
        logger=False,
        enable_checkpointing=last is not None,
        enable_model_summary=False,
        enable_progress_bar=progress,
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
