"""Settle a written circuit in ngspice and hand back node voltages in the twin's order and shape."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from threading import Event

import numpy as np
import torch
from scipy.integrate import trapezoid
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


def noise(simulator: Ngspice, folder: Path, nodes: int, samples: int, cancel: Event | None = None) -> Tensor:
    """Run ``noise.cir`` of a circuit folder; `cancel` as in :meth:`Ngspice.run`.

    Args:
        simulator: ngspice.
        folder: the circuit folder.
        nodes: how many amplifier outputs the bench looks at.
        samples: how many samples it settles.
        cancel: as above.

    Returns:
        noise of the amplifier outputs at rest in volts rms, integrated over the bench's frequencies, in the order of
        its nodes; shape ``(samples, nodes)``, float64.

    Raises:
        NgspiceError: if the simulator fails or returns fewer figures than the bench asks for.
    """
    count = nodes * samples
    plots = simulator.run(folder, "noise.cir", "noise.raw", timeout_second=120 + 10.0 * count, cancel=cancel)
    if len(plots) != count:
        raise NgspiceError(f"noise.cir asks for {count} noise figures, ngspice returned {len(plots)}")
    return torch.tensor([_integrated(plot) for plot in plots], dtype=torch.float64).view(samples, nodes)


def _integrated(plot: Plot) -> float:
    """Return the rms of a noise spectrum in V/√Hz.

    Not ngspice's own ``onoise_total``: it integrates device by device with a power law between points, which
    overflows to nan where a distant device's tiny share has a notch. In ln f the trapezoidal rule is as good as exact.
    """
    name = next(name for name in plot.names if "onoise_spectrum" in name)
    frequency, density = plot["frequency"], plot[name]
    return float(np.sqrt(trapezoid(frequency * density**2, np.log(frequency))))


def _nodes(plot: Plot, prefix: str, states: int) -> Tensor:
    return torch.from_numpy(np.stack([plot[f"v({prefix}{i})"] for i in range(states)], axis=1))
