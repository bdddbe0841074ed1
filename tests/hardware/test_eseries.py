"""Resistors that are sold: the standard's values, the nearest of them, and the twin that computes with those."""

import math

import pytest
import torch
from builders import drives, layer_of, matrices, normal, spec_with
from hypothesis import given
from hypothesis import strategies as st

from equilog.hardware import Chip, load_spec, program, without
from equilog.hardware.effects import Devices
from equilog.hardware.effects.rounding import ESeriesRounding, feedback_through
from equilog.hardware.technology.eseries import MANTISSAS, at_least, nearest, values
from equilog.hardware.twin import dac, static_system
from equilog.names import UserError

BOARD = load_spec("board")
EXACT = without(BOARD, "programming-error", "temperature")
SERIES = st.sampled_from(["E24", "E96", "E192"])
OHM = st.floats(1e-3, 1e9)


def test_values_of_the_standard():
    """IEC 60063:2015, tables of E96 and E192: ends, some in between, and the one that no formula gives."""
    assert [len(MANTISSAS[s]) for s in ("E24", "E96", "E192")] == [24, 96, 192]
    for value in (1.0, 1.02, 1.05, 1.33, 2.0, 2.21, 3.16, 4.99, 6.81, 9.09, 9.31, 9.53, 9.76):
        assert value in MANTISSAS["E96"]
    for value in (1.01, 2.03, 4.02, 6.73, 9.09, 9.2, 9.31, 9.65, 9.88):
        assert value in MANTISSAS["E192"]
    assert 9.19 not in MANTISSAS["E192"]
    assert set(MANTISSAS["E96"]) <= set(MANTISSAS["E192"])
    for series in MANTISSAS.values():
        assert list(series) == sorted(set(series))


@given(OHM, SERIES)
def test_nearest_and_next_are_what_they_say(ohm, series):
    every = values(series, ohm / 3, ohm * 3)
    best = nearest(ohm, series)
    assert best in every
    assert all(abs(math.log(best / ohm)) <= abs(math.log(v / ohm)) for v in every)
    above = at_least(ohm, series)
    assert above >= ohm * (1 - 1e-9)
    assert not [v for v in every if ohm * (1 + 1e-9) <= v < above]


@given(st.lists(st.floats(1e-7, 1e-4), min_size=1, max_size=20), SERIES)
def test_every_conductance_becomes_the_nearest_resistor(wanted, series):
    bar = BOARD.changed(crossbar={"e_series": series}).crossbar
    g = torch.tensor(wanted, dtype=torch.float64)
    rounded = ESeriesRounding().forward(Devices.of(g), None, bar, None)
    assert torch.equal(rounded.now, rounded.asked)
    for asked, got in zip(wanted, rounded.now.tolist()):
        best = nearest(1 / asked, series)
        # Two values may be equally near; then either will do.
        assert abs(math.log(1 / got * asked)) == pytest.approx(abs(math.log(best * asked)), abs=1e-9)
        assert nearest(1 / got, series) == pytest.approx(1 / got, rel=1e-12)


def test_rounding_stays_within_the_range():
    """Nearest to 1/G_max = 10.1 kΩ would be 10.0 kΩ, which is out of it."""
    bar = BOARD.changed(crossbar={"g_max_siemens": 1 / 10.1e3, "g_min_siemens": 1 / 96e3}).crossbar
    g = torch.tensor([1 / 10.1e3, 1 / 96e3], dtype=torch.float64)
    assert (1 / ESeriesRounding().forward(Devices.of(g), None, bar, None).now).tolist() == pytest.approx(
        [10.2e3, 95.3e3]
    )


def test_gradient_passes_straight_through():
    g = (1e-5 + 1e-6 * normal(1, 2, 3, 4)).requires_grad_()
    out = ESeriesRounding().forward(Devices.of(g), None, BOARD.crossbar, None).now
    assert not torch.equal(out, g)
    (grad,) = torch.autograd.grad((out * normal(2, 2, 3, 4)).sum(), g)
    assert torch.equal(grad, normal(2, 2, 3, 4))
    r = torch.tensor(1234.5, dtype=torch.float64, requires_grad=True)
    bought = feedback_through(r, BOARD.crossbar)
    assert float(bought.detach()) == 1240.0
    assert float(torch.autograd.grad(3 * bought, r)[0]) == 3.0


def test_all_resistors_of_a_layer_are_sold():
    layer = layer_of(EXACT, 7, 3)
    ohms = [*(1 / layer.g_plus_siemens).flatten().tolist(), *(1 / layer.g_minus_siemens).flatten().tolist()]
    for ohm in [*ohms, float(layer.r_feedback_ohm)]:
        assert nearest(ohm, "E96") == pytest.approx(ohm, rel=1e-12)


def test_a_larger_feedback_resistor_costs_no_accuracy_and_saturates_nothing():
    """R_f is rounded before the conductances are asked for, so weights are off by the rounding of theirs alone."""
    for seed in range(5):
        layer = layer_of(EXACT, 7, 3, seed)
        off = (layer.effective - layer.target).abs()
        largest = layer.target.abs().max()
        assert bool((off <= 0.0121 * layer.target.abs() + 2e-3 * largest).all())
        assert float(((layer.effective - layer.target) * layer.target).sum() / layer.target.square().sum()) < 3e-3


def test_tolerance_spreads_around_what_is_sold():
    layer, exact = layer_of(BOARD, 20, 9), layer_of(EXACT, 20, 9)
    off = (layer.g_plus_siemens / exact.g_plus_siemens - 1).flatten()
    assert 3e-4 < float(off.std()) < 9e-4
    assert abs(float(off.mean())) < 2e-4


def test_the_switch_takes_it_out():
    off = layer_of(without(EXACT, "e-series"), 6, 2)
    assert torch.allclose(off.effective, off.target, rtol=1e-9)
    system = static_system(layer_of(EXACT, 6, 2), dac(off, drives(2, 2)))
    assert system is not None


def test_single_precision_rounds_alike():
    w, u, b = matrices(5, 2)
    single = program((w.float(), u.float(), b.float()), Chip(EXACT, 0))
    double = program((w, u, b), Chip(EXACT, 0))
    assert torch.allclose(single.g_plus_siemens.double(), double.g_plus_siemens, rtol=1e-6)


def test_a_range_without_values_and_an_unknown_series_are_refused():
    with pytest.raises(UserError, match=r"E24 has fewer than two values from .* widen the range"):
        BOARD.changed(crossbar={"e_series": "E24", "g_max_siemens": 1e-4, "g_min_siemens": 0.97e-4})
    with pytest.raises(UserError, match="e_series"):
        spec_with("board", {"crossbar.e_series": "E48"})
