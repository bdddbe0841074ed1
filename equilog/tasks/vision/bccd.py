"""BCCD: blood cells in microscope pictures (github.com/Shenggan/BCCD_Dataset, MIT), each with a box."""

from __future__ import annotations

from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor, nn

from equilog.model import HybridDEQ
from equilog.names import UserError
from equilog.objective import Objective
from equilog.tasks.damage import Skipped
from equilog.tasks.files.store import Store, open_store
from equilog.tasks.measures import Measure
from equilog.tasks.task import Data, ModelConfig, Predict, Task
from equilog.tasks.vision import detector
from equilog.tasks.vision.boxes import Annotated, read_pictures
from equilog.tasks.vision.coco import CocoSplit, read_coco
from equilog.tasks.vision.detection import Detection, flipped, joined, mean_average_precision, padded, zoomed_boxes
from equilog.tasks.vision.encoders import grid_encoder
from equilog.tasks.vision.grid_cell import GridCell, grid_channels
from equilog.tasks.vision.images import coins, mirrored, random_light, unit_range, zoomed, zooms
from equilog.tasks.vision.voc import read_boxes
from equilog.training.config import TrainConfig
from equilog.training.curriculum import ideal_then_twin

CLASSES = ("Platelets", "RBC", "WBC")
HOW_TO_GET = (
    "get it with: git clone https://github.com/Shenggan/BCCD_Dataset, and name its folder, or one with COCO's "
    "annotations/instances_train.json and instances_test.json, with --data"
)
HEIGHT, WIDTH, STRIDE = 96, 128, 8
GRID = HEIGHT // STRIDE, WIDTH // STRIDE
_NODES = GRID[0] * GRID[1]
_RARE = 0.05
"""probability of an object that a location begins with"""
WIDTHS = (16, 32, 64, 64)
ZOOM, SHIFT = 1.25, 0.1
_BATCH = 24


class Bccd(Task):
    """Red and white blood cells and platelets; the authors' lists."""

    name = "bccd"
    summary = f"BCCD, boxes of three kinds of blood cells, pictures resized to {HEIGHT}×{WIDTH}"
    split = "the authors' lists: train and, where there is one, val train (205 + 87 pictures), test tests (72)"
    caveat = "72 test pictures of few slides; not every cell of the pictures is annotated"
    model_defaults = ModelConfig(states=_NODES, drives=_NODES, margin=0.3)
    train_defaults = TrainConfig(stages=ideal_then_twin(160), batch_size=16, learning_rate=0.004, weight_decay=0.02)
    verify_defaults: ClassVar[dict[str, Any]] = {
        "rest_samples": 1,
        "settle_samples": 0,
        "chain_samples": 0,
        "chips": 4,
    }

    def load(self, folder: Path | None = None) -> Data:
        """Return the set from a folder or archive, in the authors' VOC layout or as COCO JSON."""
        if folder is None:
            raise UserError(f"{self.name} is not downloaded by itself; {HOW_TO_GET}")
        store = open_store(folder, hint=HOW_TO_GET)
        skipped = Skipped(self.on_damage)
        train = [self._split(store, s, skipped) for s in ("train", "val") if s == "train" or _file_of(store, s)]
        test_x, test_y = self._split(store, "test", skipped)
        train_x, train_y = torch.cat([x for x, _ in train]), joined([y for _, y in train])
        return Data(train_x, train_y, test_x, test_y, str(store.place), skipped.counts)

    def build(self, config: ModelConfig) -> HybridDEQ:
        """Residual stages to 12×16 locations, a diffusion among them as the neck, two convolutions as the head.

        Raises:
            UserError: unless states and drives are the same multiple of 192: channels of the grid.
        """
        channels = grid_channels(config.states, config.drives, GRID)
        parameterize = grid_encoder((0.737, 0.696, 0.715), (0.059, 0.100, 0.074), WIDTHS, channels)
        last = nn.Conv2d(64, len(CLASSES) + 4, 1)
        assert last.bias is not None
        with torch.no_grad():
            last.bias[: len(CLASSES)] = float(np.log(_RARE / (1 - _RARE)))
            last.bias[-2:] = float(np.log(2.0))  # boxes of two locations a side
        readout = nn.Sequential(
            nn.Unflatten(1, (channels, *GRID)),
            nn.Conv2d(channels, 64, 3, padding=1),
            nn.ReLU(),
            nn.Conv2d(64, 64, 3, padding=1),
            nn.ReLU(),
            last,
        )
        return HybridDEQ(parameterize, GridCell(channels, *GRID, margin=config.margin), readout)

    def objective(self, data: Data, config: TrainConfig) -> Objective:
        """Return focal loss and generalised IoU, and each picture's F1."""
        return Detection(STRIDE)

    def augment(self, x: Tensor, y: Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        """Mirrored, turned over and zoomed with their boxes, brighter or darker, with more or less contrast."""
        right, down = coins(len(x), generator), coins(len(x), generator)
        x = random_light(x, generator, brightness=0.1, contrast=0.2)
        x = mirrored(mirrored(x, right, dim=3), down, dim=2)
        y = flipped(flipped(y, right, 0, WIDTH), down, 1, HEIGHT)
        zoom = zooms(len(x), generator, factor=ZOOM, shift=SHIFT)
        return zoomed(x, zoom), zoomed_boxes(y, zoom, (HEIGHT, WIDTH))

    @torch.no_grad()
    def measures(self, predict: Predict, data: Data, *, ideal: bool) -> list[Measure]:
        """Return COCO's mean average precision over the test pictures."""
        parts = [data.test_x[k : k + _BATCH] for k in range(0, len(data.test_x), _BATCH)]
        answers = [found for x in parts for found in detector.found(predict(x), STRIDE)]
        both = mean_average_precision(answers, data.test_y, CLASSES)
        note = "COCO's evaluation" if both else "needs pycocotools: pip install 'equilog[vision]'"
        names = "mAP, overlap 0.5 to 0.95", "mAP, overlap 0.5"
        values = both or (None, None)
        return [Measure(name=n, value=v, better="higher", note=note) for n, v in zip(names, values)]

    def _split(self, store: Store, split: str, skipped: Skipped) -> tuple[Tensor, Tensor]:
        name = _file_of(store, split)
        if name is None:
            raise UserError(f"{store.place} holds no list or annotations of split {split!r}; {HOW_TO_GET}")
        if name.endswith(".json"):
            items = _by_name(read_coco(store, name, skipped), store.where(name))
        else:
            items = read_boxes(store, split, CLASSES, skipped)
        images, kept = read_pictures(store, items, split, (HEIGHT, WIDTH), skipped)
        return unit_range(images), padded([items[k] for k in kept], (HEIGHT, WIDTH))


def _file_of(store: Store, split: str) -> str | None:
    """Return the file that a split's pictures are named in: COCO's annotations, or the authors' list."""
    return store.ending(f"annotations/instances_{split}.json") or store.ending(f"ImageSets/Main/{split}.txt")


def _by_name(split: CocoSplit, where: str) -> list[Annotated]:
    """Return the items with labels as they stand in :data:`CLASSES`, whatever the order in the file."""
    unknown = sorted(set(split.classes) - set(CLASSES))
    if unknown:
        raise UserError(f"{where}: category {unknown[0]!r}, expected {', '.join(CLASSES)}")
    order = np.array([CLASSES.index(name) for name in split.classes])
    return [Annotated(i.file, i.width, i.height, i.boxes, order[i.labels], i.crowd) for i in split.items]
