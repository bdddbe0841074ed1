"""Convolutional weights: forward is the matrix, transpose its transpose, and certificates are those of the matrix."""

import numpy as np
import pytest
import torch
from builders import normal
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from equilog.cells import ContractiveConv2d, MonotoneConv2d, SymmetricConv2d, certify
from equilog.cells.convolution import Convolution
from equilog.cells.monotone import monotone_margin

KINDS = [MonotoneConv2d, SymmetricConv2d, ContractiveConv2d]
PADDINGS = ["zeros", "circular"]
kinds, paddings = st.sampled_from(KINDS), st.sampled_from(PADDINGS)


def make(kind: type[Convolution], channels: int, size: int, padding: str, seed: int = 0, scale: float = 1.0):
    """A convolution with parameters that have nothing special about them."""
    module = kind(channels, size, padding=padding, dtype=torch.float64)
    with torch.no_grad():
        for k, parameter in enumerate(module.parameters()):
            parameter.copy_(scale * normal(seed + k, *parameter.shape))
    return module


@given(kinds, paddings, st.integers(1, 3), st.sampled_from([1, 3, 5]), st.integers(2, 6), st.integers(2, 6))
def test_forward_and_transpose_are_those_of_the_matrix(kind, padding, channels, size, height, width):
    module = make(kind, channels, size, padding)
    matrix = module.matrix(height, width)
    z = normal(5, 3, channels, height, width)
    torch.testing.assert_close(module(z).flatten(1), z.flatten(1) @ matrix.T)
    torch.testing.assert_close(module.transpose(z).flatten(1), z.flatten(1) @ matrix)
    torch.testing.assert_close(module(z, module.kernels()), module(z))


def test_zero_padding_is_the_sum_that_one_writes_down():
    module = make(MonotoneConv2d, 1, 3, "zeros")
    a, b = (k[0, 0].detach().numpy() for k in (module.a, module.b))
    n = 4
    dense = np.zeros((2, n * n, n * n))
    for which, kernel in enumerate((a, b)):
        for y, x, v, u in np.ndindex(n, n, n, n):
            if abs(v - y) <= 1 and abs(u - x) <= 1:
                dense[which, y * n + x, v * n + u] = kernel[v - y + 1, u - x + 1]
    expected = 0.7 * np.eye(n * n) - dense[0].T @ dense[0] + dense[1] - dense[1].T
    np.testing.assert_allclose(module.matrix(n, n).detach().numpy(), expected, atol=1e-12)


@given(
    st.sampled_from([MonotoneConv2d, SymmetricConv2d]),
    paddings,
    st.integers(0, 10**6),
    st.floats(0.01, 1),
    st.floats(-2, 1),
    st.integers(1, 6),
    st.integers(1, 6),
)
def test_margin_holds_at_any_size_for_any_parameters(kind, padding, seed, margin, exponent, height, width):
    module = kind(2, 3, margin, padding=padding, dtype=torch.float64)
    with torch.no_grad():
        for k, parameter in enumerate(module.parameters()):
            parameter.copy_(10**exponent * normal(seed + k, *parameter.shape))
    assert certify(module.matrix(height, width)).margin >= margin - 1e-9
    if kind is SymmetricConv2d:
        z = normal(1, 2, 2, height, width)
        torch.testing.assert_close(module(z), module.transpose(z))


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("padding", PADDINGS)
@pytest.mark.parametrize("size", [(7, 6), (5, 1), (2, 9)])
def test_every_method_certifies_the_matrix(kind, padding, size):
    module = make(kind, 2, 3, padding, scale=0.4)
    expected = certify(module.matrix(*size))
    dense = module.certificate(*size, method="dense")
    methods = ["auto", "lanczos", *(["fourier"] if padding == "circular" else [])]
    for found in [dense, *(module.certificate(*size, method=method, tolerance=1e-8) for method in methods)]:
        assert found.states == expected.states
        for name in ("margin", "row_margin", "spectral_norm", "row_sum"):
            assert getattr(found, name) == pytest.approx(getattr(expected, name), abs=found.tolerance + 1e-9), name
        assert found.margin <= expected.margin + 1e-9
        assert found.spectral_norm >= expected.spectral_norm - 1e-9
        assert found.tolerance < 1e-6
        if "upper bound" in found.method:
            assert expected.chord_rate <= found.chord_rate < 1
        else:
            assert found.chord_rate == pytest.approx(expected.chord_rate, abs=1e-9)
        assert found.promise
        assert found.symmetric == (kind is SymmetricConv2d)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("padding", PADDINGS)
@pytest.mark.parametrize(("size", "image"), [(1, (3, 3)), (3, (8, 4)), (5, (3, 10))])
def test_sums_over_lines_are_found_without_the_matrix(kind, padding, size, image):
    """As sets: every line of the matrix is among those found, and the reverse."""
    module = make(kind, 2, size, padding)
    matrix = module.matrix(*image).detach()
    entries = module.certificate(*image).entries

    def lines(m: Tensor) -> Tensor:
        return torch.stack([(m != 0).sum(1).double(), m.abs().sum(1), (m**2).sum(1), m.diagonal().abs()])

    expected = torch.cat([lines(matrix), lines(matrix.T)[:3]])
    found = torch.cat([entries.rows, entries.diagonal[None], entries.columns])
    distance = (expected[:, :, None] - found[:, None]).abs().amax(0) / found.abs().max()
    assert float(distance.amin(0).max()) < 1e-12
    assert float(distance.amin(1).max()) < 1e-12
    assert entries.largest == pytest.approx(float(matrix.abs().max()))


@pytest.mark.parametrize("padding", PADDINGS)
def test_every_state_has_a_device_of_its_own(padding):
    entries = MonotoneConv2d(1, 1, 1.0, padding=padding).certificate(2, 2).entries
    assert (entries.rows[0] == 1).all()
    assert (entries.columns[0] == 1).all()


def test_lanczos_takes_over_where_the_matrix_is_large(monkeypatch):
    monkeypatch.setattr("equilog.cells.convolution.DENSE_LIMIT", 400)
    module = MonotoneConv2d(3, 3, dtype=torch.float64, scale=1.0)
    found = module.certificate(12, 12)
    matrix = module.matrix(12, 12).detach()
    assert "Lanczos" in found.method
    margin, norm = monotone_margin(matrix), float(torch.linalg.matrix_norm(matrix, 2))
    assert margin - 2 * found.tolerance <= found.margin <= margin + 1e-12
    assert norm - 1e-12 <= found.spectral_norm <= norm + 2 * found.tolerance
    assert found.tolerance < 1e-5
    assert found.chord_rate < 1
    assert type(found.margin) is float


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("padding", PADDINGS)
def test_gradients(kind, padding):
    module = make(kind, 2, 3, padding)
    names, parameters = zip(*module.named_parameters())
    z = normal(9, 1, 2, 3, 4).requires_grad_()

    def product(z: Tensor, *values: Tensor) -> Tensor:
        return torch.func.functional_call(module, dict(zip(names, values)), (z,))

    assert torch.autograd.gradcheck(product, (z, *(p.detach().requires_grad_() for p in parameters)))


@pytest.mark.parametrize("kind", [MonotoneConv2d, SymmetricConv2d])
@pytest.mark.parametrize("padding", PADDINGS)
def test_scale_zero_starts_at_independent_neurons(kind, padding):
    module = kind(2, 3, 0.3, padding=padding, scale=0.0, dtype=torch.float64)
    assert module.matrix(4, 4).abs().max() < 1e-12
    for method in ("dense", "lanczos"):  # a zero operator must not upset Lanczos
        assert module.certificate(4, 4, method=method).margin == pytest.approx(1)


def test_parameters_are_left_alone_by_certificates():
    module = MonotoneConv2d(2)
    before = [p.clone() for p in module.parameters()]
    module.certificate(5, 5)
    for old, new in zip(before, module.parameters()):
        assert torch.equal(old, new)
        assert new.requires_grad
        assert new.dtype == torch.float32


@pytest.mark.parametrize("kind", KINDS)
def test_bad_arguments_are_named(kind):
    for channels, size, message in [
        (0, 3, "channels = 0"),
        (2, 2, "kernel_size = 2: expected an odd"),
        (2, -1, "= -1"),
    ]:
        with pytest.raises(ValueError, match=message):
            kind(channels, size)
    with pytest.raises(ValueError, match=r"padding = 'circul' \(did you mean 'circular'\?\)"):
        kind(2, padding="circul")
    assert "channels=2, kernel_size=3, padding='zeros'" in repr(kind(2))


def test_bad_images_and_methods_are_named():
    module, circular = MonotoneConv2d(2), MonotoneConv2d(2, 5, padding="circular")
    with pytest.raises(ValueError, match=r"z has shape \(2, 4, 4\), expected \(batch, 2, height, width\)"):
        module(torch.zeros(2, 4, 4))
    with pytest.raises(ValueError, match=r"z has shape \(1, 3, 4, 4\)"):
        module.transpose(torch.zeros(1, 3, 4, 4))
    with pytest.raises(ValueError, match="width = 1: expected at least 2 pixels"):
        circular(torch.zeros(1, 2, 4, 1))
    with pytest.raises(ValueError, match="height = 0: expected at least 1"):
        module.matrix(0, 4)
    with pytest.raises(ValueError, match=r"method = 'lanczo' \(did you mean 'lanczos'\?\)"):
        module.certificate(4, 4, method="lanczo")
    with pytest.raises(ValueError, match="expected circular padding"):
        module.certificate(4, 4, method="fourier")
    with pytest.raises(ValueError, match="tolerance = 0"):
        module.certificate(4, 4, tolerance=0)
    with pytest.raises(ValueError, match="margin = 0"):
        MonotoneConv2d(2, margin=0)
    with torch.no_grad():
        module.a[0] = float("nan")
    with pytest.raises(ValueError, match="inf or nan"):
        module.certificate(4, 4)
