"""CIFAR's binary records and class folders are read exactly; damage is refused by name, or skipped and counted."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from archives import in_folder, in_tar, in_zip
from hypothesis import given
from hypothesis import strategies as st
from vision_files import cifar_bytes, cifar_images, encoded, pixels

from equilog.names import UserError
from equilog.tasks import Data, get_task
from equilog.tasks.damage import Skipped
from equilog.tasks.files.store import open_store
from equilog.tasks.vision.cifar_binary import read_cifar
from equilog.tasks.vision.class_folders import read_class_folders

COUNTS = (3, 2, 4, 2, 3)


@pytest.fixture(autouse=True)
def _own_cache(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.mktemp("cache")))


def cifar10_files() -> dict[str, bytes]:
    found = {
        f"cifar-10-batches-bin/data_batch_{k}.bin": cifar_bytes(cifar_images(k, n), [k % 10] * n)
        for k, n in enumerate(COUNTS, 1)
    }
    found["cifar-10-batches-bin/test_batch.bin"] = cifar_bytes(cifar_images(9, 4), [9, 8, 7, 6])
    found["cifar-10-batches-bin/batches.meta.txt"] = b"airplane\n"
    return found


def load(name: str, place: Path, on_damage: str = "refuse") -> Data:
    task = get_task(name)
    task.on_damage = on_damage
    return task.load(place)


@pytest.mark.parametrize("form", ["folder", "archive", "folder with archive"])
def test_cifar10_reads_the_official_files(tmp_path: Path, form: str) -> None:
    archive = tmp_path / "cifar-10-binary.tar.gz"
    place = in_folder(tmp_path / "set", cifar10_files()) if form == "folder" else in_tar(archive, cifar10_files())
    data = load("cifar10", tmp_path if form == "folder with archive" else place)
    assert data.train_x.shape == (14, 3, 32, 32)
    assert data.train_x.dtype == torch.float32
    assert data.train_y.tolist() == [1] * 3 + [2] * 2 + [3] * 4 + [4] * 2 + [5] * 3
    assert data.test_y.tolist() == [9, 8, 7, 6]
    np.testing.assert_allclose(data.test_x.numpy() * 255, cifar_images(9, 4), atol=1e-4)
    assert data.skipped == {}


def test_a_record_by_hand() -> None:
    content = bytes([7]) + bytes([10] * 1024) + bytes([20] * 1024) + bytes(range(256)) * 4
    images, labels = read_cifar(content, (10,), "file", Skipped())
    assert labels.tolist() == [[7]]
    assert images[0, 0].max() == images[0, 0].min() == 10
    assert images[0, 1].max() == images[0, 1].min() == 20
    assert images[0, 2, 0].tolist() == list(range(32))  # rows, not columns


def test_cifar100_learns_the_fine_label(tmp_path: Path) -> None:
    files = {
        "cifar-100-binary/train.bin": cifar_bytes(cifar_images(0, 3), [19, 0, 5], [99, 0, 42]),
        "cifar-100-binary/test.bin": cifar_bytes(cifar_images(1, 2), [1, 2], [11, 12]),
    }
    data = load("cifar100", in_folder(tmp_path, files))
    assert data.train_y.tolist() == [99, 0, 42]
    assert data.test_y.tolist() == [11, 12]
    np.testing.assert_allclose(data.train_x.numpy() * 255, cifar_images(0, 3), atol=1e-4)


@given(data=st.data(), classes=st.sampled_from([(10,), (20, 100)]))
def test_a_file_cut_at_any_byte_is_refused_or_keeps_whole_records(
    data: st.DataObject, classes: tuple[int, ...]
) -> None:
    images = cifar_images(3, 3)
    content = cifar_bytes(images, *[[1, 2, 3]] * len(classes))
    size = len(content) // 3
    cut = data.draw(st.integers(0, len(content) - 1))
    skipped = Skipped("skip")
    found, labels = read_cifar(content[:cut], classes, "train.bin", skipped)
    np.testing.assert_array_equal(found, images[: cut // size])
    assert labels[:, -1].tolist() == [1, 2, 3][: cut // size]
    if cut % size or not cut:
        assert skipped.counts == {"wrong number of bytes": 1}
        with pytest.raises(UserError, match=rf"train\.bin: wrong number of bytes \({cut}, expected a multiple"):
            read_cifar(content[:cut], classes, "train.bin", Skipped())


@pytest.mark.parametrize(("classes", "labels"), [((10,), [[3, 10, 4]]), ((20, 100), [[3, 20, 4], [5, 6, 7]])])
def test_a_class_that_there_is_not(classes: tuple[int, ...], labels: list[list[int]]) -> None:
    images = cifar_images(4, 3)
    content = cifar_bytes(images, *labels)
    with pytest.raises(UserError, match=r"f\.bin, record 1: unknown class id"):
        read_cifar(content, classes, "f.bin", Skipped())
    skipped = Skipped("skip")
    found, kept = read_cifar(content, classes, "f.bin", skipped)
    np.testing.assert_array_equal(found, images[[0, 2]])
    assert len(kept) == 2
    assert skipped.counts == {"unknown class id": 1}


def test_a_missing_batch_is_named(tmp_path: Path) -> None:
    files = cifar10_files()
    del files["cifar-10-batches-bin/data_batch_4.bin"]
    with pytest.raises(UserError, match=r"holds no data_batch_4\.bin; get https://www\.cs\.toronto.*--data"):
        load("cifar10", in_folder(tmp_path, files))


def test_skipped_records_travel_with_the_data(tmp_path: Path) -> None:
    files = cifar10_files()
    files["cifar-10-batches-bin/data_batch_2.bin"] = cifar_bytes(cifar_images(2, 3), [1, 200, 3])
    place = in_folder(tmp_path, files)
    with pytest.raises(UserError, match=r"data_batch_2\.bin, record 1: unknown class id"):
        load("cifar10", place)
    data = load("cifar10", place, "skip")
    assert len(data.train_x) == len(data.train_y) == 14
    assert data.limited(5).skipped == {"unknown class id": 1}


def folders() -> dict[str, bytes]:
    return {
        "cifar10/train/airplane/0001.png": encoded(pixels(1)),
        "cifar10/train/truck/0002.jpg": encoded(pixels(2), "JPEG"),
        "cifar10/train/cat/0000.png": encoded(pixels(3)),
        "cifar10/test/dog/0000.png": encoded(pixels(4)),
        "cifar10/test/frog/._0000.png": b"what a Mac leaves",
        "cifar10/readme.txt": b"hello",
    }


@pytest.mark.parametrize(("make", "name"), [(in_folder, "set"), (in_zip, "set.zip")])
def test_cifar10_reads_class_folders(tmp_path: Path, make: object, name: str) -> None:
    place = make(tmp_path / name, folders())
    for _ in range(2):  # decoded, and from the cache
        data = load("cifar10", place)
        assert data.train_y.tolist() == [3, 0, 9]  # by file name: not all of one class first
        assert data.test_y.tolist() == [5]
        np.testing.assert_allclose(data.train_x[0].numpy() * 255, pixels(3).transpose(2, 0, 1), atol=1e-4)
        assert np.abs(data.train_x[2].numpy() * 255 - pixels(2).transpose(2, 0, 1)).mean() < 6


@pytest.mark.parametrize(
    ("name", "content", "reason"),
    [
        ("train/cat/bad.png", encoded(pixels(5))[:-40], "truncated or unreadable image"),
        ("train/cat/big.png", encoded(pixels(5, 33, 32)), "image of another size"),
        ("train/catt/new.png", encoded(pixels(5)), "unknown class folder"),
        ("test/dog/empty.jpg", b"", "truncated or unreadable image"),
    ],
)
def test_damaged_pictures(tmp_path: Path, name: str, content: bytes, reason: str) -> None:
    place = in_folder(tmp_path, folders() | {f"cifar10/{name}": content})
    with pytest.raises(UserError, match=rf"{name}: {reason}"):
        load("cifar10", place)
    for _ in range(2):
        data = load("cifar10", place, "skip")
        assert data.skipped == {reason: 1}
        assert (len(data.train_x), len(data.test_x)) == (3, 1)


def test_a_misspelt_class_names_the_nearest(tmp_path: Path) -> None:
    place = in_folder(tmp_path, folders() | {"cifar10/train/catt/new.png": encoded(pixels(5))})
    with pytest.raises(UserError, match="did you mean 'cat'"):
        load("cifar10", place)


def test_nothing_left_is_said(tmp_path: Path) -> None:
    place = in_folder(tmp_path, {"train/cat/a.png": b"no", "test/cat/a.png": encoded(pixels(0))})
    with pytest.raises(UserError, match=r"no picture of split 'train' can be used .*truncated or unreadable image 1"):
        load("cifar10", place, "skip")


def test_neither_form_is_said(tmp_path: Path) -> None:
    for name in ("cifar10", "cifar100"):
        with pytest.raises(UserError, match=r"holds no test.*\.bin.*--data"):
            load(name, tmp_path)


def test_grey_pictures_have_one_channel(tmp_path: Path) -> None:
    files = {f"{split}/{k}/x.png": encoded(pixels(k, 28, 28, 1)) for split in ("train", "test") for k in range(3)}
    store = open_store(in_folder(tmp_path, files))
    images, labels = read_class_folders(store, "train", "012", Skipped(), mode="L", size=(28, 28))
    assert images.shape == (3, 1, 28, 28)
    assert labels.tolist() == [0, 1, 2]
    data = load("mnist", tmp_path)
    np.testing.assert_allclose(data.test_x[2, 0].numpy() * 255, pixels(2, 28, 28, 1)[..., 0], atol=1e-4)


SHARED = Path("/work/shared/data/vision")


@pytest.mark.slow
@pytest.mark.skipif(not (SHARED / "mnist_png.zip").is_file(), reason=f"needs {SHARED}/mnist_png.zip, real data")
def test_real_mnist_has_the_published_mean_and_deviation() -> None:
    store = open_store(SHARED / "mnist_png.zip")
    images, labels = read_class_folders(store, "train", "0123456789", Skipped(), mode="L", size=(28, 28))
    assert len(images) == 60_000
    assert np.bincount(labels).tolist() == [5923, 6742, 5958, 6131, 5842, 5421, 5918, 6265, 5851, 5949]
    assert (images.mean() / 255, images.std() / 255) == pytest.approx((0.1307, 0.3081), abs=5e-5)
