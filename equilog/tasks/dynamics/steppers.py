"""The eight systems as tasks, with the sizes and the training that suit them."""

from __future__ import annotations

from equilog.tasks.dynamics import systems
from equilog.tasks.dynamics.stepper import Stepper
from equilog.tasks.task import ModelConfig
from equilog.training.config import TrainConfig
from equilog.training.stage import Stage


def _training(ideal: int, twin: int, *, rate: float = 0.01, batch: int = 256) -> TrainConfig:
    return TrainConfig(
        stages={"ideal": Stage(epochs=ideal), "twin": Stage(epochs=twin, twin=True)},
        batch_size=batch,
        learning_rate=rate,
        weight_decay=0.0,
        gradient_clip=0.1,
    )


class VanDerPol(Stepper):
    """A limit cycle that attracts everything."""

    system = systems.VAN_DER_POL
    model_defaults = ModelConfig(states=24, drives=8)
    train_defaults = _training(150, 50)


class Duffing(Stepper):
    """A hardening spring without loss: every orbit closed, the period falling with its size."""

    system = systems.DUFFING
    model_defaults = ModelConfig(states=24, drives=8)
    train_defaults = _training(150, 50)


class FitzHughNagumo(Stepper):
    """A nerve that fires again and again: a slow and a fast variable."""

    system = systems.FITZHUGH_NAGUMO
    model_defaults = ModelConfig(states=24, drives=8)
    train_defaults = _training(150, 50)


class LotkaVolterra(Stepper):
    """Predators and prey: every orbit closed."""

    system = systems.LOTKA_VOLTERRA
    model_defaults = ModelConfig(states=24, drives=8)
    train_defaults = _training(150, 50)


class Bistable(Stepper):
    """A damped oscillator with two wells, whose basins are wound about each other."""

    system = systems.BISTABLE
    model_defaults = ModelConfig(states=24, drives=8)
    train_defaults = _training(150, 50)


class Lorenz63(Stepper):
    """Convection in three numbers, chaotic."""

    system = systems.LORENZ63
    model_defaults = ModelConfig(states=48, drives=12)
    train_defaults = _training(150, 50)


class Roessler(Stepper):
    """A spiral that folds back upon itself, chaotic."""

    system = systems.ROESSLER
    model_defaults = ModelConfig(states=48, drives=12)
    train_defaults = _training(150, 50)


class Lorenz96(Stepper):
    """Eight places on a circle of latitude, chaotic."""

    system = systems.LORENZ96
    model_defaults = ModelConfig(states=56, drives=24)
    train_defaults = _training(150, 50)
