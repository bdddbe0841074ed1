"""What crossbar and feedback resistors take on the way to rest, integrated along the twin's own transient.

An estimate charges the power at rest from the first instant on. Right after the reset the states are zero and crossbars
take less: that is on the safe side by some per cent of this one term, see ``benchmarks/netlist_power.py``.
"""

from __future__ import annotations

import torch
from torch import Tensor

from equilog.cost.analog import array_watt_at
from equilog.hardware import ProgrammedLayer
from equilog.hardware.transient import Transient


@torch.no_grad()
def settling_joule(layer: ProgrammedLayer, played: Tensor, until_second: float) -> tuple[Tensor, Tensor]:
    """Return what the resistors have turned into heat since the reset, and what the capacitors hold.

    Args:
        layer: the chip.
        played: drives as played, shape ``(batch, m)``.
        until_second: when to stop.

    Returns:
        ``∫P dt`` by the trapezoidal rule over the transient's grid, and ``½ C_f Σ y²`` at the end; joules, each of
        shape ``(batch,)``.

    Raises:
        ValueError: for a time that is not above 0.
    """
    if not 0 < until_second < float("inf"):
        raise ValueError(f"until_second = {until_second}: expected a time above 0")
    moving = Transient(layer, played)
    grid = moving.grid(until_second)
    grid = torch.cat([grid[grid < until_second], grid.new_tensor([until_second])])
    watts, y = [], None
    for state in moving.states(grid):
        y, v = state.unbind(-1)
        watts.append(array_watt_at(layer, v, y + v, moving.activation(v), played))
    assert y is not None  # a grid has instants
    return torch.trapezoid(torch.stack(watts), grid, dim=0), 0.5 * float(layer.c_feedback_farad) * (y**2).sum(1)
