"""A small chip with large errors, and machines that do not show all that they do."""

from dataclasses import replace

import torch
from builders import spec_with
from torch import nn

from equilog.cells import CircuitCell
from equilog.devices import TwinDevice
from equilog.hardware import Chip
from equilog.model import HybridDEQ

G_MAX = 4e-5
MISMATCHED = spec_with(
    "rram",
    {
        "crossbar.levels": None,
        "crossbar.relaxation": None,
        "crossbar.g_min_siemens": 8e-6,  # four standard deviations: no device falls to zero
        "crossbar.programming_sigma": {"coefficients_siemens": [0.05 * G_MAX], "source": "5 % of g_max"},
        "amplifier.rail_volt": None,
    },
)


class Blind(TwinDevice):
    """A chip whose pre-activations cannot be seen, only states through its converter; counts what is asked of it."""

    def __init__(self, chip, **options):
        super().__init__(chip, stability="none", **options)
        self.settled = self.programmed = 0
        self.stop_at = None

    def program(self, cell):
        self.programmed += 1
        super().program(cell)

    def settle(self, drive):
        self.settled += len(drive)
        if self.stop_at is not None and self.settled >= self.stop_at:
            raise self.stop_at_with
        settled = super().settle(drive)
        return replace(settled, p=torch.full_like(settled.p, torch.nan), z=torch.full_like(settled.z, torch.nan))

    def stopping(self, settles, error):
        self.stop_at, self.stop_at_with = settles, error
        return self


def chip(seed=1, spec=MISMATCHED):
    return Chip(spec, seed)


def model(seed=0, states=8, drives=4, classes=3):
    torch.manual_seed(seed)
    return HybridDEQ(
        nn.Sequential(nn.Linear(6, drives), nn.Tanh()), CircuitCell(states, drives), nn.Linear(states, classes)
    )


def data(of, samples=96, seed=5):
    """Inputs, and as labels what an ideal model says of them: it is right everywhere, its chips are not."""
    x = 2 * torch.randn(samples, 6, generator=torch.Generator().manual_seed(seed))
    with torch.no_grad():
        logits = of(x)
    return x, (logits - logits.mean(0)).argmax(1)
