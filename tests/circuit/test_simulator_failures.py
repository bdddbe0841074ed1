"""A simulator that is missing, wrong, old, stuck or unhappy is an error that says which."""

import errno
import shutil
import signal
import stat
import subprocess
import tempfile
import threading
import time

import numpy as np
import pytest
from builders import drives, layer_of
from processes import all_gone, needs_proc, stopped_by

from equilog.circuit import Ngspice, NgspiceError, NgspiceMissingError, find_ngspice, rest, write_circuit
from equilog.circuit.deck import DeckError
from equilog.circuit.ngspice import INSTALL_HINT, KLU_LINES, cores
from equilog.hardware import load_spec
from equilog.names import UserError


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


@needs_proc
def test_a_hung_simulator_is_killed_with_its_children(fake, circuit, tmp_path):
    pids = tmp_path / "pids"
    program = fake(f"echo $$ >> {pids}\nsleep 100 &\necho $! >> {pids}\nwait\n")
    began = time.monotonic()
    with pytest.raises(NgspiceError, match=r"did not finish op\.cir within 0\.5 s"):
        Ngspice(str(program), 39).run(circuit, "op.cir", "op.raw", timeout_second=0.5)
    assert time.monotonic() - began < 10
    left = [int(line) for line in pids.read_text().split()]
    assert len(left) == 2
    assert all_gone(left)


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
    with pytest.raises((NgspiceError, DeckError), match=quotes) as error:
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


@pytest.mark.ngspice
@pytest.mark.parametrize(
    "said", ["Error: no such vector as v9", "doAnalyses: OP:  Timestep too small", "run aborted: fatal"]
)
def test_an_error_that_exits_with_0(simulator, fake, circuit, tmp_path, said):
    """Whatever else it wrote: here a whole raw file."""
    subprocess.run([simulator.program, "-n", "-b", "op.cir"], cwd=circuit, capture_output=True, check=False)
    kept = (circuit / "op.raw").rename(tmp_path / "kept.raw")
    program = fake(f"cp {kept} op.raw\necho '{said}'\nexit 0\n")
    with pytest.raises(NgspiceError, match=r"ngspice failed on op\.cir"):
        Ngspice(str(program), 39).run(circuit, "op.cir", "op.raw")
    program = fake(f"cp {kept} op.raw\nkill -SEGV $$\n")
    with pytest.raises(NgspiceError, match=r"died of SIGSEGV on op\.cir"):
        Ngspice(str(program), 39).run(circuit, "op.cir", "op.raw")


def test_a_file_that_is_not_executable(monkeypatch, tmp_path):
    path = tmp_path / "ngspice"
    path.write_text("#!/bin/sh\n")
    monkeypatch.setenv("EQUILOG_NGSPICE", str(path))
    with pytest.raises(NgspiceMissingError, match=r"ngspice is not executable: chmod \+x it"):
        find_ngspice()


@pytest.mark.ngspice
def test_a_path_from_here_is_found_from_everywhere(simulator, circuit, monkeypatch, tmp_path):
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin" / "ngspice").symlink_to(simulator.program)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("EQUILOG_NGSPICE", "bin/ngspice")
    assert len(find_ngspice().run(circuit, "op.cir", "op.raw")) == 1


@pytest.mark.ngspice
def test_the_environment_does_not_change_the_files(simulator, circuit, monkeypatch):
    monkeypatch.setenv("SPICE_ASCIIRAWFILE", "1")
    monkeypatch.setenv("OMP_NUM_THREADS", "4")
    (circuit / "x.cir").write_text("* plain\n.include layer.cir\n.op\n.end\n")
    assert len(simulator.run(circuit, "x.cir", "x.raw")) == 1


FLOATING = ["V1 a 0 1", "C1 a b 1n", "C2 b 0 1n", "I1 b 0 1m", ".op"]


@pytest.mark.ngspice
@pytest.mark.parametrize(
    ("lines", "says"),
    [
        (FLOATING, r"x\.cir, line 3: C1 a b 1n; .*singular matrix at 'b'; every node needs a DC path"),
        (["V1 a 0 1", "V2 a 0 2", "R1 a 0 1", ".op"], r"x\.cir, line \d: V\d a 0 \d; .*singular matrix at 'v\d'"),
        (
            ["V1 a 0 1", "R1 a b 1", "B1 b 0 I=V(b)>0.5 ? 1 : 0", ".op"],
            r"line 3: R1 a b 1; no convergence of the operating point; .*loosen reltol.*trouble with node",
        ),
        (
            ["V1 a 0 pulse(0 1 1n 1n 1n 1 2)", "R1 a b 1", "B1 b 0 I=V(b)>0.5 ? 1 : 0", ".tran 0.1n 10n"],
            r"x\.cir, line 3: R1 a b 1; no convergence of the transient; loosen reltol.*shorten the first step",
        ),
        (["R1 a 0 {3*width}", ".op"], r"x\.cir, line 2: R1 a 0 \{3\*width\}; "),
        (["R1 a 0 1", "X9 a nosuch", ".op"], r"x\.cir, line 3: X9 a nosuch; "),
        ([".subckt s a", "Q1 a a 0 nomodel", ".ends", "X9 a s", "R1 a 0 1", ".op"], r"x\.cir, line [35]: (Q1|X9) a"),
        (
            ["R1 a 0 1", ".control", "alter V7 dc = 1", "op", "write x.raw", "quit 0", ".endc"],
            r"x\.cir, line 4: alter V7 dc = 1; .*no such device",
        ),
    ],
    ids=["floating", "parallel", "no point", "no step", "parameter", "block", "within a block", "source"],
)
def test_failures_name_line_cause_and_remedy(simulator, tmp_path, lines, says):
    with pytest.raises(NgspiceError, match=says):
        simulator.run(*deck(tmp_path / "bad", *lines))


@pytest.mark.ngspice
def test_a_disk_that_fills_up_while_ngspice_writes(simulator, fake, tmp_path):
    """A limit on file sizes, ignored as a signal, fails a write as a full disk does."""
    program = fake(f"trap '' XFSZ\nulimit -f 8\nexec {simulator.program} \"$@\"\n")
    long = deck(tmp_path / "long", "V1 a 0 sin(0 1 1k)", "R1 a 0 1", ".tran 1u 5m")
    assert simulator.run(*long)
    with pytest.raises(NgspiceError, match=r"broken result for x\.cir: .*(truncated|no binary section)"):
        Ngspice(str(program), 39).run(*long)


def test_no_room_for_the_copy(circuit, monkeypatch, tmp_path):
    simulator = Ngspice("/nowhere", 39)

    def full(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(shutil, "copyfile", full)
        with pytest.raises(UserError, match=r"circuit cannot be copied to .*: No space left on device"):
            simulator.run(circuit, "op.cir", "op.raw")
    monkeypatch.setattr(tempfile, "tempdir", "/proc/self")  # not even root may write there
    with pytest.raises(UserError, match=r"no scratch folder for ngspice in /proc/self: .*TMPDIR"):
        simulator.run(circuit, "op.cir", "op.raw")


@pytest.mark.ngspice
@pytest.mark.parametrize(
    "name", ["with space", "it's", 'say "x"', "Größe-µ", "-r", "$(touch x)", "a;b", "`id`", "%s\n"]
)
def test_a_folder_may_have_any_name(simulator, tmp_path, name, monkeypatch):
    (tmp_path / name).mkdir()
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / name))
    folder, *files = deck(tmp_path / name / name, "V1 a 0 1", "R1 a 0 1", ".op")
    for path in (folder, folder.relative_to(tmp_path)):
        assert len(simulator.run(path, *files)) == 1
    assert [path.name for path in folder.iterdir()] == ["x.cir"]


@pytest.mark.parametrize(("klu", "size", "expected"), [(True, KLU_LINES, 1), (True, 10, 0), (False, KLU_LINES, 0)])
def test_klu_is_for_large_decks_of_simulators_that_have_it(fake, tmp_path, klu, size, expected):
    program = fake(
        'if [ "$1" = --version ]; then echo "** ngspice-46"; '
        + ('echo "** Compiled with KLU Direct Linear Solver"; ' if klu else "")
        + 'exit; fi\necho "klu: $(grep -c "^.options klu" x.cir), last: $(tail -n 1 x.cir)"'
    )
    simulator = find_ngspice()
    assert simulator == Ngspice(str(program), 46, klu)
    with pytest.raises(NgspiceError, match=rf"klu: {expected}, last: \.end"):
        simulator.run(*deck(tmp_path / "large", *(f"R{k} a 0 1" for k in range(size)), ".op"))


@pytest.mark.ngspice
def test_a_deck_for_klu_still_runs_where_there_is_none(simulator, tmp_path):
    """`.options klu` is no error in a simulator without it: a wrong guess would only be slow."""
    parts = [f"R{k} a 0 {KLU_LINES}" for k in range(KLU_LINES)]
    large = deck(tmp_path / "large", "I1 0 a 1", *parts, ".op")
    for klu in (False, True):
        (plot,) = Ngspice(simulator.program, simulator.version, klu).run(*large)
        np.testing.assert_allclose(plot["v(a)"], 1.0, rtol=1e-9)


class TestSeveralAtOnce:
    JOBS = tuple((f"d{k}.cir", f"d{k}.raw") for k in range(5))

    @pytest.fixture
    def folder(self, tmp_path):
        folder = tmp_path / "several"
        folder.mkdir()
        for k, (name, _) in enumerate(self.JOBS):
            (folder / name).write_text(f"* deck {k}\nV1 a 0 {k}\nR1 a 0 1\n.op\n.end\n")
        return folder

    @pytest.mark.ngspice
    def test_results_come_in_order(self, simulator, folder):
        told = []
        found = simulator.run_all(folder, self.JOBS, progress=told.append)
        assert [float(plots[0]["v(a)"][0]) for plots in found] == [0, 1, 2, 3, 4]
        assert told == [1, 2, 3, 4, 5]
        assert simulator.run_all(folder, []) == []

    @pytest.mark.parametrize("at_once", [1, 2, None])
    def test_no_more_than_asked_for_run_at_once(self, fake, folder, tmp_path, at_once):
        log = tmp_path / "log"
        program = fake(f"echo + >> {log}\nsleep 0.15\necho - >> {log}\necho 'Error: done'\n")
        with pytest.raises(NgspiceError, match="done"):
            Ngspice(str(program), 39).run_all(folder, self.JOBS, at_once=at_once)
        running = np.cumsum([1 if line == "+" else -1 for line in log.read_text().split()])
        assert running.max() == (at_once or min(cores(), len(self.JOBS)))
        with pytest.raises(ValueError, match="at_once = 0"):
            Ngspice(str(program), 39).run_all(folder, self.JOBS, at_once=0)

    @needs_proc
    @pytest.mark.parametrize("how", ["cancelled", "one fails"])
    def test_the_others_are_killed(self, fake, folder, tmp_path, how):
        pids, cancel = tmp_path / "pids", threading.Event()
        fails = 'if [ "$7" = d1.cir ]; then sleep 0.3; echo "Error: d1 broke"; exit; fi\n' if how == "one fails" else ""
        program = fake(f"{fails}echo $$ >> {pids}\nexec sleep 30\n")
        began = time.monotonic()
        if how == "cancelled":
            threading.Timer(0.3, cancel.set).start()
        with pytest.raises(NgspiceError, match="was stopped" if how == "cancelled" else "d1 broke"):
            Ngspice(str(program), 39).run_all(folder, self.JOBS, at_once=2, cancel=cancel)
        assert time.monotonic() - began < 5
        left = [int(line) for line in pids.read_text().split()]
        assert left
        assert all_gone(left)

    @needs_proc
    @pytest.mark.parametrize("several", [True, False])
    def test_nothing_is_left_after_ctrl_c(self, fake, folder, tmp_path, several):
        pids = tmp_path / "pids"
        simulator = Ngspice(str(fake(f"sleep 30 &\necho $$ $! >> {pids}\nwait\n")), 39)

        def work():
            if several:
                simulator.run_all(folder, self.JOBS, at_once=2)
            else:
                simulator.run(folder, *self.JOBS[0])

        code, left = stopped_by(signal.SIGINT, work, pids, 4 if several else 2)
        assert code not in (None, 0)
        assert all_gone(left)

    @needs_proc
    def test_a_simulator_whose_user_was_killed_does_not_run_for_ever(self, fake, folder, tmp_path):
        pids = tmp_path / "pids"
        simulator = Ngspice(str(fake(f"echo $$ >> {pids}\nwhile :; do :; done\n")), 39)

        def work():
            simulator.run(folder, *self.JOBS[0], timeout_second=1)

        code, left = stopped_by(signal.SIGKILL, work, pids, 1, gone_second=10)
        assert code == -signal.SIGKILL
        assert left
