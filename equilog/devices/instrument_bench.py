"""A bench of instruments as data: which plays the drives, which reads the voltages, in which words and ranges.

Commands are what the instruments' manuals say. In the two that carry numbers, ``{channel}`` and ``{volt:.6f}`` (or
``{channels}`` in a reading of all at once) are filled in; nothing else is, and nothing else can be.
"""

from __future__ import annotations

import re
import string
from pathlib import Path
from typing import Annotated, Any, Self

from pydantic import AfterValidator, Field, model_validator

from equilog.names import Strict, load_yaml, nearest, parse

_NUMBER = r"[+ ]?0?\d*(\.\d+)?[dfFeEgG]?"
MAX_CHANNELS = 4096


def _command(text: str) -> str:
    if not text or not text.isascii() or not text.isprintable():
        raise ValueError("expected one line of printable ASCII")
    return text


def _template(text: str, fields: tuple[str, ...], needed: tuple[str, ...]) -> str:
    """Return a command in which only these fields are replaced, by numbers."""
    _command(text)
    found = []
    for _, field, form, conversion in string.Formatter().parse(text):
        if field is None:
            continue
        if field not in fields:
            raise ValueError(f"unknown field {{{field}}}{nearest(field, fields)}; expected {_braced(fields)}")
        if conversion or not re.fullmatch(_NUMBER if field != "channels" else "", form or ""):
            raise ValueError(f"{{{field}:{form}}}: expected a number's format such as {{volt:.6f}}")
        found.append(field)
    if not set(needed) <= set(found):
        raise ValueError(f"expected the field {_braced(needed)} in it")
    _command(text.format(channel=1, channels="1", volt=-0.5))
    return text


def _braced(fields: tuple[str, ...]) -> str:
    return " and ".join(f"{{{field}}}" for field in fields)


def _write(text: str) -> str:
    return _template(text, ("channel", "volt"), ("volt",))


def _read(text: str) -> str:
    together = "{channels" in text
    return _template(text, ("channels",) if together else ("channel",), ())


Command = Annotated[str, AfterValidator(_command)]
WriteTemplate = Annotated[str, AfterValidator(_write)]
ReadTemplate = Annotated[str, AfterValidator(_read)]
Channel = Annotated[int, Field(ge=0, le=99999)]
Seconds = Annotated[float, Field(gt=0, le=3600)]


class Instrument(Strict):
    """One instrument and how to greet it."""

    resource: Command
    """VISA address, as ``TCPIP::192.168.0.7::INSTR`` or ``ASRL/dev/ttyUSB0::INSTR``"""
    identity: str = ""
    """must occur in the answer to ``*IDN?``; left out: not asked. It guards against driving the wrong instrument."""
    setup: tuple[Command, ...] = ()
    """sent once when opened: ranges, current limits, outputs on"""
    shutdown: tuple[Command, ...] = ()
    """sent when closed, and after any failure: outputs off"""
    error_query: Command | None = None
    """asked after setup and after every sample's drives; an answer other than ``0…`` is a failure. ``SYST:ERR?``"""
    timeout_second: Seconds = 5.0
    termination: str = "\n"
    """ends every line in both directions"""


class _Channels(Strict):
    """Channels of one instrument with one scale: ``volt = volt_per_unit · value + offset_volt``."""

    instrument: str
    channels: tuple[Channel, ...] = Field(min_length=1, max_length=MAX_CHANNELS)
    volt_per_unit: float
    """of a drive 1, or of a state or pre-activation 1: V_s or V_a; negative where the board inverts"""
    offset_volt: float = 0.0
    low_volt: float
    high_volt: float
    """what may be played or read; beyond it is refused"""

    @model_validator(mode="after")
    def _sound(self) -> Self:
        if not self.low_volt < self.high_volt:
            raise ValueError(f"low_volt = {self.low_volt} must be below high_volt = {self.high_volt}")
        if self.volt_per_unit == 0:
            raise ValueError("volt_per_unit = 0: expected the voltage of 1")
        if len(set(self.channels)) < len(self.channels):
            raise ValueError(f"channels {list(self.channels)}: one stands twice")
        return self


class Drives(_Channels):
    """Channels that play drives."""

    write: WriteTemplate
    """as ``SOUR{channel}:VOLT {volt:.6f}``"""
    safe_volt: float = 0.0
    """played after every batch, after any failure, and before closing"""

    @model_validator(mode="after")
    def _safe(self) -> Self:
        if not self.low_volt <= self.safe_volt <= self.high_volt:
            raise ValueError(f"safe_volt = {self.safe_volt} lies outside {self.low_volt} … {self.high_volt} V")
        return self


class Readings(_Channels):
    """Channels that read voltages."""

    read: ReadTemplate
    """as ``MEAS:VOLT:DC? (@{channel})``, one answer a channel; or with ``{channels}``, all in one answer"""


class Ready(Strict):
    """A line that says that the circuit is at rest, polled."""

    instrument: str
    query: Command
    answer: str
    """what it answers at rest, spaces at both ends aside"""
    poll_second: Seconds = 0.01
    timeout_second: Seconds = 1.0


class Bench(Strict):
    """Everything an :class:`~equilog.devices.instrument.InstrumentDevice` needs to know; one YAML file."""

    name: str = "bench"
    instruments: dict[str, Instrument] = Field(min_length=1)
    drives: tuple[Drives, ...] = Field(min_length=1)
    """in the order of the cell's drives"""
    states: tuple[Readings, ...] = ()
    """in the order of the cell's states; left out: computed from the pre-activations by the cell's own activation"""
    preactivations: tuple[Readings, ...] = ()
    """likewise; left out: not known"""
    settle_second: float = Field(ge=0, le=3600)
    """waited after the drives are played, before anything is read"""
    ready: Ready | None = None
    """then polled, if there is one"""

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if not (self.states or self.preactivations):
            raise ValueError("expected states or preactivations: nothing is read")
        blocks: list[_Channels | Ready] = [*self.drives, *self.states, *self.preactivations]
        for block in [*blocks, self.ready] if self.ready else blocks:
            if block.instrument not in self.instruments:
                raise ValueError(
                    f"unknown instrument {block.instrument!r}{nearest(block.instrument, self.instruments)}; "
                    f"expected one of: {', '.join(self.instruments)}"
                )
        played = [(block.instrument, channel) for block in self.drives for channel in block.channels]
        if twice := {pair for pair in played if played.count(pair) > 1}:
            raise ValueError(f"channel {min(twice)[1]} of {min(twice)[0]!r} is driven twice")
        counts = [sum(len(block.channels) for block in group) for group in (self.states, self.preactivations) if group]
        if len(set(counts)) > 1:
            raise ValueError(f"{counts[0]} states but {counts[1]} preactivations are read")
        return self


def load_bench(path: str | Path) -> Bench:
    """Read a bench from a YAML file; raises ``UserError`` naming every mistake."""
    return bench_from_data(load_yaml(Path(path)), str(path))


def bench_from_data(data: Any, where: str = "bench") -> Bench:
    """Validate a mapping as a bench; raises ``UserError`` naming every mistake."""
    return parse(Bench, data, where)
