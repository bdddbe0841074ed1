"""Implicit steps have their order and keep what they should; quantities that are conserved are measured as written."""

import math

import pytest
import torch
from builders import normal

from equilog.cells import LinearCell
from equilog.equilibrium import EquilibriumLayer, Newton
from equilog.priors import (
    Constant,
    Field,
    conserved,
    conserved_energy,
    conserved_sum,
    implicit_step,
    linearised,
)
from equilog.priors import units as unit_strings

SETTLE = EquilibriumLayer(Newton(), on_failure="raise")
RIGID = Field("angular momentum", (3,))
INERTIA = torch.tensor([1.0, 2.0, 3.5], dtype=torch.float64)


def euler(m):
    """A rigid body that turns freely: ṁ = m × I⁻¹m keeps |m|² and m·I⁻¹m, both quadratic."""
    return torch.linalg.cross(m, m / INERTIA.to(m))


def pendulum(x):
    return torch.stack([x[:, 1], -torch.sin(x[:, 0])], dim=1)


def stepped(law, x, steps):
    """Steps solved to rounding: Newton's method with the law's own Jacobian, sample by sample."""
    for _ in range(steps):
        before, z = x, x
        for _ in range(6):
            j = torch.func.vmap(torch.func.jacrev(lambda z, b: law(z[None], b[None])[0]))(z, before)
            z = z - torch.linalg.solve(j, law(z, before))
        x = z
    return x


@pytest.mark.parametrize(("rule", "order"), [("backward-euler", 1), ("midpoint", 2), ("trapezoid", 2)])
def test_order_of_convergence(rule, order):
    start = torch.tensor([[1.0, 0.0]]).double()
    state = Field("angle and rate", (2,))
    exact = stepped(implicit_step(pendulum, state, 1 / 512, rule="midpoint"), start, 512)
    errors = [
        float((stepped(implicit_step(pendulum, state, 1 / n, rule=rule), start, n) - exact).abs().max())
        for n in (16, 32)
    ]
    assert math.log2(errors[0] / errors[1]) == pytest.approx(order, abs=0.1)


def test_the_midpoint_rule_keeps_quadratic_invariants():
    start = normal(0, 3, 3)
    for rule, kept in (("midpoint", True), ("backward-euler", False), ("trapezoid", False)):
        end = stepped(implicit_step(euler, RIGID, 0.2, rule=rule), start, 50)
        for stiffness in (torch.eye(3).double(), (1 / INERTIA).diag()):
            law = conserved_energy(RIGID, Field("before", (3,)), stiffness)
            gap = float(law(end, start).abs().max())
            assert (gap < 1e-10) == kept, (rule, gap)


def test_the_engine_takes_the_same_step():
    law = implicit_step(euler, RIGID, 0.2, rule="midpoint")
    x = normal(1, 4, 3)
    z = SETTLE.fixed_point(law.as_map(1.0), x, x)
    torch.testing.assert_close(z, stepped(law, x, 1), rtol=0, atol=1e-6)


@pytest.mark.parametrize("rule", ["backward-euler", "midpoint", "trapezoid"])
def test_a_chip_takes_the_steps_of_a_linear_system(rule):
    """ẋ = Mx + Nu: the law is its own linear part, and the coupling rests at the step."""
    m, n = -torch.tensor([[1.0, 0.8], [-0.8, 0.5]]).double(), normal(0, 2, 1)
    law = implicit_step(
        lambda x, u: x @ m.T + u @ n.T, Field("state", (2,)), 0.4, rule=rule, input=Field("input", (1,))
    )
    part = linearised(law, torch.zeros(2), torch.zeros(2), torch.zeros(1))
    fixed = part.coupling(scale=2.0, drives=torch.tensor([2.0, 2.0, 1.0]))
    d = normal(1, 5, 3)
    z = 2 * EquilibriumLayer(on_failure="raise")(LinearCell(*fixed.matrices()).system(d))
    assert float(law(z, 2 * d[:, :2], d[:, 2:]).abs().max()) < 1e-6
    eye, theta = torch.eye(2).double(), {"backward-euler": 1.0, "midpoint": 0.5, "trapezoid": 0.5}[rule]
    rhs = 2 * d[:, :2] @ (eye + (1 - theta) * 0.4 * m).T + 0.4 * d[:, 2:] @ n.T
    torch.testing.assert_close(z, torch.linalg.solve(eye - theta * 0.4 * m, rhs.T).T, rtol=0, atol=1e-6)


def test_the_linear_part_of_a_pendulum_is_the_tangent():
    law = implicit_step(pendulum, Field("state", (2,)), 0.1, rule="midpoint")
    at = torch.tensor([0.3, 0.1]).double()
    after = stepped(law, at[None], 1)
    part = linearised(law, after[0], at)
    torch.testing.assert_close(part.solve(at[None]), after)
    moved = at[None] + 1e-4
    torch.testing.assert_close(part.solve(moved), stepped(law, moved, 1), rtol=0, atol=1e-9)


@pytest.mark.parametrize("rule", ["backward-euler", "midpoint", "trapezoid"])
def test_gradients(rule):
    law = implicit_step(euler, RIGID, 0.1, rule=rule)
    assert torch.autograd.gradcheck(law, (normal(0, 2, 3).requires_grad_(), normal(1, 2, 3).requires_grad_()))


def test_steps_have_units():
    if unit_strings.registry() is None:
        pytest.skip("pint is not installed")
    state = Field("temperature", (2,), "K")

    def cooling(x, rate):
        return -rate * x

    implicit_step(cooling, state, 0.1, constants={"rate": Constant(2.0, "1/s")})
    with pytest.raises(ValueError, match=r"temperature \[K\].*does not scale.*\[time\]"):
        implicit_step(cooling, state, 0.1, constants={"rate": Constant(2.0, "1")})


def test_conserved_quantities_by_hand():
    state, source = Field("density", (2, 3), "kg/m^3"), Field("density before", (2, 3), "kg/m^3")
    law = conserved_sum(state, source, 0.5, cell_unit="m^3", unit="kg", scale=3.0)
    z = torch.ones(2, 2, 3)
    torch.testing.assert_close(law(z, 0 * z), torch.full((2, 1), 3.0))
    torch.testing.assert_close(law.consistency(z, 0 * z), torch.ones(2))
    assert not law(z, z.flip(2)).any()
    momentum = conserved(Field("after", (2,)), Field("before", (3,)), lambda v: v.sum(1), lambda v: v.sum(1))
    torch.testing.assert_close(momentum(torch.tensor([[1.0, 2.0]]), torch.tensor([[1.0, 1, 1]])), torch.zeros(1, 1))
    kinetic = conserved(
        Field("speed", (2,), "m/s"),
        Field("speed before", (2,), "m/s"),
        lambda v, mass: 0.5 * (mass * v**2).sum(1),
        unit="J",
        constants={"mass": Constant(torch.tensor([1.0, 3.0]), "kg")},
    )
    got = kinetic(torch.tensor([[2.0, 0.0]]), torch.tensor([[0.0, 1.0]]))
    torch.testing.assert_close(got, torch.tensor([[0.5]]))


def test_arguments_out_of_range_are_named():
    with pytest.raises(ValueError, match="step_second = 0"):
        implicit_step(euler, RIGID, 0.0)
    with pytest.raises(ValueError, match="rule = 'leapfrog': expected one of backward-euler, midpoint, trapezoid"):
        implicit_step(euler, RIGID, 0.1, rule="leapfrog")
    two = Field("after", (2,))
    with pytest.raises(ValueError, match="K of shape"):
        conserved_energy(two, Field("before", (3,)), torch.eye(2))
    with pytest.raises(ValueError, match="symmetric"):
        conserved_energy(two, Field("before", (2,)), torch.tensor([[1.0, 1.0], [0.0, 1.0]]))
    with pytest.raises(ValueError, match="cell = 0"):
        conserved_sum(two, two, 0.0)
    with pytest.raises(ValueError, match=r"quantity of after has shape \(1, 2\): expected \(1, 1\)"):
        conserved(two, two, lambda v: v, lambda v: v.sum(1))
