"""Models of picture tasks: shapes, ranges, independence of a batch, and augmentation that only shifts and mirrors."""

from __future__ import annotations

import pytest
import torch
from builders import generator
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from equilog.baselines.resnet import resnet
from equilog.hardware import Chip, load_spec
from equilog.names import UserError
from equilog.objective import Classification
from equilog.tasks import get_task
from equilog.tasks.vision.detection import zoomed_boxes
from equilog.tasks.vision.encoders import ResidualBlock, Standardise, group_norm, residual_stages
from equilog.tasks.vision.images import crop_and_flip
from equilog.tasks.vision.pooled_encoder import PooledBlock, pooled_encoder
from equilog.training import TrainConfig, fit
from equilog.training.curriculum import ideal_then_twin

TASKS = [("cifar10", (3, 32, 32), 10), ("cifar100", (3, 32, 32), 100), ("mnist", (1, 28, 28), 10)]


@pytest.mark.parametrize(("name", "shape", "classes"), TASKS)
def test_models_fit_their_pictures_ideal_and_on_a_chip(name: str, shape: tuple[int, ...], classes: int) -> None:
    task = get_task(name)
    model = task.build(task.model_defaults)
    x = torch.rand(3, *shape)
    drive = model.parameterize(x)
    assert drive.shape == (3, task.model_defaults.drives)
    assert drive.abs().max() <= 1
    assert model(x).shape == (3, classes)
    assert model(x, Chip(load_spec("rram"), 0)).isfinite().all()


@pytest.mark.parametrize(("name", "shape", "classes"), TASKS)
def test_a_sample_alone_gives_what_it_gives_in_a_batch(name: str, shape: tuple[int, ...], classes: int) -> None:
    task = get_task(name)
    model = task.build(task.model_defaults).double()
    x = torch.rand(4, *shape, dtype=torch.float64)
    alone = torch.cat([model(one[None]) for one in x])
    torch.testing.assert_close(model(x), alone, rtol=1e-4, atol=1e-6)
    model.eval()
    torch.testing.assert_close(model(x), alone, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("name", ["cifar10", "cifar100", "mnist"])
def test_missing_data_are_said_with_what_to_do(name: str, tmp_path: object) -> None:
    with pytest.raises(UserError, match=r"with --data"):
        get_task(name).load(tmp_path / "none")


@pytest.mark.parametrize("name", ["cifar10", "mnist"])
def test_a_download_that_fails_says_what_to_do(name: str, tmp_path: object, monkeypatch: pytest.MonkeyPatch) -> None:
    import pooch

    def nowhere(*_: object, **__: object) -> None:
        raise OSError("no route to host")

    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setattr(pooch.core, "stream_download", nowhere)
    with pytest.raises(UserError, match=rf"{name} is not on this machine .*no route to host.*--data"):
        get_task(name).load()


def test_standardised_pictures_have_mean_zero_and_deviation_one() -> None:
    x = torch.rand(50, 3, 8, 8) * torch.tensor([1.0, 0.5, 0.1]).view(-1, 1, 1) + 0.2
    mean, std = x.mean((0, 2, 3)).tolist(), x.std((0, 2, 3)).tolist()
    y = Standardise(mean, std)(x)
    torch.testing.assert_close(y.mean((0, 2, 3)), torch.zeros(3), atol=1e-5, rtol=0)
    torch.testing.assert_close(y.std((0, 2, 3)), torch.ones(3))
    with pytest.raises(ValueError, match="std above 0"):
        Standardise([0.5], [0.0])


@pytest.mark.parametrize(("channels", "width", "stride"), [(8, 8, 1), (8, 12, 1), (8, 16, 2), (3, 5, 2)])
def test_a_block_begins_as_its_shortcut(channels: int, width: int, stride: int) -> None:
    block = ResidualBlock(channels, width, stride)
    x = torch.randn(2, channels, 9, 12)
    torch.testing.assert_close(block(x), block.shortcut(x).relu())
    assert block(x).shape == (2, width, -(-9 // stride), -(-12 // stride))
    with torch.no_grad():
        block.residual[-1].weight.fill_(1.0)
    assert not torch.allclose(block(x), block.shortcut(x).relu())


@pytest.mark.parametrize(("channels", "groups"), [(32, 4), (12, 3), (7, 7), (132, 33)])
def test_groups_divide_every_width(channels: int, groups: int) -> None:
    assert group_norm(channels).num_groups == groups


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_groups_are_normalised_as_torch_does_wherever_channels_lie(dtype: torch.dtype) -> None:
    ours = group_norm(16)
    theirs = torch.nn.GroupNorm(ours.num_groups, 16)
    x = torch.randn(2, 16, 6, 5, dtype=dtype).contiguous(memory_format=torch.channels_last)
    results = []
    for norm in (ours, theirs):
        given = x.clone().requires_grad_()
        y = norm.to(dtype)(given)
        assert y.is_contiguous(memory_format=torch.channels_last)
        (y.float() ** 3).sum().backward()
        results.append((y, given.grad))
    torch.testing.assert_close(*results, rtol=0.02, atol=0.05)


def test_stages_halve_the_resolution() -> None:
    assert residual_stages(1, (4, 6, 8), blocks=2)(torch.rand(2, 1, 16, 12)).shape == (2, 8, 4, 3)
    assert resnet((0.5,), (0.2,), (4, 6), 7)(torch.rand(2, 1, 16, 12)).shape == (2, 7)
    with pytest.raises(ValueError, match="0 blocks"):
        residual_stages(1, (4,), 0)


def test_pooled_blocks_halve_the_resolution_and_pass_what_there_is_on():
    assert pooled_encoder((0.5,), (0.2,), (8, 16), 7)(torch.rand(2, 1, 13, 9)).shape == (2, 7)
    block = PooledBlock(3, 8)
    x = torch.rand(2, 3, 6, 4)
    torch.testing.assert_close(block.layers[:2](x)[:, :3], nn.functional.max_pool2d(x, 2))
    features = torch.rand(2, 8, 3, 2)
    torch.testing.assert_close(block.layers[4](features), features)
    with pytest.raises(ValueError, match=r"widths \(\): expected at least one"):
        pooled_encoder((0.5,), (0.2,), (), 7)


@given(seed=st.integers(0, 1000), pad=st.integers(0, 4))
def test_a_cropped_picture_is_a_shift_or_its_mirror_image(seed: int, pad: int) -> None:
    x = 1 + torch.rand(5, 2, 6, 7, generator=generator(seed))
    wide = nn.functional.pad(x, (pad,) * 4)
    for k, found in enumerate(crop_and_flip(x, generator(seed + 1), pad=pad)):
        crops = [
            wide[k, :, down : down + 6, right : right + 7]
            for down in range(2 * pad + 1)
            for right in range(2 * pad + 1)
        ]
        assert sum(torch.equal(found, c) or torch.equal(found, c.flip(2)) for c in crops) >= 1


def test_every_shift_and_both_hands_come_up() -> None:
    x = torch.arange(1.0, 26).view(1, 1, 5, 5).expand(2000, 1, 5, 5)
    found = crop_and_flip(x, generator(0), pad=1)
    kinds = {tuple(image.flatten().tolist()) for image in found}
    assert len(kinds) == 18  # 3 × 3 shifts, mirrored and not
    same = torch.equal(crop_and_flip(x, generator(0), pad=1), found)
    assert same


def test_an_encoder_learns_together_with_the_equilibrium() -> None:
    """Bright corners of the picture tell the class; the ideal model and its chips must find that."""
    task = get_task("cifar10")
    torch.manual_seed(1)
    y = torch.arange(96) % 2
    x = 0.1 * torch.rand(96, 3, 16, 16)
    x[:, :, :8, :8] += 0.8 * y.view(-1, 1, 1, 1)
    model = task.build(task.model_defaults.model_copy(update={"states": 8, "drives": 4}))
    before = float(Classification().loss(model(x), y).detach())
    config = TrainConfig(stages=ideal_then_twin(10), batch_size=16, learning_rate=0.02)
    fit(model, x, y, load_spec("rram"), config, progress=False)
    with torch.no_grad():
        assert before > 1.5
        assert float(Classification().loss(model(x), y)) < 0.5
        assert float(Classification().score(model(x, Chip(load_spec("rram"), 7)), y)) > 90


def test_masks_are_mirrored_and_zoomed_with_their_pictures():
    task, y = get_task("voc-segmentation"), torch.zeros(16, 64, 64, dtype=torch.long)
    y[:, 10:30, 5:30] = 3
    x = torch.where(y == 3, 0.9, 0.1)[:, None].expand(-1, 3, -1, -1).contiguous()
    varied, masks = task.augment(x, y, generator(0))
    assert masks.dtype == y.dtype
    assert {int(m) for m in masks.unique()} == {0, 3}
    assert len({int((m == 3).sum()) for m in masks}) > 8  # smaller and larger
    centres = [float((m == 3).nonzero()[:, 1].double().mean()) for m in masks]
    assert min(centres) < 25  # some are mirrored, some are not
    assert max(centres) > 39
    for picture, mask in zip(varied, masks):
        inside, outside = picture[0][eroded(mask == 3)], picture[0][eroded(mask == 0)]
        assert inside.min() > outside.max()


def eroded(mask: torch.Tensor) -> torch.Tensor:
    """Return the pixels all of whose neighbours are in the mask: those between are mixtures."""
    around = torch.nn.functional.max_pool2d((~mask)[None].float(), 3, stride=1, padding=1)
    return around[0] == 0


def test_boxes_go_with_their_pictures_whatever_is_done_to_them():
    task = get_task("bccd")
    x, y = torch.full((32, 3, 96, 128), 0.2), torch.zeros(32, 2, 6)
    x[:, :, 20:60, 30:80] = 0.8
    y[:, 0], y[:, 1, 4] = torch.tensor([30.0, 20.0, 50.0, 40.0, 1.0, 0.0]), -1
    varied, boxes = task.augment(x, y, generator(0))
    assert torch.equal(boxes[:, 1], y[:, 1])  # a place that is not taken
    assert len({tuple(b[0].tolist()) for b in boxes}) == 32
    assert boxes[:, 0, 2].min() < 44
    assert boxes[:, 0, 2].max() > 56
    for picture, (left, top, width, height, *_) in zip(varied, boxes[:, 0].tolist()):
        inside = torch.zeros(96, 128, dtype=torch.bool)
        inside[round(top) : round(top + height), round(left) : round(left + width)] = True
        assert picture[0][eroded(inside)].min() > picture[0][eroded(~inside)].max()


def test_a_box_that_leaves_its_picture_is_clipped_then_ignored_then_gone():
    y = torch.tensor([[[80.0, 40.0, 40.0, 20.0, 1.0, 0.0]]]).expand(4, -1, -1)
    zoom = torch.tensor([[1.0, 0.125, 0.0], [1.0, 0.25, 0.0], [1.0, 0.5, 0.0], [2.0, 0.0, 0.0]])
    moved = zoomed_boxes(y, zoom, (96, 128))[:, 0]
    assert moved[0].tolist() == [96, 40, 32, 20, 1, 0]
    assert moved[1].tolist() == [112, 40, 16, 20, 1, 1]  # 16 of 40 pixels: nobody asks for it
    assert moved[2, 4] == -1
    assert moved[3].tolist() == [96, 32, 32, 40, 1, 1]
