"""Networks for numbers: shapes, equal parameter counts, and that they learn in the same loop."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from equilog.baselines.fno import Fno, SpectralProduct
from equilog.baselines.matching import matched, parameter_count
from equilog.baselines.mlp import Mlp, Residual
from equilog.baselines.transformer import NumberTransformer
from equilog.hardware import load_spec
from equilog.objective import Regression
from equilog.training import TrainConfig, fit
from equilog.training.curriculum import ideal, ideal_then_twin


@settings(max_examples=25, deadline=None)
@given(parameters=st.integers(60, 200_000))
def test_no_other_width_comes_nearer(parameters: int) -> None:
    def make(width: int) -> Mlp:
        made = Mlp((3,), (2,), width)
        made.width = width
        return made

    found = matched(make, parameters)
    gap = abs(parameter_count(found) - parameters)
    assert all(gap <= abs(parameter_count(make(w)) - parameters) for w in (found.width - 1, found.width + 1) if w >= 1)


def test_only_the_network_that_is_returned_draws() -> None:
    torch.manual_seed(3)
    found = matched(lambda width: Mlp((3,), (2,), width), 500)
    torch.manual_seed(3)
    again = Mlp((3,), (2,), found.layers[0].out_features)
    assert torch.equal(found.layers[0].weight, again.layers[0].weight)


@pytest.mark.parametrize("parameters", [0, 10**12])
def test_counts_out_of_reach_are_refused(parameters: int) -> None:
    with pytest.raises(ValueError, match=str(parameters)):
        matched(lambda width: nn.Linear(width, 1), parameters)


@pytest.mark.parametrize(
    "network",
    [
        Mlp((3, 4), (5,), 7),
        Residual(Mlp((3, 4), (3, 4), 7)),
        NumberTransformer((3, 4), (5,), 2),
        Fno((3, 4), 4),
    ],
)
def test_a_sample_alone_gives_what_it_gives_in_a_batch(network: nn.Module) -> None:
    x = torch.randn(6, 3, 4)
    together = network(x)
    alone = torch.cat([network(one[None]) for one in x])
    assert together.shape in {(6, 5), (6, 3, 4)}
    torch.testing.assert_close(together, alone, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("shape", [(8,), (9,), (6, 8), (5, 7)])
def test_a_spectral_product_with_unit_matrices_of_every_mode_is_the_identity(shape: tuple[int, ...]) -> None:
    product = SpectralProduct(3, 16, shape)
    with torch.no_grad():
        product.weight.zero_()
        for c in range(3):
            product.weight[c, c, ..., 0] = 1
    x = torch.randn(2, 3, *shape)
    torch.testing.assert_close(product(x), x, rtol=1e-4, atol=1e-5)


def test_few_modes_leave_the_mean_and_remove_what_is_rough() -> None:
    product = SpectralProduct(1, 2, (16, 16))
    with torch.no_grad():
        product.weight.zero_()
        product.weight[..., 0] = 1
    line = torch.arange(16) * (2 * torch.pi / 16)
    smooth = 1 + torch.cos(line)[:, None] + torch.sin(line)
    rough = torch.cos(7 * line)[:, None] * torch.cos(6 * line)
    torch.testing.assert_close(product((smooth + rough)[None, None])[0, 0], smooth, rtol=1e-4, atol=1e-5)


def test_grids_of_three_directions_are_refused() -> None:
    with pytest.raises(ValueError, match="one or two directions"):
        Fno((2, 2, 2), 4)


@pytest.mark.parametrize(
    "make",
    [
        lambda: Mlp((4,), (4,), 16),
        lambda: Residual(Mlp((4,), (4,), 16)),
        lambda: NumberTransformer((4,), (4,), 4),
        lambda: Fno((4,), 8),
    ],
)
def test_the_loop_of_equilibrium_models_trains_them(make: object) -> None:
    torch.manual_seed(0)
    network = make()
    x = torch.randn(256, 4)
    y = torch.roll(x, 1, 1) + 0.3 * x.sin()
    before = float(Regression().loss(network(x), y).detach())
    config = TrainConfig(stages=ideal(20), batch_size=32, learning_rate=0.01, weight_decay=0.0)
    fit(network, x, y, load_spec("ideal"), config, objective=Regression(), progress=False)
    assert float(Regression().loss(network(x), y).detach()) < 0.3 * before


def test_chips_need_an_equilibrium() -> None:
    config = TrainConfig(stages=ideal_then_twin(2))
    with pytest.raises(ValueError, match="'twin' meets chips, and a Mlp has no equilibrium"):
        fit(Mlp((4,), (4,), 4), torch.randn(8, 4), torch.randn(8, 4), load_spec("rram"), config, objective=Regression())
