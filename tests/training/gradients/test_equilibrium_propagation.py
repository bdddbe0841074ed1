"""On an ideal symmetric cell the contrast of phases is the implicit gradient, to the order that its phases promise."""

from itertools import pairwise

import pytest
import torch
from builders import NO_MISMATCH, drives, normal, spec_with
from hypothesis import given
from hypothesis import strategies as st

from equilog.cells import AffineSystem, CircuitCell, LinearCell, SymmetricWeight
from equilog.devices import DigitalDevice, TwinDevice
from equilog.equilibrium import Auto, EquilibriumLayer
from equilog.hardware import Chip
from equilog.training.gradients import (
    EquilibriumPropagation,
    FixedCell,
    NotSymmetricError,
    equilibrium_propagation,
)

N, M, BATCH = 6, 3, 5
TARGET = 0.5 * normal(11, BATCH, N)
EXACT = {"dac.bits": 24, "adc.bits": 24, "crossbar.g_min_siemens": 1e-12}


def symmetric(seed=0, n=N, m=M):
    torch.manual_seed(seed)
    cell = CircuitCell(n, m, recurrent=SymmetricWeight(n, scale=0.6)).double()
    torch.nn.init.normal_(cell.bias, std=0.3)
    return cell


def squares(z):
    """∂L/∂z of ½‖z − target‖²."""
    return z - TARGET


class Settles(DigitalDevice):
    """The ideal device, solved to rounding: small β must not meet the solver's tolerance."""

    def __init__(self):
        super().__init__()
        self._equilibrium = EquilibriumLayer(Auto(rtol=1e-14, atol=1e-15), on_failure="ignore")


def implicit(cell, drive):
    """The gradient by autograd through the equilibrium; of W the part that reaches a symmetric weight."""
    w, u, b = (matrix.detach().requires_grad_() for matrix in cell.matrices())
    d = drive.clone().requires_grad_()
    fixed = FixedCell(w, u, b, cell.activation)
    z = EquilibriumLayer(Auto(rtol=1e-13, atol=1e-14))(AffineSystem(w, d @ u.T + b, fixed.activation))
    dw, du, db, dd = torch.autograd.grad(0.5 * (z - TARGET).square().sum(), (w, u, b, d))
    return {"weight": (dw + dw.T) / 2, "input_weight": du, "bias": db, "drive": dd}


def error(cell, drive, beta, phases, name, **more):
    found = equilibrium_propagation(Settles(), cell, drive, squares, beta=beta, phases=phases, **more)
    truth = implicit(cell, drive)[name]
    return float((getattr(found, name) - truth).norm() / truth.norm())


@pytest.mark.parametrize("name", ["weight", "input_weight", "bias", "drive"])
@pytest.mark.parametrize("phases", [2, 3])
def test_the_error_falls_with_the_order_that_the_phases_promise(phases, name):
    cell, drive = symmetric(), drives(BATCH, M)
    errors = [error(cell, drive, beta, phases, name) for beta in (0.08, 0.04, 0.02)]
    order = phases - 1
    for coarse, fine in pairwise(errors):
        assert coarse / fine == pytest.approx(2**order, rel=0.15)
    assert errors[-1] < (0.05 if phases == 2 else 1e-3)


@given(seed=st.integers(0, 10**6))
def test_small_beta_gives_the_implicit_gradient_of_any_symmetric_cell(seed):
    cell, drive = symmetric(seed), drives(BATCH, M, seed)
    for name in ("weight", "input_weight", "bias", "drive"):
        assert error(cell, drive, 1e-3, 3, name) < 1e-5


def test_nudged_down_the_loss_falls():
    """The sign: stepping against the gradient lowers the loss."""
    cell, drive, device = symmetric(), drives(BATCH, M), DigitalDevice()
    found = equilibrium_propagation(device, cell, drive, squares)

    def loss(step):
        fixed = FixedCell.of(cell)
        fixed.weight, fixed.bias = fixed.weight - step * found.weight, fixed.bias - step * found.bias
        device.program(fixed)
        return float((device.settle(drive).z - TARGET).square().sum())

    assert loss(0.01) < loss(0.0) < loss(-0.01)


def test_the_estimate_does_not_depend_on_the_size_of_the_loss():
    cell, drive = symmetric(), drives(BATCH, M)
    small = equilibrium_propagation(Settles(), cell, drive, lambda z: 1e-9 * squares(z))
    usual = equilibrium_propagation(Settles(), cell, drive, squares)
    torch.testing.assert_close(small.weight * 1e9, usual.weight)
    torch.testing.assert_close(small.drive * 1e9, usual.drive)


def test_a_sample_without_a_gradient_adds_nothing():
    cell, drive = symmetric(), drives(BATCH, M)

    def first(z):
        return squares(z) * (torch.arange(BATCH) == 0)[:, None]

    found = equilibrium_propagation(Settles(), cell, drive, first)
    assert found.drive[0].abs().max() > 1e-3
    assert (found.drive[1:] == 0).all()


def test_on_a_chip_without_mismatch_it_is_the_twins_gradient():
    cell, drive = symmetric(), drives(BATCH, M)
    found = equilibrium_propagation(
        TwinDevice(Chip(spec_with("rram", NO_MISMATCH | EXACT), 1)), cell, drive, squares, beta=0.05
    )
    truth = implicit(cell, drive)
    for name, value in truth.items():
        assert (getattr(found, name) - value).norm() < 5e-3 * value.norm(), name


def test_with_mismatch_a_bias_stays_whatever_beta_is():
    """The chip's W' is not symmetric: its response is not its gradient, see the module."""
    noisy = EXACT | NO_MISMATCH
    noisy["crossbar.programming_sigma"] = {"coefficients_siemens": [2e-6], "source": "test"}
    chip, cell, drive = Chip(spec_with("rram", noisy), 3), symmetric(), drives(BATCH, M)
    device = TwinDevice(chip)
    source = EquilibriumPropagation(1e-3, 3)
    device.program(source.nudged(cell))
    wide = torch.cat([drive, torch.zeros(BATCH, N, dtype=torch.float64)], 1)
    settled = device.settle(wide)
    realised = device.layer.effective / (1 + device.layer.noise_gain / device.layer.dc_gain)[:, None]
    weight, nudges = realised[:, :N], realised[:, N + M : -1]
    g = squares(settled.read)
    inverse = torch.diag_embed(1 / (1 - settled.z.square()))
    response = torch.linalg.solve(inverse - weight, (g @ nudges.T / source.nudged(cell).largest)[..., None])[..., 0]
    gradient = torch.linalg.solve(inverse - weight.T, g[..., None])[..., 0]
    found = equilibrium_propagation(device, cell, drive, squares, beta=1e-2).bias
    assert (found - response.sum(0)).norm() < 2e-3 * found.norm()
    assert (found - gradient.sum(0)).norm() > 2e-2 * found.norm()


def test_cells_without_an_energy_are_refused_by_name():
    torch.manual_seed(0)
    drive = drives(BATCH, M)
    with pytest.raises(NotSymmetricError, match=r"CircuitCell \(recurrent: MonotoneWeight\).*SymmetricWeight\(n\)"):
        equilibrium_propagation(DigitalDevice(), CircuitCell(N, M), drive, squares)
    lopsided = LinearCell(torch.tensor([[0.0, 0.5], [0.1, 0.0]]), torch.eye(2))
    with pytest.raises(NotSymmetricError, match=r"LinearCell W\[0, 1\] = 0.5 and W\[1, 0\] = 0.1"):
        equilibrium_propagation(DigitalDevice(), lopsided, drives(1, 2), lambda z: z)


def test_linear_networks_of_conductances_have_an_energy_too():
    g = torch.tensor([[0.0, 1.0, 0.0], [1.0, 0.0, 1.0], [0.0, 1.0, 0.0]], dtype=torch.float64)
    leak = torch.tensor([1.0, 0.0, 1.0], dtype=torch.float64)  # every node the same conductance: W symmetric
    cell = LinearCell.network(g, leak, torch.eye(3, dtype=torch.float64))
    drive = drives(2, 3)
    found = equilibrium_propagation(Settles(), cell, drive, torch.ones_like, beta=0.5)
    lam = torch.linalg.solve(torch.eye(3, dtype=torch.float64) - cell.weight, torch.ones(3, dtype=torch.float64))
    torch.testing.assert_close(found.bias, 2 * lam)
    torch.testing.assert_close(found.input_weight, lam[:, None] * drive.sum(0))


def test_what_cannot_be_played_is_refused():
    cell, drive = symmetric(), drives(BATCH, M)
    largest = FixedCell.of(cell).largest
    with pytest.raises(ValueError, match=rf"beta = 9.0 is beyond.*{largest:.4g} \(the cell's largest weight\)"):
        equilibrium_propagation(DigitalDevice(), cell, drive, squares, beta=9.0)
    with pytest.raises(ValueError, match=r"nudge_gain = 0.1 \(as given\)"):
        equilibrium_propagation(DigitalDevice(), cell, drive, squares, beta=0.2, nudge_gain=0.1)
    with pytest.raises(ValueError, match="beta = -1"):
        EquilibriumPropagation(-1)
    with pytest.raises(ValueError, match="phases = 4"):
        EquilibriumPropagation(phases=4)
    with pytest.raises(ValueError, match="loss gradient of state 0, sample 0, is nan"):
        equilibrium_propagation(DigitalDevice(), cell, drive, lambda z: z * float("nan"))
    with pytest.raises(ValueError, match=r"expected \(5, 6\)"):
        equilibrium_propagation(DigitalDevice(), cell, drive, lambda z: z[:, :2])
    with pytest.raises(ValueError, match=r"expected \(batch, 3\)"):
        equilibrium_propagation(DigitalDevice(), cell, drives(BATCH, 4), squares)


def test_more_gain_of_the_nudging_columns_changes_nothing_without_mismatch():
    cell, drive = symmetric(), drives(BATCH, M)
    first, second = (equilibrium_propagation(Settles(), cell, drive, squares, nudge_gain=k) for k in (0.5, 3.0))
    torch.testing.assert_close(first.weight, second.weight, rtol=1e-9, atol=1e-12)
