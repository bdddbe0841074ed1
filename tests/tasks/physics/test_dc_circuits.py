"""Operating points of drawn networks against ngspice and the library's own, a law of cut sets, measures in volts."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
import torch

from equilog.baselines.matching import parameter_count
from equilog.circuit.ngspice import NgspiceMissingError
from equilog.names import UserError
from equilog.pipeline.measured import predictor
from equilog.priors import Bipolar, CurrentSource, Diode, Network, Resistor, VoltageSource
from equilog.tasks import get_task
from equilog.tasks.measures import relative_error
from equilog.tasks.physics import dc_circuits, simulated
from equilog.tasks.physics.dc_circuits import (
    free_nodes,
    inputs,
    law,
    limits,
    linear_part,
    network_of,
    nominal,
    operating_points,
    state_scale,
)


@pytest.fixture(scope="module")
def data():
    """The task's own test set and a few training samples: all of them take seconds."""
    x, test = inputs(64, 41), inputs(64, 42)
    parts = (x, operating_points(x), test, operating_points(test))
    return dc_circuits.Data(*(t.float() for t in parts), "test")


def test_operating_points_are_the_librarys_own() -> None:
    x = inputs(2, 7)
    own = torch.stack([network_of(sample).operating_point()[0][free_nodes()] for sample in x])
    torch.testing.assert_close(operating_points(x), own, rtol=0, atol=1e-10)
    assert float(law().consistency(own, x).max()) < 1e-9


@pytest.mark.ngspice
def test_operating_points_are_ngspices() -> None:
    corner = torch.where(torch.arange(13) % 2 == 0, 1.0, -1.0).double() * limits()
    for x in (*inputs(3, 8), corner, -corner):
        found = simulated.operating_point(network_of(x))[free_nodes()]
        torch.testing.assert_close(operating_points(x[None])[0], found, rtol=0, atol=2e-6)


@pytest.mark.ngspice
def test_sources_of_current_and_pnp_transistors_reach_the_simulator_too() -> None:
    network = Network(
        [
            VoltageSource("top", "0", 5.0),
            Resistor("top", "out;.quit", 1e3),
            Bipolar("0", "b", "out;.quit", 3e-16, 60.0, 2.0, kind="pnp"),
            Resistor("b", "0", 1e5),
            CurrentSource("0", "b", 1e-5),
            Diode("b", "top", 1e-14, 1.2),
        ]
    )
    assert "quit" not in simulated.deck(network)
    found = simulated.operating_point(network)
    torch.testing.assert_close(found, network.operating_point()[0][:3], rtol=0, atol=1e-6)


def test_inputs_are_values_in_their_range() -> None:
    x = inputs(500, 3)
    assert bool((x.abs() <= limits()).all())
    assert float(x[:, :11].abs().max()) > 0.95 * math.log(1.5)
    at = network_of(torch.zeros(13))
    assert at.elements == nominal().elements
    changed = network_of(torch.tensor([math.log(2)] + 10 * [0.0] + [0.5, -0.25]))
    assert changed.elements[2] == replace(nominal().elements[2], ohm=pytest.approx(94e3))
    assert [e.volt for e in changed.elements[:2]] == [9.5, 0.75]
    assert not torch.equal(inputs(4, 41), inputs(4, 42))
    assert torch.equal(inputs(4, 41), inputs(4, 41))


def test_transistors_work_in_several_regimes(data) -> None:
    names = [nominal().nodes[k] for k in free_nodes()]
    across = data.test_y[:, names.index("c")] - data.test_y[:, names.index("e")]
    assert float(across.min()) < 0.2  # saturated
    assert float(across.max()) > 2  # active


def test_the_linear_part_is_the_slope_of_operating_points() -> None:
    x = 1e-4 * inputs(5, 9)
    moved = operating_points(x) - operating_points(torch.zeros(1, 13))
    torch.testing.assert_close(linear_part().solve(x), moved, rtol=2e-2, atol=1e-8)
    assert linear_part().coupling(scale=state_scale()).margin == pytest.approx(0.086, abs=0.002)
    # Node by node it is not monotone in any of these units.
    single = dc_circuits.linearised(law(), operating_points(torch.zeros(1, 13))[0], torch.zeros(13).double())
    assert single.condition == pytest.approx(2852, rel=0.01)
    rows = linear_part().a.toarray() * state_scale().numpy()
    assert np.linalg.cond(rows / rows.diagonal()[:, None]) == pytest.approx(17, abs=0.5)
    with pytest.raises(ValueError, match="margin"):
        single.coupling(scale=state_scale())


def test_untrained_the_model_is_the_linear_network(data) -> None:
    task = get_task("dc-circuits")
    model = task.build(task.model_defaults)
    expected = linear_part().solve(data.test_x.double()) + operating_points(torch.zeros(1, 13))
    torch.testing.assert_close(predictor(model)(data.test_x).detach(), expected, rtol=0, atol=1e-4)
    assert 0.02 < relative_error(expected, data.test_y) < 0.1
    free = task.build(task.model_defaults.model_copy(update={"prior": False}))
    assert (model.cell.states, model.cell.drives) == (free.cell.states, free.cell.drives)
    for part in ("parameterize", "readout"):
        assert parameter_count(getattr(model, part)) == parameter_count(getattr(free, part))
    assert relative_error(predictor(free)(data.test_x), data.test_y) > 0.5


def test_measures_of_the_exact_answer_are_zero_and_of_a_wrong_one_are_not(data) -> None:
    task = get_task("dc-circuits")
    exact = {m.name: m for m in task.measures(operating_points, data, ideal=True)}
    wrong = {m.name: m for m in task.measures(lambda x: operating_points(x) + 0.01, data, ideal=False)}
    assert exact["largest error"].value < 1e-6
    assert exact["currents that do not sum to zero"].value < 1e-9
    assert 0.03 < exact["error of the law alone"].value < 0.06
    assert wrong["rms error"].value == pytest.approx(0.01, rel=1e-3)
    assert (wrong["rms error"].unit, wrong["currents that do not sum to zero"].unit) == ("V", "mA")
    assert wrong["currents that do not sum to zero"].value > 1e-3
    assert "error of the law alone" not in wrong
    (picture,) = task.pictures(operating_points, operating_points, data)
    assert picture.key == "node-voltages"


@pytest.mark.ngspice
def test_the_solver_names_how_far_ngspice_is(data) -> None:
    solved = get_task("dc-circuits").solver(data.test_x[:5])
    assert "V of ngspice on 4 samples" in solved.name
    torch.testing.assert_close(solved.y.float(), data.test_y[:5])
    steps = solved.operations_per_sample / (8**3 / 3 + 8**2)
    assert 2 < steps < 40


def test_without_a_simulator_the_solver_still_answers(data, monkeypatch) -> None:
    def missing():
        raise NgspiceMissingError("not there")

    monkeypatch.setattr(simulated, "find_ngspice", missing)
    assert get_task("dc-circuits").solver(data.test_x[:2]).name == "Newton's method to 1e-11 V"


def test_a_folder_is_refused_and_so_is_no_answer(tmp_path, monkeypatch) -> None:
    with pytest.raises(UserError, match="leave out --data"):
        get_task("dc-circuits").load(tmp_path)
    monkeypatch.setattr(dc_circuits, "NEWTON_STEPS", 1)
    with pytest.raises(ValueError, match="no operating point in 1 steps"):
        operating_points(inputs(2, 1))
