"""Configuration is data: unknown keys and bad values are refused by name, before anything is done."""

from pathlib import Path

import pytest
import yaml

from equilog.names import UserError
from equilog.runs import RunConfig


def test_task_defaults_fill_what_is_left_out() -> None:
    config = RunConfig.for_task("digits", {"training": {"stages": {"twin": {"epochs": 3}}}})
    stages, usual = config.training.stages, RunConfig.for_task("digits").training.stages
    assert stages["twin"] == usual["twin"].model_copy(update={"epochs": 3})
    assert stages["ideal"] == usual["ideal"]
    assert list(stages) == list(usual)
    assert config.model.states == 32


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        ({"trainin": {}}, r"'trainin' \(did you mean 'training'\?\)"),
        ({"training": {"stage": {}}}, r"'training.stage' \(did you mean 'stages'\?\)"),
        ({"training": {"stages": {"twin": {"epoch": 3}}}}, r"'training.stages.twin.epoch' \(did you mean 'epochs'\?\)"),
        ({"training": {"stages": {"ideal": {"reads": True}}}}, r"training.stages.ideal: reads: .*set twin: true"),
        ({"training": {"stages": {"twin": {"effects": ["drfit"]}}}}, r"unknown effect 'drfit' \(did you mean 'drift'"),
        ({"training": {"stages": {"twin": {"losses": {"enrgy": 1}}}}}, r"unknown loss 'enrgy' \(did you mean 'energy'"),
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
