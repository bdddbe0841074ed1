"""The detector in ngspice reports when the twin's does, to a thousandth of the time constant; and when it fails."""

import math
import re
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pytest
import torch
from builders import NO_MISMATCH, detector_data, drives, layer_of, spec_with
from torch import Tensor

from equilog.circuit import Ngspice, NgspiceError, settle, write_circuit
from equilog.circuit.detector import detect, report_second, write_detector
from equilog.circuit.rawfile import Plot
from equilog.equilibrium import EquilibriumLayer
from equilog.hardware import Chip, ProgrammedLayer, program
from equilog.hardware.detector import Detection, comparator_limits, watch
from equilog.hardware.transient import Transient
from equilog.hardware.twin import static_system

TOLERANCE = 0.01


@dataclass(frozen=True)
class Case:
    """A network and its detector, whose figures are in units of V_a and of the time constant."""

    name: str
    n: int
    preset: str = "rram"
    figures: dict[str, float] = field(default_factory=dict)
    changes: dict[str, Any] = field(default_factory=dict)
    seed: int = 1
    agree: float = 1e-3
    """of the time constant"""

    def layer(self) -> ProgrammedLayer:
        base = layer_of(spec_with(self.preset, self.changes), self.n, 2, self.seed)
        spec = spec_with(self.preset, self.changes | {"detector": detector_data(base, **self.figures)})
        return layer_of(spec, self.n, 2, self.seed)


CASES = [
    Case("one neuron, RRAM", 1),
    Case("one neuron, board", 1, "board"),
    Case("four neurons, RRAM", 4),
    Case("four neurons, board", 4, "board"),
    Case("eight neurons, RRAM", 8),
    Case("eight neurons, board", 8, "board"),
    Case("large offsets", 4, figures={"offset": 0.003}, seed=3),
    Case("short window", 4, figures={"window": 0.2}),
    Case("long window", 4, "board", {"window": 4.0}),
    Case("long hold", 4, figures={"hold": 4.0}),
    # The netlist's timer holds 1e-4 of the window at least, and sees a comparator begin to turn.
    Case("no hold", 4, figures={"hold": 0.0}, agree=2e-3),
    Case("large threshold", 4, figures={"threshold": 0.3}),
    Case("small threshold", 4, figures={"threshold": 2e-3, "offset": 2e-4}),
]


def watched(layer: ProgrammedLayer, played: Tensor, duration: float | None = None) -> Detection:
    p = EquilibriumLayer(on_failure="raise").rest(static_system(layer, played))
    return watch(Transient(layer, played), p * float(layer.spec.activation.v_scale_volt), TOLERANCE, duration)


def simulated(simulator: Ngspice, layer: ProgrammedLayer, played: Tensor, folder, duration=None) -> list[float]:
    write_circuit(layer, folder)
    write_detector(layer, folder, settle=played, duration_second=duration)
    return [detect(simulator, folder, k) for k in range(len(played))]


def creeping(threshold: float) -> tuple[ProgrammedLayer, Tensor]:
    """A neuron fed back almost one to one: it creeps towards rest twenty times more slowly than on its own."""
    one = torch.ones(1, 1, dtype=torch.float64)
    weights = (0.95 * one, 0.05 * one, 0 * one[0])
    base = program(weights, Chip(spec_with("rram", NO_MISMATCH), 0))
    figures = detector_data(base, threshold=threshold, timeout=60.0, offset=0.1 * threshold)
    return program(weights, Chip(spec_with("rram", NO_MISMATCH | {"detector": figures}), 0)), 0.2 * one


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
@pytest.mark.ngspice
def test_reports_agree(case: Case, simulator, tmp_path):
    layer, played = case.layer(), drives(2, 2, seed=4)
    ours = watched(layer, played).report_second
    theirs = torch.tensor(simulated(simulator, layer, played, tmp_path, 1.05 * float(ours.max())), dtype=torch.float64)
    assert ours.isfinite().all()
    assert (ours - theirs).abs().max() <= case.agree * layer.time_constant_second
    # Later than silence would be reported: the comparators did decide it.
    silence = float(layer.spec.detector.window_second + layer.spec.detector.hold_second)
    assert (ours > silence + 0.05 * layer.time_constant_second).any()


@pytest.mark.ngspice
def test_after_the_timeout_neither_reports(simulator, tmp_path):
    played = drives(2, 2, seed=4)
    case = Case("", 4)
    usual = watched(case.layer(), played).report_second / case.layer().time_constant_second
    assert abs(usual[0] - usual[1]) > 0.1
    layer = Case("", 4, figures={"timeout": float(usual.mean())}).layer()
    ours = watched(layer, played)
    theirs = simulated(simulator, layer, played, tmp_path, 1.5 * float(usual.max()) * layer.time_constant_second)
    assert ours.timed_out.sum() == 1
    assert [math.isinf(report) for report in theirs] == ours.timed_out.tolist()


@pytest.mark.ngspice
def test_comparators_whose_offsets_exceed_the_threshold_never_report(simulator, tmp_path):
    layer, played = Case("", 4, figures={"offset": 0.05, "timeout": 12.0}).layer(), drives(1, 2, seed=4)
    assert (comparator_limits(layer) < 0).any()
    assert watched(layer, played).missed.all()
    assert simulated(simulator, layer, played, tmp_path) == [math.inf]


@pytest.mark.ngspice
def test_both_report_too_early_while_the_circuit_creeps(simulator, tmp_path):
    layer, played = creeping(threshold=0.004)
    ours = watched(layer, played)
    assert ours.false_settle.all()
    theirs = simulated(simulator, layer, played, tmp_path)[0]
    assert theirs == pytest.approx(float(ours.report_second[0]), abs=2e-3 * layer.time_constant_second)
    # The simulator agrees that this was no rest: by the timeout the output has moved on by far more than the band.
    plot = simulator.run(tmp_path, "detect_0.cir", "detect.raw")[-1]
    z = plot["v(sp0)"] / float(layer.spec.activation.v_out_volt)
    assert abs(z[-1] - np.interp(theirs, plot["time"], z)) > 3 * TOLERANCE


@pytest.mark.ngspice
def test_an_exchanged_offset_is_noticed(simulator, tmp_path):
    """The comparison can fail: the two comparators of one neuron exchanged."""
    layer, played = Case("", 1, figures={"offset": 0.005}).layer(), drives(1, 2, seed=4)
    ours = float(watched(layer, played).report_second[0])
    write_circuit(layer, tmp_path)
    write_detector(layer, tmp_path, settle=played, duration_second=1.5 * ours)
    deck = tmp_path / "detector.cir"
    deck.write_text(re.sub(r"high=(\S+) low=(\S+)", r"high=\2 low=\1", deck.read_text()))
    assert abs(detect(simulator, tmp_path, 0) - ours) > 0.05 * layer.time_constant_second


@pytest.mark.ngspice
def test_the_detector_does_not_load_the_circuit(simulator, tmp_path):
    layer, played = Case("", 4).layer(), drives(1, 2, seed=4)
    duration = 5 * layer.time_constant_second
    write_circuit(layer, tmp_path, settle=played, duration_second=duration)
    write_detector(layer, tmp_path, settle=played, duration_second=duration)
    alone = settle(simulator, tmp_path, 4, 0)
    beside = simulator.run(tmp_path, "detect_0.cir", "detect.raw")[-1]
    for i in range(4):
        v = np.interp(alone.time_second, beside["time"], beside[f"v(v{i})"])
        assert np.abs(v - alone.v_volt[:, i].numpy()).max() < 1e-4 * float(layer.spec.activation.v_scale_volt)


def test_the_deck_holds_every_limit_digit_for_digit(tmp_path):
    layer = Case("", 3).layer()
    paths = write_detector(layer, tmp_path, settle=drives(2, 2))
    assert [path.name for path in paths] == ["detector.lib", "detector.cir", "detect_0.cir", "detect_1.cir"]
    deck = (tmp_path / "detector.cir").read_text()
    found = [[float(high), float(low)] for high, low in re.findall(r"^\+ high=(\S+) low=(\S+)$", deck, re.M)]
    assert torch.equal(torch.tensor(found, dtype=torch.float64), comparator_limits(layer).T)
    assert re.findall(r"^Xd\d+ (\S+ \S+) still comparator_pair", deck, re.M) == ["v0 lag0", "v1 lag1", "v2 lag2"]


def test_benches_of_an_earlier_call_are_removed(tmp_path):
    layer = Case("", 2).layer()
    write_detector(layer, tmp_path, settle=drives(3, 2))
    write_detector(layer, tmp_path, settle=drives(1, 2))
    assert [path.name for path in sorted(tmp_path.glob("detect_*"))] == ["detect_0.cir"]


def test_the_report_is_read_between_time_points():
    names = ("time", "v(settled)")
    rises = Plot("", names, np.array([[0.0, 0.0], [1.0, 0.1], [2.0, 0.9], [3.0, 0.2], [4.0, 1.0]]))
    assert report_second(rises) == pytest.approx(1.5)
    assert report_second(Plot("", names, rises.data[:2])) == math.inf
    assert report_second(Plot("", names, rises.data[2:])) == 2.0
    with pytest.raises(NgspiceError, match="v\\(settled\\)"):
        report_second(Plot("", ("time", "v(v0)"), rises.data))


def test_a_technology_without_detector_is_refused(tmp_path):
    with pytest.raises(ValueError, match="has no detector"):
        write_detector(layer_of(spec_with("rram", {"detector": None}), 2, 1), tmp_path)
