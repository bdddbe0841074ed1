"""The convergence detector: what it would report of a chip on its way to rest, and whether it would be right."""

from equilog.hardware.detector.detector import (
    Detection,
    DetectorWatch,
    SettlingWatch,
    band,
    comparator_limits,
    detector_of,
    watch,
)

__all__ = ["Detection", "DetectorWatch", "SettlingWatch", "band", "comparator_limits", "detector_of", "watch"]
