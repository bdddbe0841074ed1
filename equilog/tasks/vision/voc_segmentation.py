"""PASCAL VOC 2012 segmentation (Everingham et al. 2010): a class for every pixel, through a diffusion on the grid."""

from __future__ import annotations

from pathlib import Path
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from equilog.model import HybridDEQ
from equilog.objective import Objective
from equilog.tasks.damage import Skipped
from equilog.tasks.files.download import download
from equilog.tasks.files.store import open_store
from equilog.tasks.measures import Measure
from equilog.tasks.task import Data, ModelConfig, Predict, Task
from equilog.tasks.vision.encoders import grid_encoder
from equilog.tasks.vision.grid_cell import GridCell, grid_channels
from equilog.tasks.vision.images import coins, mirrored, random_light, unit_range, zoomed, zooms
from equilog.tasks.vision.segmentation import Segmentation, class_iou, confusion
from equilog.tasks.vision.voc import CLASSES, VOID, read_masks
from equilog.training.config import TrainConfig
from equilog.training.curriculum import ideal_then_twin

HOME = "http://host.robots.ox.ac.uk/pascal/VOC/voc2012/"
ARCHIVE = "VOCtrainval_11-May-2012.tar"
MD5 = "6cd6e144f989b92b3379bac3b3de84fd"
HOW_TO_GET = f"get {HOME}{ARCHIVE} and name it, or a folder that holds it or its VOCdevkit, with --data"
SIDE = 64
GRID = 8
WIDTHS = (16, 32, 64, 64)
ZOOM, SHIFT = 1.4, 0.15
FREQUENT = 0.02
_BATCH = 50


class VocSegmentation(Task):
    """Pictures of 20 kinds of things and background; the official lists of its segmentation part."""

    name = "voc-segmentation"
    summary = f"PASCAL VOC 2012, 20 kinds of things and background, a class for every pixel of {SIDE}×{SIDE}"
    split = "official lists of ImageSets/Segmentation: train trains, val tests (1,464 and 1,449 in the full set)"
    caveat = (
        f"pictures and masks are resized to {SIDE}×{SIDE} without keeping the aspect, and scored there: not comparable "
        "with published mIoU; of a subset of the set, say which"
    )
    model_defaults = ModelConfig(states=4 * GRID * GRID, drives=4 * GRID * GRID, margin=0.3)
    train_defaults = TrainConfig(stages=ideal_then_twin(160), batch_size=32, learning_rate=0.004, weight_decay=0.02)
    verify_defaults: ClassVar[dict[str, Any]] = {"rest_samples": 2, "settle_samples": 0, "chain_samples": 0, "chips": 4}

    def load(self, folder: Path | None = None) -> Data:
        """Return the set from a devkit, in a folder or archive, or by a checksummed download into a cache."""
        if folder is None:
            folder = download(self.name, HOME, {ARCHIVE: f"md5:{MD5}"}, HOW_TO_GET)
        store = open_store(folder, (ARCHIVE,), hint=HOW_TO_GET)
        skipped = Skipped(self.on_damage)
        found = [read_masks(store, split, (SIDE, SIDE), skipped) for split in ("train", "val")]
        (train_x, train_y), (test_x, test_y) = ((unit_range(x), torch.from_numpy(y).long()) for x, y in found)
        return Data(train_x, train_y, test_x, test_y, str(store.place), skipped.counts)

    def build(self, config: ModelConfig) -> HybridDEQ:
        """Residual stages to 8×8 pixels, a diffusion there, and a small decoder back to all pixels.

        Raises:
            UserError: unless states and drives are the same multiple of 64: channels of an 8×8 grid.
        """
        channels = grid_channels(config.states, config.drives, (GRID, GRID))
        parameterize = grid_encoder((0.457, 0.441, 0.408), (0.269, 0.266, 0.282), WIDTHS, channels)
        readout = nn.Sequential(
            nn.Unflatten(1, (channels, GRID, GRID)),
            nn.Conv2d(channels, 32, 3, padding=1),
            nn.ReLU(),
            nn.Upsample(scale_factor=2, mode="bilinear", align_corners=False),
            nn.Conv2d(32, 32, 3, padding=1),
            nn.ReLU(),
            nn.Conv2d(32, len(CLASSES), 1),
            nn.Upsample(size=(SIDE, SIDE), mode="bilinear", align_corners=False),
        )
        return HybridDEQ(parameterize, GridCell(channels, GRID, GRID, config.margin), readout)

    def objective(self, data: Data, config: TrainConfig) -> Objective:
        """Return cross-entropy a pixel, rare classes weighing more, and each picture's mean intersection over union."""
        return Segmentation.balanced(data.train_y, len(CLASSES))

    def augment(self, x: Tensor, y: Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        """Mirrored and zoomed with their masks, brighter or darker, with more or less contrast."""
        mirror = coins(len(x), generator)
        lit = random_light(x, generator, brightness=0.2, contrast=0.3)
        x, y = mirrored(lit, mirror, dim=3), mirrored(y, mirror, dim=2)
        zoom = zooms(len(x), generator, factor=ZOOM, shift=SHIFT)
        return zoomed(x, zoom), zoomed(y[:, None].to(x), zoom, "nearest")[:, 0].to(y.dtype)

    @torch.no_grad()
    def measures(self, predict: Predict, data: Data, *, ideal: bool) -> list[Measure]:
        """Return the mean intersection over union of the whole test set, as VOC counts it, over classes that occur.

        And over those that are frequent in the training masks: of a subset of the set most classes hardly are.
        """
        x, y, count = data.test_x, data.test_y, len(CLASSES)
        parts = [slice(k, k + _BATCH) for k in range(0, len(x), _BATCH)]
        counts = torch.stack([confusion(predict(x[s]), y[s], count) for s in parts]).sum(0)
        there = torch.bincount(y[y != VOID].flatten(), minlength=count) > 0
        shares = torch.bincount(data.train_y[data.train_y != VOID].flatten(), minlength=count).double()
        often = there & (shares >= FREQUENT * shares.sum())
        names = ", ".join(name for name, seen in zip(CLASSES, often.tolist()) if seen)
        sets = {
            "mIoU": (there, f"over all pixels together, mean over the {int(there.sum())} classes in the test masks"),
            "mIoU of frequent classes": (often, f"those of at least {FREQUENT:.0%} of the training pixels: {names}"),
        }
        found = [Measure(name=n, value=_mean(counts, c), better="higher", note=note) for n, (c, note) in sets.items()]
        if ideal:
            nothing = torch.zeros_like(counts)
            nothing[:, 0] = counts.sum(1)
            note = "what an answer without a look at the picture reaches"
            found += [
                Measure(name=f"{n} of background everywhere", value=_mean(nothing, c), better="higher", note=note)
                for n, (c, _) in sets.items()
            ]
        return found


def _mean(counts: Tensor, there: Tensor) -> float:
    return float(class_iou(counts)[there].mean()) if bool(there.any()) else 0.0
