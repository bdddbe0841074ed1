"""Networks of SKY130 transistors rest where the twin of their measured blocks says."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import torch
from builders import drives, monotone, normal

from equilog.cells import CircuitCell
from equilog.circuit import rest, settle
from equilog.circuit.sky130 import (
    Sky130MissingError,
    benches,
    characterised_spec,
    measured,
    require,
    transistor_count,
    twin_layer,
    write_transistor_circuit,
)
from equilog.circuit.sky130.requirements import REQUIREMENTS
from equilog.devices import NgspiceDevice, TwinDevice
from equilog.hardware import Chip, Population, ProgrammedLayer, load_spec, program
from equilog.hardware.curve import spline_of
from equilog.hardware.rest import at_rest
from equilog.hardware.transient import Transient
from equilog.hardware.twin import dac

TOLERANCE = 0.01


def _missing() -> str:
    try:
        require()
    except Sky130MissingError as missing:
        return str(missing)
    return ""


needs_models = pytest.mark.skipif(bool(_missing()), reason=_missing() or "-")


def network(n: int, m: int, seed: int, size: float = 1.0, chip: Chip | Population | None = None) -> ProgrammedLayer:
    matrices = monotone(n, 2.0, seed), size / m**0.5 * normal(seed + 1, n, m), 0.3 * size * normal(seed + 2, n)
    return program(matrices, chip or Chip(characterised_spec(), seed))


def test_every_number_of_the_technology_says_where_it_comes_from():
    spec = characterised_spec()
    assert spec.unsourced() == []
    for name in ("amplifier.dc_gain", "amplifier.gbw_hertz", "amplifier.offset_sigma_volt", "activation.gain_sigma"):
        assert "measured by benchmarks/blocks.py" in spec.figures()[name].source
    curve = spec.activation.curve
    assert curve is not None
    assert "benchmarks/blocks.py" in curve.source


def test_the_curve_keeps_what_certificates_assume():
    block = characterised_spec().activation
    assert block.curve is not None
    assert 0.9 < spline_of(block.curve, float(block.v_scale_volt), float(block.v_out_volt)).max_slope <= 1.0


def test_the_measured_blocks_meet_their_specification():
    figures = measured()
    assert [wanted.figure for wanted in REQUIREMENTS if not wanted.met(figures)] == []
    assert not REQUIREMENTS[0].met(figures | {"amplifier.dc_gain": 100.0})


def test_transistors_are_counted_as_the_blocks_hold_them():
    parts = dict(re.findall(r"^\.subckt (\w+) .*?\n(.*?)^\.ends", benches.library(), re.M | re.S))

    def count(block: str) -> int:
        lines = [line.split() for line in parts[block].splitlines() if line.startswith("X")]
        return sum(
            1 if any("fet_01v8" in w for w in line) else count(next(w for w in line if w in parts)) for line in lines
        )

    layer = network(4, 2, 0)
    assert transistor_count(layer) == 4 * count("neuron") + count("bias")


def test_another_technology_is_refused(tmp_path):
    with pytest.raises(ValueError, match="has another activation"):
        write_transistor_circuit(network(4, 2, 0, chip=Chip(load_spec("rram"), 0)), tmp_path)
    assert not list(tmp_path.iterdir())


def test_a_column_beyond_what_an_output_drives_is_refused(tmp_path):
    spec = characterised_spec().changed(crossbar={"g_max_siemens": 1e-3})
    with pytest.raises(ValueError, match="output of neuron"):
        write_transistor_circuit(network(4, 2, 0, chip=Chip(spec, 0)), tmp_path)


@needs_models
def test_a_population_is_refused(tmp_path):
    with pytest.raises(ValueError, match="population"):
        write_transistor_circuit(network(4, 2, 0, chip=Population(characterised_spec(), (0, 1))), tmp_path)


def test_devices_know_their_blocks():
    with pytest.raises(ValueError, match="expected one of macro, transistors"):
        NgspiceDevice(Chip(characterised_spec(), 0), blocks="valves")  # type: ignore[arg-type]


@needs_models
@pytest.mark.ngspice
@pytest.mark.parametrize(("n", "size"), [(4, 2.0), (8, 1.0)])
def test_transistors_rest_where_the_twin_says(tmp_path, simulator, n, size):
    layer = network(n, 3, seed=n, size=size)
    played = dac(layer, drives(2, 3, seed=1))
    write_transistor_circuit(layer, tmp_path, rest=played)
    v, s = rest(simulator, tmp_path, n, 2)
    block = layer.spec.activation
    twin = at_rest(twin_layer(layer), played)
    assert float((s / float(block.v_out_volt) - twin.z).abs().max()) < TOLERANCE / 2
    assert float((v / float(block.v_scale_volt) - twin.p).abs().max()) < 2 * TOLERANCE
    # The comparison can tell: the twin of another chip is farther off.
    other = at_rest(twin_layer(network(n, 3, seed=n, size=size, chip=Chip(layer.spec, 99))), played)
    assert float((s / float(block.v_out_volt) - other.z).abs().max()) > 2 * TOLERANCE


@needs_models
@pytest.mark.ngspice
def test_transistors_settle_from_reset_as_the_twin_does(tmp_path, simulator):
    layer = network(4, 2, seed=3)
    played = dac(layer, drives(1, 2, seed=1))
    tau, v_a = layer.time_constant_second, float(layer.spec.activation.v_scale_volt)
    write_transistor_circuit(layer, tmp_path, settle=played, duration_second=15 * tau)
    wave = settle(simulator, tmp_path, 4, 0)
    twin = Transient(twin_layer(layer), played).at(wave.time_second).v_volt[:, 0]
    off = (wave.v_volt - twin).abs().amax(1) / v_a
    moved = float((twin[-1] - twin[0]).abs().max()) / v_a
    assert moved > 0.2
    assert float(off[wave.time_second > tau / 10].max()) < 0.05
    assert float(off[-1]) < TOLERANCE


@needs_models
@pytest.mark.ngspice
def test_a_device_settles_in_transistors(simulator):
    torch.manual_seed(0)
    cell = CircuitCell(4, 2)
    chip = Chip(characterised_spec(), 1)
    device, twin = NgspiceDevice(chip, simulator, blocks="transistors"), TwinDevice(chip)
    drive = drives(2, 2, seed=2)
    for each in (device, twin):
        each.program(cell)
    gap = (device.settle(drive).z - twin.settle(drive).z).abs().max()
    assert 1e-7 < float(gap) < TOLERANCE  # macro models would agree to 1e-9


@needs_models
@pytest.mark.ngspice
def test_the_kept_figures_are_what_the_benches_measure(simulator):
    found = benches.amplifier(simulator)
    curve_figures, _ = benches.activation(simulator)
    for name, value in (found | curve_figures).items():
        assert value == pytest.approx(measured()[name], rel=0.02, abs=1e-6 if name.endswith("_volt") else 0), name


def test_nothing_of_the_foundry_is_vendored():
    folder = Path(benches.__file__).parent
    for file in folder.iterdir():
        if file.is_file() and file.suffix != ".pyc":
            assert "+ toxe" not in file.read_text(encoding="utf-8")
            assert file.stat().st_size < 50_000


@needs_models
@pytest.mark.ngspice
@pytest.mark.parametrize(("volt_per_second", "still"), [(4e3, True), (-4e3, True), (18e3, False), (-18e3, False)])
def test_the_window_comparator_sees_what_moves(simulator, volt_per_second, still):
    # Behind a low pass of 1 µs a ramp of 10 mV/µs lags by 10 mV, the threshold; wherever the output is.
    last, duration = 0.5 * (1 if volt_per_second > 0 else -1), 0.4 / abs(volt_per_second)
    body = (
        "Xd v still high low dut vss nb window_comparator window=1e-6\nRpull still vdd 100k\n"
        f"Vh high 0 dc 0.01\nVl low 0 dc -0.01\nVv v 0 pwl(0 {last - 0.4 * last / abs(last)} {duration} {last})"
    )
    plot = benches.simulate(simulator, body, f"tran {duration / 500} {duration}\nwrite out.raw v(still)")[0]
    settled = plot["v(still)"][plot["time"] > duration / 2]
    assert (settled > 0.8).all() if still else (settled < -0.8).all()
