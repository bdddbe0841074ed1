"""A device's readings made right: one gain and one offset a node, from drives whose answers are known.

What sits between a resting node and its number (a probe, a buffer, an ADC) is nearly linear and stays the same from
sample to sample: two numbers a node undo it. What it cannot undo: errors of the circuit itself that depend on the
drive, clipping, and noise.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

STILL = 1e-6
"""A node whose readings spread less than this, in units of the state, has shown nothing of its gain."""


@dataclass(frozen=True)
class Calibration:
    """The correction ``gain · reading + offset`` of every node.

    Attributes:
        gain: shape ``(n,)``; 1 of an ideal device.
        offset: in units of the state, shape ``(n,)``; 0 of an ideal device.
        residual: rms of what the correction leaves at the known drives, in units of the state, shape ``(n,)``.
    """

    gain: Tensor
    offset: Tensor
    residual: Tensor

    @classmethod
    def fit(cls, reading: Tensor, expected: Tensor) -> Calibration:
        """Return the gains and offsets that bring readings closest to what they should be, by least squares.

        Args:
            reading: what the device said, shape ``(batch, n)``.
            expected: what it should have said, same shape.

        Raises:
            ValueError: for other shapes, fewer than two samples, numbers that are not finite, a node that does not
                move with the drives, or one that falls where it should rise.
        """
        if reading.ndim != 2 or reading.shape != expected.shape or len(reading) < 2:
            raise ValueError(
                f"readings {tuple(reading.shape)} against expected states {tuple(expected.shape)}: "
                "expected (batch, n) twice, with two drives or more"
            )
        x, y = reading.detach().double(), expected.detach().double()
        for name, value in (("reading", x), ("expected state", y)):
            if not bool(value.isfinite().all()):
                sample, node = (int(k) for k in (~value.isfinite()).nonzero()[0])
                raise ValueError(f"the {name} of node {node}, sample {sample}, is {float(value[sample, node])}")
        for name, value in (("reads", x), ("should be", y)):
            spread = value.amax(0) - value.amin(0)
            if bool((spread < STILL).any()):
                node = int(spread.argmin())
                raise ValueError(
                    f"node {node} {name} {float(value[0, node]):.6g} under all {len(x)} drives: its gain cannot be "
                    "told; calibrate with drives that move every node"
                )
        a, b = x - x.mean(0), y - y.mean(0)
        gain = (a * b).sum(0) / (a * a).sum(0)
        if bool((gain <= 0).any()):
            node = int(gain.argmin())
            raise ValueError(
                f"node {node} has gain {float(gain[node]):.3g}: it falls where it should rise; "
                "look for a swapped polarity, or channels in another order"
            )
        offset = y.mean(0) - gain * x.mean(0)
        return cls(gain, offset, (gain * x + offset - y).square().mean(0).sqrt())

    def apply(self, reading: Tensor) -> Tensor:
        """Return corrected readings, shape ``(batch, n)``; raises ``ValueError`` for another number of nodes."""
        if reading.shape[-1] != len(self.gain):
            raise ValueError(
                f"calibrated for {len(self.gain)} nodes, but the device reads {reading.shape[-1]}: calibrate it again"
            )
        return self.gain * reading + self.offset

    def __str__(self) -> str:
        rows = zip(self.gain.tolist(), self.offset.tolist(), self.residual.tolist())
        table = [f"{i:>4}  {g:>10.6f}  {o:>+10.2e}  {r:>8.1e}" for i, (g, o, r) in enumerate(rows)]
        return "\n".join([f"{'node':>4}  {'gain':>10}  {'offset':>10}  {'residual':>8}", *table])


def spanning_drives(channels: int, levels: int = 3, size: float = 0.8) -> Tensor:
    """Return drives to calibrate with, shape ``(1 + channels (levels − 1), channels)``, float64.

    None at all, then each channel alone from −size to size; every node that a drive reaches moves.

    Raises:
        ValueError: for no channel, fewer than two levels, or a size that is not in (0, 1].
    """
    if channels < 1 or levels < 2 or not 0 < size <= 1:
        raise ValueError(f"channels = {channels}, levels = {levels}, size = {size}: expected ≥ 1, ≥ 2 and in (0, 1]")
    steps = torch.linspace(-size, size, levels, dtype=torch.float64)
    alone = [step * row for row in torch.eye(channels, dtype=torch.float64) for step in steps if step != 0]
    return torch.stack([torch.zeros(channels, dtype=torch.float64), *alone])
