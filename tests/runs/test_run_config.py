"""Configuration is data: unknown keys and bad values are refused by name, before anything is done."""

from pathlib import Path

import pytest
import yaml

from equilog.names import UserError
from equilog.runs import RunConfig


def test_task_defaults_fill_what_is_left_out() -> None:
    config = RunConfig.for_task("digits", {"training": {"epochs_twin": 3}})
    assert config.training.epochs_twin == 3
    assert config.training.epochs_ideal == RunConfig.for_task("digits").training.epochs_ideal
    assert config.model.states == 32


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        ({"trainin": {}}, r"'trainin' \(did you mean 'training'\?\)"),
        ({"training": {"epoch_twin": 3}}, r"'training.epoch_twin' \(did you mean 'epochs_twin'\?\)"),
        ({"model": {"states": 0}}, r"model.states: .*got 0"),
        ({"model": {"states": "many"}}, r"model.states: .*got 'many'"),
        ({"model": 7}, r"model: .*got 7"),
        ({"seed": -1}, r"seed: .*got -1"),
        ({"training": {"learning_rate": float("nan")}}, r"training.learning_rate: .*nan"),
    ],
)
def test_mistakes_are_named(overrides: dict, message: str) -> None:
    with pytest.raises(UserError, match=message):
        RunConfig.for_task("digits", overrides)


def test_unknown_task_names_the_nearest() -> None:
    with pytest.raises(UserError, match="did you mean 'fashion-mnist'"):
        RunConfig.for_task("fashion-mnits")


def test_round_trip_through_yaml(tmp_path: Path) -> None:
    config = RunConfig.for_task("fashion-mnist", {"seed": 3, "data": "/somewhere"})
    path = tmp_path / "config.yaml"
    path.write_text(yaml.safe_dump(config.model_dump(mode="json")))
    assert RunConfig.read(path) == config
