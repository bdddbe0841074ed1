"""The graph of a model, however it was written: which operations there are, and who reads whom."""

from __future__ import annotations

import pytest
import torch
from splittable import AroundUndecided, Branches, Shapely, Twice, Undecided, hybrid
from torch import nn

from equilog import convert
from equilog.allocate import allocate
from equilog.allocate.graph import Operation, trace
from equilog.allocate.stages import staged
from equilog.names import UserError


def operations(model: nn.Module, *shape: int) -> list[Operation]:
    return trace(staged(model), (torch.rand(1, *shape),))


def by_label(found: list[Operation]) -> dict[str, list[str]]:
    return {op.label: [found[i].label for i in op.inputs] for op in found}


def test_an_equilibrium_is_one_operation_between_its_ends() -> None:
    found = operations(hybrid(), 1, 8, 8)
    labels = [op.label for op in found]
    assert labels[0] == "x" or found[0].what == "input"
    assert labels[1:] == [
        "parameterize.0",
        "parameterize.1",
        "parameterize.3",
        "parameterize.4",
        "equilibrium",
        "readout",
    ]
    assert [op.inputs for op in found[1:]] == [(0,), (1,), (2,), (3,), (4,), (5,)]  # flattening is a wire
    assert [op.output for op in found] == [False] * 6 + [True]
    assert found[5].works is None
    conv = found[1].works
    assert conv is not None
    assert sum(w.macs for w in conv) == 4 * 16 * 9  # 4 channels, 16 pixels, 9 weights


def test_who_reads_what_is_known_across_branches() -> None:
    found = by_label(operations(Branches(), 5))
    assert found["left"] == found["right"] == ["x"]
    assert found["add"] == ["relu", "right"]
    assert found["head"] == ["add"]


def test_what_only_export_can_follow() -> None:
    made = staged(Shapely())
    with pytest.raises(Exception, match=r"Proxy|symbolically traced"):
        torch.fx.symbolic_trace(made)
    found = trace(made, (torch.rand(1, 4),))
    linear = [op.module for op in found if op.what in {"linear", "Linear"}]
    assert linear == ["parts.0", "parts.1", "parts.2", "head.0", "head.2"]
    assert sum(w.macs for op in found if op.module == "head.0" for w in op.works or ()) == 24


def test_control_flow_inside_a_module_is_one_digital_operation() -> None:
    found = operations(AroundUndecided(), 4)
    assert by_label(found) == {"x": [], "before": ["x"], "gate": ["before"], "after": ["gate"]}
    split = allocate(AroundUndecided(), torch.randn(16, 4), front=False, chips=1)
    assert "gate" not in split.kinds
    assert set(split.kinds) == {"before", "after"}


def test_control_flow_at_the_top_says_what_to_do() -> None:
    with pytest.raises(
        UserError, match=r"Undecided cannot be traced\. torch\.fx: .*torch\.export: .*module of its own"
    ):
        operations(Undecided(), 4)


def test_a_module_that_is_called_twice_has_one_kind() -> None:
    found = allocate(Twice(), torch.randn(24, 5), front=False, chips=1, pin={"same": "product"})
    rows = [k for k, node in enumerate(found.situation.nodes) if node.module == "same"]
    assert len(rows) == 2
    assert found.problem.ties == (tuple(rows),)
    area = [found.problem.vertices[k].options[0].cost.area_m2 for k in rows]
    assert area[0] > area[1] == 0  # the crossbar is there once
    assert found.optimum.cost.tiles == 1 + (found.kinds["head"] != "digital")


def test_a_model_that_is_converted_already_is_refused() -> None:
    with pytest.raises(UserError, match="converted already: give the network as it was"):
        operations(convert(Branches(), "rram"), 5)
