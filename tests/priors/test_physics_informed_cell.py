"""The general cell with any law in it: its formula, where it rests, its gradients, and that no chip takes it."""

import pytest
import torch
from builders import drives, normal

from equilog.cells import CircuitCell, Linear, Mixed, MonotoneWeight, PhysicsInformedCell, Tanh
from equilog.devices import DigitalDevice, TwinDevice
from equilog.devices.lucidac_circuit import patch
from equilog.equilibrium import EquilibriumLayer
from equilog.hardware import Chip, load_spec
from equilog.hardware.programming import program_cell
from equilog.model import HybridDEQ
from equilog.names import UserError
from equilog.priors import Field, Grid, Law, implicit_step, poisson

SETTLE = EquilibriumLayer(on_failure="raise")
CHIP = Chip(load_spec("ideal"), 0)
CUBIC = Law(lambda z, x: z + 0.2 * z**3 - x, Field("state", (3,)), Field("load", (3,)))


def cell_of(law, n, m, seed=0, **options):
    torch.manual_seed(seed)
    recurrent = MonotoneWeight(n, dtype=torch.float64)
    return PhysicsInformedCell(recurrent, 0.5 * normal(seed, n, m), 0.1 * normal(seed + 1, n), law, **options)


def silent(law, n, m, **options):
    """With nothing learnt beside the law."""

    class Zero(torch.nn.Module):
        def forward(self):
            return torch.zeros(n, n, dtype=torch.float64)

    return PhysicsInformedCell(Zero(), torch.zeros(n, m).double(), torch.zeros(n, dtype=torch.float64), law, **options)


def test_the_formula():
    cell = cell_of(CUBIC, 5, 3, damping=0.3, scale=torch.tensor([1.0, 2.0, 4.0]))
    z, u = normal(2, 4, 5), normal(3, 4, 3)
    r = CUBIC(z[:, :3] * torch.tensor([1.0, 2.0, 4.0]).double(), u)
    p = z @ cell.recurrent().T + u @ cell.input_weight.T + cell.bias
    p = p + torch.cat([-0.3 * r, torch.zeros(4, 2).double()], dim=1)
    torch.testing.assert_close(cell(z, u), torch.tanh(p))
    assert cell.sigma == Tanh()
    held = cell_of(CUBIC, 5, 3, damping=0.3, held=True)
    assert held.sigma == Mixed(3)
    other = cell_of(CUBIC, 5, 3, damping=0.3, activation=Linear(torch.ones(5).double()))
    torch.testing.assert_close(other(z, u) + torch.cat([z[:, :3], 0 * z[:, 3:]], 1), p_of(held, z, u))


def p_of(cell, z, u):
    p = z @ cell.recurrent().T + u @ cell.input_weight.T + cell.bias
    own = cell.law.state.size
    return p + torch.nn.functional.pad(z[:, :own] - cell.damping * cell.law(z[:, :own], u), (0, len(p.T) - own))


def test_held_it_rests_where_the_law_holds():
    cell, u = silent(CUBIC, 4, 3, damping=0.5, held=True), normal(0, 6, 3)
    z = SETTLE.fixed_point(cell, cell.start(u), u)
    assert float(CUBIC.consistency(z[:, :3].detach(), u).max()) < 1e-8
    assert not z[:, 3:].any()


def test_held_it_is_the_circuit_cell_with_the_laws_coupling():
    law, d = poisson(Grid((2, 3), 0.5)), drives(5, 6)
    fixed = law.coupling(rows="symmetric", hidden=2)
    torch.manual_seed(0)
    circuit = CircuitCell(8, 6, fixed=fixed).double()
    with torch.no_grad():
        circuit.input_weight.copy_(0.3 * normal(1, 8, 6))
        circuit.recurrent.a.copy_(0.3 * normal(2, 8, 8))
    s = float(law.a.toarray().__abs__().sum(1).max())
    cell = PhysicsInformedCell(circuit.recurrent, circuit.input_weight, circuit.bias, law, damping=1 / s, held=True)
    z = SETTLE.fixed_point(cell, cell.start(d), d)
    torch.testing.assert_close(z, SETTLE(circuit.system(d)), rtol=0, atol=1e-5)


def test_the_more_it_leans_the_less_the_law_is_broken():
    u, broken = 0.5 * normal(0, 8, 3), []
    for damping in (0.0001, 1.0, 10.0, 100.0):
        cell = cell_of(CUBIC, 3, 3, damping=damping)
        z = SETTLE.fixed_point(cell, cell.start(u), u)
        broken.append(float(CUBIC.consistency(z.detach(), u).mean()))
    assert broken == sorted(broken, reverse=True)
    assert broken[-1] < broken[0] / 20


def test_gradients_through_the_rest():
    cell = cell_of(CUBIC, 4, 3, damping=0.5)
    u = normal(5, 2, 3).requires_grad_()

    def rest(u, *weights):
        names = [name for name, _ in cell.named_parameters()]
        return SETTLE.fixed_point(
            lambda z, u, *w: torch.func.functional_call(cell, dict(zip(names, w)), (z, u)), cell.start(u), u, *weights
        )

    weights = [p.detach().clone().requires_grad_() for p in cell.parameters()]
    assert torch.autograd.gradcheck(rest, (u, *weights), atol=1e-5)
    cell.zero_grad()
    SETTLE.fixed_point(cell, cell.start(u), u).square().sum().backward()
    assert all(float(p.grad.abs().max()) > 0 for p in cell.parameters())


def test_sources_may_come_apart_from_the_drive():
    cell = cell_of(CUBIC, 4, 2, damping=0.5)
    z, u, x = normal(0, 3, 4), normal(1, 3, 2), normal(2, 3, 3)
    assert cell(z, u, x).shape == (3, 4)
    with pytest.raises(ValueError, match=r"u of 2 numbers for a law of load \(3,\): expected 3, or sources apart"):
        cell(z, u)
    # Several fields are cut out of the drive in their order.
    step = implicit_step(lambda s, v: -s + v, Field("state", (2,)), 0.1, input=Field("input", (2,)))
    both = cell_of(step, 2, 4)
    d = normal(3, 5, 4)
    torch.testing.assert_close(both(normal(4, 5, 2), d), both(normal(4, 5, 2), d, d[:, :2], d[:, 2:]))


def on_chip(cell):
    HybridDEQ(torch.nn.Identity(), cell, torch.nn.Identity()).on_chip(torch.zeros(1, 3).double(), CHIP)


@pytest.mark.parametrize(
    "take",
    [lambda cell: program_cell(cell, CHIP), on_chip, TwinDevice(CHIP).program, DigitalDevice().program, patch],
    ids=["program_cell", "on_chip", "twin", "digital", "lucidac"],
)
def test_hardware_refuses_it_by_name(take):
    with pytest.raises(UserError, match=r"law of potential .*CircuitCell\(states, drives, fixed=law\.coupling"):
        take(cell_of(poisson(Grid((3,), 1.0)), 3, 3))
    with pytest.raises(UserError, match=r"PhysicsInformedCell with the law of state .*not linear.*linearised"):
        take(cell_of(CUBIC, 3, 3, held=True))


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: cell_of(CUBIC, 2, 3), "law of 3 states state .* in a cell of 2 states"),
        (lambda: cell_of(CUBIC, 3, 3, damping=0.0), "damping = 0.0: expected a positive number, or 3"),
        (lambda: cell_of(CUBIC, 3, 3, scale=torch.ones(2)), "scale = "),
        (
            lambda: PhysicsInformedCell(MonotoneWeight(3), torch.zeros(4, 3), torch.zeros(4), CUBIC),
            "W, U and b of shapes",
        ),
        (
            lambda: cell_of(Law(lambda z: z.sum(1)[:, None], Field("state", (3,)), shape=(1,)), 3, 1),
            "as many equations as the law has states",
        ),
        (lambda: cell_of(CUBIC, 3, 3)(torch.zeros(2, 4), torch.zeros(2, 3)), r"z has shape \(2, 4\)"),
        (lambda: cell_of(CUBIC, 3, 3)(torch.zeros(2, 3), torch.zeros(2, 4)), r"u has shape \(2, 4\)"),
    ],
)
def test_what_does_not_fit_is_named(make, message):
    with pytest.raises(ValueError, match=message):
        make()
