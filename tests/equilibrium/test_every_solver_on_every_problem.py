"""One list of problems drives all solvers: each settles what its method can, and says so where it cannot."""

import pytest
import torch

from equilog.equilibrium import Anderson, Auto, Broyden, Chord, Newton, NewtonKrylov, Picard, Settle, Status
from equilog.equilibrium.affine import AffineProblem
from equilog.equilibrium.reference_problems import PROBLEMS

BY_NAME = {p.name: p for p in PROBLEMS}
N, BATCH = 24, 6

# What a method is not made for. Everything that is not listed must converge.
CANNOT = {
    "picard": {"monotone", "monotone, saturated", "monotone, strong", "near-critical", "stiff", "relu"},
    "anderson": {"monotone, strong", "stiff"},
    "broyden": {"monotone, strong", "stiff"},
    "settle": {"stiff", "near-critical"},  # explicit: too many steps, not too hard
}
SOLVERS = [
    Picard(),
    Picard(damping=0.7),
    Anderson(memory=8, damping=0.5),
    Anderson(memory=1, damping=0.5),
    Broyden(),
    Chord(),
    Chord(memory=4),
    Newton(),
    NewtonKrylov(),
    Settle(),
    Auto(),
]


def label(solver):
    return f"{solver.name}-{getattr(solver, 'memory', '')}-{getattr(solver, 'damping', '')}"


def true_residual(problem, x):
    return torch.linalg.vector_norm(problem(x) - x, dim=1)


@pytest.mark.parametrize("problem", [p for p in PROBLEMS if p.solvable], ids=lambda p: p.name)
@pytest.mark.parametrize("solver", SOLVERS, ids=label)
def test_settles_or_says_that_it_did_not(solver, problem):
    made = problem.problem(N, BATCH)
    if solver.name == "chord" and not isinstance(made, AffineProblem):
        with pytest.raises(TypeError, match="AffineSystem"):
            solver.solve(made)
        return
    found = solver.solve(made)
    expected = problem.name not in CANNOT.get(solver.name, set()) and getattr(solver, "memory", 2) > (
        1 if solver.name == "anderson" and problem.name in {"monotone", "monotone, saturated", "near-critical"} else 0
    )
    if expected:
        assert found.converged.all(), found.summary()
    tolerance = solver.tolerance(torch.float64)
    residual = true_residual(made, found.state)
    limit = tolerance.atol + tolerance.rtol * torch.linalg.vector_norm(found.state, dim=1)
    rounding = 1e-13 * (1 + torch.linalg.vector_norm(found.state, dim=1))
    assert (residual <= limit * (1 + 1e-6) + rounding)[found.converged].all()
    # The verdict is about the state that is returned, whatever it is.
    torch.testing.assert_close(found.residual, residual, rtol=1e-3, atol=float(rounding.max()) * 20)


@pytest.mark.parametrize("problem", [p for p in PROBLEMS if p.solvable], ids=lambda p: p.name)
def test_all_that_converge_agree(problem):
    made = problem.problem(N, BATCH)
    reference = Newton().solve(made).state
    for solver in SOLVERS:
        if solver.name == "chord" and not isinstance(made, AffineProblem):
            continue
        found = solver.solve(made)
        size = torch.linalg.vector_norm(reference, dim=1)
        error = torch.linalg.vector_norm(found.state - reference, dim=1)[found.converged]
        # Near the critical point an error is up to a thousand times the residual.
        assert (error <= 1e-7 * (size[found.converged] + 1e-6)).all(), label(solver)


@pytest.mark.parametrize("solver", [s for s in SOLVERS if s.name != "chord"], ids=label)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_no_fixed_point_is_never_taken_for_one(solver, dtype):
    found = type(solver)(rtol=1e-4).solve(BY_NAME["nowhere"].problem(N, BATCH, dtype))
    assert not found.converged.any()
    assert ((found.status == Status.MAX_STEPS) | (found.status == Status.DIVERGED)).all()


@pytest.mark.parametrize("name", ["monotone", "monotone, saturated"])
@pytest.mark.parametrize("n", [32, 128, 512])
def test_chord_settles_strong_monotone_weights_within_fifteen_steps(name, n):
    found = Chord(rtol=1e-4, atol=0.0).solve(BY_NAME[name].problem(n, 64, torch.float32))
    assert found.converged.all()
    assert found.steps.max() <= 15


@pytest.mark.parametrize("exponent", [-6, -3, 0, 3, 6])
def test_anderson_takes_the_same_steps_at_every_scale(exponent):
    # f is homogeneous, so iterates scale with the input and a scale-free method does not notice.
    weight = BY_NAME["monotone"].problem(N, 1).weight * 0.4
    u = torch.randn(BATCH, N, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    from equilog.cells import AffineSystem, ReLU

    solver = Anderson(rtol=1e-8, atol=0.0)
    base = solver.solve(AffineSystem(weight, u, ReLU()))
    scaled = solver.solve(AffineSystem(weight, u * 10.0**exponent, ReLU()))
    assert base.converged.all()
    assert torch.equal(base.steps, scaled.steps)


@pytest.mark.parametrize("solver", SOLVERS, ids=label)
def test_alone_equals_in_batch_for_every_solver(solver):
    made = BY_NAME["contractive"].problem(N, BATCH, torch.float32)
    loose = type(solver)(rtol=1e-4, atol=0.0)
    together = loose.solve(made).state
    for k in range(BATCH):
        alone = loose.solve(made.select(torch.tensor([k]))).state[0]
        assert torch.linalg.norm(alone - together[k]) <= 1e-6 * torch.linalg.norm(together[k])


@pytest.mark.parametrize("name", ["monotone", "monotone, saturated", "relu", "tiny", "convolutional", "multiscale"])
def test_alone_equals_in_batch_for_auto_at_loose_tolerance(name):
    made = BY_NAME[name].problem(N, BATCH, torch.float32)
    together = Auto(rtol=1e-4, atol=0.0).solve(made)
    for k in range(BATCH):
        alone = Auto(rtol=1e-4, atol=0.0).solve(made.select(torch.tensor([k])))
        assert alone.steps[0] == together.steps[k]
        assert torch.linalg.norm(alone.state[0] - together.state[k]) <= 1e-6 * torch.linalg.norm(together.state[k])


def test_auto_says_what_it_picked():
    assert "picard" in Auto().solve(BY_NAME["tiny"].problem(N, BATCH, torch.float32)).summary()
    assert "chord" in Auto().solve(BY_NAME["monotone, strong"].problem(N, BATCH)).summary()
    assert "newton" in Auto().solve(BY_NAME["near-critical"].problem(N, BATCH)).summary()


def test_settle_tells_the_time_of_a_linear_decay():
    # x' = −x/2 from x₀ to a residual of 1e-4 ‖x₀‖-like: t = 2 ln(r₀/limit), known exactly.
    from equilog.cells import AffineSystem, Linear

    half = torch.full((1, 1), 0.5, dtype=torch.float64)
    system = AffineSystem(half, torch.zeros(1, 1, dtype=torch.float64), Linear(torch.ones(1, dtype=torch.float64)))
    limit = 1e-6
    start = torch.ones(1, 1, dtype=torch.float64)
    found = Settle(rtol=0.0, atol=limit, accuracy=1e-7, max_steps=5000).solve(system, start)
    exact = 2 * torch.log(torch.tensor(0.5 / limit, dtype=torch.float64))
    assert found.converged.all()
    # The clock stops at the first step past the limit.
    assert exact - 1e-3 <= found.time[0] <= exact + 0.5


def test_unknown_settings_are_refused_by_value():
    with pytest.raises(ValueError, match="damping = 2"):
        Picard(damping=2.0)
    with pytest.raises(ValueError, match="memory = 0"):
        Anderson(memory=0)
    with pytest.raises(ValueError, match="memory = 0"):
        Broyden(memory=0)
    with pytest.raises(ValueError, match="max_steps = 0"):
        Auto(max_steps=0)
    with pytest.raises(ValueError, match="rtol = -1"):
        Auto(rtol=-1.0)
    with pytest.raises(ValueError, match="rtol = 0 and atol = 0"):
        Auto(rtol=0.0, atol=0.0)
