"""Contractive weights keep their norm whatever the parameters are, at once: there is no iteration to converge."""

import pytest
import torch
from builders import normal
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn

from equilog.cells import ContractiveConv2d, ContractiveWeight
from equilog.cells.contractive import symbol_norm

exponents = st.lists(st.floats(-6, 6), min_size=1, max_size=8)
bounds = st.floats(0.01, 0.99)
modules = [
    lambda norm: ContractiveWeight(6, 0.9, norm),
    lambda norm: ContractiveConv2d(2, 3, 0.9, norm),
    lambda norm: ContractiveConv2d(2, 5, 0.9, norm, padding="circular"),
]


def norm_of(module: nn.Module) -> float:
    """The norm that the module bounds, from its dense matrix."""
    with torch.no_grad():
        weight = (module.matrix(5, 4) if isinstance(module, ContractiveConv2d) else module()).double()
    return float(torch.linalg.matrix_norm(weight, 2) if module.norm == "spectral" else weight.abs().sum(1).max())


def with_singular_values(values: Tensor) -> Tensor:
    n = len(values)
    left, right = (torch.linalg.qr(normal(seed, n, n)).Q for seed in (1, 2))
    return left * values @ right.T


@given(exponents, bounds, st.sampled_from([torch.float32, torch.float64]), st.sampled_from(["spectral", "row-sum"]))
def test_dense_norm_for_any_singular_values(exponents, bound, dtype, norm):
    module = ContractiveWeight(len(exponents), bound, norm, dtype=dtype)
    with torch.no_grad():
        module.a.copy_(with_singular_values(10 ** torch.tensor(exponents, dtype=torch.float64)))
    assert norm_of(module) <= bound * (1 + 100 * torch.finfo(dtype).eps)


def test_ill_conditioned_parameters_in_single_precision():
    """Solving with I + AᵀA instead of QR gives ‖W‖₂ above 100 here."""
    module = ContractiveWeight(16, 0.9)
    for seed in range(10):
        with torch.no_grad():
            rotation = torch.linalg.qr(normal(seed, 16, 16)).Q
            module.a.copy_(rotation @ with_singular_values(torch.tensor([1e4, 1e4] + 14 * [1.0]).double()))
        assert norm_of(module) <= 0.9 * (1 + 1e-5)


def test_every_singular_value_is_the_one_of_the_formula():
    values = torch.tensor([0.0, 0.1, 0.5, 1.0, 3.0], dtype=torch.float64)
    module = ContractiveWeight(5, 0.8, dtype=torch.float64)
    with torch.no_grad():
        module.a.copy_(with_singular_values(values))
    expected = (1.6 * values / (1 + values**2)).sort(descending=True).values
    torch.testing.assert_close(torch.linalg.svdvals(module()), expected)


@pytest.mark.parametrize("make", modules)
@pytest.mark.parametrize("norm", ["spectral", "row-sum"])
def test_jumping_parameters_never_catch_the_norm_out(make, norm):
    """A power iteration that starts from the last step's vector is left behind by such jumps."""
    module = make(norm)
    for step in range(20):
        (parameter,) = module.parameters()
        with torch.no_grad():
            parameter.copy_(normal(step, *parameter.shape) * 10.0 ** (step % 5 - 1))
        module.train(step % 2 == 0)
        assert norm_of(module) <= 0.9 * (1 + 1e-5)


@pytest.mark.parametrize("make", modules)
@pytest.mark.parametrize("norm", ["spectral", "row-sum"])
def test_an_optimiser_that_wants_a_large_norm_gets_the_bound(make, norm):
    module = make(norm)
    optimiser = torch.optim.Adam(module.parameters(), lr=0.3)
    for _ in range(15):
        weight = module.matrix(5, 4) if isinstance(module, ContractiveConv2d) else module()
        loss = -torch.linalg.matrix_norm(weight, 2) if norm == "spectral" else -weight.abs().sum(1).max()
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        assert norm_of(module) <= 0.9 * (1 + 1e-5)
    assert norm_of(module) > 0.6  # it had a reason to hold


kernels = st.tuples(st.integers(1, 3), st.sampled_from([1, 3, 5]), st.integers(0, 10**6), st.floats(-3, 3))


@given(kernels, st.sampled_from(["zeros", "circular"]), st.sampled_from(["spectral", "row-sum"]), st.data())
def test_convolution_at_any_image_size(kernel, padding, norm, data):
    channels, size, seed, exponent = kernel
    least = max(1, size // 2)
    height, width = (data.draw(st.integers(least, 8)) for _ in range(2))
    module = ContractiveConv2d(channels, size, 0.7, norm, padding=padding, dtype=torch.float64)
    with torch.no_grad():
        module.k.copy_(10**exponent * normal(seed, *module.k.shape))
        weight = module.matrix(height, width)
    found = torch.linalg.matrix_norm(weight, 2) if norm == "spectral" else weight.abs().sum(1).max()
    assert float(found) <= 0.7 * (1 + 1e-12)


@pytest.mark.parametrize(("channels", "size"), [(1, 3), (4, 3), (3, 5), (6, 1)])
def test_symbol_norm_is_above_the_true_one_by_a_few_percent(channels, size):
    for seed in range(3):
        kernel = normal(seed, channels, channels, size, size)
        symbol = torch.fft.rfft2(kernel, s=(100, 100)).permute(2, 3, 0, 1)
        true = float(torch.linalg.svdvals(symbol).max())
        assert true <= float(symbol_norm(kernel)) * (1 + 1e-12)
        assert float(symbol_norm(kernel)) <= 1.05 * true


def test_symbol_norm_where_all_singular_values_are_equal():
    """The worst case of the Gram iteration: above by channels^(1/1024)."""
    rotation = torch.linalg.qr(normal(0, 32, 32)).Q
    assert float(symbol_norm(rotation[:, :, None, None])) == pytest.approx(32 ** (1 / 1024))


def test_symbol_norm_bears_zero_tiny_and_huge_kernels():
    kernel = normal(0, 2, 2, 3, 3)
    unit = float(symbol_norm(kernel))
    for scale in (1e-30, 1e30):
        assert float(symbol_norm((scale * kernel).float())) == pytest.approx(scale * unit, rel=1e-4)
    zero = torch.zeros(2, 2, 3, 3, requires_grad=True)
    symbol_norm(zero).backward()
    assert float(symbol_norm(zero.detach())) < 1e-15
    assert zero.grad.isfinite().all()


@pytest.mark.parametrize("norm", ["spectral", "row-sum"])
def test_gradients(norm):
    dense = ContractiveWeight(4, 0.9, norm, scale=3.0, dtype=torch.float64)
    convolution = ContractiveConv2d(2, 3, 0.9, norm, scale=6.0, dtype=torch.float64)
    z = normal(1, 1, 2, 3, 4)

    def weight(a: Tensor) -> Tensor:
        return torch.func.functional_call(dense, {"a": a})

    def product(k: Tensor, z: Tensor) -> Tensor:
        return torch.func.functional_call(convolution, {"k": k}, (z,))

    assert torch.autograd.gradcheck(weight, dense.a.detach().requires_grad_())
    assert torch.autograd.gradcheck(product, (convolution.k.detach().requires_grad_(), z.requires_grad_()))


@pytest.mark.parametrize("kind", [ContractiveWeight, ContractiveConv2d])
def test_bad_arguments_are_named(kind):
    with pytest.raises(ValueError, match=r"= 0: expected at least one"):
        kind(0)
    for bound in (0.0, 1.0, -0.5, float("nan")):
        with pytest.raises(ValueError, match=rf"bound = {bound}: expected a number in \(0, 1\)"):
            kind(2, bound=bound)
    with pytest.raises(ValueError, match=r"norm = 'rowsum' \(did you mean 'row-sum'\?\): expected one of spectral"):
        kind(2, norm="rowsum")
    assert "bound=0.5, norm='row-sum'" in repr(kind(2, bound=0.5, norm="row-sum"))
