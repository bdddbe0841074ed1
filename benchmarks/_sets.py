"""Which sets and models the benchmark of tasks has: where a set lies, and which networks are usual for its task."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

from torch import nn

from equilog.baselines.feedforward import without_feedback
from equilog.baselines.grid import grid_convolution
from equilog.baselines.matching import count_of
from equilog.baselines.resnet import matched_resnet
from equilog.tasks import Data, Task, get_task
from equilog.tasks.vision.cifar import WIDTHS as CIFAR_WIDTHS
from equilog.tasks.vision.cifar import Cifar10

EQUILIBRIUM, DIGITAL, FEEDFORWARD = "equilibrium", "digital DEQ", "feed-forward"
MODELS = (EQUILIBRIUM, DIGITAL, FEEDFORWARD)
OWN = (EQUILIBRIUM, FEEDFORWARD)
"""those that meet chips in training"""
Make = Callable[[Task, Data, int], nn.Module]
"""``(task, data, parameters) -> network``"""


@dataclass(frozen=True)
class Set:
    """One task on one set.

    Attributes:
        name: of the task.
        file: under the folder of data.
        others: networks to compare with, by name.
        tokens: whether inputs are tokens, on which no noise makes sense.
    """

    name: str
    file: str
    others: Mapping[str, Make] = field(default_factory=dict)
    tokens: bool = False

    @property
    def task(self) -> Task:
        """The task, at its defaults."""
        return get_task(self.name)

    @property
    def models(self) -> list[str]:
        """All models of the task."""
        return [*MODELS, *self.others]

    def load(self, folder: Path) -> Data:
        """Return the set from the folder of data."""
        return self.task.load(folder / self.file)


def built(each: Set, model: str, data: Data) -> nn.Module:
    """Return an untrained network; raises ``SystemExit`` for a model that the task does not have."""
    task = each.task
    build = partial(task.build, task.model_defaults)
    if model in (EQUILIBRIUM, DIGITAL):
        return build()
    if model == FEEDFORWARD:
        return without_feedback(build())
    if model not in each.others:
        raise SystemExit(f"{each.name} has no model {model!r}: expected one of {', '.join(each.models)}")
    return each.others[model](task, data, count_of(build))


def resnet(task: Task, _data: Data, parameters: int) -> nn.Module:
    """Return the residual network of as many parameters, for pictures of classes."""
    assert isinstance(task, Cifar10)
    return matched_resnet(parameters, task.mean, task.std, CIFAR_WIDTHS, task.label_ids[-1])[0]


def convolution(task: Task, _data: Data, parameters: int) -> nn.Module:
    """Return the same encoder and head with convolutions in the place of the grid."""
    return grid_convolution(task.build(task.model_defaults), parameters)


SETS = {
    each.name: each
    for each in (
        Set("bccd", "vision/bccd_coco.zip", {"convolution": convolution}),
        Set("cifar10", "vision/cifar10_jpeg.zip", {"ResNet": resnet}),
        Set("mnist", "vision/mnist_png.zip"),
        Set("voc-segmentation", "vision/voc2012_animals_256px.zip", {"convolution": convolution}),
    )
}
