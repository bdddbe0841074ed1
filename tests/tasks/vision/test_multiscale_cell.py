"""A convolutional weight at two resolutions keeps its margin, is what its convolutions say, and has its own devices."""

import pytest
import torch
from builders import generator
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from equilog.cells import NodeDrivenCell
from equilog.equilibrium import EquilibriumLayer
from equilog.hardware import Chip, load_spec, program_cell
from equilog.tasks import get_task
from equilog.tasks.vision.multiscale_cell import Multiscale, MultiscaleWeight

SCALES = (2, 4), (3, 2)
N = 2 * 16 + 3 * 4


@given(st.integers(0, 99), st.floats(0.05, 1.0), st.floats(0.1, 20.0))
def test_the_margin_holds_whatever_is_learnt(seed, margin, size):
    torch.manual_seed(seed)
    weight = MultiscaleWeight(SCALES, margin).double()
    with torch.no_grad():
        for kernel in weight.parameters():
            kernel.mul_(size)
    w = weight().detach()
    least = float(torch.linalg.eigvalsh(torch.eye(N) - (w + w.T) / 2)[0])
    assert least >= margin - 1e-9 * float(w.abs().max() + 1)
    assert not w[~weight.populated].any()


def test_the_matrix_is_what_the_convolutions_do():
    torch.manual_seed(0)
    m = Multiscale(SCALES, 1.0).double()
    z = torch.randn(5, N, dtype=torch.float64, generator=generator(1))
    torch.testing.assert_close(z @ m.matrix(N).T, m(z))
    fine, coarse = z[:, :32].view(5, 2, 4, 4), z[:, 32:].view(5, 3, 2, 2)
    below = nn.functional.conv2d(coarse, m.within[1], padding=1)
    below = below + torch.einsum(
        "oi,bihw->bohw", m.down[0][..., 0, 0], fine.unfold(2, 2, 2).unfold(3, 2, 2).mean((4, 5))
    )
    torch.testing.assert_close(m(z)[:, 32:], below.flatten(1))


def test_a_chip_holds_it_and_has_no_other_devices():
    torch.manual_seed(0)
    cell = NodeDrivenCell(MultiscaleWeight(SCALES)).double()
    assert not bool(cell.populated[:, :N].all())
    assert not cell.matrices()[0][~cell.populated[:, :N]].any()
    layer = program_cell(cell, Chip(load_spec("rram"), 0))
    assert layer.devices == 2 * int(cell.populated.sum())
    drive = torch.rand(3, N, dtype=torch.float64, generator=generator(2))
    assert bool(EquilibriumLayer()(cell.system(drive)).isfinite().all())


def test_the_task_runs_ideal_and_on_a_chip():
    task = get_task("cifar10-multiscale")
    model = task.build(task.model_defaults)
    x = torch.rand(2, 3, 32, 32, generator=generator(3))
    assert model(x).shape == model(x, Chip(load_spec("rram"), 0)).shape == (2, 10)


@pytest.mark.parametrize("scales", [(), ((2, 4), (3, 3)), ((0, 4),)])
def test_scales_that_do_not_halve_are_refused(scales):
    with pytest.raises(ValueError, match="half of the one before"):
        MultiscaleWeight(scales)
