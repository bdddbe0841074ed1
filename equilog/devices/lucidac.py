"""The LUCIDAC as a device: a small linear or cubic equilibrium on an analog computer that one can buy.

Tested against the vendor's emulator, nothing more. The emulator is ideal: it knows no rounding, offset, noise, overload
or converter. `chip` adds the flaws that do not change from read to read; noise, drift and overload stay unseen.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from equilog.cells.circuit_cell import check_drive
from equilog.devices.device import BaseDevice, Cell, DeviceError, Settled
from equilog.devices.lucidac_circuit import RANGE, Flaws, Lane, Patch, Rest, patch, rest
from equilog.devices.lucidac_link import Link, scheme
from equilog.hardware import Chip
from equilog.names import UserError

LONGEST_SECOND = 1.0
"""the machine's own limit of a run"""
OVERLOAD = 1.25
"""machine units that its converters can still see"""
LIFETIMES = 16.0
"""how many time constants of its slowest mode a run lasts: e⁻¹⁶ is 1e-7"""
TAIL = 0.2
"""share of a run, at its end, whose mean is the reading"""


@dataclass(frozen=True)
class Plan:
    """What is to be sent for a batch, and where it should come to rest."""

    lanes: list[tuple[Lane, ...]]
    rest: Rest
    duration_second: list[float]


class LucidacTwin(BaseDevice):
    """Where the LUCIDAC should rest: the sums at its integrators solved to zero, in float64.

    Args:
        chip: technology ``lucidac`` and a seed, for its flaws; an ideal machine unless given.
        full_scale: the pre-activation that is one machine unit.
    """

    name = "lucidac twin"

    def __init__(self, chip: Chip | None = None, *, full_scale: float = 1.0) -> None:
        self.flaws = None if chip is None else Flaws(chip)
        self.full_scale = full_scale
        self._patch: Patch | None = None

    @property
    def patch(self) -> Patch:
        """The program; raises ``RuntimeError`` before :meth:`program`."""
        if self._patch is None:
            raise RuntimeError("program the device before settling")
        return self._patch

    def program(self, cell: Cell) -> None:
        """Map the cell onto the machine; raises ``UserError`` naming all that does not fit."""
        self._patch = patch(cell, self.full_scale)

    @torch.no_grad()
    def settle(self, drive: Tensor) -> Settled:
        """Return where the machine should rest; raises ``UserError`` where it would overload or not stay at rest."""
        where = self.plan(drive).rest
        return self.corrected(self.readings(where.x, where.cubes))

    @torch.no_grad()
    def plan(self, drive: Tensor) -> Plan:
        """Return lanes, resting points and run times of a batch of drives of shape ``(batch, m)``; sends nothing.

        Raises:
            ValueError: for another shape, or a drive that is not finite.
            UserError: if a coefficient is out of range, an output would overload, a cubic state would rest where its
                cubic falls, or a run would take too long.
        """
        program = self.patch
        check_drive(drive, program.input_weight.shape[1])
        if not len(drive):
            raise ValueError("no sample to settle")
        if not bool(drive.isfinite().all()):
            raise ValueError("a drive is inf or nan")
        lanes = program.lanes(drive)
        if self.flaws is not None:
            lanes = [self.flaws.realise(each, len(program.cubic)) for each in lanes]
        where = rest(lanes, program.states, program.cubic)
        _in_range(program, where.x)
        duration = LIFETIMES / where.rate_per_second
        if bool((duration > LONGEST_SECOND).any()):
            raise UserError(
                f"sample {int(duration.argmax())} needs {float(duration.max()):.3g} s to settle, a run lasts at most "
                f"{LONGEST_SECOND:g} s; choose a W with a larger margin"
            )
        return Plan(lanes, where, duration.tolist())

    def readings(self, x: Tensor, cubes: Tensor) -> Settled:
        """Return outputs in machine units, ``(batch, n)`` and ``(batch, cubes)``, as states in the model's units."""
        program = self.patch
        if self.flaws is None:
            p, z = self._states(x, cubes)
            return Settled(p, z, z)
        cubes = self.flaws.cubes(cubes)
        read = self.flaws.converted(torch.cat([x, cubes], 1))
        return Settled(*self._states(x, cubes), self._states(read[:, : program.states], read[:, program.states :])[1])

    def _states(self, x: Tensor, cubes: Tensor) -> tuple[Tensor, Tensor]:
        program = self.patch
        p = program.full_scale * x
        z = p.clone()
        chosen = list(program.cubic)
        z[:, chosen] -= program.curvature[chosen] * program.full_scale**3 * cubes
        return p, z


class LucidacDevice(BaseDevice):
    """A LUCIDAC, or its vendor's emulator, reached through lucipy (``pip install 'equilog[lucidac]'``).

    Every sample is programmed, run from zero for :data:`LIFETIMES` time constants, and read as the mean of the last
    fifth of the run. Whatever does not fit is refused before anything is sent.

    Args:
        endpoint: ``tcp://host:5732``, ``serial:/dev/…``, or ``emu:/`` for the emulator.
        chip: for the emulator only: flaws of one machine, see :class:`~equilog.devices.lucidac_circuit.Flaws`.
        full_scale: the pre-activation that is one machine unit.
        timeout_second: longest wait for an answer.
        still: how far an output may drift in the last fifth of a run and count as at rest, in machine units.

    Raises:
        UserError: for an endpoint that is none, or lucipy missing.
        ValueError: for a chip on a real machine, which has flaws of its own.
        DeviceError: if the machine cannot be reached.
    """

    name = "lucidac"

    def __init__(
        self,
        endpoint: str,
        chip: Chip | None = None,
        *,
        full_scale: float = 1.0,
        timeout_second: float = 10.0,
        still: float = 2e-3,
    ) -> None:
        if chip is not None and scheme(endpoint) not in ("emu", "sim"):
            raise ValueError(f"a chip adds flaws to the ideal emulator; {endpoint} has its own: leave the chip out")
        self.twin = LucidacTwin(chip, full_scale=full_scale)
        self.still = still
        self._link = Link(endpoint, timeout_second)

    def program(self, cell: Cell) -> None:
        """Map the cell onto the machine; raises ``UserError`` naming all that does not fit. Sends nothing yet."""
        self.twin.program(cell)

    @torch.no_grad()
    def settle(self, drive: Tensor) -> Settled:
        """Return where the machine comes to rest, one run a sample.

        Raises:
            UserError, ValueError: as :meth:`LucidacTwin.plan`, before anything is sent.
            DeviceTimeoutError: if an answer does not come in time.
            DeviceError: if the connection breaks, an output overloads on its way, or one is not at rest at the end.
        """
        plan = self.twin.plan(drive)
        program = self.twin.patch
        rows = [
            self._rest(sample, self._link.run(lanes, program.channels, duration))
            for sample, (lanes, duration) in enumerate(zip(plan.lanes, plan.duration_second))
        ]
        found = torch.stack(rows)
        return self.corrected(self.twin.readings(found[:, : program.states], found[:, program.states :]))

    def _rest(self, sample: int, run: Tensor) -> Tensor:
        """Return the reading of every channel at the end of one run, shape ``(channels,)``."""
        if float(run.abs().max()) > OVERLOAD:
            channel = int(run.abs().amax(0).argmax())
            raise DeviceError(
                f"sample {sample}: channel {channel} went to {float(run.abs().max()):.3g} machine units on its way; "
                "choose a larger full_scale"
            )
        half = max(1, int(TAIL * len(run) / 2))
        earlier, later = run[-2 * half : -half].mean(0), run[-half:].mean(0)
        moved = (later - earlier).abs()  # of means: noise is no movement
        if float(moved.max()) > self.still:
            raise DeviceError(
                f"sample {sample}: channel {int(moved.argmax())} still moved by {float(moved.max()):.2g} machine units "
                f"at the end of the run, at rest is {self.still:g} or less"
            )
        return (earlier + later) / 2

    def close(self) -> None:
        """Hang up."""
        self._link.close()


def _in_range(program: Patch, x: Tensor) -> None:
    limit = torch.full((program.states,), RANGE, dtype=torch.float64)
    for j in program.cubic:
        turning = float((3 * program.curvature[j]) ** -0.5) / program.full_scale
        limit[j] = min(RANGE, turning)
    if bool((x.abs() > limit).any()):
        sample, i = (int(k) for k in (x.abs() > limit).nonzero()[0])
        s = program.full_scale
        if float(limit[i]) < RANGE:
            raise UserError(
                f"sample {sample}: state {i} would rest at p = {s * float(x[sample, i]):.4g}, beyond "
                f"±{s * float(limit[i]):.4g} where its cubic turns; drive it less, or give it a smaller curvature"
            )
        raise UserError(
            f"sample {sample}: state {i} would rest at p = {s * float(x[sample, i]):.4g}, beyond the machine unit of "
            f"{s:g}: an overload; choose full_scale above {s * float(x.abs().max()):.3g}"
        )
