"""Ctrl-C while ngspice is at work ends at once and leaves no simulator behind."""

import os
import signal
import subprocess
import sys
import time

import pytest

SCRIPT = """
import signal
signal.signal(signal.SIGINT, signal.default_int_handler)  # a background shell would let us ignore it
import sys
sys.path.insert(0, sys.argv[1])
from builders import tiny_data, tiny_model
from equilog.devices import verify
from equilog.hardware import Chip, load_spec
verify(tiny_model(), Chip(load_spec("rram"), 1), tiny_data(2)[0], settle_samples=1)
"""


def running(pid):
    try:
        with open(f"/proc/{pid}/stat") as file:
            return file.read().rsplit(")", 1)[1].split()[0] != "Z"
    except FileNotFoundError:
        return False


@pytest.mark.slow
@pytest.mark.skipif(not os.path.isdir("/proc/self"), reason="looks for left processes in /proc")
def test_interrupted_verification_kills_the_simulator(tmp_path):
    fake, pids = tmp_path / "fake-ngspice", tmp_path / "pids"
    fake.write_text(
        f'#!/bin/sh\nif [ "$1" = --version ]; then echo "** ngspice-39"; exit; fi\necho $$ >> {pids}\nexec sleep 25\n'
    )
    fake.chmod(0o755)
    process = subprocess.Popen(
        [sys.executable, "-c", SCRIPT, os.path.dirname(os.path.dirname(__file__))],
        env=os.environ | {"EQUILOG_NGSPICE": str(fake)},
        stderr=subprocess.DEVNULL,
    )
    try:
        deadline = time.monotonic() + 60
        while not pids.exists() and time.monotonic() < deadline:
            time.sleep(0.05)
        time.sleep(0.3)
        process.send_signal(signal.SIGINT)
        process.wait(timeout=8)
        assert process.returncode != 0
        time.sleep(0.3)
        assert not any(running(int(pid)) for pid in pids.read_text().split())
    finally:
        if process.poll() is None:
            process.kill()
            process.wait()
        for pid in pids.read_text().split() if pids.exists() else []:
            if running(int(pid)):
                os.kill(int(pid), signal.SIGKILL)
