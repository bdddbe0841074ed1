"""Yield: how a model fares on many chips, each with a mismatch of its own, and how many of them are good enough."""

from equilog.yields.report import Spread, YieldReport
from equilog.yields.rows import ChipRow, Standing
from equilog.yields.settings import StudyConfig
from equilog.yields.statistics import wilson_interval
from equilog.yields.study import Study, study, study_run

__all__ = [
    "ChipRow",
    "Spread",
    "Standing",
    "Study",
    "StudyConfig",
    "YieldReport",
    "study",
    "study_run",
    "wilson_interval",
]
