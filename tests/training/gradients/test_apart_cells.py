"""A cell whose law is apart, on devices that give gradients: what is not there has none, and the rest is the truth."""

import pytest
import torch
from builders import CONTINUOUS, apart_cell, chain_law, drives, normal, spec_with
from golden.registry import WIRES

from equilog.circuit import Ngspice
from equilog.circuit.adjoint import adjoint_gradient, adjoint_twin
from equilog.devices import TwinDevice
from equilog.equilibrium import Auto, EquilibriumLayer
from equilog.hardware import Chip, program_cell
from equilog.hardware.rest import at_rest
from equilog.hardware.twin import adc, dac, static_system
from equilog.model import HybridDEQ
from equilog.training.gradients import AdjointReading, WeightPerturbation, measure
from equilog.training.gradients.on_device import OnDevice

EXACT = CONTINUOUS | {"dac.bits": 24, "adc.bits": 24, "amplifier.dc_gain": 1e9, "amplifier.offset_sigma_volt": 0.0}
SPEC = spec_with("rram", EXACT)
TARGET = 0.3 * normal(4, 3, 5)


def cell_of():
    return apart_cell(5, 2, chain_law(5, 2, 3, linear=3), seed=1, size=0.5)


def implicit(cell, drive):
    layer = program_cell(cell, Chip(SPEC, 1))
    z = adc(layer, EquilibriumLayer(Auto(rtol=1e-13, atol=1e-14))(static_system(layer, dac(layer, drive))))
    loss = 0.5 * (z - TARGET).square().sum()
    return torch.autograd.grad(loss, list(cell.parameters()))


@pytest.mark.parametrize("source", [AdjointReading(), WeightPerturbation(probes=100)], ids=["adjoint", "perturbation"])
def test_the_gradient_of_what_can_be_learnt(source):
    cell, drive, device = cell_of(), 0.3 * drives(3, 2), TwinDevice(Chip(SPEC, 1))
    found = measure(source, device, cell, drive, lambda z: z - TARGET)
    own = torch.cat([found.weight, found.input_weight, found.bias[:, None]], dim=1)
    if isinstance(source, WeightPerturbation):
        assert not own[~cell.populated].any()  # what is not there was not moved
    matrices = cell.matrices()
    asked = torch.autograd.grad(matrices, list(cell.parameters()), (found.weight, found.input_weight, found.bias))
    truth = torch.cat([g.flatten() for g in implicit(cell, drive)])
    asked = torch.cat([g.flatten() for g in asked])
    if isinstance(source, AdjointReading):
        assert (asked - truth).norm() < 1e-3 * truth.norm()
    assert torch.cosine_similarity(asked, truth, dim=0) > 0.7


@pytest.mark.ngspice
@pytest.mark.parametrize("changes", [{}, {"crossbar.wires": WIRES}], ids=["ideal wires", "wires"])
@pytest.mark.parametrize("hidden", [0, 2])
def test_the_adjoint_circuit_in_ngspice_is_its_twin(changes, hidden, simulator: Ngspice):
    cell = apart_cell(3 + hidden, 2, chain_law(3 + hidden, 2, 3, linear=3)).requires_grad_(False)
    layer = program_cell(cell, Chip(spec_with("rram", changes), 1))
    played, g = 0.5 * drives(2, 2), normal(2, 2, 3 + hidden)
    theirs, ours = adjoint_gradient(layer, played, g, simulator), adjoint_twin(layer, played, g)
    assert (theirs - ours).abs().max() < 1e-6 * ours.abs().max()
    # And near the exact implicit gradient: μ = (I − (WD)ᵀ)⁻¹ D g.
    p, slope = at_rest(layer, played).p, static_system(layer, played).activation.slope
    weight = static_system(layer, played).weight
    d = slope(p)
    eye = torch.eye(3 + hidden).double()
    truth = torch.stack([torch.linalg.solve(eye - weight.mT * s[:, None], s * v) for s, v in zip(d, g)])
    assert (ours - truth).norm() < 0.2 * truth.norm()


def test_training_on_a_device_leaves_the_law_alone():
    cell, drive = cell_of(), 0.3 * drives(3, 2)
    model = HybridDEQ(torch.nn.Identity(), cell, torch.nn.Identity())
    trained = OnDevice(model, TwinDevice(Chip(SPEC, 1)), AdjointReading())
    optimiser = torch.optim.SGD(trained.parameters(), lr=0.05, weight_decay=0.01)
    losses = []
    for _ in range(5):
        optimiser.zero_grad()
        loss = 0.5 * (trained(drive) - TARGET).square().sum()
        loss.backward()
        optimiser.step()
        losses.append(float(loss.detach()))
    assert losses[-1] < losses[0]
    weight, input_weight, bias = cell.matrices()
    assert not torch.cat([weight, input_weight, bias[:, None]], dim=1)[~cell.populated].any()
