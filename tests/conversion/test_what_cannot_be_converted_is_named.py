"""Choosing layers, and being told by name and reason what cannot be."""

from collections import OrderedDict

import pytest
import torch
from conversion.networks import Cell, ConvNet, DeepEquilibrium, inputs, mlp
from torch import nn

import equilog
from equilog.conversion import ConversionWarning, Equilibrium, Product, calibrate, report
from equilog.conversion.recognise import NotAffine, recognise
from equilog.names import UserError


def kinds(net, layers):
    made = equilog.convert(net, layers=layers)
    return {name: type(m).__name__ for name, m in made.named_modules() if isinstance(m, (Equilibrium, Product))}


@pytest.mark.parametrize(
    ("layers", "expected"),
    [
        (None, {"0": "Equilibrium", "2": "Equilibrium", "4": "Product"}),
        ("4", {"4": "Product"}),
        (["0", "4"], {"0": "Equilibrium", "4": "Product"}),
        ({"0": "product"}, {"0": "Product"}),
        ({"*": "product", "2": "equilibrium", "4": "digital"}, {"0": "Product", "2": "Equilibrium"}),
        ({"[02]": "product", "*": "equilibrium"}, {"0": "Product", "2": "Product"}),
        ({"*": "equilibrium"}, {"0": "Equilibrium", "2": "Equilibrium"}),
        (lambda name, module: name == "2", {"2": "Equilibrium"}),
        (lambda name, module: "product" if getattr(module, "in_features", 0) > 6 else None, {"2": "Product"}),
        (lambda name, module: True, {"0": "Equilibrium", "2": "Equilibrium", "4": "Product"}),
    ],
)
def test_layers_are_chosen_as_asked(layers, expected):
    assert kinds(mlp(), layers) == expected


def test_a_pair_of_linear_and_activation_may_be_named_as_one():
    made = equilog.convert(ConvNet(), layers={"encoder.fc": "equilibrium"})
    assert isinstance(made.encoder["fc"][0], Equilibrium)
    assert isinstance(made.head, nn.Linear)


class Held(nn.Module):
    def __init__(self, **layers):
        super().__init__()
        for name, layer in layers.items():
            self.add_module(name, layer)


HOOKED = nn.Linear(2, 2)
HOOKED.register_forward_hook(lambda *a: None)
ZERO = nn.Linear(2, 2)
nn.init.zeros_(ZERO.weight)
PRUNED = nn.utils.parametrizations.weight_norm(nn.Linear(2, 2))


@pytest.mark.parametrize(
    ("layer", "kind", "message"),
    [
        (nn.Sequential(nn.Linear(2, 2), nn.ReLU()), "equilibrium", "ReLU follows it.*can become a product"),
        (nn.Sequential(nn.Linear(2, 2)), "equilibrium", "no activation follows it"),
        (nn.RNNCell(2, 2, nonlinearity="relu"), "equilibrium", "its activation is relu; a chip has tanh"),
        (nn.RNNCell(2, 2), "product", "RNNCell is no matrix product; it can become an equilibrium"),
        (nn.RNN(2, 2), "equilibrium", "runs over a sequence and remembers"),
        (nn.LSTM(2, 2), "equilibrium", "gates multiply states"),
        (nn.GRUCell(2, 2), None, "no equilibrium: gates.*no product: gates"),
        (nn.MultiheadAttention(2, 1), "product", "multiplies activations with each other"),
        (nn.Embedding(2, 2), "product", "looked up"),
        (nn.Conv2d(2, 2, 1, groups=2), "product", "a convolution in groups"),
        (nn.Conv2d(2, 2, 1), "equilibrium", "Conv2d is no affine map with an activation.*can become a product"),
        (nn.LayerNorm(2), "equilibrium", "LayerNorm is no affine map"),
        (HOOKED, "product", "has hooks"),
        (ZERO, "product", "all its weights are zero"),
        (PRUNED, "product", "derived from Linear"),
    ],
)
def test_a_layer_that_cannot_be_is_named_with_the_reason(layer, kind, message):
    name = "one.0" if isinstance(layer, nn.Sequential) else "one"
    with pytest.raises(UserError, match=f"layer '{name}' cannot be.*{message}"):
        equilog.convert(Held(one=layer), layers={name: kind} if kind else [name])


def test_layers_that_pytorch_passes_by_are_refused():
    net = nn.TransformerEncoderLayer(4, 2, 8, batch_first=True)
    with pytest.raises(UserError, match="'linear1' cannot become a product: the layer around it reads its weights"):
        equilog.convert(net, layers={"linear1": "product"})
    with pytest.raises(UserError, match="no layer to convert: linear1: the layer around it"):
        equilog.convert(net)


@pytest.mark.parametrize(
    ("layers", "message"),
    [
        ("encoder.fx", r"unknown layer 'encoder.fx' \(did you mean 'encoder.fc'\?\)"),
        ({"head": "analog"}, "unknown kind of layer 'analog'; expected one of: digital, equilibrium, product"),
        ({"h*": "analog"}, "unknown kind of layer 'analog'"),
        ("decoder.*", "no nn.Linear or nn.Conv2d matches 'decoder.*'; there are: conv, encoder.fc.0, head"),
        ({"h*": "equilibrium"}, "no layer that 'h\\*' matches can be converted so; 'head': no equilibrium"),
        ({"": "equilibrium", "head": "product"}, "'head' is inside the model itself, and both are to be converted"),
        (lambda name, module: False, "no layer to convert"),
    ],
)
def test_a_choice_that_makes_no_sense_is_refused(layers, message):
    with pytest.raises(UserError, match=message):
        equilog.convert(ConvNet(), layers=layers)


def test_other_arguments_are_checked():
    with pytest.raises(UserError, match="did you mean 'rram'"):
        equilog.convert(mlp(), "rrram")
    with pytest.raises(ValueError, match="margin = 0: expected"):
        equilog.convert(mlp(), margin=0)
    made = equilog.convert(mlp())
    with pytest.raises(UserError, match="headroom = 0: expected"):
        calibrate(made, inputs(2, 6), headroom=0)
    with pytest.raises(UserError, match="layer '0' meets inf or nan"):
        calibrate(equilog.convert(nn.Sequential(nn.Linear(6, 3))), torch.full((2, 6), torch.nan))


def test_a_cell_needs_a_sample_that_reaches_it():
    net = DeepEquilibrium(Cell(5, 3), 3, 5)
    with pytest.raises(UserError, match="layer 'cell' is a module of your own: give sample="):
        equilog.convert(net, layers={"cell": "equilibrium"})
    net.steps = 0
    with pytest.raises(UserError, match="the sample never reaches layer 'cell'"):
        equilog.convert(net, layers={"cell": "equilibrium"}, sample=inputs(2, 4))

    class Keywords(nn.Module):
        def __init__(self):
            super().__init__()
            self.cell = Cell(3, 3)

        def forward(self, x):
            return self.cell(z=x, u=x)

    with pytest.raises(UserError, match=r"called with \[\] and \['u', 'z'\] by name: expected f\(z, u\)"):
        equilog.convert(Keywords(), layers={"cell": "equilibrium"}, sample=inputs(2, 3))


def test_a_layer_that_the_sample_does_not_reach_keeps_its_range():
    class Two(nn.Module):
        def __init__(self):
            super().__init__()
            self.used, self.unused = nn.Linear(3, 3), nn.Linear(3, 3)

        def forward(self, x):
            return self.used(x)

    with pytest.warns(ConversionWarning, match="no input to layer 'unused'"):
        made = equilog.convert(Two(), sample=inputs(5, 3))
    assert float(made.used.input_scale) != 1
    assert float(made.unused.input_scale) == 1


def formed(f):
    class Made(nn.Module):
        def forward(self, *args):
            return f(*args)

    return Made()


DROPOUT, NORM = nn.Dropout(0.5), nn.BatchNorm1d(3)


@pytest.mark.parametrize(
    ("f", "reason"),
    [
        (lambda z, u: torch.relu(0.3 * z + u), "looks like ReLU"),
        (lambda z, u: z + torch.tanh(u), "values reach from"),
        (lambda z, u: torch.tanh(z * u), "neither tanh nor sigmoid"),
        (lambda z, u: torch.tanh(0.5 * z + u).pow(3), "neither tanh nor sigmoid"),
        (lambda z, u: torch.tanh(z + u - (z + u).mean(0)), "depends on the rest of its batch"),
        (lambda z, u: torch.tanh(z.float() @ torch.ones(3, 3).half() + u), "calling it in float64 fails"),
        (lambda z, u: torch.tanh(z[:, :2] + u[:, :2]), r"returns \(2,\) for a state of shape \(3,\)"),
        (lambda z, u: torch.tanh(z + u + 100), "saturated near zero"),
        (lambda z, u: torch.log(z - 99), "inf or nan"),
    ],
)
def test_forms_that_are_not_affine_are_told_apart(f, reason):
    with pytest.raises(NotAffine, match=reason):
        recognise(formed(f), (inputs(4, 3), inputs(4, 3)))


@pytest.mark.parametrize("layer", [DROPOUT, NORM], ids=["dropout", "batch norm"])
def test_what_computes_otherwise_in_training_is_refused(layer):
    cell = nn.Sequential(nn.Linear(3, 3), layer, nn.Tanh())
    with pytest.raises(NotAffine, match="computes otherwise in training"):
        recognise(cell, (inputs(4, 3),))


def test_too_many_states_are_not_probed():
    with pytest.raises(NotAffine, match="more than the 2048"):
        recognise(formed(lambda z, u: torch.tanh(z + u)), (torch.zeros(1, 1500), torch.zeros(1, 1500)))


def test_a_layer_of_ones_own_that_is_no_equilibrium_is_refused():
    with pytest.raises(UserError, match="layer 'one' cannot become an equilibrium: its activation looks like ReLU"):
        equilog.convert(
            nn.Sequential(OrderedDict(one=formed(torch.relu))), layers={"one": "equilibrium"}, sample=inputs(4, 3)
        )


def test_the_report_says_what_each_layer_is_and_could_be():
    net = ConvNet()
    before = report(net)
    assert [row.name for row in before.rows] == ["conv", "encoder.fc.0", "head"]
    assert before["encoder.fc.0"].note == "can become equilibrium or product"
    after = report(equilog.convert(net, layers={"encoder.fc": "equilibrium", "conv": "product"}))
    assert [(row.name, row.kind, row.compiles) for row in after.rows] == [
        ("conv", "product", False),
        ("encoder.fc.0", "equilibrium", True),
        ("head", "digital", False),
    ]
    text = str(after)
    for part in ("12 states, 64 drives", "4 × 9", "margin ≥ 0.3: one equilibrium", "can become product"):
        assert part in text
    assert report(Held(rnn=nn.LSTM(2, 2)))["rnn"].note.startswith("gates multiply")


def test_the_report_warns_of_a_weight_without_margin():
    torch.manual_seed(0)
    made = equilog.convert(Cell(6, 3, size=4.0), layers={"": "equilibrium"}, sample=(torch.zeros(2, 6), inputs(2, 3)))
    assert "may have several equilibria" in report(made)[""].note
