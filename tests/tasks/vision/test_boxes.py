"""COCO JSON and VOC's XML give the same boxes; what is wrong with one is refused by its id, or skipped and counted."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from archives import in_folder
from hypothesis import given
from hypothesis import strategies as st
from vision_files import coco, encoded, pixels, voc_xml

from equilog.names import UserError
from equilog.tasks.damage import DamagedError, Skipped
from equilog.tasks.files.store import open_store
from equilog.tasks.vision.boxes import Annotated, checked_box, read_pictures
from equilog.tasks.vision.coco import CocoSplit, read_coco
from equilog.tasks.vision.voc import read_boxes

NAME = "annotations/instances_train.json"
IMAGES = [
    {"id": 5, "file_name": "a.png", "width": 40, "height": 30},
    {"id": 2, "file_name": "b.jpg", "width": 20, "height": 20},
]
BOX = {"id": 1, "image_id": 5, "category_id": 7, "bbox": [3.5, 4, 10, 12.25], "iscrowd": 0, "area": 122.5}


def store_of(place: Path, content: bytes) -> Any:
    files = {
        NAME: content,
        "images/a.png": encoded(pixels(1, 30, 40)),
        "images/b.jpg": encoded(pixels(2, 20, 20), "JPEG"),
    }
    return open_store(in_folder(place, files))


def read(place: Path, content: bytes, skipped: Skipped | None = None) -> CocoSplit:
    return read_coco(store_of(place, content), NAME, skipped or Skipped())


def test_reads_the_official_format(tmp_path: Path) -> None:
    crowd = {"id": 9, "image_id": 5, "category_id": 1, "bbox": [0, 0, 40, 30], "iscrowd": 1}
    split = read(tmp_path, coco(IMAGES, [BOX, crowd]))
    assert split.classes == ("cell", "platelet")
    first, second = split.items
    assert (first.file, first.width, first.height) == ("a.png", 40, 30)
    assert first.boxes.tolist() == [[3.5, 4, 10, 12.25], [0, 0, 40, 30]]
    assert first.labels.tolist() == [1, 0]  # ids 7 and 1
    assert first.crowd.tolist() == [False, True]
    assert second.boxes.shape == (0, 4)


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"bbox": [3, 4, 0, 5]}, "empty box"),
        ({"bbox": [3, 4, 5, -1]}, "empty box"),
        ({"bbox": [35, 4, 10, 5]}, "box outside the image"),
        ({"bbox": [-3, 4, 10, 5]}, "box outside the image"),
        ({"bbox": [3, 4, 10]}, "box that is not four numbers"),
        ({"bbox": [3, 4, 10, float("nan")]}, "box that is not four numbers"),
        ({"bbox": None}, "box that is not four numbers"),
        ({"category_id": 3}, "unknown class id"),
        ({"image_id": 77}, "box of an unknown image id"),
        ({"id": 2}, "duplicate id"),
        ({"image_id": "5"}, "malformed entry"),
    ],
)
def test_a_damaged_box(tmp_path: Path, change: dict[str, Any], reason: str) -> None:
    good = BOX | {"id": 2, "bbox": [1, 1, 5, 5]}
    content = coco(IMAGES, [good, BOX | {"id": 3} | change])
    key = 2 if "id" in change else 3
    with pytest.raises(UserError, match=rf"instances_train\.json, annotation {key}: {reason}"):
        read(tmp_path, content)
    skipped = Skipped("skip")
    split = read(tmp_path, content, skipped)
    assert skipped.counts == {reason: 1}
    assert split.items[0].boxes.tolist() == [[1, 1, 5, 5]]


@pytest.mark.parametrize(
    ("image", "reason"),
    [
        (IMAGES[0] | {"file_name": "c.png"}, "duplicate id"),
        ({"id": 8, "file_name": "c.png", "width": 0, "height": 3}, "malformed entry"),
        ({"file_name": "c.png", "width": 4, "height": 3}, "malformed entry"),
    ],
)
def test_a_damaged_picture_entry(tmp_path: Path, image: dict[str, Any], reason: str) -> None:
    content = coco([*IMAGES, image], [BOX])
    with pytest.raises(UserError, match=rf"image .*: {reason}"):
        read(tmp_path, content)
    skipped = Skipped("skip")
    assert [item.file for item in read(tmp_path, content, skipped).items] == ["a.png", "b.jpg"]
    assert skipped.counts == {reason: 1}


@pytest.mark.parametrize("on_damage", ["refuse", "skip"])
@given(data=st.data())
def test_json_cut_anywhere_is_refused(tmp_path: Path, on_damage: str, data: st.DataObject) -> None:
    content = coco(IMAGES, [BOX])
    with pytest.raises(UserError, match=r"instances_train\.json"):
        read(tmp_path, content[: data.draw(st.integers(0, len(content) - 1))], Skipped(on_damage))


@pytest.mark.parametrize(
    "content", [b"[]", b"{}", b'{"images": [], "annotations": {}, "categories": []}', b"[[[", b"\xff"]
)
def test_other_json_is_refused(tmp_path: Path, content: bytes) -> None:
    with pytest.raises(UserError, match=r"instances_train\.json"):
        read(tmp_path, content)


@given(numbers=st.lists(st.floats(-60, 60), min_size=4, max_size=4))
def test_a_box_that_is_kept_lies_within_the_picture(numbers: list[float]) -> None:
    try:
        x, y, w, h = checked_box(numbers, 40, 30)
    except DamagedError:
        return
    assert 0 <= x < x + w <= 40
    assert 0 <= y < y + h <= 30
    assert abs(x - numbers[0]) <= 1
    assert abs(y - numbers[1]) <= 1


def test_a_box_out_by_rounding_is_clipped() -> None:
    assert checked_box([-0.5, 2, 41, 28.25], 40, 30) == (0, 2, 40, 28)


def test_pictures_are_found_and_resized(tmp_path: Path) -> None:
    store = store_of(tmp_path, coco(IMAGES, [BOX]))
    items = read_coco(store, NAME, Skipped()).items
    images, kept = read_pictures(store, items, "train", (15, 20), Skipped())
    assert kept == [0, 1]
    assert images.shape == (2, 3, 15, 20)
    small = pixels(1, 30, 40).reshape(15, 2, 20, 2, 3).mean((1, 3)).transpose(2, 0, 1)
    assert np.abs(images[0] - small).mean() < 3


@pytest.mark.parametrize(
    ("file", "height", "reason"),
    [
        ("none.png", 30, "missing image"),
        ("../secret.png", 30, "missing image"),
        ("/images/a.png", 30, "missing image"),
        ("", 30, "missing image"),
        ("a.png", 31, "image of another size than annotated"),
        ("cut.png", 30, "truncated or unreadable image"),
    ],
)
def test_a_picture_that_cannot_be_used(tmp_path: Path, file: str, height: int, reason: str) -> None:
    (tmp_path / "set").mkdir()
    (tmp_path / "secret.png").write_bytes(encoded(pixels(1, 30, 40)))
    (tmp_path / "set" / "cut.png").write_bytes(encoded(pixels(1, 30, 40))[:200])
    store = store_of(tmp_path / "set", b"")
    none = np.zeros((0, 4)), np.zeros(0, np.int64), np.zeros(0, np.bool_)
    items = [Annotated(file, 40, height, *none), Annotated("a.png", 40, 30, *none)]
    with pytest.raises(UserError, match=reason):
        read_pictures(store, items, "train", (8, 8), Skipped())
    skipped = Skipped("skip")
    images, kept = read_pictures(store, items, "train", (8, 8), skipped)
    assert kept == [1]
    assert len(images) == 1
    assert skipped.counts == {reason: 1}


def test_of_two_pictures_of_a_name_that_of_the_split_is_read(tmp_path: Path) -> None:
    files = {
        "train/a.png": encoded(np.full((4, 4, 3), 10, np.uint8)),
        "val/a.png": encoded(np.full((4, 4, 3), 99, np.uint8)),
    }
    item = Annotated("a.png", 4, 4, np.zeros((0, 4)), np.zeros(0, np.int64), np.zeros(0, np.bool_))
    store = open_store(in_folder(tmp_path, files))
    for split, level in (("train", 10), ("val", 99)):
        assert read_pictures(store, [item], split, (4, 4), Skipped())[0].max() == level


def voc(place: Path, xml: bytes, ids: str = "one\n") -> Any:
    files = {"VOCdevkit/VOC2012/ImageSets/Main/train.txt": ids.encode(), "VOCdevkit/VOC2012/Annotations/one.xml": xml}
    return open_store(in_folder(place, files))


def test_voc_counts_pixels_from_one_and_includes_both_ends(tmp_path: Path) -> None:
    xml = voc_xml(40, 30, [("RBC", (1, 1, 40, 30), 0), ("WBC", (4, 5, 4, 5), 1)])
    (item,) = read_boxes(voc(tmp_path, xml), "train", ("RBC", "WBC"), Skipped())
    assert item.boxes.tolist() == [[0, 0, 40, 30], [3, 4, 1, 1]]
    assert item.labels.tolist() == [0, 1]
    assert item.crowd.tolist() == [False, True]
    assert (item.file, item.width, item.height) == ("one.jpg", 40, 30)


@pytest.mark.parametrize(
    ("xml", "reason"),
    [
        (voc_xml(40, 30, [("RBC", (1, 1, 5, 5), 0), ("BRC", (1, 1, 9, 9), 0)]), "unknown class id"),
        (voc_xml(40, 30, [("RBC", (1, 1, 5, 5), 0), ("RBC", (9, 9, 8, 9), 0)]), "empty box"),
        (voc_xml(40, 30, [("RBC", (1, 1, 5, 5), 0), ("RBC", (9, 9, 48, 9), 0)]), "box outside the image"),
        (voc_xml(40, 30, [("RBC", (1, 1, 5, 5), 0), ("RBC", ("x", 9, 48, 9), 0)]), "malformed annotation"),
    ],
)
def test_a_damaged_object_of_voc(tmp_path: Path, xml: bytes, reason: str) -> None:
    store = voc(tmp_path, xml)
    with pytest.raises(UserError, match=rf"one\.xml, object 1: {reason}"):
        read_boxes(store, "train", ("RBC", "WBC"), Skipped())
    skipped = Skipped("skip")
    (item,) = read_boxes(store, "train", ("RBC", "WBC"), skipped)
    assert item.boxes.tolist() == [[0, 0, 5, 5]]
    assert skipped.counts == {reason: 1}


@given(data=st.data())
def test_xml_cut_anywhere_is_refused(tmp_path: Path, data: st.DataObject) -> None:
    xml = voc_xml(40, 30, [("RBC", (1, 1, 5, 5), 0)])
    store = voc(tmp_path, xml[: data.draw(st.integers(0, len(xml) - 1))])
    with pytest.raises(UserError, match=r"one\.xml: malformed annotation"):
        read_boxes(store, "train", ("RBC",), Skipped())


def test_entities_are_refused(tmp_path: Path) -> None:
    bomb = b'<!DOCTYPE a [<!ENTITY b "bbbb">]>' + voc_xml(40, 30, [])
    with pytest.raises(UserError, match="document type"):
        read_boxes(voc(tmp_path, bomb), "train", ("RBC",), Skipped())


def test_an_annotation_that_is_listed_and_missing(tmp_path: Path) -> None:
    store = voc(tmp_path, voc_xml(4, 3, []), "one 1\ntwo -1\n\none\n../../x\n")
    skipped = Skipped("skip")
    assert [item.file for item in read_boxes(store, "train", ("RBC",), skipped)] == ["one.jpg"]
    assert skipped.counts == {"duplicate id": 1, "id that is no file name": 1, "missing annotation": 1}


SHARED = Path("/work/shared/data/vision")


@pytest.mark.parametrize(
    ("archive", "name", "pictures", "classes"),
    [
        ("bccd_coco.zip", "bccd/annotations/instances_val.json", 87, 3),
        ("coco128_train_val.zip", "coco/annotations/instances_val2017.json", 128, 80),
    ],
)
def test_real_sets(archive: str, name: str, pictures: int, classes: int) -> None:
    if not (SHARED / archive).is_file():
        pytest.skip(f"needs {SHARED / archive}, real data")
    store, skipped = open_store(SHARED / archive), Skipped("skip")
    split = read_coco(store, name, skipped)
    assert (len(split.items), len(split.classes)) == (pictures, classes)
    few = split.items[:5]
    assert len(read_pictures(store, few, "val2017", (32, 32), Skipped())[0]) == 5
    assert sum(skipped.counts.values()) < 0.02 * sum(len(item.boxes) for item in split.items)
