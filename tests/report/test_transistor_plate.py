"""The picture of transistors against their twin: the worst output is on it, and there is none without the rung."""

import re
from types import SimpleNamespace

import pytest
import torch

pytest.importorskip("matplotlib", reason="the report is an optional extra")

from equilog.devices.ladder_report import TRANSISTORS, Rung, TransistorFindings
from equilog.devices.transistor_rung import TransistorOutputs
from equilog.report.rungs import SPOTS, _some, transistor_plate


def run(error: float, samples: int = 40, same: int | None = 39) -> SimpleNamespace:
    twin = torch.linspace(-1, 1, 20 * samples, dtype=torch.float64).view(samples, 20)
    gap = torch.zeros_like(twin)
    gap[3, 7] = error
    rung = Rung.of(TRANSISTORS, compared_with="twin", max_error=error, rms_error=error / 9, tolerance=0.01)
    found = TransistorFindings(
        technology="sky130-transistors", chip_seed=1, samples=samples, neurons=20, transistors=524, same_class=same,
        amplifier_max_error=0.05, amplifier_rms_error=0.01,
    )  # fmt: skip
    report = SimpleNamespace(rung={TRANSISTORS: rung}.get, transistors=found)
    return SimpleNamespace(report=report, ladder=SimpleNamespace(transistors=TransistorOutputs(twin, twin + gap)))


def test_it_says_what_was_compared():
    plate = transistor_plate(run(0.004))
    assert plate is not None
    assert "524 transistors" in plate.caption
    assert "40 samples at rest; 39 of them are classified" in plate.caption
    assert "classified" not in transistor_plate(run(0.004, same=None)).caption
    assert 'id="fig-transistors-svg"' in plate.drawings[0]
    assert len(plate.drawings[0]) < 120_000


def test_a_larger_error_takes_a_larger_axis():
    def ticks(error: float) -> float:
        drawn = transistor_plate(run(error)).drawings[0]
        numbers = [n.replace("−", "-") for n in re.findall(r">([−-]?\d+\.?\d*)</text>", drawn)]
        return max(map(float, numbers))

    assert max(19.0, ticks(0.004)) < ticks(0.6)


def test_without_the_rung_there_is_no_picture():
    bare = run(0.004)
    bare.ladder.transistors = None
    assert transistor_plate(bare) is None


@pytest.mark.parametrize("size", [1, SPOTS - 1, SPOTS, 3 * SPOTS + 1])
def test_few_points_and_always_the_worst(size):
    gap = torch.zeros(size)
    gap[size // 2] = -1
    shown = _some(gap)
    assert size // 2 in shown
    assert len(shown) <= SPOTS + 1
    assert len(shown) == size or size > SPOTS
