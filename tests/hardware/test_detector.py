"""The convergence detector: exact between grid points, right about itself, and the same for any company."""

import math

import numpy as np
import pytest
import torch
from builders import NO_MISMATCH, detector_data, drives, layer_of, matrices, spec_with
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.integrate import solve_ivp
from scipy.optimize import brentq

from equilog.equilibrium import EquilibriumLayer
from equilog.hardware import Chip, program
from equilog.hardware.chip import Population
from equilog.hardware.detector import Detection, DetectorWatch, SettlingWatch, band, comparator_limits, watch
from equilog.hardware.detector.lag import Lag, Step
from equilog.hardware.technology.blocks import Detector
from equilog.hardware.transient import Transient
from equilog.hardware.twin import static_system

LAZY = 1e9  # a timeout that never comes


def detector(threshold=0.01, window=1.0, hold=1.0, timeout=LAZY, offset=0.0) -> Detector:
    return Detector(
        threshold_volt=threshold,
        window_second=window,
        offset_sigma_volt=offset,
        hold_second=hold,
        timeout_second=timeout,
    )


def layer_with(n=4, m=2, seed=1, preset="rram", changes=None, **figures):
    """A layer whose detector's figures are given in units of V_a and of the time constant."""
    base = layer_of(spec_with(preset, changes), n, m, seed)
    return layer_of(spec_with(preset, (changes or {}) | {"detector": detector_data(base, **figures)}), n, m, seed)


def rest_volt(layer, played):
    p = EquilibriumLayer(on_failure="raise").rest(static_system(layer, played))
    return p * float(layer.spec.activation.v_scale_volt)


def watched(layer, played, duration=None, **accuracy) -> Detection:
    return watch(Transient(layer, played, **accuracy), rest_volt(layer, played), 0.01, duration)


class Ringing:
    """Outputs ``Σ Re a_k (e^{λ_k t} − 1)`` and, in closed form, what they are ahead of their lag."""

    def __init__(self, seed: int, n: int = 2, modes: int = 3) -> None:
        random = np.random.default_rng(seed)
        self.a = random.normal(size=(n, modes)) * np.exp(1j * random.uniform(0, 6, (n, modes)))
        self.rate = -random.uniform(0.2, 1.0, modes) + 1j * random.uniform(0, 3, modes)

    def v(self, t):
        return ((np.exp(np.multiply.outer(t, self.rate)) - 1)[:, None] * self.a).sum(2).real

    def slope(self, t):
        return ((np.exp(np.multiply.outer(t, self.rate)) * self.rate)[:, None] * self.a).sum(2).real

    def gap(self, t, window):
        moved = (np.exp(np.multiply.outer(t, self.rate)) - np.exp(-t / window)[:, None]) / (1 + self.rate * window)
        constant = 1 - np.exp(-t / window)
        lag = ((moved - constant[:, None])[:, None] * self.a).sum(2).real
        return self.v(t) - lag

    def fed(self, figures: Detector, limits, step=0.05, end=15.0):
        """What the detector reports, one sample for each of the limits, shape (2, samples, n)."""
        says = DetectorWatch(figures, torch.as_tensor(limits))
        for t in np.arange(0, end + step, step):
            v, slope = (torch.from_numpy(of(np.array([t]))).expand(limits.shape[1:]) for of in (self.v, self.slope))
            says.feed(t, v, slope)
        return says.report_second

    def sampled(self, figures: Detector, limits, longer=0.0, step=1e-3, end=15.0) -> float:
        """The same by looking very often, of a detector that holds a little longer."""
        t = np.arange(0, end, step)
        d = self.gap(t, float(figures.window_second))
        still = ((d < limits[0]) & (-d < limits[1])).all(1) & (t >= figures.window_second)
        last_moving = np.maximum.accumulate(np.where(still, -math.inf, t))
        since = np.maximum(last_moving, float(figures.window_second))
        full = still & (t - since >= figures.hold_second + longer)
        return float(t[full.argmax()]) if full.any() else math.inf


@settings(max_examples=20)
@given(
    seed=st.integers(0, 10**6),
    threshold=st.floats(0.005, 1.0),
    window=st.floats(0.1, 4.0),
    hold=st.sampled_from([0.005, 0.02, 0.1, 1.0]),
)
def test_reports_when_looking_very_often_would(seed, threshold, window, hold):
    """Also stays shorter than a step, when an output passes through the window between two grid points."""
    ringing, figures = Ringing(seed), detector(threshold, window, hold)
    limits = threshold * (1 + 0.3 * np.random.default_rng(seed).uniform(-1, 1, (2, 6, 2)))
    for k, report in enumerate(ringing.fed(figures, limits).tolist()):
        # An output that just grazes a limit, or is still for hardly more than the hold, may do either.
        early = ringing.sampled(figures, 1.001 * limits[:, k], longer=-2e-3)
        late = ringing.sampled(figures, 0.999 * limits[:, k], longer=2e-3)
        assert early - 2e-3 <= report <= late + 2e-3


@settings(max_examples=25)
@given(seed=st.integers(0, 10**6), window=st.floats(0.1, 4.0), hold=st.floats(0.0, 2.0))
def test_a_larger_threshold_never_reports_later(seed, window, hold):
    limits = np.random.default_rng(seed).uniform(0.01, 0.3, (2, 1, 2))
    report = Ringing(seed).fed(detector(window=window, hold=hold), limits * np.array([1.0, 1.01, 1.5, 3.0])[:, None])
    assert (report[1:] <= report[:-1] + 1e-9).all()


@pytest.mark.parametrize("window", [0.3, 2.0])
def test_a_single_exponential_is_reported_when_the_formula_says(window):
    """40 steps per time constant cost less than a thousandth of it."""

    def gap(t):
        return (math.exp(-t) - math.exp(-t / window)) / (1 / window - 1)

    figures, limit = detector(0.01, window, hold=0.5), 0.01
    says = DetectorWatch(figures, torch.full((2, 1), limit, dtype=torch.float64))
    for t in np.arange(0, 20, 1 / 40):
        slope = torch.tensor([[math.exp(-t)]], dtype=torch.float64)
        says.feed(t, 1 - slope, slope)
    expected = brentq(lambda t: gap(t) - limit, 1, 20) + 0.5
    report = float(says.report_second[0])
    assert report == pytest.approx(expected, abs=1e-6)
    if window < 1:  # what is left when it begins to count as still, see docs/detector.md
        assert math.exp(-(report - 0.5)) == pytest.approx(limit * (1 / window - 1), rel=1e-3)


def lag_of(seed, window, length=1.0, count=200):
    random = torch.Generator().manual_seed(seed)
    v, gap = torch.randn(2, count, dtype=torch.float64, generator=random)
    slopes = 3 * torch.randn(3, count, dtype=torch.float64, generator=random) / length
    return Lag(Step(5.0, 5.0 + length, v, slopes), gap, window)


@pytest.mark.parametrize("window", [0.05, 0.9, 2.0, 2.1, 300.0])
def test_the_lag_of_a_cubic_is_exact(window):
    lag = lag_of(3, window, count=5)
    at = torch.linspace(0, 1, 7, dtype=torch.float64)

    def derivative(s, gap):
        return lag.step(torch.tensor(s, dtype=torch.float64))[1].numpy() - gap / window

    reference = solve_ivp(derivative, (0, 1), lag.gap, method="DOP853", t_eval=at, rtol=1e-12, atol=1e-13)
    d, first, second = lag(at[:, None])
    np.testing.assert_allclose(d.numpy().T, reference.y, atol=1e-9)
    step = 1e-5
    up, down = lag(at[:, None] + step), lag(at[:, None] - step)
    np.testing.assert_allclose(first, (up[0] - down[0]) / (2 * step), rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(second, (up[1] - down[1]) / (2 * step), rtol=1e-5, atol=1e-4)


@pytest.mark.parametrize("window", [0.03, 0.4, 50.0])
def test_every_crossing_in_a_step_is_found_and_no_other(window):
    lag = lag_of(4, window)
    limits = torch.stack([torch.linspace(-0.5, 1, 200), torch.linspace(1, -0.2, 200)]).double()
    which, when, change = lag.crossings(limits)
    at = torch.linspace(0, 1, 5001, dtype=torch.float64)
    d = lag(at[:, None])[0]
    out = (d >= limits[0]).long() + (-d >= limits[1]).long()
    count = out[0] + torch.zeros_like(out)
    for k, instant, size in zip(which, when, change):
        count[:, k] += size * (at >= instant)
    assert len(which) > 100
    # A sample within a rounding error of a crossing may fall on either side of it.
    assert (count != out).sum() <= 2
    low, high = lag.bounds()
    assert (d >= low - 1e-12).all()
    assert (d <= high + 1e-12).all()


def test_a_sample_alone_is_as_in_a_batch():
    layer, played = layer_with(n=5, timeout=15.0), drives(3, 2)
    together = watched(layer, played)
    for k in range(3):
        alone = watched(layer, played[k : k + 1])
        for name in ("report_second", "settled_second"):
            torch.testing.assert_close(
                getattr(alone, name)[0], getattr(together, name)[k], rtol=1e-7, atol=0, msg=f"{name} of {k}"
            )


def test_chips_as_a_leading_dimension_change_nothing():
    seeds, played = (1, 2, 3), drives(4, 2)
    spec, weights = layer_with(offset=0.004, timeout=15.0).spec, matrices(4, 2, seed=1)
    singles = [program(weights, Chip(spec, seed)) for seed in seeds]
    alone = [watched(layer, played) for layer in singles]
    population = program(weights, Population(spec, seeds))
    rest = torch.stack([rest_volt(layer, played) for layer in singles])
    together = watch(Transient(population, played.expand(3, 4, 2)), rest, 0.01)
    for name in ("report_second", "settled_second"):
        expected = torch.stack([getattr(one, name) for one in alone])
        assert len(expected.unique()) == 12
        assert expected.isfinite().all()
        # A population's transients have a grid of their own.
        torch.testing.assert_close(getattr(together, name), expected, rtol=1e-4, atol=0)
    assert together.timed_out.shape == (3, 4)


@pytest.mark.parametrize("preset", ["rram", "board"])
def test_forty_steps_per_tau_are_enough(preset):
    layer, played = layer_with(n=8, preset=preset, timeout=12.0), drives(3, 2)
    coarse = watched(layer, played, steps_per_tau=40, tolerance=1e-5)
    fine = watched(layer, played, steps_per_tau=120, tolerance=1e-7)
    assert fine.report_second.isfinite().all()
    for name in ("report_second", "settled_second"):
        error = (getattr(coarse, name) - getattr(fine, name)).abs().max() / layer.time_constant_second
        assert error < 1e-3


def test_silence_is_reported_only_after_arming_and_holding():
    says = DetectorWatch(detector(window=2.0, hold=0.7), torch.full((2, 3), 0.01))
    zero = torch.zeros(1, 3, dtype=torch.float64)
    for t in (0.0, 1.9, 2.1, 2.6):
        says.feed(t, zero, zero)
    assert says.report_second.tolist() == [math.inf]
    says.feed(3.0, zero, zero)
    assert float(says.report_second[0]) == pytest.approx(2.7)
    assert not says.timed_out.any()


def test_a_report_due_between_the_timeout_and_the_next_instant_does_not_count():
    says = DetectorWatch(detector(window=2.0, hold=0.7, timeout=2.65), torch.full((2, 3), 0.01))
    zero = torch.zeros(1, 3, dtype=torch.float64)
    for t in (0.0, 2.6, 3.0):
        says.feed(t, zero, zero)
    assert says.report_second.isinf().all()
    assert says.timed_out.all()


def test_verdicts_compare_report_and_truth():
    inf, nan = math.inf, math.nan
    report = torch.tensor([5.0, 3.0, 5.0, inf, inf, inf])
    settled = torch.tensor([4.0, 4.0, inf, 4.0, 11.0, inf])
    seen = Detection(report, report.isinf(), settled, 10.0)
    assert seen.false_settle.tolist() == [False, True, True, False, False, False]
    assert seen.missed.tolist() == [False, False, False, True, False, False]
    torch.testing.assert_close(seen.late_second, torch.tensor([1.0, -1.0, -inf, nan, nan, nan]), equal_nan=True)


def plateau(hold):
    """An output that rests at 0.5 from about t = 8 to 20 and then goes on to 1."""

    def part(t, when):
        return 1 / (1 + math.exp(-4 * (t - when)))

    says = DetectorWatch(detector(0.005, hold=hold, timeout=60), torch.full((2, 1), 0.005))
    one = torch.ones(1, 1, dtype=torch.float64)
    truth = SettlingWatch(0.99 * one, 1.01 * one)
    for t in np.arange(0, 60, 0.02):
        p, q = part(t, 3), part(t, 22)
        v, slope = (p + q) / 2, 2 * (p * (1 - p) + q * (1 - q))
        says.feed(t, v * one, slope * one)
        truth.feed(t, v * one, slope * one)
    return Detection(says.report_second, says.timed_out, truth.settled_second, 60.0)


def test_a_plateau_longer_than_the_hold_is_a_false_settle():
    seen = plateau(hold=5.0)
    assert 12 < float(seen.report_second[0]) < 18
    # The second half reaches 0.98 at its own 0.98.
    assert float(seen.settled_second[0]) == pytest.approx(22 + math.log(0.98 / 0.02) / 4, abs=1e-5)
    assert seen.false_settle.all()
    assert float(seen.late_second[0]) < -5
    assert not seen.missed.any()


def test_the_timer_starts_anew_after_every_interruption():
    seen = plateau(hold=15.0)
    assert float(seen.report_second[0]) > 22 + 15
    assert not seen.false_settle.any()
    assert float(seen.late_second[0]) > 14


def test_it_can_report_while_the_circuit_is_still_creeping():
    """Positive feedback of 0.95 makes one slow mode: hardly any movement, far from rest."""
    one = torch.ones(1, 1, dtype=torch.float64)
    weights = (0.95 * one, 0.05 * one, 0 * one[0])
    base = program(weights, Chip(spec_with("rram", NO_MISMATCH), 0))

    def late(threshold):
        figures = detector_data(base, threshold=threshold, timeout=120.0, offset=0.0)
        layer = program(weights, Chip(spec_with("rram", NO_MISMATCH | {"detector": figures}), 0))
        return watched(layer, 0.2 * one).late_second / layer.time_constant_second

    assert late(0.02) < -5
    assert 0 < late(2e-4) < 100


def test_offsets_beyond_the_threshold_make_it_miss():
    layer, played = layer_with(threshold=0.001, offset=0.05), drives(3, 2)
    assert (comparator_limits(layer) < 0).any()
    seen = watched(layer, played)
    assert seen.timed_out.all()
    assert seen.report_second.isinf().all()
    assert seen.missed.all()
    assert seen.late_second.isnan().all()
    assert not seen.false_settle.any()


def test_a_report_after_the_timeout_does_not_count():
    played = drives(4, 2)
    usual = watched(layer_with(), played)
    tau = layer_with().time_constant_second
    between = float(usual.report_second.sort().values[1:3].mean()) / tau
    hurried = watched(layer_with(timeout=between), played, duration=30 * tau)
    in_time = usual.report_second < between * tau
    assert in_time.sum() == 2
    assert torch.equal(hurried.timed_out, ~in_time)
    assert torch.equal(hurried.report_second[in_time], usual.report_second[in_time])
    assert hurried.report_second[~in_time].isinf().all()


def test_nothing_times_out_before_the_timeout():
    layer = layer_with()
    seen = watched(layer, drives(3, 2), duration=2 * layer.time_constant_second)
    assert seen.report_second.isinf().all()
    assert not seen.timed_out.any()
    assert not seen.missed.any()


def test_settling_is_that_of_the_transient_to_within_a_step():
    layer, played = layer_with(n=6), drives(8, 2)
    moving, rest = Transient(layer, played), rest_volt(layer, played)
    at_grid, _ = moving.settle(rest, 0.01, float(layer.spec.detector.timeout_second))
    seen = watched(layer, played)
    early = at_grid - seen.settled_second
    assert (early >= 0).all()
    assert (early <= moving.step_second).all()
    torch.testing.assert_close(seen.late_second, seen.report_second - seen.settled_second)


def test_the_band_ends_where_the_activation_leaves_its_tolerance():
    layer, played = layer_with(n=6), drives(8, 2)
    moving, rest = Transient(layer, played), rest_volt(layer, played)
    low, high = band(moving.activation, rest, 0.01, 100 * moving.v_a)
    ends = torch.full_like(rest, 100 * moving.v_a)
    least, z, most = moving.activation(-ends), moving.activation(rest), moving.activation(ends)
    assert low.isfinite().any()
    torch.testing.assert_close(moving.activation(torch.maximum(low, -ends)), torch.maximum(z - 0.01, least))
    torch.testing.assert_close(moving.activation(torch.minimum(high, ends)), torch.minimum(z + 0.01, most))
    deep = torch.full_like(rest, 30 * moving.v_a)
    assert band(moving.activation, deep, 0.01, 100 * moving.v_a)[1].isinf().all()


def test_limits_are_the_threshold_and_the_offsets_of_this_chip():
    layer = layer_with(n=3, seed=5)
    figures = layer.spec.detector
    drawn = (comparator_limits(layer) - figures.threshold_volt) / figures.offset_sigma_volt
    torch.testing.assert_close(drawn, Chip(layer.spec, 5).standard_normal("detector.offset", 2, 3))
    assert torch.equal(comparator_limits(layer), comparator_limits(layer_with(n=3, seed=5)))


def test_a_technology_without_detector_is_refused():
    with pytest.raises(ValueError, match="'rram' has no detector"):
        comparator_limits(layer_of(spec_with("rram", {"detector": None}), 2, 1))


def test_time_must_advance():
    says = DetectorWatch(detector(), torch.full((2, 1), 0.01))
    zero = torch.zeros(1, 1)
    says.feed(1.0, zero, zero)
    with pytest.raises(ValueError, match="time must advance"):
        says.feed(1.0, zero, zero)
