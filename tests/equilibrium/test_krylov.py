"""GMRES solves each sample's own linear system."""

import pytest
import torch
from builders import normal

from equilog.equilibrium.krylov import gmres


@pytest.mark.parametrize("memory", [3, 8, 40])
def test_solves_to_the_tolerance_of_each_sample(memory):
    a = torch.eye(12, dtype=torch.float64) + 0.2 * normal(0, 5, 12, 12)
    b = normal(1, 5, 12)
    rtol = torch.tensor([1e-1, 1e-3, 1e-6, 1e-9, 1e-11], dtype=torch.float64)
    x = gmres(lambda v: (a @ v[:, :, None])[:, :, 0], b, rtol, memory, restarts=200)
    residual = torch.linalg.vector_norm(b - (a @ x[:, :, None])[:, :, 0], dim=1)
    assert (residual <= rtol * torch.linalg.vector_norm(b, dim=1) * (1 + 1e-6)).all()


def test_a_neighbour_with_a_tighter_tolerance_changes_nothing():
    a = torch.eye(12, dtype=torch.float64) + 0.2 * normal(0, 2, 12, 12)
    b = normal(1, 2, 12)

    def solve(rtol, rows):
        return gmres(lambda v: (a[rows] @ v[:, :, None])[:, :, 0], b[rows], torch.tensor(rtol).double()[rows], 4, 50)

    together = solve([1e-2, 1e-10], [0, 1])
    torch.testing.assert_close(together[:1], solve([1e-2, 1e-10], [0]), rtol=1e-12, atol=1e-12)


def test_an_exhausted_space_holds_the_solution():
    b = normal(1, 3, 6)
    x = gmres(lambda v: 2 * v, b, torch.full((3,), 1e-12, dtype=torch.float64), 6, 2)
    torch.testing.assert_close(x, b / 2)


def test_a_zero_right_hand_side_gives_zero():
    x = gmres(lambda v: v, torch.zeros(2, 4), torch.full((2,), 1e-6), 4, 2)
    assert x.abs().max() == 0
