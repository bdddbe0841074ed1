"""Models that hold a law: untrained at its answer, with and without crossbar behind it, and the same without a law."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
import torch

from equilog.baselines.matching import parameter_count
from equilog.hardware import Chip, load_spec
from equilog.names import UserError
from equilog.pipeline.measured import measured, predictor
from equilog.priors import Grid, LinearLaw, poisson
from equilog.tasks import get_task
from equilog.tasks.lawful import lawful_model
from equilog.tasks.measures import Measure, consistency, noisy_error, relative_error
from equilog.tasks.task import Data, ModelConfig, Task

SIDE = 3
OWN = SIDE**2


def law() -> LinearLaw:
    return poisson(Grid((SIDE, SIDE), spacing_metre=1 / SIDE), unit="V")


def samples(seed: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
    f = 2 * torch.rand(6, SIDE, SIDE, dtype=torch.float64, generator=torch.Generator().manual_seed(seed)) - 1
    return f, law().solve(f)


def model(prior: bool = True, hidden: int = 4, spare: int = 2, **settings: object):
    torch.manual_seed(0)
    config = ModelConfig(states=OWN + hidden, drives=OWN + spare, prior=prior)
    scale = float(samples()[1].abs().max())
    return lawful_model(law(), config, scale=scale, input_scale=torch.ones(OWN), **settings)


@pytest.mark.parametrize("apart", [False, True])
@pytest.mark.parametrize(("hidden", "spare"), [(0, 0), (4, 0), (4, 2)])
def test_untrained_it_gives_the_answer_of_the_law(apart: bool, hidden: int, spare: int) -> None:
    f, exact = samples()
    found = predictor(model(hidden=hidden, spare=spare, apart=apart))(f)
    assert found.shape == exact.shape
    # Parameters are of float32: matrices and readout are rounded before they are copied to float64.
    torch.testing.assert_close(found, exact, rtol=1e-5, atol=1e-6)


def test_patterns_mix_few_inputs_into_many_sources() -> None:
    patterns = torch.randn(OWN, 2, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    x = torch.tensor([[0.5, -1.0], [0.25, 0.75]], dtype=torch.float64)
    exact = law().solve((x @ patterns.T).unflatten(1, (SIDE, SIDE)))
    torch.manual_seed(0)
    config = ModelConfig(states=OWN + 3, drives=3)
    scale = float(exact.abs().max())
    made = lawful_model(law(), config, scale=scale, input_scale=torch.tensor([2.0, 2.0]), patterns=patterns)
    torch.testing.assert_close(predictor(made)(x), exact, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("spare", [0, 2])
@pytest.mark.parametrize("apart", [False, True])
def test_what_is_learnt_may_be_a_source_of_the_law(apart: bool, spare: int) -> None:
    generator = torch.Generator().manual_seed(2)
    patterns, mixed = (torch.randn(OWN, k, dtype=torch.float64, generator=generator) for k in (1, 3))
    x = torch.tensor([[0.5, -1.0], [0.25, 0.75]], dtype=torch.float64)
    config = ModelConfig(states=OWN + 3, drives=4 + spare)
    torch.manual_seed(0)
    mixture = torch.nn.Linear(2, 3 + spare)
    torch.nn.init.uniform_(mixture.weight, -0.3, 0.3)
    made = lawful_model(
        law(), config, scale=1.0, input_scale=torch.tensor([2.0, 2.0]), patterns=patterns, mixed=mixed,
        mixture=mixture, apart=apart,
    )  # fmt: skip
    learnt = mixture.double()(x / 2)[:, :3].detach()
    exact = law().solve((x[:, :1] @ patterns.T + learnt @ mixed.T).unflatten(1, (SIDE, SIDE)))
    torch.testing.assert_close(predictor(made)(x), exact, rtol=1e-5, atol=1e-5)


def test_no_input_need_enter_the_law_as_it_is() -> None:
    mixed = torch.eye(OWN, dtype=torch.float64)[:, :2]
    config = ModelConfig(states=OWN, drives=2)
    none = torch.zeros(OWN, 0)
    made = lawful_model(law(), config, scale=1.0, input_scale=torch.ones(5), patterns=none, mixed=mixed, apart=True)
    x = torch.randn(4, 5)
    made(x).square().sum().backward()
    assert made.parameterize.mixture.weight.grad.abs().sum() > 0
    assert made.cell.fixed.drives == 2


def test_without_the_law_it_is_as_large_and_knows_nothing() -> None:
    f, exact = samples()
    held, free = model(), model(prior=False)
    assert parameter_count(held) == parameter_count(free)
    assert free.cell.fixed is None
    assert relative_error(predictor(free)(f), exact) > 0.5


def test_readout_and_what_hidden_states_say_to_the_law_learn_from_the_start() -> None:
    made = model()
    f, exact = samples()
    (made(f.float()) - 2 * exact.float()).square().sum().backward()
    for part in (made.readout.linear.weight, made.readout.linear.bias, made.cell.recurrent.b):
        assert part.grad.abs().sum() > 0


@pytest.mark.parametrize(("states", "drives"), [(OWN - 1, OWN), (OWN, OWN - 1)])
def test_too_small_a_model_is_refused(states: int, drives: int) -> None:
    config = ModelConfig(states=states, drives=drives)
    with pytest.raises(UserError, match=f"{states} states and {drives} drives for a law of {OWN} states"):
        lawful_model(law(), config, scale=1.0, input_scale=torch.ones(OWN))


def test_sources_and_drives_that_do_not_fit_are_refused() -> None:
    given = {"scale": 1.0, "input_scale": torch.ones(2), "patterns": torch.zeros(OWN, 1)}
    with pytest.raises(ValueError, match=r"sources of shape \(4, 2\): expected \(9, k\)"):
        lawful_model(law(), ModelConfig(states=OWN, drives=3), mixed=torch.zeros(4, 2), **given)
    with pytest.raises(UserError, match=r"2 drives for a law of 9 states and 1 inputs, 2 mixtures of them: .* and 3"):
        lawful_model(law(), ModelConfig(states=OWN, drives=2), mixed=torch.zeros(OWN, 2), **given)


def test_a_law_alone_is_settled_by_one_factorisation() -> None:
    f, exact = samples()
    made = model(hidden=0, spare=0, apart=True)
    torch.testing.assert_close(made(f.float()).detach(), exact.float(), rtol=1e-4, atol=1e-6)
    assert int(made.equilibrium.last.steps.max()) <= 2


def test_an_ideal_chip_gives_it_too() -> None:
    f, exact = samples()
    found = predictor(model(apart=True), Chip(load_spec("ideal"), 1))(f).detach()
    assert relative_error(found, exact) < 1e-3


def test_noise_on_inputs_shows_by_its_size() -> None:
    x, y = torch.randn(400, 3), torch.randn(400, 3)
    data = Data(x, x, x, x, "test")
    errors = [noisy_error(lambda given: given, data, noise).value for noise in (0.0, 0.01, 0.1)]
    assert errors[0] == 0
    assert errors[2] == pytest.approx(10 * errors[1], rel=1e-6)
    assert errors[1] == pytest.approx(noisy_error(lambda given: given, data).value)
    assert relative_error(2 * y, y) == pytest.approx(1)


def test_the_law_holds_where_it_was_solved_and_nowhere_else() -> None:
    f, exact = samples()
    assert consistency(law(), exact, f).value < 1e-9
    assert consistency(law(), 1.1 * exact, f).value > 1e-3


class _Loud(Task):
    def __init__(self) -> None:
        self.asked: list[bool] = []

    def load(self, folder=None):
        raise NotImplementedError

    def build(self, config):
        raise NotImplementedError

    def measures(self, predict, data, *, ideal):
        self.asked.append(ideal)
        return [Measure(name="sum", value=float(predict(data.test_x).sum()))]


def test_measures_are_of_the_ideal_model_and_of_the_chip() -> None:
    task, data = _Loud(), SimpleNamespace(test_x=torch.ones(2))
    found = measured(task, lambda x: x, lambda x: 3 * x, data)
    assert [found[where][0]["value"] for where in ("ideal", "twin")] == [2, 6]
    assert task.asked == [True, False]
    assert measured(get_task("digits"), lambda x: x, lambda x: x, data) == {}
