"""libngspice in a worker answers as the program does, and nothing that befalls it reaches this process."""

import math
import os
import pickle
import re
import signal
import threading
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from builders import drives, layer_of, spec_with, tiny_model
from hypothesis import given
from hypothesis import strategies as st
from processes import all_gone, needs_proc, stopped_by

from equilog.circuit import LibrarySession, NgspiceError, NgspiceMissingError, find_library, rest, write_circuit
from equilog.circuit import simulate as simulate_module
from equilog.circuit.deck import DeckError
from equilog.circuit.library import _SOURCE, _VECTOR, Session
from equilog.devices import NgspiceDevice
from equilog.hardware import Chip

pytestmark = pytest.mark.ngspice

DIVIDER = ["* divider", "V1 a 0 1", "R1 a b 1k", "R2 b 0 3k"]
# Two stable states under a small drive, one under a large one.
LATCH = ["* latch", "V1 a 0 0", "R1 a b 1k", "B1 c 0 V=tanh(5*V(b))", "R2 c b 1k", ".options reltol=1e-9"]
# Consistent while a is low; no solution when it is high.
CONTRADICTION = ["* contradiction", "V1 a 0 0", "R1 a b 1", "B1 b 0 I=V(b)>0.5 ? 1 : 0"]
ENDLESS = ["* oscillator", "V1 a 0 sin(0 1 1g)", "R1 a b 1k", "C1 b 0 1p"]


@pytest.fixture(scope="module", autouse=True)
def _library():
    """A declared dependency of the tests, so its absence is a failure and not a skip."""
    try:
        find_library()
    except NgspiceMissingError as missing:
        pytest.fail(str(missing), pytrace=False)


@pytest.fixture
def divider():
    with Session(DIVIDER) as session:
        yield session


def worker_of(session):
    return session._process.pid


def circuit_in(folder, n=4, m=2, samples=3):
    layer, played = layer_of(spec_with("rram"), n, m), drives(samples, m)
    write_circuit(layer, folder, rest=played)
    return layer, played, played * float(layer.spec.dac.full_scale_volt)


def test_it_rests_where_the_program_rests(simulator, tmp_path):
    layer, played, volts = circuit_in(tmp_path, n=6, m=3, samples=5)
    v, s = rest(simulator, tmp_path, layer.states, len(played))
    with LibrarySession(tmp_path) as session:
        assert (session.states, session.drives) == (6, 3)
        for order in ([0, 1, 2, 3, 4], [4, 2, 0], [1]):
            found = session.rest(volts[order])
            torch.testing.assert_close(found, (v[order], s[order]), atol=1e-9, rtol=0)
    assert v.std(0).min() > 1e-3  # the samples differ


def test_what_was_asked_before_does_not_matter():
    def settled(*volts):
        with Session(LATCH) as session:
            return session.sweep(["V1"], np.array(volts)[:, None], ["v(b)"])[-1, 0]

    assert settled(0.05) == settled(1.0, 0.05) == settled(-1.0, 0.05)


def test_sources_are_set_and_stay(divider):
    assert divider.op(["v(b)"])[0] == pytest.approx(0.75)
    found = divider.sweep(["V1"], [[2.0], [-4.0]], ["v(b)", "v(a)"])
    np.testing.assert_allclose(found, [[1.5, 2.0], [-3.0, -4.0]], rtol=1e-12)
    assert divider.op(["v(b)"])[0] == pytest.approx(-3)
    assert divider.op(["v(b)"], {"V1": 1 / 3})[0] == pytest.approx(0.25, abs=1e-15)


def test_a_transient_is_the_exponential():
    with Session(["* rc", "V1 a 0 1", "R1 a b 1k", "C1 b 0 1n", ".options reltol=1e-6"]) as session:
        plot = session.tran(["v(b)"], 1e-8, 3e-6)
        assert plot.names == ("time", "v(b)")
        assert plot["time"][-1] == pytest.approx(3e-6)
        np.testing.assert_allclose(plot["v(b)"], 1 - np.exp(-plot["time"] / 1e-6), atol=1e-4)
        assert session.tran(["v(b)"], 1e-8, 1e-6, from_rest=True)["v(b)"] == pytest.approx(1)
        assert session.tran(["v(b)"], 1e-8, 1e-5, sources={"V1": 2.0})["v(b)"][-1] == pytest.approx(2, rel=1e-3)


@pytest.mark.parametrize(
    ("lines", "quotes"),
    [
        (["R1 a 0 {nosuch}"], r"gave up with status 1: deck, line 2: R1 a 0 \{nosuch\}; .*nosuch"),
        (["R1 a 0 1", "X1 a nosuchblock"], "refuses the circuit: deck, line 3: X1 a nosuchblock"),
        (["R1 a 0 1", "Q1 a a 0 nosuchmodel"], "refuses the circuit: deck, line 3: Q1 a a 0 nosuchmodel"),
    ],
)
def test_a_broken_circuit_is_quoted(lines, quotes):
    with pytest.raises(NgspiceError, match=quotes):
        Session(["* broken", *lines])


@pytest.mark.parametrize("line", [".control", ".include x.inc", ".lib x.lib tt", ".model m d_process (x=1)", ".hdl x"])
def test_a_deck_that_asks_for_more_is_refused(line):
    with pytest.raises(DeckError, match=r"deck, line 3: \."):
        Session(["* greedy", "V1 a 0 1", line])


def test_a_singular_circuit_names_the_node():
    with (
        Session(["* floating", "V1 a 0 1", "C1 a b 1n", "C2 b 0 1n", "I1 b 0 1m"]) as session,
        pytest.raises(NgspiceError, match=r"sample 0: deck, line 3: C1 a b 1n; .*singular matrix at 'b'"),
    ):
        session.op(["v(b)"])


def test_a_sample_that_does_not_converge_is_named_and_the_session_goes_on():
    with Session(CONTRADICTION) as session:
        with pytest.raises(NgspiceError, match=r"sample 2: .*no convergence of the operating point; .*\.options"):
            session.sweep(["V1"], [[0.0], [0.2], [1.0], [0.3]], ["v(b)"])
        assert session.op(["v(b)"], {"V1": 0.25})[0] == pytest.approx(0.25)


def test_what_is_not_there_is_named(divider):
    with pytest.raises(NgspiceError, match=r"no such device or model name v9"):
        divider.op(["v(b)"], {"V9": 1.0})
    with pytest.raises(NgspiceError, match=r"has no v\(c\)"):
        divider.op(["v(b)", "v(c)"])
    assert divider.op(["v(b)"])[0] == pytest.approx(0.75)


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_values_must_be_numbers(divider, value):
    with pytest.raises(ValueError, match=r"V1 = (nan|inf) in sample 1"):
        divider.sweep(["V1"], [[0.0], [value]], ["v(b)"])
    with pytest.raises(ValueError, match="finite times above 0"):
        divider.tran(["v(b)"], value, 1.0)


@pytest.mark.parametrize("shape", [(2,), (2, 2), (1, 0), (1, 1, 1)])
def test_values_must_have_a_column_per_source(divider, shape):
    with pytest.raises(ValueError, match="a column per source"):
        divider.sweep(["V1"], np.zeros(shape), ["v(b)"])


@given(name=st.text(max_size=12) | st.sampled_from(["V1 dc = 1; shell id", "V1\nshell id", "V1`id`", "V1 > x", "-V1"]))
def test_no_other_name_reaches_the_library(name):
    class Untouched(Session):
        def __init__(self):
            pass

        def _ask(self, *_):
            raise AssertionError("reached")

    for pattern, call in (
        (_SOURCE, lambda: Untouched().op(["v(a)"], {name: 0.0})),
        (_VECTOR, lambda: Untouched().op([name])),
    ):
        if pattern.fullmatch(name):
            assert re.fullmatch(r"[\w()#.]+", name)
            continue
        with pytest.raises(ValueError, match="must not reach ngspice"):
            call()


@needs_proc
@pytest.mark.parametrize("number", [signal.SIGSEGV, signal.SIGKILL])
def test_a_crash_is_an_error(divider, number):
    pid = worker_of(divider)
    os.kill(pid, number)
    with pytest.raises(NgspiceError, match=f"worker of libngspice died of {number.name}"):
        divider.op(["v(b)"])
    assert not divider.alive
    assert all_gone([pid])
    with pytest.raises(NgspiceError, match="has ended: open another"):
        divider.op(["v(b)"])


@needs_proc
def test_an_analysis_without_end_is_killed():
    with Session(ENDLESS) as session:
        pid, began = worker_of(session), time.monotonic()
        with pytest.raises(NgspiceError, match=r"did not finish within 0\.3 s; its worker was killed"):
            session.tran(["v(b)"], 1e-12, 1.0, timeout_second=0.3)
        assert time.monotonic() - began < 3
        assert all_gone([pid])
        assert not session.alive


@needs_proc
def test_an_analysis_can_be_cancelled():
    cancel = threading.Event()
    with Session(ENDLESS) as session:
        threading.Timer(0.2, cancel.set).start()
        with pytest.raises(NgspiceError, match="was stopped"):
            session.tran(["v(b)"], 1e-12, 1.0, cancel=cancel)
        assert all_gone([worker_of(session)])


@needs_proc
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGKILL, signal.SIGTERM])
def test_nothing_is_left_of_an_interrupted_run(tmp_path, number):
    def work():
        session = Session(ENDLESS)
        (tmp_path / "pids").write_text(f"{worker_of(session)}\n")
        session.tran(["v(b)"], 1e-12, 1.0)

    code, pids = stopped_by(number, work, tmp_path / "pids", 1)
    assert code not in (None, 0)
    assert all_gone(pids)


@needs_proc
def test_a_forgotten_session_leaves_no_process():
    session = Session(DIVIDER)
    pid, folder = worker_of(session), session._errors.parent
    assert folder.exists()
    del session
    assert all_gone([pid])
    assert not folder.exists()


@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_a_fork_does_not_share_the_session(divider):
    child = os.fork()
    if child == 0:
        try:
            divider.op(["v(b)"])
        except NgspiceError as error:
            divider.close()
            os._exit(0 if "fork" in str(error) else 1)
        os._exit(2)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    assert divider.op(["v(b)"])[0] == pytest.approx(0.75)


def test_threads_take_turns(divider):
    wrong = []

    def ask(volt):
        for _ in range(20):
            if abs(divider.op(["v(b)"], {"V1": volt})[0] - 0.75 * volt) > 1e-9:
                wrong.append(volt)

    threads = [threading.Thread(target=ask, args=(volt,)) for volt in (1.0, 2.0, 3.0)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong


def test_a_users_start_file_is_not_run(tmp_path, monkeypatch):
    mark = tmp_path / "mark"
    (tmp_path / ".spiceinit").write_text(f"shell touch {mark}\nquit\n")
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    with Session(DIVIDER) as session:
        assert session.op(["v(b)"])[0] == pytest.approx(0.75)
    assert not mark.exists()


def test_missing_library_says_how_to_install(monkeypatch):
    monkeypatch.setenv("EQUILOG_LIBNGSPICE", "/nowhere/libngspice.so")
    with pytest.raises(NgspiceMissingError, match=r"/nowhere/libngspice\.so is not .*apt-get install libngspice0"):
        find_library()


def test_a_library_that_is_another_one(monkeypatch, tmp_path):
    text = tmp_path / "libngspice.so"
    text.write_text("no library")
    for path in ("libc.so.6", str(text)):
        monkeypatch.setenv("EQUILOG_LIBNGSPICE", path)
        with pytest.raises(NgspiceMissingError, match="does not work as libngspice"):
            find_library()


@pytest.mark.parametrize("name", ["with space", "it's", 'say "x"', "Größe-µ", "-r", "$(touch x)", "a;b", "%s\\n"])
def test_a_folder_may_have_any_name(tmp_path, name):
    folder = tmp_path / name
    _, _, volts = circuit_in(folder, n=2, m=1, samples=1)
    with LibrarySession(folder) as session:
        assert session.rest(volts)[0].abs().max() > 0


def test_a_folder_without_a_circuit(tmp_path):
    with pytest.raises(DeckError, match=r"layer\.cir in .*No such file"):
        LibrarySession(tmp_path)
    (tmp_path / "layer.cir").write_text("* nothing\nR1 a 0 1\n")
    with pytest.raises(DeckError, match="holds no neurons"):
        LibrarySession(tmp_path)


def test_a_mistake_in_an_included_file_is_found_there(tmp_path):
    circuit_in(tmp_path)
    crossbar = tmp_path / "crossbar.inc"
    lines = [*crossbar.read_text().splitlines(), "Rwrong x0 0 {nosuch}"]
    crossbar.write_text("\n".join(lines))
    with pytest.raises(NgspiceError, match=rf"crossbar\.inc, line {len(lines)}: Rwrong x0 0 \{{nosuch\}}"):
        LibrarySession(tmp_path)


@needs_proc
def test_a_worker_is_renewed_before_it_has_leaked_much(tmp_path, monkeypatch):
    monkeypatch.setattr(simulate_module, "RENEW_AFTER", 2)
    _, _, volts = circuit_in(tmp_path)
    with LibrarySession(tmp_path) as session:
        first, pid = session.rest(volts), worker_of(session.session)
        torch.testing.assert_close(session.rest(volts), first, atol=1e-9, rtol=0)
        assert worker_of(session.session) != pid
        assert all_gone([pid])


class TestDevice:
    CHIP = Chip(spec_with("rram"), 3)

    def programmed(self, simulator, **options):
        device = NgspiceDevice(self.CHIP, simulator, **options)
        device.program(tiny_model(states=4).cell)
        return device

    def test_both_ways_give_the_same(self, simulator, monkeypatch):
        with self.programmed(simulator) as device:
            plain = self.programmed(simulator, library=False).settle(drives(4, 2))
            for _ in range(2):
                found = device.settle(drives(4, 2))
                assert device._session is not None
                for ours, theirs in zip(vars(found).values(), vars(plain).values()):
                    torch.testing.assert_close(ours, theirs, atol=1e-9, rtol=0)
        monkeypatch.setenv("EQUILOG_LIBNGSPICE", "/nowhere/libngspice.so")
        without = self.programmed(simulator)
        torch.testing.assert_close(without.settle(drives(4, 2)).p, plain.p, atol=0, rtol=0)
        assert without._session is None

    def test_programming_again_replaces_the_circuit(self, simulator):
        device = self.programmed(simulator)
        first = device.settle(drives(2, 2))
        device.program(tiny_model(5, states=4).cell)
        second = device.settle(drives(2, 2))
        fresh = NgspiceDevice(self.CHIP, simulator)
        fresh.program(tiny_model(5, states=4).cell)
        torch.testing.assert_close(second.p, fresh.settle(drives(2, 2)).p, atol=1e-9, rtol=0)
        assert (first.p - second.p).abs().max() > 1e-3

    @needs_proc
    def test_it_recovers_from_a_crash_and_leaves_nothing(self, simulator):
        with self.programmed(simulator) as device:
            before = device.settle(drives(1, 2))
            pids = [worker_of(device._session.session)]
            os.kill(pids[0], signal.SIGKILL)
            assert all_gone(pids)
            torch.testing.assert_close(device.settle(drives(1, 2)).p, before.p, atol=1e-9, rtol=0)
            pids.append(worker_of(device._session.session))
            copy = pickle.loads(pickle.dumps(device))
            torch.testing.assert_close(copy.settle(drives(1, 2)).p, before.p, atol=1e-9, rtol=0)
            pids.append(worker_of(copy._session.session))
        copy.close()
        assert len(set(pids)) == 3
        assert all_gone(pids)

    def test_a_kept_folder_holds_the_bench_that_was_run(self, simulator, tmp_path):
        device = self.programmed(simulator, folder=Path(tmp_path))
        device.settle(drives(2, 2))
        assert (tmp_path / "op.cir").read_text().count("* sample") == 2
