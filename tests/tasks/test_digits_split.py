"""Digits split as documented; tasks found by name; models that fit; augmentation by its generator alone."""

import pytest
import torch
from builders import generator
from sklearn.datasets import load_digits

from equilog.names import UserError
from equilog.tasks import get_task, task_names
from equilog.tasks.task import ModelConfig
from equilog.tasks.vision.images import random_affine


def test_898_train_and_899_test_in_order():
    data, bunch = get_task("digits").load(), load_digits()
    assert (len(data.train_x), len(data.test_x)) == (898, 899)
    x = torch.cat([data.train_x, data.test_x])[:, 0]
    assert torch.equal(x, torch.tensor(bunch.images).float() / 16)
    assert torch.cat([data.train_y, data.test_y]).tolist() == bunch.target.tolist()
    assert x.min() >= 0
    assert x.max() <= 1


def test_digits_take_no_folder(tmp_path):
    with pytest.raises(UserError, match="leave out --data"):
        get_task("digits").load(tmp_path)


def test_an_unknown_task_names_the_nearest():
    assert task_names() == sorted(task_names())
    with pytest.raises(UserError, match="did you mean 'digits'"):
        get_task("digit")


@pytest.mark.parametrize(("name", "side"), [("digits", 8), ("fashion-mnist", 28)])
def test_models_fit_their_images_and_drives_stay_in_range(name, side):
    model = get_task(name).build(ModelConfig(states=6, drives=3))
    x = torch.rand(2, 1, side, side)
    assert model(x).shape == (2, 10)
    assert model.parameterize(x).shape == (2, 3)
    assert model.parameterize(100 * x).abs().max() <= 1


@pytest.mark.parametrize("name", task_names())
def test_every_task_says_what_it_is(name):
    task = get_task(name)
    assert task.name == name
    assert all((task.summary, task.split, task.caveat))


@pytest.mark.parametrize("name", ["digits", "fashion-mnist"])
def test_augmentation_depends_on_the_generator_alone(name):
    task, x = get_task(name), torch.rand(4, 1, 8, 8)
    y = torch.arange(4)
    once, same = task.augment(x, y, generator(1))
    torch.manual_seed(99)
    assert torch.equal(task.augment(x, y, generator(1))[0], once)
    assert not torch.equal(task.augment(x, y, generator(2))[0], once)
    assert once.shape == x.shape
    assert torch.equal(same, y)


def test_no_transformation_leaves_the_image():
    x = torch.rand(3, 1, 9, 9)
    torch.testing.assert_close(random_affine(x, generator(1), degrees=0, scale=0, shift=0), x, atol=1e-5, rtol=0)


def test_flip_mirrors_about_every_other_image():
    x = torch.rand(200, 1, 6, 6)
    found = random_affine(x, generator(1), degrees=0, scale=0, shift=0, flip=True)
    same = (found - x).abs().amax((1, 2, 3)) < 1e-5
    mirrored = (found - x.flip(3)).abs().amax((1, 2, 3)) < 1e-5
    assert (same ^ mirrored).all()
    assert 70 < int(mirrored.sum()) < 130


def test_shift_is_a_fraction_of_the_image_at_most():
    x = torch.zeros(100, 1, 41, 41)
    x[:, :, 20, 20] = 1
    found = random_affine(x, generator(1), degrees=0, scale=0, shift=0.1)
    where = torch.arange(41.0)
    column = (found.sum(2)[:, 0] * where).sum(1) / found.sum((1, 2, 3)) - 20
    assert column.abs().max() <= 4.1 + 1e-3
    assert column.abs().max() > 3
