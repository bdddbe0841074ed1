"""The ladder in time: a step against SciPy, fifty against ngspice, a model that is one Euler step untrained."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.integrate import solve_ivp

from equilog.baselines.matching import parameter_count
from equilog.circuit.ngspice import NgspiceMissingError
from equilog.names import UserError
from equilog.pipeline.measured import predictor
from equilog.tasks import get_task
from equilog.tasks.physics import rc_ladder, simulated
from equilog.tasks.physics.rc_ladder import FARAD, NODES, OHM, STEP_SECOND, answer, ladder, law_alone, rolled, sources


def test_a_step_is_what_kirchhoff_and_an_integrator_say() -> None:
    x = get_task("rc-ladder").load().test_x[100:103].double().numpy()

    def rate(_, v, u):
        """Currents by hand, resistor by resistor."""
        above = np.concatenate([[u], v[:-1]])
        flow = (above - v) / np.array(OHM)
        return (flow - np.concatenate([flow[1:], [0.0]])) / np.array(FARAD)

    for sample in x:
        run = solve_ivp(rate, (0, STEP_SECOND), sample[:NODES], args=(sample[NODES],), rtol=1e-10, atol=1e-12)
        np.testing.assert_allclose(answer(torch.from_numpy(sample[None]))[0], run.y[:, -1], atol=1e-8)


@pytest.mark.ngspice
def test_a_roll_out_is_ngspices_transient() -> None:
    u = sources(1, 50, 5)
    found = simulated.ladder_in_ngspice(OHM, FARAD, u[0], STEP_SECOND)
    assert float(found.abs().max()) > 0.3
    torch.testing.assert_close(found, rolled(u)[0], rtol=0, atol=5e-6)


def test_the_ladder_loses_and_ends_at_the_source() -> None:
    m, b = ladder()
    assert float(torch.linalg.eigvals(m).real.max()) < 0
    # At rest no current flows: every node is at the source's voltage.
    torch.testing.assert_close(m @ torch.ones(NODES, dtype=torch.float64), -b, rtol=0, atol=1e-9 * float(b[0]))
    charged = torch.ones(1, NODES + 1, dtype=torch.float64)
    torch.testing.assert_close(answer(charged), charged[:, :NODES])


def test_samples_are_steps_of_runs_and_no_test_sample_is_trained_on() -> None:
    data, again = get_task("rc-ladder").load(), get_task("rc-ladder").load()
    torch.testing.assert_close(data.train_x[1:64, :NODES], data.train_y[:63])
    assert not data.train_x[64, :NODES].any()
    assert torch.equal(data.test_y, again.test_y)
    assert float(data.train_x.abs().max()) <= 1
    # Runs begin from rest, where sources alone tell them apart.
    assert float(torch.cdist(data.test_x, data.train_x).min()) > 1e-6


def test_untrained_the_model_is_one_euler_step_of_first_order() -> None:
    task = get_task("rc-ladder")
    model, x = task.build(task.model_defaults), task.load().test_x[:64].double()
    found = predictor(model)(x)
    m, b = ladder()
    by_hand = torch.linalg.solve(
        torch.eye(NODES, dtype=torch.float64) - STEP_SECOND * m, (x[:, :NODES] + STEP_SECOND * x[:, NODES:] * b).T
    ).T
    torch.testing.assert_close(found.detach(), by_hand, rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(law_alone(x), by_hand)
    assert rc_ladder.law().condition == pytest.approx(6.07, rel=0.01)
    assert 0.01 < float((law_alone(x) - answer(x)).norm() / answer(x).norm()) < 0.1


def test_without_the_law_it_is_as_large() -> None:
    task = get_task("rc-ladder")
    held, free = (task.build(task.model_defaults.model_copy(update={"prior": prior})) for prior in (True, False))
    assert (held.cell.states, held.cell.drives) == (free.cell.states, free.cell.drives)
    for part in ("parameterize", "readout"):
        assert parameter_count(getattr(held, part)) == parameter_count(getattr(free, part))
    assert free.cell.fixed is None


@pytest.mark.ngspice
def test_measures_of_the_exact_step_are_zero_and_of_a_wrong_one_are_not() -> None:
    task, data = get_task("rc-ladder"), get_task("rc-ladder").load()
    exact = {m.name: m.value for m in task.measures(answer, data, ideal=True)}
    wrong = {m.name: m.value for m in task.measures(lambda x: 0.95 * answer(x), data, ideal=False)}
    assert exact["roll-out"] < 1e-12
    assert exact["roll-out against ngspice"] < 5e-6
    assert wrong["roll-out"] > 0.01
    assert wrong["roll-out against ngspice"] == pytest.approx(wrong["roll-out"], rel=1e-3)
    alone = [exact[f"error of the law alone, {rule}"] for rule in ("backward-euler", "trapezoid")]
    assert 1e-3 < alone[1] < alone[0] < 0.05


def test_without_a_simulator_measures_say_so(monkeypatch) -> None:
    def missing():
        raise NgspiceMissingError("ngspice is not there")

    monkeypatch.setattr(simulated, "find_ngspice", missing)
    task, data = get_task("rc-ladder"), get_task("rc-ladder").load()
    found = {m.name: m for m in task.measures(answer, data, ideal=False)}["roll-out against ngspice"]
    assert (found.value, found.note) == (None, "ngspice is not there")
    (picture,) = task.pictures(answer, answer, data)
    assert "exponential" in picture.caption


def test_the_solver_and_refusals(tmp_path) -> None:
    task = get_task("rc-ladder")
    solved = task.solver(task.load().test_x[:70])
    torch.testing.assert_close(solved.y.float(), task.load().test_y[:70])
    assert solved.operations_per_sample == 110
    assert rc_ladder.exact_step().shape == (10, 11)
    with pytest.raises(UserError, match="leave out --data"):
        task.load(tmp_path)
