"""Run ngspice as a subprocess: isolated, with a timeout, every failure an exception that names the deck line."""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import signal
import subprocess
import tempfile
from dataclasses import dataclass
from pathlib import Path

from equilog.circuit.rawfile import Plot, read_raw
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

    def run(self, folder: Path, deck: str, raw: str, *, timeout_second: float = 600) -> list[Plot]:
        """Simulate a deck of a circuit folder and return what it wrote.

        The folder is copied first: nothing is left behind in it, and parallel runs do not meet.

        Args:
            folder: the circuit folder; all that the deck includes lies in it.
            deck: file name of the deck within it.
            raw: name of the raw file that the deck (or ``-r``) writes.
            timeout_second: after which the simulator and its children are killed.

        Raises:
            NgspiceError: if it fails, hangs, or leaves no complete raw file.
        """
        with tempfile.TemporaryDirectory(prefix="equilog-ngspice-") as scratch:
            work = Path(scratch) / "circuit"
            shutil.copytree(folder, work)
            log = self._execute([self.program, "-n", "-b", "-r", "batch.raw", deck], work, timeout_second)
            result = next((work / name for name in (raw, "batch.raw") if (work / name).exists()), None)
            if complaint := _complaint(log):
                raise NgspiceError(f"ngspice failed on {deck}: {complaint}")
            if result is None:
                raise NgspiceError(f"ngspice wrote no {raw} for {deck}; it said: {_tail(log)}")
            return read_raw(result)

    def _execute(self, command: list[str], work: Path, timeout_second: float) -> str:
        # A session of its own, so that a timeout or Ctrl-C can kill whatever the simulator has started.
        # One OpenMP thread: device evaluation in several is slower on circuits of this size, and far slower
        # on a busy machine.
        environment = os.environ | {"OMP_NUM_THREADS": "1"}
        with subprocess.Popen(
            command,
            cwd=work,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        ) as process:
            try:
                out, _ = process.communicate(timeout=timeout_second)
            except subprocess.TimeoutExpired:
                _kill(process)
                raise NgspiceError(f"ngspice did not finish {command[-1]} within {timeout_second:g} s") from None
            except BaseException:
                _kill(process)
                raise
        return out.decode("utf-8", "replace")


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


def _kill(process: subprocess.Popen[bytes]) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()


_FATAL = re.compile(
    r"(?i)(^\s*error\b.*|.*\bfatal\b.*|.*singular matrix.*|.*no convergence.*|.*timestep too small.*"
    r"|.*simulation\(s\) aborted.*|.*analysis not run.*)"
)


def _complaint(log: str) -> str | None:
    """Return the lines in which ngspice reports a failure, or None.

    Its exit code says nothing: it is 0 after many errors. Failed gmin or source steps that a later attempt
    mended are reported as warnings and are no failure.
    """
    lines = [line.strip() for line in log.splitlines()]
    hits = [line for line in lines if _FATAL.match(line) and not line.lower().startswith("warning")]
    return "; ".join(dict.fromkeys(hits[:5])) or None


def _tail(log: str) -> str:
    return " | ".join(line.strip() for line in log.splitlines()[-5:] if line.strip()) or "nothing"
