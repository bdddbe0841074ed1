"""A chip is found from its readings: it predicts what was not fitted, through converters, after other weights too."""

import copy
import math

import pytest
import torch
from adapt_cases import MISMATCHED, Blind, chip, model
from builders import NO_MISMATCH, spec_with
from hypothesis import given, settings
from hypothesis import strategies as st

from equilog.cells import Curve, MonotoneSpline, Tanh
from equilog.devices import Calibration, TwinDevice
from equilog.hardware import Chip, Conditions, load_spec, program
from equilog.names import UserError
from equilog.training.adapt import IdentifiedChip, excitation, identify, preactivation, typical_chip


def drives(count, seed=0, channels=4):
    return excitation(channels, count, torch.Generator().manual_seed(seed))


def found(device, cell, count, spec=MISMATCHED, **options):
    device.program(cell)
    return identify(device, cell, spec, drives(count), check=drives(50, 9), **options)


def code(spec):
    """One code of the ADC, in units of the state; readings are within half of it."""
    return float(spec.adc.full_scale_volt / spec.activation.v_out_volt) / (2 ** (int(spec.adc.bits) - 1) - 1)


@pytest.mark.parametrize("machine", [Blind, TwinDevice])
@pytest.mark.parametrize("seed", [1, 2, 3])
def test_predicts_drives_that_it_was_not_fitted_to(machine, seed):
    result = found(machine(chip(seed)), model().cell, 120)
    assert result.settles == 120
    assert result.rms_before > 10 * result.rms_after
    assert result.rms_after < 0.6 * code(MISMATCHED)  # rounding alone leaves 0.29 of a code


def test_few_settles_help_and_more_help_more():
    few, many = (found(Blind(chip()), model().cell, count) for count in (24, 240))
    assert many.rms_after < few.rms_after < few.rms_before / 3


def test_fewer_settles_than_unknowns_fall_back_on_the_prior():
    result = found(Blind(chip()), model().cell, 2)
    assert result.rms_after < 1.2 * result.rms_before
    for deviate in result.chip.deviates.values():
        assert deviate.abs().max() < 4


def distances(device, cell, estimate):
    """Of weights and gains from the device's own, as shares of the typical chip's distance."""
    matrices = tuple(m.detach().double() for m in cell.matrices())
    ours, typical = program(matrices, estimate), program(matrices, typical_chip(MISMATCHED))

    def share(part):
        return float((part(ours) - part(device.layer)).norm() / (part(typical) - part(device.layer)).norm())

    # Without the bias column: offsets of the amplifiers do the same as errors of it.
    return share(lambda layer: layer.effective[:, :-1]), share(lambda layer: layer.act_gain)


@pytest.mark.parametrize("seed", [1, 3])
def test_the_errors_found_are_the_chips_own_and_settle_by_settle_more_so(seed):
    cell = model().cell
    for machine, limits in ((TwinDevice, (0.02, 0.1)), (Blind, (0.5, 0.8))):
        device = machine(chip(seed))
        some, many = (distances(device, cell, found(device, cell, count).chip) for count in (120, 2400))
        assert all(share < limit for share, limit in zip(many, limits))
        assert many < some  # weights: a bias of the regressors would not shrink


def test_errors_follow_other_weights():
    cell = model().cell
    device = Blind(chip(2))
    result = found(device, cell, 200)
    other = copy.deepcopy(cell)
    with torch.no_grad():
        for parameter in other.parameters():
            parameter.add_(0.3 * parameter.abs().mean() * torch.randn_like(parameter))
    device.program(other)
    again = {"identified": result.chip, "typical": typical_chip(MISMATCHED)}
    errors = {}
    for name, each in again.items():
        twin = TwinDevice(each, stability="none")
        twin.program(other)
        errors[name] = float((twin.settle(drives(50, 9)).z - device.settle(drives(50, 9)).read).square().mean().sqrt())
    assert errors["identified"] < 0.3 * errors["typical"]


def test_a_calibration_in_force_changes_nothing():
    cell = model().cell
    plainly, corrected = Blind(chip()), Blind(chip())
    corrected.calibration = Calibration(torch.full((8,), 1.2), torch.full((8,), -0.1), torch.zeros(8))
    a, b = found(plainly, cell, 60), found(corrected, cell, 60)
    assert b.rms_after == pytest.approx(a.rms_after, rel=1e-3)


def test_effects_unknown_to_the_technology_are_taken_up_by_those_it_has():
    real = MISMATCHED.changed(crossbar={"wires": {"word_line_ohm": 20.0, "bit_line_ohm": 20.0}}, adc={"inl_lsb": 0.5})
    device = Blind(Chip(real, 4), conditions=Conditions(temperature_kelvin=330.0))
    result = found(device, model().cell, 240)
    assert result.rms_after < 0.1 * result.rms_before
    assert result.rms_after < 1.2 * code(MISMATCHED)


def test_devices_that_would_fall_below_zero_are_found_as_well():
    wide = spec_with("rram", {"amplifier.rail_volt": None, "crossbar.levels": None})
    sigma = [3 * c for c in wide.crossbar.programming_sigma.coefficients_siemens]
    wide = wide.changed(crossbar={"programming_sigma": {"coefficients_siemens": sigma, "source": "tripled"}})
    for seed in (1, 2):
        assert found(Blind(Chip(wide, seed)), model().cell, 240, wide).rms_after < 0.7 * code(wide)


def test_an_old_chip_is_identified_at_its_age():
    pcm = load_spec("pcm")
    day = Conditions(age_second=86400.0)
    result = found(Blind(Chip(pcm, 3), conditions=day), model().cell, 200, pcm, conditions=day)
    assert result.rms_after < 0.3 * result.rms_before


def test_a_technology_without_errors_has_none_to_find():
    with pytest.raises(UserError, match="programming_sigma"):
        found(Blind(chip()), model().cell, 20, spec_with("rram", NO_MISMATCH | {"crossbar.relaxation": None}))


def test_without_a_check_nothing_is_claimed():
    device, cell = Blind(chip()), model().cell
    device.program(cell)
    result = identify(device, cell, MISMATCHED, drives(30))
    assert math.isnan(result.rms_before)
    assert math.isnan(result.rms_after)


def test_an_estimate_for_another_cell_is_refused():
    result = found(Blind(chip()), model().cell, 30)
    with pytest.raises(ValueError, match="identify the chip again"):
        model(states=5).program(result.chip)


def test_the_typical_chip_deviates_in_nothing():
    layer = model().program(typical_chip(load_spec("pcm")))
    assert layer.amp_offset_volt.abs().max() == 0
    assert (layer.act_gain == 1).all()
    assert isinstance(typical_chip(MISMATCHED), IdentifiedChip)


SPLINE = MonotoneSpline([-2.0, -1.0, 0.0, 1.0, 2.0], [-1.0, -0.8, 0.0, 0.8, 1.0])


@settings(max_examples=60)
@given(
    st.sampled_from(["tanh", "curve", "railed"]),
    st.floats(0.8, 1.2),
    st.floats(-0.3, 0.3),
    st.lists(st.floats(-3, 3), min_size=1, max_size=5),
)
def test_preactivations_are_recovered_or_held_where_they_saturate(kind, gain, shift, values):
    g, s = torch.tensor([gain], dtype=torch.float64), torch.tensor([shift], dtype=torch.float64)
    phi = Curve(SPLINE, g, s) if kind == "curve" else Tanh(g, s, 2.0 if kind == "railed" else math.inf)
    p = torch.tensor(values, dtype=torch.float64)[:, None]
    back = preactivation(phi, phi(p))
    steep = phi.slope(p) > 0.01
    torch.testing.assert_close(back[steep], p[steep], rtol=0, atol=1e-5)
    torch.testing.assert_close(phi(back), phi(p), rtol=0, atol=5e-3)
    assert back.isfinite().all()
    far = preactivation(phi, torch.tensor([[-9.0], [9.0]], dtype=torch.float64))
    assert far.abs().max() < 20
