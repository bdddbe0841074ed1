"""The test bench: one model and one set of samples, and any number of chips that are put in.

Nothing that does not depend on the chip is done twice: the digital parameterization runs once for all. Chips are
settled together by the chord method, which serves a whole population with one factorisation a chip and one batched
product a step. In float64: float32 is three times faster and moves one reading in 10⁵ by a code; here every reading is
the one that :class:`~equilog.devices.TwinDevice` reports of the same chip, whatever its neighbours in the chunk.
"""

from __future__ import annotations

import time
import zlib
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from equilog.cells.curve import outside
from equilog.equilibrium import EquilibriumLayer
from equilog.equilibrium.solvers import Chord
from equilog.hardware import Chip, Conditions, ProgrammedLayer, Spec, program_cell
from equilog.hardware.curve import activation_of
from equilog.hardware.rest import STEEPEST
from equilog.hardware.twin import adc, dac, static_system
from equilog.model import HybridDEQ, samples_at_once
from equilog.objective import Objective
from equilog.yields.population import population
from equilog.yields.rows import ChipRow, Standing
from equilog.yields.settings import StudyConfig
from equilog.yields.settling import Samples, Watched, mean_and_worst, watch

# Size of one array of states (chips × samples × n, float64) that measures best: the ten or so that a solver keeps alive
# stay in the cache, and below 200 MB at any n up to 512.
_ARRAY_BYTES = 2**21
# Chips of a chunk: enough for the twin in time to be quick about all of them, and few enough for an interruption.
_MOST_CHIPS, _CHUNK_STATES, _WATCHED_STATES = 32, 2**11, 2**15
# States (rows × n) settled together on one chip at most. It follows from n alone and from nothing of the machine:
# with read noise it decides in which order a chip draws.
_MOST_SAMPLES, _BATCH_STATES = 2**10, 2**19


@dataclass
class _Tally:
    """What has been counted on some chips; every tensor has the shape ``(chips,)``.

    `score` is the sum of the samples' scores, float64;
    `first` holds the first samples of every chip and `steepest` those with the steepest activations, where the loop
    has most gain: if any sample oscillates, these do.
    """

    score: Tensor
    unsettled: Tensor
    outside: Tensor
    clipped: Tensor
    first: list[Samples]
    steepest: list[Samples]


@dataclass(frozen=True)
class _Settled:
    """A batch of samples on some chips; ``batch`` counts their rows.

    Attributes:
        played: drives of every chip.
        p: resting pre-activations within the rails, shape ``(chips, batch, n)``.
        z: states, same shape.
        at_rest: whether a resting point was found, shape ``(chips, batch)``.
        outside: whether some neuron rests where the activation was not measured, same shape.
        steepness: mean slope of the activations, same shape.
    """

    played: list[Tensor]
    p: Tensor
    z: Tensor
    at_rest: Tensor
    outside: Tensor
    steepness: Tensor


class Bench:
    """Measures chips.

    Args:
        model: the trained model.
        spec: the technology, effects already switched off where they should be.
        x: inputs.
        y: what outputs are compared with.
        objective: how they are compared.
        config: the circumstances.

    Attributes:
        chunk: how many chips to measure at once.
        score_second, settling_second: time spent so far on scores, and on stability and settling in time.
    """

    def __init__(
        self, model: HybridDEQ, spec: Spec, x: Tensor, y: Tensor, objective: Objective, config: StudyConfig
    ) -> None:
        self.spec, self.config, self.targets, self.objective = spec, config, y, objective
        self.score_second = self.settling_second = 0.0
        self._readout = model.readout
        self._dtype = next(model.parameters()).dtype
        n = model.cell.states
        self._rows = model.rows
        self._batch = samples_at_once(model, max(16, min(_MOST_SAMPLES, _BATCH_STATES // n)))
        self._slice = max(1, _ARRAY_BYTES // (min(self._batch, len(x)) * self._rows * n * 8))
        self.chunk = chunk_size(n, config)
        with torch.no_grad():
            self._cell = model.cell
            self._drive = torch.cat([model.parameterize(part).double() for part in x.split(self._batch)])
        # Far below any converter's code, where the twin's own tolerance would take a third more steps.
        self._fast = EquilibriumLayer(Chord(rtol=1e-9, atol=1e-11, max_steps=60), on_failure="ignore")
        self._thorough = EquilibriumLayer(on_failure="ignore")

    @torch.no_grad()
    def measure(self, seeds: Sequence[int]) -> list[ChipRow]:
        """Return the rows of the chips with these seeds.

        What is counted and the poles do not depend on a chip's neighbours; settling times do in their last digits.
        """
        begun = time.perf_counter()
        layers = [self.programmed(seed) for seed in seeds]
        tallies = [self._count(layers[k : k + self._slice]) for k in range(0, len(layers), self._slice)]
        self.score_second += time.perf_counter() - begun
        begun = time.perf_counter()
        whole = torch.cat([t.unsettled + t.outside for t in tallies]) == 0
        watched = self._watch(
            layers, [s for t in tallies for s in t.steepest], [s for t in tallies for s in t.first], whole
        )
        self.settling_second += time.perf_counter() - begun
        score, unsettled, outside, clipped = (
            torch.cat([getattr(t, name) for t in tallies]).tolist()
            for name in ("score", "unsettled", "outside", "clipped")
        )
        return [
            self._row(seed, score[k], unsettled[k], outside[k], clipped[k], watched.get(k))
            for k, seed in enumerate(seeds)
        ]

    def programmed(self, seed: int) -> ProgrammedLayer:
        """Return the model's cell on the chip with this seed, float64, under the study's circumstances."""
        c = self.config
        reads = None if c.read_seed is None else reads_of(c.read_seed, seed)
        when = Conditions(c.age_second, c.temperature_kelvin, reads)
        return program_cell(self._cell, Chip(self.spec, seed), when, dtype=torch.float64)

    def _count(self, layers: list[ProgrammedLayer]) -> _Tally:
        """Put all samples through some chips."""
        together = population(layers)
        none = torch.zeros(len(layers), dtype=torch.int64)
        tally = _Tally(none.double(), none, none, none, [], [])
        full_scale = float(self.spec.adc.full_scale_volt / self.spec.activation.v_out_volt)
        candidates = []
        for drive, targets in zip(self._drive.split(self._batch * self._rows), self.targets.split(self._batch)):
            settled = self._settle(layers, together, drive)
            answers = self._answers(layers, together, settled.z)
            tally.score = tally.score + torch.stack([self.objective.score(a, targets).double() for a in answers])
            tally.unsettled = tally.unsettled + self._samples(~settled.at_rest)
            tally.outside = tally.outside + self._samples(settled.outside)
            tally.clipped = tally.clipped + (settled.z.abs() > full_scale).sum((1, 2))
            if not tally.first:
                few = self.config.settle_samples
                tally.first = [Samples(played[:few], p[:few]) for played, p in zip(settled.played, settled.p)]
            candidates.append(_steepest(settled))
        for of_chip in zip(*candidates):
            steepness = torch.cat([s for s, _samples in of_chip])
            best = steepness.topk(min(STEEPEST, len(steepness))).indices
            played, p = (torch.cat([getattr(s, name) for _, s in of_chip])[best] for name in ("played", "p"))
            tally.steepest.append(Samples(played, p))
        return tally

    def _settle(self, layers: list[ProgrammedLayer], together: ProgrammedLayer, drive: Tensor) -> _Settled:
        if self.config.read_seed is None:
            played = dac(together, drive)
            each = list(played) if played.ndim == 3 else [played] * len(layers)
        else:
            each = [dac(layer, drive) for layer in layers]
            played = torch.stack(each)
        system = static_system(together, played)
        p = self._fast.rest(system)
        assert self._fast.last is not None
        at_rest = self._fast.last.converged
        for k in (~at_rest.all(1)).nonzero()[:, 0].tolist():
            # The chord method is made for monotone weights, and mismatch may have made this chip's something else.
            p[k] = self._thorough.rest(static_system(layers[k], each[k]))
            assert self._thorough.last is not None
            at_rest[k] = self._thorough.last.converged
        activation = system.activation
        beyond = outside(activation, p).any(-1)
        z, steepness = activation(p), activation.slope(p).mean(-1)
        rail = activation_of(together).rail
        return _Settled(each, p.clamp(-rail, rail), z, at_rest, beyond & at_rest, steepness)

    def _answers(self, layers: list[ProgrammedLayer], together: ProgrammedLayer, z: Tensor) -> Tensor:
        """Return the output for every sample on every chip, shape ``(chips, batch, …)``."""
        if self.config.read_seed is None:
            read = adc(together, z)
        else:
            read = torch.stack([adc(layer, state) for layer, state in zip(layers, z)])
        out: Tensor = self._readout(read.to(self._dtype).flatten(0, 1))
        return out.unflatten(0, (len(layers), -1))

    def _samples(self, some: Tensor) -> Tensor:
        """Return for how many samples of every chip it is so of some row, from ``(chips, rows)``."""
        return some.unflatten(1, (-1, self._rows)).any(2).sum(1)

    def _watch(
        self, layers: list[ProgrammedLayer], steepest: list[Samples], first: list[Samples], whole: Tensor
    ) -> dict[int, Watched]:
        """Watch the chips on which every sample has a resting point."""
        chips = whole.nonzero()[:, 0].tolist()
        settle = [first[k] for k in chips] if self.config.settle_samples else None
        return dict(zip(chips, watch([layers[k] for k in chips], [steepest[k] for k in chips], settle)))

    def _row(
        self, seed: int, score: float, unsettled: int, outside: int, clipped: int, watched: Watched | None
    ) -> ChipRow:
        times = None if watched is None else mean_and_worst(watched)
        standing = Standing.SETTLES
        if unsettled:
            standing = Standing.NO_REST
        elif outside:
            standing = Standing.OUTSIDE
        elif watched is None or not watched.stable:
            standing = Standing.UNSTABLE
        elif self.config.settle_samples and times is None:
            standing = Standing.NEVER
        answers = standing is Standing.SETTLES
        samples = len(self.targets)
        return ChipRow(
            seed=seed,
            standing=standing,
            score=score / samples if answers else None,
            unsettled_samples=unsettled,
            outside_samples=outside,
            clipped_readings=clipped / (samples * self._rows * self._cell.states),
            spectral_abscissa_per_second=None if watched is None else watched.abscissa_per_second,
            settling_mean_second=None if times is None else times[0],
            settling_worst_second=None if times is None else times[1],
        )


def chunk_size(states: int, config: StudyConfig) -> int:
    """Return how many chips of that many neurons are measured at once."""
    watched = states * max(1, config.settle_samples)
    return max(1, min(_MOST_CHIPS, _CHUNK_STATES // states, _WATCHED_STATES // watched))


def reads_of(read_seed: int, chip_seed: int) -> torch.Generator:
    """Return what a chip's read and converter noise are drawn from: a stream of its own for every chip."""
    entropy = np.random.SeedSequence([read_seed, chip_seed, zlib.crc32(b"yield.reads")])
    return torch.Generator().manual_seed(int(entropy.generate_state(1, np.uint64)[0] >> np.uint64(1)))


def _steepest(settled: _Settled) -> list[tuple[Tensor, Samples]]:
    """Return the steepest samples of every chip and how steep they are."""
    count = min(STEEPEST, settled.steepness.shape[1])
    found = settled.steepness.topk(count, dim=1)
    return [
        (values, Samples(played[rows], p[rows]))
        for values, rows, played, p in zip(found.values, found.indices, settled.played, settled.p)
    ]
