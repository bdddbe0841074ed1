"""A training run that was killed and resumed ends with the same numbers, bit for bit, without starting over."""

import os
import signal
import subprocess
import sys
import time

import pytest
import torch
from builders import stages, tiny_data, tiny_model

from equilog.hardware import load_spec
from equilog.training import TrainConfig, TrainingInterrupted, fit

CONFIG = TrainConfig(stages=stages(2, 3), batch_size=8)
RRAM = load_spec("rram")

SCRIPT = """
import sys, torch
sys.path.insert(0, sys.argv[1])
from pathlib import Path
from builders import stages, tiny_data, tiny_model
from equilog.hardware import load_spec
from equilog.training import TrainConfig, fit
import time
torch.set_num_threads(1)
def slowly(x, y, generator):
    time.sleep(0.1)
    return x, y
config = TrainConfig(stages=stages(2, 3), batch_size=8)
options = dict(seed=3, state=Path(sys.argv[2]), progress=False, augment=slowly)
fit(tiny_model(), *tiny_data(), load_spec("rram"), config, **options)
"""


def plain(x, y, generator):
    return x, y


def train(state=None, augment=plain, **options):
    model = tiny_model()
    history = fit(model, *tiny_data(), RRAM, CONFIG, seed=3, state=state, progress=False, augment=augment, **options)
    return history, [p.detach().clone() for p in model.parameters()]


@pytest.fixture(scope="module")
def whole():
    return train()


class StopAt:
    """An augmentation that raises at one batch and counts those it sees."""

    def __init__(self, batch, error):
        self.batch, self.error, self.seen = batch, error, 0

    def __call__(self, x, y, generator):
        self.seen += 1
        if self.seen == self.batch:
            raise self.error
        return x, y


def same(a, b):
    return a[0] == b[0] and all(torch.equal(x, y) for x, y in zip(a[1], b[1]))


BATCHES = 3  # 20 samples by 8


@pytest.mark.parametrize("batch", [1, 4, 6, 7, 9, 15])
def test_resumed_after_a_failure_at_any_batch(tmp_path, whole, batch):
    with pytest.raises(OSError, match="power cut"):
        train(tmp_path, StopAt(batch, OSError("power cut")))
    counter = StopAt(10**9, OSError())
    assert same(train(tmp_path, counter), whole)
    finished = (batch - 1) // BATCHES
    assert counter.seen == BATCHES * (CONFIG.epochs - finished)  # the finished epochs are not trained again


def test_ctrl_c_names_the_checkpoint_and_leaves_ctrl_c_working(tmp_path, whole):
    handler = signal.getsignal(signal.SIGINT)
    with pytest.raises(TrainingInterrupted, match=r"last\.ckpt"):
        train(tmp_path, StopAt(8, KeyboardInterrupt()))
    assert signal.getsignal(signal.SIGINT) == handler
    assert same(train(tmp_path), whole)


def test_ctrl_c_in_the_first_epoch_says_that_nothing_was_kept(tmp_path, whole):
    with pytest.raises(TrainingInterrupted, match="no epoch was finished"):
        train(tmp_path, StopAt(2, KeyboardInterrupt()))
    assert same(train(tmp_path), whole)


def test_a_finished_run_is_not_trained_again(tmp_path, whole):
    train(tmp_path)
    counter = StopAt(10**9, OSError())
    assert same(train(tmp_path, counter), whole)
    assert counter.seen == 0


def test_what_happened_between_the_stages_is_kept(tmp_path):
    def note(model, stage):
        return {"noted": 1.5}

    with pytest.raises(OSError, match="power cut"):
        train(tmp_path, StopAt(8, OSError("power cut")), after_stage=note)
    history, _ = train(tmp_path, after_stage=note)
    assert [row.get("noted") for row in history] == [None, 1.5, None, None, 1.5]


def test_keeping_a_state_changes_no_number(tmp_path, whole):
    assert same(train(tmp_path), whole)


@pytest.mark.slow
def test_killed_by_the_system(tmp_path, whole):
    tests = os.path.dirname(os.path.dirname(__file__))
    process = subprocess.Popen([sys.executable, "-c", SCRIPT, tests, str(tmp_path)])
    try:
        deadline = time.monotonic() + 60
        while not (tmp_path / "last.ckpt").exists() and process.poll() is None and time.monotonic() < deadline:
            time.sleep(0.02)
        time.sleep(0.15)
        killed = process.poll() is None
        process.send_signal(signal.SIGKILL)
    finally:
        process.kill()
        process.wait()
    assert killed, "the run was over before the first checkpoint was seen"
    counter = StopAt(10**9, OSError())
    assert same(train(tmp_path, counter), whole)
    assert 0 < counter.seen < BATCHES * CONFIG.epochs
