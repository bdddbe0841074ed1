"""The wire to a LUCIDAC: silent, broken, hung up or wrong, a machine is an error in finite time and never a wait."""

import json
import logging
import socket
import sys
import threading
import time

import pytest
import torch
from builders import drives, normal

from equilog.cells import LinearCell
from equilog.devices import DeviceError, DeviceTimeoutError, LucidacDevice, lucidac
from equilog.hardware import Chip, load_spec
from equilog.names import UserError


def pair():
    """Two nodes that leak and share a conductance."""
    coupling = torch.tensor([[0.0, 1.0], [1.0, 0.0]], dtype=torch.float64)
    return LinearCell.network(coupling, torch.full((2,), 0.5).double(), 0.2 * normal(0, 2, 2))


def programmed(device, cell):
    device.program(cell)
    return device


class Server(threading.Thread):
    """A machine on a TCP port that answers each line with what `reply` returns; None hangs up."""

    def __init__(self, reply):
        super().__init__(daemon=True)
        self.reply = reply
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.endpoint = f"tcp://127.0.0.1:{self.listener.getsockname()[1]}"

    def run(self):
        connection, _ = self.listener.accept()
        with connection, connection.makefile("rw", encoding="utf-8") as lines:
            for line in lines:
                answer = self.reply(line)
                if answer is None:
                    return
                lines.writelines([answer] if isinstance(answer, str) else answer)
                lines.flush()

    def __enter__(self):
        self.start()
        return self

    def __exit__(self, *_):
        self.listener.close()


def emulator():
    from lucipy import Emulation

    return Emulation().handle_request


def interfering(change):
    """The vendor's emulator, whose answers to one type of message are changed."""
    handle = emulator()

    def reply(line):
        return change(json.loads(line)["type"], handle(line))

    return reply


def test_the_emulator_behind_a_real_socket_says_the_same():
    drive, cell = drives(2, 2), pair()
    with Server(emulator()) as server, LucidacDevice(server.endpoint) as device:
        found = programmed(device, cell).settle(drive)
    here = programmed(LucidacDevice("emu:/"), cell).settle(drive)
    assert torch.equal(found.z, here.z)


def test_a_silent_machine_times_out():
    with Server(lambda line: "") as server:
        device = programmed(LucidacDevice(server.endpoint, timeout_second=0.3), pair())
        began = time.monotonic()
        with pytest.raises(DeviceTimeoutError, match=r"did not answer within 0.3 s"):
            device.settle(drives(1, 2))
        assert time.monotonic() - began < 3
        with pytest.raises(DeviceError, match="is closed; make a new device"):
            device.settle(drives(1, 2))
        device.close()


@pytest.mark.parametrize("when", ["get_entities", "set_circuit", "start_run"])
def test_a_machine_that_hangs_up_is_an_error_and_not_a_wait(when):
    reply = interfering(lambda kind, answer: None if kind == when else answer)
    with Server(reply) as server:
        device = programmed(LucidacDevice(server.endpoint, timeout_second=5), pair())
        began = time.monotonic()
        with pytest.raises(DeviceError, match=r"closed the connection|Connection reset|Broken pipe"):
            device.settle(drives(1, 2))
        assert time.monotonic() - began < 3


def _first(kind, answer):
    return answer[:1] + answer[-1:] if kind == "start_run" else answer


def _short(kind, answer):
    return answer[:2] + answer[-1:] if kind == "start_run" else answer


def _error(kind, answer):
    return json.dumps({"type": kind, "error": "no such entity", "code": 7}) + "\n" if kind == "set_circuit" else answer


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (_first, "not a single data point"),
        (_short, "samples: it stopped early, by an overload"),
        (_error, "no such entity"),
        (lambda kind, answer: "no json\n", "Could not decode"),
        (lambda kind, answer: "{}\n", "failed, the connection is closed"),
    ],
)
def test_a_machine_that_answers_wrongly_is_an_error(change, said):
    with Server(interfering(change)) as server:
        device = programmed(LucidacDevice(server.endpoint, timeout_second=2), pair())
        with pytest.raises(DeviceError, match=said):
            device.settle(drives(1, 2))
        with pytest.raises(DeviceError, match="closed"):
            device.settle(drives(1, 2))


def test_a_run_that_is_cut_short_is_not_a_rest(monkeypatch):
    monkeypatch.setattr(lucidac, "LIFETIMES", 1.0)
    device = programmed(LucidacDevice("emu:/"), pair())
    with pytest.raises(DeviceError, match=r"sample 0: channel . still moved by"):
        device.settle(drives(1, 2))


def test_an_overload_on_the_way_is_an_error():
    # A lightly damped pair swings far beyond where it comes to rest.
    cell = LinearCell(torch.tensor([[0.9, -1.0], [1.0, 0.9]]), torch.tensor([[1.0, 0.0], [0.0, 1.0]]))
    device = programmed(LucidacDevice("emu:/"), cell)
    with pytest.raises(DeviceError, match="machine units on its way; choose a larger full_scale"):
        device.settle(torch.tensor([[0.9, 0.0]]))


def test_endpoints():
    for wrong in ("192.168.0.7", "http://lucidac", "", "zeroconf:/"):
        with pytest.raises(UserError, match="expected 'tcp://host:5732'"):
            LucidacDevice(wrong)
    with pytest.raises(ValueError, match="leave the chip out"):
        LucidacDevice("tcp://127.0.0.1:1", Chip(load_spec("lucidac"), 0))
    with pytest.raises(UserError, match="timeout_second = 0"):
        LucidacDevice("emu:/", timeout_second=0)
    with pytest.raises(DeviceError, match="cannot be reached") as refused:
        LucidacDevice("tcp://me:secret@127.0.0.1:1", timeout_second=2)
    assert "secret" not in str(refused.value)


def test_the_client_does_not_configure_our_logging(monkeypatch):
    for name in [name for name in sys.modules if name.partition(".")[0] == "lucipy"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setattr(logging.root, "handlers", [])
    LucidacDevice("emu:/")
    assert logging.root.handlers == []


def test_a_machine_that_sends_for_ever_times_out():
    with Server(lambda line: "x" * 1000) as server:  # and never ends the line
        device = programmed(LucidacDevice(server.endpoint, timeout_second=0.3), pair())
        with pytest.raises(DeviceTimeoutError):
            device.settle(drives(1, 2))


def test_blank_lines_and_logs_between_answers_are_skipped():
    def chatty(kind, answer):
        log = json.dumps({"type": "log", "msg": "warm", "time": 1}) + "\n"
        return ["\n", log, " \n", *([answer] if isinstance(answer, str) else answer)]

    with Server(interfering(chatty)) as server, LucidacDevice(server.endpoint, timeout_second=2) as device:
        programmed(device, pair()).settle(drives(1, 2))
