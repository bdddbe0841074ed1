"""A sample alone is the sample in a batch, a chip alone the chip in a population; precisions; what is refused."""

import pytest
import torch
from builders import drives, matrices, spec_with
from transient_cases import BOTH, UNLIMITED, make

from equilog.hardware import Chip, Population, program
from equilog.hardware.transient import Transient, step_control
from equilog.hardware.twin import dac

WIRES = {"crossbar.wires": {"word_line_ohm": 100.0, "bit_line_ohm": 50.0}}
CASES = pytest.mark.parametrize(
    "changes", [{}, UNLIMITED, BOTH, BOTH | WIRES], ids=["rram", "unlimited", "slew and rails", "and wires"]
)


def close(a, b):
    torch.testing.assert_close(a, b, rtol=0, atol=1e-12 * max(1.0, float(b.abs().max())))


@CASES
def test_a_sample_alone_gives_what_it_gives_in_a_batch(changes):
    layer, played = make(spec_with("rram", changes), n=6, batch=5, norm=4.0)
    together = Transient(layer, played)
    full = together.run(5 * layer.time_constant_second)
    for k in (0, 3):
        alone = Transient(layer, played[k : k + 1])
        one = alone.run(5 * layer.time_constant_second)
        close(one.v_volt, full.v_volt[:, k : k + 1])
        assert alone.statistics.steps.tolist() == together.statistics.steps[k : k + 1].tolist()


@CASES
def test_a_chip_alone_gives_what_it_gives_in_a_population(changes):
    spec = spec_with("rram", changes)
    weights, played, seeds = matrices(5, 2, 1, 3.0), drives(3, 2, 1), (4, 7)
    many = program(weights, Population(spec, seeds))
    time = torch.linspace(0, 3 * many.time_constant_second, 40, dtype=torch.float64)
    moving = Transient(many, played)
    states, full = list(moving.states(time)), moving.at(time)
    assert full.v_volt.shape == (40, 2, 3, 5)
    steps = moving.statistics.steps
    assert steps.shape == (2, 3)
    grid = moving.grid(time[-1].item())
    rest = full.v_volt[-1]
    settled, end = moving.settle(rest, 1e-2, float(grid[-1]))
    for k, seed in enumerate(seeds):
        chip = program(weights, Chip(spec, seed))
        alone = Transient(chip, played)
        run = alone.at(time)
        assert torch.equal(alone.statistics.steps, steps[k])
        close(run.v_volt, full.v_volt[:, k])
        close(run.slope_volt_per_second * 1e-9, full.slope_volt_per_second[:, k] * 1e-9)
        for ours, theirs in zip(alone.states(time), states):
            close(ours, theirs[k])
        close(alone.slope(ours) * 1e-9, moving.slope(theirs)[k] * 1e-9)
        close(alone.activation(rest[k]), moving.activation(rest)[k])
        close(alone.linearised(rest[k]) * 1e-9, moving.linearised(rest)[k] * 1e-9)
        close(alone.spectral_abscissa(rest[k]) * 1e-9, moving.spectral_abscissa(rest)[k] * 1e-9)
    assert settled.shape == (2, 3)
    assert end.shape == rest.shape


def test_every_chip_of_a_population_may_have_its_own_drives():
    spec = spec_with("rram", {"dac.inl_lsb": 2.0})
    weights, seeds = matrices(4, 2, 1, 2.0), (1, 2)
    many = program(weights, Population(spec, seeds))
    played = dac(many, drives(3, 2, 1))
    assert played.shape == (2, 3, 2)
    full = Transient(many, played).run(3 * many.time_constant_second)
    for k, seed in enumerate(seeds):
        alone = Transient(program(weights, Chip(spec, seed)), played[k])
        close(alone.at(full.time_second).v_volt, full.v_volt[:, k])
    assert (full.v_volt[-1, 0] - full.v_volt[-1, 1]).abs().max() > 1e-4


@pytest.mark.parametrize("block", [12, 40])
def test_it_does_not_matter_how_many_are_taken_at_a_time(monkeypatch, block):
    spec = spec_with("rram", BOTH)
    weights = matrices(6, 2, 1, 3.0)
    many, one = program(weights, Population(spec, (4, 7, 9))), program(weights, Chip(spec, 4))
    for layer in (many, one):
        whole = Transient(layer, drives(5, 2, 1))
        expected = whole.run(layer.time_constant_second / 2)
        monkeypatch.setattr(step_control, "_BLOCK", block)
        parts = Transient(layer, drives(5, 2, 1))
        found = parts.run(layer.time_constant_second / 2)
        monkeypatch.undo()
        close(found.v_volt, expected.v_volt)
        for name, tally in vars(whole.statistics).items():
            assert torch.equal(getattr(parts.statistics, name), tally), name


def test_it_does_not_matter_how_far_samples_run_ahead(monkeypatch):
    layer, played = make(spec_with("rram", BOTH), n=6, batch=5, norm=4.0)
    expected = Transient(layer, played).at(torch.linspace(0, 1e-6, 500, dtype=torch.float64))
    monkeypatch.setattr(step_control, "_AHEAD_BYTES", 1)
    found = Transient(layer, played).at(expected.time_second)
    assert torch.equal(found.v_volt, expected.v_volt)


@CASES
def test_single_precision_is_as_good_as_its_digits(changes):
    layer, played = make(spec_with("rram", changes), n=6, batch=4, norm=3.0)
    time = torch.linspace(0, 8 * layer.time_constant_second, 100, dtype=torch.float64)
    exact = Transient(layer, played, tolerance=1e-7).at(time)
    moving = Transient(layer, played, dtype=torch.float32)
    single = moving.at(time)
    assert single.v_volt.dtype == torch.float32
    assert next(moving.states(time)).dtype == torch.float32
    assert (single.v_volt - exact.v_volt).abs().max() / moving.v_a < 3e-5


def test_a_layer_that_is_being_trained_is_only_looked_at():
    weights = [w.requires_grad_() for w in matrices(3, 2)]
    layer = program(tuple(weights), Chip(spec_with("rram"), 1))
    moving = Transient(layer, drives(2, 2).requires_grad_())
    run = moving.run(layer.time_constant_second)
    assert not run.v_volt.requires_grad
    assert not moving.activation(run.v_volt).requires_grad
    assert not moving.linearised(run.v_volt[-1]).requires_grad


@pytest.mark.parametrize(
    ("keywords", "says"),
    [
        ({"tolerance": 0.0}, r"tolerance = 0\.0: expected from 1e-10"),
        ({"tolerance": float("nan")}, "tolerance = nan"),
        ({"tolerance": 1e-6, "dtype": torch.float32}, "expected from 1e-05 to 1 in torch.float32"),
        ({"steps_per_tau": 0}, "steps_per_tau = 0: expected 1 or more"),
        ({"dtype": torch.float16}, "expected torch.float64 or torch.float32"),
    ],
)
def test_unfit_arguments_are_refused(keywords, says):
    layer, played = make()
    with pytest.raises(ValueError, match=says):
        Transient(layer, played, **keywords)


def test_unfit_drives_and_instants_are_refused():
    layer, played = make()
    for bad in (played[0], played[:, :1], played[None], torch.full_like(played, torch.nan)):
        with pytest.raises(ValueError, match="drive"):
            Transient(layer, bad)
    moving = Transient(layer, played)
    for grid in ([], [1e-9, 0.0], [-1e-9, 0.0], [0.0, float("nan")], [0.0, float("inf")]):
        with pytest.raises(ValueError, match="expected instants"):
            next(moving.states(torch.tensor(grid)))
