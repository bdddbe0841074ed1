"""What trains a cell, reads a gradient off a machine or finds a chip out, meets the law as a part of the chip."""

import pytest
import torch
from adapt.adapt_cases import MISMATCHED, Blind
from builders import NO_MISMATCH, chain_law, drives, normal, spec_with

from equilog.cells import AffineSystem, CircuitCell, FixedCoupling, LinearCell, SymmetricWeight
from equilog.devices import DigitalDevice, TwinDevice
from equilog.equilibrium import EquilibriumLayer
from equilog.hardware import Chip, Conditions, Population, load_spec, program_cell
from equilog.hardware.twin import TwinState, static_system
from equilog.training.adapt import identify
from equilog.training.adapt.identified_chip import typical_chip
from equilog.training.adapt.twin import equations
from equilog.training.gradients import EquilibriumPropagation, NotSymmetricError, WeightPerturbation, measure
from equilog.training.gradients.fixed_cell import FixedCell
from equilog.training.gradients.source import outer_products
from equilog.training.losses import expected_displacement

SETTLE = EquilibriumLayer(on_failure="raise")
LAW = chain_law(5, 3, 3, linear=2)


def learnt(seed=0, fixed=LAW, recurrent=None):
    torch.manual_seed(seed)
    cell = CircuitCell(5, 3, fixed=fixed, recurrent=recurrent).double()
    with torch.no_grad():
        for parameter in cell.parameters():
            parameter.add_(0.2 * normal(seed + parameter.ndim, *parameter.shape))
    return cell


def truth(cell, d, g):
    parts = [m.detach().requires_grad_() for m in cell.total()]
    d = d.clone().requires_grad_()
    z = SETTLE(AffineSystem(parts[0], d @ parts[1].T + parts[2], cell.activation))
    (g * z).sum().backward()
    return (*(m.grad for m in parts), d.grad)


def test_a_cell_of_one_moment_keeps_its_law():
    cell = learnt()
    held = FixedCell.of(cell)
    assert held.fixed is LAW
    assert held.holds(FixedCell.of(cell))
    assert not held.holds(FixedCell.of(learnt(fixed=chain_law(5, 3, 3))))
    wide = held.with_columns(torch.eye(5))
    assert wide.fixed.drives == wide.drives == 8
    ideal = DigitalDevice()
    ideal.program(cell)
    expected = ideal.settle(drives(4, 3)).z
    ideal.program(wide)
    torch.testing.assert_close(ideal.settle(torch.cat([drives(4, 3), torch.zeros(4, 5)], 1)).z, expected)


def test_outer_products_send_the_drives_gradient_through_the_whole_equation():
    cell, d, g = learnt(), drives(3, 3), normal(3, 3, 5)
    weight = cell.total()[0].detach()
    z = SETTLE(cell.system(d)).detach()
    p = z @ weight.T + cell.system(d).injection.detach()
    slope = cell.activation.slope(p)
    lam = torch.linalg.solve(torch.eye(5) - slope[:, :, None] * weight.T, (slope * g)[..., None])[..., 0]
    found = outer_products(cell, d, z, lam)
    for ours, expected in zip((found.weight, found.input_weight, found.bias, found.drive), truth(cell, d, g)):
        torch.testing.assert_close(ours, expected, rtol=1e-5, atol=1e-6)
    assert not torch.allclose(found.drive, lam @ cell.input_weight.detach())


def test_equilibrium_propagation_with_a_symmetric_law():
    g = torch.zeros(5, 5).double()
    g[0, 1] = g[1, 0] = 0.4
    law = FixedCoupling(g, normal(1, 5, 3), linear=2)
    cell, d, target = learnt(fixed=law, recurrent=SymmetricWeight(5)), 0.5 * drives(3, 3), normal(2, 3, 5)
    ideal = DigitalDevice()
    found = measure(EquilibriumPropagation(beta=1e-3), ideal, cell, d, lambda z: z - target)
    expected = truth(cell, d, SETTLE(cell.system(d)).detach() - target)
    symmetric = (expected[0] + expected[0].T) / 2
    for ours, exact in zip((found.weight, found.input_weight, found.bias, found.drive), (symmetric, *expected[1:])):
        torch.testing.assert_close(ours, exact, rtol=2e-3, atol=2e-3)
    skew = LinearCell(torch.tensor([[0.0, 1.0], [-1.0, 0.0]]).double(), torch.ones(2, 3).double())
    odd = learnt(fixed=FixedCoupling.of(skew, 3), recurrent=SymmetricWeight(5))
    with pytest.raises(NotSymmetricError):
        measure(EquilibriumPropagation(), ideal, odd, d, lambda z: z)


def test_weight_perturbation_moves_what_is_learnt_and_not_the_law():
    cell, d = learnt(), drives(2, 3)
    seen = []

    class Watched(DigitalDevice):
        def program(self, cell):
            seen.append(cell)
            super().program(cell)

    measure(WeightPerturbation(probes=2), Watched(), cell, d, lambda z: z)
    assert len(seen) > 4
    assert all(moved.fixed is LAW for moved in seen)


def test_gradients_through_a_twin_see_the_law():
    cell, d = learnt(), drives(3, 3)
    layer = program_cell(cell, typical_chip(load_spec("rram")))
    ours = equations(cell, load_spec("rram"))(d)
    torch.testing.assert_close(ours.weight, layer.effective[:, :5], rtol=5e-2, atol=5e-2)
    assert ours.activation.linear == 2


@pytest.mark.parametrize("machine", [TwinDevice, Blind])
def test_a_chip_with_a_law_is_found_out(machine):
    spec = MISMATCHED.changed(fixed_network={"tolerance": 0.1})
    cell, device = learnt(), machine(Chip(spec, 3))
    device.program(cell)
    # A state without an activation is not bounded: drives that keep it within the ADC's range.
    result = identify(device, cell, spec, 0.15 * drives(160, 3), check=0.15 * drives(50, 3, 9))
    assert result.rms_after < 0.006 < result.rms_before / 20  # 0.7 of a code
    assert result.chip.deviates["fixed.network"].abs().max() > 0.2


@pytest.mark.parametrize("cause", ["resistors", "outputs"])
def test_expected_displacement_counts_the_law_as_brute_force_does(cause):
    still = NO_MISMATCH | {"fixed_network": None, "crossbar.temperature": None}
    change = {
        "resistors": {"fixed_network": {"tolerance": 2e-3}},
        "outputs": {"amplifier.offset_sigma_volt": 2e-4},
    }[cause]
    spec, cell, d = spec_with("rram", still | change), learnt(), drives(4, 3)
    with torch.no_grad():
        layer = program_cell(cell, typical_chip(spec))
        system = static_system(layer, d)
        state = TwinState(layer, d, d, system, SETTLE.rest(system))
        found = expected_displacement(state)
        crowd = program_cell(cell, Population(spec, range(1500)), Conditions())
        many = static_system(crowd, d)
        moved = many.activation(SETTLE.rest(many)) - state.z
    torch.testing.assert_close(found.mismatch, moved.square().mean((0, 2)), rtol=0.12, atol=0)
