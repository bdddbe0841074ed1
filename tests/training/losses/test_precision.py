"""Expected errors of rounding and clipping against what they do: a quantised twin beside one that is not."""

import pytest
import torch
from builders import drives, generator, matrices, spec_with
from losses_cases import FLAWLESS, Nominal, of_weights, rest
from torch.autograd import gradcheck

from equilog.hardware import Population, program
from equilog.training.losses import Precision

FINE = FLAWLESS | {
    "crossbar.e_series": None,
    "amplifier.rail_volt": None,
    "dac.bits": 24,
    "adc.bits": 24,
    "adc.full_scale_volt": 20.0,
}


def squared_error(preset, changes, both=None, cells=30, gain=1.0):
    """What the loss says over what the twin makes of it, means over random cells, and the standard error of that."""
    fine = FINE | (both or {})
    coarse, fine = spec_with(preset, fine | changes), spec_with(preset, fine)
    met, expected = [], []
    for seed in range(cells):
        weights, drive = matrices(8, 4, 3 * seed), gain * drives(16, 4, seed)
        state = rest(program(weights, Nominal(coarse, 0)), drive)
        exact = rest(program(weights, Nominal(fine, 0)), drive, drive)
        met.append((state.read - exact.z).square().mean())
        expected.append(torch.stack([Precision()(state, generator(k)) for k in range(4)]).mean())
    met, expected = torch.stack(met), torch.stack(expected)
    return float(expected.mean() / met.mean()), float((expected - met).std() / met.mean() / cells**0.5)


CAUSES = {
    "levels": ("rram", {"crossbar.levels": 32}),
    "levels with low gain": ("rram", {"crossbar.levels": 64}, {"amplifier.dc_gain": 30.0}),
    "levels behind wires": (
        "rram",
        {"crossbar.levels": 64},
        {"crossbar.wires": {"word_line_ohm": 50.0, "bit_line_ohm": 50.0}},
    ),
    "E24": ("board", {"crossbar.e_series": "E24"}),
    "E96": ("board", {"crossbar.e_series": "E96"}),
    "codes of DACs": ("rram", {"dac.bits": 5}),
    "codes of ADCs": ("rram", {"adc.bits": 6, "adc.full_scale_volt": 0.22}),
    "range of ADCs": ("rram", {"adc.full_scale_volt": 0.15}),
    "rails": ("rram", {"amplifier.rail_volt": 0.15}),
}


@pytest.mark.parametrize("cause", CAUSES)
def test_expected_error_is_the_mean_of_those_met(cause):
    ratio, error = squared_error(*CAUSES[cause])
    assert error < 0.1
    assert ratio == pytest.approx(1, abs=3 * error + 0.02)


def test_drives_beyond_the_range_of_the_dacs():
    """To first order: a little beyond."""
    ratio, error = squared_error("rram", {}, gain=1.1)
    assert ratio == pytest.approx(1, abs=3 * error + 0.1)


def test_all_at_once():
    changes = {"crossbar.levels": 32, "dac.bits": 6, "adc.bits": 6, "adc.full_scale_volt": 0.17}
    ratio, error = squared_error("rram", changes, gain=1.05)
    assert ratio == pytest.approx(1, abs=3 * error + 0.05)


def test_a_drive_that_clips_is_pulled_back():
    """The twin's own gradient is zero there."""
    drive = torch.tensor([[1.3, 0.2, -0.4], [-1.2, 0.1, 0.3]], dtype=torch.float64, requires_grad=True)
    state = rest(program(matrices(5, 3), Nominal(spec_with("rram", FINE), 0)), drive)
    torch.stack([Precision()(state, generator(k)) for k in range(50)]).mean().backward()
    assert drive.grad[0, 0] > 0 > drive.grad[1, 0]
    assert drive.grad.abs().argmax(1).tolist() == [0, 0]


def test_the_largest_weight_is_pulled_in():
    """It sets R_f, and with it the step of all others, even where its own drive is still."""
    w, u, b = (t.clone().requires_grad_() for t in matrices(5, 3))
    with torch.no_grad():
        u[2, 1] = -9.0
    drive = drives(16, 3) * torch.tensor([1.0, 0.0, 1.0], dtype=torch.float64)
    state = rest(program((w, u, b), Nominal(spec_with("rram", FINE | {"crossbar.levels": 1024}), 0)), drive)
    loss = Precision()(state, generator(0))
    (gradient,) = torch.autograd.grad(loss, u)
    assert float(gradient[2, 1]) == pytest.approx(2 * float(loss.detach()) / -9.0, rel=0.02)


def test_exact_weights_of_zero_need_no_level():
    w, u, b = (0 * t for t in matrices(4, 2))
    u[0, 0] = 1.0
    state = rest(program((w, u, b), Nominal(spec_with("rram", FINE | {"crossbar.levels": 8}), 0)), drives(4, 2))
    assert Precision()(state) < 0.3 * 1 / 7**2 / 12 / 4


@pytest.mark.parametrize(
    "judged",
    [
        {"crossbar.levels": 16, "dac.bits": 5, "adc.bits": 5, "adc.full_scale_volt": 0.1},
        {"amplifier.rail_volt": 0.06, "dac.bits": 5, "crossbar.levels": 16},
    ],
    ids=["converters", "rails"],
)
def test_gradient(judged):
    programmed = {key: value for key, value in judged.items() if key == "amplifier.rail_volt"}
    state, tensors = of_weights(spec_with("rram", FINE | programmed), spec_with("rram", FINE | judged), gain=1.3)
    assert gradcheck(lambda *t: 10 * Precision()(state(*t), generator(2)), tensors)


def test_gradient_through_a_series_of_resistors():
    series = spec_with("board", FINE | {"crossbar.e_series": "E24"})
    # Asked for exactly: the rounding itself, through which gradients pass straight, would not agree with differences.
    state, tensors = of_weights(spec_with("board", FINE), series)

    def loss(*t):
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr("equilog.training.losses.devices.ESeriesRounding.present", lambda *_: False)
            return 1e4 * Precision()(state(*t), generator(2))

    assert gradcheck(loss, tensors)


def test_a_population_is_refused():
    state = rest(program(matrices(3, 2), Population(spec_with("rram"), (1, 2))), drives(2, 2))
    with pytest.raises(ValueError, match=r"population of 2 chips: expected the state of a single one"):
        Precision()(state)
