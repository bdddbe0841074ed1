"""Rest is an answer only where the circuit would stay."""

import pytest
import torch
from builders import drives, layer_of, spec_with
from golden.registry import MEASURED

from equilog.cells import Tanh
from equilog.cells.curve import OutsideCurveError
from equilog.devices import TwinDevice
from equilog.hardware import Chip
from equilog.hardware.rest import STEEPEST, at_rest
from equilog.hardware.transient import Transient, UnstableChipError
from equilog.hardware.twin import static_system

# An amplifier a hundred times slower than the integrator, and a strong skew part: the map settles, the circuit rings.
SLUGGISH = {"amplifier.gbw_hertz": 2e6}


def test_a_chip_that_oscillates_is_refused_by_name():
    layer, played = layer_of(spec_with("rram", SLUGGISH), 8, 3, seed=2, norm=8.0), 0.05 * drives(5, 3)
    with pytest.raises(UnstableChipError, match=r"chip 2 of rram does not stay at rest.*pole at \+"):
        at_rest(layer, played)
    rest = at_rest(layer, played, stability="none")  # whoever asks for it can look at the point itself
    assert rest.margin == float("inf")
    # It is no false alarm: pushed a little off the point, the circuit leaves it.
    moving = Transient(layer, played)
    assert float(moving.spectral_abscissa(rest.p * moving.v_a).max()) > 0


def test_a_quiet_chip_rests_where_the_equations_say():
    layer, played = layer_of(spec_with("rram"), 6, 3), drives(30, 3)
    rest = at_rest(layer, played)
    assert torch.allclose(static_system(layer, played)(rest.p), rest.p, atol=1e-9)
    assert len(rest.watched) == STEEPEST
    assert rest.margin > 0
    everyone = at_rest(layer, played, stability="all")
    assert len(everyone.watched) == 30
    assert everyone.margin <= rest.margin
    assert everyone.margin > 0.9 * rest.margin  # the steepest are the ones to watch


def test_rails_are_reported():
    layer, played = layer_of(spec_with("rram", {"amplifier.rail_volt": 0.12}), 6, 3, norm=3.0), drives(8, 3)
    rest = at_rest(layer, played)
    assert bool(rest.railed.any())
    assert float(rest.p.abs().max()) == pytest.approx(1.2)


def test_a_resting_point_beyond_the_measured_curve_is_refused():
    short = MEASURED | {key: MEASURED[key][8:17] for key in ("input_volt", "output_volt")}
    layer = layer_of(spec_with("rram", {"activation.curve": short}), 6, 3, norm=3.0)
    with pytest.raises(OutsideCurveError, match="measured"):
        at_rest(layer, drives(8, 3))


def test_a_device_on_an_unstable_chip_answers_nothing():
    from builders import matrices

    class Wild:
        activation = Tanh()

        def matrices(self):
            return matrices(8, 3, 2, 8.0)

    device = TwinDevice(Chip(spec_with("rram", SLUGGISH), 2))
    device.program(Wild())
    with pytest.raises(UnstableChipError):
        device.settle(0.05 * drives(5, 3))


def test_an_unknown_choice_is_refused():
    with pytest.raises(ValueError, match="steepest, all, none"):
        at_rest(layer_of(spec_with("rram"), 2, 1), drives(1, 1), stability="some")
