"""A chip in the study reads what it reads alone: accuracy, settling, stability, and the same in every chunk."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import fields, replace

import pytest
import torch
from builders import normal, spec_with, tiny_data, tiny_model
from torch import Tensor, nn

from equilog.cells.curve import OutsideCurveError
from equilog.devices.ladder import score_on, verify
from equilog.devices.twin import TwinDevice
from equilog.equilibrium import NotConvergedError
from equilog.hardware import Chip, Conditions, Population, Spec, program
from equilog.hardware.quantise import half_code
from equilog.hardware.rest import at_rest
from equilog.hardware.transient import UnstableChipError
from equilog.hardware.twin import adc, dac, static_system
from equilog.model import HybridDEQ
from equilog.objective import Classification, Regression
from equilog.yields import ChipRow, Standing, StudyConfig
from equilog.yields import bench as bench_module
from equilog.yields import settling as settling_module
from equilog.yields.bench import Bench, reads_of
from equilog.yields.population import population
from equilog.yields.settling import Samples, Watched, watch

FLAT = {"source": "test"}
# Coarse converters with every flaw, so that a reading in the wrong place shows.
FLAWED = {
    "dac.bits": 4, "dac.inl_lsb": 0.7, "dac.noise_volt": 0.02,
    "adc.bits": 4, "adc.inl_lsb": 0.7, "adc.noise_volt": 0.02,
    "crossbar.read_noise": {"sigma": {"coefficients_siemens": [0.0, 4e-6], **FLAT}},
    "crossbar.stuck": {"low_fraction": 0.05, "high_fraction": 0.02, "low_siemens": 1e-7, "high_siemens": 4e-5},
}  # fmt: skip
KNOTS = [-2.1 + 0.3 * k for k in range(15)]
# In volts, V_a = 0.1 and V_s = 0.2: measured no further than pre-activation 2.1, which some chips exceed.
CURVED = {
    "activation.curve": {
        "input_volt": [0.1 * k for k in KNOTS], "output_volt": [0.2 * math.tanh(k) for k in KNOTS], **FLAT,
    }
}  # fmt: skip
QUIET = {"crossbar.read_noise": None, "dac.noise_volt": None, "adc.noise_volt": None}
# A technology with slow amplifiers settles in few steps, and is as good a test.
QUICK = {"amplifier.gbw_hertz": 2e7}
SEEDS = (7, 8, 9, 10, 11)


def make(spec: Spec, samples: int = 200, **config: object) -> tuple[Bench, HybridDEQ, Tensor, Tensor]:
    model = tiny_model(states=5, drives=3, classes=3)
    x, _ = tiny_data(samples)
    y = torch.arange(samples) % 3
    return Bench(model, spec, x, y, Classification(), StudyConfig(**config)), model, x, y


def alone(model: HybridDEQ, spec: Spec, seed: int, x: Tensor, y: Tensor) -> tuple[Standing, float | None]:
    """What the twin of this one chip says, its exceptions as standings."""
    try:
        return Standing.SETTLES, score_on(model, TwinDevice(Chip(spec, seed)), x, y)
    except UnstableChipError:
        return Standing.UNSTABLE, None
    except NotConvergedError:
        return Standing.NO_REST, None
    except OutsideCurveError:
        return Standing.OUTSIDE, None


class Fixed(nn.Module):
    """A recurrent weight that nothing constrains."""

    def __init__(self, weight: Tensor) -> None:
        super().__init__()
        self.weight = nn.Parameter(weight)

    def forward(self) -> Tensor:
        return self.weight


@pytest.mark.parametrize("changes", [{}, FLAWED | QUIET, CURVED], ids=["rram", "flawed", "curved"])
def test_accuracy_and_standing_are_those_of_the_twin_of_the_same_chip(changes: dict) -> None:
    spec = spec_with("rram", changes)
    bench, model, x, y = make(spec, settle_samples=0)
    found = [(row.standing, row.score) for row in bench.measure(SEEDS)]
    assert found == [alone(model, spec, seed, x, y) for seed in SEEDS]
    assert len(set(found)) > 1


def test_settling_and_stability_are_those_of_the_ladder(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EQUILOG_NGSPICE", "no-such-program")
    spec = spec_with("rram")
    bench, model, x, _ = make(spec, samples=10, settle_samples=10)
    for row in bench.measure(SEEDS[:2]):
        settling = verify(model, Chip(spec, row.seed), x[:10]).report.settling
        # Both watch from one instant of their grid to the next, a fortieth of a time constant later.
        assert row.settling_worst_second == pytest.approx(max(settling.time_second), rel=0.03)
        assert row.settling_mean_second == pytest.approx(sum(settling.time_second) / 10, rel=0.03)
        assert row.spectral_abscissa_per_second == pytest.approx(settling.spectral_abscissa_per_second, rel=1e-6)
        assert half_code(spec) == pytest.approx(settling.tolerance)


def test_a_noisy_read_is_the_one_of_the_chip_alone() -> None:
    spec = spec_with("rram", FLAWED)
    bench, model, x, y = make(spec, settle_samples=0, read_seed=3, age_second=1e4, temperature_kelvin=340.0)
    accuracy = {}
    for seed in SEEDS:
        when = Conditions(1e4, 340.0, reads_of(3, seed))
        layer = program(tuple(m.detach().double() for m in model.cell.matrices()), Chip(spec, seed), when)
        with torch.no_grad():
            system = static_system(layer, dac(layer, model.parameterize(x).double()))
            read = adc(layer, model.equilibrium(system))
            accuracy[seed] = float((model.readout(read.float()).argmax(1) == y).double().mean())
    # With devices stuck at random a chip may have several equilibria, and one that it does not stay at.
    settles = {row.seed: row.score for row in bench.measure(SEEDS) if row.standing is Standing.SETTLES}
    assert len(settles) >= 4
    assert settles == {seed: accuracy[seed] for seed in settles}
    quiet = make(spec, settle_samples=0, age_second=1e4, temperature_kelvin=340.0)[0]
    assert {row.seed: row.score for row in quiet.measure(SEEDS)} != accuracy


@pytest.mark.parametrize("read_seed", [None, 3])
@pytest.mark.parametrize("batch", [64, 1024])
def test_the_chunk_changes_nothing(read_seed: int | None, batch: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bench_module, "_MOST_SAMPLES", batch)
    bench = make(spec_with("rram", FLAWED), settle_samples=0, read_seed=read_seed)[0]
    together = bench.measure(SEEDS)
    assert counted(together) == counted(row for seed in SEEDS for row in bench.measure([seed]))
    assert counted(together) == counted(bench.measure(SEEDS[:2]) + bench.measure(SEEDS[2:]))
    bench._slice = 2
    assert counted(together) == counted(bench.measure(SEEDS))


def counted(rows: Iterable[ChipRow]) -> list[ChipRow]:
    """Leave out the pole, whose last digits depend on how a product of matrices was blocked."""
    return [replace(row, spectral_abscissa_per_second=None) for row in rows]


@pytest.mark.parametrize("read_seed", [None, 3])
def test_neighbours_change_no_settling_time(read_seed: int | None) -> None:
    bench = make(spec_with("rram", QUICK), samples=20, settle_samples=2, read_seed=read_seed)[0]
    together = bench.measure(SEEDS[:3])
    for row, (one,) in zip(together, (bench.measure([seed]) for seed in SEEDS[:3])):
        assert row.settling_worst_second == pytest.approx(one.settling_worst_second, rel=0.03)
        assert row.spectral_abscissa_per_second == pytest.approx(one.spectral_abscissa_per_second, rel=1e-9)
    assert len({row.settling_worst_second for row in together}) == 3


def test_stability_is_looked_at_where_activations_are_steepest_in_whatever_batch() -> None:
    spec = spec_with("rram")
    bench, model, x, _ = make(spec, settle_samples=0)
    bench._batch = 23
    device = TwinDevice(Chip(spec, 7))
    device.program(model.cell)
    with torch.no_grad():
        rest = at_rest(device.layer, dac(device.layer, model.parameterize(x).double()))
    assert bench.measure([7])[0].spectral_abscissa_per_second == pytest.approx(-rest.margin, rel=1e-9)


def test_batches_of_samples_add_up(monkeypatch: pytest.MonkeyPatch) -> None:
    whole = make(spec_with("rram"), settle_samples=0)[0].measure(SEEDS)
    monkeypatch.setattr(bench_module, "_MOST_SAMPLES", 37)
    parts = make(spec_with("rram"), settle_samples=0)[0].measure(SEEDS)
    for a, b in zip(parts, whole, strict=True):
        # Where in memory a sample lies may round its poles otherwise; nothing else may differ.
        assert a.spectral_abscissa_per_second == pytest.approx(b.spectral_abscissa_per_second, rel=1e-9)
        assert replace(a, spectral_abscissa_per_second=0.0) == replace(b, spectral_abscissa_per_second=0.0)


@pytest.mark.parametrize("wires", [None, {"word_line_ohm": 2.0, "bit_line_ohm": 1.0}])
def test_chips_programmed_one_by_one_are_the_population(wires: dict | None) -> None:
    """Whatever a programmed layer learns to hold, the study must stack it."""
    spec = spec_with("rram", FLAWED | QUIET | {"crossbar.wires": wires})
    matrices = normal(0, 4, 4), normal(1, 4, 2), normal(2, 4)
    ours = population([program(matrices, Chip(spec, seed)) for seed in SEEDS])
    theirs = program(matrices, Population(spec, SEEDS))
    for field in fields(theirs):
        a, b = getattr(ours, field.name), getattr(theirs, field.name)
        if wires is not None and field.name in ("transfer_siemens", "load_siemens"):
            # Eliminated together, which some processors round otherwise than one alone.
            torch.testing.assert_close(a, b, rtol=1e-12, atol=1e-18)
        else:
            assert torch.equal(a, b) if isinstance(b, Tensor) else a == b, field.name


def test_a_sample_without_a_resting_point_is_no_answer_and_no_exception() -> None:
    model = tiny_model()
    x, y = tiny_data()
    x[3] = math.nan
    rows = Bench(model, spec_with("rram"), x, y, Classification(), StudyConfig()).measure([1, 2])
    for row in rows:
        assert row.standing is Standing.NO_REST
        assert row.unsettled_samples == 1
        assert row.score is None
        assert row.settling_worst_second is None


def test_an_unstable_chip_is_no_answer() -> None:
    """The map has one resting point, which slow amplifiers turn into an oscillator."""
    model = tiny_model()
    model.cell.recurrent = Fixed(torch.tensor([[0.0, 6.0, 0.0], [-6.0, 0.0, 0.0], [0.0, 0.0, 0.0]]))
    x, y = tiny_data()
    fast, slow = (
        Bench(model, spec_with("rram", {"amplifier.gbw_hertz": gbw}), x, y, Classification(), StudyConfig()).measure(
            [1]
        )[0]
        for gbw in (1e8, 1e6)
    )
    assert fast.standing is Standing.SETTLES
    assert slow.standing is Standing.UNSTABLE
    assert slow.spectral_abscissa_per_second is not None
    assert slow.spectral_abscissa_per_second > 0
    assert slow.unsettled_samples == 0
    assert (slow.score, slow.settling_worst_second) == (None, None)


def test_samples_settled_in_time_are_looked_at_for_stability_too() -> None:
    """The oscillator of above with saturated activations has no loop gain: stable there, unstable at the origin."""
    matrices = torch.tensor([[0.0, 6.0], [-6.0, 0.0]]).double(), torch.ones(2, 1).double(), torch.zeros(2).double()
    layer = program(matrices, Chip(spec_with("rram", {"amplifier.gbw_hertz": 1e6}), 1))
    saturated, steep = (Samples(torch.zeros(1, 1).double(), torch.full((1, 2), p).double()) for p in (8.0, 0.0))
    assert [w.stable for w in watch([layer], [saturated], None)] == [True]
    assert [w.stable for w in watch([layer], [steep], None)] == [False]
    assert [w.stable for w in watch([layer], [saturated], [steep])] == [False]


def test_a_chip_is_watched_for_as_long_as_it_takes(monkeypatch: pytest.MonkeyPatch) -> None:
    bench = make(spec_with("rram", QUICK), samples=20, settle_samples=2)[0]
    enough = [row.settling_worst_second for row in bench.measure(SEEDS[:2])]
    monkeypatch.setattr(settling_module, "_EFOLDS", 1)
    assert [row.settling_worst_second for row in bench.measure(SEEDS[:2])] == pytest.approx(enough, rel=0.03)
    monkeypatch.setattr(settling_module, "_LONGEST", 1)
    assert {row.standing for row in bench.measure(SEEDS[:2])} == {Standing.NEVER}


def test_a_chip_that_does_not_get_to_rest_while_watched_is_no_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bench_module, "watch", lambda layers, *_: [Watched(-1.0, (1e-6, math.inf))] * len(layers))
    row = make(spec_with("rram"))[0].measure([1])[0]
    assert row.standing is Standing.NEVER
    assert (row.score, row.settling_worst_second) == (None, None)


def test_a_chip_whose_weight_is_monotone_no_more_is_settled_all_the_same() -> None:
    """The chord method alone leaves samples of this one open; what TwinDevice finds is found here."""
    model = tiny_model(states=2)
    model.cell.recurrent = Fixed(torch.tensor([[-7.0, 7.0], [-7.0, -7.0]]))
    x, y = tiny_data()
    spec = spec_with("rram")
    bench = Bench(model, spec, x, y, Classification(), StudyConfig(settle_samples=0))
    bench._fast.solver = type(bench._fast.solver)(max_steps=3)
    rows = bench.measure([1, 2])
    assert [(row.standing, row.score) for row in rows] == [alone(model, spec, k, x, y) for k in (1, 2)]
    assert rows[0].standing is Standing.SETTLES


def test_clipped_readings_are_counted() -> None:
    spec = spec_with("rram", {"adc.full_scale_volt": 0.05})
    bench, model, x, _ = make(spec, settle_samples=0)
    device = TwinDevice(Chip(spec, 7))
    device.program(model.cell)
    with torch.no_grad():
        z = device.settle(model.parameterize(x)).z
    expected = float((z.abs() > 0.25).double().mean())
    assert 0.05 < expected < 0.95
    assert bench.measure([7])[0].clipped_readings == pytest.approx(expected)


def test_a_chunk_keeps_within_its_memory() -> None:
    x, y = torch.zeros(3000, 4), torch.zeros(3000, dtype=torch.int64)
    for states in (2, 32, 256, 512):
        bench = Bench(
            tiny_model(states=states), spec_with("rram"), x, y, Classification(), StudyConfig(settle_samples=0)
        )
        assert 1 <= bench.chunk <= 32
        # A dozen arrays of states, and five of conductances for every chip of the chunk.
        arrays = 12 * bench._slice * bench._batch * states + 5 * bench.chunk * states * (states + 3)
        assert 8 * arrays < 200e6


def test_an_error_is_that_of_the_twin_of_the_same_chip(monkeypatch: pytest.MonkeyPatch) -> None:
    """Targets of any shape, samples in uneven batches."""
    monkeypatch.setattr(bench_module, "_MOST_SAMPLES", 37)
    model, spec, objective = tiny_model(classes=6), spec_with("rram"), Regression()
    model.readout = nn.Sequential(model.readout, nn.Unflatten(1, (2, 3)))
    x, y = tiny_data(100)[0], normal(3, 100, 2, 3).float()
    rows = Bench(model, spec, x, y, objective, StudyConfig(settle_samples=0)).measure(SEEDS)
    expected = [score_on(model, TwinDevice(Chip(spec, seed)), x, y, objective) for seed in SEEDS]
    assert [row.score for row in rows] == pytest.approx(expected, rel=1e-12)
    assert len(set(expected)) == len(SEEDS)
