"""A chip's netlist in ngspice as a device."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any, Literal, get_args

import torch
from torch import Tensor

from equilog import circuit
from equilog.circuit import sky130
from equilog.circuit.library import Library, find_library
from equilog.circuit.ngspice import Ngspice, NgspiceError, NgspiceMissingError, find_ngspice
from equilog.devices.device import BaseDevice, Cell, Settled
from equilog.devices.twin import TwinDevice
from equilog.hardware import Chip, ProgrammedLayer
from equilog.hardware.twin import adc, dac

Blocks = Literal["macro", "transistors"]


class NgspiceDevice(BaseDevice):
    """Settles the chip's circuit in the simulator, one operating point a sample.

    The analog part is ngspice's alone; DAC and ADC are the ideal quantisers of the twin at its ends. Where there is a
    libngspice of the simulator's version the programmed circuit stays loaded in it from one settling to the next;
    otherwise, and with a `folder`, the simulator is started each time. Both give the same answers.

    Args:
        chip: the chip.
        simulator: the one on this machine unless given.
        folder: keep the circuit and the bench of the last settling here; a temporary folder otherwise.
        library: False to start the simulator each time.
        blocks: what amplifiers and activations are: ``macro`` models that the twin solves digit for digit, or SKY130
            ``transistors``, for a chip of :func:`equilog.circuit.sky130.characterised_spec`; the simulator is then
            started each time.

    Raises:
        NgspiceMissingError: if no simulator is found.
        Sky130MissingError: if transistors are asked for and their models are not installed.
        ValueError: for other blocks.
    """

    name = "ngspice"

    def __init__(
        self,
        chip: Chip,
        simulator: Ngspice | None = None,
        folder: Path | None = None,
        *,
        library: bool = True,
        blocks: Blocks = "macro",
    ) -> None:
        if blocks not in get_args(Blocks):
            raise ValueError(f"blocks = {blocks!r}: expected one of {', '.join(get_args(Blocks))}")
        if blocks == "transistors":
            sky130.require()
        self.blocks = blocks
        self.simulator = simulator or find_ngspice()
        self.folder = folder
        self._programmer = TwinDevice(chip)
        self._library = _library_like(self.simulator) if library and folder is None and blocks == "macro" else None
        self._session: circuit.LibrarySession | None = None
        self._loaded: ProgrammedLayer | None = None

    @property
    def layer(self) -> ProgrammedLayer:
        """The programmed chip; raises ``RuntimeError`` before :meth:`program`."""
        return self._programmer.layer

    def program(self, cell: Cell) -> None:
        """Program the chip: the same conductances as the twin of the same seed."""
        self._programmer.program(cell)
        self.close()

    def close(self) -> None:
        """End the library's process; it is started again when needed."""
        if self._session is not None:
            self._session.close()
        self._session = self._loaded = None

    def __getstate__(self) -> dict[str, Any]:
        return self.__dict__ | {"_session": None, "_loaded": None}  # a process is not copied

    @torch.no_grad()
    def settle(self, drive: Tensor) -> Settled:
        """Return the resting node voltages that ngspice finds, in the model's units."""
        layer = self.layer
        played = dac(layer, drive.double())
        if self._library is not None:
            v, s = self._in_library(self._library, played * float(layer.spec.dac.full_scale_volt))
        else:
            with tempfile.TemporaryDirectory(prefix="equilog-circuit-") as scratch:
                folder = self.folder or Path(scratch)
                write = sky130.write_transistor_circuit if self.blocks == "transistors" else circuit.write_circuit
                write(layer, folder, rest=played)
                v, s = circuit.rest(self.simulator, folder, layer.states, len(played))
        z = s / float(layer.spec.activation.v_out_volt)
        return self.corrected(Settled(v / float(layer.spec.activation.v_scale_volt), z, adc(layer, z)))

    def _in_library(self, library: Library, volts: Tensor) -> tuple[Tensor, Tensor]:
        before = self._session
        session = self._open(library)
        try:
            return session.rest(volts)
        except NgspiceError:
            # A process that ended since it last answered is begun again; one that this circuit ends is not.
            if session is not before or session.session.alive:
                raise
            return self._open(library).rest(volts)

    def _open(self, library: Library) -> circuit.LibrarySession:
        """Return a session with the present circuit: the last one if it lives."""
        if self._session is None or self._loaded is not self.layer or not self._session.session.alive:
            self.close()
            with tempfile.TemporaryDirectory(prefix="equilog-circuit-") as scratch:
                circuit.write_circuit(self.layer, Path(scratch))
                self._session = circuit.LibrarySession(Path(scratch), library)
            self._loaded = self.layer
        return self._session


def _library_like(simulator: Ngspice) -> Library | None:
    """Return the libngspice of the simulator's version, if there is one."""
    try:
        library = find_library()
    except NgspiceMissingError:
        return None
    return library if library.version == simulator.version else None
