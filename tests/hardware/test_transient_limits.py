"""Slew and rails: the trajectory against SciPy, its events at any instant, rest at the clipped solution."""

import math
from itertools import pairwise

import pytest
import torch
from builders import NO_MISMATCH, spec_with
from transient_cases import BOTH, RAIL, SLEW, UNLIMITED, away, error, make, references, rest_volt

from equilog.hardware import Chip, program
from equilog.hardware.transient import Transient

LARGE = {"dac.full_scale_volt": 0.4}


@pytest.mark.parametrize(
    ("changes", "slews", "rails"),
    [
        (LARGE | {SLEW: 1e6, RAIL: None}, True, False),
        (LARGE | {SLEW: 2e5, RAIL: None}, True, False),
        (LARGE | {RAIL: 0.1, SLEW: None}, False, True),
        (LARGE | {RAIL: 0.03, SLEW: None, "amplifier.gbw_hertz": 1e7}, False, True),
        (BOTH, True, True),
        (BOTH | {"amplifier.gbw_hertz": 1e9, SLEW: 2e6}, True, True),
        (BOTH | {"amplifier.gbw_hertz": 1e7}, True, True),
        (BOTH | {"amplifier.dc_gain": 100.0, SLEW: 1e6, "amplifier.offset_sigma_volt": 0.02}, True, True),
    ],
    ids=["slew", "only slew", "rails", "rails, slow", "both", "both, fast", "both, slow", "both, low gain, offsets"],
)
def test_against_an_adaptive_integrator(changes, slews, rails):
    layer, played = make(spec_with("rram", changes), n=6, norm=4.0)
    moving = Transient(layer, played)
    # Between steps too: an output meets its rail with a kink, at no instant of a grid.
    time = torch.linspace(0, 6 * layer.time_constant_second, 1500, dtype=torch.float64)
    assert error(moving, layer, played, time, 1e-9) < 1.5e-5
    assert bool(moving.statistics.slewed.any()) is slews
    assert bool(moving.statistics.at_rail.any()) is rails


def test_error_falls_with_the_tolerance():
    layer, played = make(spec_with("rram", BOTH), n=4, norm=4.0)
    time = torch.linspace(0, 3 * layer.time_constant_second, 400, dtype=torch.float64)
    expected, errors = references(layer, played, time), []
    for tolerance in (1e-3, 1e-4, 1e-5, 1e-6):
        errors.append(away(Transient(layer, played, tolerance=tolerance), expected, time))
        assert errors[-1] < tolerance
    for loose, tight in pairwise(errors):
        assert tight < loose / 2


def test_limits_out_of_reach_change_nothing():
    played = make()[1]
    runs = []
    for changes in (UNLIMITED, {SLEW: 1e12, RAIL: 1e3}, {SLEW: 1e12, RAIL: None}, {SLEW: None, RAIL: 1e3}):
        layer, _ = make(spec_with("rram", changes))
        runs.append(Transient(layer, played).run(5 * layer.time_constant_second).v_volt)
    for run in runs[1:]:
        assert torch.equal(run, runs[0])


def test_outputs_never_pass_their_rails_nor_their_slew_rate():
    layer, played = make(spec_with("rram", BOTH), n=8, norm=4.0, batch=6)
    moving = Transient(layer, played)
    ours = moving.at(torch.linspace(0, 8 * layer.time_constant_second, 3000, dtype=torch.float64))
    assert ours.v_volt.abs().max() == BOTH[RAIL]
    # The finite gain adds its droop, v ω_t/A₀.
    droop = BOTH[RAIL] * 2 * math.pi * float(layer.gbw_hertz[0] / layer.dc_gain[0])
    assert ours.slope_volt_per_second.abs().max() <= (BOTH[SLEW] + droop) * (1 + 1e-3)
    travelled = (ours.v_volt.diff(dim=0).abs() / ours.time_second.diff()[:, None, None]).max()
    assert travelled <= (BOTH[SLEW] + droop) * (1 + 1e-6)
    assert travelled > 0.9 * BOTH[SLEW]


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
def test_ends_at_the_clipped_resting_point(dtype):
    layer, played = make(spec_with("rram", BOTH), n=6, norm=3.0, batch=6)
    moving, rest = Transient(layer, played, dtype=dtype), rest_volt(layer, played)
    end = moving.at(torch.tensor([25 / -float(moving.spectral_abscissa(rest).max())])).v_volt[-1]
    at_rail = rest.abs() == BOTH[RAIL]
    assert at_rail.any()
    assert (~at_rail).any()
    if dtype == torch.float64:
        assert torch.equal(end[at_rail], rest[at_rail])
    assert (end - rest).abs().max() / moving.v_a < (1e-9 if dtype == torch.float64 else 1e-5)


def test_a_railed_output_stays_and_is_stable():
    layer, played = make(spec_with("rram", BOTH), n=6, norm=3.0, batch=6)
    moving, v = Transient(layer, played), rest_volt(layer, played)
    k, i = (v.abs() == BOTH[RAIL]).nonzero()[0].tolist()
    matrix = moving.linearised(v)
    row = matrix[k, 2 * i + 1]
    omega = 2 * math.pi * float(layer.gbw_hertz[i]) * (1 + 1 / float(layer.dc_gain[i]))
    expected = torch.zeros_like(row)
    expected[2 * i + 1] = -omega
    torch.testing.assert_close(row, expected)
    assert (matrix[k, :, 2 * i + 1][torch.arange(12) % 2 == 0] != 0).sum() == 1  # its own y: its activation is clipped
    assert (moving.spectral_abscissa(v) < 0).all()


def test_the_way_back_from_a_rail_begins_at_once():
    """Anti-windup: two neurons chase each other round; the one that comes back from its rail has not wound up."""
    spec = spec_with("rram", NO_MISMATCH | {RAIL: 0.05, SLEW: None})
    w = torch.tensor([[2.0, -4.0], [4.0, 2.0]], dtype=torch.float64)
    u = torch.tensor([[1.0], [0.0]], dtype=torch.float64)
    layer = program((w, u, 0 * u[:, 0]), Chip(spec, 0))
    played = torch.ones(1, 1, dtype=torch.float64)
    moving = Transient(layer, played)
    time = torch.linspace(0, 6 * layer.time_constant_second, 1500, dtype=torch.float64)
    assert error(moving, layer, played, time) < 5e-5  # the phase of an oscillation is never corrected
    v = moving.at(time).v_volt[:, 0]
    leaves = ((v[:-1].abs() == 0.05) & (v[1:].abs() < 0.05)).sum()
    assert leaves >= 5


def test_what_slewed_and_what_met_its_rail_is_said_of_every_sample():
    layer, played = make(spec_with("rram", NO_MISMATCH | BOTH), n=4, batch=3, norm=2.0)
    layer.transfer_siemens[:, -1] = 0.0  # no bias
    played[1] = 1e-3
    played[2] = 1.0
    moving = Transient(layer, played)
    assert (moving.statistics.steps == 0).all()
    moving.run(8 * layer.time_constant_second)
    assert moving.statistics.slewed.tolist() == [True, False, True]
    assert moving.statistics.at_rail.tolist()[1:] == [False, True]
    assert moving.statistics.steps[1] < moving.statistics.steps[2]
    assert moving.statistics.rejected[1] < moving.statistics.rejected[2]


def test_a_slew_rate_that_cannot_hold_the_output_is_refused():
    layer, played = make(spec_with("rram", {"amplifier.dc_gain": 50.0, SLEW: 1e5}))
    with pytest.raises(ValueError, match=r"slew_volt_per_second = 100000: .* expected at least 1\.13e\+07"):
        Transient(layer, played)
