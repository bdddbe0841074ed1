"""First the ideal model, then a new chip at every step; reproducible, and told row by row."""

import pytest
import torch
from builders import tiny_data, tiny_model

from equilog.hardware import load_spec
from equilog.training import TrainConfig, fit
from equilog.training.randomness import derived_seed, training_chip

RRAM = load_spec("rram")
CONFIG = TrainConfig(epochs_ideal=2, epochs_twin=2, batch_size=8)


def train(config=CONFIG, seed=0, **options):
    model = tiny_model()
    history = fit(model, *tiny_data(), RRAM, config, seed=seed, progress=False, **options)
    return history, [p.detach().clone() for p in model.parameters()]


class Recorded:
    """Chips that the model meets, in order; None for the ideal stage."""

    def __init__(self, monkeypatch):
        self.seeds = []
        model_type = type(tiny_model())
        forward = model_type.forward

        def listening(model, x, chip=None):
            self.seeds.append(None if chip is None else chip.seed)
            return forward(model, x, chip)

        monkeypatch.setattr(model_type, "forward", listening)


def test_a_new_chip_at_every_step_and_the_same_ones_again(monkeypatch):
    met = Recorded(monkeypatch)
    train()
    first = met.seeds.copy()
    assert first[:6] == [None] * 6
    assert len(set(first[6:])) == 6
    assert first[6:] == [training_chip(RRAM, 0, step).seed for step in range(6, 12)]
    met.seeds.clear()
    train()
    assert met.seeds == first
    met.seeds.clear()
    train(seed=1)
    assert not set(met.seeds[6:]) & set(first[6:])


def test_training_chips_are_none_that_people_deploy_on():
    assert min(training_chip(RRAM, seed, step).seed for seed in range(20) for step in range(50)) > 10**6


def test_same_seed_same_numbers_whatever_the_global_generator():
    one = train()
    torch.manual_seed(1234)
    model = tiny_model()
    torch.manual_seed(4321)  # after the initial weights
    history = fit(model, *tiny_data(), RRAM, CONFIG, seed=0, progress=False)
    assert history == one[0]
    assert all(torch.equal(a, b) for a, b in zip(model.parameters(), one[1]))


def test_other_seeds_other_numbers():
    assert train(seed=0)[0] != train(seed=1)[0]


def test_one_row_per_epoch():
    history, _ = train()
    assert [row["epoch"] for row in history] == [0, 1, 2, 3]
    assert [row["stage"] for row in history] == ["ideal", "ideal", "twin", "twin"]
    for row in history:
        assert set(row) == {"epoch", "stage", "loss", "accuracy", "learning_rate"}
        assert row["loss"] > 0
        assert 0 <= row["accuracy"] <= 1
        assert 0 < row["learning_rate"] <= CONFIG.learning_rate
    assert all(round(row["accuracy"] * 20, 9).is_integer() for row in history)


def test_the_loss_falls_on_a_rule_that_can_be_learnt():
    config = TrainConfig(epochs_ideal=30, epochs_twin=10, batch_size=8, learning_rate=0.05)
    history, _ = train(config)
    assert history[29]["loss"] < 0.6 * history[0]["loss"]
    assert history[-1]["accuracy"] >= 0.9


def test_after_ideal_is_called_once_between_the_stages():
    calls = []

    def note(model):
        calls.append(len(calls))
        return {"noted": 2.0}

    history, _ = train(after_ideal=note)
    assert calls == [0]
    assert [row.get("noted") for row in history] == [None, 2.0, None, None]


def test_no_epochs_is_no_training():
    before = [p.detach().clone() for p in tiny_model().parameters()]
    history, after = train(TrainConfig(epochs_ideal=0, epochs_twin=0))
    assert history == []
    assert all(torch.equal(a, b) for a, b in zip(before, after))


@pytest.mark.parametrize(("ideal", "twin", "stages"), [(1, 0, ["ideal"]), (0, 1, ["twin"])])
def test_either_stage_alone(ideal, twin, stages):
    history, _ = train(TrainConfig(epochs_ideal=ideal, epochs_twin=twin))
    assert [row["stage"] for row in history] == stages


def test_every_sample_is_met_once_an_epoch_in_an_order_of_its_own():
    x, y = tiny_data()
    met = []

    def listen(batch, generator):
        met.append(batch.clone())
        return batch

    fit(tiny_model(), x, y, RRAM, CONFIG, progress=False, augment=listen)
    epochs = [torch.cat(met[3 * k : 3 * k + 3]) for k in range(4)]
    for epoch in epochs:
        assert sorted(epoch.tolist()) == sorted(x.tolist())
    assert not torch.equal(epochs[0], epochs[1])


def test_the_augmentation_of_a_step_is_its_own():
    drawn = []

    def listen(batch, generator):
        drawn.append(float(torch.rand(1, generator=generator)))
        return batch

    train(augment=listen)
    first = drawn.copy()
    drawn.clear()
    train(augment=listen)
    assert drawn == first
    assert len(set(first)) == 12


def test_derived_seeds_of_neighbours_are_far_apart_and_fixed():
    seeds = {derived_seed(a, b) for a in range(30) for b in range(30)}
    assert len(seeds) == 900
    assert all(0 <= s < 2**63 for s in seeds)
    assert derived_seed(1, 2) == derived_seed(1, 2)
