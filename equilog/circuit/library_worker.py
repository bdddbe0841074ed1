"""The process in which libngspice runs: a script of the standard library alone, started by :mod:`.library`.

libngspice is one circuit per process, prints through callbacks, returns 0 whatever happens, and may call exit. Here it
may do all that. Requests and answers are frames on a socket: sizes, a JSON header, an array of float64. When the
other end closes, this process ends, even in the midst of an analysis.
"""

from __future__ import annotations

import ctypes
import json
import os
import select
import socket
import struct
import sys
import threading
import time
from array import array
from collections.abc import Callable
from ctypes import CFUNCTYPE, POINTER, c_bool, c_char_p, c_double, c_int, c_short, c_void_p
from typing import Any

SIZES = struct.Struct("<IQ")
LOADED, ANSWER, EXIT = "loaded", "answer", "exit"


class _Vector(ctypes.Structure):
    """``vector_info`` of ngspice's sharedspice.h."""

    _fields_ = (
        ("name", c_char_p),
        ("type", c_int),
        ("flags", c_short),
        ("real", POINTER(c_double)),
        ("complex", c_void_p),
        ("length", c_int),
    )


class _Library:
    """libngspice with all it says collected in `said`; lines begin with ``stdout`` or ``stderr``."""

    def __init__(self, path: str, on_exit: Callable[[int, list[str]], None]) -> None:
        self.said: list[str] = []
        self._api = ctypes.CDLL(path)
        self._api.ngGet_Vec_Info.restype = POINTER(_Vector)
        self._command = self._api.ngSpice_Command

        def say(text: bytes, _identity: int, _user: int) -> int:
            self.said.append(text.decode("utf-8", "replace"))
            return 0

        def leave(status: int, _at_once: bool, _quit: bool, _identity: int, _user: int) -> int:
            on_exit(status, self.said)
            return 0

        # Kept here: the library calls them as long as it lives.
        self._callbacks = (
            CFUNCTYPE(c_int, c_char_p, c_int, c_void_p)(say),
            CFUNCTYPE(c_int, c_int, c_bool, c_bool, c_int, c_void_p)(leave),
            CFUNCTYPE(c_int, c_bool, c_int, c_void_p)(lambda *_: 0),
        )
        text, end, background = self._callbacks
        self._api.ngSpice_Init(text, None, end, None, None, background, None)

    def command(self, text: str) -> None:
        self._command(text.encode("ascii"))

    def load(self, lines: list[str]) -> None:
        self._api.ngSpice_Circ((c_char_p * (len(lines) + 1))(*(line.encode("utf-8") for line in lines), None))

    def vector(self, name: bytes) -> bytes | None:
        """Return the values of a real vector of the present plot, or None if there is none."""
        found = self._api.ngGet_Vec_Info(name)
        # Without a type it is one of ngspice's constants: a missing v(c) would be the speed of light.
        if not found or not found.contents.type or not found.contents.real or found.contents.length < 1:
            return None
        return ctypes.string_at(found.contents.real, 8 * found.contents.length)


def _receive(pipe: socket.socket, count: int) -> bytes:
    parts = bytearray()
    while len(parts) < count:
        part = pipe.recv(min(count - len(parts), 1 << 20))
        if not part:
            os._exit(0)
        parts += part
    return bytes(parts)


def _read(pipe: socket.socket) -> tuple[dict[str, Any], array[float]]:
    head, body = SIZES.unpack(_receive(pipe, SIZES.size))
    header = json.loads(_receive(pipe, head))
    values = array("d")
    values.frombytes(_receive(pipe, body))
    return header, values


def _write(pipe: socket.socket, header: dict[str, Any], body: bytes = b"") -> None:
    head = json.dumps(header).encode()
    pipe.sendall(SIZES.pack(len(head), len(body)) + head + body)


def _end_with(pipe: socket.socket) -> None:
    """End this process when the other end is closed; the library does not return to look."""
    poll = select.poll()
    poll.register(pipe, 0)  # a hangup is always reported
    while not any(event & (select.POLLHUP | select.POLLERR) for _, event in poll.poll()):
        pass
    os._exit(0)


def _analyse(library: _Library, request: dict[str, Any], values: array[float]) -> tuple[dict[str, Any], bytes]:
    """Set the sources of each sample, analyse, read; stop at the first sample of which a vector is missing."""
    set_to = [f"alter {name} dc = " for name in request["sources"]]
    vectors = [name.encode("ascii") for name in request["vectors"]]
    command, width = request["command"], len(set_to)
    present: list[float | None] = [None] * width
    results: list[bytes] = []
    warnings: dict[int, list[str]] = {}
    missing: list[str] = []
    seconds = 0.0
    for k in range(request["samples"]):
        library.said.clear()
        for j, value in enumerate(values[k * width : (k + 1) * width]):
            if value != present[j]:
                library.command(set_to[j] + repr(value))
                present[j] = value
        began = time.perf_counter()
        library.command(command)
        seconds += time.perf_counter() - began
        found = [library.vector(name) for name in vectors]
        library.command("destroy all")
        missing = [name for name, column in zip(request["vectors"], found) if column is None]
        if missing or any(text.startswith("stderr") for text in library.said):
            warnings[k] = library.said.copy()
        if missing:
            results.clear()
            break
        results += [column for column in found if column is not None]
    answer = {"kind": ANSWER, "warnings": warnings, "missing": missing[:5], "said": library.said, "seconds": seconds}
    return answer, b"".join(results)


def main() -> None:
    """Serve the socket whose file descriptor is the argument."""
    pipe = socket.socket(fileno=int(sys.argv[1]))
    threading.Thread(target=_end_with, args=(pipe,), daemon=True).start()
    request, _ = _read(pipe)

    def leave(status: int, said: list[str]) -> None:
        _write(pipe, {"kind": EXIT, "status": status, "said": said[-40:]})
        os._exit(1)

    library = _Library(request["library"], leave)
    library.command("set num_threads=1")
    library.load(request["lines"])
    _write(pipe, {"kind": LOADED, "said": library.said})
    while True:
        _write(pipe, *_analyse(library, *_read(pipe)))


if __name__ == "__main__":
    main()
