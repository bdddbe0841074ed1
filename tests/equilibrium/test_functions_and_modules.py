"""Any cell is welcome: functions, modules, tuples of tensors, half precision, torch.func; limits are named."""

import pytest
import torch
from builders import normal, system
from torch import nn

from equilog.cells import AffineSystem, Tanh
from equilog.equilibrium import Auto, EquilibriumLayer, EquilibriumWarning

TIGHT = EquilibriumLayer(Auto(rtol=1e-13, atol=1e-14), on_failure="raise")


class Cell(nn.Module):
    def __init__(self, n=5):
        super().__init__()
        torch.manual_seed(0)
        self.inner = nn.Linear(n, n).double()
        with torch.no_grad():
            self.inner.weight *= 0.7 / torch.linalg.matrix_norm(self.inner.weight, 2)

    def forward(self, z, u):
        return torch.tanh(self.inner(z) + u)


def test_a_module_gets_the_gradients_of_a_long_unrolling():
    cell, u = Cell(), normal(1, 3, 5).requires_grad_()
    inputs = [u, *cell.parameters()]
    ours = torch.autograd.grad(TIGHT.fixed_point(cell, torch.zeros_like(u), u).square().sum(), inputs)
    z = torch.zeros_like(u)
    for _ in range(150):
        z = cell(z, u)
    unrolled = torch.autograd.grad(z.square().sum(), inputs)
    for a, b in zip(ours, unrolled):
        torch.testing.assert_close(a, b, rtol=1e-9, atol=1e-12)


def test_a_function_gets_gradients_for_what_it_closes_over():
    weight = (0.3 * normal(0, 5, 5)).requires_grad_()
    z = TIGHT.fixed_point(lambda z: torch.tanh(z @ weight.T + 1), torch.zeros(2, 5, dtype=torch.float64))
    (found,) = torch.autograd.grad(z.sum(), weight)
    u = torch.ones(2, 5, dtype=torch.float64)
    (reference,) = torch.autograd.grad(TIGHT(AffineSystem(weight, u, Tanh())).sum(), weight)
    torch.testing.assert_close(found, reference, rtol=1e-9, atol=1e-12)


def test_structured_and_black_box_agree():
    problem = system(6, 4, norm=3.0)
    z = TIGHT.fixed_point(
        lambda z: torch.tanh(z @ problem.weight.T + problem.injection), torch.zeros_like(problem.injection)
    )
    torch.testing.assert_close(z, TIGHT(problem), rtol=1e-9, atol=1e-11)


def test_tuples_of_tensors_of_any_shape():
    a, b = normal(1, 2, 3, 2).requires_grad_(), normal(2, 2, 4).requires_grad_()

    def f(z, a, b):
        x, y = z
        return torch.tanh(0.3 * x.flip(1) + a + 0.1 * y.sum(1)[:, None, None]), torch.sin(
            0.4 * y + b * x.sum((1, 2))[:, None] * 0.1
        )

    def run(a, b):
        return TIGHT.fixed_point(f, (torch.zeros(2, 3, 2).double(), torch.zeros(2, 4).double()), a, b)

    x, y = run(a, b)
    assert x.shape == (2, 3, 2)
    assert y.shape == (2, 4)
    assert torch.autograd.gradcheck(run, (a, b), atol=1e-7, rtol=1e-6)


def test_a_function_that_changes_the_shape_is_named():
    with pytest.raises(ValueError, match=r"f returned shapes \[\(2, 4\)\], expected \[\(2, 3\)\]"):
        TIGHT.fixed_point(lambda z: torch.zeros(2, 4), torch.zeros(2, 3))


@pytest.mark.parametrize("z", [(), torch.zeros(()), (torch.zeros(2, 3), torch.zeros(3, 3))])
def test_a_state_without_a_common_batch_is_refused(z):
    with pytest.raises(ValueError, match="batch"):
        TIGHT.fixed_point(lambda z: z, z)


def test_no_grad_builds_no_graph():
    with torch.no_grad():
        assert not TIGHT.fixed_point(Cell(), torch.zeros(2, 5).double(), normal(1, 2, 5)).requires_grad


def test_autocast_bfloat16_converges_to_what_bfloat16_can_tell():
    cell = Cell(16).float()
    u = normal(1, 8, 16).float().requires_grad_()
    layer = EquilibriumLayer(on_failure="raise")
    reference = layer.fixed_point(cell, torch.zeros_like(u), u)
    (exact,) = torch.autograd.grad(reference.square().sum(), u)
    with torch.autocast("cpu", torch.bfloat16):
        z = layer.fixed_point(cell, torch.zeros_like(u), u)
        (found,) = torch.autograd.grad(z.float().square().sum(), u)
    assert torch.linalg.norm(z - reference) < 0.05 * torch.linalg.norm(reference)
    assert torch.linalg.norm(found - exact) < 0.1 * torch.linalg.norm(exact)


def test_autocast_leaves_an_affine_system_in_its_own_precision():
    problem = system(8, 4)
    problem = AffineSystem(problem.weight.float(), problem.injection.float(), Tanh())
    plain = EquilibriumLayer()(problem)
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(EquilibriumLayer().rest(problem), EquilibriumLayer().rest(problem))
        z = torch.tanh(EquilibriumLayer().rest(problem))
    torch.testing.assert_close(z, plain)


def test_bfloat16_tensors_settle():
    problem = system(8, 4, norm=0.5)
    half = AffineSystem(0.3 * problem.weight.bfloat16(), problem.injection.bfloat16(), Tanh())
    layer = EquilibriumLayer(on_failure="raise")
    assert layer(half).dtype == torch.bfloat16


def test_torch_func_grad_of_an_affine_system():
    problem = system(5, 3)

    def loss(weight, u):
        return TIGHT(AffineSystem(weight, u, Tanh())).square().sum()

    found = torch.func.grad(loss, argnums=(0, 1))(problem.weight, problem.injection)
    w, u = problem.weight.clone().requires_grad_(), problem.injection.clone().requires_grad_()
    reference = torch.autograd.grad(loss(w, u), (w, u))
    for a, b in zip(found, reference):
        torch.testing.assert_close(a, b, rtol=1e-9, atol=1e-11)


def test_warm_start_is_looked_at_first():
    problem = system(12, 6)
    layer = EquilibriumLayer()
    rest = layer.rest(problem)
    layer.rest(problem, rest)
    assert int(layer.last.steps.max()) == 1


def test_a_population_of_weights_settles_like_its_members():
    members = [system(6, 4, norm=3.0, seed=k) for k in range(3)]
    weight = torch.stack([m.weight for m in members])
    u = torch.stack([m.injection for m in members])
    gain = 1 + 0.1 * normal(5, 3, 1, 6)
    population = AffineSystem(weight, u, Tanh(gain))
    rest = TIGHT.rest(population)
    assert TIGHT.last.status.shape == (3, 4)
    for k, m in enumerate(members):
        alone = TIGHT.rest(AffineSystem(m.weight, m.injection, Tanh(gain[k])))
        torch.testing.assert_close(rest[k], alone, rtol=1e-9, atol=1e-11)


def test_gradcheck_of_a_population():
    weight = torch.stack([system(3, 2, norm=2.0, seed=k).weight for k in range(2)]).requires_grad_()
    u, gain = normal(1, 2, 2, 3).requires_grad_(), (1 + 0.1 * normal(5, 2, 1, 3)).requires_grad_()

    def run(weight, u, gain):
        return TIGHT(AffineSystem(weight, u, Tanh(gain)))

    assert torch.autograd.gradcheck(run, (weight, u, gain), atol=1e-7, rtol=1e-6)
    assert torch.autograd.gradgradcheck(run, (weight, u, gain), atol=1e-6, rtol=1e-5)


def test_newton_finishes_single_members_of_a_population():
    # Members of very different kinds: what Picard and the chord leave goes on sample by sample.
    from equilog.equilibrium.reference_problems import contractive, near_critical

    easy, hard = contractive(8, 3, torch.float64, 0), near_critical(8, 3, torch.float64, 1)
    system_ = AffineSystem(
        torch.stack([easy.weight, hard.weight]), torch.stack([easy.injection, hard.injection]), Tanh()
    )
    found = Auto(max_steps=30).solve(system_)
    assert found.converged.all()
    for k, m in enumerate((easy, hard)):
        torch.testing.assert_close(found.state[k], Auto().solve(m).state, rtol=1e-7, atol=1e-9)


@pytest.mark.parametrize(("w", "u"), [((3, 3), (2, 4)), ((2, 3, 3), (2, 3)), ((2, 3, 3), (3, 4, 3)), ((3, 4), (2, 3))])
def test_shapes_that_do_not_fit_are_named(w, u):
    with pytest.raises(ValueError, match="expected"):
        AffineSystem(torch.zeros(w), torch.zeros(u), Tanh())


def test_a_function_without_a_fixed_point_warns():
    with pytest.warns(EquilibriumWarning, match="2 of 2"):
        EquilibriumLayer().fixed_point(lambda z: z + 1, torch.zeros(2, 3))
