"""ngspice, given the netlist, settles where and how the twin says: at rest to 1e-6, on the way to 1e-4."""

import math

import pytest
from builders import layer_of, spec_with
from golden.registry import CASES, Case

from equilog.circuit import Ngspice, rest, settle, write_circuit
from equilog.equilibrium import EquilibriumLayer
from equilog.hardware.transient import Transient
from equilog.hardware.twin import static_system

every_case = pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)


@every_case
@pytest.mark.ngspice
def test_at_rest(case: Case, simulator: Ngspice, tmp_path):
    layer, played = case.layer(), case.played()
    write_circuit(layer, tmp_path, rest=played)
    v, s = rest(simulator, tmp_path, layer.states, len(played))
    problem = static_system(layer, played)
    v_a, v_s = layer.spec.activation.v_scale_volt, layer.spec.activation.v_out_volt
    rail = (layer.spec.amplifier.rail_volt or math.inf) / v_a
    p = EquilibriumLayer(on_failure="raise").rest(problem).clamp(-rail, rail)
    assert (v / v_a - p).abs().max() <= case.at_rest
    assert (s / v_s - problem.activation(p)).abs().max() <= case.at_rest
    assert p.abs().max() > 0.1  # something did happen


@every_case
@pytest.mark.ngspice
def test_in_time(case: Case, simulator: Ngspice, tmp_path):
    layer, played = case.layer(), case.played()[3:]
    duration = 8 * layer.time_constant_second
    write_circuit(layer, tmp_path, settle=played, duration_second=duration)
    wave = settle(simulator, tmp_path, layer.states, 0)
    moving = Transient(layer, played)
    twin = moving.at(wave.time_second).v_volt[:, 0]
    assert float(wave.time_second[-1]) == pytest.approx(duration)
    assert (wave.v_volt - twin).abs().max() / moving.v_a <= case.in_time
    v_s = layer.spec.activation.v_out_volt
    assert (wave.s_volt / v_s - moving.activation(twin)).abs().max() <= case.in_time
    assert wave.v_volt.abs().max() / moving.v_a > 100 * case.in_time
    assert [bool(moving.statistics.slewed), bool(moving.statistics.at_rail)] == [case.slews, case.at_rail]


def test_names_are_unique():
    assert len({case.name for case in CASES}) == len(CASES)


def test_every_preset_and_a_range_of_sizes_is_in_the_registry():
    assert {case.preset for case in CASES} == {"board", "ideal", "rram"}
    assert {1, 12} <= {case.n for case in CASES}


@pytest.mark.ngspice
def test_a_deviant_resistor_is_noticed(simulator, tmp_path):
    """The comparison can fail: one resistor changed by a percent is seen at rest."""
    case = Case("spoilt", 4, 2, changes={"amplifier.dc_gain": 1e5})
    layer, played = case.layer(), case.played()
    write_circuit(layer, tmp_path, rest=played)
    crossbar = tmp_path / "crossbar.inc"
    lines = crossbar.read_text().splitlines()
    k = next(i for i, line in enumerate(lines) if line.startswith("Rp_2_1 "))
    *head, ohm = lines[k].split()
    lines[k] = " ".join([*head, repr(1.01 * float(ohm))])
    crossbar.write_text("\n".join(lines))
    v, _ = rest(simulator, tmp_path, layer.states, len(played))
    p = EquilibriumLayer().rest(static_system(layer, played))
    assert (v / layer.spec.activation.v_scale_volt - p).abs().max() > case.at_rest


@pytest.mark.ngspice
def test_a_device_that_does_not_conduct_is_left_out(simulator, tmp_path):
    # With an error as large as the conductances about half of the low devices end at exactly zero.
    spec = spec_with(
        "rram", {"crossbar.programming_sigma": {"coefficients_siemens": [1e-5], "source": "for this test"}}
    )
    case = Case("gaps", 4, 2)
    layer, played = layer_of(spec, case.n, case.m, seed=4, norm=1.0), case.played()
    gaps = int((layer.g_plus_siemens == 0).sum() + (layer.g_minus_siemens == 0).sum())
    assert gaps > 3
    write_circuit(layer, tmp_path, rest=played)
    assert (tmp_path / "crossbar.inc").read_text().count("does not conduct") == gaps
    v, _ = rest(simulator, tmp_path, layer.states, len(played))
    p = EquilibriumLayer(on_failure="raise").rest(static_system(layer, played))
    assert (v / layer.spec.activation.v_scale_volt - p).abs().max() <= 1e-6
