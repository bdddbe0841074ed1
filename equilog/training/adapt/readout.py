"""The readout fitted to the states that a device really gives: where any transfer can begin, at no cost but settles."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from equilog.objective import Objective

PULL = 1e-4
"""Weight of the squared distance to the present parameters: nodes that never move keep the weights they have."""
_STEPS = 100


def refit(readout: nn.Module, states: Tensor, y: Tensor, objective: Objective) -> float:
    """Fit all parameters of a readout in place, by L-BFGS on the objective, pulled towards their present values.

    Args:
        readout: from ``(samples, n)`` to outputs.
        states: as the device reads them, shape ``(samples, n)``.
        y: what the objective compares outputs with, ``(samples, …)``.
        objective: the task's.

    Returns:
        the loss afterwards, without the pull.
    """
    parameters = [p for p in readout.parameters() if p.requires_grad]
    if not parameters:
        return float(objective.loss(readout(states), y).detach())
    start = [p.detach().clone() for p in parameters]
    optimizer = torch.optim.LBFGS(parameters, max_iter=_STEPS, line_search_fn="strong_wolfe")

    def closure() -> Tensor:
        distance = torch.stack([(p - s).square().sum() for p, s in zip(parameters, start)]).sum()
        loss = objective.loss(readout(states), y) + PULL * distance
        for p, g in zip(parameters, torch.autograd.grad(loss, parameters)):
            p.grad = g
        return loss.detach()

    optimizer.step(closure)
    for p in parameters:
        p.grad = None
    with torch.no_grad():
        return float(objective.loss(readout(states), y))
