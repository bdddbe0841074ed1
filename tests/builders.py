"""Small things to test with: systems, specs, programmed layers and models."""

from __future__ import annotations

from typing import Any

import torch
import yaml
from torch import Tensor, nn

from equilog.cells import AffineSystem, CircuitCell, FixedCoupling, LinearCell, MonotoneWeight, Tanh
from equilog.hardware import Chip, Conditions, ProgrammedLayer, Spec, load_spec, program, program_cell
from equilog.hardware.technology.spec import spec_from_data
from equilog.model import HybridDEQ
from equilog.training import Stage


def generator(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def normal(seed: int, *shape: int) -> Tensor:
    return torch.randn(*shape, dtype=torch.float64, generator=generator(seed))


def monotone(n: int, norm: float, seed: int, margin: float = 0.3, anchored: int = 0) -> Tensor:
    """A monotone weight whose skew part is scaled until ‖W‖₂ is about `norm`; the margin does not change.

    A single state has no skew part: its weight is what the module makes it. One for beside a law has as much in the
    anchored states as elsewhere: as learnt, not as it starts.
    """
    torch.manual_seed(seed)
    module = MonotoneWeight(n, margin, scale=0.5, dtype=torch.float64)
    beside = MonotoneWeight(n, margin, anchored=anchored, dtype=torch.float64)
    beside.load_state_dict(module.state_dict())
    weight = beside().detach()
    symmetric, skew = (weight + weight.T) / 2, (weight - weight.T) / 2
    size = torch.linalg.matrix_norm(skew, 2)
    return symmetric + skew * (norm / size if size > 0 else 0.0)


def system(n: int, batch: int, norm: float = 3.0, seed: int = 0, size: float = 1.0) -> AffineSystem:
    return AffineSystem(monotone(n, norm, seed), size * normal(seed + 1, batch, n), Tanh())


def spec_data(preset: str, changes: dict[str, Any] | None = None) -> dict[str, Any]:
    """A preset as plain data, with values under dotted names replaced; None leaves a key out."""
    data = load_spec(preset).model_dump()
    for name, value in (changes or {}).items():
        *path, key = name.split(".")
        block = data
        for part in path:
            block = block[part]
        if value is None:
            block.pop(key, None)
        else:
            block[key] = value
    return yaml.safe_load(yaml.safe_dump(data))


def spec_with(preset: str, changes: dict[str, Any] | None = None) -> Spec:
    return spec_from_data(spec_data(preset, changes), "test")


CONTINUOUS = {"crossbar.levels": None, "crossbar.programming_sigma": None, "crossbar.relaxation": None}
NO_MISMATCH = CONTINUOUS | {
    "amplifier.offset_sigma_volt": 0.0,
    "activation.gain_sigma": 0.0,
    "activation.offset_sigma_volt": 0.0,
}


def matrices(n: int, m: int, seed: int = 0, norm: float = 2.0, anchored: int = 0) -> tuple[Tensor, Tensor, Tensor]:
    return monotone(n, norm, seed, anchored=anchored), normal(seed + 1, n, m), 0.3 * normal(seed + 2, n)


def chain_law(n: int, m: int, law: int, linear: int = 0, seed: int = 0) -> FixedCoupling:
    """Diffusion along a chain of the `law` leading states of n, lossy, with sources and a constant; some linear."""
    g = torch.diag(0.5 + torch.rand(law - 1, dtype=torch.float64, generator=generator(seed)), 1)
    cell = LinearCell.network(g + g.T, torch.full((law,), 0.4, dtype=torch.float64), normal(seed + 1, law, m))
    held = FixedCoupling.of(LinearCell(cell.weight, cell.input_weight, 0.2 * normal(seed + 2, law)), n - law)
    return FixedCoupling(held.weight, held.input_weight, held.bias, linear=linear)


def poisson_law(side: int) -> LinearCell:
    """``−Δv = d`` on a square grid with v = 0 around it: the 5-point Laplacian, a drive a node."""
    path = torch.diag(torch.ones(side - 1, dtype=torch.float64), 1)
    path, eye = path + path.T, torch.eye(side, dtype=torch.float64)
    g = torch.kron(path, eye) + torch.kron(eye, path)
    return LinearCell.network(g, 4 - g.sum(1), torch.eye(side**2, dtype=torch.float64))


def layer_of(
    spec: Spec,
    n: int,
    m: int,
    seed: int = 0,
    norm: float = 2.0,
    conditions: Conditions | None = None,
    fixed: FixedCoupling | None = None,
    apart: bool = False,
) -> ProgrammedLayer:
    if apart:
        return program_cell(apart_cell(n, m, fixed, seed, norm).requires_grad_(False), Chip(spec, seed), conditions)
    held = matrices(n, m, seed, norm, 0 if fixed is None else fixed.anchored)
    return program(held, Chip(spec, seed), conditions, fixed=fixed)


def apart_cell(n: int, m: int, fixed: FixedCoupling, seed: int = 0, size: float = 1.0) -> CircuitCell:
    """A cell whose law is apart, with something learnt everywhere that something can be."""
    cell = CircuitCell(n, m, fixed=fixed, apart=True).double()
    with torch.no_grad():
        for k, parameter in enumerate(cell.parameters()):
            parameter.copy_(size * normal(seed + k, *parameter.shape) / max(1, len(parameter)) ** 0.5)
    return cell


def detector_data(
    layer: ProgrammedLayer,
    threshold: float = 0.01,
    window: float = 1.0,
    hold: float = 1.0,
    timeout: float = 25.0,
    offset: float = 0.002,
) -> dict[str, float]:
    """Figures of a detector in units of the layer's V_a and time constant."""
    v_a, tau = float(layer.spec.activation.v_scale_volt), layer.time_constant_second
    return {
        "threshold_volt": threshold * v_a,
        "window_second": window * tau,
        "offset_sigma_volt": offset * v_a,
        "hold_second": hold * tau,
        "timeout_second": timeout * tau,
    }


def drives(batch: int, m: int, seed: int = 0) -> Tensor:
    return 2 * torch.rand(batch, m, dtype=torch.float64, generator=generator(seed)) - 1


def tiny_model(seed: int = 0, features: int = 4, states: int = 3, drives: int = 2, classes: int = 2) -> HybridDEQ:
    torch.manual_seed(seed)
    return HybridDEQ(
        nn.Sequential(nn.Linear(features, drives), nn.Tanh()),
        CircuitCell(states, drives),
        nn.Linear(states, classes),
    )


def tiny_data(samples: int = 20, features: int = 4) -> tuple[Tensor, Tensor]:
    """Inputs and the labels of a rule that a tiny model can learn."""
    x = torch.randn(samples, features, generator=generator(7))
    return x, (x[:, 0] > 0).long()


def stages(ideal: int, twin: int) -> dict[str, Stage]:
    """A curriculum of two stages, with so many epochs each."""
    return {"ideal": Stage(epochs=ideal), "twin": Stage(epochs=twin, twin=True)}
