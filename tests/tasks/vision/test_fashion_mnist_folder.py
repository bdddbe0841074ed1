"""The loader reads a folder in exactly the official format, and names what is wrong with any other."""

import gzip
import struct

import numpy as np
import pytest
import torch

from equilog.names import UserError
from equilog.tasks import get_task


def write(folder, stem, array, zipped=True):
    head = bytes([0, 0, 8, array.ndim]) + b"".join(struct.pack(">I", n) for n in array.shape)
    content = head + array.astype(np.uint8).tobytes()
    (folder / (f"{stem}.gz" if zipped else stem)).write_bytes(gzip.compress(content) if zipped else content)


def images(count, side=28):
    return np.random.default_rng(count).integers(0, 256, (count, side, side), dtype=np.uint8)


@pytest.fixture
def folder(tmp_path):
    write(tmp_path, "train-images-idx3-ubyte", images(12))
    write(tmp_path, "train-labels-idx1-ubyte", np.arange(12) % 10)
    write(tmp_path, "t10k-images-idx3-ubyte", images(5))
    write(tmp_path, "t10k-labels-idx1-ubyte", np.arange(5))
    return tmp_path


def load(folder):
    return get_task("fashion-mnist").load(folder)


def test_reads_the_official_format(folder):
    data = load(folder)
    assert data.train_x.shape == (12, 1, 28, 28)
    assert data.test_x.shape == (5, 1, 28, 28)
    assert data.train_x.dtype == torch.float32
    assert data.train_y.dtype == torch.int64
    torch.testing.assert_close(data.train_x[:, 0], torch.from_numpy(images(12)).float() / 255)
    assert data.train_y.tolist() == [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 0, 1]
    assert data.test_y.tolist() == [0, 1, 2, 3, 4]
    assert data.source == str(folder)


def test_unzipped_files_do_as_well(folder):
    (folder / "t10k-images-idx3-ubyte.gz").unlink()
    write(folder, "t10k-images-idx3-ubyte", images(5), zipped=False)
    assert load(folder).test_x.shape == (5, 1, 28, 28)


@pytest.mark.parametrize("stem", ["train-images-idx3-ubyte", "t10k-labels-idx1-ubyte"])
def test_a_missing_file_is_named_and_how_to_get_it(folder, stem):
    (folder / f"{stem}.gz").unlink()
    with pytest.raises(UserError, match=f"holds neither {stem}.gz nor {stem}") as error:
        load(folder)
    assert "apt-get install dataset-fashion-mnist" in str(error.value)
    assert "--data" in str(error.value)


def test_a_missing_folder_is_named_and_how_to_get_it(tmp_path):
    with pytest.raises(UserError, match=r"no folder .*none with Fashion-MNIST; get it with: apt-get"):
        load(tmp_path / "none")


def test_a_label_out_of_range_is_named(folder):
    write(folder, "train-labels-idx1-ubyte", np.array([0] * 7 + [10] + [1] * 4))
    with pytest.raises(UserError, match="train label 10 at position 7"):
        load(folder)


def test_images_of_another_size_are_refused(folder):
    write(folder, "t10k-images-idx3-ubyte", images(5, side=8))
    with pytest.raises(UserError, match=r"t10k images have shape \(5, 8, 8\)"):
        load(folder)


def test_counts_that_differ_are_named(folder):
    write(folder, "t10k-labels-idx1-ubyte", np.arange(4))
    with pytest.raises(UserError, match="5 t10k images, but labels of shape \\(4,\\)"):
        load(folder)


def test_labels_in_place_of_images(folder):
    write(folder, "train-images-idx3-ubyte", np.arange(12))
    with pytest.raises(UserError, match="train images have shape"):
        load(folder)


def test_a_damaged_file_is_named(folder):
    path = folder / "train-images-idx3-ubyte.gz"
    path.write_bytes(path.read_bytes()[:-20])
    with pytest.raises(UserError, match=r"train-images-idx3-ubyte\.gz"):
        load(folder)


def test_limited_takes_the_first_of_each(folder):
    data = load(folder)
    few = data.limited(3)
    assert torch.equal(few.train_x, data.train_x[:3])
    assert torch.equal(few.test_y, data.test_y[:3])
    assert len(data.limited(None).train_x) == 12
