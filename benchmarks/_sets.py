"""Which sets and models the benchmark of tasks has: where a set lies, and which networks are usual for its task."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from torch import nn

from equilog.baselines.audio_cnn import AudioCnn
from equilog.baselines.dlinear import DLinear
from equilog.baselines.feedforward import without_feedback
from equilog.baselines.grid import grid_convolution
from equilog.baselines.language import CausalTransformer
from equilog.baselines.matching import count_of, matched
from equilog.baselines.nlinear import NLinear
from equilog.baselines.patchtst import PatchTST
from equilog.baselines.resnet import matched_resnet
from equilog.tasks import Data, Task, get_task
from equilog.tasks.sequence.forecasting import Forecasting
from equilog.tasks.sequence.language import POSITIONS, Language
from equilog.tasks.sequence.spoken_digits import SpokenDigits
from equilog.tasks.sequence.windows import ChangeOf
from equilog.tasks.vision.cifar import STAGES, Cifar10
from equilog.training import TrainConfig
from equilog.training.curriculum import ideal

EQUILIBRIUM, DIGITAL, FEEDFORWARD = "equilibrium", "digital DEQ", "feed-forward"
MODELS = (EQUILIBRIUM, DIGITAL, FEEDFORWARD)
ON_CHIPS = (EQUILIBRIUM, FEEDFORWARD)
"""those that meet chips in training"""
SPEAKERS = ("george", "jackson", "lucas", "nicolas", "theo", "yweweler")


@dataclass(frozen=True)
class Rival:
    """A network to compare with.

    Attributes:
        make: ``(task, parameters) -> network``, as many parameters or of its authors' sizes.
        learning_rate: at its peak; the task's unless given.
        solve: ``(network, data)``, for one that is solved for instead of trained.
    """

    make: Callable[[Any, int], nn.Module]
    learning_rate: float | None = None
    solve: Callable[[Any, Data], None] | None = None


@dataclass(frozen=True)
class Set:
    """One task on one set.

    Attributes:
        name: of the task; of the row, where `make` says which task.
        file: under the folder of data.
        others: networks to compare with, by name.
        make: the task, unless its name does.
        tokens: whether inputs are tokens, on which no noise makes sense.
        own: which of ours are trained; all unless given.
    """

    name: str
    file: str
    others: Mapping[str, Rival] = field(default_factory=dict)
    make: Callable[[], Task] | None = None
    tokens: bool = False
    own: tuple[str, ...] = MODELS

    @property
    def task(self) -> Task:
        """The task, at its defaults."""
        return get_task(self.name) if self.make is None else self.make()

    @property
    def models(self) -> list[str]:
        """All models of the task."""
        return [*self.own, *self.others]

    def load(self, folder: Path) -> Data:
        """Return the set from the folder of data."""
        return self.task.load(folder / self.file)

    def training(self, model: str) -> TrainConfig:
        """Return the task's own settings; for a network without an analog part the same epochs without chips."""
        config, rival = self.task.train_defaults, self.others.get(model)
        if model in ON_CHIPS:
            return config
        rate = config.learning_rate if rival is None or rival.learning_rate is None else rival.learning_rate
        return config.model_copy(update={"stages": ideal(config.epochs), "learning_rate": rate})

    def solves(self, model: str) -> Callable[[Any, Data], None] | None:
        """Return how a network is solved for, None for one that is trained."""
        rival = self.others.get(model)
        return None if rival is None else rival.solve

    def built(self, model: str) -> nn.Module:
        """Return an untrained network; raises ``SystemExit`` for a model that the task does not have."""
        task = self.task
        build = partial(task.build, task.model_defaults)
        if model in (EQUILIBRIUM, DIGITAL):
            return build()
        if model == FEEDFORWARD:
            return without_feedback(build())
        if model not in self.others:
            raise SystemExit(f"{self.name} has no model {model!r}: expected one of {', '.join(self.models)}")
        return self.others[model].make(task, count_of(build))


def resnet(task: Cifar10, parameters: int) -> nn.Module:
    """Return the residual network for classes of pictures."""
    return matched_resnet(parameters, task.mean, task.std, STAGES, task.label_ids[-1])[0]


def convolution(task: Task, parameters: int) -> nn.Module:
    """Return the same encoder and head with convolutions in the place of the grid."""
    return grid_convolution(task.build(task.model_defaults), parameters)


def dlinear(task: Forecasting, _parameters: int) -> nn.Module:
    """Return DLinear of the task's look-back and horizon."""
    return ChangeOf(DLinear(task.look_back, task.horizon))


def nlinear(task: Forecasting, _parameters: int) -> nn.Module:
    """Return a linear map of the whole window."""
    return NLinear(task.look_back, task.horizon)


def least_squares(network: NLinear, data: Data) -> None:
    """Solve for the map."""
    network.solve_(data.train_x, data.train_y)


def patchtst(task: Forecasting, _parameters: int) -> nn.Module:
    """Return PatchTST of its authors' sizes for ETTh1."""
    return ChangeOf(PatchTST(task.look_back, task.horizon))


def audio_cnn(task: SpokenDigits, parameters: int) -> nn.Module:
    """Return the convolutional network on spectrograms."""
    return matched(lambda width: AudioCnn(len(task.words), width), parameters)


def transformer(task: Language, parameters: int) -> nn.Module:
    """Return the causal Transformer on the task's windows."""
    return matched(lambda width: CausalTransformer(task.vocabulary, POSITIONS, width), parameters)


CONVOLUTION = {"convolution": Rival(convolution)}
RESNET = {"ResNet": Rival(resnet)}
FORECASTS = {
    "DLinear": Rival(dlinear),
    "PatchTST": Rival(patchtst, 1e-3),
    "NLinear": Rival(nlinear, solve=least_squares),
}
CNN = {"audio CNN": Rival(audio_cnn)}
TRANSFORMER = {"Transformer": Rival(transformer)}

SETS = {
    each.name: each
    for each in (
        Set("bccd", "vision/bccd_coco.zip", CONVOLUTION),
        Set("cifar10", "vision/cifar10_jpeg.zip", RESNET),
        Set("cifar10-multiscale", "vision/cifar10_jpeg.zip", RESNET),
        *(Set(f"etth1-{horizon}", "timeseries/ETTh1.csv", FORECASTS) for horizon in (96, 192, 336, 720)),
        Set("exchange-rate", "timeseries/exchange_rate.csv", FORECASTS),
        Set("mnist", "vision/mnist_png.zip"),
        Set("polarity", "text/sentence_polarity.zip", tokens=True),
        Set("shakespeare", "text/tinyshakespeare.txt", TRANSFORMER, tokens=True),
        Set("spoken-digits", "audio/fsdd.zip", CNN),
        *(
            Set(f"spoken-digits without {who}", "audio/fsdd.zip", CNN, partial(SpokenDigits, who), own=(EQUILIBRIUM,))
            for who in SPEAKERS
        ),
        Set("voc-segmentation", "vision/voc2012_animals_256px.zip", CONVOLUTION),
        Set("wikitext2", "text", TRANSFORMER, tokens=True),
    )
}
