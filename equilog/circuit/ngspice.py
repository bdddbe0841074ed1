"""Run ngspice as a subprocess: isolated, with a timeout, every failure an exception that names the deck line."""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import signal
import subprocess
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from threading import Event

from equilog.circuit.rawfile import Plot, RawFileError, read_raw
from equilog.names import UserError

INSTALL_HINT = "install it with: apt-get install ngspice (Debian, Ubuntu) or brew install ngspice (macOS)"
OLDEST_VERSION = 39


class NgspiceMissingError(UserError):
    """No usable simulator on this machine."""


class NgspiceError(RuntimeError):
    """The simulator ran and failed; the message holds what it said."""


@dataclass(frozen=True)
class Ngspice:
    """A simulator found on this machine.

    Attributes:
        program: the executable.
        version: its major version.
    """

    program: str
    version: int

    def run(
        self, folder: Path, deck: str, raw: str, *, timeout_second: float = 600, cancel: Event | None = None
    ) -> list[Plot]:
        """Simulate a deck of a circuit folder and return what it wrote.

        The folder is copied first: nothing is left behind in it, and parallel runs do not meet.

        Args:
            folder: the circuit folder; all that the deck includes lies in it.
            deck: file name of the deck within it.
            raw: name of the raw file that the deck (or ``-r``) writes.
            timeout_second: after which the simulator and its children are killed.
            cancel: set it from another thread to have them killed at once.

        Raises:
            NgspiceError: if it fails, hangs, is cancelled, or leaves no complete raw file.
            NgspiceMissingError: if the executable has vanished.
        """
        with tempfile.TemporaryDirectory(prefix="equilog-ngspice-") as scratch:
            work = Path(scratch) / "circuit"
            # Raw files of runs by hand stay behind: decks append to theirs, and an old one must not pass for a result.
            shutil.copytree(folder, work, ignore=shutil.ignore_patterns("*.raw"))
            command = [self.program, "-n", "-b", "-r", "batch.raw", deck]
            log = self._execute(command, work, timeout_second, cancel or Event())
            result = next((work / name for name in (raw, "batch.raw") if (work / name).exists()), None)
            if complaint := _complaint(log):
                raise NgspiceError(f"ngspice failed on {deck}: {complaint}")
            if result is None:
                raise NgspiceError(f"ngspice wrote no {raw} for {deck}; it said: {_tail(log)}")
            try:
                return read_raw(result)
            except RawFileError as error:
                raise NgspiceError(f"ngspice left a broken result for {deck}: {error}") from None

    def _execute(self, command: list[str], work: Path, timeout_second: float, cancel: Event) -> str:
        # A session of its own, so that whatever the simulator has started can be killed with it. A terminal's Ctrl-C
        # does not reach that session: the caller has to set `cancel`.
        # One OpenMP thread: device evaluation in several is slower on circuits of this size, and far slower
        # on a busy machine.
        environment = os.environ | {"OMP_NUM_THREADS": "1"}
        try:
            process = subprocess.Popen(
                command,
                cwd=work,
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        except OSError as error:
            raise NgspiceMissingError(f"{self.program} does not start: {error}; {INSTALL_HINT}") from None
        deadline = time.monotonic() + timeout_second
        with process:
            try:
                while True:
                    try:
                        out, _ = process.communicate(timeout=0.1)
                        return out.decode("utf-8", "replace")
                    except subprocess.TimeoutExpired:
                        _check_time(command[-1], deadline, timeout_second, cancel)
            except BaseException:
                _kill(process)
                raise


def find_ngspice() -> Ngspice:
    """Return the simulator named by ``EQUILOG_NGSPICE``, or the ``ngspice`` on the PATH.

    Raises:
        NgspiceMissingError: if there is none, it does not run, or it is older than version 39.
    """
    wanted = os.environ.get("EQUILOG_NGSPICE", "ngspice")
    program = shutil.which(wanted)
    if program is None:
        raise NgspiceMissingError(f"{wanted} is not on this machine; {INSTALL_HINT}")
    try:
        said = subprocess.run(
            [program, "--version"],
            capture_output=True,
            text=True,
            errors="replace",
            timeout=30,
            check=False,
            stdin=subprocess.DEVNULL,
        ).stdout
    except (OSError, subprocess.TimeoutExpired) as error:
        raise NgspiceMissingError(f"{program} does not run: {error}") from None
    match = re.search(r"ngspice-(\d+)", said)
    if match is None:
        raise NgspiceMissingError(f"{program} does not say that it is ngspice; {INSTALL_HINT}")
    version = int(match.group(1))
    if version < OLDEST_VERSION:
        raise NgspiceMissingError(f"ngspice {version} is too old, expected {OLDEST_VERSION} or later; {INSTALL_HINT}")
    return Ngspice(program, version)


def _check_time(deck: str, deadline: float, timeout_second: float, cancel: Event) -> None:
    if cancel.is_set():
        raise NgspiceError(f"ngspice was stopped while running {deck}")
    if time.monotonic() > deadline:
        raise NgspiceError(f"ngspice did not finish {deck} within {timeout_second:g} s")


def _kill(process: subprocess.Popen[bytes]) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()


_FATAL = re.compile(
    r"(?i)(^\s*error\b.*|.*\bfatal\b.*|.*singular matrix.*|.*no convergence.*|.*timestep too small.*"
    r"|.*simulation\(s\) aborted.*|.*analysis not run.*)"
)

_REASON = re.compile(r"(?i)(netlist line|original line|undefined|unknown|unable to|could not|no such|can't find)")


def _complaint(log: str) -> str | None:
    """Return the lines in which ngspice reports a failure, or None.

    Its exit code says nothing: it is 0 after many errors. Failed gmin or source steps that a later attempt
    mended are reported as warnings and are no failure. When source stepping fails too, ngspice falls back to a
    transient that it takes for the resting point; that is no proof, so here it is a failure. The reason of an error
    often stands in the lines around it.
    """
    lines = [line.strip() for line in log.splitlines()]
    hits = [line for line in lines if _FATAL.match(line) and "warning:" not in line.lower()]
    if any("source stepping failed" in line.lower() for line in lines):
        singular = [line for line in lines if "singular matrix" in line.lower()]
        hits += ["no convergence to an operating point: source stepping failed", *singular[:1]]
    if not hits:
        return None
    reasons = [line for line in lines if _REASON.search(line)]
    return "; ".join(dict.fromkeys(reasons[:5] + hits[:5]))


def _tail(log: str) -> str:
    return " | ".join(line.strip() for line in log.splitlines()[-5:] if line.strip()) or "nothing"
