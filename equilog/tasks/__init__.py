"""Data and models to try it on, found by name."""

from importlib import import_module

from equilog.names import unknown
from equilog.tasks.measures import Measure, Picture
from equilog.tasks.task import Data, Predict, Task

# Where each lies: with all that they need, importing every task would double the time a command takes to begin.
_PLACES = {
    "bccd": "vision.bccd:Bccd",
    "bistable": "dynamics.steppers:Bistable",
    "burgers": "physics.burgers:Burgers",
    "burgers-steady": "physics.burgers_steady:BurgersSteady",
    "cavity": "physics.cavity:Cavity",
    "cifar10": "vision.cifar:Cifar10",
    "cifar10-multiscale": "vision.cifar:Cifar10Multiscale",
    "cifar100": "vision.cifar:Cifar100",
    "darcy": "physics.darcy:Darcy",
    "dc-circuits": "physics.dc_circuits:DcCircuits",
    "digits": "vision.digits:Digits",
    "duffing": "dynamics.steppers:Duffing",
    "etth1-192": "sequence.etth1:EttH1For192",
    "etth1-336": "sequence.etth1:EttH1For336",
    "etth1-720": "sequence.etth1:EttH1For720",
    "etth1-96": "sequence.etth1:EttH1For96",
    "exchange-rate": "sequence.exchange_rate:ExchangeRate",
    "fashion-mnist": "vision.fashion_mnist:FashionMnist",
    "fitzhugh-nagumo": "dynamics.steppers:FitzHughNagumo",
    "linear-steps": "dynamics.linear:LinearSteps",
    "linear-system": "dynamics.linear:LinearSystem",
    "lorenz63": "dynamics.steppers:Lorenz63",
    "lorenz96": "dynamics.steppers:Lorenz96",
    "lotka-volterra": "dynamics.steppers:LotkaVolterra",
    "mnist": "vision.mnist:Mnist",
    "plate": "physics.plate:Plate",
    "poisson": "physics.poisson:Poisson",
    "polarity": "sequence.polarity:Polarity",
    "rc-ladder": "physics.rc_ladder:RcLadder",
    "roessler": "dynamics.steppers:Roessler",
    "shakespeare": "sequence.shakespeare:Shakespeare",
    "speech-commands": "sequence.speech_commands:SpeechCommands",
    "spoken-digits": "sequence.spoken_digits:SpokenDigits",
    "trusses": "physics.trusses:Trusses",
    "van-der-pol": "dynamics.steppers:VanDerPol",
    "voc-segmentation": "vision.voc_segmentation:VocSegmentation",
    "wikitext2": "sequence.wikitext2:WikiText2",
}


def task_names() -> list[str]:
    """Return the names that ``equilog run`` takes."""
    return sorted(_PLACES)


def get_task(name: str) -> Task:
    """Return a task by name; raises ``UserError`` naming the nearest for an unknown one."""
    if name not in _PLACES:
        raise unknown("task", name, _PLACES)
    module, kind = _PLACES[name].split(":")
    task: Task = getattr(import_module(f"equilog.tasks.{module}"), kind)()
    return task


__all__ = ["Data", "Measure", "Picture", "Predict", "Task", "get_task", "task_names"]
