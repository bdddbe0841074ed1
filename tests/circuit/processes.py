"""Whether processes are gone, and work that is interrupted while it simulates."""

import contextlib
import multiprocessing
import os
import signal
import sys
import time
from pathlib import Path

import pytest

needs_proc = pytest.mark.skipif(not os.path.isdir("/proc/self"), reason="looks for left processes in /proc")


def alive(pid):
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0]
    except (FileNotFoundError, ProcessLookupError):
        return False
    return state != "Z"


def all_gone(pids, second=3.0):
    deadline = time.monotonic() + second
    while any(map(alive, pids)) and time.monotonic() < deadline:
        time.sleep(0.02)
    return not any(map(alive, pids))


def stopped_by(number, work, pids, count, gone_second=3.0):
    """Do `work` in a fork until `count` process ids stand in `pids`, then send it a signal.

    Returns its exit code and those ids. `work` opens what it uses itself, and dies of a KeyboardInterrupt.
    """

    def child():
        signal.signal(signal.SIGINT, signal.default_int_handler)
        sys.stderr = open(os.devnull, "w")  # noqa: SIM115
        work()

    process = multiprocessing.get_context("fork").Process(target=child)
    found = []
    process.start()
    try:
        deadline = time.monotonic() + 20
        while len(found) < count and time.monotonic() < deadline and process.is_alive():
            time.sleep(0.02)
            found = [int(line) for line in pids.read_text().split()] if pids.exists() else []
        assert len(found) == count
        assert all(map(alive, found))
        time.sleep(0.1)
        os.kill(process.pid, number)
        process.join(timeout=8)
        return process.exitcode, found
    finally:
        process.kill()
        process.join()
        gone = all_gone(found, gone_second)
        for pid in () if gone else found:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        assert gone
