"""The wire to a LUCIDAC: one run at a time through the vendor's client, with an end to every wait.

The client (lucipy) waits for ever on a machine that is silent or has hung up. Here every read has a deadline, and
after any failure the connection is closed: what would still come from it belongs to another question.
"""

from __future__ import annotations

import logging
import math
import select
import socket
import time
from collections.abc import Sequence
from contextlib import suppress
from typing import Any
from urllib.parse import urlsplit

import torch
from torch import Tensor

from equilog.devices.device import DeviceError, DeviceTimeoutError
from equilog.devices.lucidac_circuit import Lane
from equilog.names import UserError

SCHEMES = ("emu", "sim", "tcp", "serial")
IC_SECOND = 1e-4
"""how long initial values are loaded; the vendor's figure for k₀ = 10⁴/s"""
SAMPLES = 200
"""wanted of a run, at least; fewer only if the converters are too slow"""


def scheme(endpoint: str) -> str:
    """Return what kind of connection an endpoint names; raises ``UserError`` for an unknown one."""
    kind = endpoint.partition(":")[0].lower()
    if kind not in SCHEMES or ":" not in endpoint:
        raise UserError(
            f"endpoint {endpoint!r}: expected 'tcp://host:5732', 'serial:/dev/…' or the vendor's emulator, 'emu:/'"
        )
    return kind


class Link:
    """An open connection.

    Args:
        endpoint: as lucipy writes them; never searched for on the network.
        timeout_second: longest wait for any one answer; longer than a run, which lasts up to a second.

    Raises:
        UserError: for an endpoint that is none, or lucipy missing.
        DeviceError: if the machine cannot be reached.
    """

    def __init__(self, endpoint: str, timeout_second: float) -> None:
        kind = scheme(endpoint)
        if not 0 < timeout_second < math.inf:
            raise UserError(f"timeout_second = {timeout_second}: expected a time above 0")
        parts = urlsplit(endpoint)
        # Without user and password: they belong in no message, and the client would log in before its reads end.
        self.endpoint = parts._replace(netloc=parts.netloc.rpartition("@")[2]).geturl() if parts.netloc else endpoint
        self.timeout_second = timeout_second
        self._vendor = _lucipy()
        self._client: Any = None
        try:
            client = self._vendor.LUCIDAC("emu:/")  # its own sockets wait for ever: it gets another one
            client.sock = self._vendor.synchc.jsonlines(self._wire(kind), ignore_invalid_json_reads=kind == "serial")
            if parts.username:
                client.login(parts.username, parts.password)
        except TimeoutError:
            raise DeviceTimeoutError(f"{self.endpoint} did not answer within {timeout_second:g} s") from None
        except (OSError, ValueError, ImportError, self._vendor.synchc.RemoteError) as error:
            raise DeviceError(f"{self.endpoint} cannot be reached: {error}") from None
        self._client = client

    def _wire(self, kind: str) -> _Tcp | _Deadline:
        if kind == "tcp":
            where = self._vendor.Endpoint(self.endpoint)
            return _Tcp(where.host, where.port, self.timeout_second)
        return _Deadline(self._vendor.synchc.endpoint2socket(self.endpoint), kind, self.timeout_second)

    def run(self, lanes: Sequence[Lane], channels: Sequence[int], duration_second: float) -> Tensor:
        """Program the lanes, run from zero, and return what the converters saw, shape ``(time, len(channels))``.

        Raises:
            DeviceTimeoutError: if an answer does not come in time.
            DeviceError: if the connection is closed or breaks, or the answer is not what was asked for.
        """
        if self._client is None:
            raise DeviceError(f"the connection to {self.endpoint} is closed; make a new device")
        try:
            return self._run(lanes, channels, duration_second)
        except TimeoutError:
            self.close()
            raise DeviceTimeoutError(
                f"{self.endpoint} did not answer within {self.timeout_second:g} s; the connection is closed"
            ) from None
        except DeviceError:
            self.close()
            raise
        except Exception as error:
            # The client lets through whatever an unexpected answer causes in it, from KeyError to AssertionError.
            self.close()
            what = f"{type(error).__name__}: {error}"
            raise DeviceError(f"{self.endpoint} failed, the connection is closed: {what}") from error
        except BaseException:  # Ctrl-C in the middle of an answer
            self.close()
            raise

    def _run(self, lanes: Sequence[Lane], channels: Sequence[int], duration_second: float) -> Tensor:
        circuit = self._vendor.Circuit()
        circuit.use_constant(True)
        for lane in lanes:
            circuit.route(lane.source, lane.number, lane.coefficient, lane.target)
        for k, output in enumerate(channels):
            circuit.measure(output, adc_channel=k)
        rates = self._vendor.LUCIDAC.allowed_sample_rates
        rate = next((r for r in rates if r * duration_second >= SAMPLES), rates[-1])
        self._client.set_circuit(circuit.generate())
        self._client.set_daq(num_channels=len(channels), sample_rate=rate)
        self._client.set_run(ic_time=round(IC_SECOND * 1e9), op_time=round(duration_second * 1e9))
        data = torch.tensor(self._client.start_run().data(), dtype=torch.float64)
        expected = int(rate * duration_second)
        if data.ndim != 2 or data.shape[1] != len(channels):
            raise DeviceError(
                f"{self.endpoint} sent data of shape {tuple(data.shape)}, expected {len(channels)} columns"
            )
        if len(data) < 0.9 * expected:
            raise DeviceError(
                f"{self.endpoint} sent {len(data)} of {expected} samples: it stopped early, by an overload?"
            )
        if not bool(data.isfinite().all()):
            raise DeviceError(f"{self.endpoint} sent a number that is inf or nan")
        return data

    def close(self) -> None:
        """Hang up; closing again does nothing."""
        client, self._client = self._client, None
        if client is not None:
            with suppress(OSError):  # a broken connection is closed enough
                client.close()


class _Tcp:
    """Lines over TCP, as the client wants them; every wait ends in ``TimeoutError`` or ``ConnectionError``."""

    def __init__(self, host: str, port: int, timeout_second: float) -> None:
        self.socket = socket.create_connection((host, port), timeout_second)
        self.timeout_second = timeout_second
        self.received = b""

    def send(self, line: str) -> None:
        self.socket.settimeout(self.timeout_second)
        self.socket.sendall(line.encode() + b"\n")

    def read(self) -> str:
        """Return the next line that is not blank."""
        end = time.monotonic() + self.timeout_second
        while True:
            while b"\n" not in self.received:
                self.socket.settimeout(max(1e-3, end - time.monotonic()))
                more = self.socket.recv(65536)
                if not more:
                    raise ConnectionError("the machine closed the connection")
                self.received += more
                if time.monotonic() > end:
                    raise TimeoutError
            line, _, self.received = self.received.partition(b"\n")
            if line.strip():
                return line.decode("utf-8", "replace")

    def has_data(self) -> bool:
        return b"\n" in self.received or bool(select.select([self.socket], [], [], 0)[0])

    def close(self) -> None:
        self.socket.close()


class _Deadline:
    """One of the client's own sockets, serial or the emulator, whose reads end."""

    def __init__(self, inner: Any, kind: str, timeout_second: float) -> None:
        self.inner, self.kind, self.timeout_second = inner, kind, timeout_second
        if kind == "serial":
            inner.fh.timeout = timeout_second

    def read(self) -> str:
        if self.kind == "serial":  # polled: a read without data returns at once
            end = time.monotonic() + self.timeout_second
            while not self.inner.has_data():
                if time.monotonic() > end:
                    raise TimeoutError
                time.sleep(1e-3)
        line: str | None = self.inner.read()
        if not line:
            raise ConnectionError("the machine gave no answer")
        return line

    def send(self, line: str) -> None:
        self.inner.send(line)

    def has_data(self) -> bool:
        return bool(self.inner.has_data())

    def close(self) -> None:
        self.inner.close()


def _lucipy() -> Any:
    """Import the vendor's client without letting it configure the program's logging."""
    root, guard = logging.getLogger(), logging.NullHandler()
    root.addHandler(guard)  # logging.basicConfig, which it calls, does nothing if there is a handler
    try:
        import lucipy  # noqa: PLC0415
        from lucipy import synchc  # noqa: F401, PLC0415
    except ImportError:
        raise UserError("the LUCIDAC needs its vendor's client: pip install 'equilog[lucidac]'") from None
    finally:
        root.removeHandler(guard)
    return lucipy
