"""What is said of a learned stepper, by the kind of its system: each a quantity beside the trusted one."""

from __future__ import annotations

from functools import cache

import torch
from torch import Tensor

from equilog.tasks.dynamics.reference import (
    ATTRACTOR_SEED,
    largest_exponent,
    on_attractor,
    period_and_amplitude,
    reference_cycle,
    reference_run,
    starts,
    trajectories,
)
from equilog.tasks.dynamics.rollout import (
    distance_of_statistics,
    exponent_of_map,
    rolled,
    rollout_error,
    valid_times,
)
from equilog.tasks.dynamics.systems import System
from equilog.tasks.measures import Measure
from equilog.tasks.task import Predict

RUNS, WELL_RUNS = 64, 256
_RUN_SEED, _OTHER_SEED = 11, 12
DIVERGED = "a roll-out diverged"


def judge(system: System, predict: Predict) -> list[Measure]:
    """Return what is measured of a stepper of a system besides its error of one step."""
    return {"cycle": of_cycle, "orbits": of_orbits, "wells": of_wells, "chaos": of_chaos}[system.kind](system, predict)


def of_cycle(system: System, predict: Predict) -> list[Measure]:
    """Return error after a period, period and amplitude of the cycle."""
    return [_error_after(system, predict, reference_cycle(system)[0], "one period"), *_oscillation(system, predict)]


def of_orbits(system: System, predict: Predict) -> list[Measure]:
    """Return the same of a system in which every orbit is closed, and how well its invariant is kept."""
    assert system.invariant is not None
    assert system.at_rest is not None
    start, _ = _runs(system, RUNS)
    path = rolled(predict, start, system.steps(system.horizon))
    rest = system.invariant(*torch.tensor(system.at_rest, dtype=torch.float64))
    height = system.invariant(*path.unbind(-1)) - rest
    drift = float(((height[:, -1] - height[:, 0]).abs() / height[:, 0]).mean())
    finite = drift < float("inf")
    measure = Measure(
        name="drift of the invariant",
        value=drift if finite else None,
        note=f"mean of |H(t) − H(0)|/(H(0) − H at rest) at t = {system.horizon:g}" if finite else DIVERGED,
    )
    return [*of_cycle(system, predict), measure]


def of_wells(system: System, predict: Predict) -> list[Measure]:
    """Return an error at a fixed time, and how often the stepper ends in the right well."""
    start, reference = _runs(system, WELL_RUNS)
    path = rolled(predict, start, system.steps(system.horizon))
    right = (path[:, -1, 0] * reference[:, -1, 0] > 0).double().mean()
    return [
        _error_after(system, predict, 5.0, "5 time units"),
        Measure(
            name="ends in the right well",
            value=float(right),
            reference=1.0,
            better="higher",
            note=f"fraction of {WELL_RUNS} starts at t = {system.horizon:g}; trusted: DOP853",
        ),
    ]


def of_chaos(system: System, predict: Predict) -> list[Measure]:
    """Return how long a forecast is right, the largest exponent, and the attractor's statistics."""
    exponent, error = largest_exponent(system)
    reference = reference_run(system, RUNS)
    path = rolled(predict, on_attractor(system, RUNS), system.steps(system.horizon))
    after = rollout_error(path, reference, system.steps(1 / exponent))
    times = valid_times(path, reference, system.step) * exponent
    found = exponent_of_map(predict, path, system.step)
    literature = "" if system.exponent is None else f"; {system.exponent[0]:g} in {system.exponent[1]}"
    apart = distance_of_statistics(path, reference)
    return [
        Measure(
            name="roll-out error after one Lyapunov time",
            value=after,
            note="mean of ‖x̂ − x‖ over the attractor's rms" if after is not None else DIVERGED,
        ),
        Measure(
            name="valid time",
            value=float(times.mean()),
            unit="Lyapunov times",
            better="higher",
            note=f"until ‖x̂ − x‖ exceeds 0.4 of the attractor's rms (Pathak et al. 2018), mean of {RUNS} starts; "
            f"at most {system.horizon * exponent:.1f}",
        ),
        Measure(
            name="largest Lyapunov exponent",
            value=None if found is None else found[0],
            reference=exponent,
            better="near the reference",
            note=f"QR of Jacobians along roll-outs, ± {found[1]:.2g}; trusted: variational equations, ± {error:.1g}"
            f"{literature}"
            if found is not None
            else f"{DIVERGED}; trusted: variational equations{literature}",
        ),
        Measure(
            name="distance of attractor statistics",
            value=apart,
            reference=_apart_by_chance(system),
            note="1-Wasserstein distance of coordinates over their standard deviation; trusted: between two "
            "reference runs"
            if apart is not None
            else DIVERGED,
        ),
    ]


@cache
def _apart_by_chance(system: System) -> float | None:
    return distance_of_statistics(reference_run(system, RUNS, _OTHER_SEED), reference_run(system, RUNS, ATTRACTOR_SEED))


@cache
def _runs(system: System, count: int) -> tuple[Tensor, Tensor]:
    """Starts from the box and their trusted trajectories over a horizon."""
    start = starts(system, count, _RUN_SEED)
    return start, trajectories(system, start, system.steps(system.horizon))


def _error_after(system: System, predict: Predict, time: float, called: str) -> Measure:
    start, reference = _runs(system, RUNS)
    at = system.steps(time)
    value = rollout_error(rolled(predict, start, at), reference, at)
    return Measure(
        name=f"roll-out error after {called}",
        value=value,
        note=f"mean of ‖x̂ − x‖ over the rms of all trajectories, {at} steps, {RUNS} starts"
        if value is not None
        else DIVERGED,
    )


def _oscillation(system: System, predict: Predict) -> list[Measure]:
    steps = system.steps(system.horizon)
    path = rolled(predict, torch.tensor([system.probe], dtype=torch.float64), 2 * steps)[0, steps:, 0]
    found, (period, amplitude) = period_and_amplitude(path, system.step), reference_cycle(system)
    silent = "no two periods in the second half of a roll-out"
    what = (
        f"of {system.coordinates[0]} from ({', '.join(f'{c:g}' for c in system.probe)}), after t = {system.horizon:g}"
    )
    note = f"{what}; trusted: DOP853" if found else silent
    return [
        Measure(
            name="period",
            value=found[0] if found else None,
            reference=period,
            better="near the reference",
            note=note,
        ),
        Measure(
            name="amplitude",
            value=found[1] if found else None,
            reference=amplitude,
            better="near the reference",
            note=note,
        ),
    ]
