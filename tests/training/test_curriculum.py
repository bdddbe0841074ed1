"""Stage after stage, a new chip at every step; reproducible, and told row by row."""

import math

import pytest
import torch
from builders import stages, tiny_data, tiny_model

from equilog.hardware import Chip, load_spec
from equilog.model import HybridDEQ
from equilog.names import UserError
from equilog.training import CURRICULA, Stage, TrainConfig, curriculum, fit
from equilog.training.curriculum import full, stretched
from equilog.training.losses import LOSSES
from equilog.training.losses.robustness import Robustness
from equilog.training.randomness import derived_seed, training_chip

RRAM = load_spec("rram")
CONFIG = TrainConfig(stages=stages(2, 2), batch_size=8)


def train(config=CONFIG, seed=0, **options):
    model = tiny_model()
    history = fit(model, *tiny_data(), RRAM, config, seed=seed, progress=False, **options)
    return history, [p.detach().clone() for p in model.parameters()]


class Recorded:
    """What the model meets, in order: the programmed layer, None for the ideal model."""

    def __init__(self, monkeypatch):
        self.layers = []
        model_type = type(tiny_model())
        forward, on_chip = model_type.forward, model_type.on_chip

        def listening(model, x, chip=None):
            self.layers.append(None)
            return forward(model, x, chip)

        def listening_on_chip(model, drive, layer):
            self.layers.append(layer)
            return on_chip(model, drive, layer)

        monkeypatch.setattr(model_type, "forward", listening)
        monkeypatch.setattr(model_type, "on_chip", listening_on_chip)

    @property
    def seeds(self):
        return [None if layer is None else layer.seed for layer in self.layers]


def test_a_new_chip_at_every_step_and_the_same_ones_again(monkeypatch):
    met = Recorded(monkeypatch)
    train()
    first = met.seeds
    assert first[:6] == [None] * 6
    assert len(set(first[6:])) == 6
    assert first[6:] == [training_chip(RRAM, 0, step).seed for step in range(6, 12)]
    met.layers.clear()
    train()
    assert met.seeds == first
    met.layers.clear()
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
    config = TrainConfig(stages=stages(30, 10), batch_size=8, learning_rate=0.05)
    history, _ = train(config)
    assert history[29]["loss"] < 0.6 * history[0]["loss"]
    assert history[-1]["accuracy"] >= 0.9


def test_after_stage_is_called_at_the_end_of_each():
    calls = []

    def note(model, stage):
        calls.append(stage)
        return {"noted": len(calls)}

    history, _ = train(after_stage=note)
    assert calls == ["ideal", "twin"]
    assert [row.get("noted") for row in history] == [None, 1, None, 2]


def test_no_epochs_is_no_training():
    before = [p.detach().clone() for p in tiny_model().parameters()]
    history, after = train(TrainConfig(stages=stages(0, 0)))
    assert history == []
    assert all(torch.equal(a, b) for a, b in zip(before, after))


@pytest.mark.parametrize(("ideal", "twin", "met"), [(1, 0, ["ideal"]), (0, 1, ["twin"])])
def test_either_stage_alone(ideal, twin, met):
    history, _ = train(TrainConfig(stages=stages(ideal, twin)))
    assert [row["stage"] for row in history] == met


def on_chips(monkeypatch, seed=0, epochs=2, spec=RRAM, **asked):
    """Return what one stage on chips meets."""
    met = Recorded(monkeypatch)
    config = TrainConfig(stages={"only": Stage(epochs=epochs, twin=True, **asked)}, batch_size=8)
    fit(tiny_model(), *tiny_data(), spec, config, seed=seed, progress=False)
    return met.layers


def test_a_ramp_climbs_to_the_technology_itself(monkeypatch):
    layers = on_chips(monkeypatch, ramp=True)
    sigma = [float(layer.spec.activation.gain_sigma) for layer in layers]
    bits = [int(layer.spec.adc.bits) for layer in layers]
    assert sigma == sorted(sigma)
    assert 0 < sigma[0] < 0.2 * sigma[-1]
    assert bits == sorted(bits, reverse=True)
    assert layers[-1].spec == RRAM


def test_only_the_effects_asked_for(monkeypatch):
    layers = on_chips(monkeypatch, effects=("programming-error",))
    assert all(not layer.spec.activation.gain_sigma for layer in layers)
    assert all(not layer.amp_offset_volt.any() for layer in layers)
    assert all(layer.spec.crossbar.programming_sigma is not None for layer in layers)


def test_ages_and_temperatures_spread_over_what_was_asked_for(monkeypatch):
    span = dict(max_age_second=1e6, temperature_kelvin=(290.0, 330.0))
    when = [layer.conditions for layer in on_chips(monkeypatch, epochs=20, **span)]
    ages = torch.tensor([c.age_second for c in when]).log10()
    kelvin = torch.tensor([c.temperature_kelvin for c in when])
    assert 0 <= ages.min() < 1
    assert 5 < ages.max() <= 6
    assert abs(ages.mean() - 3) < 0.75
    assert 290 <= kelvin.min() < 295
    assert 325 < kelvin.max() <= 330
    monkeypatch.undo()
    assert [layer.conditions for layer in on_chips(monkeypatch, epochs=20, **span)] == when


def test_reads_are_noisy_only_if_asked_for(monkeypatch):
    assert all(layer.conditions.reads is None for layer in on_chips(monkeypatch))
    monkeypatch.undo()
    assert all(layer.conditions.reads is not None for layer in on_chips(monkeypatch, reads=True))


@pytest.mark.parametrize("asked", [{"thermal_noise": True}, {"reads": True}, {"ramp": True}])
def test_every_stage_is_reproducible(asked):
    config = TrainConfig(stages={"only": Stage(epochs=2, twin=True, **asked)}, batch_size=8)
    plain = TrainConfig(stages={"only": Stage(epochs=2, twin=True)}, batch_size=8)

    def rows(config):
        return fit(
            tiny_model(), *tiny_data(), load_spec("pcm").changed(crossbar={"wires": None}), config, progress=False
        )

    assert rows(config) == rows(config)
    assert rows(config) != rows(plain)


@pytest.mark.parametrize("name", LOSSES)
def test_a_regulariser_is_reported_and_lowered(name):
    # Weighted as heavily as this, it is all that training sees.
    def last(weight):
        stage = Stage(epochs=8, twin=True, losses={name: weight}) if weight else Stage(epochs=8, twin=True)
        model = tiny_model()
        row = fit(model, *tiny_data(), RRAM, TrainConfig(stages={"only": stage}, batch_size=8), progress=False)[-1]
        torch.manual_seed(0)
        chips = [model.on_chip(model.parameterize(tiny_data()[0]), Chip(RRAM, k)) for k in range(20)]
        made = LOSSES[name]()
        return row, sum(float(made(state, None).detach()) for state in chips) / 20

    row, lowered = last(1e3)
    assert row[name] > 0 or name == "stability"
    plain, usual = last(0)
    assert name not in plain
    assert lowered < usual or (name == "stability" and usual == 0)


def test_stages_can_be_stretched():
    assert sum(s.epochs for s in stretched(full(120), 7).values()) == 7
    assert {k: s.epochs for k, s in stretched(full(120), 12).items()} == {"ideal": 4, "ramp": 2, "twin": 6}
    assert stretched(stages(0, 0), 3) == {"ideal": Stage(epochs=3)}


def test_stability_is_asked_for_on_chips_alone():
    plain, kept = full(12), full(12, stability=0.5)
    assert kept["ideal"] == plain["ideal"]
    for name in ("ramp", "twin"):
        assert "stability" not in plain[name].losses
        assert kept[name].losses == {**plain[name].losses, "stability": 0.5}


@pytest.mark.parametrize("name", CURRICULA)
@pytest.mark.parametrize("epochs", [0, 1, 5, 120])
def test_a_curriculum_has_the_epochs_it_was_given(name, epochs):
    assert sum(stage.epochs for stage in curriculum(name, epochs).values()) == epochs


def test_an_unknown_curriculum_names_the_nearest():
    with pytest.raises(UserError, match="did you mean 'ideal-then-twin'"):
        curriculum("ideal-then-twins", 3)


def test_every_sample_is_met_once_an_epoch_in_an_order_of_its_own():
    x, y = tiny_data()
    met = []

    def listen(batch, targets, generator):
        met.append(batch.clone())
        return batch, targets

    fit(tiny_model(), x, y, RRAM, CONFIG, progress=False, augment=listen)
    epochs = [torch.cat(met[3 * k : 3 * k + 3]) for k in range(4)]
    for epoch in epochs:
        assert sorted(epoch.tolist()) == sorted(x.tolist())
    assert not torch.equal(epochs[0], epochs[1])


def test_targets_are_varied_with_their_inputs():
    x, y = tiny_data()
    turned, _ = train(augment=lambda batch, targets, generator: (batch, 1 - targets))
    assert turned != train()[0]
    assert fit(tiny_model(), x, 1 - y, RRAM, CONFIG, progress=False) == turned


def test_the_augmentation_of_a_step_is_its_own():
    drawn = []

    def listen(batch, targets, generator):
        drawn.append(float(torch.rand(1, generator=generator)))
        return batch, targets

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


@pytest.mark.parametrize("chip", [None, 3])
def test_autocast_reaches_the_ends_but_not_the_equilibrium(chip):
    model, (x, _) = tiny_model(), tiny_data()
    on = None if chip is None else Chip(RRAM, chip)
    with torch.autocast("cpu", torch.bfloat16):
        output = model(x, on)
    assert output.dtype is torch.bfloat16
    torch.testing.assert_close(output.float(), model(x, on), rtol=0.05, atol=0.05)


def test_bfloat16_trains_the_ends_alone(monkeypatch):
    seen, solved = set(), set()
    real = HybridDEQ.on_chip

    def listen(self, drive, chip):
        state = real(self, drive, chip)
        seen.add(drive.dtype)
        solved.add(state.p.dtype)
        return state

    monkeypatch.setattr(HybridDEQ, "on_chip", listen)
    _, single = train(CONFIG)
    assert seen == {torch.float32}
    seen.clear()
    history, half = train(CONFIG.model_copy(update={"precision": "bfloat16"}))
    assert (seen, solved) == ({torch.bfloat16}, {torch.float32})
    assert all(p.dtype is torch.float32 for p in half)
    assert all(math.isfinite(row["loss"]) for row in history)
    for one, other in zip(single, half):
        assert not torch.equal(one, other)
        torch.testing.assert_close(one, other, rtol=0.1, atol=0.05)


def test_regularisers_at_every_third_step_weigh_three_times_as_much(monkeypatch):
    asked, gradients = [], []

    def constant(self, state, generator):
        asked.append(state.layer.seed)
        value = state.p.sum() * 0 + 2.0
        value.register_hook(lambda grad: gradients.append(float(grad)))
        return value

    monkeypatch.setattr(Robustness, "forward", constant)
    twin = Stage(epochs=3, twin=True, losses={"robustness": 5.0}, losses_every=3)
    history, _ = train(TrainConfig(stages={"ideal": Stage(epochs=1), "twin": twin}, batch_size=8))
    # Three steps an epoch: 3 to 11 meet chips, and every third from the stage's first is asked.
    assert asked == [training_chip(RRAM, 0, step).seed for step in (3, 6, 9)]
    assert gradients == [15.0] * 3
    assert [row.get("robustness") for row in history] == [None, 2.0, 2.0, 2.0]


def test_a_passing_chip_is_its_seed_and_no_two_draws_are_alike():
    chip, again, other = (training_chip(RRAM, 0, step) for step in (5, 5, 6))
    first = chip.standard_normal("crossbar.programming", 4, 50)
    assert torch.equal(first, again.standard_normal("crossbar.programming", 4, 50))
    for unlike in (other.standard_normal("crossbar.programming", 4, 50), chip.standard_normal("drift", 4, 50)):
        assert abs(float(torch.corrcoef(torch.stack([first.flatten(), unlike.flatten()]))[0, 1])) < 0.25
    many = chip.standard_normal("many", 100_000)
    assert abs(float(many.mean())) < 0.02
    assert float(many.std()) == pytest.approx(1, abs=0.02)
    assert 0.49 < float(chip.uniform("many", 100_000).mean()) < 0.51
