"""The eight systems are those of the literature, and their references agree with other solvers and closed forms."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from scipy.integrate import solve_ivp
from scipy.special import ellipk

from equilog.tasks.dynamics import systems
from equilog.tasks.dynamics.reference import (
    largest_exponent,
    on_attractor,
    period_and_amplitude,
    reference_cycle,
    reference_run,
    solve_one_by_one,
    starts,
    trajectories,
)
from equilog.tasks.dynamics.systems import System

# Written down a second time, from the sources, with numbers in place of names.
AGAIN = {
    "van-der-pol": lambda x: [x[1], (1 - x[0] ** 2) * x[1] - x[0]],
    "duffing": lambda x: [x[1], -x[0] - x[0] ** 3],
    "fitzhugh-nagumo": lambda x: [x[0] - x[0] ** 3 / 3 - x[1] + 0.5, (x[0] + 0.7 - 0.8 * x[1]) * 0.08],
    "lotka-volterra": lambda x: [x[0] - x[0] * x[1], x[0] * x[1] - x[1]],
    "bistable": lambda x: [x[1], x[0] - x[0] ** 3 - 0.25 * x[1]],
    "lorenz63": lambda x: [10 * (x[1] - x[0]), 28 * x[0] - x[1] - x[0] * x[2], x[0] * x[1] - 8 / 3 * x[2]],
    "roessler": lambda x: [-x[1] - x[2], x[0] + 0.2 * x[1], 0.2 + x[0] * x[2] - 5.7 * x[2]],
    "lorenz96": lambda x: list(np.roll(x, 1) * (np.roll(x, -1) - np.roll(x, 2)) - x + 8),
}
SYSTEMS = [value for value in vars(systems).values() if isinstance(value, System)]
every_system = pytest.mark.parametrize("system", SYSTEMS, ids=lambda s: s.name)


def test_there_are_eight():
    assert sorted(s.name for s in SYSTEMS) == sorted(AGAIN)


@every_system
def test_rates_are_those_of_the_source(system: System):
    x = starts(system, 7, 3)
    expected = np.array([AGAIN[system.name](row) for row in x.numpy()])
    np.testing.assert_allclose(system.f(x).numpy(), expected, rtol=1e-12, atol=1e-12)
    np.testing.assert_allclose(system.f_array(x.numpy().T), expected.T, rtol=1e-12, atol=1e-12)


def test_operations_are_products():
    # σ(y − x), x(ρ − z), xy, βz
    assert systems.LORENZ63.operations == 4
    # eight times one product
    assert systems.LORENZ96.operations == 8


@every_system
def test_trajectories_agree_with_another_method_and_stay_within_reach(system: System):
    start = starts(system, 3, 4)
    span = min(system.horizon, 40 * system.step)
    found = trajectories(system, start, 4, span / 4)
    for one, path in zip(start.numpy(), found):
        alone = solve_ivp(lambda _t, x: AGAIN[system.name](x), (0, span), one, method="LSODA", rtol=1e-11, atol=1e-12)
        np.testing.assert_allclose(path[-1].numpy(), alone.y[:, -1], rtol=1e-6, atol=1e-6)
    run = trajectories(system, starts(system, 64, 5), system.steps(system.length))
    assert bool((run.abs() <= torch.tensor(system.reach)).all())
    assert run.shape == (64, system.steps(system.length) + 1, system.size)


def test_van_der_pol_has_the_known_period_and_amplitude():
    period, amplitude = reference_cycle(systems.VAN_DER_POL)
    assert period == pytest.approx(6.663286859323, abs=1e-7)
    assert amplitude == pytest.approx(2.00861986087484, abs=1e-7)


def test_duffing_has_the_period_of_the_elliptic_integral():
    a = systems.DUFFING.probe[0]
    omega2 = 1 + a**2
    period, amplitude = reference_cycle(systems.DUFFING)
    assert period == pytest.approx(4 * ellipk(a**2 / (2 * omega2)) / omega2**0.5, rel=1e-7)
    assert amplitude == pytest.approx(a, rel=1e-6)


def test_fitzhugh_nagumo_has_the_period_that_events_give():
    def upward(_t: float, x: np.ndarray) -> float:
        return x[0]

    upward.direction = 1.0
    found = solve_ivp(
        lambda _t, x: AGAIN["fitzhugh-nagumo"](x), (0, 220), [1.0, 0.0], method="LSODA", events=upward,
        rtol=1e-10, atol=1e-11,
    )  # fmt: skip
    period = float(np.diff(found.t_events[0][-3:]).mean())
    assert reference_cycle(systems.FITZHUGH_NAGUMO)[0] == pytest.approx(period, rel=1e-6)


@pytest.mark.parametrize("system", [s for s in SYSTEMS if s.invariant], ids=lambda s: s.name)
def test_invariants_do_not_change_and_are_smallest_at_rest(system: System):
    run = reference_run(system, 4)
    height = system.invariant(*run.unbind(-1))
    torch.testing.assert_close(height, height[:, :1].expand_as(height), rtol=0, atol=1e-9)
    rest = torch.tensor(system.at_rest, dtype=torch.float64)
    assert float(system.f(rest).abs().max()) == 0
    assert float(height.min()) > float(system.invariant(*rest))


# Fewer trajectories than a run takes: the published value must lie within three standard errors.
@pytest.mark.parametrize("system", [systems.LORENZ63, systems.ROESSLER], ids=lambda s: s.name)
def test_exponents_are_those_of_the_literature(system: System):
    short = replace(system, horizon=min(system.horizon, 40.0))
    found, error = largest_exponent(short, count=48, spans=1)
    assert abs(found - system.exponent[0]) < 3 * error
    assert error < 0.1 * system.exponent[0]


def test_the_exponent_of_a_linear_oscillator_with_growth_is_its_rate():
    spiral = System(
        name="spiral", equation="", source="", rates=lambda x, v: (0.1 * x + v, 0.1 * v - x), parameters={},
        coordinates=("x", "v"), step=0.1, low=(1.0, 1.0), high=(2.0, 2.0), reach=(9.0, 9.0), about=(0.0, 0.0), degree=1,
        kind="chaos", probe=(1.0, 0.0), length=1.0, horizon=10.0,
    )  # fmt: skip
    assert largest_exponent(spiral, count=4, spans=2)[0] == pytest.approx(0.1, abs=1e-5)


def test_references_are_reproducible_and_seeds_differ():
    system = systems.LORENZ63
    once = trajectories(system, starts(system, 2, 8), 3)
    assert torch.equal(once, trajectories(system, starts(system, 2, 8), 3))
    assert not torch.equal(on_attractor(system, 2, 1), on_attractor(system, 2, 2))


def test_period_and_amplitude_of_a_known_signal():
    t = torch.arange(200, dtype=torch.float64) * 0.1
    period, amplitude = period_and_amplitude(3 + 2 * torch.sin(t * math.tau / 4), 0.1)
    assert (period, amplitude) == (pytest.approx(4, abs=1e-5), pytest.approx(2, abs=1e-5))


@pytest.mark.parametrize("signal", [torch.zeros(50), torch.linspace(0, 1, 50), torch.full((50,), math.nan)])
def test_what_does_not_oscillate_has_no_period(signal: torch.Tensor):
    assert period_and_amplitude(signal, 0.1) is None


def test_one_by_one_the_solver_gives_the_same_and_counts_its_work():
    system = systems.LORENZ63
    path = trajectories(system, starts(system, 6, 9), 1)
    answer = solve_one_by_one(system, path[:, 0])
    torch.testing.assert_close(answer.y, path[:, 1], rtol=1e-6, atol=1e-6)
    assert answer.second_per_sample > 0
    # at least the twelve stages of one step, and two evaluations to choose the first
    assert answer.operations_per_sample >= 14 * system.operations
    exact = solve_one_by_one(system, path[:, 0], rtol=1e-11)
    assert exact.operations_per_sample > answer.operations_per_sample
