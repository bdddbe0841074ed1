"""Gradients with a device in the loop point where the exact ones do; a better twin points better."""

import pytest
import torch
from adapt_cases import MISMATCHED, Blind, chip, data, model
from builders import normal

from equilog.devices import Calibration, DigitalDevice, TwinDevice
from equilog.training.adapt import equations, excitation, gradient_cosine, identify, on_tape
from equilog.training.adapt.gradients import OVERALL


@pytest.mark.parametrize("machine", [Blind, TwinDevice])
@pytest.mark.parametrize("seed", [1, 2, 3])
def test_five_percent_of_mismatch(machine, seed):
    ours = model()
    x, y = data(ours)
    device = machine(chip(seed))
    device.program(ours.cell)
    drives = excitation(4, 120, torch.Generator().manual_seed(0))
    identified = identify(device, ours.cell, MISMATCHED, drives).chip
    nominal = gradient_cosine(ours, device, MISMATCHED, x, y)
    known = gradient_cosine(ours, device, identified, x, y)
    assert known[OVERALL] >= 0.998
    assert min(known.values()) >= 0.99
    assert known[OVERALL] > nominal[OVERALL] > 0.9


def test_the_chips_own_twin_is_exact_and_nothing_is_left_behind():
    ours = model()
    x, y = data(ours)
    device = TwinDevice(chip())
    cosines = gradient_cosine(ours, device, chip(), x, y)
    assert min(cosines.values()) > 1 - 1e-6
    assert set(cosines) == {OVERALL} | {name for name, _ in ours.named_parameters()}
    assert all(p.grad is None and p.dtype == torch.float32 for p in ours.parameters())


def test_a_machine_of_unknown_chip_is_refused():
    ours = model()
    with pytest.raises(ValueError, match="pass it as truth"):
        gradient_cosine(ours, DigitalDevice(), None, *data(ours))


def test_readings_keep_their_value_and_calibration_scales_their_gradient():
    ours = model().double()
    calibration = Calibration(1 + 0.1 * normal(1, 8), 0.1 * normal(2, 8), torch.zeros(8))
    device = TwinDevice(chip())
    device.program(ours.cell)
    drive = excitation(4, 5, torch.Generator().manual_seed(0)).requires_grad_()
    system = equations(ours.cell, chip())(drive)

    def read(with_):
        device.calibration = with_
        settled = device.settle(drive.detach())
        return settled.read, on_tape(ours.equilibrium, system, settled, with_)

    (plain, taped), (corrected, taped_too) = read(None), read(calibration)
    torch.testing.assert_close(taped, plain, rtol=0, atol=1e-15)
    torch.testing.assert_close(taped_too, corrected, rtol=0, atol=1e-15)
    co = normal(3, 5, 8)
    (a,) = torch.autograd.grad((co * calibration.gain * taped).sum(), drive, retain_graph=True)
    (b,) = torch.autograd.grad((co * taped_too).sum(), drive)
    torch.testing.assert_close(a, b)
