"""What a certificate says of rounded and mismatched weights, against random chips and the worst one."""

import math

import pytest
import torch
from builders import generator, normal
from torch import Tensor

from equilog.cells import MonotoneConv2d, MonotoneWeight, Verdict, certify

ERRORS = [
    {"rounding": 0.1},
    {"mismatch": 0.05},
    {"mismatch": 0.02, "relative": False},
    {"rounding": 0.05, "mismatch": 0.05},
    {"rounding": 0.02, "mismatch": 0.02, "relative": False},
]


def chips(weight: Tensor, draws: int, rounding=0.0, mismatch=0.0, relative=True, devices=None) -> Tensor:
    """Errors δ of manufactured weights, ``(draws, n, n)``; `devices` marks the entries that exist."""
    shape = (draws, *weight.shape)
    error = rounding * (torch.rand(shape, dtype=torch.float64, generator=generator(1)) - 0.5)
    scale = (weight + error).abs() if relative else torch.ones_like(weight)
    error = error + mismatch * scale * torch.randn(shape, dtype=torch.float64, generator=generator(2))
    return error if devices is None else error * devices


def obeyed(weight: Tensor, errors: Tensor, verdict: Verdict) -> Tensor:
    real = weight + errors
    n = len(weight)
    margin = torch.linalg.eigvalsh(torch.eye(n) - (real + real.mT) / 2)[:, 0]
    diagonal = real.diagonal(dim1=1, dim2=2)
    row_margin = 1 - (real.abs().sum(2) - diagonal.abs() + diagonal.clamp(min=0)).amax(1)
    size = torch.linalg.matrix_norm(errors, 2)
    return (margin >= verdict.margin) & (row_margin >= verdict.row_margin) & (size <= verdict.weight_error)


def sample_weight(n: int) -> Tensor:
    torch.manual_seed(n)
    return MonotoneWeight(n, 0.5, dtype=torch.float64)().detach()


@pytest.mark.parametrize("errors", ERRORS)
@pytest.mark.parametrize(("n", "draws"), [(1, 5000), (3, 5000), (10, 4000), (40, 400)])
def test_chips_obey_the_bounds_with_the_stated_confidence_and_use_half_of_them(n, draws, errors):
    weight, confidence = sample_weight(n), 0.99
    found = certify(weight)
    verdict = found.after(**errors, confidence=confidence)
    delta = chips(weight, draws, **errors)
    assert float(obeyed(weight, delta, verdict).double().mean()) >= confidence
    if n > 1:  # tightness, against the norms that the verdict allows for
        loss = torch.linalg.eigvalsh((delta + delta.mT) / 2)[:, -1].quantile(confidence)
        assert float(loss) >= (found.margin - verdict.margin) / 2.1
        assert float(torch.linalg.matrix_norm(delta, 2).quantile(confidence)) >= verdict.weight_error / 2.3


@pytest.mark.parametrize("weight", [sample_weight(7), 3 * torch.eye(5).double(), torch.ones(4, 1) * torch.eye(4)[1]])
@pytest.mark.parametrize("relative", [True, False])
def test_bounds_are_those_of_the_formulas_entry_by_entry(weight, relative):
    n, q, sigma, confidence = len(weight), 0.1, 0.2, 0.97
    alpha = (1 - confidence) / 3
    found = certify(weight)
    verdict = found.after(rounding=q, mismatch=sigma, relative=relative, confidence=confidence)
    s2 = (sigma * ((weight.abs() + q / 2) if relative else torch.ones(n, n))) ** 2

    def reach(rho: float) -> float:
        return float((s2 + rho * q**2).max()) ** 0.5

    def least(v: float, d: int, width: float) -> float:
        mean = min((2 * v * math.log(d)) ** 0.5, reach(math.pi / 32) * width)
        return min(mean + reach(0.5 / math.pi) * (2 * math.log(1 / alpha)) ** 0.5, (2 * v * math.log(d / alpha)) ** 0.5)

    variance = s2 + q**2 / 12
    symmetric = (variance + variance.T) / 4
    symmetric.fill_diagonal_(0.0)
    loss = least(float((symmetric + torch.diag(variance.diagonal())).sum(1).max()), n, (2 * n) ** 0.5)
    size = least(float(torch.cat([variance.sum(0), variance.sum(1)]).max()), 2 * n, 2 * n**0.5)
    spread = (2 * math.log(n / alpha) * (s2 + 0.5 * q**2 / math.pi).sum(1)).sqrt()
    rows = float(((q / 4 + (2 / math.pi) ** 0.5 * s2.sqrt()).sum(1) + spread).max())
    assert found.margin - verdict.margin == pytest.approx(loss, rel=1e-6)
    assert found.row_margin - verdict.row_margin == pytest.approx(rows, rel=1e-6)
    assert verdict.weight_error == pytest.approx(size, rel=1e-6)


def test_confidence_is_what_it_says_when_low():
    """At 50 % a bound that forgot a term would be broken by most chips."""
    weight = sample_weight(12)
    for errors in ERRORS:
        verdict = certify(weight).after(**errors, confidence=0.5)
        assert float(obeyed(weight, chips(weight, 2000, **errors), verdict).double().mean()) >= 0.5


@pytest.mark.parametrize("levels", [0.3, 0.1, 0.01])
def test_weights_rounded_to_a_real_grid(levels):
    for seed in range(60):
        torch.manual_seed(seed)
        weight = MonotoneWeight(8, 0.5, dtype=torch.float64)().detach()
        verdict = certify(weight).after(rounding=levels)
        rounded = certify((weight / levels).round() * levels)
        assert rounded.margin >= verdict.margin
        assert rounded.row_margin >= verdict.row_margin


@pytest.mark.parametrize("n", [1, 2, 9, 30])
def test_worst_rounding_is_exactly_that_of_equal_errors(n):
    found = certify(torch.zeros(n, n))
    worst = certify(torch.full((n, n), 0.05, dtype=torch.float64))
    verdict = found.after(rounding=0.1)
    assert verdict.worst_margin == pytest.approx(worst.margin)
    assert verdict.worst_margin <= verdict.margin


def test_worst_rounding_of_any_sign_with_mismatch_on_top():
    weight = sample_weight(10)
    verdict = certify(weight).after(rounding=0.02, mismatch=0.03, confidence=0.99)
    signs = torch.sign(normal(5, 10))
    bad = weight + 0.01 * torch.outer(signs, signs)
    real = bad + 0.03 * bad.abs() * torch.randn(5000, 10, 10, dtype=torch.float64, generator=generator(3))
    margin = torch.linalg.eigvalsh(torch.eye(10) - (real + real.mT) / 2)[:, 0]
    assert float((margin >= verdict.worst_margin).double().mean()) >= 0.99


def test_equilibria_move_no_more_than_the_verdict_says():
    weight = sample_weight(10)
    errors = {"rounding": 0.02, "mismatch": 0.02}
    verdict = certify(weight).after(**errors, confidence=0.99)
    real = weight + chips(weight, 200, **errors)
    u = normal(7, 10)

    def rest(weights: Tensor) -> Tensor:
        p = torch.zeros(len(weights), 10, 1, dtype=torch.float64)
        for _ in range(500):
            p = p + 0.5 * (weights @ torch.tanh(p) + u[:, None] - p)
        return torch.tanh(p[..., 0])

    ideal = rest(weight[None])
    moved = (rest(real) - ideal).norm(dim=1) / ideal.norm()
    assert (moved <= verdict.displacement).all()
    assert float(moved.max()) > 0.02 * verdict.displacement


@pytest.mark.parametrize("padding", ["zeros", "circular"])
def test_convolutions_count_the_devices_of_the_unrolled_crossbar(padding):
    torch.manual_seed(0)
    module = MonotoneConv2d(2, 3, 0.5, padding=padding, dtype=torch.float64)
    weight = module.matrix(7, 6).detach()
    devices = weight != 0
    assert 0.2 < float(devices.double().mean()) < 0.7
    found = module.certificate(7, 6)
    for errors in ERRORS:
        verdict = found.after(**errors, confidence=0.9)
        delta = chips(weight, 40, **errors, devices=devices)
        assert float(obeyed(weight, delta, verdict).double().mean()) >= 0.9
        loss = torch.linalg.eigvalsh((delta + delta.mT) / 2)[:, -1].quantile(0.9)
        assert float(loss) >= (found.margin - verdict.margin) / 2.3
        assert verdict.margin >= certify(weight).after(**errors, confidence=0.9).margin  # fewer devices, fewer errors
    signs = devices.double() * 0.05  # the worst rounding of devices that exist
    assert found.after(rounding=0.1).worst_margin <= certify(weight + signs).margin


def test_without_errors_nothing_is_lost():
    found = certify(sample_weight(5))
    verdict = found.after()
    assert (verdict.margin, verdict.row_margin, verdict.worst_margin) == (found.margin, found.row_margin, found.margin)
    assert verdict.weight_error == verdict.displacement == 0


def test_a_verdict_reads_well():
    found = certify(sample_weight(5))
    good, bad = found.after(rounding=0.01), found.after(mismatch=3.0)
    assert good.holds
    assert str(good).startswith("holds with confidence 0.999: margin ≥ ")
    assert not bad.holds
    assert bad.displacement == math.inf
    assert str(bad).startswith("does NOT hold")


@pytest.mark.parametrize("name", ["rounding", "mismatch"])
@pytest.mark.parametrize("value", [-0.1, math.inf, math.nan])
def test_bad_errors_are_named(name, value):
    with pytest.raises(ValueError, match=f"{name} = {value}: expected a number ≥ 0"):
        certify(torch.zeros(2, 2)).after(**{name: value})


@pytest.mark.parametrize("confidence", [0.0, 1.0, 2.0, math.nan])
def test_bad_confidence_is_named(confidence):
    with pytest.raises(ValueError, match=rf"confidence = {confidence}: expected a number in \(0, 1\)"):
        certify(torch.zeros(2, 2)).after(confidence=confidence)
