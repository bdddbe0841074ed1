"""The grid is Kirchhoff's law with a margin; intersection over union is torchmetrics'; void pixels count nowhere."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from archives import in_folder
from builders import generator
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn
from vision_files import encoded, mask_png, pixels

from equilog.cells import CircuitCell
from equilog.hardware import Chip, load_spec, program_cell
from equilog.model import HybridDEQ
from equilog.names import UserError
from equilog.priors.diffusion import graph_laplacian
from equilog.tasks import Data, get_task
from equilog.tasks.task import ModelConfig
from equilog.tasks.vision.grid_cell import GridCell, GridWeight
from equilog.tasks.vision.images import random_light
from equilog.tasks.vision.segmentation import HEAVIEST, Segmentation, class_iou, confusion
from equilog.tasks.vision.voc import VOID
from equilog.training import TrainConfig, fit
from equilog.training.curriculum import ideal


def learnt(channels: int, height: int, width: int, size: float, seed: int = 0) -> GridCell:
    torch.manual_seed(seed)
    cell = GridCell(channels, height, width, margin=0.2).double()
    with torch.no_grad():
        for parameter in cell.parameters():
            parameter.add_(size * torch.randn_like(parameter))
    return cell


@given(
    channels=st.integers(1, 3), height=st.integers(1, 4), width=st.integers(1, 4), size=st.floats(0, 20),
    seed=st.integers(0, 99),
)  # fmt: skip
def test_the_margin_holds_whatever_is_learnt(channels: int, height: int, width: int, size: float, seed: int) -> None:
    cell = learnt(channels, height, width, size, seed)
    weight = cell.recurrent().detach()
    assert torch.equal(weight, weight.T)
    assert torch.linalg.eigvalsh(torch.eye(cell.states) - weight).min() >= 0.2 - 1e-9 * float(weight.abs().max())


def test_it_is_the_laplacian_of_the_learnt_conductances() -> None:
    cell = learnt(2, 3, 4, 1.0)
    edge, leak = cell.recurrent.conductances()
    rows = [(4 * i + j, 4 * i + j + 1) for i in range(3) for j in range(3)]
    columns = [(4 * i + j, 4 * i + j + 4) for i in range(2) for j in range(4)]
    assert edge.min() > 0
    assert leak.min() > 0.2
    for c in range(2):
        part = slice(12 * c, 12 * c + 12)
        expected = torch.from_numpy(graph_laplacian(12, rows + columns, edge[c]).toarray()) + torch.diag(leak[c])
        torch.testing.assert_close(torch.eye(12) - cell.recurrent()[part, part], expected, atol=1e-12, rtol=1e-12)
    assert cell.recurrent()[:12, 12:].abs().max() == 0


def test_small_signals_rest_where_kirchhoff_says_and_spread_to_neighbours() -> None:
    cell = learnt(1, 5, 5, 0.3)
    with torch.no_grad():
        cell.bias.zero_()
    drive = torch.zeros(1, 25, dtype=torch.float64)
    drive[0, 12] = 1e-4
    z = HybridDEQ(nn.Identity(), cell, nn.Identity())(drive)
    a = torch.eye(25) - cell.recurrent()
    torch.testing.assert_close(z[0], torch.linalg.solve(a, cell.gain * drive[0]), rtol=1e-4, atol=1e-12)
    image = z.view(5, 5).detach()
    assert image[2, 2] > image[2, 3] > image[2, 4] > 0
    assert image[2, 2] > image[1, 2] > image[0, 2] > 0


def test_a_grid_is_programmed_like_any_other_cell_and_has_no_dense_input() -> None:
    cell = learnt(2, 3, 3, 0.2)
    assert isinstance(cell, CircuitCell)
    assert sum(p.numel() for p in cell.parameters()) == 2 * 12 + 4 * 18 - 18  # edges, leaks, gains, biases
    model = HybridDEQ(nn.Identity(), cell, nn.Identity())
    drive = torch.rand(4, 18, dtype=torch.float64, generator=generator(0)) - 0.5
    assert (model(drive, Chip(load_spec("ideal"), 0)) - model(drive)).abs().max() < 1e-4
    assert cell.certificate().margin >= 0.2
    with pytest.raises(ValueError, match="0 × 3"):
        GridWeight(1, 0, 3)


def masks(seed: int, count: int = 6) -> tuple[Tensor, Tensor]:
    rng = generator(seed)
    y = torch.randint(0, 4, (count, 6, 7), generator=rng)
    y[torch.rand(y.shape, generator=rng) < 0.2] = VOID
    return torch.randn(count, 5, 6, 7, generator=rng), y


@given(seed=st.integers(0, 500))
def test_intersection_over_union_is_that_of_torchmetrics(seed: int) -> None:
    metrics = pytest.importorskip("torchmetrics.classification")
    output, y = masks(seed)
    trusted = metrics.MulticlassJaccardIndex(5, average=None, ignore_index=VOID)
    expected = trusted(output.argmax(1), y).double()
    found = class_iou(confusion(output, y, 5))
    there = ~found.isnan()
    torch.testing.assert_close(found[there], expected[there], rtol=1e-6, atol=1e-9)


def test_the_score_by_hand() -> None:
    y = torch.tensor([[[0, 0, 1, VOID]], [[2, 2, 2, 2]], [[VOID] * 4]])
    answer = torch.tensor([[[0, 1, 1, 2]], [[2, 2, 0, 0]], [[1, 1, 1, 1]]])
    output = nn.functional.one_hot(answer, 3).movedim(-1, 1).double()
    # First: class 0 1/2, class 1 1/2. Second: class 2 2/4, class 0 0/2. Third: nothing to see.
    assert float(Segmentation(3).score(output, y)) == pytest.approx(0.5 + 0.25 + 0)
    assert float(Segmentation(3).score(output[:2], torch.where(y[:2] == VOID, VOID, answer[:2]))) == pytest.approx(2)


def test_void_pixels_change_neither_loss_nor_gradient() -> None:
    output, y = masks(1)
    output.requires_grad_()
    goal = Segmentation.balanced(y, 5)
    loss = goal.loss(output, y)
    loss.backward()
    assert output.grad is not None
    assert output.grad.movedim(1, -1)[y == VOID].abs().max() == 0
    trusted = nn.functional.cross_entropy(output, y, weight=goal.weights, ignore_index=VOID)
    torch.testing.assert_close(loss, trusted)
    assert float(goal.loss(output.detach(), torch.full_like(y, VOID))) == 0


def test_rare_classes_weigh_more_up_to_a_limit() -> None:
    y = torch.tensor([0] * 9000 + [1] * 1000 + [3] + [VOID] * 5000).view(1, 1, -1)
    weights = Segmentation.balanced(y, 5).weights
    assert weights is not None
    assert weights.tolist() == pytest.approx([1, 3, 0, HEAVIEST, 0])


def test_light_changes_and_places_do_not() -> None:
    x = torch.rand(40, 3, 5, 6, generator=generator(0)) * 0.2 + 0.4
    found = random_light(x, generator(1), brightness=0.1, contrast=0.3)
    shape = (found - found.mean((1, 2, 3), keepdim=True)) / (x - x.mean((1, 2, 3), keepdim=True))
    assert shape.flatten(1).std(1).max() < 1e-2  # one factor a picture
    assert 0.6 < shape.mean((1, 2, 3)).min() < 0.8
    assert 1.2 < shape.mean((1, 2, 3)).max() < 1.4
    assert (found.mean((1, 2, 3)) - x.mean((1, 2, 3))).abs().max() <= 0.1 + 1e-6


def devkit(place: Path) -> Path:
    root, files = "VOCdevkit/VOC2012", {}
    for split, ids in (("train", range(4)), ("val", range(4, 6))):
        files[f"{root}/ImageSets/Segmentation/{split}.txt"] = "\n".join(f"p{k}" for k in ids).encode()
        for k in ids:
            mask = np.zeros((40, 48))
            mask[10:30, 4 * k : 4 * k + 20] = 12
            mask[9, :] = VOID
            files[f"{root}/JPEGImages/p{k}.jpg"] = encoded(pixels(k, 40, 48), "JPEG")
            files[f"{root}/SegmentationClass/p{k}.png"] = mask_png(mask)
    return in_folder(place, files)


@pytest.fixture
def data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Data:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return get_task("voc-segmentation").load(devkit(tmp_path / "set"))


def test_the_task_reads_a_devkit_and_measures_mean_iou(data: Data) -> None:
    task = get_task("voc-segmentation")
    assert data.train_x.shape == (4, 3, 64, 64)
    assert data.train_y.shape == (4, 64, 64)
    assert set(data.train_y.unique().tolist()) == {0, 12, VOID}
    perfect = nn.functional.one_hot(data.test_y.clamp(max=20), 21).movedim(-1, 1).double()

    def right(x: Tensor) -> Tensor:
        return perfect[: len(x)]

    found = task.measures(right, data, ideal=True)
    assert found[0].value == 1
    share = float((data.test_y == 0).sum() / (data.test_y != VOID).sum())
    assert [m.name for m in found[1::2]] == [
        "mIoU of frequent classes",
        "mIoU of frequent classes of background everywhere",
    ]
    assert found[1].value == 1
    assert found[1].note.endswith("background, dog")
    assert found[2].value == pytest.approx(share / 2)  # one of two classes, at its share
    few = replace(data, train_y=torch.where(data.train_y == 12, 0, data.train_y))
    assert task.measures(right, few, ideal=False)[1].note.endswith(": background")


def test_the_model_runs_ideal_and_on_a_chip_and_other_sizes_are_refused() -> None:
    task = get_task("voc-segmentation")
    model = task.build(ModelConfig(states=64, drives=64))
    x = torch.rand(2, 3, 64, 64)
    assert model.parameterize(x).abs().max() <= 1
    assert model(x).shape == (2, 21, 64, 64)
    assert model(x, Chip(load_spec("rram"), 0)).isfinite().all()
    with pytest.raises(UserError, match="65 states and 64 drives: expected the same multiple of 64"):
        task.build(ModelConfig(states=65, drives=64))


def test_it_learns_where_something_is(data: Data) -> None:
    """Bright squares at random places on dark ground; background everywhere would score 0.43."""
    task, rng = get_task("voc-segmentation"), generator(5)
    x, y = 0.2 * torch.rand(48, 3, 64, 64, generator=rng), torch.zeros(48, 64, 64, dtype=torch.int64)
    for k, (i, j) in enumerate(torch.randint(0, 40, (48, 2), generator=rng).tolist()):
        x[k, :, i : i + 24, j : j + 24] += 0.7
        y[k, i : i + 24, j : j + 24] = 5
    torch.manual_seed(0)
    model, goal = task.build(ModelConfig(states=64, drives=64)), Segmentation.balanced(y, 21)
    before = float(goal.score(model(x), y)) / 48
    config = TrainConfig(stages=ideal(10), batch_size=12, learning_rate=0.01)
    fit(model, x, y, load_spec("ideal"), config, objective=goal, progress=False)
    with torch.no_grad():
        after = float(goal.score(model(x), y)) / 48
    assert before < 0.45
    assert after > 0.65


def test_a_chip_has_devices_where_the_grid_has_something_to_hold():
    cell = learnt(2, 3, 4, size=1.0)
    weight, inputs, _ = cell.matrices()
    columns = torch.cat([weight.ne(0), inputs.ne(0), torch.ones(24, 1, dtype=torch.bool)], dim=1)
    assert torch.equal(cell.populated, columns)
    layer = program_cell(cell, Chip(load_spec("rram"), 0))
    assert not layer.g_plus_siemens[~columns].any()
    assert layer.devices == 2 * int(columns.sum())
