"""Settle a written circuit in ngspice and hand back node voltages in the twin's order and shape."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from threading import Event
from types import TracebackType
from typing import Self

import numpy as np
import torch
from scipy.integrate import trapezoid
from torch import Tensor

from equilog.circuit.deck import DeckError, Line, read_deck
from equilog.circuit.library import Library, Session
from equilog.circuit.netlist import OP_OPTIONS, RECORDED
from equilog.circuit.ngspice import Ngspice, NgspiceError
from equilog.circuit.rawfile import Plot

RENEW_AFTER = 200_000
"""Operating points after which a session takes a new worker: libngspice 39 leaks about 1 KB with each."""


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
    # A dense crossbar has n² pairs, and each of Newton's steps goes through all of them.
    longest = 60 + samples * (2.0 + 2e-4 * states**2)
    plots = simulator.run(folder, "op.cir", "op.raw", timeout_second=longest, cancel=cancel)
    if len(plots) != samples:
        raise NgspiceError(f"op.cir asks for {samples} operating points, ngspice returned {len(plots)}")
    found = [rest_of(plot, states) for plot in plots]
    return torch.stack([v for v, _ in found]), torch.stack([s for _, s in found])


def rest_of(plot: Plot, states: int) -> tuple[Tensor, Tensor]:
    """Return amplifier and activation outputs of one operating point, each of shape ``(states,)``, float64."""
    return _nodes(plot, "v", states)[0], _nodes(plot, "sp", states)[0]


class LibrarySession:
    """A circuit folder in libngspice, settled again and again under other drives: :func:`rest` without its files.

    Args:
        folder: with ``layer.cir`` and what that includes; read once, no longer needed afterwards.
        library: which libngspice; searched for unless given.

    Raises:
        DeckError: if the folder holds no circuit, or one that asks for more than an analysis.
        NgspiceError: if the library refuses it.
        NgspiceMissingError: if no library is found.

    Attributes:
        states: number of neurons n.
        drives: number of drives m.
    """

    def __init__(self, folder: Path, library: Library | None = None) -> None:
        lines = read_deck(folder, "layer.cir", control=False)
        self.states, self.drives = (_count(lines, kind) for kind in ("xn", "vd"))
        if not self.states:
            raise DeckError(f"layer.cir in {folder} holds no neurons Xn0, Xn1, …: expected one by write_circuit")
        bench = [f".options {OP_OPTIONS}", *(f".save v(v{i}) v(sp{i})" for i in range(self.states))]
        lines += [Line("op.cir", k, text) for k, text in enumerate(bench, 1)]
        self._sources = [f"vd{k}" for k in range(self.drives)]
        self._vectors = [f"v({prefix}{i})" for prefix in RECORDED for i in range(self.states)]
        self._lines, self._library = lines, library
        self._settled = 0
        self.session = Session(lines, library)

    def rest(self, drive_volt: Tensor, cancel: Event | None = None) -> tuple[Tensor, Tensor]:
        """Settle the circuit.

        Args:
            drive_volt: what the DACs put out, shape ``(samples, m)``.
            cancel: as in :meth:`Session.sweep`.

        Returns:
            amplifier and activation outputs at rest in volts, each of shape ``(samples, n)``, float64.

        Raises:
            NgspiceError: as :meth:`Session.sweep`.
            ValueError: for another shape, or a drive that is not finite.
        """
        volts = drive_volt.detach().to("cpu", torch.float64).numpy()
        if self._settled > RENEW_AFTER and self.session.alive:
            self.session.close()
            self.session, self._settled = Session(self._lines, self._library), 0
        self._settled += len(volts)
        found = torch.from_numpy(self.session.sweep(self._sources, volts, self._vectors, cancel=cancel).copy())
        return found[:, : self.states], found[:, self.states :]

    def close(self) -> None:
        """End the worker; nothing if it has ended."""
        self.session.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, _kind: type[BaseException] | None, _error: BaseException | None, _where: TracebackType | None
    ) -> None:
        self.close()


def _count(lines: list[Line], kind: str) -> int:
    """Return how many devices ``kind0``, ``kind1``, … there are."""
    return sum(bool(re.match(rf"(?i){kind}\d+\s", line.text)) for line in lines)


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
