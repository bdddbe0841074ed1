"""The programme against brute force, which adds up in a way of its own, on every small graph that hypothesis finds."""

from __future__ import annotations

import itertools
from dataclasses import astuple

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from equilog.allocate.front import pareto
from equilog.allocate.problem import DIGITAL, UNUSED, Cost, Limits, Option, Problem, Vertex, crossings, evaluate
from equilog.allocate.programme import Infeasible, Programme

NAMES = ("energy_joule", "latency_second", "area_m2", "loss", "tiles", "neurons")


@st.composite
def costs(draw: st.DrawFn) -> Cost:
    return Cost(*(draw(st.integers(0, 9)) for _ in NAMES))


@st.composite
def problems(draw: st.DrawFn, most: int = 12) -> Problem:
    """A random graph: two formats of DACs, a third option now and then, links, tied vertices, several outputs."""
    count = draw(st.integers(1, most))
    vertices, direct = [], {}
    for k in range(count):
        inputs = tuple(draw(st.lists(st.integers(0, k - 1), max_size=3))) if k else ()
        options = [Option("digital", draw(costs()), (DIGITAL,) * len(inputs), (Cost(),) * len(inputs))]
        # The number of choices stays such that all can be tried.
        for o in range(1, 1 + draw(st.integers(0, 2 if count < 7 else 1))):
            reads = tuple(draw(st.sampled_from(("rows", "rows", "windows", UNUSED))) for _ in inputs)
            enter = tuple(draw(costs()) for _ in inputs)
            options.append(Option(f"analog {o}", draw(costs()), reads, enter, draw(st.booleans()), draw(costs())))
            for slot, form in enumerate(reads):
                if form == "rows" and draw(st.booleans()):
                    direct[k, slot, o] = draw(costs())
        vertices.append(Vertex(f"v{k}", inputs, tuple(options), k == count - 1 or draw(st.integers(0, 4)) == 0))
    dac = {(k, form): draw(costs()) for k in range(count) for form in ("rows", "windows")}
    tied = [k for k in range(count) if len(vertices[k].options) == 2][:2]
    ties = (tuple(tied),) if len(tied) == 2 and draw(st.booleans()) else ()
    return Problem(tuple(vertices), dac, direct, ties)


def by_hand(problem: Problem, choice: tuple[int, ...]) -> tuple[float, ...]:
    """Tensor by tensor, where the library goes consumer by consumer."""
    chosen = [v.options[o] for v, o in zip(problem.vertices, choice)]
    parts = [o.cost for o in chosen]
    for t, giver in enumerate(chosen):
        formats, numbers = set(), problem.vertices[t].output
        for w, vertex in enumerate(problem.vertices):
            for slot in (s for s, i in enumerate(vertex.inputs) if i == t):
                form = chosen[w].reads[slot]
                if form == UNUSED:
                    continue
                if giver.analog_out and (w, slot, choice[w]) in problem.direct:
                    parts.append(problem.direct[w, slot, choice[w]])
                    continue
                numbers = True
                if form != DIGITAL:
                    formats.add(form)
                    parts.append(chosen[w].enter[slot])
        parts += [problem.dac[t, form] for form in formats]
        if numbers and giver.analog_out:
            parts.append(giver.leave)
    return tuple(sum(values) for values in zip(*map(astuple, parts)))


def everything(problem: Problem) -> dict[tuple[int, ...], tuple[float, ...]]:
    every = itertools.product(*(range(len(v.options)) for v in problem.vertices))
    return {c: by_hand(problem, c) for c in every if all(len({c[k] for k in tie}) == 1 for tie in problem.ties)}


@settings(max_examples=60, deadline=None)
@given(problems(), st.lists(st.tuples(st.sampled_from(NAMES), st.floats(0, 1)), max_size=3), st.sampled_from(NAMES[:3]))
def test_the_optimum_is_that_of_brute_force(problem: Problem, wanted: list, objective: str) -> None:
    tried = everything(problem)
    bounds = {}
    for name, share in wanted:  # somewhere between the least and the most, and never on a total
        values = sorted(total[NAMES.index(name)] for total in tried.values())
        bounds[name] = int(values[0] - 1 + share * (values[-1] - values[0] + 1)) + 0.5
    allowed = [t for t in tried.values() if all(t[NAMES.index(n)] <= most for n, most in bounds.items())]
    programme = Programme(problem)
    if not allowed:
        with pytest.raises(Infeasible, match="no split"):
            programme.best(objective, Limits(**bounds))
        return
    found = programme.best(objective, Limits(**bounds))
    least = min(t[NAMES.index(objective)] for t in allowed)
    assert getattr(found.cost, objective) == least
    assert found.bound == pytest.approx(least, abs=1e-6)
    assert astuple(found.cost) == tried[found.choice] == astuple(evaluate(problem, found.choice))
    assert all(getattr(found.cost, name) <= most for name, most in bounds.items())


@settings(max_examples=25, deadline=None)
@given(problems(most=6))
def test_the_front_is_that_of_brute_force(problem: Problem) -> None:
    axes = [NAMES.index(n) for n in ("energy_joule", "latency_second", "loss")]
    totals = {tuple(t[k] for k in axes) for t in everything(problem).values()}
    best = {t for t in totals if not any(o != t and all(a <= b for a, b in zip(o, t)) for o in totals)}
    points, whole = pareto(Programme(problem), Limits())
    assert whole
    assert {(p.cost.energy_joule, p.cost.latency_second, p.cost.loss) for p in points} == best


def chain(readers: int, played: float) -> Problem:
    """One tensor and so many readers of it: each saves 3 if analog, and DACs for it cost `played` once."""
    source = Vertex("source", (), (Option("digital", Cost()),))
    saves = (
        Option("digital", Cost(energy_joule=3), (DIGITAL,), (Cost(),)),
        Option("analog", Cost(), ("rows",), (Cost(),)),
    )
    return Problem(
        (source, *(Vertex(f"r{k}", (0,), saves, output=True) for k in range(readers))),
        {(0, "rows"): Cost(energy_joule=played)},
    )


@pytest.mark.parametrize(("readers", "analog"), [(1, False), (2, True), (3, True)])
def test_a_tensor_is_played_once_for_all_its_readers(readers: int, analog: bool) -> None:
    # One saving does not pay for the DACs; two together do, because they share them.
    found = Programme(chain(readers, 5.0)).best("energy_joule", Limits())
    assert found.choice == (0, *[int(analog)] * readers)
    assert found.cost.energy_joule == (5.0 if analog else 3.0 * readers)
    assert len(crossings(chain(readers, 5.0), found.choice).played) == int(analog)


def test_a_limit_that_binds_is_named() -> None:
    slow = Cost(energy_joule=1, latency_second=5e-6, loss=0.0)
    fast = Cost(energy_joule=2, latency_second=2e-6, loss=0.02)
    problem = Problem((Vertex("v", (), (Option("digital", slow), Option("product", fast)), output=True),))
    with pytest.raises(Infeasible, match=r"latency ≤ 1 µs \(--max-latency\) binds, the least of any split is 2 µs"):
        Programme(problem).best("energy_joule", Limits(latency_second=1e-6, loss=0.05))
    with pytest.raises(Infeasible, match=r"latency ≤ 3 µs .* raised to 5 µs; accuracy loss ≤ 0.01 .* raised to 0.02"):
        Programme(problem).best("energy_joule", Limits(latency_second=3e-6, loss=0.01))


def test_what_makes_no_sense_is_refused() -> None:
    with pytest.raises(ValueError, match="below zero"):
        Problem((Vertex("v", (), (Option("digital", Cost(energy_joule=-1)),)),))
    with pytest.raises(ValueError, match="does not come before"):
        Problem((Vertex("v", (0,), (Option("digital", Cost(), (DIGITAL,), (Cost(),)),)),))
    free = Vertex("a", (), (Option("digital", Cost()),))
    with pytest.raises(ValueError, match="nothing plays 'a' as 'rows'"):
        Problem((free, Vertex("b", (0,), (Option("analog", Cost(), ("rows",), (Cost(),)),))))
