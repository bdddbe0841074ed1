"""The adjoint circuit's reading is the implicit gradient; perturbation has it as its expectation; all fit one mould."""

import pytest
import torch
from builders import CONTINUOUS, drives, normal, spec_with

from equilog.cells import CircuitCell, LinearCell, SymmetricWeight
from equilog.devices import DigitalDevice, NgspiceDevice, TwinDevice
from equilog.equilibrium import Auto, EquilibriumLayer
from equilog.hardware import Chip, program
from equilog.hardware.twin import adc, dac, static_system
from equilog.names import UserError
from equilog.training.gradients import (
    AdjointReading,
    EquilibriumPropagation,
    FixedCell,
    GradientSource,
    WeightPerturbation,
    measure,
)

N, M, BATCH = 5, 2, 4
TARGET = 0.5 * normal(11, BATCH, N)
# Errors of the devices off: they scale with R_f, which is another gradient than that of the realised weights.
EXACT = CONTINUOUS | {"dac.bits": 24, "adc.bits": 24}
CHIP = Chip(spec_with("rram", EXACT), 2)
# Weights asked for also act on load and R_f, and through these on droop and offsets: not with such amplifiers.
STRONG = Chip(spec_with("rram", EXACT | {"amplifier.dc_gain": 1e9, "amplifier.offset_sigma_volt": 0.0}), 2)


def squares(z):
    return z - TARGET


def cell_of(seed=0):
    torch.manual_seed(seed)
    return CircuitCell(N, M).double()


def implicit(cell, drive, chip=CHIP):
    """Autograd through the chip's own twin, converters and mismatch of the neurons included."""
    asked = [m.detach().requires_grad_() for m in cell.matrices()]
    d = drive.clone().requires_grad_()
    layer = program(tuple(asked), chip)
    z = adc(layer, EquilibriumLayer(Auto(rtol=1e-13, atol=1e-14))(static_system(layer, dac(layer, d))))
    return torch.autograd.grad(0.5 * (z - TARGET).square().sum(), (*asked, d))


def relative(found, truth):
    return float((found - truth).norm() / truth.norm())


def parts(gradient):
    return gradient.weight, gradient.input_weight, gradient.bias, gradient.drive


def test_the_adjoint_circuit_gives_the_implicit_gradient():
    cell, drive = cell_of(), drives(BATCH, M)
    found = measure(AdjointReading(), TwinDevice(STRONG), cell, drive, squares)
    for part, truth in zip(parts(found), implicit(cell, drive, STRONG)):
        assert relative(part, truth) < 1e-5


@pytest.mark.ngspice
def test_ngspice_reads_the_same_gradient(simulator):
    cell, drive = cell_of(), drives(BATCH, M)
    by_equations = measure(AdjointReading(), TwinDevice(CHIP), cell, drive, squares)
    with NgspiceDevice(CHIP, simulator) as device:
        read = measure(AdjointReading(simulator=simulator), device, cell, drive, squares)
    for part, truth in zip(parts(read), parts(by_equations)):
        assert relative(part, truth) < 1e-5  # states read at 24 bits


@pytest.mark.ngspice
def test_equilibrium_propagation_in_ngspice_is_that_of_the_twin(simulator):
    torch.manual_seed(0)
    cell, drive = CircuitCell(N, M, recurrent=SymmetricWeight(N)), drives(BATCH, M)
    with NgspiceDevice(CHIP, simulator) as device:
        read = measure(EquilibriumPropagation(), device, cell, drive, squares)
    twin = measure(EquilibriumPropagation(), TwinDevice(CHIP), cell, drive, squares)
    for part, truth in zip(parts(read), parts(twin)):
        assert relative(part, truth) < 1e-5


def test_a_device_without_a_crossbar_has_no_adjoint_circuit():
    with pytest.raises(UserError, match=r"'ideal' has no crossbar.*TwinDevice"):
        measure(AdjointReading(), DigitalDevice(), cell_of(), drives(BATCH, M), squares)


def test_many_probes_find_the_gradient():
    cell, drive = cell_of(), drives(BATCH, M)
    truth = implicit(cell, drive)
    for probes, least in ((4, None), (400, 0.85)):
        found = measure(WeightPerturbation(probes, 0.01), TwinDevice(CHIP), cell, drive, squares)
        flat, exact = (torch.cat([p.flatten() for p in ps[:3]]) for ps in (parts(found), truth))
        cosine = float(torch.nn.functional.cosine_similarity(flat, exact, dim=0))
        assert least is None or cosine > least
    assert 0.7 < float(flat.norm() / exact.norm()) < 1.6


def test_of_a_linear_cell_every_direction_has_the_slope_of_the_gradient():
    """One probe is the gradient projected onto its direction, exactly: the loss is linear in b."""
    cell = LinearCell(torch.zeros(2, 2, dtype=torch.float64), torch.eye(2, dtype=torch.float64))

    class Once(WeightPerturbation):
        def _signs(self, like):
            return torch.ones_like(like)

    drive = torch.tensor([[0.5, 1.0]], dtype=torch.float64)
    found = measure(Once(1, 0.1), DigitalDevice(), cell, drive, torch.ones_like)
    # L = Σz with z = W z + U d + b: slopes at W = 0 are 0.5 + 1 for each row of W and U, 1 for b, 1 for d.
    by, largest = 0.1, 1.0
    up, down = (_linear_loss(sign * by * largest, drive + sign * by) for sign in (1, -1))
    torch.testing.assert_close(found.bias, ((up - down) / (2 * by)).expand(2))
    # The drive at its end moves to one side only.
    torch.testing.assert_close(found.drive, torch.stack([(up - down) / (2 * by), (up - down) / by])[None])


def _linear_loss(step, drive):
    w = torch.full((2, 2), step, dtype=torch.float64)
    u = torch.eye(2, dtype=torch.float64) + step
    return torch.linalg.solve(torch.eye(2, dtype=torch.float64) - w, u @ drive.clamp(-1, 1)[0] + step).sum()


def test_perturbation_leaves_the_device_as_it_found_it():
    cell, drive, device = cell_of(), drives(BATCH, M), TwinDevice(CHIP)
    device.program(cell)
    before = device.settle(drive).read
    measure(WeightPerturbation(2), device, cell, drive, squares)
    assert (device.settle(drive).read == before).all()


def test_settings_out_of_range_are_refused():
    with pytest.raises(ValueError, match="probes = 0"):
        WeightPerturbation(0)
    with pytest.raises(ValueError, match="step = 0"):
        WeightPerturbation(1, 0.0)


@pytest.mark.parametrize("source", [EquilibriumPropagation(), AdjointReading(), WeightPerturbation()])
def test_every_source_speaks_the_protocol(source):
    assert isinstance(source, GradientSource)
    assert source.name


def test_a_fixed_cell_is_a_snapshot():
    cell = cell_of()
    fixed = FixedCell.of(cell)
    assert fixed.holds(FixedCell.of(cell))
    with torch.no_grad():
        cell.bias += 1
    assert not fixed.holds(FixedCell.of(cell))
    assert (fixed.states, fixed.drives) == (N, M)
