"""Energy: what one inference takes on the chip."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from equilog.cost.analog import activation_watt, amplifier_watt, sample_watt
from equilog.hardware.quantise import half_code
from equilog.hardware.twin import TwinState
from equilog.training.losses.response import one_chip
from equilog.training.losses.settling import settling_second


class Energy(nn.Module):
    """``P (t_DAC + t_settle + t_ADC) + m E_DAC + n E_ADC``, mean over samples.

    Unit: joule. P is the power of amplifiers and activations, the same for all weights, and of the crossbar and R_f
    (:mod:`equilog.cost.analog`, typical values); t_settle is predicted
    (:func:`~equilog.training.losses.settling.settling_second`) to half a code of the ADC, as if a detector ended every
    inference when it is at rest. The digital ends are not in it.

    A chip of 32 neurons and 16 drives takes about 3 nJ in rram: ``λ = 1e7`` adds 0.01 to the loss for a nanojoule.
    What lowers it: a smaller largest weight (R_f, and with it τ, is proportional to it), less conductance beside it
    (array power, noise gain), and a faster network. Populations are refused.

    Args:
        samples: of the batch, chosen at random, that are looked at.

    Raises:
        ValueError: for less than one sample; when called, for a population.
    """

    def __init__(self, samples: int = 16) -> None:
        super().__init__()
        if samples < 1:
            raise ValueError(f"samples = {samples}: expected 1 or more")
        self.samples = samples

    def forward(self, state: TwinState, generator: torch.Generator | None = None) -> Tensor:
        """Return the energy, a scalar on the tape.

        Args:
            state: a batch at rest on one chip.
            generator: chooses the samples; PyTorch's own unless given.
        """
        one_chip(state)
        layer, spec = state.layer, state.layer.spec
        some = torch.randperm(len(state.p), generator=generator)[: self.samples]
        converting = float(spec.dac.conversion_second + spec.adc.conversion_second)
        second = settling_second(state, half_code(spec), some) + converting
        p = state.p[some]
        watt = sample_watt(layer, p, state.system.activation(p), state.played[some])
        watt = watt + (amplifier_watt(layer) + activation_watt(layer)).typical
        converted = layer.drives * float(spec.dac.energy_joule) + layer.states * float(spec.adc.energy_joule)
        return (watt * second).mean() + converted
