"""VOC's palette masks are read exactly; damage is refused by name, or skipped and counted."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from archives import in_folder, in_tar, in_zip
from hypothesis import given
from hypothesis import strategies as st
from vision_files import encoded, mask_png, pixels

from equilog.names import UserError
from equilog.tasks.damage import Skipped
from equilog.tasks.files.store import open_store
from equilog.tasks.vision.voc import VOID, read_masks

ROOT = "VOCdevkit/VOC2012"


@pytest.fixture(autouse=True)
def _own_cache(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.mktemp("cache")))


def classes(seed: int) -> np.ndarray:
    blocks = np.random.default_rng(seed).choice([0, 3, 15, 20, VOID], (6, 8))
    return blocks.repeat(2, 0).repeat(2, 1)  # 12×16: halved without loss


def devkit() -> dict[str, bytes]:
    return {
        f"{ROOT}/ImageSets/Segmentation/train.txt": b"2007_01\n2007_02\n",
        f"{ROOT}/ImageSets/Segmentation/val.txt": b"2007_03\n",
        **{f"{ROOT}/JPEGImages/2007_0{k}.jpg": encoded(pixels(k, 12, 16), "JPEG") for k in (1, 2, 3)},
        **{f"{ROOT}/SegmentationClass/2007_0{k}.png": mask_png(classes(k)) for k in (1, 2, 3)},
    }


@pytest.mark.parametrize(("make", "name"), [(in_folder, "set"), (in_zip, "set.zip"), (in_tar, "set.tar")])
def test_masks_are_indices_and_keep_void(tmp_path: Path, make: object, name: str) -> None:
    store = open_store(make(tmp_path / name, devkit()))
    for _ in range(2):
        images, masks = read_masks(store, "train", (12, 16), Skipped())
        assert images.shape == (2, 3, 12, 16)
        np.testing.assert_array_equal(masks, [classes(1), classes(2)])
        assert np.abs(images[1].transpose(1, 2, 0).astype(int) - pixels(2, 12, 16).astype(int)).mean() < 10
    small = read_masks(store, "val", (6, 8), Skipped())[1]
    np.testing.assert_array_equal(small[0], classes(3)[::2, ::2])  # no class between two is made up


@pytest.mark.parametrize(
    ("name", "content", "reason"),
    [
        ("SegmentationClass/2007_02.png", None, "missing mask"),
        ("JPEGImages/2007_02.jpg", None, "missing image"),
        ("SegmentationClass/2007_02.png", mask_png(np.full((12, 16), 21)), "unknown class id"),
        ("SegmentationClass/2007_02.png", mask_png(np.zeros((12, 15))), "mask of another size than its image"),
        ("SegmentationClass/2007_02.png", encoded(pixels(1, 12, 16)), "mask without a palette"),
        ("SegmentationClass/2007_02.png", mask_png(classes(2))[:60], "truncated or unreadable image"),
        ("JPEGImages/2007_02.jpg", encoded(pixels(2, 12, 16), "JPEG")[:300], "truncated or unreadable image"),
    ],
)
def test_damage(tmp_path: Path, name: str, content: bytes | None, reason: str) -> None:
    files = devkit()
    if content is None:
        del files[f"{ROOT}/{name}"]
    else:
        files[f"{ROOT}/{name}"] = content
    store = open_store(in_folder(tmp_path, files))
    with pytest.raises(UserError, match=rf"{name}: {reason}"):
        read_masks(store, "train", (12, 16), Skipped())
    skipped = Skipped("skip")
    images, masks = read_masks(store, "train", (12, 16), skipped)
    np.testing.assert_array_equal(masks, [classes(1)])
    assert len(images) == 1
    assert skipped.counts == {reason: 1}


@given(data=st.data())
def test_a_mask_cut_anywhere_is_whole_or_skipped(tmp_path_factory: pytest.TempPathFactory, data: st.DataObject) -> None:
    files, name = devkit(), f"{ROOT}/SegmentationClass/2007_02.png"
    files[name] = files[name][: data.draw(st.integers(0, len(files[name]) - 1))]
    skipped = Skipped("skip")
    masks = read_masks(open_store(in_folder(tmp_path_factory.mktemp("voc"), files)), "train", (12, 16), skipped)[1]
    np.testing.assert_array_equal(masks, [classes(1), classes(2)][: len(masks)])
    assert len(masks) + sum(skipped.counts.values()) == 2


@pytest.mark.parametrize(("line", "reason"), [(b"2007_01", "duplicate id"), (b"../x", "id that is no file name")])
def test_a_list_with_an_id_twice_or_leading_elsewhere(tmp_path: Path, line: bytes, reason: str) -> None:
    files = devkit()
    files[f"{ROOT}/ImageSets/Segmentation/train.txt"] += line + b"\n"
    store = open_store(in_folder(tmp_path, files))
    with pytest.raises(UserError, match=rf"train\.txt, line 3: {reason}"):
        read_masks(store, "train", (12, 16), Skipped())
    skipped = Skipped("skip")
    assert len(read_masks(store, "train", (12, 16), skipped)[1]) == 2
    assert skipped.counts == {reason: 1}


def test_no_devkit_and_nothing_left_are_said(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"holds no ImageSets/Segmentation/train\.txt: expected a VOC devkit"):
        read_masks(open_store(tmp_path), "train", (12, 16), Skipped())
    files = {f"{ROOT}/ImageSets/Segmentation/train.txt": b"a\n"}
    with pytest.raises(UserError, match=r"nothing in split 'train' can be used \(skipped: missing image 1\)"):
        read_masks(open_store(in_folder(tmp_path, files)), "train", (12, 16), Skipped("skip"))


SHARED = Path("/work/shared/data/vision/voc2012_animals_256px.zip")


@pytest.mark.slow
@pytest.mark.skipif(not SHARED.is_file(), reason=f"needs {SHARED}, real data")
def test_the_real_animals_are_read() -> None:
    store = open_store(SHARED)
    counts = []
    for split in ("train", "val"):
        images, masks = read_masks(store, split, (64, 64), Skipped())
        counts.append(len(images))
        assert set(np.unique(masks)) <= {0, VOID, *range(21)}
        assert 0.5 < (masks == 0).mean() < 0.8
    assert counts == [437, 445]
