"""The cavity: velocities without sources, Ghia's among them; flows kept; a circuit that can hold every flow."""

from __future__ import annotations

import csv
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from builders import normal

from equilog.baselines.matching import count_of, parameter_count
from equilog.hardware import Chip, load_spec
from equilog.names import UserError
from equilog.pipeline.measured import predictor
from equilog.priors import solve_cavity
from equilog.tasks import get_task
from equilog.tasks.measures import relative_error
from equilog.tasks.physics import cavity, cavity_flows, ghia
from equilog.tasks.physics.cavity import Polynomials, input_of, law, reynolds_of, vorticity_patterns
from equilog.tasks.physics.cavity_velocity import Velocity, centre_lines
from equilog.tasks.task import ModelConfig

SMALL = {"GRIDS": (18, 35), "TRAIN": 5, "TEST": 2}
DRIVES = 5
DATA = Path(__file__).parents[4] / "shared" / "data" / "physics"


@pytest.fixture(scope="module")
def task(tmp_path_factory):
    """The task on grids that take a second."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.mktemp("cache")))
        for name, value in SMALL.items():
            patch.setattr(cavity_flows, name, value)
        patch.setattr(cavity, "GRIDS", SMALL["GRIDS"])
        cavity_flows.flows.cache_clear()
        yield get_task("cavity")
        cavity_flows.flows.cache_clear()


@pytest.fixture(scope="module")
def data(task):
    return task.load()


def built(task, prior=True):
    torch.manual_seed(0)
    return task.build(ModelConfig(states=256, drives=DRIVES, prior=prior))


def fitted(task, data):
    """A model whose polynomials are those of least squares on the training flows."""
    model = built(task)
    psi = cavity_flows.flows()[0].psi.flatten(1)
    answers = law().solve(vorticity_patterns(psi.view(-1, 16, 16), DRIVES).T.unflatten(1, (16, 16)))
    amplitudes = psi @ torch.linalg.pinv(answers.flatten(1))
    linear = model.parameterize.mixture.linear
    seen = []
    handle = linear.register_forward_hook(lambda _module, inputs, _out: seen.append(inputs[0]))
    model.parameterize(data.train_x)
    handle.remove()
    features = 3 * torch.cat([seen[0].double(), torch.ones(len(psi), 1)], dim=1)
    found = torch.linalg.pinv(features) @ amplitudes
    with torch.no_grad():
        linear.weight.copy_(found[:-1].T)
        linear.bias.copy_(found[-1])
    return model


def value_of(measures, name):
    return next(m.value for m in measures if m.name == name)


def test_velocities_are_derivatives_of_psi():
    at, places = np.linspace(0, 1, 18)[1:-1], np.linspace(0.1, 0.9, 9)
    psi = (np.sin(np.pi * at)[:, None] * np.sin(np.pi * at)[None]) ** 2
    flow, lid = Velocity(psi[None]), Velocity(0 * psi[None])
    u = flow.u(places, places)[0] - lid.u(places, places)[0]
    v = flow.v(places, places)[0] - lid.v(places, places)[0]
    s, d = np.sin(np.pi * places) ** 2, np.pi * np.sin(2 * np.pi * places)
    np.testing.assert_allclose(u, d[:, None] * s[None], atol=0.01)
    np.testing.assert_allclose(v, -s[:, None] * d[None], atol=0.01)


def test_walls_are_at_rest_and_the_lid_moves():
    flow, along, ends = Velocity(normal(0, 2, 16, 16).numpy()), np.linspace(0, 1, 18), np.array([0.0, 1.0])
    inner = along[1:-1]
    np.testing.assert_allclose(flow.u(ends, inner), np.stack([0 * inner, 0 * inner + 1])[None].repeat(2, 0), atol=1e-12)
    for velocity in (flow.u(along, ends), flow.v(along, ends), flow.v(ends, along)):
        np.testing.assert_allclose(velocity, 0, atol=1e-11)


def test_no_flow_has_sources_and_one_that_does_is_found():
    class Leaking(Velocity):
        def v(self, y, x):
            return 1.001 * super().v(y, x)

    psi = 0.1 * normal(1, 3, 16, 16).numpy()
    assert Velocity(psi).sources().max() < 1e-9
    assert Leaking(psi).sources().min() > 1e-3


def test_tables_are_as_kept_with_the_measurements():
    for table, name in ((ghia.U_AT_X_HALF, "u_x0.5"), (ghia.V_AT_Y_HALF, "v_y0.5")):
        assert table.shape == (17, 2)
        assert (np.diff(table[:, 0]) > 0).all()
        path = DATA / f"ghia1982_{name}_Re100.csv"
        if not path.exists():
            pytest.skip(f"no tables of Ghia et al. in {DATA}")
        rows = sorted([float(c) for c in row] for row in list(csv.reader(path.open()))[1:])
        np.testing.assert_array_equal(table, rows)


def test_sixteen_nodes_hold_the_published_velocities_within_a_hundredth():
    whole = cavity_flows.extrapolated(*(cavity_flows.at_nodes(solve_cavity(100.0, n)) for n in (52, 69)))[None]
    for k, table in enumerate((ghia.U_AT_X_HALF, ghia.V_AT_Y_HALF)):
        assert np.abs(centre_lines(whole, table[:, 0])[k][0] - table[:, 1]).max() < 0.01


def test_reynolds_numbers_of_testing_are_never_trained_on():
    train, test = np.array(cavity_flows.train_reynolds()), np.array(cavity_flows.test_reynolds())
    assert list(test[:3]) == [100, 400, 1000]
    assert np.abs(np.log(test[:, None] / train)).min() > 1e-3
    assert 45 < train.min() < 50 <= test.min()
    assert test.max() <= 1000 < train.max() < 1100
    assert len(set(test)) == len(test)
    torch.testing.assert_close(reynolds_of(input_of(torch.tensor(test))), torch.tensor(test))
    assert input_of(torch.tensor([50.0, 1000.0])).flatten().tolist() == pytest.approx([-1, 1])


def test_flows_are_those_of_the_solver_and_kept(task, data, monkeypatch):
    trusted = cavity_flows.flows()[1]
    alone = [cavity_flows.at_nodes(solve_cavity(400.0, n)) for n in SMALL["GRIDS"]]
    ratio = (34 / 17) ** 2 - 1
    np.testing.assert_allclose(trusted.psi[1], alone[1] + (alone[1] - alone[0]) / ratio, atol=1e-9)
    assert (len(data.train_x), len(data.test_x)) == (5, 5)
    monkeypatch.setattr(cavity_flows, "_computed", lambda _: pytest.fail("computed again"))
    cavity_flows.flows.cache_clear()
    again = task.load()
    assert torch.equal(again.train_y, data.train_y)
    assert torch.equal(again.test_x, data.test_x)


def test_patterns_answer_orthogonally_and_hold_every_flow(task):
    psi = cavity_flows.flows()[0].psi
    answers = law().solve(vorticity_patterns(psi, DRIVES).T.unflatten(1, (16, 16))).flatten(1)
    gram = answers @ answers.T
    assert float((gram - gram.diag().diag()).abs().max()) < 1e-9 * float(gram.max())
    shares = psi.flatten(1) @ torch.linalg.pinv(answers)
    torch.testing.assert_close(shares @ answers, psi.flatten(1), atol=1e-9, rtol=0)
    torch.testing.assert_close(shares.abs().amax(0), torch.full((DRIVES,), 0.8).double(), atol=1e-6, rtol=0)


def test_polynomials_are_chebyshevs_and_begin_at_nothing():
    made, x = Polynomials(2, 3), torch.linspace(-1, 1, 5)[:, None]
    assert not made(x).any()
    with torch.no_grad():
        made.linear.weight[0] = torch.tensor([0.0, 0.0, 1.0])
    torch.testing.assert_close(made(x)[:, :1], 3 * torch.cos(3 * torch.acos(x / 1.08)), atol=1e-5, rtol=0)


def test_untrained_it_is_at_rest_and_its_readout_is_not_trained(task, data):
    model = built(task)
    assert float(predictor(model)(data.test_x).detach().abs().max()) == 0
    assert parameter_count(model) == parameter_count(model.parameterize) == DRIVES * 9
    assert not model.cell.populated.any()


def test_the_right_amplitudes_give_the_flows_on_an_ideal_chip_too(task, data):
    model = fitted(task, data)
    assert relative_error(predictor(model)(data.train_x), data.train_y) < 1e-4
    assert relative_error(predictor(model, Chip(load_spec("ideal"), 1))(data.train_x).detach(), data.train_y) < 1e-2


def test_without_the_law_sizes_are_the_same(task):
    held, free = built(task), built(task, prior=False)
    assert free.cell.fixed is None
    assert [p.shape for p in free.readout.parameters()] == [p.shape for p in held.readout.parameters()]
    assert [p.shape for p in free.parameterize.parameters()] == [p.shape for p in held.parameterize.parameters()]
    assert all(p.requires_grad for p in free.parameters())
    assert count_of(lambda: built(task, prior=False)) == parameter_count(free)


def test_measures_know_the_trusted_flow_and_a_wrong_one(task, data):
    trusted = cavity_flows.flows()[1]
    at = {round(float(re)): psi for re, psi in zip(trusted.reynolds, trusted.psi)}

    def lookup(x, factor=1.0):
        return factor * torch.stack([at[round(float(re))] for re in reynolds_of(x)])

    few = SimpleNamespace(train_x=torch.zeros(2, 1), test_x=data.test_x[:3], test_y=data.test_y[:3])
    right = task.measures(lookup, few, ideal=True)
    assert value_of(right, "largest divergence") < 1e-9
    for name in ("u from Ghia", "v from Ghia"):
        of = next(m for m in right if name in m.name)
        assert of.value == pytest.approx(of.reference, abs=1)  # percent of the lid speed, of grids that coarse
    assert value_of(right, "largest deviation of u and v, Re 400") < 3
    assert value_of(right, "error, inputs 1 % noisy") < 1e-6
    wrong = task.measures(lambda x: lookup(x, 1.5), few, ideal=True)
    assert value_of(wrong, "largest deviation of u from Ghia, Re 100") > 10
    assert value_of(wrong, "largest divergence") < 1e-9


def test_the_solver_begins_at_rest_and_says_what_it_takes(task, data):
    found = task.solver(data.test_x[:1].double())
    torch.testing.assert_close(found.y[0], cavity_flows.flows()[1].psi[0], atol=1e-7, rtol=0)
    assert found.second_per_sample > 0
    assert found.operations_per_sample > 1e5
    flow, steps = cavity_flows.from_rest(400.0, 18)
    assert steps > flow.steps
    torch.testing.assert_close(flow.psi, solve_cavity(400.0, 18).psi, atol=1e-9, rtol=0)


def test_what_makes_no_sense_is_refused(task, tmp_path):
    with pytest.raises(UserError, match="the data of cavity are computed"):
        task.load(tmp_path)
    with pytest.raises(UserError, match=r"model\.drives = 6: 5 flows to train on"):
        task.build(ModelConfig(states=256, drives=6))


def test_pictures_are_drawn(task, data):
    from matplotlib.figure import Figure

    flat = cavity_flows.flows()[1].psi[:3]
    found = task.pictures(lambda x: flat, lambda x: 0.9 * flat, data)
    assert [p.key for p in found] == ["psi", "ghia-u", "ghia-v", "centre-lines"]
    for picture in found:
        figure = Figure(figsize=picture.size)
        picture.draw(figure)
        assert figure.axes
