"""The twin in time: how a programmed chip gets to rest, and whether it stays there."""

from equilog.hardware.transient.transient import Trajectory, Transient, UnstableChipError

__all__ = ["Trajectory", "Transient", "UnstableChipError"]
