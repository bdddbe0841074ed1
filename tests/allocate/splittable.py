"""Networks to split, as users write them: with an equilibrium, with branches, with Python that tracers trip over."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from equilog.cells import CircuitCell
from equilog.model import HybridDEQ


def hybrid(states: int = 16, drives: int = 8) -> HybridDEQ:
    """A convolutional front, an equilibrium in the middle, a linear head; takes images ``(batch, 1, 8, 8)``."""
    torch.manual_seed(0)
    return HybridDEQ(
        nn.Sequential(
            nn.Conv2d(1, 4, 3, stride=2, padding=1), nn.ReLU(), nn.Flatten(), nn.Linear(64, drives), nn.Tanh()
        ),
        CircuitCell(states, drives),
        nn.Linear(states, 10),
    )  # fmt: skip


def digits() -> tuple[Tensor, Tensor]:
    from sklearn.datasets import load_digits

    bunch = load_digits()
    return torch.tensor(bunch.images, dtype=torch.float32)[:, None] / 16, torch.tensor(bunch.target)


def trained(model: nn.Module, x: Tensor, y: Tensor, epochs: int) -> nn.Module:
    """The same, by the plainest training there is."""
    optimiser = torch.optim.Adam(model.parameters(), lr=0.01)
    draw = torch.Generator().manual_seed(0)
    for _ in range(epochs):
        for rows in torch.randperm(len(x), generator=draw).split(64):
            optimiser.zero_grad()
            nn.functional.cross_entropy(model(x[rows]), y[rows]).backward()
            optimiser.step()
    return model.eval()


class Branches(nn.Module):
    """Two layers that read the same numbers, a sum of both, and a head."""

    def __init__(self, width: int = 6) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.left, self.right, self.head = nn.Linear(5, width), nn.Linear(5, width), nn.Linear(width, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(torch.relu(self.left(x)) + self.right(x))


class Twice(nn.Module):
    """One layer called twice."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.same, self.head = nn.Linear(5, 5), nn.Linear(5, 2)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(torch.relu(self.same(torch.relu(self.same(x)))))


class Shapely(nn.Module):
    """Loops over a shape and branches on it, which torch.fx cannot follow and torch.export can."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.parts = nn.ModuleList(nn.Linear(4, 4) for _ in range(3))
        self.head = nn.Sequential(nn.Linear(4, 6), nn.Tanh(), nn.Linear(6, 2))

    def forward(self, x: Tensor) -> Tensor:
        for k in range(x.shape[1] // 2 + 1):  # 3 parts for 4 inputs
            x = torch.relu(self.parts[k](x)) if x.shape[1] > 2 else x
        return self.head(x)


class Undecided(nn.Module):
    """What it computes depends on the values: no tracer follows that."""

    def __init__(self) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.tensor(0.5))

    def forward(self, x: Tensor) -> Tensor:
        return x * self.scale if bool(x.mean() > 0) else torch.tanh(x)


class AroundUndecided(nn.Module):
    """The same between two layers."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.before, self.gate, self.after = nn.Linear(4, 6), Undecided(), nn.Linear(6, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.after(self.gate(self.before(x)))
