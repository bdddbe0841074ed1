"""A bench behind VISA: simulated by PyVISA-sim on the wire, and by a network in Python where the physics matters."""

import copy
from pathlib import Path

import pytest
import pyvisa
import torch
import yaml
from builders import drives, normal
from hypothesis import given
from hypothesis import strategies as st

from equilog.cells import CubicCell, LinearCell
from equilog.devices import (
    Device,
    DeviceError,
    DeviceTimeoutError,
    DigitalDevice,
    InstrumentDevice,
    load_bench,
    spanning_drives,
)
from equilog.devices.instrument_bench import bench_from_data
from equilog.names import UserError, merged

SIMULATED = f"{Path(__file__).parent / 'bench_sim.yaml'}@sim"
BENCH = {
    "name": "wire",
    "instruments": {
        "rack": {
            "resource": "TCPIP::board::INSTR",
            "identity": "EQUILOG,BENCH",
            "setup": ["*RST", "OUTP 1"],
            "shutdown": ["OUTP 0"],
            "error_query": "SYST:ERR?",
            "timeout_second": 0.5,
        }
    },
    "drives": [
        {
            "instrument": "rack",
            "write": "SOUR{channel}:VOLT {volt:.6f}",
            "channels": [1, 2],
            "volt_per_unit": 2.0,
            "low_volt": -2.0,
            "high_volt": 2.0,
        }
    ],
    "states": [
        {
            "instrument": "rack",
            "read": "MEAS:VOLT:DC? (@{channel})",
            "channels": [1, 2],
            "volt_per_unit": 2.0,
            "low_volt": -2.5,
            "high_volt": 2.5,
        }
    ],
    "settle_second": 0.0,
    "ready": {"instrument": "rack", "query": "READY?", "answer": "1"},
}
WIRE = LinearCell(torch.zeros(2, 2), torch.eye(2))


def bench(**changes):
    """The bench with keys replaced; in lists of blocks the change is laid over the first block."""
    data = copy.deepcopy(BENCH)
    for key, value in changes.items():
        if isinstance(data.get(key), list) and isinstance(value, dict):
            data[key][0] = merged(data[key][0], value)
        else:
            data[key] = merged(data[key], value) if isinstance(data.get(key), dict) and value else value
    return bench_from_data(data)


def simulated(cell=WIRE, **changes):
    device = InstrumentDevice(bench(**changes), SIMULATED)
    device.program(cell)
    return device


def peek(command):
    """Ask the simulated board itself; PyVISA-sim keeps its state from opening to opening."""
    board = pyvisa.ResourceManager(SIMULATED).open_resource("TCPIP::board::INSTR")
    board.read_termination = board.write_termination = "\n"
    try:
        return board.query(command)
    finally:
        board.close()


def test_the_wire_is_its_equation():
    drive = drives(5, 2)
    with simulated() as device:
        assert isinstance(device, Device)
        settled = device.settle(drive)
    torch.testing.assert_close(settled.z, drive, atol=1e-6, rtol=0)
    torch.testing.assert_close(settled.read, drive, atol=1e-6, rtol=0)
    assert settled.p.isnan().all()  # nobody measured them


def test_a_bench_is_a_yaml_file(tmp_path):
    path = tmp_path / "bench.yaml"
    path.write_text(yaml.safe_dump(BENCH))
    assert load_bench(path) == bench()
    path.write_text(yaml.safe_dump(BENCH | {"driver": []}))
    with pytest.raises(UserError, match=r"unknown key 'driver' \(did you mean 'drives'"):
        load_bench(path)


def test_preactivations_go_through_the_cells_own_activation():
    cell = CubicCell(torch.zeros(2, 2), torch.eye(2))
    with simulated(cell, states=[], preactivations=BENCH["states"]) as device:
        settled = device.settle(drives(3, 2))
    torch.testing.assert_close(settled.p, drives(3, 2), atol=1e-6, rtol=0)
    torch.testing.assert_close(settled.z, settled.p - settled.p**3 / 3, atol=1e-7, rtol=1e-6)


def test_all_channels_in_one_answer():
    with simulated(states={"read": "ALL? (@{channels})"}) as device:
        assert device.settle(torch.zeros(1, 2)).z.tolist() == [[0.125, -0.25]]


def test_scales_and_offsets_on_both_sides_and_calibration():
    # The meter is believed to read with another gain and offset than it does.
    with simulated(states={"volt_per_unit": 1.9, "offset_volt": 0.05}) as device:
        wrong = device.settle(drives(4, 2)).read
        assert (wrong - drives(4, 2)).abs().max() > 0.02
        found = device.calibrate(spanning_drives(2), spanning_drives(2))
        torch.testing.assert_close(found.gain, torch.full((2,), 1.9 / 2).double(), atol=1e-6, rtol=0)
        torch.testing.assert_close(device.settle(drives(4, 2)).read, drives(4, 2), atol=2e-6, rtol=0)


def test_outputs_are_on_during_and_off_after_and_drives_at_rest_between():
    device = simulated()
    assert peek("OUTP?") == "1"
    device.settle(torch.tensor([[0.5, 0.5]]))
    assert float(peek("MEAS:VOLT:DC? (@1)")) == 0.0
    device.close()
    assert peek("OUTP?") == "0"
    device.close()
    with pytest.raises(DeviceError, match="wire is closed"):
        device.settle(torch.zeros(1, 2))


@pytest.mark.parametrize(
    ("drive", "error", "said"),
    [
        (
            [[0.1, 0.1], [0.0, 1.01]],
            UserError,
            r"sample 1: channel 2 of 'rack' would get 2.02 V, allowed are -2 to 2 V",
        ),
        ([[0.0, float("inf")]], ValueError, "inf or nan"),
        ([[0.0]], ValueError, r"expected \(batch, 2\)"),
    ],
)
def test_ranges_are_checked_before_anything_is_sent(drive, error, said, written):
    device = simulated()
    before = list(written)
    with pytest.raises(error, match=said):
        device.settle(torch.tensor(drive))
    assert written == before
    assert device.settle(torch.zeros(1, 2)).z.abs().max() < 1e-6  # and it goes on


@pytest.fixture
def written(monkeypatch):
    lines, write = [], pyvisa.resources.MessageBasedResource.write

    def recording(self, message, *rest, **more):
        lines.append(message)
        return write(self, message, *rest, **more)

    monkeypatch.setattr(pyvisa.resources.MessageBasedResource, "write", recording)
    return lines


@pytest.mark.parametrize(
    ("changes", "error", "said"),
    [
        ({"states": {"read": "WORDS? (@{channel})"}}, DeviceError, "channel 1 of 'rack' reads 'volts': not a number"),
        ({"states": {"read": "OVER? (@{channel})"}}, DeviceError, "'9.9E37': an overload"),
        ({"states": {"read": "NAN? (@{channel})"}}, DeviceError, "'nan': an overload"),
        ({"states": {"high_volt": 0.1}}, DeviceError, "channel 1 of 'rack' reads 1 V, expected -2.5 to 0.1 V"),
        ({"states": {"read": "ALL? (@1,{channel})"}}, DeviceError, "reads 'ERROR'"),
        ({"states": {"read": "READY? {channels}"}}, DeviceError, "gave 1 readings for 2 channels"),
        (
            {"ready": {"query": "NEVER?", "timeout_second": 0.05}},
            DeviceTimeoutError,
            "sample 0: 'NEVER[?]' still says '0' after 0.05 s, at rest it says '1'",
        ),
        ({"ready": {"query": "*RST"}}, DeviceTimeoutError, "[Tt]imeout"),
    ],
)
def test_a_failure_while_settling_makes_the_bench_safe(changes, error, said):
    device = simulated(**changes)
    with pytest.raises(error, match=said):
        device.settle(torch.full((1, 2), 0.5))
    assert peek("OUTP?") == "0"
    assert float(peek("MEAS:VOLT:DC? (@1)")) == 0.0
    with pytest.raises(DeviceError, match="closed"):
        device.settle(torch.zeros(1, 2))


@pytest.mark.filterwarnings("ignore:read string doesn't end")  # of an address where nobody is
@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"instruments": {"rack": {"identity": "KEYSIGHT"}}}, "'EQUILOG,BENCH,0,1.0', expected 'KEYSIGHT' in it"),
        ({"instruments": {"rack": {"resource": "TCPIP::other::INSTR"}}}, "SOMEBODY.*is it the right one"),
        ({"instruments": {"rack": {"error_query": "BROKEN:ERR?"}}}, "'rack' reports '-222,\"Data out of range\"'"),
        ({"instruments": {"rack": {"resource": "TCPIP::nobody::INSTR"}}}, "expected 'EQUILOG,BENCH' in it"),
        ({"instruments": {"rack": {"resource": "nonsense"}}}, "nonsense is not an instrument that takes messages"),
    ],
)
def test_an_instrument_that_is_not_the_one_meant_is_refused(changes, said):
    with pytest.raises(DeviceError, match=said):
        InstrumentDevice(bench(**changes), SIMULATED)
    assert peek("OUTP?") == "0"


def test_a_wrong_instrument_is_asked_its_name_and_nothing_else(written):
    with pytest.raises(DeviceError, match="right one"):
        InstrumentDevice(bench(instruments={"rack": {"identity": "KEYSIGHT"}}), SIMULATED)
    assert written == ["*IDN?"]


def test_the_cell_must_have_the_size_of_the_bench():
    device = InstrumentDevice(bench(), SIMULATED)
    with pytest.raises(RuntimeError, match="program the device"):
        device.settle(torch.zeros(1, 2))
    with pytest.raises(UserError, match="the cell has 1 drives, but wire has 2 channels; 3 states, but"):
        device.program(LinearCell(torch.zeros(3, 3), torch.ones(3, 1)))


def test_a_visa_library_that_is_none():
    with pytest.raises(UserError, match=r"VISA library 'nowhere.so' cannot be used"):
        InstrumentDevice(bench(), "nowhere.so")


# What a bench may say.


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"drives": {"write": "SOUR{chanel}:VOLT {volt}"}}, r"unknown field \{chanel\} \(did you mean 'channel'"),
        ({"drives": {"write": "SOUR{channel}:VOLT 1"}}, r"expected the field \{volt\}"),
        ({"drives": {"write": "V {volt.__class__}"}}, "unknown field"),
        ({"drives": {"write": "V {volt[0]}"}}, "unknown field"),
        ({"drives": {"write": "V {volt!r}"}}, "expected a number's format"),
        ({"drives": {"write": "V {volt:{channel}}"}}, "expected a number's format"),
        ({"drives": {"write": "V {volt:>99999999}"}}, "expected a number's format"),
        ({"drives": {"write": "V {volt}\nOUTP 1"}}, "one line of printable ASCII"),
        ({"drives": {"write": "V {volt"}}, "drives.0.write"),
        ({"drives": {"write": "{0}{volt}"}}, "unknown field"),
        ({"states": {"read": "M? {volt}"}}, "unknown field"),
        ({"states": {"read": "M? {channels:d}"}}, "expected a number's format"),
        ({"instruments": {"rack": {"setup": ["A\r\nB"]}}}, "one line of printable ASCII"),
        ({"drives": {"channels": [1, 1]}}, "one stands twice"),
        ({"drives": {"channels": [-1]}}, "greater than or equal to 0"),
        ({"drives": {"low_volt": 3.0}}, "low_volt = 3.0 must be below"),
        ({"drives": {"safe_volt": 9.0}}, "safe_volt = 9.0 lies outside"),
        ({"drives": {"volt_per_unit": 0.0}}, "volt_per_unit = 0"),
        ({"drives": {"instrument": "rak"}}, r"unknown instrument 'rak' \(did you mean 'rack'"),
        ({"ready": {"instrument": "rak"}}, "unknown instrument"),
        ({"drives": [BENCH["drives"][0], BENCH["drives"][0]]}, "channel 1 of 'rack' is driven twice"),
        ({"states": []}, "nothing is read"),
        ({"preactivations": [BENCH["states"][0] | {"channels": [1]}]}, "2 states but 1 preactivations"),
        ({"settle_second": -1.0}, "settle_second"),
    ],
)
def test_a_bench_with_a_mistake_is_refused(changes, said):
    with pytest.raises(UserError, match=said):
        bench(**changes)


@given(st.text(min_size=1, max_size=40))
def test_no_template_says_more_than_its_own_text_and_numbers(text):
    try:
        made = bench(drives={"write": text + "{volt:.6f}"})
    except UserError:
        return
    filled = made.drives[0].write.format(channel=7, volt=-0.25)
    assert filled.isprintable()
    assert filled.isascii()
    assert filled.endswith("-0.250000")
    assert len(filled) <= len(text) + 9 + 20


# Physics: a network of conductances on the bench.


class Board:
    """A network of conductances behind probes with gains and offsets; speaks the bench's words."""

    def __init__(self, cell, gain, offset):
        self.ideal = DigitalDevice()
        self.ideal.program(cell)
        self.gain, self.offset = gain, offset
        self.volt = torch.zeros(cell.drives, dtype=torch.float64)
        self.polled, self.log = 0, []

    def open_resource(self, _):
        return self

    def close(self):
        self.log.append("closed")

    def write(self, line):
        self.log.append(line)
        if line.startswith("SOUR"):
            self.volt[int(line[4]) - 1] = float(line.split()[1])
            self.polled = 0

    def query(self, line):
        if line == "READY?":
            self.polled += 1
            return str(int(self.polled >= 3))
        if line.startswith("MEAS"):
            assert self.polled >= 3, "read before it was at rest"
            z = self.ideal.settle(self.volt[None] / 2).z[0]
            node = int(line[-2]) - 1
            return f"{float(2 * (self.gain[node] * z[node] + self.offset[node])):.9e}"
        return {"*IDN?": "EQUILOG,BENCH", "SYST:ERR?": '0,"No error"'}[line]


def network():
    g = torch.tensor([[0.0, 1.0, 0.5], [1.0, 0.0, 0.0], [0.5, 0.0, 0.0]], dtype=torch.float64)
    return LinearCell.network(g, torch.full((3,), 0.8, dtype=torch.float64), 0.3 * normal(3, 3, 2).abs())


def on_board(monkeypatch, board):
    monkeypatch.setattr(pyvisa, "ResourceManager", lambda visa: board)
    return InstrumentDevice(bench(states={"channels": [1, 2, 3]}, ready={"poll_second": 1e-4}))


def test_a_network_on_the_bench_is_read_at_rest_and_calibrated(monkeypatch):
    cell, drive = network(), drives(6, 2)
    board = Board(cell, [1.02, 0.97, 1.01], [0.01, -0.02, 0.0])
    truth = DigitalDevice()
    truth.program(cell)
    with on_board(monkeypatch, board) as device:
        device.program(cell)
        assert (device.settle(drive).read - truth.settle(drive).z).abs().max() > 0.01
        found = device.calibrate(spanning_drives(2), truth.settle(spanning_drives(2)).z)
        assert (device.settle(drive).read - truth.settle(drive).z).abs().max() < 3e-6  # six decimals are sent
        torch.testing.assert_close(1 / found.gain, torch.tensor([1.02, 0.97, 1.01]).double(), atol=1e-4, rtol=0)
    assert board.log[-4:] == ["SOUR1:VOLT 0.000000", "SOUR2:VOLT 0.000000", "OUTP 0", "closed"]


@pytest.mark.parametrize("interruption", [KeyboardInterrupt, OSError("cable")])
def test_an_interruption_makes_the_bench_safe(interruption, monkeypatch):
    board = Board(network(), [1.0] * 3, [0.0] * 3)
    device = on_board(monkeypatch, board)
    device.program(network())

    def broken(_):
        raise interruption

    board.query = lambda line: '0,"No error"' if line == "SYST:ERR?" else broken(line)
    with pytest.raises(KeyboardInterrupt if interruption is KeyboardInterrupt else DeviceError):
        device.settle(torch.full((1, 2), 0.5))
    assert (board.volt == 0).all()
    assert board.log[-2:] == ["OUTP 0", "closed"]


def test_a_bench_that_cannot_be_made_safe_says_so(monkeypatch):
    board = Board(network(), [1.0] * 3, [0.0] * 3)
    device = on_board(monkeypatch, board)
    tried = []

    def broken(line):
        tried.append(line)
        raise OSError("cable")

    board.write = broken
    with pytest.raises(DeviceError, match=r"may not be safe, look at it: rack: OSError: cable"):
        device.close()
    assert tried == ["SOUR1:VOLT 0.000000", "SOUR2:VOLT 0.000000", "OUTP 0"]  # one failure does not spare the others
    assert board.log[-1] == "closed"
