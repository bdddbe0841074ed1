"""A chip is its seed: the same in every process and in any order, another for another seed."""

import os
import subprocess
import sys

import pytest
import torch
from builders import layer_of, matrices
from hypothesis import given
from hypothesis import strategies as st

from equilog.hardware import Chip, load_spec, program

RRAM = load_spec("rram")
NAMES = ["crossbar.programming", "amplifier.offset", "activation.gain", "activation.offset"]


def draw(seed, name="amplifier.offset", *shape):
    return Chip(RRAM, seed).standard_normal(name, *(shape or (500,)))


@given(st.integers(0, 2**63), st.text(min_size=1), st.integers(1, 50))
def test_same_seed_and_name_same_numbers(seed, name, n):
    assert torch.equal(draw(seed, name, n), draw(seed, name, n))


def test_other_processes_draw_the_same():
    code = (
        "from equilog.hardware import Chip, load_spec;"
        "print([x.hex() for x in Chip(load_spec('rram'), 11).standard_normal('activation.gain', 4).tolist()])"
    )
    said = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        check=True,
        env=os.environ | {"PYTHONHASHSEED": "123"},
    ).stdout
    assert said.strip() == str([x.hex() for x in draw(11, "activation.gain", 4).tolist()])


def test_numbers_of_a_known_chip():
    """Chips already deployed must not change under a new release."""
    expected = [0.5252, -1.4491, 0.1882]
    found = draw(1, "amplifier.offset", 3)
    torch.testing.assert_close(found, torch.tensor(expected, dtype=torch.float64), atol=1e-4, rtol=0)


def test_order_of_calls_does_not_matter():
    chip = Chip(RRAM, 5)
    forward = {name: chip.standard_normal(name, 7) for name in NAMES}
    backward = {name: Chip(RRAM, 5).standard_normal(name, 7) for name in reversed(NAMES)}
    assert all(torch.equal(forward[name], backward[name]) for name in NAMES)


def test_global_generators_are_neither_used_nor_moved():
    before = torch.get_rng_state()
    one = draw(3)
    torch.manual_seed(99)
    assert torch.equal(one, draw(3))
    torch.set_rng_state(before)
    draw(4)
    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.parametrize("pair", [(0, 1), (1, 2), (7, 2**32 + 7), (7, 2**40)])
def test_neighbouring_seeds_are_other_chips(pair):
    a, b = (draw(seed, "x", 4000) for seed in pair)
    assert abs(float(torch.corrcoef(torch.stack([a, b]))[0, 1])) < 5 / 4000**0.5


def test_names_are_independent_of_each_other():
    draws = torch.stack([draw(1, name, 4000) for name in NAMES])
    correlation = torch.corrcoef(draws) - torch.eye(len(NAMES), dtype=torch.float64)
    assert correlation.abs().max() < 5 / 4000**0.5


def test_deviates_are_standard_normal():
    x = draw(2, "x", 20000)
    assert abs(float(x.mean())) < 5 / 20000**0.5
    assert float(x.std()) == pytest.approx(1, abs=5 / (2 * 20000) ** 0.5)
    assert float((x.abs() > 1.959964).double().mean()) == pytest.approx(0.05, abs=0.008)


def test_programmed_layers_repeat_bit_for_bit():
    one, two, other = (layer_of(RRAM, 4, 2, seed) for seed in (3, 3, 4))
    assert torch.equal(one.g_plus_siemens, two.g_plus_siemens)
    assert torch.equal(one.act_offset_volt, two.act_offset_volt)
    assert not torch.equal(one.act_offset_volt, other.act_offset_volt)


def test_other_weights_meet_the_same_devices():

    a, b = (program(matrices(4, 2, seed), Chip(RRAM, 9)) for seed in (0, 50))
    assert torch.equal(a.amp_offset_volt, b.amp_offset_volt)
    assert torch.equal(a.act_gain, b.act_gain)
    assert a.seed == b.seed == 9
