"""A circuit on a bench as a device: instruments behind VISA play the drives and read the voltages.

The board's weights are in its resistors: programming only checks that cell and bench are of one size. Every voltage of
a batch is checked against its range before the first is sent; after a batch, a failure or Ctrl-C the sources play
their safe voltage.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

import torch
from torch import Tensor

from equilog.cells import Activation
from equilog.cells.circuit_cell import check_drive
from equilog.devices.device import BaseDevice, Cell, DeviceError, DeviceTimeoutError, Settled
from equilog.devices.instrument_bench import Bench, Drives, Readings
from equilog.names import UserError

OVERLOAD = 9e36
"""SCPI says 9.9e37 where it means: too much"""


class InstrumentDevice(BaseDevice):
    """The circuit on a bench.

    Args:
        bench: instruments, channels, ranges; :func:`~equilog.devices.instrument_bench.load_bench` reads one.
        visa: PyVISA's library: ``"@py"`` in pure Python, ``""`` for the vendor's, ``"file.yaml@sim"`` simulated.

    Raises:
        UserError: if PyVISA or the library is missing.
        DeviceError: if an instrument cannot be opened, is another one, or refuses its setup.
        DeviceTimeoutError: if one does not answer.
    """

    def __init__(self, bench: Bench, visa: str = "@py") -> None:
        self.name = bench.name
        self.bench = bench
        self._activation: Activation | None = None
        self._open: dict[str, Any] = {}
        try:
            import pyvisa  # noqa: PLC0415

            self._pyvisa = pyvisa
            self._manager = pyvisa.ResourceManager(visa)
        except ImportError:
            raise UserError("a bench of instruments needs PyVISA: pip install 'equilog[instrument]'") from None
        except (OSError, ValueError) as error:
            raise UserError(f"VISA library {visa!r} cannot be used: {error}") from None
        with self._safely():
            for name in bench.instruments:
                self._greet(name)

    def program(self, cell: Cell) -> None:
        """Check that the cell has as many drives and states as the bench; the board holds the weights.

        Raises:
            UserError: if not.
        """
        counts = {
            "drives": (cell.drives, sum(len(block.channels) for block in self.bench.drives)),
            "states": (cell.states, self._nodes),
        }
        if wrong := [f"{a} {what}, but {self.name} has {b} channels" for what, (a, b) in counts.items() if a != b]:
            raise UserError("the cell has " + "; ".join(wrong))
        self._activation = cell.activation

    @torch.no_grad()
    def settle(self, drive: Tensor) -> Settled:
        """Play drives of shape ``(batch, m)`` one after another, wait for rest, and read.

        Raises:
            RuntimeError: if not programmed.
            ValueError: for another shape, or a drive that is not finite.
            UserError: if a voltage is out of its range; nothing has been sent then.
            DeviceTimeoutError: if an instrument does not answer, or the ready line does not come.
            DeviceError: if the device is closed, or an instrument fails or reads beyond its range. All but the first
                leave the device closed and its sources safe.
        """
        if self._activation is None:
            raise RuntimeError("program the device before settling")
        if not self._open:
            raise DeviceError(f"{self.name} is closed; make a new device")
        volts = self._volts(drive)
        with self._safely():
            rows = [self._sample(k, row) for k, row in enumerate(volts)]
            for block, channel in self._played:
                self._write(block, channel, block.safe_volt)
        table = torch.tensor(rows, dtype=torch.float64)
        n = self._nodes
        p = table[:, -n:] if self.bench.preactivations else torch.full((len(rows), n), math.nan, dtype=torch.float64)
        z = table[:, :n] if self.bench.states else self._activation(p)
        return self.corrected(Settled(p, z, z))

    def close(self) -> None:
        """Play the safe voltages, send every shutdown command, and let go of the instruments.

        Raises:
            DeviceError: if an instrument could not be made safe, after all others were.
        """
        failures: dict[str, str] = {}

        def attempt(name: str, action: Callable[[], Any]) -> None:
            try:
                action()
            except Exception as error:  # whatever fails here, all others must still be made safe
                failures.setdefault(name, f"{type(error).__name__}: {error}")

        for block, channel in self._played:
            if block.instrument in self._open:  # not all are, if opening failed
                attempt(block.instrument, partial(self._write, block, channel, block.safe_volt))
        for name, instrument in self._open.items():
            for command in self.bench.instruments[name].shutdown:
                attempt(name, partial(instrument.write, command))
            attempt(name, instrument.close)
        self._open = {}
        if failures:
            said = "; ".join(f"{name}: {error}" for name, error in failures.items())
            raise DeviceError(f"{self.name} may not be safe, look at it: {said}")

    @property
    def _played(self) -> list[tuple[Drives, int]]:
        return [(block, channel) for block in self.bench.drives for channel in block.channels]

    @property
    def _nodes(self) -> int:
        return sum(len(block.channels) for block in self.bench.states or self.bench.preactivations)

    def _greet(self, name: str) -> None:
        what = self.bench.instruments[name]
        instrument: Any = self._manager.open_resource(what.resource)
        if not hasattr(instrument, "query"):
            instrument.close()
            raise DeviceError(f"{what.resource} is not an instrument that takes messages; look at its VISA address")
        instrument.timeout = 1000 * what.timeout_second
        instrument.read_termination = instrument.write_termination = what.termination
        if what.identity and what.identity not in (found := str(instrument.query("*IDN?")).strip()):
            instrument.close()
            raise DeviceError(f"{what.resource} is {found!r}, expected {what.identity!r} in it: is it the right one?")
        self._open[name] = instrument  # only now: closing sends to what is in here
        for command in what.setup:
            instrument.write(command)
        self._check_errors(name)

    def _volts(self, drive: Tensor) -> list[list[float]]:
        """Return the voltages of all channels for every sample, all within their ranges."""
        channels = self._played
        check_drive(drive, len(channels))
        if not len(drive):
            raise ValueError("no sample to settle")
        if not bool(drive.isfinite().all()):
            raise ValueError("a drive is inf or nan")
        rows = [
            [value * block.volt_per_unit + block.offset_volt for value, (block, _) in zip(row, channels)]
            for row in drive.double().tolist()
        ]
        for k, row in enumerate(rows):
            for volt, (block, channel) in zip(row, channels):
                if not block.low_volt <= volt <= block.high_volt:
                    raise UserError(
                        f"sample {k}: channel {channel} of {block.instrument!r} would get {volt:.6g} V, allowed are "
                        f"{block.low_volt:g} to {block.high_volt:g} V; end parameterize in Tanh or scale it down"
                    )
        return rows

    def _sample(self, sample: int, volts: list[float]) -> list[float]:
        """Return what is read at rest, in the model's units: states, then pre-activations."""
        for volt, (block, channel) in zip(volts, self._played):
            self._write(block, channel, volt)
        for name in dict.fromkeys(block.instrument for block in self.bench.drives):
            self._check_errors(name)
        time.sleep(self.bench.settle_second)
        self._wait(sample)
        return [value for block in (*self.bench.states, *self.bench.preactivations) for value in self._read(block)]

    def _write(self, block: Drives, channel: int, volt: float) -> None:
        self._open[block.instrument].write(block.write.format(channel=channel, volt=volt))

    def _wait(self, sample: int) -> None:
        ready = self.bench.ready
        if ready is None:
            return
        end = time.monotonic() + ready.timeout_second
        while (said := self._ask(ready.instrument, ready.query)) != ready.answer:
            if time.monotonic() > end:
                raise DeviceTimeoutError(
                    f"sample {sample}: {ready.query!r} still says {said!r} after {ready.timeout_second:g} s, "
                    f"at rest it says {ready.answer!r}"
                )
            time.sleep(ready.poll_second)

    def _read(self, block: Readings) -> list[float]:
        if "{channels" in block.read:
            answers = self._ask(block.instrument, block.read.format(channels=",".join(map(str, block.channels)))).split(
                ","
            )
        else:
            answers = [self._ask(block.instrument, block.read.format(channel=channel)) for channel in block.channels]
        if len(answers) != len(block.channels):
            raise DeviceError(f"{block.instrument!r} gave {len(answers)} readings for {len(block.channels)} channels")
        return [
            (self._volt(a, block, c) - block.offset_volt) / block.volt_per_unit for a, c in zip(answers, block.channels)
        ]

    def _volt(self, answer: str, block: Readings, channel: int) -> float:
        try:
            volt = float(answer)
        except ValueError:
            raise DeviceError(f"channel {channel} of {block.instrument!r} reads {answer!r}: not a number") from None
        if not math.isfinite(volt) or abs(volt) > OVERLOAD:
            raise DeviceError(f"channel {channel} of {block.instrument!r} reads {answer!r}: an overload")
        if not block.low_volt <= volt <= block.high_volt:
            raise DeviceError(
                f"channel {channel} of {block.instrument!r} reads {volt:.6g} V, expected {block.low_volt:g} to "
                f"{block.high_volt:g} V"
            )
        return volt

    def _check_errors(self, name: str) -> None:
        query = self.bench.instruments[name].error_query
        if query and not (said := self._ask(name, query)).lstrip("+").startswith("0"):
            raise DeviceError(f"{name!r} reports {said!r}")

    def _ask(self, name: str, query: str) -> str:
        return str(self._open[name].query(query)).strip()

    @contextmanager
    def _safely(self) -> Iterator[None]:
        """Turn VISA's failures into ours; after any failure, Ctrl-C too, make everything safe and close."""
        try:
            yield
        except BaseException as error:
            try:
                self.close()
            except DeviceError as unsafe:
                error.add_note(str(unsafe))
            visa = self._pyvisa
            if isinstance(error, visa.errors.VisaIOError):
                late = error.error_code == visa.constants.StatusCode.error_timeout
                kind = DeviceTimeoutError if late else DeviceError
                raise kind(f"{self.name}: {error.description}").with_traceback(error.__traceback__) from error
            if isinstance(error, (visa.Error, OSError)):
                raise DeviceError(f"{self.name}: {error}") from error
            raise
