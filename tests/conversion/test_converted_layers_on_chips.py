"""A network on a chip: each layer on its own part, the same for the same seed; training through it; its circuit."""

import pytest
import torch
from conversion.networks import Cell, ConvNet, DeepEquilibrium, exact_spec, inputs, mlp
from torch import nn

import equilog
from equilog.conversion import Equilibrium, set_chip
from equilog.conversion.chips import part_seed
from equilog.hardware import Chip, Conditions, Population, load_spec
from equilog.names import UserError


def test_an_exact_technology_computes_the_ideal_function():
    for net, x in ((mlp(), inputs(16, 6)), (ConvNet(), inputs(16, 1, 8, 8))):
        made = set_chip(equilog.convert(net, exact_spec(), sample=x), 1)
        assert all(layer.chip is not None for layer in made.modules() if isinstance(layer, Equilibrium))
        assert not torch.equal(made(x), net(x))
        assert torch.allclose(made(x), net(x), atol=2e-4)


def test_inputs_beyond_the_range_clip_and_calibration_widens_it():
    net, x = nn.Linear(6, 3), inputs(40, 6)
    made = set_chip(equilog.convert(net, exact_spec()), 1)
    assert torch.allclose(made(x), net(x.clamp(-1, 1)), atol=1e-3)
    made = set_chip(equilog.convert(net, exact_spec(), sample=x), 1)
    assert torch.allclose(made(x), net(x), atol=1e-3)


def test_the_same_seed_is_the_same_chip_and_another_is_not():
    x = inputs(8, 6)
    one, other = (equilog.convert(mlp(), sample=x) for _ in range(2))
    assert torch.equal(set_chip(one, 3)(x), set_chip(other, 3)(x))
    assert torch.equal(one(x), one.eval()(x))
    assert not torch.equal(set_chip(one, 4)(x), other(x))
    by_chip = set_chip(one, Chip(load_spec("rram"), 3))
    assert torch.equal(by_chip(x), other(x))


def test_every_layer_has_a_part_of_its_own():
    net = nn.ModuleDict({"a": nn.Linear(5, 5), "b": nn.Linear(5, 5)})
    net["b"].load_state_dict(net["a"].state_dict())
    made = set_chip(equilog.convert(net), 7)
    x = inputs(4, 5)
    assert not torch.equal(made["a"](x), made["b"](x))
    assert made["a"].chip.seed == part_seed(7, "a") != part_seed(7, "b")
    # Fixed for ever: a chip that was measured must be found again.
    assert part_seed(7, "encoder.fc") == 5123839947132654962


def test_fresh_chips_come_with_every_call_and_repeat_with_the_generator():
    x = inputs(8, 6)
    made = set_chip(equilog.convert(mlp(), sample=x), "fresh")
    torch.manual_seed(0)
    first, second = made(x), made(x)
    torch.manual_seed(0)
    assert torch.equal(made(x), first)
    assert not torch.equal(first, second)
    set_chip(made, None)
    assert torch.equal(made(x), made(x))
    assert not any(module._forward_pre_hooks for module in made.modules())


def test_a_part_of_a_network_meets_fresh_chips_until_the_whole_is_put_on_one():
    x = inputs(8, 6)
    inner = set_chip(equilog.convert(mlp(), sample=x), "fresh")
    outer = nn.Sequential(inner, nn.Linear(3, 2))
    assert not torch.equal(outer(x), outer(x))
    set_chip(outer, 5)
    assert torch.equal(outer(x), outer(x))


def test_conditions_reach_every_layer():
    x = inputs(8, 6)
    made = equilog.convert(mlp(), sample=x)
    young = set_chip(made, 3)(x)
    aged = set_chip(made, 3, Conditions(age_second=1e7))(x)
    assert not torch.equal(young, aged)
    for layer in (made[0], made[4]):
        assert layer.conditions.age_second == 1e7


@pytest.mark.parametrize("kind", ["mlp", "conv", "cell"])
def test_training_through_chips_lowers_the_loss(kind):
    torch.manual_seed(0)
    x = inputs(64, 1, 8, 8) if kind == "conv" else inputs(64, 4 if kind == "cell" else 6)
    net = {"mlp": mlp, "conv": ConvNet, "cell": lambda: DeepEquilibrium(Cell(5, 3), 3, 5, steps=1)}[kind]()
    layers = {"cell": "equilibrium", "*": "product"} if kind == "cell" else None
    made = equilog.convert(net, layers=layers, sample=x)
    target = (x.flatten(1)[:, 0] * x.flatten(1)[:, 1] > 0).long()
    optimizer = torch.optim.Adam(made.parameters(), lr=0.02)

    def loss():
        return nn.functional.cross_entropy(made(x), target)

    set_chip(made, 12345)
    before = float(loss().detach())
    set_chip(made, "fresh")
    for _ in range(30):
        optimizer.zero_grad()
        loss().backward()
        optimizer.step()
    assert all(p.grad is not None and bool(p.grad.isfinite().all()) for p in made.parameters())
    set_chip(made, 12345)
    assert float(loss().detach()) < 0.9 * before


def test_the_recurrent_weight_leaves_zero_in_training():
    made = set_chip(equilog.convert(mlp(), sample=inputs(8, 6)), 1)
    made(inputs(8, 6)).square().sum().backward()
    assert float(made[0].cell.recurrent.a.grad.abs().max()) > 1e-4


def test_precision_follows_the_model():
    for dtype in (torch.float32, torch.float64):
        x = inputs(4, 6).to(dtype)
        made = equilog.convert(mlp().to(dtype), sample=x)
        for chip in (None, 2):
            assert set_chip(made, chip)(x).dtype == dtype
        assert {p.dtype for p in made.state_dict().values()} == {dtype}


@pytest.mark.parametrize("chip", [None, 2])
def test_autocast_does_not_coarsen_what_is_analog(chip):
    x = inputs(4, 1, 8, 8)
    made = set_chip(equilog.convert(ConvNet(), sample=x), chip)
    plain = made(x)
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.allclose(made(x), plain, atol=1e-6)


@pytest.mark.parametrize("chip", [None, 2, "fresh"])
def test_no_samples_and_inference_mode_are_fine(chip):
    made = set_chip(equilog.convert(ConvNet(), sample=inputs(4, 1, 8, 8)), chip)
    with torch.inference_mode():
        assert made(inputs(3, 1, 8, 8)).shape == (3, 3)
        assert made(inputs(0, 1, 8, 8)).shape == (0, 3)


def test_an_equilibrium_alone_takes_a_population():
    x = inputs(4, 6)
    made = equilog.convert(mlp(), sample=x)[0]
    chips = Population(made.spec, [1, 2, 3])
    found = made(x, chips)
    assert found.shape == (3, 4, 8)
    assert torch.allclose(found[1], made(x, Chip(made.spec, 2)), atol=1e-5)


@pytest.mark.ngspice
@pytest.mark.parametrize("phi", [torch.tanh, torch.sigmoid], ids=["tanh", "sigmoid"])
def test_the_circuit_of_a_converted_cell_rests_where_the_layer_says(simulator, phi):
    torch.manual_seed(6)
    net = DeepEquilibrium(Cell(6, 4, phi), 4, 6, steps=1).double()
    x = inputs(5, 4).double()
    made = set_chip(equilog.convert(net, layers={"cell": "equilibrium"}, sample=x), 3)
    layer, u = made.cell, 3 * net.inject(x)
    assert layer.cell.states == 6
    with equilog.NgspiceDevice(layer.chip, simulator) as device:
        device.program(layer.cell)
        settled = device.settle(layer.parameterize(u))
        through = equilog.run_on(layer, device, u)
    twin = equilog.TwinDevice(layer.chip)
    twin.program(layer.cell)
    assert torch.allclose(settled.z, twin.settle(layer.parameterize(u)).z, atol=1e-6)
    # Outputs are ADC codes: the same, or at an edge the next one.
    code = 2 / 2 ** int(layer.spec.adc.bits)
    gap = (through - layer(None, u)).detach().abs()
    assert float(gap.max()) <= 1.2 * code
    assert float(gap.median()) < 1e-6


@pytest.mark.ngspice
def test_the_ladder_verifies_a_converted_layer(simulator, tmp_path):
    x = inputs(6, 6).double()
    layer = equilog.convert(mlp().double(), sample=x)[0]
    ladder = equilog.verify(layer, Chip(layer.spec, 1), x, folder=tmp_path, simulator=simulator, settle_samples=0)
    assert "FAILS" not in str(ladder)
    assert "ngspice at rest" in str(ladder)


def test_chips_that_do_not_fit_are_refused():
    made = equilog.convert(mlp())
    with pytest.raises(UserError, match="'pcm', but layer '0' was converted for another, 'rram'"):
        set_chip(made, Chip(load_spec("pcm"), 1))
    with pytest.raises(UserError, match="chip = -1: expected a seed of 0 or more"):
        set_chip(made, -1)
    with pytest.raises(UserError, match="chip = 'new': expected a seed"):
        set_chip(made, "new")
    with pytest.raises(UserError, match=r"no layer on analog hardware: make one with equilog.convert"):
        set_chip(mlp(), 1)
