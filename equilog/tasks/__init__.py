"""Data and models to try it on, found by name."""

from equilog.names import unknown
from equilog.tasks.dynamics.linear import LinearSteps, LinearSystem
from equilog.tasks.dynamics.steppers import (
    Bistable,
    Duffing,
    FitzHughNagumo,
    Lorenz63,
    Lorenz96,
    LotkaVolterra,
    Roessler,
    VanDerPol,
)
from equilog.tasks.measures import Measure, Picture
from equilog.tasks.physics.burgers import Burgers
from equilog.tasks.physics.burgers_steady import BurgersSteady
from equilog.tasks.physics.cavity import Cavity
from equilog.tasks.physics.darcy import Darcy
from equilog.tasks.physics.dc_circuits import DcCircuits
from equilog.tasks.physics.plate import Plate
from equilog.tasks.physics.poisson import Poisson
from equilog.tasks.physics.rc_ladder import RcLadder
from equilog.tasks.physics.trusses import Trusses
from equilog.tasks.sequence.etth1 import EttH1For96, EttH1For192, EttH1For336, EttH1For720
from equilog.tasks.sequence.exchange_rate import ExchangeRate
from equilog.tasks.sequence.polarity import Polarity
from equilog.tasks.sequence.shakespeare import Shakespeare
from equilog.tasks.sequence.speech_commands import SpeechCommands
from equilog.tasks.sequence.spoken_digits import SpokenDigits
from equilog.tasks.sequence.wikitext2 import WikiText2
from equilog.tasks.task import Data, Predict, Task
from equilog.tasks.vision.bccd import Bccd
from equilog.tasks.vision.cifar import Cifar10, Cifar10Multiscale, Cifar100
from equilog.tasks.vision.digits import Digits
from equilog.tasks.vision.fashion_mnist import FashionMnist
from equilog.tasks.vision.mnist import Mnist
from equilog.tasks.vision.voc_segmentation import VocSegmentation

_TASKS: dict[str, type[Task]] = {
    task.name: task
    for task in (
        Bccd,
        Bistable,
        Burgers,
        BurgersSteady,
        Cavity,
        Cifar10,
        Cifar100,
        Cifar10Multiscale,
        Darcy,
        DcCircuits,
        Digits,
        Duffing,
        EttH1For192,
        EttH1For336,
        EttH1For720,
        EttH1For96,
        ExchangeRate,
        FashionMnist,
        FitzHughNagumo,
        LinearSteps,
        LinearSystem,
        Lorenz63,
        Lorenz96,
        LotkaVolterra,
        Mnist,
        Plate,
        Poisson,
        Polarity,
        RcLadder,
        Roessler,
        Shakespeare,
        SpeechCommands,
        SpokenDigits,
        Trusses,
        VanDerPol,
        VocSegmentation,
        WikiText2,
    )
}


def task_names() -> list[str]:
    """Return the names that ``equilog run`` takes."""
    return sorted(_TASKS)


def get_task(name: str) -> Task:
    """Return a task by name; raises ``UserError`` naming the nearest for an unknown one."""
    if name not in _TASKS:
        raise unknown("task", name, _TASKS)
    return _TASKS[name]()


__all__ = ["Data", "Measure", "Picture", "Predict", "Task", "get_task", "task_names"]
