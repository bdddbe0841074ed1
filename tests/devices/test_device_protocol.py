"""Every device speaks the protocol; calibration finds identity in an ideal one, undoes gains and offsets in others."""

from dataclasses import replace

import pytest
import torch
from builders import NO_MISMATCH, drives, normal, spec_with
from hypothesis import given
from hypothesis import strategies as st

from equilog.cells import CircuitCell, LinearCell
from equilog.devices import (
    BaseDevice,
    Calibration,
    Device,
    DigitalDevice,
    LucidacDevice,
    LucidacTwin,
    NgspiceDevice,
    TwinDevice,
    spanning_drives,
)
from equilog.hardware import Chip, load_spec
from equilog.names import UserError

CHIP = Chip(load_spec("rram"), 3)


def cell(seed=1, states=4, channels=2):
    torch.manual_seed(seed)
    return CircuitCell(states, channels)


def programmed(device, what):
    device.program(what)
    return device


class Skewed(DigitalDevice):
    """An ideal circuit behind probes with errors: reading = (z − offset)/gain."""

    def __init__(self, gain, offset):
        super().__init__()
        self.gain, self.offset = gain, offset

    def settle(self, drive):
        truth = DigitalDevice.settle(self.plain, drive)
        return self.corrected(replace(truth, read=(truth.z - self.offset) / self.gain))

    def program(self, cell):
        self.plain = programmed(DigitalDevice(), cell)


@pytest.mark.ngspice
@pytest.mark.parametrize("name", ["ideal", "twin", "ngspice", "lucidac", "lucidac twin"])
def test_every_device_speaks_the_protocol(name, simulator):
    made = {
        "ideal": DigitalDevice,
        "twin": lambda: TwinDevice(CHIP),
        "ngspice": lambda: NgspiceDevice(CHIP, simulator),
        "lucidac": lambda: LucidacDevice("emu:/"),
        "lucidac twin": LucidacTwin,
    }[name]()
    assert isinstance(made, Device)
    assert made.name == name
    with made as device:
        assert device is made
        with pytest.raises(RuntimeError, match="program the device"):
            device.settle(drives(2, 2))
    made.close()  # again


def test_the_base_does_not_pretend_to_settle():
    with pytest.raises(NotImplementedError):
        BaseDevice().settle(drives(1, 1))


def test_an_ideal_device_calibrates_to_identity():
    device, drive = programmed(DigitalDevice(), cell()), spanning_drives(2)
    found = device.calibrate(drive, device.settle(drive).z)
    assert (found.gain == 1).all()
    assert (found.offset == 0).all()
    assert (found.residual == 0).all()


@pytest.mark.ngspice
def test_ngspice_calibrated_against_the_twin_of_its_chip_finds_identity(simulator):
    twin, real = (programmed(device, cell()) for device in (TwinDevice(CHIP), NgspiceDevice(CHIP, simulator)))
    found = real.calibrate(spanning_drives(2), twin.settle(spanning_drives(2)).read)
    torch.testing.assert_close(found.gain, torch.ones(4, dtype=torch.float64), atol=1e-9, rtol=0)
    torch.testing.assert_close(found.offset, torch.zeros(4, dtype=torch.float64), atol=1e-9, rtol=0)


def test_gain_and_offset_of_every_node_are_undone_at_drives_never_seen():
    gain, offset = 1 + 0.1 * normal(1, 4), 0.05 * normal(2, 4)
    device, ideal = programmed(Skewed(gain, offset), cell()), programmed(DigitalDevice(), cell())
    unseen = drives(20, 2, seed=9)
    truth = ideal.settle(unseen).z
    assert (device.settle(unseen).read - truth).abs().max() > 0.03
    found = device.calibrate(spanning_drives(2), ideal.settle(spanning_drives(2)).z)
    torch.testing.assert_close(found.gain, gain, atol=1e-10, rtol=0)
    torch.testing.assert_close(found.offset, offset, atol=1e-10, rtol=0)
    settled = device.settle(unseen)
    torch.testing.assert_close(settled.read, truth, atol=1e-10, rtol=0)
    assert "1.0" in str(found) or "0.9" in str(found)
    device.calibration = None
    assert (device.settle(unseen).read - truth).abs().max() > 0.03


def test_a_chip_calibrated_against_the_ideal_reads_closer_to_it():
    ideal, chip = programmed(DigitalDevice(), cell()), programmed(TwinDevice(CHIP), cell())
    unseen = drives(40, 2, seed=5)
    truth = ideal.settle(unseen).z

    def error():
        return float((chip.settle(unseen).read - truth).square().mean().sqrt())

    before, raw = error(), chip.settle(unseen)
    chip.calibrate(drives(12, 2, seed=4), ideal.settle(drives(12, 2, seed=4)).z)
    assert error() < 0.85 * before  # the rest depends on the drive
    after = chip.settle(unseen)
    assert torch.equal(after.p, raw.p)  # only the reading is corrected
    assert torch.equal(after.z, raw.z)


@given(st.integers(0, 10**6), st.integers(2, 9), st.integers(1, 6))
def test_least_squares_recovers_any_gains_and_offsets(seed, batch, nodes):
    truth = normal(seed, batch, nodes)
    gain, offset = 0.2 + normal(seed + 1, nodes).abs(), normal(seed + 2, nodes)
    found = Calibration.fit((truth - offset) / gain, truth)
    torch.testing.assert_close(found.apply((truth - offset) / gain), truth, atol=1e-8, rtol=1e-8)
    torch.testing.assert_close(found.gain, gain, atol=1e-7, rtol=1e-7)
    assert (found.residual < 1e-8).all()


def test_the_residual_is_what_two_numbers_cannot_correct():
    x = torch.linspace(-1, 1, 101, dtype=torch.float64)[:, None]
    found = Calibration.fit(x, x + 0.01 * x**2)
    assert float(found.residual) == pytest.approx(float((0.01 * (x**2 - (x**2).mean())).square().mean().sqrt()))


GOOD = normal(0, 5, 3)


@pytest.mark.parametrize(
    ("reading", "expected", "said"),
    [
        (GOOD, GOOD[:, :2], r"\(5, 3\) against expected states \(5, 2\)"),
        (GOOD[:1], GOOD[:1], "two drives or more"),
        (GOOD.index_fill(1, torch.tensor([1]), 0.31), GOOD, "node 1 reads 0.31 under all 5 drives"),
        (GOOD, GOOD.index_fill(1, torch.tensor([2]), 0.2), "node 2 should be 0.2"),
        (GOOD * torch.tensor([1.0, 1.0, -1.0]), GOOD, "node 2 has gain -1: it falls where it should rise"),
        (GOOD.index_fill(0, torch.tensor([3]), torch.nan), GOOD, "reading of node 0, sample 3, is nan"),
    ],
)
def test_what_cannot_be_calibrated_is_named(reading, expected, said):
    with pytest.raises(ValueError, match=said):
        Calibration.fit(reading, expected)


def test_a_calibration_that_fails_leaves_the_one_before():
    device = programmed(DigitalDevice(), cell())
    kept = device.calibrate(spanning_drives(2), 2 * device.settle(spanning_drives(2)).z)
    with pytest.raises(ValueError, match="under all"):
        device.calibrate(torch.zeros(3, 2), torch.zeros(3, 4))
    assert device.calibration is kept
    device.program(cell(states=5))
    with pytest.raises(ValueError, match="calibrated for 4 nodes, but the device reads 5"):
        device.settle(drives(1, 2))


def test_spanning_drives_move_every_channel():
    rows = spanning_drives(3, levels=4, size=0.5)
    assert rows.shape == (13, 3)
    assert (rows[0] == 0).all()
    assert (rows.abs().max(0).values == 0.5).all()
    for wrong in ({"channels": 0}, {"channels": 1, "levels": 1}, {"channels": 1, "size": 1.5}):
        with pytest.raises(ValueError, match="expected"):
            spanning_drives(**wrong)


def linear():
    g = torch.tensor([[0.0, 1.0, 0.5], [1.0, 0.0, 0.0], [0.5, 0.0, 0.0]], dtype=torch.float64)
    return LinearCell.network(g, torch.full((3,), 0.8, dtype=torch.float64), 0.3 * normal(3, 3, 2).abs())


def test_a_linear_network_is_kirchhoffs_law():
    g = torch.tensor([[0.0, 2.0, 0.0], [2.0, 0.0, 1.0], [0.0, 1.0, 0.0]], dtype=torch.float64)
    leak, inject = torch.tensor([0.5, 0.0, 1.0], dtype=torch.float64), normal(1, 3, 2)
    device = programmed(DigitalDevice(), LinearCell.network(g, leak, inject))
    drive = drives(6, 2)
    v = device.settle(drive).z
    leaving = (g * (v[:, :, None] - v[:, None, :])).sum(2) + leak * v
    torch.testing.assert_close(leaving, drive @ inject.T, atol=1e-8, rtol=0)
    with pytest.raises(ValueError, match="no path to ground"):
        LinearCell.network(g, torch.zeros(3, dtype=torch.float64), inject)
    with pytest.raises(ValueError, match="symmetric"):
        LinearCell.network(g + torch.eye(3), leak, inject)


def test_a_twin_refuses_a_cell_whose_activation_it_does_not_have():
    with pytest.raises(UserError, match=r"Linear, that of technology 'rram' is tanh.*activation\.curve"):
        TwinDevice(CHIP).program(linear())
    straight = [-2.0, -1.0, 1.0, 2.0]
    spec = spec_with("ideal", NO_MISMATCH).changed(
        activation={
            "v_scale_volt": 1.0,
            "v_out_volt": 1.0,
            "curve": {"input_volt": straight, "output_volt": straight, "source": "a buffer"},
        }
    )
    twin, ideal = programmed(TwinDevice(Chip(spec, 0)), linear()), programmed(DigitalDevice(), linear())
    drive = drives(5, 2)
    assert (twin.settle(drive).z - ideal.settle(drive).z).abs().max() < 1e-4
