"""The analog side by hand: converters at the bits needed, averaging, detector, idle and programming, wires, area."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
import torch
from builders import drives, layer_of, spec_with, tiny_data, tiny_model
from golden.registry import WIRES

from equilog.circuit import write_circuit
from equilog.circuit.chain import write_chain
from equilog.cost import Span, Use, chip_inference, chip_watt, estimate, load_target
from equilog.cost.analog import array_watt, bias_watt, detector_watt, idle_watt, sample_watt
from equilog.cost.area import area_parts
from equilog.cost.converters import conversion_joule, converter_law, effective_bits, readings
from equilog.cost.estimate import IDLE, WAITING
from equilog.cost.inference import ARRAY
from equilog.cost.parts import block_table
from equilog.cost.process import board_process, default_process, process_of
from equilog.cost.span import dominant, larger, total
from equilog.cost.writing import devices, programming_joule, programming_second
from equilog.hardware import Chip, load_spec
from equilog.hardware.rest import at_rest
from equilog.hardware.twin import dac

ROUND = spec_with(
    "rram",
    {
        "amplifier.supply_volt": 2.0,
        "activation.bias_ampere": 1e-5,
        "dac.conversion_second": 1e-8,
        "dac.energy_joule": 1e-12,
        "dac.bits": 8,
        "adc.conversion_second": 1e-7,
        "adc.energy_joule": 8e-12,
        "adc.bits": 8,
        "detector.hold_second": 3e-7,
        "crossbar.write_joule": {"value": 1e-10, "low": 1e-11, "high": 1e-9},
        "crossbar.write_second": 1e-6,
    },
)


def test_conversions_at_other_bits_by_hand() -> None:
    law = converter_law()
    assert (float(law.corner_bits), float(law.factor_per_bit_below), float(law.factor_per_bit_above)) == (10, 1.6, 4)
    assert conversion_joule(ROUND.adc).typical == 8e-12
    # Two bits fewer: 8/1.6² pJ. Four more: two of 1.6 up to the corner at 10, two of 4 beyond.
    assert conversion_joule(ROUND.adc, 6).typical == pytest.approx(8e-12 / 2.56)
    assert conversion_joule(ROUND.adc, 12).typical == pytest.approx(8e-12 * 2.56 * 16)
    # The range: at least nothing and at most twice a bit below the corner, twice to four times above.
    assert conversion_joule(ROUND.adc, 12).low == pytest.approx(8e-12 * 4)
    assert conversion_joule(ROUND.adc, 12).high == pytest.approx(8e-12 * 4 * 16)
    assert conversion_joule(ROUND.adc, 6).low == pytest.approx(8e-12 / 4)
    assert conversion_joule(ROUND.adc, 6).high == pytest.approx(8e-12)
    with pytest.raises(ValueError, match="enob = 0"):
        conversion_joule(ROUND.adc, 0)


def test_effective_bits_and_readings_by_hand() -> None:
    # 8 bits over −1 … 1: a step of 2/256, an rms of 2/256/√12 = 2.255e-3.
    assert effective_bits(2 / 256 / math.sqrt(12)) == pytest.approx(8)
    # Noise four times as large as that takes 16 readings, half as large takes one.
    assert readings(4 * 2 / 256 / math.sqrt(12), 8) == 16
    assert readings(0.5 * 2 / 256 / math.sqrt(12), 8) == 1
    with pytest.raises(ValueError, match="error_rms = 0"):
        effective_bits(0.0)


def test_detector_bias_and_idle_power_by_hand() -> None:
    layer, process = layer_of(ROUND, 3, 2), default_process()
    # Two comparators a neuron; one reference, a sample-and-hold a neuron.
    assert detector_watt(layer).typical == pytest.approx(6 * float(process.comparator_watt))
    assert bias_watt(layer).typical == pytest.approx(
        float(process.reference_watt) + 3 * float(process.sample_hold_watt)
    )
    quiet = layer_of(spec_with("rram", {"detector": None}), 3, 2)
    assert detector_watt(quiet) == Span.of(0.0)
    assert bias_watt(quiet) == Span.of(process.reference_watt)
    # Activations take 3 · 2 V · 10 µA = 60 µW; amplifiers as ever; 5 % of both are left.
    from equilog.cost.analog import amplifier_watt

    left = 0.05 * (60e-6 + amplifier_watt(layer).typical)
    assert idle_watt(layer).typical == pytest.approx(float(process.reference_watt) + left)


def test_a_board_has_a_process_of_its_own() -> None:
    assert process_of(load_spec("board")) is board_process()
    assert process_of(load_spec("rram")) is default_process()
    board = layer_of(load_spec("board"), 2, 1)
    assert detector_watt(board).typical == pytest.approx(4 * float(board_process().comparator_watt))


def test_programming_by_hand() -> None:
    layer = layer_of(ROUND, 3, 2)
    # 3 neurons, 3 + 2 + 1 columns, two devices each: 36 of 100 pJ, one after the other 1 µs each.
    assert devices(layer) == 36
    joule, second = programming_joule(layer), programming_second(layer)
    assert joule is not None
    assert second is not None
    assert [joule.low, joule.typical, joule.high] == pytest.approx([36e-11, 36e-10, 36e-9])
    assert second.typical == pytest.approx(36e-6)
    assert programming_joule(layer_of(load_spec("board"), 3, 2)) is None


def test_an_inference_by_hand() -> None:
    layer = layer_of(ROUND, 3, 2)
    watt = {"one": Span.of(1e-3), "other": Span(low=1e-3, typical=2e-3, high=3e-3)}
    use = Use(inferences_per_programming=1000, readings=4, adc_enob=6, dac_enob=8)
    found = chip_inference(layer, watt, 2e-6, use)
    # 10 ns of DAC, 2 µs, 300 ns until the detector reports, four readings of 100 ns: 2.71 µs.
    assert {k: s.typical for k, s in found.latency_second.items()} == pytest.approx(
        {"DAC": 1e-8, "settling": 2e-6, "detecting": 3e-7, "ADC": 4e-7}
    )
    assert found.latency.typical == pytest.approx(2.71e-6)
    assert found.energy_joule["one"].typical == pytest.approx(2.71e-9)
    assert found.energy_joule["other"].high == pytest.approx(3 * 2.71e-9)
    assert found.energy_joule["DAC"].typical == pytest.approx(2 * 1e-12)
    assert found.energy_joule["ADC"].typical == pytest.approx(3 * 4 * 8e-12 / 2.56)
    assert found.energy_joule["programming, its share"].typical == pytest.approx(36e-10 / 1000)
    assert found.energy.typical == pytest.approx(sum(s.typical for s in found.energy_joule.values()))
    # A detector that was watched replaces the hold time.
    assert chip_inference(layer, watt, 2e-6, use, 1e-6).latency_second["detecting"].typical == 1e-6


@pytest.mark.parametrize("wires", [WIRES, WIRES | {"word_line_ohm": 0.0}, WIRES | {"bit_line_ohm": 0.0}])
def test_array_with_wires_is_what_its_netlist_dissipates(wires: dict[str, float], tmp_path: Path) -> None:
    layer = layer_of(spec_with("rram", {"crossbar.wires": wires}), 4, 2)
    played = dac(layer, drives(3, 2))
    write_circuit(layer, tmp_path)
    rest = at_rest(layer, played)
    rows = {row.name: row.watt for row in block_table(layer, tmp_path, rest.p, rest.z, played)}
    from equilog.cost.analog import amplifier_watt

    crossbar, integrators = rows["crossbar devices"], rows["summing integrators"]
    assert crossbar is not None
    assert integrators is not None
    netlist = crossbar.typical + integrators.typical - amplifier_watt(layer).typical
    assert array_watt(layer, rest.p, rest.z, played) == pytest.approx(netlist, rel=1e-8)
    ideal = layer_of(spec_with("rram", {"crossbar.wires": None}), 4, 2)
    assert array_watt(ideal, rest.p, rest.z, played) != pytest.approx(netlist, rel=1e-8)


def test_power_of_each_sample_is_on_the_tape() -> None:
    layer = layer_of(ROUND, 3, 2)
    played = dac(layer, drives(4, 2))
    rest = at_rest(layer, played)
    z = rest.z.clone().requires_grad_()
    watt = sample_watt(layer, rest.p, z, played)
    assert watt.shape == (4,)
    assert float(watt.detach().mean()) == pytest.approx(array_watt(layer, rest.p, rest.z, played))
    watt.sum().backward()
    assert z.grad is not None
    assert bool((z.grad != 0).any())


@pytest.mark.parametrize("preset", ["rram", "cmos-sky130"])
def test_areas_are_those_of_the_netlist(preset: str, tmp_path: Path) -> None:
    layer = layer_of(load_spec(preset), 3, 2)
    write_chain(layer, tmp_path)
    rows = {row.name: row.area_m2 for row in block_table(layer, tmp_path, None, None, dac(layer, drives(1, 2)))}
    found = area_parts(layer)
    assert set(found) == set(rows)
    for name, span in found.items():
        row = rows[name]
        assert row is not None
        assert [span.low, span.typical, span.high] == pytest.approx([row.low, row.typical, row.high], rel=1e-6)


def test_each_side_waits_for_the_other() -> None:
    model, (x, _), target = tiny_model(), tiny_data(5), load_target("edge-npu-int8")
    report = estimate(model, Chip(ROUND, 1), x, [1e-6], target)
    ends = [report.hybrid_latency_second[k].typical for k in ("parameterization (digital)", "readout (digital)")]
    layer = model.program(Chip(ROUND, 1))
    assert report.hybrid_energy_joule[IDLE].typical == pytest.approx(idle_watt(layer).typical * sum(ends))
    on_chip = 1e-8 + 1e-6 + 3e-7 + 1e-7
    assert report.hybrid_energy_joule[WAITING].typical == pytest.approx(float(target.standing_watt) * on_chip)


def test_how_a_chip_is_used_reaches_the_report() -> None:
    model, (x, _), chip = tiny_model(), tiny_data(5), Chip(ROUND, 1)
    once = estimate(model, chip, x, [1e-6], use=Use(inferences_per_programming=1))
    often = estimate(model, chip, x, [1e-6], use=Use(inferences_per_programming=1e9))
    share = "programming, its share"
    assert once.hybrid_energy_joule[share].typical == pytest.approx(1e9 * often.hybrid_energy_joule[share].typical)
    assert once.programming_joule is not None
    assert once.programming_joule.typical == once.hybrid_energy_joule[share].typical
    many = estimate(model, chip, x, [1e-6], use=Use(batch=64))
    alone = estimate(model, chip, x, [1e-6])
    # A batch makes the digital side cheaper a sample, and the chip no cheaper at all.
    assert many.digital_energy.typical < alone.digital_energy.typical
    assert many.hybrid_energy_joule[ARRAY] == alone.hybrid_energy_joule[ARRAY]
    assert many.hybrid_latency_second["settling"].typical == pytest.approx(64e-6)
    assert "less time" in many.latency_verdict
    assert total(list(many.area_m2.values())).typical > 0


def test_power_of_a_chip_names_its_blocks() -> None:
    layer = layer_of(ROUND, 3, 2)
    played = dac(layer, drives(2, 2))
    rest = at_rest(layer, played)
    assert set(chip_watt(layer, rest.p, rest.z, played)) == {
        "amplifiers", "activations", ARRAY, "detector", "bias and sample-and-holds",
    }  # fmt: skip


def test_the_dominant_part_and_the_larger_range() -> None:
    parts = {"a": Span.of(1.0), "b": Span.of(3.0)}
    assert dominant(parts) == ("b", 0.75)
    with pytest.raises(ValueError, match="no parts"):
        dominant({})
    assert larger(Span(low=0, typical=2, high=3), Span(low=1, typical=1, high=5)) == Span(low=1, typical=2, high=5)


def test_ranges_enclose_every_member_of_the_law() -> None:
    torch.manual_seed(0)
    for enob in (2.0, 7.5, 9.5, 10.0, 13.0):
        span = conversion_joule(ROUND.dac, enob)
        assert span.low <= span.typical <= span.high
