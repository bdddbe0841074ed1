"""How several processes share a batch, so that their mean gradient is that of one process with all of it."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Share:
    """The part of a batch that one of several processes computes.

    Attributes:
        rows: which samples.
        samples: how many of them count.
        weight: of this process's mean loss: processes average their gradients, whatever their shares.
    """

    rows: slice
    samples: int
    weight: float

    @classmethod
    def of(cls, batch: int, rank: int, processes: int) -> Share:
        """Return every so-manieth sample, beginning with the rank's own.

        A process for which nothing is left computes the first sample with weight 0: all must take part in the step.
        """
        samples = len(range(rank, batch, processes))
        if samples == 0:
            return cls(slice(0, 1), 0, 0.0)
        return cls(slice(rank, None, processes), samples, samples * processes / batch)
