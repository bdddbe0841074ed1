"""ngspice as a library, for the same circuit under many drives: no start of a program and no files for each.

libngspice holds one circuit per process, reports failures as text alone and may crash, exit or hang. Each session
therefore has a worker process (:mod:`equilog.circuit.library_worker`); whatever befalls it is an exception here.
"""

from __future__ import annotations

import contextlib
import ctypes.util
import json
import math
import os
import re
import socket
import subprocess
import sys
import time
import weakref
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from threading import Event, Lock
from types import TracebackType
from typing import Any, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray

from equilog.circuit import library_worker
from equilog.circuit.complaint import complaint
from equilog.circuit.deck import INCLUDE, DeckError, Line, check
from equilog.circuit.library_worker import EXIT, SIZES
from equilog.circuit.ngspice import (
    KLU_LINES,
    OLDEST_VERSION,
    NgspiceError,
    NgspiceMissingError,
    environment,
    kill_group,
    scratch_folder,
    signal_name,
    tail,
)
from equilog.circuit.rawfile import Plot

LIBRARY_HINT = "install it with: apt-get install libngspice0 (Debian, Ubuntu) or brew install libngspice (macOS)"
_SOURCE = re.compile(r"(?i)[VI][a-z0-9_]{0,60}")
_VECTOR = re.compile(r"(?i)[vi]\([a-z0-9_.#]{1,80}\)|time")


@dataclass(frozen=True)
class Library:
    """A libngspice found on this machine.

    Attributes:
        path: what the loader is given.
        version: its major version.
        klu: whether it was built with the KLU solver.
    """

    path: str
    version: int
    klu: bool = False


def find_library() -> Library:
    """Return the library named by ``EQUILOG_LIBNGSPICE``, or the loader's ``libngspice``.

    Raises:
        NgspiceMissingError: if there is none, it does not load, or it is older than version 39.
    """
    return _find(os.environ.get("EQUILOG_LIBNGSPICE", ""))


@lru_cache(maxsize=4)
def _find(wanted: str) -> Library:
    if os.name != "posix":
        raise NgspiceMissingError("libngspice is driven over POSIX sockets; elsewhere use the program ngspice")
    path = wanted or ctypes.util.find_library("ngspice")
    if not path:
        raise NgspiceMissingError(f"libngspice is not on this machine; {LIBRARY_HINT}")
    if os.sep in path:
        path = os.path.abspath(path)  # it is loaded from another folder
        if not Path(path).is_file():
            raise NgspiceMissingError(f"{path} is not on this machine; {LIBRARY_HINT}")
    # Asked in a worker: a library that does not load, or another one of that name, must not harm this process.
    try:
        with Session(["* probe", "V1 a 0 1", "R1 a 0 1"], Library(path, OLDEST_VERSION)) as session:
            said = session.said
            session.op(["v(a)"])
            said += session.said
    except NgspiceError as error:
        raise NgspiceMissingError(f"{path} does not work as libngspice: {error}; {LIBRARY_HINT}") from None
    version = re.search(r"ngspice-(\d+)", said)
    if version is None or int(version[1]) < OLDEST_VERSION:
        found = f"is ngspice {version[1]}" if version else "does not say that it is ngspice"
        raise NgspiceMissingError(f"{path} {found}, expected {OLDEST_VERSION} or later; {LIBRARY_HINT}")
    # Only a build with a choice of solvers says which one it takes.
    return Library(path, int(version[1]), klu="Direct Linear Solver" in said)


class Session:
    """One circuit in a worker process of its own, to be analysed again and again; a context manager.

    Every analysis starts afresh: what was asked before does not decide which resting point is found.
    Threads may share a session and take turns; a forked child may not.

    Args:
        lines: the deck, title first, without control blocks and includes; as text or from :func:`read_deck`.
        library: which; searched for unless given.
        timeout_second: for the start and for reading the circuit.

    Raises:
        DeckError: if the deck asks for more than an analysis.
        NgspiceError: if the library refuses it, crashes or does not finish.
        NgspiceMissingError: if no library is found.

    Attributes:
        said: what the library printed while it read the circuit, or in the last analysis.
        own_second: what ngspice itself needed for the last analysis, or all of its samples.
    """

    def __init__(
        self, lines: Sequence[Line | str], library: Library | None = None, *, timeout_second: float = 60
    ) -> None:
        library = library or find_library()
        self._deck = [Line("deck", k, text) if isinstance(text, str) else text for k, text in enumerate(lines, 1)]
        check(self._deck)
        text = [line.text for line in self._deck if line.number]
        if include := next((line for line in self._deck if INCLUDE.match(line.text)), None):
            raise DeckError(f"{include}: put the file's lines in its place, as read_deck does")
        text = [line for line in text if line.strip().lower() != ".end"]
        if library.klu and len(text) >= KLU_LINES:
            text.append(".options klu")
        self._lock = Lock()
        self._owner = os.getpid()
        # Empty: a .spiceinit in the working or home folder would be run.
        with contextlib.ExitStack() as made:
            folder = made.enter_context(scratch_folder())
            self._pipe, theirs = (made.enter_context(end) for end in socket.socketpair())
            self._pipe.settimeout(0.1)
            self._errors = folder / "stderr"
            with theirs, self._errors.open("wb") as errors:
                self._process = subprocess.Popen(
                    [sys.executable, "-I", "-S", library_worker.__file__, str(theirs.fileno())],
                    pass_fds=[theirs.fileno()],
                    cwd=folder,
                    env=environment() | {"HOME": str(folder)},
                    stdin=subprocess.DEVNULL,
                    stdout=errors,
                    stderr=errors,
                    start_new_session=True,
                )
            self._end = weakref.finalize(self, _end, self._process, self._pipe, made.pop_all(), self._owner)
        header, _ = self._ask({"library": library.path, "lines": [*text, ".end"]}, b"", timeout_second, None)
        self.said, self.own_second = _plain(header["said"]), 0.0
        if fault := complaint(self.said, self._deck):
            self.close()
            raise NgspiceError(f"ngspice refuses the circuit: {fault}")

    @property
    def alive(self) -> bool:
        """Whether it can still be asked: not closed, not killed after a timeout, not crashed."""
        return self._end.alive and self._process.poll() is None

    def op(self, vectors: Sequence[str], sources: Mapping[str, float] | None = None) -> NDArray[np.float64]:
        """Return vectors of one operating point, shape ``(len(vectors),)``; arguments as for :meth:`sweep`."""
        sources = sources or {}
        return self.sweep(list(sources), [list(sources.values())], vectors)[0]

    def sweep(
        self,
        sources: Sequence[str],
        values: ArrayLike,
        vectors: Sequence[str],
        *,
        timeout_second: float | None = None,
        cancel: Event | None = None,
    ) -> NDArray[np.float64]:
        """Return operating points under several settings of the sources, which keep the last one.

        Args:
            sources: names of independent sources, such as ``Vd0``.
            values: volts or amperes, shape ``(samples, len(sources))``.
            vectors: what to return, such as ``v(sp0)``.
            timeout_second: for all; 60 s and 2 s a sample unless given.
            cancel: set it from another thread to have the worker killed at once.

        Returns:
            shape ``(samples, len(vectors))``.

        Raises:
            NgspiceError: for the first sample without a proven operating point; if the worker crashes, is cancelled or
                does not finish, which ends the session.
            ValueError: for a name that must not reach ngspice, a value that is not finite, or another shape.
        """
        table = np.ascontiguousarray(values, dtype=np.float64)
        if table.ndim != 2 or table.shape[1] != len(sources):
            raise ValueError(f"values of shape {table.shape}: expected (samples, {len(sources)}), a column per source")
        limit = 60 + 2.0 * len(table) if timeout_second is None else timeout_second
        found = self._analyse("op", sources, table, vectors, limit, cancel)
        if found.size != len(table) * len(vectors):
            raise NgspiceError(f"ngspice returned {found.size} voltages, expected {len(table) * len(vectors)}")
        return found.reshape(len(table), len(vectors))

    def tran(
        self,
        vectors: Sequence[str],
        step_second: float,
        stop_second: float,
        *,
        sources: Mapping[str, float] | None = None,
        longest_step_second: float | None = None,
        from_rest: bool = False,
        timeout_second: float = 1800,
        cancel: Event | None = None,
    ) -> Plot:
        """Return one transient at the library's own time points; ``time`` is its first vector.

        Args:
            vectors: what to return beside the time.
            step_second: what ngspice's first step is made from.
            stop_second: until when.
            sources: set before.
            longest_step_second: `step_second` unless given.
            from_rest: start from the operating point instead of discharged capacitors.
            timeout_second, cancel: as for :meth:`sweep`, which says what is raised.
        """
        times = (step_second, stop_second, longest_step_second or step_second)
        if not all(math.isfinite(t) and t > 0 for t in times):
            raise ValueError(f"step, stop and longest step of {times} s: expected finite times above 0")
        step, stop, longest = (repr(float(t)) for t in times)
        command = f"tran {step} {stop} 0 {longest}" + ("" if from_rest else " uic")
        names, sources = ("time", *vectors), sources or {}
        row = np.array([list(sources.values())], dtype=np.float64)
        data = self._analyse(command, list(sources), row, names, timeout_second, cancel)
        return Plot("Transient Analysis", names, data.reshape(len(names), -1).T)

    def close(self) -> None:
        """End the worker; nothing if it has ended."""
        self._end()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, _kind: type[BaseException] | None, _error: BaseException | None, _where: TracebackType | None
    ) -> None:
        self.close()

    def _analyse(
        self,
        command: str,
        sources: Sequence[str],
        values: NDArray[np.float64],
        vectors: Sequence[str],
        timeout_second: float,
        cancel: Event | None,
    ) -> NDArray[np.float64]:
        for kind, pattern, names in (("source", _SOURCE, sources), ("vector", _VECTOR, vectors)):
            if strange := [name for name in names if not pattern.fullmatch(name)]:
                raise ValueError(f"{kind} {strange[0]!r} must not reach ngspice; expected {pattern.pattern}")
        if not vectors:
            raise ValueError("no vectors: name at least one, such as v(v0)")
        if not np.isfinite(values).all():
            k, j = np.argwhere(~np.isfinite(values))[0]
            raise ValueError(f"{sources[j]} = {values[k, j]} in sample {k}: expected finite numbers")
        request = {"command": command, "sources": sources, "vectors": vectors, "samples": len(values)}
        header, body = self._ask(request, values.tobytes(), timeout_second, cancel)
        self.said, self.own_second = _plain(header["said"]), header["seconds"]
        for k, said in header["warnings"].items():
            if fault := complaint(_plain(said), self._deck):
                raise NgspiceError(f"ngspice failed on sample {k}: {fault}")
        if header["missing"]:
            raise NgspiceError(f"ngspice has no {', '.join(header['missing'])}; it said: {tail(self.said)}")
        return np.frombuffer(body, dtype=np.float64)

    def _ask(
        self, request: dict[str, Any], body: bytes, timeout_second: float, cancel: Event | None
    ) -> tuple[dict[str, Any], bytes]:
        if os.getpid() != self._owner:
            raise NgspiceError("a session of ngspice does not survive a fork: open one in this process")
        with self._lock:
            if not self._end.alive:
                raise NgspiceError("this session of ngspice has ended: open another")
            clock = _Clock(timeout_second, cancel)
            try:
                head = json.dumps(request).encode()
                self._send(SIZES.pack(len(head), len(body)) + head + body, clock)
                sizes = SIZES.unpack(self._receive(SIZES.size, clock))
                header, found = json.loads(self._receive(sizes[0], clock)), self._receive(sizes[1], clock)
                if header["kind"] == EXIT:
                    said = _plain(header["said"])
                    reason = complaint(said, self._deck) or tail(said)
                    raise NgspiceError(f"libngspice gave up with status {header['status']}: {reason}")
            except BaseException:
                self.close()
                raise
        return header, found

    def _send(self, content: bytes, clock: _Clock) -> None:
        rest = memoryview(content)
        while rest:
            try:
                rest = rest[self._pipe.send(rest) :]
            except TimeoutError:
                clock.check()
            except OSError:
                raise self._died() from None

    def _receive(self, count: int, clock: _Clock) -> bytes:
        content = bytearray(count)
        rest = memoryview(content)
        while rest:
            try:
                got = self._pipe.recv_into(rest)
            except TimeoutError:
                clock.check()
                continue
            except OSError:
                got = 0
            if got == 0:
                raise self._died()
            rest = rest[got:]
        return bytes(content)

    def _died(self) -> NgspiceError:
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(2)
        code = self._process.returncode
        how = (
            "closed its pipe"
            if code is None
            else f"died of {signal_name(-code)}"
            if code < 0
            else f"exited with {code}"
        )
        try:
            said = tail(self._errors.read_text(encoding="utf-8", errors="replace"))
        except OSError:
            said = "nothing"
        return NgspiceError(f"the worker of libngspice {how}; it said last: {said}")


class _Clock:
    """When to give up."""

    def __init__(self, timeout_second: float, cancel: Event | None) -> None:
        self._limit, self._cancel = timeout_second, cancel
        self._deadline = time.monotonic() + timeout_second

    def check(self) -> None:
        if self._cancel is not None and self._cancel.is_set():
            raise NgspiceError("the worker of libngspice was stopped")
        if time.monotonic() > self._deadline:
            raise NgspiceError(f"libngspice did not finish within {self._limit:g} s; its worker was killed")


def _plain(said: Sequence[str]) -> str:
    return "\n".join(text.removeprefix("stdout ").removeprefix("stderr ") for text in said)


def _end(process: subprocess.Popen[bytes], pipe: socket.socket, made: contextlib.ExitStack, owner: int) -> None:
    pipe.close()
    if os.getpid() == owner:  # in a forked child the worker is still its parent's
        kill_group(process)
        made.close()
