"""Read object boxes in the format of MS COCO (cocodataset.org/#format-data): one JSON file a split, pictures beside."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

from equilog.names import UserError
from equilog.tasks.damage import DUPLICATE, UNKNOWN_CLASS, DamagedError, Skipped
from equilog.tasks.files.store import Store
from equilog.tasks.vision.boxes import Annotated, annotated, checked_box

UNKNOWN_IMAGE = "box of an unknown image id"
MALFORMED = "malformed entry"


@dataclass(frozen=True)
class CocoSplit:
    """One split.

    Attributes:
        classes: names, in the order of their ids in the file; labels count from 0 in that order.
        items: one for each picture, also those without a box.
    """

    classes: tuple[str, ...]
    items: list[Annotated]


def read_coco(store: Store, name: str, skipped: Skipped) -> CocoSplit:
    """Return the boxes of an instances file; pictures are read by :func:`~equilog.tasks.vision.boxes.read_pictures`.

    Args:
        store: where the files are.
        name: of the JSON file within.
        skipped: counts pictures and boxes with a duplicate id, of an unknown class or picture, empty, or outside.

    Raises:
        UserError: for those, by their id, where damage is refused; in any case if the file is not COCO JSON.
    """
    where = store.where(name)
    data = _parsed(store, name)
    classes = _classes(data["categories"], where)
    labels = {key: index for index, key in enumerate(classes)}
    sizes: dict[int, tuple[str, int, int]] = {}
    for entry in data["images"]:
        try:
            key, found = _image(entry)
            _new(key, sizes)
        except DamagedError as damage:
            skipped.found(f"{where}, image {_id(entry)}", damage)
            continue
        sizes[key] = found
    boxes: dict[int, list[tuple[tuple[float, float, float, float], int, bool]]] = {key: [] for key in sizes}
    seen: dict[int, None] = {}
    for entry in data["annotations"]:
        try:
            key = _number(entry, "id")
            _new(key, seen)
            image, category = _number(entry, "image_id"), _number(entry, "category_id")
            if image not in sizes:
                raise DamagedError(UNKNOWN_IMAGE, str(image))
            if category not in labels:
                raise DamagedError(UNKNOWN_CLASS, f"{category}, expected one of {sorted(labels)}")
            box = checked_box(entry.get("bbox"), *sizes[image][1:])
        except DamagedError as damage:
            skipped.found(f"{where}, annotation {_id(entry)}", damage)
            continue
        seen[key] = None
        boxes[image].append((box, labels[category], bool(entry.get("iscrowd", 0))))
    return CocoSplit(tuple(classes.values()), [annotated(*sizes[key], boxes[key]) for key in sizes])


def _parsed(store: Store, name: str) -> dict[str, Any]:
    where = store.where(name)
    try:
        data = json.loads(store.read(name))
    except DamagedError as damage:
        raise UserError(f"{where}: {damage}") from None
    except (ValueError, RecursionError) as error:
        raise UserError(f"{where} is not valid JSON, or truncated: {error}") from None
    for key in ("images", "annotations", "categories"):
        if not isinstance(data, dict) or not isinstance(data.get(key), list):
            raise UserError(f"{where} is not in COCO's instances format: expected a list {key!r}")
    return dict(data)


def _classes(entries: list[Any], where: str) -> dict[int, str]:
    found: dict[int, str] = {}
    for entry in entries:
        try:
            key = _number(entry, "id")
            _new(key, found)
        except DamagedError as damage:  # labels would be ambiguous: there is nothing to skip
            raise UserError(f"{where}, category {_id(entry)}: {damage}") from None
        found[key] = str(entry.get("name", key))
    if not found:
        raise UserError(f"{where} has no categories")
    return {key: found[key] for key in sorted(found)}


def _image(entry: Any) -> tuple[int, tuple[str, int, int]]:
    key = _number(entry, "id")
    width, height, file = _number(entry, "width"), _number(entry, "height"), entry.get("file_name")
    if width < 1 or height < 1 or not isinstance(file, str):
        raise DamagedError(MALFORMED, "expected file_name, and width and height above 0")
    return key, (file, width, height)


def _number(entry: Any, key: str) -> int:
    value = entry.get(key) if isinstance(entry, dict) else None
    if not isinstance(value, int) or isinstance(value, bool):
        raise DamagedError(MALFORMED, f"{key} = {value!r}, expected an integer")
    return value


def _new(key: int, seen: dict[int, Any]) -> None:
    if key in seen:
        raise DamagedError(DUPLICATE)


def _id(entry: Any) -> str:
    return repr(entry.get("id", "without an id"))[:40] if isinstance(entry, dict) else "that is no object"
