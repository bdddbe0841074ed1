"""Training: losses with units, a curriculum from ideal to chips as data, and a loop that survives being killed."""

from equilog.training.config import TrainConfig
from equilog.training.curriculum import CURRICULA, curriculum
from equilog.training.finite import NotFiniteError
from equilog.training.fit import TrainingInterrupted, fit
from equilog.training.stage import Stage

__all__ = [
    "CURRICULA",
    "NotFiniteError",
    "Stage",
    "TrainConfig",
    "TrainingInterrupted",
    "curriculum",
    "fit",
]
