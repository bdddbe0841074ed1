"""The digital side by hand: arithmetic, instructions, memories that hold the weights or not, batches, nodes, files."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from equilog.cost import Work, default_target, load_target, module_work, target_names
from equilog.cost.digital import solver_work
from equilog.cost.nodes import energy_factor, nodes, rate_factor
from equilog.cost.target import DigitalTarget
from equilog.hardware import Figure
from equilog.names import UserError

TOY: dict[str, Any] = {
    "name": "toy",
    "summary": "for this test",
    "precision": "fp16",
    "node_nanometre": 45.0,
    "mac_joule": 1e-12,
    "instruction_joule": 8e-12,
    "macs_per_instruction": 4.0,
    "bytes_per_number": 2.0,
    "activation_macs": 5.0,
    "mac_per_second": 2e9,
    "utilisation": 0.5,
    "launch_second": 1e-8,
    "standing_watt": 1e-3,
    "memory": (
        {"name": "registers", "capacity_byte": 100.0, "joule_per_byte": 1e-13, "byte_per_second": 1e12,
         "scaling": "logic", "weights_only": True},
        {"name": "SRAM", "capacity_byte": 1000.0, "joule_per_byte": 3e-12, "byte_per_second": 1e10, "scaling": "sram"},
        {"name": "DRAM", "joule_per_byte": 1e-10, "byte_per_second": 1e9, "scaling": "dram"},
    ),
}  # fmt: skip


def toy(**changes: Any) -> DigitalTarget:
    return DigitalTarget.model_validate(TOY | changes)


def test_energy_of_work_by_hand() -> None:
    work = Work(macs=100, fetched_numbers=50, activations=4, weight_numbers=40)
    parts = work.energy_parts(toy())
    # (100 + 4 · 5) MACs of 1 pJ and a quarter of 8 pJ each.
    assert parts["arithmetic"].typical == pytest.approx(120 * 3e-12)
    # 40 weights of 2 bytes fit into registers, but are read once: they come from SRAM, 3 pJ a byte. So do the other 10.
    assert parts["weights from SRAM"].typical == pytest.approx(80 * 3e-12)
    assert parts["activations from SRAM"].typical == pytest.approx(20 * 3e-12)
    # 1 mW during 10 ns of launch and the longer of 120 MACs at 1 G/s and (80 + 20) bytes at 10 GB/s: 130 ns.
    assert parts["standing power"].typical == pytest.approx(1e-3 * 130e-9)
    assert work.energy_joule(toy()).typical == pytest.approx((360 + 240 + 60 + 130) * 1e-12)


def test_latency_of_work_by_hand() -> None:
    # Arithmetic 120 ns against 100 bytes in 10 ns; three launches of 10 ns.
    work = Work(macs=100, fetched_numbers=50, activations=4, weight_numbers=40, steps=3)
    assert work.latency_second(toy()).typical == pytest.approx(150e-9)
    # 2000 bytes of weights live in DRAM and take 2 µs.
    heavy = Work(macs=100, fetched_numbers=1000, weight_numbers=1000)
    assert heavy.latency_second(toy()).typical == pytest.approx(10e-9 + 2e-6)


@pytest.mark.parametrize(
    ("weights", "level", "joule"), [(50, "registers", 1e-13), (500, "SRAM", 3e-12), (501, "DRAM", 1e-10)]
)
def test_weights_that_are_read_again_live_where_they_fit(weights: int, level: str, joule: float) -> None:
    # 7 passes over them, 2 bytes each.
    work = Work(macs=1, fetched_numbers=7 * weights, weight_numbers=weights, passes=7)
    assert work.energy_parts(toy())[f"weights from {level}"].typical == pytest.approx(14 * weights * joule)


def test_a_batch_shares_the_weights_and_nothing_else() -> None:
    work = Work(macs=100, fetched_numbers=700, weight_numbers=100, passes=6, steps=6)
    alone, shared = work.energy_parts(toy()), work.energy_parts(toy(), batch=4)
    assert shared["weights from SRAM"].typical == pytest.approx(alone["weights from SRAM"].typical / 4)
    assert shared["activations from SRAM"] == alone["activations from SRAM"]
    assert shared["arithmetic"] == alone["arithmetic"]
    # 1 mW for 60 ns of launches and, of all four, 400 MACs in 400 ns (their memory takes 200 ns); a quarter each.
    assert shared["standing power"].typical == pytest.approx(1e-3 * 460e-9 / 4)


def test_states_of_a_large_batch_no_longer_fit() -> None:
    work = Work(macs=1, fetched_numbers=20, steps=1)  # 40 bytes a sample
    assert "activations from SRAM" in work.energy_parts(toy(), batch=25)
    assert "activations from DRAM" in work.energy_parts(toy(), batch=26)


def test_ranges_of_the_target_reach_the_energy() -> None:
    spread = toy(mac_joule={"value": 1e-12, "low": 1e-13, "high": 1e-11}, instruction_joule=1e-30, standing_watt=1e-30)
    energy = Work(macs=100, fetched_numbers=0).energy_joule(spread)
    assert [energy.low, energy.typical, energy.high] == pytest.approx([1e-11, 1e-10, 1e-9])


def test_work_after_work_adds_up() -> None:
    both = Work(macs=10, fetched_numbers=30, weight_numbers=10, passes=2) + Work(
        macs=5, fetched_numbers=8, weight_numbers=5, steps=2
    )
    assert (both.macs, both.fetched_numbers, both.weight_numbers, both.steps) == (15, 38, 15, 3)
    assert both.weight_numbers * both.passes == pytest.approx(25)
    assert both.streamed_numbers == pytest.approx(13)


def test_more_weights_than_numbers_are_refused() -> None:
    with pytest.raises(ValueError, match="more than the fetched_numbers"):
        Work(macs=1, fetched_numbers=10, weight_numbers=6, passes=2)
    with pytest.raises(ValueError, match="batch = 0"):
        Work(macs=1, fetched_numbers=10).energy_joule(toy(), 0)


def test_work_of_a_linear_layer_by_hand() -> None:
    work = module_work(nn.Linear(10, 4), torch.zeros(1, 10))
    assert work.macs == 40  # 10 · 4
    assert work.fetched_numbers == 44 + 10 + 4  # weights and biases, input, output
    assert (work.weight_numbers, work.steps) == (44, 1)


def test_work_of_a_convolution_by_hand() -> None:
    work = module_work(nn.Conv2d(2, 3, 3, padding=1, bias=False), torch.zeros(1, 2, 5, 5))
    assert work.macs == 25 * 3 * 2 * 9
    assert work.fetched_numbers == 54 + 50 + 75


def test_what_layers_pass_to_each_other_is_written_and_read() -> None:
    work = module_work(nn.Sequential(nn.Linear(10, 7), nn.ReLU(), nn.Linear(7, 4)), torch.zeros(1, 10))
    assert work.macs == 70 + 28
    assert work.fetched_numbers == 77 + 32 + 10 + 2 * 7 + 4
    assert work.steps == 2


def test_of_a_table_only_what_is_looked_up_is_fetched() -> None:
    work = module_work(nn.Sequential(nn.Embedding(1000, 4), nn.Linear(4, 2)), torch.tensor([[1, 2, 3]]))
    assert (work.macs, work.weight_numbers) == (3 * 4 * 2, 4 * 2 + 2)
    # Weights, ids, three vectors read, written and read again, six numbers out.
    assert work.fetched_numbers == 10 + 3 + 3 * 12 + 6


def test_work_of_a_solver_by_hand() -> None:
    # 10 steps, 8 states, 3 drives, 2 differences: 10 (64 + 4·2·8) + 24 MACs.
    work = solver_work(8, 3, 10, 2)
    assert work.macs == 10 * (64 + 64) + 24
    assert work.fetched_numbers == 10 * (64 + 32 + 16) + 24 + 3
    assert (work.activations, work.weight_numbers, work.steps) == (80, 88, 11)
    assert work.streamed_numbers == pytest.approx(10 * 48 + 3)


def test_nodes_by_hand() -> None:
    law = nodes()
    # From 45 nm to 7 nm logic falls by (45/7)^0.57 = 2.89; int8 fell from 0.23 to 0.077 pJ, 2.99.
    assert energy_factor("logic", 45, 7).typical == pytest.approx((7 / 45) ** float(law.logic_below))
    assert 0.23e-12 * energy_factor("logic", 45, 7).typical == pytest.approx(0.077e-12, rel=0.1)
    # From 130 nm to 45 nm by (130/45)^1.5 = 4.91, and to 7 nm by both.
    assert energy_factor("logic", 130, 45).typical == pytest.approx(1 / 4.910, rel=1e-3)
    both = energy_factor("logic", 130, 45) * energy_factor("logic", 45, 7)
    assert energy_factor("logic", 130, 7).typical == pytest.approx(both.typical)
    assert energy_factor("dram", 45, 7).typical == 1.0
    # 28 nm is (28/7)^0.6 = 2.30 times slower than 7 nm.
    assert rate_factor(7, 28).typical == pytest.approx(1 / 2.297, rel=1e-3)


@given(st.floats(5, 180), st.floats(5, 180))
def test_there_and_back_is_where_one_was(a: float, b: float) -> None:
    for kind in ("logic", "sram", "dram"):
        there, back = energy_factor(kind, a, b), energy_factor(kind, b, a)
        assert there.typical * back.typical == pytest.approx(1.0)
        assert there.low * back.high == pytest.approx(1.0)


def test_a_target_at_another_node_by_hand() -> None:
    at = toy().at_node(130)
    # (130/45)^1.5 = 4.910 for logic and SRAM; DRAM stays.
    assert float(at.mac_joule) == pytest.approx(4.910e-12, rel=1e-3)
    assert float(at.memory[1].joule_per_byte) == pytest.approx(3 * 4.910e-12, rel=1e-3)
    assert float(at.memory[2].joule_per_byte) == 1e-10
    # (45/130)^0.6 = 0.529 of the rate, and launches as much longer.
    assert float(at.mac_per_second) == pytest.approx(2e9 * 0.5291, rel=1e-3)
    assert float(at.launch_second) == pytest.approx(1e-8 / 0.5291, rel=1e-3)
    assert "scaled from 45 nm to 130 nm" in at.mac_joule.source
    assert toy().at_node(45) == toy()
    with pytest.raises(ValueError, match="node = 0"):
        toy().at_node(0)


def test_rows_for_cpu_npu_and_gpu_in_three_precisions() -> None:
    assert set(target_names()) == {f"{c}-{p}" for c in ("cpu", "edge-npu", "gpu") for p in ("int8", "fp16", "fp32")}
    assert default_target().name in target_names()
    byte = {"int8": 1, "fp16": 2, "fp32": 4}
    for name in target_names():
        target = load_target(name)
        assert float(target.bytes_per_number) == byte[target.precision]


@pytest.mark.parametrize("name", ["cpu-fp16", "edge-npu-int8", "gpu-fp32"])
def test_every_number_of_a_target_has_a_source(name: str) -> None:
    target = load_target(name)
    figures = {key: getattr(target, key) for key in type(target).model_fields}
    figures |= {f"{m.name}.{key}": getattr(m, key) for m in target.memory for key in type(m).model_fields}
    for key, figure in figures.items():
        if isinstance(figure, Figure) and key != "bytes_per_number":
            assert figure.source != "not given", key
            low, typical, high = figure.bounds()
            assert 0 < low <= typical <= high < math.inf, key


def test_a_lower_precision_is_cheaper_on_every_computer() -> None:
    work = solver_work(64, 32, 12, 3)
    for computer in ("cpu", "edge-npu", "gpu"):
        energies = [work.energy_joule(load_target(f"{computer}-{p}")).typical for p in ("int8", "fp16", "fp32")]
        assert energies == sorted(energies)


def test_targets_of_ones_own(tmp_path: Path) -> None:
    import yaml

    number = {key: TOY[key] for key in ("mac_joule", "bytes_per_number", "macs_per_instruction", "mac_per_second")}
    data = {k: v for k, v in TOY.items() if k not in (*number, "precision")} | {"precisions": {"fp16": number}}
    data["memory"] = list(data["memory"])
    path = tmp_path / "mine.yaml"
    path.write_text(yaml.safe_dump(data))
    assert load_target(path).name == "toy-fp16"
    assert load_target(f"{path}:fp16") == load_target(path)
    with pytest.raises(UserError, match=r"unknown precision .*'fp32'"):
        load_target(f"{path}:fp32")
    data["memory"][2] = data["memory"][2] | {"capacity_byte": 1e9}
    path.write_text(yaml.safe_dump(data))
    with pytest.raises(UserError, match="every level of memory but the last"):
        load_target(path)


def test_names_that_are_not_there_are_named() -> None:
    with pytest.raises(UserError, match="did you mean 'edge-npu-int8'"):
        load_target("edge-npu-int")
    with pytest.raises(UserError, match="such as @28nm"):
        load_target("cpu-fp32@small")
    assert load_target("cpu-fp32@28nm").name == "cpu-fp32@28nm"
