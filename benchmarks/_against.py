"""A task's equilibrium and plain networks through one loop, as benchmarks on sequences report them: a row a network."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from typing import Any

import torch
from _chips import scores_on_chips
from torch import nn

from equilog.baselines.matching import parameter_count
from equilog.hardware import load_spec
from equilog.model import HybridDEQ
from equilog.pipeline import mean_score
from equilog.pipeline.measured import predictor
from equilog.tasks import Data, Task
from equilog.training import TrainConfig, fit
from equilog.training.curriculum import ideal

TECHNOLOGY = "rram"
EQUILIBRIUM = "DEQ"


def plain(config: TrainConfig, epochs: int | None = None, learning_rate: float | None = None) -> TrainConfig:
    """Return the settings for a network that no chip takes: as many epochs unless given, all ideal."""
    found = config.model_copy(update={"stages": ideal(config.epochs if epochs is None else epochs)})
    return found if learning_rate is None else found.model_copy(update={"learning_rate": learning_rate})


def row(
    task: Task, data: Data, called: str, make: Callable[[], nn.Module], config: TrainConfig, seed: int, chips: int
) -> dict[str, Any]:
    """Train one network and return its scores, on unseen chips too if it is an equilibrium."""
    torch.set_num_threads(1)
    torch.manual_seed(seed)
    network, objective, spec = make(), task.objective(data, config), load_spec(TECHNOLOGY)
    begin = time.process_time()
    fit(
        network, data.train_x, data.train_y, spec, config,
        seed=seed, objective=objective, augment=task.augment, progress=False,
    )  # fmt: skip
    network.eval()
    found = {
        "task": task.name, "model": called, "seed": seed, "parameters": parameter_count(network),
        "training_cpu_second": time.process_time() - begin, "score": objective.score_name,
        "ideal": mean_score(network, data.test_x, data.test_y, objective),
        "measures": {m.name: m.value for m in task.measures(predictor(network), data, ideal=False)},
    }  # fmt: skip
    if isinstance(network, HybridDEQ):
        found["chips"] = scores_on_chips(network, spec, data.test_x, data.test_y, objective, chips)
    return found


def told(found: dict[str, Any]) -> list[str]:
    """Return a row's figures as a table has them: parameters, score, mean and worst of the chips, seconds."""
    chips = found.get("chips") or []
    higher = found["score"] == "accuracy"
    worst = (min if higher else max)(chips, default=None)

    def shown(value: float | None) -> str:
        return "–" if value is None else f"{100 * value:.2f} %" if higher else f"{value:.4f}"

    mean = statistics.fmean(chips) if chips else None
    return [
        f"{found['parameters']:,}", shown(found["ideal"]), shown(mean), shown(worst),
        f"{found['training_cpu_second']:.0f}",
    ]  # fmt: skip
