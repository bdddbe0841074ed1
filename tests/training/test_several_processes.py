"""Several processes give what one gives: same rows, same weights, to rounding."""

import pytest
import torch
from builders import stages, tiny_data, tiny_model

from equilog.hardware import load_spec
from equilog.training import TrainConfig, fit
from equilog.training.share import Share

RRAM = load_spec("rram")


def shift(x, y, generator):
    return x + 0.1 * torch.rand(x.shape, generator=generator), y


class Note:
    def __call__(self, model, stage):
        return {"noted": float(model.readout.bias.detach().sum())}


def train(processes, state=None, samples=17):
    model = tiny_model()
    x, y = tiny_data(samples)
    config = TrainConfig(stages=stages(1, 2), batch_size=8)
    options = {"seed": 3, "augment": shift, "after_stage": Note(), "state": state, "progress": False}
    rows = fit(model, x, y, RRAM, config, processes=processes, **options)
    return rows, model


@pytest.mark.slow
def test_two_processes_are_one(tmp_path):
    # 17 samples in batches of 8: of the last batch, one process has nothing.
    (rows, model), (alone_rows, alone) = train(2, tmp_path), train(1)
    assert [row.keys() for row in rows] == [row.keys() for row in alone_rows]
    for row, expected in zip(rows, alone_rows):
        assert row["stage"] == expected["stage"]
        assert {**row, "stage": 0} == pytest.approx({**expected, "stage": 0}, rel=1e-5)
    for p, expected in zip(model.parameters(), alone.parameters()):
        torch.testing.assert_close(p, expected, rtol=1e-4, atol=1e-6)
    # What several began, and finished, one reads.
    again, _ = train(2, tmp_path)
    assert again == rows


@pytest.mark.parametrize("batch", [1, 2, 5, 8])
@pytest.mark.parametrize("processes", [1, 2, 3])
def test_shares_are_the_batch_and_average_to_its_mean(batch, processes):
    x = torch.randn(batch, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    shares = [Share.of(batch, rank, processes) for rank in range(processes)]
    assert sum(share.samples for share in shares) == batch
    mean = sum(share.weight * x[share.rows].mean() for share in shares) / processes
    torch.testing.assert_close(mean, x.mean())


def test_no_process_is_refused():
    with pytest.raises(ValueError, match="processes = 0"):
        fit(tiny_model(), *tiny_data(), RRAM, processes=0, progress=False)
