"""Robustness: how far the resting states of one chip are expected to lie from those of another."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from equilog.hardware.noise import draw_noise
from equilog.hardware.twin import TwinState
from equilog.training.losses.displacement import mismatch
from equilog.training.losses.response import probed


class Robustness(nn.Module):
    """``E‖δz‖²/n`` under mismatch and noise of the technology, mean over the batch; its root is the rms of a state.

    Unit: the state squared, 1 being V_s². Mismatch: an estimate without bias of
    :func:`~equilog.training.losses.displacement.expected_displacement` by one probe of random signs a sample, that is
    one adjoint solve (:mod:`equilog.training.losses.response`). Noise: the mean square of what
    :func:`~equilog.hardware.noise.draw_noise` draws, low by less than a few per cent of itself.

    First order: it holds for mismatch that moves states by little, and tells nothing of stuck devices. Populations are
    refused.

    Args:
        noise_samples: samples of the batch, chosen at random, for which noise is drawn, the costlier part; 0 for none.
            On most technologies noise is orders below mismatch.

    Raises:
        ValueError: for a negative number of samples; when called, for a population.
    """

    def __init__(self, noise_samples: int = 4) -> None:
        super().__init__()
        if noise_samples < 0:
            raise ValueError(f"noise_samples = {noise_samples}: expected 0 or more")
        self.noise_samples = noise_samples

    def forward(self, state: TwinState, generator: torch.Generator | None = None) -> Tensor:
        """Return the estimate, a scalar on the tape.

        Args:
            state: a batch at rest on one chip.
            generator: of the probes and the noise; PyTorch's own unless given.
        """
        value = torch.stack(mismatch(state, probed(state, generator))).sum(0).mean() / state.layer.states
        if not self.noise_samples:
            return value
        some = torch.randperm(len(state.p), generator=generator)[: self.noise_samples]
        v_a = float(state.layer.spec.activation.v_scale_volt)
        return value + draw_noise(state.layer, state.p[some] * v_a, generator).square().mean()
