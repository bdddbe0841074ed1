"""From data set to verified circuit: one run, step by step."""

from equilog.pipeline.build import TARGETS, compile_run, parts_of_run
from equilog.pipeline.train import adapt_run, load_data, mean_score, objective_of, train_run
from equilog.pipeline.verify import UNSEEN_CHIPS, cost_of_run, verify_run
from equilog.pipeline.whole_run import run

__all__ = [
    "TARGETS",
    "UNSEEN_CHIPS",
    "adapt_run",
    "compile_run",
    "cost_of_run",
    "load_data",
    "mean_score",
    "objective_of",
    "parts_of_run",
    "run",
    "train_run",
    "verify_run",
]
