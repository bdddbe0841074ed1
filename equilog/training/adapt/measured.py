"""A device's readings on the tape of its twin: values from the device, gradients from the twin at that state."""

from __future__ import annotations

from typing import cast

import torch
from torch import Tensor

from equilog.cells import Activation, AffineSystem
from equilog.devices import Calibration, Device, Settled
from equilog.equilibrium import EquilibriumLayer

SATURATED = 2e-3
"""Slope dz/dp below which a reading says nothing more of p; tanh has it at p = 3.8."""
_HALVINGS = 30


def calibration_of(device: Device) -> Calibration | None:
    """Return the correction that a device applies to its readings, None if there is none."""
    return cast("Calibration | None", getattr(device, "calibration", None))


def plain(read: Tensor, calibration: Calibration | None) -> Tensor:
    """Return readings as they were before the correction."""
    return read if calibration is None else (read - calibration.offset) / calibration.gain


def preactivation(activation: Activation, z: Tensor) -> Tensor:
    """Return ``p = φ⁻¹(z)`` by bisection, for any rising activation.

    A state beyond what φ reaches before it saturates (slope below :data:`SATURATED`) is taken as just saturated:
    further out the reading does not tell p, and to the gradient it no longer matters.

    Args:
        activation: φ.
        z: states, shape ``(batch, n)``.
    """
    bound = torch.full_like(z[:1], 0.5)
    most = z.abs().amax(0, keepdim=True)
    for _ in range(_HALVINGS):
        inside = (activation(bound) < most) | (activation(-bound) > -most)
        steep = torch.maximum(activation.slope(bound), activation.slope(-bound)) > SATURATED
        if not bool((inside & steep).any()):
            break
        bound = torch.where(inside & steep, 2 * bound, bound)
    low, high = (-bound).expand_as(z), bound.expand_as(z)
    for _ in range(_HALVINGS):
        middle = (low + high) / 2
        above = activation(middle) < z
        low, high = torch.where(above, middle, low), torch.where(above, high, middle)
    return (low + high) / 2


def on_tape(
    equilibrium: EquilibriumLayer, system: AffineSystem, settled: Settled, calibration: Calibration | None
) -> Tensor:
    """Return the device's readings, differentiable as if the twin had come to rest where the device did.

    Args:
        equilibrium: whose gradient is used.
        system: the twin's equations under the drives that were settled.
        settled: what the device reported; pre-activations that it could not see are inferred from its readings.
        calibration: in force when it did.

    Returns:
        ``settled.read`` in value and in the twin's precision, shape ``(batch, n)``. What a converter's rounding,
        bows and clipping do to the gradient is left out.
    """
    p = seen(system.activation, settled, calibration).to(system.injection.dtype)
    z = system.activation(equilibrium.rest_at(system, p))
    read = settled.read.to(z.dtype)
    if calibration is not None:
        z = calibration.gain.to(z.dtype) * z
    return z + (read - z).detach()


@torch.no_grad()
def seen(activation: Activation, settled: Settled, calibration: Calibration | None) -> Tensor:
    """Return pre-activations as the device saw them, or what its readings say of them where it could not."""
    p = settled.p
    if bool(p.isfinite().all()):
        return p
    return torch.where(p.isfinite(), p, preactivation(activation, plain(settled.read, calibration)))
