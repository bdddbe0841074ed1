"""Every cost formula against a figure worked by hand or counted device by device."""

import math

import pytest
import torch
from builders import drives, layer_of, spec_with, tiny_data, tiny_model
from torch import nn

from equilog.cost import estimate
from equilog.cost.analog import activation_watt, amplifier_watt, array_watt
from equilog.cost.digital import equilibrium_work
from equilog.devices import TwinDevice
from equilog.equilibrium import EquilibriumLayer
from equilog.hardware import Chip, load_spec
from equilog.hardware.twin import dac, static_system

# A technology of round numbers, so that the hand-worked figures outlive changes of the presets.
ROUND = spec_with(
    "rram",
    {
        "amplifier.gbw_hertz": 1e8,
        "amplifier.supply_volt": 1.2,
        "amplifier.branches": 2,
        "amplifier.load_farad": {"value": 1e-12, "low": 2e-13, "high": 5e-12},
        "amplifier.gm_over_id": {"value": 15.0, "low": 8.0, "high": 20.0},
        "activation.bias_ampere": {"value": 3e-5, "low": 1e-5, "high": 1e-4},
        "dac.conversion_second": 1e-8,
        "dac.energy_joule": 1e-12,
        "adc.conversion_second": 1e-7,
        "adc.energy_joule": 7.4e-12,
    },
)


def test_amplifier_power_by_hand():
    # g_m = 2π · 100 MHz · 1 pF = 628.3 µS; I = g_m/15 = 41.89 µA; two branches at 1.2 V: 100.53 µW each.
    watt = amplifier_watt(layer_of(ROUND, 3, 2))
    assert watt.typical == pytest.approx(3 * 100.531e-6, rel=1e-5)


def test_amplifier_power_ranges_with_load_and_efficiency():
    watt = amplifier_watt(layer_of(ROUND, 1, 1))
    unit = 2 * math.pi * 1e8 * 2 * 1.2
    assert watt.low == pytest.approx(unit * 2e-13 / 20)
    assert watt.high == pytest.approx(unit * 5e-12 / 8)


def test_activation_power_by_hand():
    # 30 µA at 1.2 V is 36 µW a neuron.
    watt = activation_watt(layer_of(ROUND, 4, 1))
    assert watt.typical == pytest.approx(4 * 36e-6)
    assert (watt.low, watt.high) == (pytest.approx(4 * 12e-6), pytest.approx(4 * 120e-6))


@pytest.mark.parametrize("changes", [{}, {"amplifier.offset_sigma_volt": 0.05}, {"dac.full_scale_volt": 0.4}])
def test_array_power_resistor_by_resistor(changes):
    layer, played = layer_of(spec_with("rram", changes), 4, 2), drives(3, 2)
    problem = static_system(layer, played)
    p = EquilibriumLayer().rest(problem)
    z = problem.activation(p)
    spec, samples = layer.spec, []
    for k in range(3):
        watt = 0.0
        s = [float(a) * float(spec.activation.v_out_volt) for a in z[k]]
        fixed = [float(a) * float(spec.dac.full_scale_volt) for a in played[k]] + [float(spec.dac.full_scale_volt)]
        for i in range(4):
            v = float(p[k, i]) * float(spec.activation.v_scale_volt)
            x = float(layer.amp_offset_volt[i]) - v / float(layer.dc_gain[i])
            for column, volt in enumerate(s + fixed):
                watt += float(layer.g_plus_siemens[i, column]) * (-volt - x) ** 2
                watt += float(layer.g_minus_siemens[i, column]) * (volt - x) ** 2
            watt += (v - x) ** 2 / float(layer.r_feedback_ohm)
        samples.append(watt)
    assert array_watt(layer, p, z, played) == pytest.approx(sum(samples) / 3, rel=1e-10)


def cell_with(norm, n=12):
    """A cell whose skew coupling alone has about this norm."""
    cell = tiny_model(states=n, drives=3).cell.double()
    with torch.no_grad():
        cell.recurrent.a.copy_(0.7**0.5 * torch.eye(n))
        cell.recurrent.b.mul_(norm / torch.linalg.matrix_norm(cell.matrices()[0], 2))
    return cell


@pytest.mark.parametrize("norm", [0.0, 0.5, 2.0, 12.0])
def test_work_of_the_equilibrium_by_hand(norm):
    work, steps, solver = equilibrium_work(cell_with(norm), drives(6, 3), 1e-3)
    matrices, memory = {"Picard": (1, 0), "Anderson": (1, 5), "chord with Anderson": (1, 3)}[solver]
    assert steps >= 1
    # One matrix product; two passes over the differences of iterates and of steps; U d once.
    assert work.macs == pytest.approx(steps * (matrices * 144 + 4 * memory * 12) + 36)
    # The iterate is read and written in every step, the 3 drives are read once.
    assert work.fetched_numbers == pytest.approx(steps * (matrices * 144 + 2 * memory * 12 + 24) + 36 + 3)
    assert work.activations == pytest.approx(12 * steps)
    # 144 + 36 weights, the 144 read in every step and the 36 once.
    assert work.weight_numbers == 180
    assert work.weight_numbers * work.passes == pytest.approx(144 * steps + 36)
    assert work.steps == pytest.approx(steps + 1)


def test_uncoupled_neurons_need_no_better_solver_than_picard():
    _, steps, solver = equilibrium_work(cell_with(0.0), drives(6, 3), 1e-3)
    assert solver == "Picard"
    assert steps <= 2


def test_where_picard_diverges_another_solver_is_charged():
    _, _, solver = equilibrium_work(cell_with(12.0), drives(6, 3), 1e-3)
    assert solver != "Picard"


def test_a_finer_answer_is_no_cheaper():
    cell, drive = cell_with(2.0), drives(6, 3)
    fetched = [equilibrium_work(cell, drive, tolerance)[0].fetched_numbers for tolerance in (1e-1, 1e-3, 1e-6)]
    assert fetched == sorted(fetched)
    assert fetched[0] < fetched[-1]


@pytest.fixture
def priced():
    model, (x, _), chip = tiny_model(), tiny_data(5), Chip(ROUND, 1)
    return model, x, chip, estimate(model, chip, x, [1e-6, 4e-6, 2e-6])


def test_energy_is_power_times_time_on_plus_conversions(priced):
    model, x, chip, report = priced
    time_on = 1e-8 + 4e-6 + 1e-7 + 1e-7  # DAC, slowest settling, detector's hold time, ADC
    device = TwinDevice(chip)
    device.program(model.cell)
    drive = model.parameterize(x).detach()
    settled = device.settle(drive)
    array = array_watt(device.layer, settled.p, settled.z, dac(device.layer, drive.double()))
    joule = report.hybrid_energy_joule
    assert joule["crossbar and feedback"].typical == pytest.approx(array * time_on)
    assert joule["amplifiers"].typical == pytest.approx(amplifier_watt(device.layer).typical * time_on)
    assert joule["activations"].typical == pytest.approx(3 * 36e-6 * time_on)
    assert joule["DAC"].typical == pytest.approx(2 * 1e-12)
    assert joule["ADC"].typical == pytest.approx(3 * 7.4e-12)
    assert report.hybrid_energy.typical == pytest.approx(sum(part.typical for part in joule.values()))
    assert report.hybrid_energy.high == pytest.approx(sum(part.high for part in joule.values()))


def test_latency_adds_up_and_the_slowest_sample_counts(priced):
    *_, report = priced
    assert report.hybrid_latency_second["settling"].typical == 4e-6
    assert set(report.hybrid_latency_second) >= {"DAC", "settling", "detecting", "ADC"}
    assert report.hybrid_latency.typical == pytest.approx(sum(s.typical for s in report.hybrid_latency_second.values()))


def test_both_sides_pay_for_the_digital_ends(priced):
    *_, report = priced
    for end in ("parameterization (digital)", "readout (digital)"):
        assert report.hybrid_energy_joule[end] == report.digital_energy_joule[end]


def test_the_verdict_names_the_cheaper_side_and_the_largest_term(priced):
    *_, report = priced
    largest = max(report.hybrid_energy_joule, key=lambda k: report.hybrid_energy_joule[k].typical)
    assert largest in report.verdict
    dearer = report.hybrid_energy.typical > report.digital_energy.typical
    assert ("digital needs" in report.verdict) is dearer


def test_the_report_survives_json(priced):
    *_, report = priced
    assert type(report).model_validate_json(report.model_dump_json()) == report


@pytest.mark.parametrize("times", [[], [1e-6, math.inf], [math.nan]])
def test_a_chip_that_does_not_settle_is_not_charged(times):
    with pytest.raises(ValueError, match="does not settle"):
        estimate(tiny_model(), Chip(load_spec("rram"), 1), tiny_data(3)[0], times)


def test_class_indices_and_other_integers_are_no_obstacle():
    """Tokens in, an embedding as parameterization: the ends compute in the parameters' precision, not the inputs'."""
    model = tiny_model()
    model.parameterize = nn.Sequential(nn.Embedding(7, 2), nn.Tanh())
    report = estimate(model, Chip(load_spec("rram"), 1), torch.tensor([0, 3, 6]), [1e-6])
    assert report.hybrid_energy.typical > 0
