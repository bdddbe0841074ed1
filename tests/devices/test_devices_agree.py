"""Every device answers the same question: digital equals the model, ngspice equals the twin."""

import pytest
import torch
from builders import drives, spec_with, tiny_model

from equilog.cells import CircuitCell
from equilog.devices import DigitalDevice, NgspiceDevice, TwinDevice, run_on
from equilog.devices.ladder import score_on
from equilog.hardware import Chip, load_spec

CHIP = Chip(load_spec("rram"), 3)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_the_digital_device_is_the_model(dtype):
    model = tiny_model(states=6).to(dtype).eval()
    x = torch.randn(9, 4, dtype=dtype)
    device = DigitalDevice()
    device.program(model.cell)
    found = run_on(model, device, x)
    assert found.dtype == dtype
    torch.testing.assert_close(found, model(x).detach(), atol=2e-5 if dtype == torch.float32 else 1e-9, rtol=0)


def test_the_twin_device_is_the_model_on_that_chip():
    model = tiny_model(states=6).double()
    x = torch.randn(9, 4, dtype=torch.float64)
    device = TwinDevice(CHIP)
    device.program(model.cell)
    torch.testing.assert_close(run_on(model, device, x), model(x, CHIP).detach(), atol=1e-9, rtol=0)
    y = model(x, CHIP).argmax(1)
    assert score_on(model, TwinDevice(CHIP), x, y) == 1.0


@pytest.mark.ngspice
def test_the_ngspice_device_is_the_twin(simulator, tmp_path):
    torch.manual_seed(1)
    cell, drive = CircuitCell(4, 2), drives(5, 2)
    twin, real = TwinDevice(CHIP), NgspiceDevice(CHIP, simulator, tmp_path / "kept")
    for device in (twin, real):
        device.program(cell)
    ours, theirs = twin.settle(drive), real.settle(drive)
    assert (ours.p - theirs.p).abs().max() < 1e-6
    assert (ours.z - theirs.z).abs().max() < 1e-6
    assert (ours.read - theirs.read).abs().max() < 1e-9  # the same codes
    assert (tmp_path / "kept" / "op.cir").exists()


@pytest.mark.parametrize("device", [DigitalDevice(), TwinDevice(CHIP)], ids=lambda d: d.name)
def test_a_device_must_be_programmed_first(device):
    with pytest.raises(RuntimeError, match="program the device"):
        device.settle(drives(1, 2))


def test_programming_again_replaces_the_weights():
    first, second = tiny_model(1).cell, tiny_model(2).cell
    device, fresh = TwinDevice(CHIP), TwinDevice(CHIP)
    device.program(first)
    device.program(second)
    fresh.program(second)
    assert torch.equal(device.settle(drives(3, 2)).p, fresh.settle(drives(3, 2)).p)


def test_only_the_converters_stand_between_state_and_reading():
    device = TwinDevice(
        Chip(spec_with("rram", {"adc.bits": 4, "adc.full_scale_volt": 0.22, "activation.v_out_volt": 0.2}), 1)
    )
    device.program(tiny_model(states=5).cell)
    settled = device.settle(drives(6, 2))
    code = 0.22 / 0.2 / 7
    assert (settled.read - settled.z).abs().max() <= code / 2 + 1e-12
    codes = settled.read / code
    torch.testing.assert_close(codes, codes.round(), atol=1e-9, rtol=0)
