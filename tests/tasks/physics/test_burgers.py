"""Burgers: the exact step is the one integrated, a flux keeps mass, the untrained model diffuses, measures tell."""

from __future__ import annotations

import math

import pytest
import torch
from scipy.integrate import quad, solve_ivp

from equilog.baselines.matching import count_of, parameter_count
from equilog.names import UserError
from equilog.pipeline.measured import predictor
from equilog.tasks import get_task
from equilog.tasks.measures import relative_error
from equilog.tasks.physics import burgers
from equilog.tasks.physics.burgers_flow import LENGTH_METRE, POINTS, VISCOSITY, cole_hopf, pseudo_spectral, refined
from equilog.tasks.physics.burgers_flow import smooth_states as states
from equilog.tasks.physics.offers import WithFlux
from equilog.tasks.task import Data

STEP = burgers.STEP_SECOND


@pytest.fixture(scope="module")
def data() -> Data:
    return get_task("burgers").load()


def test_the_closed_form_is_what_integration_gives():
    for u in states(2, 11):
        integrated, asked = pseudo_spectral(u, STEP)
        torch.testing.assert_close(cole_hopf(u, STEP), integrated, rtol=0, atol=1e-9)
        assert asked > 12


def test_the_closed_form_is_its_integral_by_quadrature():
    # Hopf's formula on the line, of u₀ = 0.8 sin x: φ(x, t) = ∫ φ₀(y) exp(−(x − y)²/4νt) dy, u its centre of (x − y)/t.
    t, size = 1.5, 0.8
    u = cole_hopf(size * torch.sin(torch.arange(POINTS, dtype=torch.float64) * LENGTH_METRE / POINTS), t)
    reach = 12 * math.sqrt(2 * VISCOSITY * t)
    for i in (3, 11, 15):
        x = i * LENGTH_METRE / POINTS

        def weight(y: float, x: float = x) -> float:
            return math.exp(size * (math.cos(y) - 1) / (2 * VISCOSITY) - (x - y) ** 2 / (4 * VISCOSITY * t))

        span = {"a": x - reach, "b": x + reach, "epsabs": 1e-14, "limit": 400}
        above = quad(lambda y, x=x, weight=weight: (x - y) / t * weight(y), **span)[0]
        assert float(u[i]) == pytest.approx(above / quad(weight, **span)[0], abs=1e-7)


def test_a_travelling_front_of_differences_agrees_too():
    # Second-order differences on 512 points, a scheme that shares nothing with Fourier modes.
    n, u = 512, states(1, 5)[0]
    h = LENGTH_METRE / n

    def derivative(_, v):
        right, left = torch.from_numpy(v).roll(-1), torch.from_numpy(v).roll(1)
        return (VISCOSITY * (right - 2 * torch.from_numpy(v) + left) / h**2 - (right**2 - left**2) / (4 * h)).numpy()

    y = solve_ivp(derivative, (0, STEP), refined(u, n).numpy(), "RK45", rtol=1e-7, atol=1e-9).y[:, -1]
    torch.testing.assert_close(cole_hopf(u, STEP), torch.from_numpy(y[:: n // POINTS]), rtol=0, atol=1e-3)


def test_steps_add_up_and_nothing_happens_in_no_time():
    u = states(8, 2)
    torch.testing.assert_close(cole_hopf(u, 0.0), u, rtol=0, atol=1e-9)
    # A front between the 32 points is interpolated once more: that much they do not resolve.
    torch.testing.assert_close(cole_hopf(cole_hopf(u, 0.5), 0.5), cole_hopf(u, 1.0), rtol=0, atol=1e-3)
    assert float((cole_hopf(u, 1.0).sum(1) - u.sum(1)).abs().max()) < 1e-3


def test_data_are_as_their_summary_says(data):
    once, again = data, get_task("burgers").load()
    assert [tuple(t.shape) for t in (once.train_x, once.test_y)] == [(2048, 32), (256, 32)]
    assert torch.equal(once.train_x, again.train_x)
    assert torch.equal(once.test_y, again.test_y)
    assert float(torch.cdist(once.test_x, once.train_x).min()) > 1e-3
    start = states(2000, 1)
    assert 0.6 <= float(start.abs().amax(1).min()) < 0.61
    assert 1.19 < float(start.abs().amax(1).max()) <= burgers.LARGEST
    torch.testing.assert_close(once.test_y.double(), cole_hopf(once.test_x.double(), STEP), rtol=0, atol=1e-6)
    # What diffusion alone would answer is far off: steepening matters in a step.
    still = torch.zeros_like(once.test_x.double())
    assert relative_error(burgers.diffusion().solve(once.test_x.double(), still), once.test_y) > 0.08


def test_the_untrained_model_diffuses_and_drives_are_not_clipped(data):
    task = get_task("burgers")
    model = task.build(task.model_defaults)
    x = data.test_x[:20].double()
    exact = burgers.diffusion().solve(x, torch.zeros_like(x))
    torch.testing.assert_close(predictor(model)(x), exact, rtol=1e-5, atol=1e-5)
    true = (x.roll(-1, 1).square() - x.roll(1, 1).square()) / (4 * LENGTH_METRE / POINTS)
    assert float(true.abs().max()) < burgers._STEEPEST
    assert float(model.parameterize(data.train_x).detach()[:, : 2 * POINTS].abs().max()) < 1


def test_the_right_flux_makes_the_untrained_model_a_semi_implicit_step(data):
    task = get_task("burgers")
    model, x = task.build(task.model_defaults), data.test_x[:20].double()
    with torch.no_grad():
        model.parameterize[0].face.weight[0, 0, 2:4] = 0.25  # F = u²/2, the mean of both sides of a face
    flux = (x.square() + x.roll(-1, 1).square()) / 4
    exact = burgers.diffusion().solve(x, (flux.roll(1, 1) - flux) * POINTS / LENGTH_METRE)
    torch.testing.assert_close(predictor(model)(x), exact, rtol=1e-4, atol=1e-4)
    assert relative_error(exact, cole_hopf(x, STEP)) < 0.06


def test_without_the_law_it_is_as_large_and_knows_nothing(data):
    task = get_task("burgers")
    held, free = (task.build(task.model_defaults.model_copy(update={"prior": p})) for p in (True, False))
    assert free.cell.fixed is None
    assert (free.cell.states, free.cell.drives) == (held.cell.states, held.cell.drives)
    assert sum(p.numel() for p in free.readout.parameters()) == sum(p.numel() for p in held.readout.parameters())
    count = count_of(lambda: task.build(task.model_defaults.model_copy(update={"prior": False})))
    assert count == parameter_count(free) > parameter_count(held)  # apart: nothing learnt among the law's own states
    assert relative_error(predictor(free)(data.test_x), data.test_y) > 0.5


def test_whatever_flux_is_learnt_keeps_mass_and_follows_a_shift():
    torch.manual_seed(0)
    flux, u = WithFlux(1.2, 0.2).double(), states(5, 3)
    with torch.no_grad():
        flux.face.weight.normal_()
    q = flux(u).detach()[:, POINTS:]
    assert float(q.abs().max()) > 0.1
    assert float(q.sum(1).abs().max()) < 1e-12
    torch.testing.assert_close(flux(u.roll(7, 1)).detach()[:, POINTS:], q.roll(7, 1))


def test_measures_of_the_exact_step_and_of_wrong_ones(data):
    task = get_task("burgers")

    def of(predict):
        return {m.name: m for m in task.measures(predict, data, ideal=True)}

    exact = of(lambda u: cole_hopf(u, STEP))
    assert exact["error after 10 steps"].value < 1e-3
    assert exact["mass gained in a step"].value < 1e-4
    assert exact["steps in which energy grows"].value == 0
    residual = exact["residual of Burgers' equation"]
    assert residual.value == pytest.approx(residual.reference, rel=1e-3)
    assert residual.value < 0.1
    still, louder = of(lambda u: u), of(lambda u: 1.01 * u)
    assert still["error after 10 steps"].value > 0.3
    assert still["residual of Burgers' equation"].value > 0.5
    assert louder["steps in which energy grows"].value == 1
    assert louder["mass gained in a step"].value > exact["mass gained in a step"].value


def test_a_roll_out_feeds_answers_back():
    u = states(3, 4)
    rolled = burgers.rolled_out(lambda v: 0.5 * v, u, 3)
    torch.testing.assert_close(rolled, torch.stack([u / 2, u / 4, u / 8]))


def test_the_solver_answers_as_the_data_and_says_what_it_did(data):
    task = get_task("burgers")
    answer = task.solver(data.test_x[:3].double())
    assert relative_error(answer.y, data.test_y[:3]) < 1e-6
    assert answer.second_per_sample > 0
    assert answer.operations_per_sample > 1e4


def test_a_folder_is_refused(tmp_path):
    with pytest.raises(UserError, match="leave out --data"):
        get_task("burgers").load(tmp_path)
