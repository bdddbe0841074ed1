"""Whatever the parameters are, the monotone weight keeps its margin."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from equilog.cells import CircuitCell, MonotoneWeight
from equilog.cells.monotone import monotone_margin

entries = st.floats(-10, 10)
square = st.integers(1, 6).flatmap(lambda n: hnp.arrays(np.float64, (2, n, n), elements=entries))


@given(square, st.floats(1e-3, 1))
def test_margin_holds_for_any_parameters(parameters, margin):
    module = MonotoneWeight(parameters.shape[1], margin, dtype=torch.float64)
    with torch.no_grad():
        module.a.copy_(torch.from_numpy(parameters[0]))
        module.b.copy_(torch.from_numpy(parameters[1]))
    assert monotone_margin(module().detach()) >= margin - 1e-11


@given(square)
def test_margin_is_the_smallest_eigenvalue_by_rayleigh_quotients(parameters):
    weight = torch.from_numpy(parameters[0])
    margin = monotone_margin(weight)
    directions = torch.randn(50, len(weight), dtype=torch.float64)
    quotients = 1 - ((directions @ weight) * directions).sum(1) / (directions**2).sum(1)
    assert (quotients >= margin - 1e-9).all()


@pytest.mark.parametrize("margin", [0.1, 0.3, 1.0])
def test_scale_zero_starts_at_independent_neurons(margin):
    assert MonotoneWeight(5, margin, scale=0.0)().abs().max() < 1e-6


@pytest.mark.parametrize("margin", [0.0, -0.1, 1.5, float("nan"), float("inf")])
def test_bad_margin_is_named(margin):
    with pytest.raises(ValueError, match=f"margin = {margin}"):
        MonotoneWeight(3, margin)


@pytest.mark.parametrize("n", [0, -2])
def test_bad_size_is_named(n):
    with pytest.raises(ValueError, match=f"n = {n}"):
        MonotoneWeight(n)


def test_cell_without_drives_is_refused():
    with pytest.raises(ValueError, match="drives = 0"):
        CircuitCell(3, 0)


@pytest.mark.parametrize("shape", [(3,), (2, 3), (2, 5), (1, 2, 4)])
def test_drive_of_the_wrong_shape_is_named(shape):
    with pytest.raises(ValueError, match=r"drive has shape .* expected \(batch, 4\)"):
        CircuitCell(3, 4).system(torch.zeros(shape))


def test_size_and_margin_show_in_repr():
    assert "n=3, margin=0.3" in repr(MonotoneWeight(3))
