"""A crossbar without feedback: one chip, or a chip for every sample, and the gradients of both."""

import math

import pytest
import torch
from builders import NO_MISMATCH, drives, normal, spec_with
from golden.registry import EVERY_STATIC_EFFECT, READ_NOISE

from equilog.hardware import Chip, Conditions, only
from equilog.hardware.product.linear import AnalogLinear
from equilog.hardware.product.many_chips import DeviceLaw, ManyChips

FINE = {"dac.bits": 20, "adc.bits": 20}


def reads(seed: int = 1) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def layer(changes=None, inputs=5, outputs=4, **more) -> AnalogLinear:
    torch.manual_seed(0)
    return AnalogLinear(inputs, outputs, spec_with("rram", FINE | (changes or {})), **more).double()


def test_gradient_of_the_product_on_many_chips():
    law = DeviceLaw(1.0, 40.0, 0.05, None, ((1.0, 2.0, -0.5, 0.1), (0.3,)))
    white = normal(3, 3, 5)
    inputs = normal(1, 3, 4).requires_grad_(), normal(2, 5, 4).requires_grad_()
    assert torch.autograd.gradcheck(lambda d, w: ManyChips.apply(d, w, white, law), inputs)


def test_an_ideal_technology_multiplies():
    made = layer(NO_MISMATCH | {"adc.bits": 24, "dac.bits": 24}, bias=True)
    made.bias.data.fill_(0.3)
    x = drives(6, 5)
    exact = x @ made.weight.T + 0.3
    assert torch.allclose(made(x), exact, atol=1e-5)
    assert torch.allclose(made(x, Chip(made.spec, 1)), exact, atol=1e-5)


@pytest.mark.parametrize("read_noise", [None, {"sigma": READ_NOISE["sigma"]}, READ_NOISE], ids=["none", "white", "1/f"])
def test_many_chips_have_the_spread_of_real_ones(read_noise):
    made = layer({"crossbar.read_noise": read_noise, "crossbar.levels": 8}).requires_grad_(False)
    x = drives(1, 5)
    chips = torch.stack([made(x, Chip(made.spec, seed), Conditions(reads=reads(seed)))[0] for seed in range(3000)])
    many = made(x.expand(60_000, 5), conditions=Conditions(reads=reads()))
    # A conductance cannot fall below zero, which real chips show near G_min and a Gaussian does not.
    assert torch.allclose(many.std(0), chips.std(0), rtol=0.08)
    assert torch.allclose(many.mean(0), chips.mean(0), atol=0.15 * float(chips.std(0).max()))


UNIFORM = {"crossbar.programming_sigma": {"coefficients_siemens": [5e-7], "source": "test"}}


@pytest.mark.parametrize(
    "sigma", [{}, UNIFORM, UNIFORM | {"crossbar.levels": None}], ids=["state", "uniform", "analog"]
)
def test_the_quick_products_are_the_plain_one(sigma):
    """1/f noise of no size takes the way over the tape; without it the quick ways are taken."""
    nothing = {"flicker": {"coefficient": 0.0, "exponent": 0.5, "cap": 0.2, "read_second": 1e-6}}
    blocked, plain = layer(sigma), layer(sigma | {"crossbar.read_noise": nothing})
    x = drives(7, 5).requires_grad_()
    found = []
    for made in (blocked, plain):
        y = made(x, conditions=Conditions(reads=reads()))
        found.append((y, *torch.autograd.grad((y * normal(5, 7, 4)).sum(), [x, made.weight])))
    for a, b in zip(*found, strict=True):
        assert torch.allclose(a, b, rtol=1e-7, atol=1e-9)


def test_the_same_reads_give_the_same_answer_and_others_do_not():
    made, x = layer(), drives(3, 5)
    first, again, other = (made(x, conditions=Conditions(reads=reads(s))) for s in (1, 1, 2))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)


def test_a_chip_passes_every_effect():
    made = layer(EVERY_STATIC_EFFECT)
    plain = AnalogLinear(5, 4, only(made.spec)).double()
    plain.load_state_dict(made.state_dict())
    x = drives(3, 5)
    off = (made(x, Chip(made.spec, 2), Conditions(3600.0, 320.0)) - plain(x, Chip(plain.spec, 2))).abs().max()
    assert 1e-3 < float(off) < 1


@pytest.mark.parametrize(
    "wrong",
    [{"inputs": 0}, {"outputs": 0}, {"input_bound": 0.0}, {"output_bound": math.inf}],
    ids=lambda w: next(iter(w)),
)
def test_nonsense_is_refused(wrong):
    with pytest.raises(ValueError, match=next(iter(wrong))):
        layer(**wrong)
