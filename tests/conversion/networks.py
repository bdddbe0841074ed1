"""Networks and cells as a user of PyTorch writes them, and technologies without mismatch."""

from __future__ import annotations

import torch
from builders import NO_MISMATCH, normal, spec_with
from torch import Tensor, nn

FINE = NO_MISMATCH | {"dac.bits": 20, "adc.bits": 20, "amplifier.dc_gain": 1e9, "amplifier.rail_volt": None}


def exact_spec():
    """A technology that computes nearly what was asked for."""
    return spec_with("rram", FINE)


def mlp() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(6, 8), nn.Tanh(), nn.Linear(8, 5), nn.Sigmoid(), nn.Linear(5, 3))


class ConvNet(nn.Module):
    """Convolution, nested layers and a head; takes images ``(batch, 1, 8, 8)``."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(1)
        self.conv = nn.Conv2d(1, 4, 3, stride=2, padding=1)
        self.encoder = nn.ModuleDict({"fc": nn.Sequential(nn.Linear(64, 12), nn.Tanh())})
        self.head = nn.Linear(12, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.encoder["fc"](torch.relu(self.conv(x)).flatten(1)))


class Cell(nn.Module):
    """``φ(0.6 W z + U u + b)``, written in a way that no pattern of layers shows."""

    def __init__(self, states: int, drives: int, phi=torch.tanh, size: float = 0.6) -> None:
        super().__init__()
        self.mix = nn.Parameter(torch.randn(states + drives, states) / (states + drives) ** 0.5)
        self.offset = nn.Parameter(0.3 * torch.randn(states))
        self.states, self.phi, self.size = states, phi, size

    def forward(self, z: Tensor, u: Tensor) -> Tensor:
        recurrent, injected = self.mix.split([self.states, self.mix.shape[0] - self.states])
        return self.phi(torch.einsum("bi,ij->bj", z, self.size * recurrent) + u @ injected + self.offset)


class DeepEquilibrium(nn.Module):
    """A cell iterated to its fixed point between two digital layers: the loop is the user's own."""

    def __init__(self, cell: nn.Module, drives: int, states: int, steps: int = 200) -> None:
        super().__init__()
        self.inject, self.cell, self.head = nn.Linear(4, drives), cell, nn.Linear(states, 2)
        self.states, self.steps = states, steps

    def forward(self, x: Tensor) -> Tensor:
        u = 3 * self.inject(x)
        z = x.new_zeros(len(x), self.states)
        for _ in range(self.steps):
            z = self.cell(z, u)
        return self.head(z)


def inputs(batch: int, *shape: int, size: float = 3.0) -> Tensor:
    return (size * normal(7, batch, *shape)).float()
