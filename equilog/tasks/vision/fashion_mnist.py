"""Fashion-MNIST: 28×28 pictures of clothing (Xiao, Rasul & Vollgraf 2017), from its official IDX files."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from equilog.cells import CircuitCell
from equilog.model import HybridDEQ
from equilog.names import UserError
from equilog.tasks.files.download import download
from equilog.tasks.task import Data, ModelConfig, Task
from equilog.tasks.vision.idx import read_idx
from equilog.tasks.vision.images import conv_parameterization, random_affine, unit_range
from equilog.training.config import TrainConfig
from equilog.training.curriculum import full

DEBIAN_FOLDER = Path("/usr/share/datasets/fashion-mnist")
DOWNLOAD = "http://fashion-mnist.s3-website.eu-central-1.amazonaws.com/"
# MD5 sums as published in the README of zalandoresearch/fashion-mnist.
FILES = {
    "train-images-idx3-ubyte.gz": "md5:8d4fb7e6c68d591d4c3dfef9ec88bf0d",
    "train-labels-idx1-ubyte.gz": "md5:25c81989df183df01b3e8a0aad5dffbe",
    "t10k-images-idx3-ubyte.gz": "md5:bef4ecab320f06d8554ea6380940ec79",
    "t10k-labels-idx1-ubyte.gz": "md5:bb300cfdad3c16e7a12a480ee83cd310",
}
HOW_TO_GET = (
    "get it with: apt-get install dataset-fashion-mnist (Debian, Ubuntu), or put the four .gz files of "
    f"{DOWNLOAD} into a folder and name it with --data"
)


class FashionMnist(Task):
    """70,000 pictures of ten kinds of clothing; the official split."""

    name = "fashion-mnist"
    summary = "Fashion-MNIST, 28×28 pictures of clothing, 10 classes"
    split = "official: 60,000 train, 10,000 test"
    caveat = "none"
    model_defaults = ModelConfig(states=64, drives=32, margin=0.3)
    train_defaults = TrainConfig(stages=full(12), batch_size=128, learning_rate=0.005)

    def load(self, folder: Path | None = None) -> Data:
        """Return the set from `folder`, from Debian's package, or by a checksummed download into a cache."""
        if folder is None:
            folder = DEBIAN_FOLDER
            if not folder.is_dir():
                folder = download(self.name, DOWNLOAD, FILES, HOW_TO_GET)
        if not folder.is_dir():
            raise UserError(f"no folder {folder} with Fashion-MNIST; {HOW_TO_GET}")
        train_x, train_y = read_pair(folder, "train", HOW_TO_GET)
        test_x, test_y = read_pair(folder, "t10k", HOW_TO_GET)
        return Data(train_x, train_y, test_x, test_y, str(folder))

    def build(self, config: ModelConfig) -> HybridDEQ:
        """Two small convolutions on 2×2 means, the equilibrium, a linear readout."""
        return HybridDEQ(
            nn.Sequential(nn.AvgPool2d(2), conv_parameterization(14, 16, config.drives)),
            CircuitCell(config.states, config.drives, margin=config.margin),
            nn.Linear(config.states, 10),
        )

    def augment(self, x: Tensor, y: Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        """Mirrored and slightly shifted clothing."""
        return random_affine(x, generator, degrees=4, scale=0.05, shift=0.04, flip=True), y


def read_pair(folder: Path, part: str, how_to_get: str) -> tuple[Tensor, Tensor]:
    """Return images ``(n, 1, 28, 28)`` in [0, 1] and labels ``(n,)`` of "train" or "t10k", as MNIST's files hold them.

    Raises:
        UserError: for files that are missing or not what they should be.
    """
    images = read_idx(_file(folder, f"{part}-images-idx3-ubyte", how_to_get))
    labels = read_idx(_file(folder, f"{part}-labels-idx1-ubyte", how_to_get))
    if images.ndim != 3 or images.shape[1:] != (28, 28):
        raise UserError(f"{folder}: {part} images have shape {images.shape}, expected (samples, 28, 28)")
    if labels.shape != images.shape[:1]:
        raise UserError(f"{folder}: {len(images)} {part} images, but labels of shape {labels.shape}")
    if labels.size and labels.max() > 9:
        raise UserError(f"{folder}: {part} label {labels.max()} at position {labels.argmax()}, expected 0 to 9")
    return unit_range(images)[:, None], torch.from_numpy(labels.astype(np.int64))


def _file(folder: Path, stem: str, how_to_get: str) -> Path:
    for name in (f"{stem}.gz", stem):
        if (folder / name).is_file():
            return folder / name
    raise UserError(f"{folder} holds neither {stem}.gz nor {stem}; {how_to_get}")
