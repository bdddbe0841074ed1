"""What is said of a stepper is right of a right one, wrong of a wrong one, and survives one that diverges."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest

from equilog.drawing.style import document, drawing
from equilog.tasks.dynamics.judged import judge
from equilog.tasks.dynamics.portrait import pictures_of
from equilog.tasks.measures import Measure
from tests.tasks.dynamics.stepping import every_task, runge_kutta, shorter

FAST = 1.2


def named(measures: list[Measure]) -> dict[str, Measure]:
    return {m.name: m for m in measures}


@every_task
def test_the_right_map_is_judged_right(name: str):
    system = shorter(name)
    found = named(judge(system, runge_kutta(system)))
    for key, measure in found.items():
        assert measure.value is not None, key
        if key.startswith(("roll-out error", "drift")):
            assert measure.value < 1e-3, key
    if system.kind in ("cycle", "orbits"):
        for key in ("period", "amplitude"):
            assert found[key].value == pytest.approx(found[key].reference, rel=1e-3)
    if system.kind == "wells":
        assert found["ends in the right well"].value == 1
    if system.kind == "chaos":
        exponent = found["largest Lyapunov exponent"]
        assert found["valid time"].value == pytest.approx(system.horizon * exponent.reference, rel=0.02)
        assert exponent.value == pytest.approx(exponent.reference, rel=0.3)
        assert found["distance of attractor statistics"].value < 0.01


@every_task
def test_a_map_that_is_too_fast_is_judged_too_fast(name: str):
    system = shorter(name)
    found = named(judge(system, runge_kutta(replace(system, step=FAST * system.step))))
    for key, measure in found.items():
        if key.startswith("roll-out error"):
            assert measure.value > 0.05, key
    if system.kind in ("cycle", "orbits"):
        assert found["period"].value == pytest.approx(found["period"].reference / FAST, rel=2e-3)
        assert found["amplitude"].value == pytest.approx(found["amplitude"].reference, rel=2e-3)
    if system.kind == "orbits":
        assert found["drift of the invariant"].value < 1e-3
    if system.kind == "chaos":
        assert found["valid time"].value < 0.5 * system.horizon * found["largest Lyapunov exponent"].reference


@every_task
def test_a_map_that_diverges_is_survived(name: str):
    system = shorter(name)
    found = named(judge(system, lambda x: 3 * x + 1))
    for key, measure in found.items():
        assert measure.value is None or math.isfinite(measure.value), key
        assert measure.note
    gone = {
        "cycle": ("period", "amplitude"),
        "orbits": ("period", "amplitude", "drift of the invariant"),
        "wells": (),
        "chaos": ("largest Lyapunov exponent", "distance of attractor statistics"),
    }
    for key in gone[system.kind]:
        assert found[key].value is None, key
    if system.kind == "wells":
        assert found["ends in the right well"].value < 0.6
    if system.kind == "chaos":
        assert found["valid time"].value < 1


@pytest.mark.parametrize("name", ["van-der-pol", "lorenz63", "lorenz96"])
def test_pictures_are_drawn_whatever_the_roll_outs_do(name: str):
    system = shorter(name)
    pictures = pictures_of(system, runge_kutta(system), lambda x: 3 * x + 1)
    assert len({p.key for p in pictures}) == 2
    for picture in pictures:
        with drawing(picture.key):
            svg = document(picture.size, picture.draw)
        assert "on the chip" in svg
