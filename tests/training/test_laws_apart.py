"""Training cells whose law is apart: with nothing to learn, with hidden states, on chips, through every regulariser."""

import pytest
import torch
from builders import NO_MISMATCH, apart_cell, chain_law, drives, normal, spec_with, stages
from golden.registry import WIRES

from equilog.cells import CircuitCell
from equilog.equilibrium import EquilibriumLayer
from equilog.hardware import Chip, Conditions, Population, load_spec, program_cell
from equilog.hardware.twin import TwinState, static_system
from equilog.model import HybridDEQ
from equilog.objective import Regression
from equilog.training import TrainConfig, fit
from equilog.training.adapt.identified_chip import typical_chip
from equilog.training.losses import Precision, Robustness, expected_displacement

RRAM = load_spec("rram")
SETTLE = EquilibriumLayer(on_failure="raise")


def model_of(hidden, readout=None):
    torch.manual_seed(0)
    cell = CircuitCell(4 + hidden, 3, fixed=chain_law(4 + hidden, 3, 4, linear=4).float(), apart=True)
    return HybridDEQ(torch.nn.Identity(), cell, readout or torch.nn.Identity())


def data(outputs):
    x = 0.5 * drives(20, 3).float()
    return x, 0.3 * torch.sin(2 * x @ normal(3, 3, outputs).float())


@pytest.mark.parametrize("hidden", [0, 2])
def test_no_epochs_are_a_training_too(hidden):
    model, (x, y) = model_of(hidden), data(4 + hidden)
    before = {name: p.clone() for name, p in model.named_parameters()}
    assert fit(model, x, y, RRAM, TrainConfig(stages=stages(0, 0)), objective=Regression(), progress=False) == []
    assert all(torch.equal(before[name], p) for name, p in model.named_parameters())


@pytest.mark.parametrize("hidden", [0, 3])
def test_epochs_ideal_and_on_chips(hidden):
    model, (x, y) = model_of(hidden, torch.nn.Linear(4 + hidden, 2)), data(2)
    config = TrainConfig(stages=stages(3, 3), batch_size=5, learning_rate=0.02)
    rows = fit(model, x, y, RRAM, config, objective=Regression(), progress=False)
    assert len(rows) == 6
    assert rows[2]["loss"] < rows[0]["loss"]
    w, u, b = model.cell.matrices()
    assert not torch.cat([w, u, b[:, None]], 1)[~model.cell.populated].any()
    assert hidden == 0 or w[:4, 4:].any()


def test_epochs_with_nothing_to_learn_at_all_change_nothing():
    model, (x, y) = model_of(0), data(4)
    rows = fit(model, x, y, RRAM, TrainConfig(stages=stages(2, 1)), objective=Regression(), progress=False)
    assert len(rows) == 3
    assert rows[0]["loss"] == pytest.approx(rows[1]["loss"])


@pytest.mark.parametrize("hidden", [0, 2])
@pytest.mark.parametrize("wires", [{}, {"crossbar.wires": WIRES}], ids=["ideal wires", "wires"])
def test_the_expected_displacement_is_that_of_chips(hidden, wires):
    """Of devices that are there and of the law's resistors; idle ones, which are not there, move nothing."""
    small = {"coefficients_siemens": [2e-8], "source": "test"}
    still = NO_MISMATCH | {"crossbar.temperature": None, "crossbar.programming_sigma": small}
    spec, d = spec_with("rram", still | wires), 0.3 * drives(3, 3)
    cell = apart_cell(4 + hidden, 3, chain_law(4 + hidden, 3, 4, linear=4), size=0.3).requires_grad_(False)
    layer = program_cell(cell, typical_chip(spec))
    system = static_system(layer, d)
    state = TwinState(layer, d, d, system, SETTLE.rest(system))
    many = static_system(program_cell(cell, Population(spec, range(1500)), Conditions()), d)
    moved = many.activation(SETTLE.rest(many)) - state.z
    found = expected_displacement(state).mismatch
    torch.testing.assert_close(found, moved.square().mean((0, 2)), rtol=0.12, atol=0)


@pytest.mark.parametrize("hidden", [0, 2])
def test_regularisers_are_finite_and_have_gradients_where_there_is_something_to_learn(hidden):
    model = model_of(hidden).double()
    state = model.on_chip(0.5 * drives(3, 3), Chip(RRAM, 1))
    for regulariser in (Robustness(), Precision()):
        value = regulariser(state, torch.Generator().manual_seed(0))
        assert bool(value.isfinite())
        model.zero_grad()
        value.backward(retain_graph=True)
        if hidden:
            assert any(p.grad is not None and bool(p.grad.any()) for p in model.parameters())
    assert bool(expected_displacement(state).total.isfinite().all())
