"""CIFAR-10 and CIFAR-100: 32×32 colour pictures (Krizhevsky 2009), from the official binary files or class folders."""

from __future__ import annotations

from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from equilog.cells import CircuitCell, NodeDrivenCell
from equilog.model import HybridDEQ
from equilog.names import UserError
from equilog.tasks.damage import Skipped
from equilog.tasks.files.download import download
from equilog.tasks.files.store import Store, open_store
from equilog.tasks.task import Data, ModelConfig, Task
from equilog.tasks.vision.cifar_binary import read_cifar
from equilog.tasks.vision.class_folders import has_class_folders, read_class_folders
from equilog.tasks.vision.encoders import multiscale_encoder
from equilog.tasks.vision.images import crop_and_flip, unit_range
from equilog.tasks.vision.multiscale_cell import MultiscaleWeight
from equilog.tasks.vision.pooled_encoder import pooled_encoder
from equilog.training.config import TrainConfig
from equilog.training.curriculum import full

HOME = "https://www.cs.toronto.edu/~kriz/"
BLOCKS = (64, 128, 128)
"""channels of the encoder's blocks"""
STAGES = (32, 64, 128)
"""channels of residual stages: of the multiscale encoder, and of networks to compare with"""
SCALES = (8, 4), (16, 2)
"""channels and places a side, of the multiscale equilibrium"""
_NODES = sum(channels * side**2 for channels, side in SCALES)
Split = tuple[NDArray[np.uint8], NDArray[np.int64]]


class _Cifar(Task):
    """What both share; a subclass says which files and classes."""

    archive: ClassVar[str]
    md5: ClassVar[str]
    """as published on the home page"""
    train_files: ClassVar[tuple[str, ...]]
    test_file: ClassVar[str]
    label_ids: ClassVar[tuple[int, ...]]
    """how many ids each label byte has; the last byte is what is learnt"""
    class_names: ClassVar[tuple[str, ...]] = ()
    """of class folders; none where they are not read"""
    mean: ClassVar[tuple[float, float, float]]
    std: ClassVar[tuple[float, float, float]]

    def load(self, folder: Path | None = None) -> Data:
        """Return the set from a folder or archive, or by a checksummed download into a cache."""
        if folder is None:
            folder = download(self.name, HOME, {self.archive: f"md5:{self.md5}"}, self._how_to_get())
        store = open_store(folder, (self.archive,), hint=self._how_to_get())
        skipped = Skipped(self.on_damage)
        train, test = self._splits(store, skipped)
        (train_x, train_y), (test_x, test_y) = ((unit_range(x), torch.from_numpy(y)) for x, y in (train, test))
        return Data(train_x, train_y, test_x, test_y, str(store.place), skipped.counts)

    def build(self, config: ModelConfig) -> HybridDEQ:
        """Three pooled blocks and a linear map to the drives, the equilibrium, a linear readout."""
        return HybridDEQ(
            nn.Sequential(pooled_encoder(self.mean, self.std, BLOCKS, config.drives), nn.Tanh()),
            CircuitCell(config.states, config.drives, margin=config.margin),
            nn.Linear(config.states, self.label_ids[-1]),
        )

    def augment(self, x: Tensor, y: Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        """Shifted by up to 4 pixels into black, and mirrored: the usual of these sets (He et al., CVPR 2016, §4.2)."""
        return crop_and_flip(x, generator, pad=4), y

    def _splits(self, store: Store, skipped: Skipped) -> tuple[Split, Split]:
        if store.ending(self.test_file) or any(store.ending(name) for name in self.train_files):
            parts = [self._part(store, name, skipped) for name in self.train_files]
            train = np.concatenate([x for x, _ in parts]), np.concatenate([y for _, y in parts])
            return train, self._part(store, self.test_file, skipped)
        if self.class_names and has_class_folders(store):
            train, test = (read_class_folders(store, s, self.class_names, skipped) for s in ("train", "test"))
            return train, test
        raise UserError(f"{store.place} holds no {self.test_file}{self._or_folders()}; {self._how_to_get()}")

    def _part(self, store: Store, name: str, skipped: Skipped) -> Split:
        where, content = store.content_of((name,), self._how_to_get())
        images, labels = read_cifar(content, self.label_ids, where, skipped)
        if not len(images):
            raise UserError(f"{where}: no picture can be used ({skipped})")
        return images, labels[:, -1]

    def _or_folders(self) -> str:
        return " and no class folders as train/cat/name.png" if self.class_names else ""

    def _how_to_get(self) -> str:
        return f"get {HOME}{self.archive} and name it, or a folder that holds it, with --data"


class Cifar10(_Cifar):
    """60,000 pictures of ten kinds of animals and vehicles; the official split."""

    name = "cifar10"
    summary = "CIFAR-10, 32×32 colour pictures, 10 classes"
    split = "official: 50,000 train, 10,000 test"
    caveat = "from class folders of JPEG files, as copies of the set come, accuracies are a few points lower"
    model_defaults = ModelConfig(states=64, drives=32, margin=0.3)
    train_defaults = TrainConfig(stages=full(18, stability=1.0), batch_size=128, learning_rate=0.005, weight_decay=0.02)

    archive = "cifar-10-binary.tar.gz"
    md5 = "c32a1d4ab5d03f1284b67883e8d87530"
    train_files = tuple(f"data_batch_{k}.bin" for k in range(1, 6))
    test_file = "test_batch.bin"
    label_ids = (10,)
    class_names = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")
    mean, std = (0.4914, 0.4822, 0.4465), (0.2470, 0.2435, 0.2616)


class Cifar10Multiscale(Cifar10):
    """The same pictures through a convolutional equilibrium at two resolutions."""

    name = "cifar10-multiscale"
    summary = "CIFAR-10 through a convolutional equilibrium at 4×4 and 2×2 places"
    model_defaults = ModelConfig(states=_NODES, drives=_NODES, margin=0.3)
    # Residual stages learn slower, and poles of so many nodes would take longer than all else in a step.
    train_defaults = TrainConfig(stages=full(30), batch_size=128, learning_rate=0.005, weight_decay=0.02)
    verify_defaults: ClassVar[dict[str, Any]] = {"rest_samples": 4, "settle_samples": 0, "chain_samples": 0, "chips": 4}

    def build(self, config: ModelConfig) -> HybridDEQ:
        """Residual stages, features at two resolutions, their equilibrium, a linear readout.

        Raises:
            UserError: for another number of states or drives than the scales have.
        """
        if (config.states, config.drives) != (_NODES, _NODES):
            raise UserError(
                f"{config.states} states and {config.drives} drives: expected {_NODES} of both for {SCALES}"
            )
        return HybridDEQ(
            multiscale_encoder(self.mean, self.std, STAGES, SCALES),
            NodeDrivenCell(MultiscaleWeight(SCALES, config.margin)),
            nn.Linear(_NODES, self.label_ids[-1]),
        )


class Cifar100(_Cifar):
    """60,000 pictures of a hundred kinds of things; the official split and the fine labels."""

    name = "cifar100"
    summary = "CIFAR-100, 32×32 colour pictures, 100 classes (the fine labels)"
    split = "official: 50,000 train, 10,000 test"
    caveat = "500 training pictures a class"
    model_defaults = ModelConfig(states=128, drives=64, margin=0.3)
    train_defaults = TrainConfig(stages=full(18, stability=1.0), batch_size=128, learning_rate=0.005, weight_decay=0.02)

    archive = "cifar-100-binary.tar.gz"
    md5 = "03b5dce01913d631647c71ecec9e9cb8"
    train_files = ("train.bin",)
    test_file = "test.bin"
    label_ids = (20, 100)
    mean, std = (0.5071, 0.4865, 0.4409), (0.2673, 0.2564, 0.2762)
