"""Training: the losses, the curriculum from ideal to chips, and the loop that survives being killed."""

from equilog.training.config import TrainConfig
from equilog.training.finite import NotFiniteError
from equilog.training.fit import TrainingInterrupted, fit

__all__ = ["NotFiniteError", "TrainConfig", "TrainingInterrupted", "fit"]
