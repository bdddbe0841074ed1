"""Losses and scores by hand; what reports say of them; objectives travel to other processes."""

from __future__ import annotations

import math
import pickle

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from equilog import Classification, Regression
from equilog.names import UserError
from equilog.objective import Scored, objective_for

LOGITS = torch.tensor([[2.0, 0.0], [0.0, 1.0], [3.0, 1.0]])
# Two samples: e = (3, 4), so ‖e‖ = 5, and y = (6, 8), so ‖y‖ = 10; then e = 0.
OUTPUT, TARGET = torch.tensor([[9.0, 12.0], [1.0, 0.0]]), torch.tensor([[6.0, 8.0], [1.0, 0.0]])


def test_classification_by_hand() -> None:
    goal, y = Classification(), torch.tensor([0, 0, 0])
    assert int(goal.score(LOGITS, y)) == 2
    expected = (math.log1p(math.exp(-2)) + math.log1p(math.exp(1)) + math.log1p(math.exp(-2))) / 3
    assert float(goal.loss(LOGITS, y)) == pytest.approx(expected, rel=1e-6)
    assert float(Classification(0.1).loss(LOGITS, y)) > expected
    assert goal.same_answer(LOGITS, LOGITS + torch.tensor([0.0, 1.5])) == 3
    assert goal.same_answer(LOGITS, LOGITS + torch.tensor([0.0, 2.5])) == 1


def test_regression_by_hand() -> None:
    assert float(Regression().score(OUTPUT, TARGET)) == pytest.approx(0.5)
    assert float(Regression(score="rms", unit="K").score(OUTPUT, TARGET)) == pytest.approx(5 / math.sqrt(2))
    assert float(Regression().loss(OUTPUT, TARGET)) == pytest.approx(25 / 4)
    assert float(Regression(5.0).loss(OUTPUT, TARGET)) == pytest.approx(5 / 4)
    assert Regression().same_answer(OUTPUT, OUTPUT) is None


def test_an_answer_of_zero_has_loss_and_relative_error_one() -> None:
    y = torch.randn(20, 3, 4)
    goal = Regression.scaled_by(y)
    assert float(goal.loss(torch.zeros_like(y), y)) == pytest.approx(1, rel=1e-6)
    assert float(goal.score(torch.zeros_like(y), y)) / 20 == pytest.approx(1)


@given(st.floats(1e-3, 1e3), st.sampled_from(["relative", "rms"]))
def test_a_unit_changes_rms_alone(factor: float, score: str) -> None:
    torch.manual_seed(1)
    output, y = torch.randn(2, 5, 3, dtype=torch.float64)
    goal = Regression(score=score)
    ratio = float(goal.score(factor * output, factor * y) / goal.score(output, y))
    assert ratio == pytest.approx(factor if score == "rms" else 1, rel=1e-9)


def test_the_shape_of_a_target_does_not_matter() -> None:
    output, y = torch.randn(2, 5, 12)
    for score in ("relative", "rms"):
        goal = Regression(score=score)
        flat, shaped = goal.score(output, y), goal.score(output.view(5, 2, 3, 2), y.view(5, 2, 3, 2))
        assert float(flat) == pytest.approx(float(shaped))


@pytest.mark.parametrize("goal", [Classification(0.3), Regression(2.0), Regression(3.0, score="rms", unit="m")])
def test_an_objective_travels(goal: Classification | Regression) -> None:
    again = pickle.loads(pickle.dumps(goal))
    assert vars(again) == vars(goal)
    assert Scored.fields_of(again) == Scored.fields_of(goal)


def test_broadcasting_is_refused() -> None:
    for output, y in (((4, 1), (4,)), ((4, 2), (4, 1)), ((4,), (4,))):
        for call in (Regression().loss, Regression().score):
            with pytest.raises(ValueError, match=r"outputs of shape .* targets of shape"):
                call(torch.ones(output), torch.ones(y))


def test_mistakes_are_named() -> None:
    with pytest.raises(ValueError, match="target 1 of a batch is zero"):
        Regression().score(torch.ones(3, 2), torch.tensor([[1.0, 0], [0, 0], [0, 1]]))
    with pytest.raises(ValueError, match=r"scale = 0"):
        Regression(0.0)
    with pytest.raises(ValueError, match="a relative error has none"):
        Regression(unit="V")
    with pytest.raises(UserError, match=r"unknown score 'realtive' \(did you mean 'relative'\?\)"):
        Regression(score="realtive")
    with pytest.raises(ValueError, match="pass an objective"):
        objective_for(torch.ones(3))
    assert objective_for(torch.ones(3, dtype=torch.int32)).hits


def test_reports_know_which_is_better() -> None:
    right, wrong = Scored(), Scored(**Scored.fields_of(Regression(score="rms", unit="V")))
    assert (right.best_of([0.1, 0.9]), right.worst_of([0.1, 0.9])) == (0.9, 0.1)
    assert (wrong.best_of([0.1, 0.9]), wrong.worst_of([0.1, 0.9])) == (0.1, 0.9)
    assert (right.number(0.98765), wrong.number(1.23456e-5), right.number(None)) == ("0.9877", "1.235e-05 V", "")
