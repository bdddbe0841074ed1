"""A transfer wins back what a bad chip lost, says what it did, and goes on after a kill with the same numbers."""

import signal

import pytest
import torch
from adapt_cases import MISMATCHED, Blind, chip, data, model
from hypothesis import given, settings
from hypothesis import strategies as st

from equilog.devices import DigitalDevice, run_on
from equilog.hardware import Chip
from equilog.names import UserError
from equilog.objective import Classification
from equilog.training import NotFiniteError, TrainingInterrupted
from equilog.training.adapt import AdaptConfig, CalibrationWarning, adapt, refit

BAD = MISMATCHED.changed(
    crossbar={"programming_sigma": {"coefficients_siemens": [0.2 * 4e-5], "source": "20 % of g_max"}}
)
QUICK = AdaptConfig(epochs=3, batch_size=32, identify_settles=40)


def accuracy(ours, device, x, y):
    return float((run_on(ours, device, x).argmax(1) == y).float().mean())


def transfer(config=QUICK, device=None, state=None, ours=None, spec=MISMATCHED, **options):
    ours = ours or model()
    device = device or Blind(chip(1, spec))
    rows = adapt(ours, device, *data(model()), config, twin=spec, seed=3, state=state, progress=False, **options)
    return rows, [p.detach().clone() for p in ours.parameters()], ours, device


def same(a, b):
    return a[0] == b[0] and all(torch.equal(x, y) for x, y in zip(a[1], b[1]))


@pytest.mark.parametrize("train", ["readout", "digital", "all"])
def test_wins_back_most_of_what_a_bad_chip_lost(train):
    x, y = data(model(), 256)
    test_x, test_y = data(model(), 400, seed=6)
    ours, device = model(), Blind(Chip(BAD, 2))
    device.program(ours.cell)
    lost = 1 - accuracy(ours, device, test_x, test_y)
    before = [p.detach().clone() for p in ours.cell.parameters()]
    adapt(ours, device, x, y, AdaptConfig(train=train, epochs=4), twin=BAD, progress=False)
    won = accuracy(ours, device, test_x, test_y) - (1 - lost)
    assert lost > 0.1
    assert won > 0.7 * lost
    assert all(torch.equal(a, b) for a, b in zip(before, ours.cell.parameters())) == (train != "all")


def test_rows_say_what_was_done_and_what_it_took():
    rows, _, _, device = transfer(QUICK.model_copy(update={"train": "all"}))
    assert [row["stage"] for row in rows] == ["calibrate", "identify", "refit"] + ["fine-tune"] * 3
    assert rows[1]["rms_after"] < 0.3 * rows[1]["rms_before"]
    assert rows[-1]["settles"] == device.settled
    assert rows[-1]["programmed"] == device.programmed == 1 + 3 * (3 + 1)  # steps, and the end of every epoch


def test_weights_that_stay_are_programmed_once():
    for train in ("digital", "readout"):
        rows, _, _, device = transfer(QUICK.model_copy(update={"train": train}))
        assert rows[-1]["programmed"] == device.programmed == 1


def test_the_device_is_left_with_the_weights_that_were_learnt():
    _, _, ours, device = transfer()
    now = device.layer.target
    device.program(ours.cell)
    assert torch.equal(now, device.layer.target)


def test_ideal_cell_as_twin_and_nothing_but_fine_tuning():
    config = AdaptConfig(epochs=2, calibrate=False, refit_readout=False)
    ours, device = model(), Blind(chip())
    rows = adapt(ours, device, *data(model()), config, progress=False)
    assert [row["stage"] for row in rows] == ["fine-tune"] * 2
    assert device.calibration is None


def test_identification_needs_a_technology():
    with pytest.raises(UserError, match="identify_settles: 0"):
        adapt(model(), DigitalDevice(), *data(model()), AdaptConfig(identify_settles=5), progress=False)


def test_a_node_that_cannot_be_calibrated_is_no_reason_to_give_up():
    class Dead(Blind):
        def settle(self, drive):
            settled = super().settle(drive)
            settled.read[:, 2] = 0.25
            return self.corrected(settled)

    config = AdaptConfig(epochs=1, identify_settles=0)
    with pytest.warns(CalibrationWarning, match="node 2"):
        rows, *_ = transfer(config, Dead(chip()))
    assert rows[-1]["stage"] == "fine-tune"


def test_a_reading_that_is_no_number_is_named():
    class Broken(Blind):
        def settle(self, drive):
            settled = super().settle(drive)
            settled.read[0, 1] = torch.nan
            return settled

    with pytest.raises(NotFiniteError, match="readings of twin"):
        transfer(AdaptConfig(calibrate=False, identify_settles=0), Broken(chip()))


def test_dropout_is_off_while_a_device_is_in_the_loop_and_on_again_after():
    ours = model()
    ours.parameterize = torch.nn.Sequential(*ours.parameterize, torch.nn.Dropout(0.9))
    ours.train()
    ours.readout.eval()
    once, twice = (transfer(ours=each)[1] for each in (ours, _copy(ours)))
    assert all(torch.equal(a, b) for a, b in zip(once, twice))
    assert ours.parameterize.training
    assert not ours.readout.training


def _copy(ours):
    again = model()
    again.parameterize = torch.nn.Sequential(*again.parameterize, torch.nn.Dropout(0.9))
    return again


@pytest.fixture(scope="module")
def wholes():
    return {train: transfer(QUICK.model_copy(update={"train": train})) for train in ("all", "digital")}


# 96 settles to calibrate, 40 + 64 to identify and check, 96 to refit, 96 an epoch.
@pytest.mark.parametrize(
    ("settles", "train"), [(50, "all"), (120, "all"), (250, "digital"), (300, "all"), (500, "all")]
)
def test_resumed_after_a_failure_anywhere(tmp_path, wholes, settles, train):
    config = QUICK.model_copy(update={"train": train})
    whole = wholes[train]
    with pytest.raises(OSError, match="power cut"):
        transfer(config, Blind(chip()).stopping(settles, OSError("power cut")), tmp_path)
    rest = Blind(chip())
    assert same(transfer(config, rest, tmp_path), whole)
    assert rest.settled < whole[3].settled or settles == 50
    assert torch.equal(rest.layer.target, whole[3].layer.target)
    assert torch.equal(rest.calibration.gain, whole[3].calibration.gain)


def test_ctrl_c_names_the_state_and_leaves_ctrl_c_working(tmp_path, wholes):
    handler = signal.getsignal(signal.SIGINT)
    with pytest.raises(TrainingInterrupted, match=r"adapt\.pt"):
        transfer(device=Blind(chip()).stopping(450, KeyboardInterrupt()), state=tmp_path)
    assert signal.getsignal(signal.SIGINT) == handler
    with pytest.raises(TrainingInterrupted, match="nothing was finished"):
        transfer(device=Blind(chip()).stopping(10, KeyboardInterrupt()), state=tmp_path / "other")
    assert same(transfer(state=tmp_path), wholes["all"])


def test_a_finished_transfer_is_not_done_again(tmp_path):
    whole = transfer(state=tmp_path)
    idle = Blind(chip())
    assert same(transfer(device=idle, state=tmp_path), whole)
    assert idle.settled == 0


def test_the_state_of_another_transfer_is_refused_and_so_is_a_torn_one(tmp_path):
    transfer(state=tmp_path)
    with pytest.raises(UserError, match="other settings"):
        transfer(QUICK.model_copy(update={"learning_rate": 0.1}), state=tmp_path)
    (tmp_path / "adapt.pt").write_bytes(b"torn")
    with pytest.raises(UserError, match="remove it to begin anew"):
        transfer(state=tmp_path)


def test_only_so_many_samples_are_used():
    _, _, _, device = transfer(AdaptConfig(samples=20, epochs=1, identify_settles=0))
    assert device.settled == 20 * 3  # calibrate, refit, one epoch


def test_another_seed_is_another_order():
    a = adapt(model(), Blind(chip()), *data(model()), QUICK, twin=MISMATCHED, seed=1, progress=False)
    b = adapt(model(), Blind(chip()), *data(model()), QUICK, twin=MISMATCHED, seed=2, progress=False)
    assert a[-1]["loss"] != b[-1]["loss"]


@settings(max_examples=10)
@given(st.integers(0, 100))
def test_a_refitted_readout_is_never_worse(seed):
    torch.manual_seed(seed)
    states, y, readout = torch.randn(40, 5), torch.randint(3, (40,)), torch.nn.Linear(5, 3)
    goal = Classification(0.05)
    before = float(goal.loss(readout(states), y).detach())
    assert refit(readout, states, y, goal) <= before
    assert all(p.grad is None for p in readout.parameters())


def test_a_readout_without_parameters_stays():
    assert refit(torch.nn.Identity(), torch.eye(3), torch.arange(3), Classification()) > 0


def test_with_a_bar(capsys):
    adapt(model(), Blind(chip()), *data(model()), AdaptConfig(epochs=1, identify_settles=0), twin=MISMATCHED)
    assert capsys.readouterr().out == ""


def test_unknown_settings_are_refused():
    with pytest.raises(ValueError, match="train"):
        AdaptConfig(train="everything")
