"""Converted and ideal, a network computes what it did; the original stays as it was; weights travel by state dict."""

import copy
import pickle

import pytest
import torch
from conversion.networks import Cell, ConvNet, DeepEquilibrium, inputs, mlp
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

import equilog
from equilog.conversion import DigitalEquilibrium, Equilibrium, KeptMargin, Product, ProductConv2d, calibrate, set_chip


def test_an_mlp_and_a_conv_net_compute_the_same():
    for net, x in ((mlp(), inputs(16, 6)), (ConvNet(), inputs(16, 1, 8, 8))):
        before = copy.deepcopy(net.state_dict())
        made = equilog.convert(net, sample=x)
        assert torch.allclose(made(x), net(x), atol=1e-6)
        assert type(net) is type(made)
        assert all(torch.equal(a, b) for a, b in zip(before.values(), net.state_dict().values()))
    assert isinstance(made.conv, ProductConv2d)
    assert isinstance(made.encoder["fc"][0], Equilibrium)
    assert isinstance(made.encoder["fc"][1], nn.Identity)
    assert isinstance(made.head, Product)


def test_the_callers_random_numbers_are_left_alone():
    net = mlp()
    torch.manual_seed(5)
    wanted = torch.rand(3)
    torch.manual_seed(5)
    equilog.convert(net, sample=inputs(4, 6))
    assert torch.equal(torch.rand(3), wanted)


@pytest.mark.parametrize(
    "of",
    [
        nn.Conv2d(2, 3, (3, 2), stride=(2, 1), padding=(1, 0), dilation=(1, 2)),
        nn.Conv2d(2, 5, 1, bias=False),
        nn.Conv2d(2, 4, 3, padding=2),
    ],
)
def test_a_convolution_is_the_same_as_products(of):
    from conversion.networks import exact_spec

    x = inputs(3, 2, 7, 6)
    made = equilog.convert(of, exact_spec(), sample=x)
    assert isinstance(made, ProductConv2d)
    assert torch.equal(made(x), of(x))
    set_chip(made, 0)
    assert torch.allclose(made(x), of(x), atol=1e-3)
    assert made(x[0]).shape == of(x[0]).shape


def test_leading_dimensions_are_kept():
    net = nn.Sequential(nn.Linear(6, 8), nn.Tanh(), nn.Linear(8, 5))
    made = equilog.convert(net)
    for x in (inputs(2, 3, 6), inputs(6)):
        for chip in (None, 1):
            set_chip(made, chip)
            assert made(x).shape == net(x).shape
        assert torch.allclose(set_chip(made, None)(x), net(x), atol=1e-6)


@pytest.mark.parametrize("phi", [torch.tanh, torch.sigmoid], ids=["tanh", "sigmoid"])
def test_a_users_cell_becomes_an_affine_system(phi):
    torch.manual_seed(2)
    net = DeepEquilibrium(Cell(5, 3, phi), 3, 5)
    x = inputs(8, 4)
    made = equilog.convert(net, layers={"cell": "equilibrium"}, sample=x)
    assert torch.allclose(made(x), net(x), atol=1e-5)
    weight, input_weight, bias = made.cell.cell.matrices()
    assert (weight.shape, input_weight.shape, bias.shape) == ((5, 5), (5, 3), (5,))
    once = copy.deepcopy(made)
    once.steps = 1
    assert torch.equal(once(x), made(x))


def test_gradients_of_a_converted_cell_are_those_of_the_fixed_point():
    torch.manual_seed(2)
    net = DeepEquilibrium(Cell(5, 3), 3, 5).double()
    x = inputs(4, 4).double()
    made = equilog.convert(net, layers=["cell"], sample=x)
    made.steps = 1
    for module in (net, made):
        module(x).square().sum().backward()
    # The solver stops at a relative residual; so do its gradients.
    assert torch.allclose(made.inject.weight.grad, net.inject.weight.grad, rtol=1e-3, atol=1e-4)


def test_a_layer_written_as_a_module_of_its_own_is_recognised():
    class Block(nn.Module):
        def __init__(self):
            super().__init__()
            self.fc = nn.Linear(4, 6)

        def forward(self, x):
            return torch.tanh(self.fc(x)).reshape(-1, 2, 3)

    block, x = Block(), inputs(5, 4)
    made = equilog.convert(block, layers={"": "equilibrium"}, sample=x)
    assert isinstance(made, Equilibrium)
    assert torch.allclose(made(x), block(x), atol=1e-6)
    assert set_chip(made, 1)(x).shape == (5, 2, 3)


def test_a_convolutional_cell_is_one_too():
    class ImageCell(nn.Module):
        def __init__(self):
            super().__init__()
            self.of_state = nn.Conv2d(2, 2, 3, padding=1)
            self.of_input = nn.Conv2d(1, 2, 3, padding=1)

        def forward(self, z, u):
            return torch.tanh(0.3 * self.of_state(z) + self.of_input(u))

    torch.manual_seed(3)
    cell, z, u = ImageCell(), torch.zeros(2, 2, 4, 4), inputs(2, 1, 4, 4)
    made = equilog.convert(cell, layers={"": "equilibrium"}, sample=(z, u))
    assert made.cell.states == 32
    rest = made(z, u)
    assert rest.shape == z.shape
    assert torch.allclose(cell(rest, u), rest, atol=1e-3)


def test_an_rnn_cell_becomes_the_fixed_point_of_its_iteration():
    torch.manual_seed(4)
    cell, x = nn.RNNCell(3, 5), inputs(6, 3)
    made = equilog.convert(cell, layers={"": "equilibrium"}, sample=x)
    h = torch.zeros(6, 5)
    for _ in range(300):
        h = cell(x, h)
    assert torch.allclose(made(x), h, atol=1e-3)
    assert torch.equal(made(x, h), made(x))
    assert made(x[0]).shape == (5,)


def test_a_cell_of_another_form_is_settled_digitally_and_named():
    class Normed(nn.Module):
        def __init__(self):
            super().__init__()
            self.fc, self.norm = nn.Linear(5, 5), nn.LayerNorm(5)

        def forward(self, z, u):
            return torch.tanh(0.2 * self.norm(self.fc(z)) + u)

    torch.manual_seed(5)
    net = DeepEquilibrium(Normed(), 5, 5)
    x = inputs(4, 4)
    with pytest.warns(
        equilog.conversion.ConversionWarning, match="layer 'cell' .Normed. does not compile.*neither tanh"
    ):
        made = equilog.convert(net, layers={"cell": "equilibrium"}, sample=x)
    assert isinstance(made.cell, DigitalEquilibrium)
    assert torch.allclose(made(x), net(x), atol=1e-3)
    row = equilog.conversion.report(made)["cell"]
    assert row.kind == "digital"
    assert not row.compiles
    assert "neither tanh" in row.note


def test_state_dicts_travel_between_conversions_of_different_weights():
    """Weights, ranges and margins are all in it: even where the other network's W had another margin."""
    x = inputs(8, 4)
    nets = []
    for seed, size in ((2, 0.6), (3, 1.8)):
        torch.manual_seed(seed)
        nets.append(DeepEquilibrium(Cell(5, 3, size=size), 3, 5, steps=3))
    first, second = (equilog.convert(n, layers={"cell": "equilibrium", "*": "product"}, sample=x) for n in nets)
    assert not torch.allclose(first(x), second(x))
    second.load_state_dict(first.state_dict())
    for chip in (None, 3):
        assert torch.equal(set_chip(first, chip)(x), set_chip(second, chip)(x))


def test_the_same_conversion_then_load_gives_identical_outputs():
    net, x = mlp(), inputs(8, 6)
    trained = equilog.convert(net, sample=x)
    with torch.no_grad():
        for parameter in trained.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
    again = equilog.convert(net)
    again.load_state_dict(trained.state_dict())
    for chip in (None, 3):
        assert torch.equal(set_chip(trained, chip)(x), set_chip(again, chip)(x))


def test_copies_and_pickles_are_on_their_own():
    x = inputs(8, 6)
    made = set_chip(equilog.convert(mlp(), sample=x), "fresh")
    made(x).sum().backward()
    for other in (copy.deepcopy(made), pickle.loads(pickle.dumps(made))):
        torch.manual_seed(1)
        mine = made(x)
        torch.manual_seed(1)
        assert torch.equal(other(x), mine)
        set_chip(other, None)
        assert not torch.equal(other(x), other(x) + made(x) - mine)


def test_frozen_layers_stay_frozen_and_tied_weights_tied():
    net = mlp()
    net[0].requires_grad_(False)
    made = equilog.convert(net)
    assert not any(p.requires_grad for p in made[0].parameters())
    assert all(p.requires_grad for p in made[2].parameters())

    class Tied(nn.Module):
        def __init__(self):
            super().__init__()
            self.a, self.b = nn.Linear(4, 4), nn.Linear(4, 4)
            self.b.weight = self.a.weight
            self.c = self.a

        def forward(self, x):
            return self.c(self.b(self.a(x)))

    made = equilog.convert(Tied())
    assert made.b.weight is made.a.weight
    assert made.c is made.a
    assert isinstance(made.a, Product)


@given(seed=st.integers(0, 1000), n=st.integers(1, 9), size=st.floats(0, 3), margin=st.sampled_from([0.1, 0.3, 1.0]))
def test_any_weight_is_kept_and_cannot_lose_its_margin(seed, n, size, margin):
    generator = torch.Generator().manual_seed(seed)
    weight = size * torch.randn(n, n, generator=generator, dtype=torch.float64)
    kept = KeptMargin(weight, margin)
    assert torch.allclose(kept(), weight, atol=1e-9)
    own = kept.certificate().margin
    assert float(kept.margin) == pytest.approx(min(margin, own), abs=1e-6)
    with torch.no_grad():
        for parameter in kept.parameters():
            parameter.add_(torch.randn(n, n, generator=generator, dtype=torch.float64))
    assert kept.certificate().margin >= float(kept.margin) - 1e-6


def test_calibration_moves_ranges_and_not_the_function():
    net, x = mlp(), inputs(50, 6)
    made = equilog.convert(net)
    assert float(made[0].parameterize.scale) == 1
    calibrate(made, x)
    assert float(made[0].parameterize.scale) == pytest.approx(float(x.abs().max()))
    hidden = torch.sigmoid(net[2](torch.tanh(net[0](x))))
    assert float(made[4].input_scale) == pytest.approx(float(hidden.detach().abs().max()), rel=1e-5)
    calibrate(made, x, headroom=2.0)
    assert float(made[0].parameterize.scale) == pytest.approx(2 * float(x.abs().max()))
    assert torch.allclose(made(x), net(x), atol=1e-6)


def test_calibration_keeps_chip_and_mode():
    made = set_chip(equilog.convert(mlp()), 3).train()
    made[2].eval()
    calibrate(made, inputs(5, 6))
    assert made[0].chip is not None
    assert made.training
    assert not made[2].training
