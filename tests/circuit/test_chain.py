"""The whole chain in ngspice gives the twin's codes: of the same sample, drive to code, and says when it gives none."""

import math
import re
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import torch
from builders import NO_MISMATCH, detector_data, drives, layer_of, matrices, spec_with
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from equilog.circuit import NgspiceError
from equilog.circuit.chain import ChainRun, chain, code_size, codes, twin_chain, write_chain
from equilog.circuit.rawfile import Plot
from equilog.hardware import Chip, Conditions, Population, ProgrammedLayer, program
from equilog.hardware.rest import at_rest
from equilog.hardware.twin import adc, dac

INL = {"dac.inl_lsb": 0.7, "adc.inl_lsb": 0.7}
# Of states, in units of full scale: a hundredth of a code of the RRAM technology.
HELD = 1e-4
REPORT = 1e-3


def oscillator() -> tuple[ProgrammedLayer, Tensor]:
    """Two neurons that drive each other in circles for ever, and a detector that gives up after 12 time constants."""
    weights = (
        torch.tensor([[2.0, -3.0], [3.0, 2.0]], dtype=torch.float64),
        torch.tensor([[0.5], [0.0]], dtype=torch.float64),
        torch.zeros(2, dtype=torch.float64),
    )
    figures = detector_data(program(weights, Chip(spec_with("rram", NO_MISMATCH), 0)), timeout=12.0)
    spec = spec_with("rram", NO_MISMATCH | {"detector": figures})
    return program(weights, Chip(spec, 0)), torch.tensor([[0.8]], dtype=torch.float64)


def through(simulator, layer: ProgrammedLayer, drive: Tensor, folder: Path) -> list[ChainRun]:
    write_chain(layer, folder, drive=drive, report=twin_chain(layer, drive).report_second)
    return [chain(simulator, folder, k) for k in range(len(drive))]


@pytest.mark.ngspice
@pytest.mark.parametrize(
    ("preset", "n", "changes"),
    [("rram", 4, {}), ("rram", 8, INL), ("board", 4, {}), ("board", 8, INL), ("optical", 4, {})],
)
def test_codes_are_those_of_the_twin(preset: str, n: int, changes: dict[str, Any], simulator, tmp_path):
    layer = layer_of(spec_with(preset, changes), n, 3, 1)
    drive = torch.cat([torch.zeros(1, 3, dtype=torch.float64), 1.2 * drives(3, 3, seed=4)])
    assert (drive.abs() > 1).any(), "some clip"
    ours, theirs = twin_chain(layer, drive), through(simulator, layer, drive, tmp_path)
    rest = at_rest(layer, dac(layer, drive)).z
    v_s, full = float(layer.spec.activation.v_out_volt), float(layer.spec.dac.full_scale_volt)
    for k, run in enumerate(theirs):
        assert not run.timed_out
        assert run.codes is not None
        assert torch.equal(run.codes, ours.codes[k])
        # Both are codes of what was held, and that is what the twin held at its own report.
        held = run.held_volt / v_s
        assert torch.equal(run.codes, codes(layer, held[None])[0])
        assert (held - ours.held[k]).abs().max() < HELD
        assert run.report_second == pytest.approx(float(ours.report_second[k]), rel=REPORT)
        # The DACs put out what the twin's do; they have nearly settled when the network starts.
        assert (run.played_volt / full - dac(layer, drive)[k]).abs().max() < 1e-4
    # The detector of these technologies waits long enough: what is held is at rest within half a code.
    if preset != "optical":
        assert (ours.held - rest).abs().max() < 0.5 * code_size(layer)
        assert torch.equal(codes(layer, rest), ours.codes)


@pytest.mark.ngspice
def test_a_detector_that_reports_too_early_is_followed_in_time(simulator, tmp_path):
    """Held states are far from rest then; the codes are the twin's at the report all the same."""
    base = layer_of(spec_with("rram"), 4, 2, 1)
    figures = detector_data(base, threshold=0.3, window=0.5, hold=0.2)
    layer = layer_of(spec_with("rram", {"detector": figures}), 4, 2, 1)
    drive = drives(2, 2, seed=4)
    ours, theirs = twin_chain(layer, drive), through(simulator, layer, drive, tmp_path)
    rest = at_rest(layer, dac(layer, drive)).z
    assert ((ours.held - rest).abs().amax(1) > 2 * code_size(layer)).all()
    for k, run in enumerate(theirs):
        assert run.codes is not None
        assert torch.equal(run.codes, ours.codes[k])
        assert not torch.equal(run.codes, codes(layer, rest)[k])


@pytest.mark.ngspice
def test_a_network_that_never_rests_times_out(simulator, tmp_path):
    layer, drive = oscillator()
    ours = twin_chain(layer, drive)
    assert ours.report_second.isinf().all()
    assert ours.held.isnan().all()
    run = through(simulator, layer, drive, tmp_path)[0]
    assert run.timed_out
    assert run.codes is None
    assert run.report_second == math.inf


@pytest.mark.ngspice
def test_comparators_that_never_let_go_time_out(simulator, tmp_path):
    base = layer_of(spec_with("rram"), 4, 2, 1)
    figures = detector_data(base, offset=0.05, timeout=12.0)
    layer = layer_of(spec_with("rram", {"detector": figures}), 4, 2, 1)
    run = through(simulator, layer, drives(1, 2, seed=4), tmp_path)[0]
    assert run.timed_out
    assert run.codes is None


@pytest.mark.ngspice
@pytest.mark.parametrize(
    ("deck", "pattern", "text"),
    [
        ("chain.cir", r"(Xadc0 .* odd=)\S+", r"\g<1>3.0"),
        ("chain.cir", r"(Xadc0 \S+ \S+ \S+ adc full=)\S+", r"\g<1>0.24"),
        ("chain.cir", r"(Xdac1 .* odd=)\S+", r"\g<1>30.0"),
        ("crossbar.inc", r"(Rp_0_0 \S+ \S+ )\S+", r"\g<1>2e4"),
    ],
)
def test_a_wrong_part_is_noticed(deck: str, pattern: str, text: str, simulator, tmp_path):
    """The comparison can fail."""
    layer, drive = layer_of(spec_with("rram", INL), 4, 3, 1), drives(1, 3, seed=4)
    ours = twin_chain(layer, drive)
    write_chain(layer, tmp_path, drive=drive, report=1.2 * ours.report_second)
    path = tmp_path / deck
    changed, count = re.subn(pattern, text, path.read_text())
    assert count == 1
    path.write_text(changed)
    found = chain(simulator, tmp_path, 0).codes
    assert found is None or not torch.equal(found, ours.codes[0])


def test_the_folder_is_complete_and_holds_one_network(tmp_path):
    layer = layer_of(spec_with("rram"), 3, 2, 1)
    paths = write_chain(layer, tmp_path, drive=drives(2, 2))
    names = {path.name for path in paths}
    assert names == {path.name for path in tmp_path.iterdir()}
    assert {"chain.cir", "converters.lib", "chain_0.cir", "chain_1.cir"} <= names
    assert not re.search(r"^Vd\d", (tmp_path / "layer.cir").read_text(), re.M)
    write_chain(layer, tmp_path, drive=drives(1, 2))
    assert [path.name for path in sorted(tmp_path.glob("chain_*"))] == ["chain_0.cir"]
    deck = (tmp_path / "chain.cir").read_text()
    for kind, count in (("dac", 2), ("adc", 3), ("hold", 3), ("reset", 3), ("empty", 3)):
        assert len(re.findall(rf"^X{kind}\d+ ", deck, re.M)) == count


@cache
def bent() -> ProgrammedLayer:
    return layer_of(spec_with("rram", INL), 4, 2, 1)


@given(st.lists(st.floats(-2, 2), min_size=4, max_size=4))
def test_codes_are_those_of_the_twins_adc(values: list[float]):
    layer = bent()
    state = torch.tensor([values], dtype=torch.float64)
    found = codes(layer, state)
    assert found.abs().max() <= 127
    assert torch.allclose(found.double() * code_size(layer), adc(layer, state), atol=1e-12)


def test_noise_of_single_reads_is_left_out():
    when = Conditions(reads=torch.Generator().manual_seed(1))
    layer = layer_of(spec_with("rram", {"adc.noise_volt": 0.1, "dac.noise_volt": 0.1}), 3, 2, 1, conditions=when)
    drive = drives(2, 2)
    first, second = twin_chain(layer, drive), twin_chain(layer, drive)
    assert torch.equal(first.codes, second.codes)
    assert torch.equal(first.held, second.held)


def test_what_cannot_be_a_chain_is_refused(tmp_path):
    without = layer_of(spec_with("rram", {"detector": None}), 2, 1)
    for write in (lambda: write_chain(without, tmp_path), lambda: twin_chain(without, drives(1, 1))):
        with pytest.raises(ValueError, match="has no detector"):
            write()
    layer = layer_of(spec_with("rram"), 2, 1)
    with pytest.raises(ValueError, match="one report time for every sample"):
        write_chain(layer, tmp_path, drive=drives(2, 1), report=torch.ones(3))
    with pytest.raises(ValueError, match=r"expected \(batch, 1\)"):
        write_chain(layer, tmp_path, drive=drives(2, 3))


class Scripted:
    """A simulator that hands back one given plot."""

    def __init__(self, plot: Plot) -> None:
        self.plot = plot

    def run(self, *_args: object, **_kwargs: object) -> list[Plot]:
        return [self.plot]


def test_a_bench_that_ends_too_soon_gives_no_codes(tmp_path):
    layer = layer_of(spec_with("rram"), 1, 1)
    write_chain(layer, tmp_path)
    names = ("time", "v(run)", "v(settled)", "v(done)", "v(held0)", "v(y0)", "v(dp0)")
    rows = torch.tensor([[0.0, 0, 0, 0, 0, 0, 0], [1e-6, 1, 0, 0, 0.1, 0, 0], [2e-6, 1, 1, 0, 0.1, 0, 0]]).double()
    with pytest.raises(NgspiceError, match="before the ADCs are done"):
        chain(Scripted(Plot("", names, rows.numpy())), tmp_path, 0)  # type: ignore[arg-type]
    # Ended before report and timeout: no codes, and nothing has timed out either.
    run = chain(Scripted(Plot("", names, rows[:2].numpy())), tmp_path, 0)  # type: ignore[arg-type]
    assert run.codes is None
    assert not run.timed_out


def test_a_population_is_no_chain(tmp_path):
    layer = program(matrices(2, 1), Population(spec_with("rram"), [0, 1]))
    for make in (lambda: twin_chain(layer, drives(1, 1)), lambda: write_chain(layer, tmp_path)):
        with pytest.raises(ValueError, match="population of 2"):
            make()
