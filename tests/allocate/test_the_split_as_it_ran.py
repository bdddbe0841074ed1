"""From a trained model to a split that ran: what was predicted of energy, time and accuracy, and what happened."""

from __future__ import annotations

import json
import time
import xml.etree.ElementTree as ET
from pathlib import Path

import pytest
import torch
from splittable import Branches, digits, hybrid, trained
from torch import Tensor, nn

from equilog.allocate import Allocation, Capacity, Infeasible, Limits, Outcome, allocate
from equilog.allocate.figure import write_pictures
from equilog.allocate.problem import evaluate
from equilog.allocate.summary import energy_parts, summary
from equilog.conversion.layers import OnChip
from equilog.cost import load_target
from equilog.names import UserError

pytest.importorskip("sklearn", reason="the digits come with scikit-learn")

Run = tuple[Allocation, Outcome, float]


@pytest.fixture(scope="module")
def model() -> nn.Module:
    x, y = digits()
    return trained(hybrid(), x[:898], y[:898], epochs=12)


@pytest.fixture(scope="module")
def held_out() -> tuple[Tensor, Tensor]:
    x, y = digits()
    return x[898:], y[898:]


@pytest.fixture(scope="module")
def ran(model: nn.Module, held_out: tuple[Tensor, Tensor]) -> Run:
    """The model with a hundredth of accuracy to lose, beside a CPU core: chips are worth it there."""
    begin = time.perf_counter()
    found = allocate(model, *held_out, "rram", load_target("cpu-fp32"), limits=Limits(loss=0.01), chips=4)
    took = time.perf_counter() - begin
    return found, found.run(chips=6), took


def test_it_takes_seconds_and_is_proven(ran: Run) -> None:
    found, _, took = ran
    assert took < 10
    least = found.optimum.cost.energy_joule
    assert found.optimum.bound == pytest.approx(least, rel=1e-6)
    assert found.optimum.gap <= 1e-6
    assert found.kinds["equilibrium"] == "equilibrium"
    assert least < 0.9 * found.digital.energy_joule
    assert found.optimum.cost.loss <= 0.01


@pytest.mark.parametrize("kinds", ["chosen", "all products", "everything else"])
def test_energy_and_latency_are_what_a_recount_of_the_running_network_finds(
    kinds: str, ran: Run, model: nn.Module, held_out: tuple[Tensor, Tensor]
) -> None:
    found, outcome, _ = ran
    if kinds != "chosen":  # other splits, which need not be any good
        wanted = {
            "all products": {"parameterize.0": "product", "parameterize.3": "product", "readout": "product"},
            "everything else": {"parameterize.3": "equilibrium", "equilibrium": "digital", "readout": "digital"},
        }[kinds]
        found = allocate(model, *held_out, "cmos-sky130", pin=wanted, links=False, front=False, chips=1)
        assert {name: found.kinds[name] for name in wanted} == wanted
        outcome = found.run(chips=1)
    counted, cost = outcome.same_chip, found.optimum.cost
    for name in ("energy_joule", "latency_second"):
        span, again = found.span(name), getattr(counted, name)
        assert span.typical == getattr(cost, name)
        for end in ("low", "typical", "high"):
            assert getattr(again, end) == pytest.approx(getattr(span, end), rel=1e-6)
    # On another chip layers get what others' errors make of it, and take a little more or less.
    assert outcome.unseen_chip.energy_joule.typical == pytest.approx(cost.energy_joule, rel=0.1)
    assert outcome.unseen_chip.energy_joule.typical != counted.energy_joule.typical


def test_accuracy_is_what_was_predicted(ran: Run) -> None:
    found, outcome, _ = ran
    chosen = [key for key in found.measured if found.kinds[key[0]] == key[1]]
    lost = [found.ideal - found.measured[key].mean for key in chosen]
    assert found.optimum.cost.loss == pytest.approx(sum(max(0.0, loss) for loss in lost))
    assert outcome.predicted == outcome.ideal - found.optimum.cost.loss
    assert len(outcome.happened.each) == 6
    assert abs(outcome.happened.mean - outcome.predicted) < 0.01
    assert outcome.ideal > 0.85


def test_the_split_is_the_model_with_the_chosen_layers_on_chips(ran: Run, held_out: tuple[Tensor, Tensor]) -> None:
    found, _, _ = ran
    split, x = found.split(), held_out[0][:50]
    analog = {name for name, module in split.named_modules() if isinstance(module, OnChip)}
    assert analog == {name for name, kind in found.kinds.items() if kind != "digital"}
    with torch.no_grad():
        gap = float((split(x) - found.model(x)).abs().max())
    assert gap < 1e-3


def test_the_front_is_pareto_and_holds_the_optimum(ran: Run) -> None:
    found, _, _ = ran
    axes = [(p.cost.energy_joule, p.cost.latency_second, p.cost.loss) for p in found.front]
    assert found.front_whole
    assert len(axes) > 1
    assert axes == sorted(axes)
    for one in axes:
        assert not any(all(a <= b for a, b in zip(o, one)) for o in axes if o is not one)
    assert axes[0][0] == pytest.approx(found.optimum.cost.energy_joule, rel=1e-6)
    for p in found.front:
        assert evaluate(found.problem, p.choice) == p.cost
    assert min(loss for _, _, loss in axes) == 0  # all digital loses nothing


def test_parts_add_up_to_the_energy(ran: Run) -> None:
    found, _, _ = ran
    for situation, choice in ((found.situation, found.optimum.choice), found.all_digital):
        parts = energy_parts(situation, choice)
        whole = evaluate(situation.problem(), choice).energy_joule
        assert sum(p.joule for p in parts) == pytest.approx(whole, rel=1e-12)
        analog = {p.name for p in parts if p.analog}
        kinds = found.kinds_of(choice)
        wanted = {name for name, kind in kinds.items() if kind != "digital"}
        assert analog == (wanted | {"converters"} if wanted else set())


def test_pictures_and_summary_are_written(ran: Run, tmp_path: Path) -> None:
    found, outcome, _ = ran
    paths = write_pictures(found, tmp_path / "new", outcome)
    assert [p.name for p in paths] == ["graph.svg", "energy.svg", "front.svg"]
    words = {}
    for path in paths:
        root = ET.parse(path).getroot()  # our own file
        drawn = [e for e in root.iter() if e.tag.endswith(("}path", "}rect", "}use"))]
        assert len(drawn) > 8, path.name
        words[path.name] = " ".join("".join(e.itertext()) for e in root.iter() if e.tag.endswith(("}text", "}title")))
    for name in found.kinds:
        assert name in words["graph.svg"]
    assert "DAC" in words["graph.svg"]
    assert "ADC" in words["graph.svg"]
    assert "all digital" in words["energy.svg"]
    assert "converters" in words["energy.svg"]
    data = json.loads(json.dumps(summary(found, outcome), allow_nan=False))
    assert data["proof"]["least"] == found.optimum.cost.energy_joule
    rows = {row["by"] + " " + row["of"] for row in data["conversions"]}
    assert {"ADC readout", "link equilibrium"} <= rows
    assert any(row.startswith("DAC ") for row in rows)


def test_names_out_of_a_model_are_text_in_pictures(tmp_path: Path) -> None:
    model = nn.Sequential()
    model.add_module("<script>alert(1)</script> & $x^2$", nn.Linear(4, 3))
    write_pictures(allocate(model, torch.randn(8, 4), chips=1), tmp_path)
    for path in tmp_path.iterdir():
        assert not any("script" in e.tag for e in ET.parse(path).getroot().iter())


# --- limits, pins, capacity -----------------------------------------------------------------------------------


def quick(model: nn.Module, x: Tensor, y: Tensor | None = None, **options: object) -> Allocation:
    target = load_target("gpu-fp16")  # every launch it is spared pays for a chip
    return allocate(model, x, y, "rram", target, front=False, chips=1, **options)  # type: ignore[arg-type]


def test_without_tiles_everything_is_digital() -> None:
    x = torch.randn(32, 5)
    assert "product" in quick(Branches(), x).kinds.values()
    found = quick(Branches(), x, capacity=Capacity(tiles=0))
    assert set(found.kinds.values()) == {"digital"}
    assert found.optimum.cost == found.digital
    outcome = found.run(chips=3)
    assert outcome.happened.mean == outcome.ideal == outcome.predicted == 1.0
    assert outcome.same_chip.energy_joule.typical == pytest.approx(found.digital.energy_joule, rel=1e-12)
    assert outcome.same_chip.dac_conversions == outcome.same_chip.adc_conversions == 0


def test_tiles_go_to_whom_they_save_most() -> None:
    found = quick(Branches(), torch.randn(32, 5), capacity=Capacity(tiles=1))
    assert sorted(found.kinds.values()) == ["digital", "digital", "product"]
    assert found.optimum.cost.tiles == 1


def test_a_layer_that_no_tile_takes_says_so_and_tall_ones_take_several() -> None:
    narrow = quick(Branches(), torch.randn(32, 5), capacity=Capacity(tile_inputs=5))
    assert [(r.module, r.reason) for r in narrow.refused if r.kind == "product"] == [
        ("head", "it has 6 inputs, a tile has 5")
    ]
    low = quick(Branches(), torch.randn(32, 5), capacity=Capacity(tile_outputs=4), pin={"left": "product"})
    assert next(c.tiles for c in low.situation.found if c.module == "left") == 2


def test_layers_at_the_same_dacs_share_them(ran: Run) -> None:
    found = quick(Branches(), torch.randn(32, 5), pin={"left": "product", "right": "product", "head": "digital"})
    cross = found.crossings
    assert len(cross.played) == 1
    assert len(cross.entered) == 2
    outcome = found.run(chips=1)
    assert outcome.same_chip.dac_conversions == 5
    assert outcome.same_chip.adc_conversions == 12
    assert outcome.same_chip.energy_joule.typical == pytest.approx(found.optimum.cost.energy_joule, rel=1e-6)


def test_states_go_from_crossbar_to_crossbar_without_converters(
    model: nn.Module, held_out: tuple[Tensor, Tensor]
) -> None:
    pin = {"parameterize.3": "equilibrium", "equilibrium": "equilibrium", "readout": "digital"}
    linked = allocate(model, *held_out, pin=pin, front=False, chips=1)
    apart = allocate(model, *held_out, pin=pin, front=False, chips=1, links=False)
    assert len(linked.crossings.linked) == 1
    assert not apart.crossings.linked
    assert linked.optimum.cost.energy_joule < apart.optimum.cost.energy_joule
    outcome, other = linked.run(chips=3), apart.run(chips=3)
    assert other.same_chip.adc_conversions - outcome.same_chip.adc_conversions == 8
    assert other.same_chip.dac_conversions - outcome.same_chip.dac_conversions == 8
    # Not to rounding: while ADCs read it, an equilibrium is charged the power that it takes behind DACs.
    assert outcome.same_chip.energy_joule.typical == pytest.approx(linked.optimum.cost.energy_joule, rel=1e-3)
    assert other.same_chip.energy_joule.typical == pytest.approx(apart.optimum.cost.energy_joule, rel=1e-6)
    assert outcome.happened.mean == pytest.approx(other.happened.mean, abs=0.03)


def test_limits_that_nothing_keeps_are_named(model: nn.Module, held_out: tuple[Tensor, Tensor]) -> None:
    with pytest.raises(Infeasible, match=r"latency ≤ 0.001 µs \(--max-latency\) binds, the least of any split is"):
        quick(model, *held_out, limits=Limits(latency_second=1e-9))


def test_a_pin_holds_against_the_optimum() -> None:
    x = torch.randn(32, 5)
    free = quick(Branches(), x)
    name = next(n for n, kind in free.kinds.items() if kind != "digital")
    held = quick(Branches(), x, pin={name: "digital"})
    assert held.kinds[name] == "digital"
    assert held.optimum.cost.energy_joule > free.optimum.cost.energy_joule


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"pin": {"haed": "digital"}}, r"unknown layer to pin 'haed' \(did you mean 'head'\?\)"),
        (
            {"pin": {"head": "equilibrium"}},
            r"'head' cannot be pinned to 'equilibrium'; expected one of: digital, product",
        ),
        ({"cells": ["lefft"]}, r"unknown cell 'lefft' \(did you mean 'left'\?\)"),
        ({"minimise": "enrgy"}, r"unknown objective 'enrgy' \(did you mean 'energy'\?\)"),
        ({"chips": 0}, r"chips = 0: expected at least one"),
        ({"limits": Limits(loss=-0.1)}, r"loss = -0.1: expected a limit of 0 or more"),
        ({"hardware": "rrram"}, r"unknown hardware preset 'rrram' \(did you mean 'rram'\?\)"),
    ],
)
def test_names_and_numbers_that_are_not_there(options: dict[str, object], message: str) -> None:
    with pytest.raises(UserError, match=message):
        allocate(Branches(), torch.randn(8, 5), front=False, **{"chips": 1} | options)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("x", "labels", "message"),
    [
        (torch.randn(8, 4), None, r"Branches cannot be called with inputs of shape \[\(8, 4\)\]: RuntimeError: mat1"),
        (
            torch.randn(8, 4),
            torch.zeros(8, dtype=torch.int64),
            r"Branches cannot be called with the sample: RuntimeError",
        ),
        (torch.randn(8, 5), torch.zeros(7, dtype=torch.int64), r"\[7, 8\] samples: expected the same number"),
        (torch.randn(1, 5), None, r"\[1\] samples: expected the same number of each, at least 2"),
        (torch.tensor(3.0), None, r"expected inputs as a tensor, or a tuple of tensors, with the batch first"),
        (
            torch.randn(8, 5),
            torch.zeros(8, 2),
            r"outputs of shape \(4, 3\) and labels of shape \(4, 2\): accuracy needs",
        ),
    ],
)
def test_samples_that_do_not_fit(x: Tensor, labels: Tensor | None, message: str) -> None:
    with pytest.raises(UserError, match=message):
        allocate(Branches(), x, labels, front=False, chips=1)
