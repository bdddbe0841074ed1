"""A measured activation is monotone, knows its own slope, ends where its points end, and settles like any other."""

import dataclasses

import numpy as np
import pytest
import torch
from builders import generator, monotone, normal
from hypothesis import given
from hypothesis import strategies as st
from scipy.interpolate import CubicSpline

from equilog.cells import AffineSystem, Curve, MonotoneSpline, OutsideCurveError, Tanh, certify, check_inside
from equilog.cells.activation import evaluator, select
from equilog.equilibrium import EquilibriumLayer

KNOTS = torch.linspace(-6, 6, 61, dtype=torch.float64)
TANH = MonotoneSpline(KNOTS, KNOTS.tanh())
UNEVEN = MonotoneSpline([-2.0, -1.3, -1.25, 0.4, 0.5, 1.9], [-1.0, -0.9, -0.2, -0.1, 0.3, 1.5])

steps = st.floats(1e-3, 10.0)
rises = st.one_of(st.just(0.0), st.floats(1e-6, 1e3))
points = st.integers(4, 12).flatmap(
    lambda k: st.tuples(st.lists(steps, min_size=k, max_size=k), st.lists(rises, min_size=k, max_size=k))
)


def spline_of_steps(data):
    x, y = (torch.tensor(v, dtype=torch.float64).cumsum(0) for v in data)
    return MonotoneSpline(x - x[len(x) // 2], y)


def inside(spline, count=999):
    return torch.linspace(float(spline.knots[0]), float(spline.knots[-1]), count, dtype=torch.float64)


def curve(n=3):
    return Curve(TANH, 1 + 0.1 * normal(1, n), 0.2 * normal(2, n))


# the spline


@given(points)
def test_it_goes_through_its_points_and_rises_in_between(data):
    spline = spline_of_steps(data)
    torch.testing.assert_close(spline(spline.knots), spline.values, rtol=1e-12, atol=1e-12)
    z = spline(inside(spline))
    assert (z.diff() >= -1e-12 * float(spline.values[-1])).all()
    assert (spline.slope(inside(spline)) >= 0).all()


@given(points)
def test_no_slope_is_above_the_largest_and_the_largest_is_reached(data):
    spline = spline_of_steps(data)
    fine = torch.cat([torch.linspace(a, b, 201, dtype=torch.float64) for a, b in spline.knots.unfold(0, 2, 1).tolist()])
    found = float(spline.slope(fine).max())
    assert found <= spline.max_slope * (1 + 1e-9)
    assert found >= spline.max_slope * (1 - 1e-3)


@given(points)
def test_value_and_slope_are_continuous(data):
    spline = spline_of_steps(data)
    knot, h = spline.knots[1:-1], spline.knots.diff()[:-1]
    below = [spline.coefficients[:-1, k] for k in range(4)]
    value = below[0] + h * (below[1] + h * (below[2] + h * below[3]))
    slope = below[1] + h * (2 * below[2] + 3 * h * below[3])
    size = spline.max_slope
    torch.testing.assert_close(value, spline(knot), rtol=1e-12, atol=1e-12 * float(spline.values[-1]))
    torch.testing.assert_close(slope, spline.slope(knot), rtol=1e-9, atol=1e-9 * size)


def test_without_limits_it_is_the_cubic_spline():
    """scipy's not-a-knot spline: a convex curve has slopes between those of its chords, which no limit touches."""
    x = (0.1 + torch.rand(30, dtype=torch.float64, generator=generator(1))).cumsum(0)
    y = (x / 5).sinh()
    reference = CubicSpline(x.numpy(), y.numpy())
    spline = MonotoneSpline(x, y)
    fine = inside(spline)
    torch.testing.assert_close(spline(fine), torch.from_numpy(reference(fine.numpy())), rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(spline.slope(fine), torch.from_numpy(reference(fine.numpy(), 1)), rtol=1e-9, atol=1e-9)


def test_slopes_are_limited_to_three_chords():
    """Data with a step: the cubic spline overshoots, slopes limited to 3 min(δ, δ') do not (Fritsch & Carlson)."""
    x, y = [0.0, 1, 2, 3, 4, 5], [0.0, 0, 0, 1, 1, 1]
    assert np.abs(CubicSpline(x, y)(np.linspace(0, 5, 501)) - 0.5).max() > 0.55
    spline = MonotoneSpline(x, y)
    assert spline.coefficients[:, 1].tolist() == [0, 0, 0, 0, 0]
    assert float(spline(torch.tensor(2.5))) == 0.5
    assert spline.max_slope == 1.5


def test_the_error_falls_with_the_fourth_power():
    errors = []
    for count in (41, 81, 161):
        x = torch.linspace(-6, 6, count, dtype=torch.float64)
        fine = inside(TANH, 10007)
        errors.append(float((MonotoneSpline(x, x.tanh())(fine) - fine.tanh()).abs().max()))
    assert errors[0] < 2e-4
    assert errors[0] > 12 * errors[1] > 12 * 12 * errors[2]


def test_beyond_its_points_it_is_held():
    line = MonotoneSpline([-2.0, -1.0, 0.5, 1.9], [-1.0, -0.5, 0.25, 0.95])
    x = torch.tensor([-100.0, -2.0, 1.9, 1e30], dtype=torch.float64)
    assert line(x).tolist() == pytest.approx([-1.0, -1.0, 0.95, 0.95], abs=1e-15)
    assert line.slope(x).tolist() == pytest.approx([0, 0.5, 0.5, 0], abs=1e-15)
    assert line.outside(x).tolist() == [True, False, False, True]


@pytest.mark.parametrize("spline", [TANH, UNEVEN], ids=["even", "uneven"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_many_at_once_are_what_each_is_alone(spline, dtype):
    """Large tensors find their piece by another way than small ones; not a bit may differ."""
    knots = spline.knots.to(dtype)
    near = torch.cat([knots, torch.nextafter(knots, knots + 1), torch.nextafter(knots, knots - 1)])
    x = torch.cat([8 * normal(1, 20000).to(dtype), near, torch.tensor([torch.inf, -torch.inf], dtype=dtype)])
    assert torch.equal(spline(x), torch.cat([spline(part) for part in x.split(1000)]))
    assert torch.equal(spline.slope(x), torch.cat([spline.slope(part) for part in x.split(1000)]))


def test_single_precision_is_rounded_double():
    x = 4 * normal(1, 256, 128)
    torch.testing.assert_close(TANH(x.float()).double(), TANH(x), rtol=0, atol=1e-6)
    torch.testing.assert_close(TANH.slope(x.float()).double(), TANH.slope(x), rtol=0, atol=1e-5)


@pytest.mark.parametrize("gap", [2.0**-40, 2.0**-20, 2.0**-8])
def test_points_so_close_that_single_precision_may_not_tell_them_apart(gap):
    x = [0.0, 0.25, 0.5, 0.5 + gap, 0.75, 1.0]
    spline = MonotoneSpline(x, x)
    p = torch.linspace(-1, 2, 9001)
    torch.testing.assert_close(spline(p), p.clamp(0, 1), rtol=0, atol=1e-6)


@pytest.mark.parametrize("size", [3, 9000])
def test_nan_stays_nan(size):
    x = torch.zeros(size)
    x[1] = torch.nan
    for found in (TANH(x), TANH.slope(x)):
        assert found.isnan().nonzero().flatten().tolist() == [1]
    assert not TANH.outside(x).any()


@pytest.mark.parametrize(
    ("x", "y", "said"),
    [
        ([0.0, 1, 2], [0.0, 1, 2], "3 points: expected 4"),
        (range(1001), range(1001), "1001 points: expected 4 to 1000"),
        ([0.0, 1, 1, 2], [0.0, 1, 2, 3], "knots must rise: point 1 is 1.0, point 2 is 1.0"),
        ([0.0, 1, 2, 3], [0.0, 2, 1, 3], "values must rise: point 1 is 2.0, point 2 is 1.0"),
        ([0.0, 1, 2, 3], [0.0, 1, float("nan"), 3], "values: point 2 is inf or nan"),
        ([0.0, 1, 2, 3], [0.0, 1, 2], "one value for every knot"),
    ],
)
def test_points_that_are_no_curve_are_refused(x, y, said):
    with pytest.raises(ValueError, match=said):
        MonotoneSpline(x, y)


def test_what_inference_mode_has_made_serves_training():
    with torch.inference_mode():
        spline = MonotoneSpline(KNOTS, KNOTS.tanh())
        spline(KNOTS)
    p = normal(1, 9).requires_grad_()
    spline(p).sum().backward()
    torch.testing.assert_close(p.grad, TANH.slope(p.detach()))


# the activation


def test_slope_is_the_derivative():
    phi, p = curve(), 3 * normal(3, 50, 3).requires_grad_()
    (derivative,) = torch.autograd.grad(phi(p).sum(), p)
    torch.testing.assert_close(phi.slope(p), derivative)


def test_derivatives_of_every_order_in_all_it_is_made_of():
    p = 2 * normal(3, 4, 3).requires_grad_()
    gain, shift = (v.requires_grad_() for v in (curve().gain, curve().shift))
    arguments = (p, gain, shift)
    assert torch.autograd.gradcheck(lambda p, g, s: Curve(TANH, g, s)(p), arguments)
    assert torch.autograd.gradgradcheck(lambda p, g, s: Curve(TANH, g, s)(p), arguments)
    assert torch.autograd.gradcheck(lambda p, g, s: Curve(TANH, g, s).slope(p), arguments)


def test_close_to_tanh_it_is_tanh():
    phi, p = curve(), 2 * normal(3, 50, 3)
    torch.testing.assert_close(phi(p), Tanh(phi.gain, phi.shift)(p), rtol=0, atol=5e-5)


def test_rails_clip_what_it_sees():
    phi = dataclasses.replace(curve(), rail=0.8)
    p = torch.linspace(-2, 2, 101).double()[:, None].expand(-1, 3)
    assert torch.equal(phi(p), curve()(p.clamp(-0.8, 0.8)))
    assert torch.equal(phi.slope(p), torch.where(p.abs() < 0.8, curve().slope(p), 0))
    wide = dataclasses.replace(phi, rail=7.0)
    check_inside(phi, 100 * p)
    with pytest.raises(OutsideCurveError, match="at 7 V"):
        check_inside(wide, 100 * p[-1:])


def test_max_slope_of_every_neuron():
    phi = curve()
    assert torch.equal(phi.max_slope, phi.gain * TANH.max_slope)
    assert Curve(TANH).max_slope == pytest.approx(1, abs=2e-4)


@pytest.mark.parametrize("population", [False, True])
def test_some_samples_of_it(population):
    chips, batch, n = 3, 4, 5
    shape = torch.Size((chips, batch, n)) if population else torch.Size((batch, n))
    own = (chips, 1, n) if population else (n,)
    phi = Curve(TANH, 1 + 0.1 * normal(1, *own), 0.2 * normal(2, *own))
    p = normal(3, *shape)
    rows = torch.tensor([2, 0])
    some = select(phi, rows, rows // batch if population else None, shape)
    part = p.reshape(-1, n)[rows]
    found = some(part[:, None, :])[:, 0] if population else some(part)
    assert torch.equal(found, phi(p).reshape(-1, n)[rows])
    assert evaluator(some) is some


@pytest.mark.parametrize("population", [False, True])
def test_a_system_settles_with_it_and_gradients_of_two_orders_pass(population):
    chips, batch, n = 2, 3, 3
    weight = monotone(n, 2.0, 0)
    if population:
        weight = torch.stack([weight, monotone(n, 1.5, 1)])
    own = (chips, 1, n) if population else (n,)
    lead = (chips, batch) if population else (batch,)
    start = (weight, normal(1, *lead, n), 1 + 0.05 * normal(2, *own), 0.1 * normal(3, *own))
    layer = EquilibriumLayer(on_failure="raise")

    def z(weight, u, gain, shift):
        return layer(AffineSystem(weight, u, Curve(TANH, gain, shift)))

    def of_tanh(weight, u, gain, shift):
        return layer(AffineSystem(weight, u, Tanh(gain, shift)))

    torch.testing.assert_close(z(*start), of_tanh(*start), rtol=0, atol=3e-4)
    arguments = tuple(v.requires_grad_() for v in start)
    assert torch.autograd.gradcheck(z, arguments, atol=1e-6, rtol=1e-4)
    if not population:
        assert torch.autograd.gradgradcheck(z, arguments, atol=1e-5, rtol=1e-3)


def test_a_weight_that_is_not_certain_to_settle_has_a_resting_point_beyond_the_curve():
    """Held ends keep the resting point of an overdriven circuit finite, so that it can be found and then refused."""
    weight = torch.tensor([[3.0]], dtype=torch.float64)  # a latch
    short = Curve(MonotoneSpline([-1.0, -0.5, 0.5, 1.0], [-0.8, -0.45, 0.45, 0.8]), v_scale_volt=0.1)
    system = AffineSystem(weight, torch.tensor([[1.0]], dtype=torch.float64), short)
    assert certify(weight).margin < 0
    p = EquilibriumLayer(on_failure="raise").rest(system)
    assert float(p) == pytest.approx(3 * 0.8 + 1)
    with pytest.raises(OutsideCurveError, match=r"0\.34 V"):
        check_inside(short, p)


# at rest beyond the points


def test_the_farthest_neuron_is_named_with_its_voltage_and_the_range():
    phi = Curve(TANH, 1.0, torch.tensor([0.0, 0.0, 0.02]), v_scale_volt=0.1)
    p = torch.tensor([[[0.0, 1.0, 2.0]] * 2, [[6.0, 6.01, 0.0], [0.0, 3.0, -7.0]]])
    assert phi.outside(p).nonzero().tolist() == [[1, 0, 1], [1, 1, 2]]
    with pytest.raises(OutsideCurveError) as error:
        check_inside(phi, p)
    said = str(error.value)
    assert "neuron 2 of sample 1 of chip 1 rests at -0.7 V (its own offset is 0.002 V)" in said
    assert "measured from -0.6 V to 0.6 V; 2 of 12 states" in said
    with pytest.raises(ValueError, match=r"neuron 1 of sample 0 rests at 0\.601 V"):
        check_inside(phi, p[1, :1])


def test_offset_counts_and_other_activations_pass():
    p = torch.tensor([[5.99, -5.99]])
    check_inside(Curve(TANH), p)
    check_inside(Tanh(), 1e9 * p)
    with pytest.raises(OutsideCurveError, match="neuron 1"):
        check_inside(Curve(TANH, 1.0, torch.tensor([0.02, 0.02])), p)
