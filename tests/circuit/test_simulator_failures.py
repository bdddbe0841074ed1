"""A simulator that is missing, wrong, old, stuck or unhappy is an error that says which."""

import os
import shutil
import stat
import subprocess
import time

import pytest
from builders import drives, layer_of

from equilog.circuit import Ngspice, NgspiceError, NgspiceMissingError, find_ngspice, rest, write_circuit
from equilog.circuit.ngspice import INSTALL_HINT
from equilog.hardware import load_spec


@pytest.fixture
def fake(tmp_path, monkeypatch):
    """Put a shell script in the place of the simulator."""

    def install(body):
        path = tmp_path / "fake-ngspice"
        path.write_text("#!/bin/sh\n" + body)
        path.chmod(path.stat().st_mode | stat.S_IXUSR)
        monkeypatch.setenv("EQUILOG_NGSPICE", str(path))
        return path

    return install


@pytest.fixture
def circuit(tmp_path):
    folder = tmp_path / "circuit"
    write_circuit(layer_of(load_spec("rram"), 2, 1), folder, rest=drives(1, 1))
    return folder


def test_missing_executable_says_how_to_install(monkeypatch):
    monkeypatch.setenv("EQUILOG_NGSPICE", "/nowhere/ngspice")
    with pytest.raises(NgspiceMissingError, match="/nowhere/ngspice is not on this machine") as error:
        find_ngspice()
    assert INSTALL_HINT in str(error.value)


def test_missing_from_the_path(monkeypatch, tmp_path):
    monkeypatch.delenv("EQUILOG_NGSPICE", raising=False)
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(NgspiceMissingError, match="apt-get install ngspice"):
        find_ngspice()


@pytest.mark.parametrize("program", ["true", "cat"])
def test_a_program_that_is_not_ngspice(monkeypatch, program):
    monkeypatch.setenv("EQUILOG_NGSPICE", shutil.which(program))
    with pytest.raises(NgspiceMissingError, match="does not say that it is ngspice"):
        find_ngspice()


def test_a_program_that_talks_in_bytes(fake):
    fake(r"printf '\377\376\200'")
    with pytest.raises(NgspiceMissingError, match="does not say that it is ngspice"):
        find_ngspice()


def test_a_file_that_is_not_a_program(fake):
    path = fake("")
    path.write_bytes(b"\x00\x01 no program")
    with pytest.raises(NgspiceMissingError, match="does not"):
        find_ngspice()


def test_too_old(fake):
    fake("echo '** ngspice-30 : Circuit level simulation program'")
    with pytest.raises(NgspiceMissingError, match="ngspice 30 is too old, expected 39"):
        find_ngspice()


@pytest.mark.parametrize("version", [39, 45])
def test_new_enough(fake, version):
    path = fake(f"echo '** ngspice-{version} : Circuit level simulation program'")
    assert find_ngspice() == Ngspice(str(path), version)


def alive(pid):
    try:
        state = open(f"/proc/{pid}/stat").read().rsplit(")", 1)[1].split()[0]  # noqa: SIM115
    except FileNotFoundError:
        return False
    return state != "Z"


@pytest.mark.skipif(not os.path.isdir("/proc/self"), reason="looks for left processes in /proc")
def test_a_hung_simulator_is_killed_with_its_children(fake, circuit, tmp_path):
    pids = tmp_path / "pids"
    program = fake(f"echo $$ >> {pids}\nsleep 100 &\necho $! >> {pids}\nwait\n")
    began = time.monotonic()
    with pytest.raises(NgspiceError, match=r"did not finish op\.cir within 0\.5 s"):
        Ngspice(str(program), 39).run(circuit, "op.cir", "op.raw", timeout_second=0.5)
    assert time.monotonic() - began < 10
    left = [int(line) for line in pids.read_text().split()]
    assert len(left) == 2
    for _ in range(50):
        if not any(map(alive, left)):
            break
        time.sleep(0.05)
    assert not any(map(alive, left))


def test_a_simulator_that_writes_nothing(fake, circuit):
    program = fake("echo all is well")
    with pytest.raises(NgspiceError, match=r"wrote no op\.raw for op\.cir; it said: all is well"):
        Ngspice(str(program), 39).run(circuit, "op.cir", "op.raw")


def test_a_simulator_that_dies_while_writing(fake, circuit):
    program = fake("printf 'Title: x\\nNo. Variables: 3' > op.raw\nexit 139")
    with pytest.raises(NgspiceError):
        Ngspice(str(program), 39).run(circuit, "op.cir", "op.raw")


def deck(folder, *lines):
    folder.mkdir(exist_ok=True)
    (folder / "x.cir").write_text("\n".join(["* test", *lines, ".end", ""]))
    return folder, "x.cir", "x.raw"


@pytest.mark.ngspice
@pytest.mark.parametrize(
    ("lines", "quotes"),
    [
        (["R1 a 0 {nosuchparameter}", ".op"], "nosuchparameter"),
        (["X1 a b nosuchblock", ".op"], "nosuchblock"),
        ([".include nosuchfile.inc", "R1 a 0 1", ".op"], "nosuchfile"),
        (["V1 a 0 1", "V2 a 0 2", "R1 a 0 1", ".op"], "(?i)singular|no convergence|aborted"),
        (["V1 a 0 1", "L1 a 0 1m", ".op"], "(?i)singular|no convergence|aborted"),
    ],
    ids=[
        "unknown parameter",
        "unknown block",
        "missing include",
        "two sources in parallel",
        "source across an inductor",
    ],
)
def test_a_broken_deck_is_quoted(simulator, tmp_path, lines, quotes):
    with pytest.raises(NgspiceError, match=quotes) as error:
        simulator.run(*deck(tmp_path / "bad", *lines))
    assert "x.cir" in str(error.value)


@pytest.mark.ngspice
def test_a_sound_deck_passes_the_same_way(simulator, tmp_path):
    (plot,) = simulator.run(*deck(tmp_path / "good", "V1 a 0 1", "R1 a b 1k", "R2 b 0 3k", ".op"))
    assert float(plot["v(b)"][0]) == pytest.approx(0.75)


@pytest.mark.ngspice
def test_fewer_operating_points_than_samples(simulator, circuit):
    with pytest.raises(NgspiceError, match="asks for 2 operating points, ngspice returned 1"):
        rest(simulator, circuit, 2, 2)


@pytest.mark.ngspice
def test_an_earlier_result_does_not_pass_for_this_one(simulator, circuit):
    """A raw file that was there before the run is not what the run wrote."""
    subprocess.run([simulator.program, "-n", "-b", "op.cir"], cwd=circuit, capture_output=True, check=False)
    assert (circuit / "op.raw").exists()
    idle = [line for line in (circuit / "op.cir").read_text().splitlines() if line not in (".op", "op")]
    (circuit / "op.cir").write_text("\n".join(line for line in idle if not line.startswith("write")))
    with pytest.raises(NgspiceError):
        simulator.run(circuit, "op.cir", "op.raw")


@pytest.mark.ngspice
def test_a_difficulty_that_was_mended_is_no_failure(simulator, fake, circuit, tmp_path):
    """ngspice says "singular matrix" on the way to many a good operating point."""
    subprocess.run([simulator.program, "-n", "-b", "op.cir"], cwd=circuit, capture_output=True, check=False)
    kept = (circuit / "op.raw").rename(tmp_path / "kept.raw")
    program = fake(
        "echo 'Warning: singular matrix:  check node x0'\n"
        "echo 'Note: Starting true gmin stepping'\n"
        "echo 'Trying gmin =   1.0000E-03 Warning: singular matrix:  check node x0'\n"
        "echo 'Trying gmin =   1.0000E-02 Note: One successful gmin step'\n"
        "echo 'Note: True gmin stepping completed'\n"
        f"cp {kept} op.raw\n"
    )
    assert len(Ngspice(str(program), 39).run(circuit, "op.cir", "op.raw")) == 1
