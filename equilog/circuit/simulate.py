"""Settle a written circuit in ngspice and hand back node voltages in the twin's order and shape."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from threading import Event

import numpy as np
import torch
from torch import Tensor

from equilog.circuit.ngspice import Ngspice, NgspiceError
from equilog.circuit.rawfile import Plot


@dataclass(frozen=True)
class Waveform:
    """One simulated transient.

    Attributes:
        time_second: the simulator's own time points, shape ``(points,)``.
        v_volt: amplifier outputs, shape ``(points, n)``.
        s_volt: activation outputs, same shape.
    """

    time_second: Tensor
    v_volt: Tensor
    s_volt: Tensor


def rest(
    simulator: Ngspice, folder: Path, states: int, samples: int, cancel: Event | None = None
) -> tuple[Tensor, Tensor]:
    """Run ``op.cir`` of a circuit folder; `cancel` as in :meth:`Ngspice.run`.

    Returns:
        amplifier and activation outputs at rest, each of shape ``(samples, states)``, float64.

    Raises:
        NgspiceError: if the simulator fails or settles fewer samples than the bench asks for.
    """
    plots = simulator.run(folder, "op.cir", "op.raw", timeout_second=60 + 2.0 * samples, cancel=cancel)
    if len(plots) != samples:
        raise NgspiceError(f"op.cir asks for {samples} operating points, ngspice returned {len(plots)}")
    v = torch.stack([_nodes(plot, "v", states)[0] for plot in plots])
    s = torch.stack([_nodes(plot, "sp", states)[0] for plot in plots])
    return v, s


def settle(simulator: Ngspice, folder: Path, states: int, sample: int, cancel: Event | None = None) -> Waveform:
    """Run ``settle_K.cir`` of a circuit folder; raises :class:`NgspiceError` if the simulator fails."""
    plot = simulator.run(folder, f"settle_{sample}.cir", "tran.raw", timeout_second=1800, cancel=cancel)[-1]
    time = torch.from_numpy(plot["time"].copy())
    return Waveform(time, _nodes(plot, "v", states), _nodes(plot, "sp", states))


def _nodes(plot: Plot, prefix: str, states: int) -> Tensor:
    return torch.from_numpy(np.stack([plot[f"v({prefix}{i})"] for i in range(states)], axis=1))
