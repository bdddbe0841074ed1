"""A sequence settles at once to what it would frame by frame, with its margin, and no device stands where W is zero."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import root
from torch import Tensor

from equilog.cells.monotone import monotone_margin
from equilog.circuit import write_circuit
from equilog.devices import NgspiceDevice, TwinDevice
from equilog.equilibrium import EquilibriumLayer
from equilog.hardware import Chip, load_spec, program_cell
from equilog.tasks.sequence.temporal_cell import TemporalCell, TemporalWeight


def learnt(frames: int, width: int, inputs: int, *, margin: float = 0.3, memory: float = 0.4, size: float = 1.0):
    """A cell with anything learnt in it, in float64."""
    cell = TemporalCell(frames, width, inputs, margin, memory).double()
    with torch.no_grad():
        for parameter in cell.parameters():
            parameter.copy_(size * torch.randn(parameter.shape, dtype=torch.float64))
    return cell.requires_grad_(False)


@settings(max_examples=60)
@given(
    frames=st.integers(1, 7),
    width=st.integers(1, 5),
    margin=st.floats(0.01, 0.6),
    share=st.floats(0.05, 1.0),
    size=st.sampled_from([0.0, 0.1, 1.0, 30.0, 1e3]),
    seed=st.integers(0, 1000),
)
def test_the_margin_holds_whatever_is_learnt(
    frames: int, width: int, margin: float, share: float, size: float, seed: int
) -> None:
    torch.manual_seed(seed)
    cell = learnt(frames, width, 2, margin=margin, memory=share * (1 - margin), size=size)
    weight = cell.matrices()[0]
    rounding = 1e-14 * float(torch.linalg.matrix_norm(weight, 2)) * len(weight)
    assert monotone_margin(weight) >= margin - 1e-12 - rounding


def test_the_bound_is_reached_not_just_kept() -> None:
    # One state a frame and V = c exactly: sym W tends to W₀ + c cos(π/(T + 1)), whose limit for many frames is 1 − m.
    weight = TemporalWeight(400, 1, 0.3, 0.4).double()
    with torch.no_grad():
        weight.own.a.zero_()
        weight.before.a.fill_(1.0)
    assert monotone_margin(weight().detach()) == pytest.approx(0.3, abs=1e-4)
    # More memory than is reckoned with would break it.
    with torch.no_grad():
        grown = weight() + 0.1 * torch.kron(weight.shift(weight.own.a), torch.ones(1, 1, dtype=torch.float64))
    assert monotone_margin(grown) < 0.21


def stepped(cell: TemporalCell, drive: Tensor) -> Tensor:
    """Each frame on its own, by SciPy, after the one before."""
    own, before = cell.recurrent.own(), cell.recurrent.before()
    z = torch.zeros(cell.width, dtype=torch.float64)
    frames = []
    for d in drive.view(cell.frames, cell.inputs):
        u = before @ z + cell.frame_input_weight @ d + cell.bias
        found = root(lambda p, u=u: p - (own @ torch.from_numpy(p).tanh() + u).numpy(), u.numpy(), tol=1e-13)
        assert found.success
        z = torch.from_numpy(found.x).tanh()
        frames.append(z)
    return torch.cat(frames)


@pytest.mark.parametrize(("frames", "width", "inputs"), [(1, 3, 2), (5, 4, 3), (8, 1, 1), (6, 2, 4)])
def test_all_at_once_is_what_frame_by_frame_gives(frames: int, width: int, inputs: int) -> None:
    cell = learnt(frames, width, inputs)
    drive = 2 * torch.rand(3, frames * inputs, dtype=torch.float64) - 1
    z = EquilibriumLayer()(cell.system(drive))
    torch.testing.assert_close(z, torch.stack([stepped(cell, d) for d in drive]), atol=1e-7, rtol=0)


def test_what_comes_later_changes_nothing_before() -> None:
    cell = learnt(6, 3, 2)
    drive = torch.randn(1, 12, dtype=torch.float64).clamp(-1, 1)
    other = drive.clone()
    other[:, 8:] = -other[:, 8:]
    z, w = (EquilibriumLayer()(cell.system(d)).view(6, 3) for d in (drive, other))
    torch.testing.assert_close(z[:4], w[:4], atol=1e-7, rtol=0)
    assert float((z[4:] - w[4:]).abs().max()) > 1e-3


def test_frames_are_tied_and_everything_is_learnt() -> None:
    torch.manual_seed(0)
    cell = TemporalCell(4, 3, 2).double()
    weight, input_weight, bias = cell.matrices()
    blocks = weight.view(4, 3, 4, 3).transpose(1, 2)
    for t in range(4):
        assert torch.equal(blocks[t, t], cell.recurrent.own())
        assert torch.equal(input_weight[3 * t : 3 * t + 3, 2 * t : 2 * t + 2], cell.frame_input_weight)
        if t:
            torch.testing.assert_close(blocks[t, t - 1], cell.recurrent.before())
    assert torch.equal(bias, torch.zeros(12, dtype=torch.float64))
    assert sum(p.numel() for p in cell.parameters()) == 3 * 9 + 3 * 2 + 3
    z = EquilibriumLayer()(cell.system(torch.randn(2, 8, dtype=torch.float64)))
    z.square().sum().backward()
    assert all(bool(p.grad.any()) for p in cell.parameters())


def test_no_device_stands_where_the_weights_are_zero(tmp_path: Path) -> None:
    cell = learnt(5, 3, 2)
    matrices = torch.cat([m if m.ndim == 2 else m[:, None] for m in cell.matrices()], dim=1)
    assert torch.equal(cell.populated, matrices != 0)
    pairs = 5 * 9 + 4 * 9 + 5 * 6 + 15
    layer = program_cell(cell, Chip(load_spec("rram"), 3))
    assert layer.devices == 2 * pairs
    assert not layer.g_plus_siemens[~cell.populated].any()
    assert not layer.g_minus_siemens[~cell.populated].any()
    assert bool((layer.g_plus_siemens + layer.g_minus_siemens)[cell.populated].gt(0).all())
    write_circuit(layer, tmp_path, rest=torch.zeros(1, 10, dtype=torch.float64))
    lines = (tmp_path / "crossbar.inc").read_text().splitlines()
    conducting = layer.g_plus_siemens.ne(0).sum() + layer.g_minus_siemens.ne(0).sum()  # stuck ones may not
    assert sum(line.startswith("R") for line in lines) == int(conducting) > 1.8 * pairs


@pytest.mark.ngspice
def test_the_circuit_rests_where_the_twin_does() -> None:
    cell, chip = learnt(4, 2, 2), Chip(load_spec("rram"), 1)
    drive = torch.rand(2, 8, dtype=torch.float64)
    twin, device = TwinDevice(chip), NgspiceDevice(chip)
    twin.program(cell)
    device.program(cell)
    torch.testing.assert_close(device.settle(drive).z, twin.settle(drive).z, atol=1e-7, rtol=0)


def test_it_says_what_it_promises() -> None:
    found = TemporalCell(3, 2, 1, margin=0.2, memory=0.5).certificate()
    assert found.promise == "margin ≥ 0.2"
    assert found.margin >= 0.2 - 1e-9


@pytest.mark.parametrize(
    ("frames", "width", "margin", "memory"),
    [(0, 2, 0.3, 0.4), (2, 0, 0.3, 0.4), (2, 2, 0.0, 0.4), (2, 2, 0.3, 0.0), (2, 2, 0.5, 0.6), (2, 2, -0.1, 0.4)],
)
def test_sizes_and_margins_out_of_range_are_refused(frames: int, width: int, margin: float, memory: float) -> None:
    with pytest.raises(ValueError, match="expected"):
        TemporalCell(frames, width, 2, margin, memory)
