"""Run ngspice as a subprocess: isolated, with a timeout, every failure an exception that names the deck line."""

from __future__ import annotations

import contextlib
import math
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass
from pathlib import Path
from threading import Event

from equilog.circuit.complaint import complaint
from equilog.circuit.deck import FILE_NAME, Line, included, read_deck
from equilog.circuit.rawfile import Plot, RawFileError, read_raw
from equilog.names import UserError

if sys.platform == "linux":
    import resource

INSTALL_HINT = "install it with: apt-get install ngspice (Debian, Ubuntu) or brew install ngspice (macOS)"
OLDEST_VERSION = 39
KLU_LINES = 3000
"""From this many lines of a deck on (32 dense neurons) KLU beats ngspice's own solver; below, it is the slower one."""


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
        klu: whether it was built with the KLU solver (some from version 42 on); large decks are given to it.
    """

    program: str
    version: int
    klu: bool = False

    def run(
        self, folder: Path, deck: str, raw: str, *, timeout_second: float = 600, cancel: Event | None = None
    ) -> list[Plot]:
        """Simulate a deck of a circuit folder and return what it wrote.

        The deck and what it includes are copied first: nothing is left behind in the folder, parallel runs do not meet,
        and no folder's name reaches the simulator.

        Args:
            folder: the circuit folder; all that the deck includes lies in it.
            deck: file name of the deck within it.
            raw: name of the raw file that the deck (or ``-r``) writes.
            timeout_second: after which the simulator and its children are killed.
            cancel: set it from another thread to have them killed at once.

        Raises:
            DeckError: if the deck or what it includes cannot be read, or asks for more than an analysis.
            NgspiceError: if the simulator fails, hangs, is cancelled, or leaves no complete raw file.
            NgspiceMissingError: if the executable has vanished.
            UserError: if there is no room for its scratch folder.
        """
        if not FILE_NAME.fullmatch(raw):
            raise UserError(f"raw file {raw!r}: expected a plain file name such as op.raw")
        lines = read_deck(folder, deck)
        with scratch_folder() as work:
            self._copy(folder, deck, lines, work)
            command = [self.program, "-n", "-b", "-D", "num_threads=1", "-r", "batch.raw", deck]
            log, code = self._execute(command, work, timeout_second, cancel or Event())
            result = next((work / name for name in (raw, "batch.raw") if (work / name).exists()), None)
            if said := complaint(log, lines):
                raise NgspiceError(f"ngspice failed on {deck}: {said}")
            if code < 0:
                raise NgspiceError(f"ngspice died of {signal_name(-code)} on {deck}; it said last: {tail(log)}")
            if result is None:
                raise NgspiceError(f"ngspice wrote no {raw} for {deck}; it said: {tail(log)}{_room(work)}")
            try:
                return read_raw(result)
            except RawFileError as error:
                raise NgspiceError(f"ngspice left a broken result for {deck}: {error}{_room(work)}") from None

    def run_all(
        self,
        folder: Path,
        jobs: Sequence[tuple[str, str]],
        *,
        timeout_second: float = 600,
        at_once: int | None = None,
        cancel: Event | None = None,
        progress: Callable[[int], None] | None = None,
    ) -> list[list[Plot]]:
        """Simulate several decks of a folder, as many at once as there are cores; Ctrl-C kills them all.

        Args:
            folder: as in :meth:`run`.
            jobs: deck and raw file of each.
            timeout_second: of each.
            at_once: how many; the cores that this process may use unless given.
            cancel: as in :meth:`run`.
            progress: called with the number of those that are done.

        Returns:
            what each wrote, in the order of `jobs`.

        Raises:
            NgspiceError: as :meth:`run`, for the first that fails; the others are killed.
            ValueError: if `at_once` is below 1.
        """
        if at_once is not None and at_once < 1:
            raise ValueError(f"at_once = {at_once}: expected 1 or more")
        stop = _Either(cancel)
        with ThreadPoolExecutor(min(at_once or cores(), max(len(jobs), 1))) as pool:
            futures = [
                pool.submit(self.run, folder, deck, raw, timeout_second=timeout_second, cancel=stop)
                for deck, raw in jobs
            ]
            try:
                for done, future in enumerate(as_completed(futures), 1):
                    future.result()
                    if progress is not None:
                        progress(done)
            except BaseException:
                stop.set()
                pool.shutdown(cancel_futures=True)
                raise
            return [future.result() for future in futures]

    def _copy(self, folder: Path, deck: str, lines: Sequence[Line], work: Path) -> None:
        try:
            for name in included(lines):
                shutil.copyfile(folder / name, work / name)
            if self.klu and len(lines) >= KLU_LINES:
                # Before .end and below all else, so that ngspice's line numbers stay those of the file.
                text = re.sub(r"(?im)^\s*\.end\s*\Z", "", (work / deck).read_text(encoding="utf-8"))
                (work / deck).write_text(f"{text.rstrip()}\n.options klu\n.end\n", encoding="utf-8")
        except OSError as error:
            raise UserError(f"{folder} cannot be copied to {work}: {error.strerror}{_room(work)}") from None

    def _execute(self, command: list[str], work: Path, timeout_second: float, cancel: Event) -> tuple[str, int]:
        deadline = time.monotonic() + timeout_second
        process: subprocess.Popen[bytes] | None = None
        try:
            # A session of its own, so that whatever the simulator has started can be killed with it. A terminal's
            # Ctrl-C does not reach that session: the caller has to set `cancel`.
            process = subprocess.Popen(
                command,
                cwd=work,
                env=environment(),
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
            _limit(process.pid, timeout_second)
            while True:
                try:
                    out, _ = process.communicate(timeout=0.1)
                    return out.decode("utf-8", "replace"), process.returncode
                except subprocess.TimeoutExpired:
                    _check_time(command[-1], deadline, timeout_second, cancel)
        except OSError as error:
            raise NgspiceMissingError(f"{self.program} does not start: {error}; {INSTALL_HINT}") from None
        except BaseException:
            if process is not None:
                kill_group(process)
            raise


def find_ngspice() -> Ngspice:
    """Return the simulator named by ``EQUILOG_NGSPICE``, or the ``ngspice`` on the PATH.

    Raises:
        NgspiceMissingError: if there is none, it does not run, or it is older than version 39.
    """
    wanted = os.environ.get("EQUILOG_NGSPICE", "ngspice")
    program = shutil.which(wanted)
    if program is None:
        there = Path(wanted).is_file() and os.sep in wanted
        why = "is not executable: chmod +x it" if there else f"is not on this machine; {INSTALL_HINT}"
        raise NgspiceMissingError(f"{wanted} {why}")
    program = os.path.abspath(program)  # it is started from other folders
    try:
        said = subprocess.run(
            [program, "--version"],
            capture_output=True,
            text=True,
            errors="replace",
            timeout=30,
            check=False,
            stdin=subprocess.DEVNULL,
            env=environment(),
        ).stdout
    except (OSError, subprocess.TimeoutExpired) as error:
        raise NgspiceMissingError(f"{program} does not run: {error}") from None
    match = re.search(r"ngspice-(\d+)", said)
    if match is None:
        raise NgspiceMissingError(f"{program} does not say that it is ngspice; {INSTALL_HINT}")
    version = int(match.group(1))
    if version < OLDEST_VERSION:
        raise NgspiceMissingError(f"ngspice {version} is too old, expected {OLDEST_VERSION} or later; {INSTALL_HINT}")
    return Ngspice(program, version, klu="with KLU" in said)


def cores() -> int:
    """Return how many cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def environment() -> dict[str, str]:
    """Return the environment for a simulator: one thread, messages in English, no setting that changes its files.

    Device evaluation in several OpenMP threads is slower on circuits of this size, and far slower on a busy machine.
    ngspice asks for two of its own accord, whatever ``OMP_NUM_THREADS`` says: only the limit binds it.
    """
    changing = ("SPICE_ASCIIRAWFILE", "NGSPICE_INPUT_DIR")
    kept = {key: value for key, value in os.environ.items() if key not in changing}
    return kept | {"OMP_NUM_THREADS": "1", "OMP_THREAD_LIMIT": "1", "LC_ALL": "C"}


@contextlib.contextmanager
def scratch_folder() -> Iterator[Path]:
    """Make a folder that is gone afterwards; raises :class:`UserError` where that is impossible."""
    try:
        scratch = tempfile.TemporaryDirectory(prefix="equilog-ngspice-", ignore_cleanup_errors=True)
    except OSError as error:
        raise UserError(
            f"no scratch folder for ngspice in {tempfile.gettempdir()}: {error.strerror}; free some room there or "
            "let TMPDIR name another folder"
        ) from None
    with scratch as name:
        yield Path(name)


def kill_group(process: subprocess.Popen[bytes]) -> None:
    """Kill a process that leads a group, and all its children; nothing if they are gone."""
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(process.pid, signal.SIGKILL)
    for stream in (process.stdin, process.stdout, process.stderr):
        if stream is not None:
            stream.close()
    process.wait()


class _Either(Event):
    """An event that is also set when another one is."""

    def __init__(self, other: Event | None) -> None:
        super().__init__()
        self._other = other

    def is_set(self) -> bool:
        return super().is_set() or (self._other is not None and self._other.is_set())


def _check_time(deck: str, deadline: float, timeout_second: float, cancel: Event) -> None:
    if cancel.is_set():
        raise NgspiceError(f"ngspice was stopped while running {deck}")
    if time.monotonic() > deadline:
        raise NgspiceError(f"ngspice did not finish {deck} within {timeout_second:g} s")


def tail(log: str) -> str:
    """Return the last lines of what a simulator said."""
    return " | ".join(line.strip() for line in log.splitlines()[-5:] if line.strip()) or "nothing"


def signal_name(number: int) -> str:
    """Return a name such as SIGSEGV."""
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"


def _limit(pid: int, second: float) -> None:
    """Bound the processor time of a simulator, which outlives this process where that is killed outright."""
    if sys.platform == "linux" and math.isfinite(second):
        limit = math.ceil(second) + 1  # one thread: more than the clock will ever show
        with contextlib.suppress(OSError, ValueError):
            resource.prlimit(pid, resource.RLIMIT_CPU, (limit, limit))


def _room(folder: Path) -> str:
    """Return a remark if the disk is full."""
    with contextlib.suppress(OSError):
        if shutil.disk_usage(folder).free < 1 << 20:
            return f"; the disk of {folder} is full: free some room or let TMPDIR name another folder"
    return ""
