"""The programme against brute force, which adds up in a way of its own, on every small graph that hypothesis finds."""

from __future__ import annotations

import itertools
import math
from collections import Counter
from dataclasses import astuple

import numpy as np
import pytest
from hypothesis import Phase, given, settings
from hypothesis import strategies as st

from equilog.allocate.front import pareto
from equilog.allocate.problem import DIGITAL, UNUSED, Cost, Limits, Option, Problem, Vertex, crossings, evaluate
from equilog.allocate.programme import Infeasible, Programme

NAMES = ("energy_joule", "latency_second", "area_m2", "loss", "tiles", "neurons")
WORDS = dict(
    zip(
        NAMES, ("--max-energy", "--max-latency", "--max-area", "--budget-accuracy", "--tiles", "--neurons"), strict=True
    )
)
CHOICES = 8192
"""so many can all be tried"""


@st.composite
def costs(draw: st.DrawFn, most: int = 9) -> Cost:
    return Cost(*(draw(st.integers(0, most)) for _ in NAMES))


# Converters are cheap as often as dear: where they are always dear, nothing is ever converted.
crossing = st.one_of(costs(1), costs(3), costs())


@st.composite
def problems(draw: st.DrawFn, least: int = 1, most: int = 12) -> Problem:
    """A random graph: two formats of DACs, up to three analog kinds, links, tied vertices, several outputs."""
    count = draw(st.integers(least, most))
    vertices, direct = [], {}
    choices = 1
    for k in range(count):
        inputs = tuple(draw(st.lists(st.integers(0, k - 1), max_size=3))) if k else ()
        options = [Option("digital", draw(costs()), (DIGITAL,) * len(inputs), (Cost(),) * len(inputs))]
        room = CHOICES // (choices * 2 ** (count - k - 1))  # every later vertex has two options at least
        for o in range(1, min(room, 1 + draw(st.integers(1, 3)))):
            reads = tuple(draw(st.sampled_from(("rows", "rows", "windows", UNUSED))) for _ in inputs)
            enter = tuple(draw(crossing) for _ in inputs)
            options.append(Option(f"analog {o}", draw(costs(5)), reads, enter, draw(st.booleans()), draw(crossing)))
            for slot, form in enumerate(reads):
                if form == "rows" and draw(st.booleans()):
                    direct[k, slot, o] = draw(crossing)
        choices *= len(options)
        vertices.append(Vertex(f"v{k}", inputs, tuple(options), k == count - 1 or draw(st.integers(0, 4)) == 0))
    dac = {(k, form): draw(crossing) for k in range(count) for form in ("rows", "windows")}
    tied = [k for k in range(count) if len(vertices[k].options) == 2][:2]
    ties = (tuple(tied),) if len(tied) == 2 and draw(st.integers(0, 3)) else ()
    return Problem(tuple(vertices), dac, direct, ties)


def everything(problem: Problem) -> tuple[np.ndarray, np.ndarray]:
    """Return all choices and their totals, added up tensor by tensor, where the library goes consumer by consumer."""
    every = np.array(list(itertools.product(*(range(len(v.options)) for v in problem.vertices))))
    for first, *rest in problem.ties:
        for other in rest:
            every = every[every[:, first] == every[:, other]]
    totals = np.zeros((len(every), len(NAMES)), dtype=int)

    def add(where: np.ndarray, cost: Cost) -> None:
        totals[where] += np.array(astuple(cost), dtype=int)

    for t, giver in enumerate(problem.vertices):
        chosen = [every[:, t] == o for o in range(len(giver.options))]
        voltages = np.array([o.analog_out for o in giver.options])[every[:, t]]
        numbers, playing = np.full(len(every), giver.output), {form: np.zeros(len(every), bool) for form in FORMATS}
        for w, reader in enumerate(problem.vertices):
            for slot in (s for s, i in enumerate(reader.inputs) if i == t):
                for q, option in enumerate(reader.options):
                    here, form = every[:, w] == q, option.reads[slot]
                    if form == UNUSED:
                        continue
                    if (w, slot, q) in problem.direct:
                        add(here & voltages, problem.direct[w, slot, q])
                        here = here & ~voltages
                    numbers |= here
                    if form != DIGITAL:
                        playing[form] |= here
                        add(here, option.enter[slot])
        for form, where in playing.items():
            add(where, problem.dac[t, form])
        for option, where in zip(giver.options, chosen, strict=True):
            add(where, option.cost)
            if option.analog_out:
                add(where & numbers, option.leave)
    return every, totals


FORMATS = ("rows", "windows")


def features(problem: Problem, choice: tuple[int, ...]) -> set[str]:
    """What of the problem's peculiarities the choice makes use of."""
    cross = crossings(problem, choice)
    chosen = [v.options[o] for v, o in zip(problem.vertices, choice, strict=True)]
    heard = Counter((problem.vertices[w].inputs[slot], chosen[w].plays(slot)) for w, slot in cross.entered)
    readers = Counter(
        i
        for w, v in enumerate(problem.vertices)
        for slot, i in enumerate(v.inputs)
        if i in cross.to_digital and chosen[w].reads[slot] != UNUSED and (w, slot) not in cross.linked
    )
    played = Counter(t for t, _ in cross.played)
    found = {
        "12 nodes": len(choice) == 12,
        "a third kind": 3 in choice,
        "DACs shared": any(n > 1 for n in heard.values()),
        "ADCs shared": any(n > 1 for n in readers.values()),
        "ADC to DAC": any(i in cross.to_digital for i, _ in cross.played),
        "two formats of a tensor": any(n > 1 for n in played.values()),
        "link": bool(cross.linked),
        "link beside numbers": any(problem.vertices[w].inputs[s] in cross.to_digital for w, s in cross.linked),
        "tied and analog": any(choice[tie[0]] for tie in problem.ties),
    }
    return {name for name, there in found.items() if there}


def check(problem: Problem, wanted: list[tuple[str, float]], objective: str) -> set[str]:
    every, totals = everything(problem)
    at = {name: k for k, name in enumerate(NAMES)}
    bounds = {}
    for name, share in wanted:  # never on a total
        low, high = int(totals[:, at[name]].min()), int(totals[:, at[name]].max())
        bounds[name] = low + math.floor(share * (high - low)) + 0.5
    keeps = {name: totals[:, at[name]] <= most for name, most in bounds.items()}
    allowed = np.all([np.ones(len(every), bool), *keeps.values()], axis=0)
    programme = Programme(problem)
    if not allowed.any():
        with pytest.raises(Infeasible, match="no split") as refused:
            programme.best(objective, Limits(**bounds))
        alone = {name for name, kept in keeps.items() if not kept.any()}
        one_more = {
            name
            for name in bounds
            if np.all([np.ones(len(every), bool), *(kept for n, kept in keeps.items() if n != name)], axis=0).any()
        }
        said = {name for name in NAMES if WORDS[name] in str(refused.value)}
        assert said == (alone or one_more or set(bounds))
        assert ("binds" in str(refused.value)) == bool(alone)
        return {"a limit binds alone" if alone else "limits bind together"}
    found = programme.best(objective, Limits(**bounds))
    least = totals[allowed, at[objective]].min()
    assert getattr(found.cost, objective) == least
    assert found.bound == pytest.approx(least, abs=1e-6)
    (row,) = np.flatnonzero((every == found.choice).all(1))  # among those with equal ties, too
    assert astuple(found.cost) == tuple(totals[row]) == astuple(evaluate(problem, found.choice))
    assert allowed[row]
    free = totals[:, at[objective]].min() < least
    return features(problem, found.choice) | ({"limits matter"} if free else set())


# Shares of the way from the least to the most; below zero nothing keeps the limit.
SHARES = st.sampled_from((0.3, 0.2, 0.1, 0.05, 0.0, 0.5, -0.1))
LIMITS = st.lists(st.tuples(st.sampled_from(NAMES), SHARES), max_size=4)


def test_the_optimum_is_that_of_brute_force() -> None:
    seen: Counter[str] = Counter()

    @settings(max_examples=80)
    @given(problems(), LIMITS, st.sampled_from(NAMES))
    def on_any(problem: Problem, wanted: list[tuple[str, float]], objective: str) -> None:
        seen.update(check(problem, wanted, objective))

    @settings(max_examples=25, phases=[Phase.generate])  # shrinking is for the small ones, above
    @given(problems(least=12), LIMITS, st.sampled_from(NAMES))
    def on_the_largest(problem: Problem, wanted: list[tuple[str, float]], objective: str) -> None:
        seen.update(check(problem, wanted, objective))

    on_any()
    on_the_largest()
    # All that the programme is about was met, not only allowed for.
    assert set(seen) == {
        "12 nodes", "a third kind", "DACs shared", "ADCs shared", "ADC to DAC", "two formats of a tensor", "link",
        "link beside numbers", "tied and analog", "limits matter", "a limit binds alone", "limits bind together",
    }  # fmt: skip


@settings(max_examples=25)
@given(problems(most=6), st.none() | st.floats(0, 1))
def test_the_front_is_that_of_brute_force(problem: Problem, share: float | None) -> None:
    _, totals = everything(problem)
    limits = {}
    if share is not None:  # a limit on what is no axis, and never on a total
        area = totals[:, NAMES.index("area_m2")]
        limits["area_m2"] = int(area.min() + share * (area.max() - area.min())) + 0.5
        totals = totals[area <= limits["area_m2"]]
    axes = [NAMES.index(n) for n in ("energy_joule", "latency_second", "loss")]
    different = {tuple(int(v) for v in t[axes]) for t in totals}
    best = {t for t in different if not any(o != t and all(a <= b for a, b in zip(o, t)) for o in different)}
    points, whole = pareto(Programme(problem), Limits(**limits))
    assert whole
    assert {(p.cost.energy_joule, p.cost.latency_second, p.cost.loss) for p in points} == best
    assert len(points) == len(best)


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


def test_costs_of_real_size_are_told_apart() -> None:
    # Femtojoules beside microjoules, in joules: nothing is lost in the solver's tolerances.
    options = tuple(Option(f"o{k}", Cost(energy_joule=1e-6 + k * 1e-12)) for k in (2, 0, 1))
    found = Programme(Problem((Vertex("v", (), options, output=True),))).best("energy_joule", Limits())
    assert found.choice == (1,)
    assert found.bound == pytest.approx(1e-6, rel=1e-6)


def test_what_makes_no_sense_is_refused() -> None:
    with pytest.raises(ValueError, match="below zero"):
        Problem((Vertex("v", (), (Option("digital", Cost(energy_joule=-1)),)),))
    with pytest.raises(ValueError, match="does not come before"):
        Problem((Vertex("v", (0,), (Option("digital", Cost(), (DIGITAL,), (Cost(),)),)),))
    free = Vertex("a", (), (Option("digital", Cost()),))
    with pytest.raises(ValueError, match="nothing plays 'a' as 'rows'"):
        Problem((free, Vertex("b", (0,), (Option("analog", Cost(), ("rows",), (Cost(),)),))))
