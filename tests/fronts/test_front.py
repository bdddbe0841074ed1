"""A front: one run folder for each weight, measured on chips, interrupted and gone on with."""

import pytest

from equilog.fronts import Front, Point, draw_front
from equilog.fronts.front import weighted
from equilog.names import UserError
from equilog.objective import Regression, Scored
from equilog.runs import RunConfig, RunFolder
from equilog.training import Stage

TINY = {
    "samples": 64,
    "model": {"states": 4, "drives": 3},
    "training": {"stages": {"ideal": {"epochs": 1}, "ramp": {"epochs": 0}, "twin": {"epochs": 1}}},
}
CONFIG = RunConfig.for_task("digits", TINY)


@pytest.fixture(scope="module")
def drawn(tmp_path_factory):
    folder = tmp_path_factory.mktemp("front")
    return draw_front(CONFIG, "energy", [3.0, 0.0], folder, chips=2), folder


def test_a_point_for_every_weight_in_order(drawn):
    front, folder = drawn
    assert [p.weight for p in front.points] == [0.0, 3.0]
    assert Front.model_validate_json((folder / "front.json").read_text()) == front
    assert len((folder / "front.csv").read_text().splitlines()) == 3
    svg = (folder / "front.svg").read_text()
    assert "λ = 3" in svg
    assert "nan" not in svg


def test_figures_are_what_they_say(drawn):
    for p in drawn[0].points:
        assert p.chips == 2
        assert p.score_worst <= p.score_mean
        assert 0 < p.energy_low_joule < p.energy_typical_joule < p.energy_high_joule
        assert 0 < p.displacement_rms < 0.2
        assert p.energy_typical_joule > p.power_typical_watt * p.settling_second > 0
        assert p.power_typical_watt > p.array_watt > 0


def test_the_regulariser_is_in_the_points_run(drawn):
    _, folder = drawn
    run = RunFolder(folder / "energy-3")
    assert run.trained
    assert run.config() == weighted(CONFIG, "energy", 3.0)
    assert run.config().training.stages["twin"].losses == CONFIG.training.stages["twin"].losses | {"energy": 3.0}
    assert "energy" in (folder / "energy-3" / "training.csv").read_text().splitlines()[0]


def test_called_again_it_trains_and_measures_nothing(drawn, monkeypatch):
    front, folder = drawn
    monkeypatch.setattr("equilog.fronts.front.measure", None)
    monkeypatch.setattr("equilog.pipeline.train.fit", None)
    assert draw_front(CONFIG, "energy", [0.0, 3.0], folder, chips=2) == front


def test_another_runs_folder_is_not_touched(drawn):
    other = CONFIG.model_copy(update={"seed": 5})
    with pytest.raises(UserError, match="holds something else"):
        draw_front(other, "energy", [0.0], drawn[1], chips=2)


@pytest.mark.parametrize(
    ("loss", "weights", "config", "message"),
    [
        ("enrgy", [1.0], CONFIG, "did you mean 'energy'"),
        ("energy", [], CONFIG, "at least one"),
        ("energy", [-1.0], CONFIG, "0 or more"),
        ("energy", [1.0], CONFIG.with_curriculum("ideal", None), "no stage of this curriculum meets chips"),
    ],
)
def test_mistakes_are_named_before_anything_is_written(loss, weights, config, message, tmp_path):
    with pytest.raises(UserError, match=message):
        draw_front(config, loss, weights, tmp_path / "front")
    assert not (tmp_path / "front").exists()


def test_a_weight_joins_the_regularisers_there_are():
    stages = {"a": Stage(epochs=1), "b": Stage(epochs=1, twin=True, losses={"precision": 2.0})}
    config = CONFIG.model_copy(update={"training": CONFIG.training.model_copy(update={"stages": stages})})
    found = weighted(config, "energy", 1.0).training.stages
    assert found["a"] == stages["a"]
    assert found["b"].losses == {"precision": 2.0, "energy": 1.0}


def point(weight, score, energy):
    zero = dict.fromkeys(Point.model_fields, 0.0)
    zero |= {"chips": 1, "weight": weight, "score_mean": score, "energy_typical_joule": energy}
    return Point(**zero)


def test_the_best_are_those_that_nothing_beats():
    points = (point(0, 0.9, 3.0), point(1, 0.91, 2.0), point(2, 0.85, 1.0), point(3, 0.8, 1.5))
    assert [p.weight for p in Front(task="t", hardware="h", loss="energy", points=points).best] == [2, 1]


def test_of_errors_the_best_are_the_least():
    points = (point(0, 0.1, 3.0), point(1, 0.09, 2.0), point(2, 0.15, 1.0), point(3, 0.2, 1.5))
    scored = Scored.fields_of(Regression())
    assert [p.weight for p in Front(task="t", hardware="h", loss="energy", points=points, **scored).best] == [2, 1]
