"""System identification: which chip is this? Its errors found from drives and readings alone.

What differs from chip to chip are standard normals: of every device, of every amplifier's and activation's offset, of
every activation's gain. The most probable ones given the readings (MAP) minimise

    Σ (reading − prediction)²/σ² + |deviates|²,

where the technology's own standard deviations are the prior. At the minimum, with twin states z* and ``r = z − z*``,

    r_i − φ'_i Σ_j W_ij r_j = φ'_i Σ_k δC_ik x*_k + (what gain and offset of φ_i do),    x* = [z*, drive, 1]:

to first order every neuron is a linear regression of its own, however they are coupled, and Gauss–Newton solves them
one by one. The regressors are the twin's states, not the readings: states are so nearly functions of each other and of
the drive that rounding the regressors alone would bias the weights, the more surely the more settles there are (errors
in variables; Ljung, System Identification, 2nd ed. 1999, ch. 7). Where pre-activations can be seen, ``p = Wφ(p) + …``
is fitted to them instead.

One weight is the difference of two devices, and the readings show only what their errors add up to: it is divided
between them in proportion to their variances, which is where the posterior has its mean.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from equilog.cells import CircuitCell, Curve, Mixed, Tanh, total_of
from equilog.devices import Calibration, Device, Settled
from equilog.equilibrium import EquilibriumLayer
from equilog.hardware import Chip, Conditions, ProgrammedLayer, Spec, program_cell
from equilog.hardware.effects import FIXED_NETWORK
from equilog.hardware.effects.fixed_network import output_sigmas
from equilog.hardware.technology.blocks import Converter
from equilog.hardware.twin import dac, static_system
from equilog.names import UserError
from equilog.training.adapt.identified_chip import IdentifiedChip
from equilog.training.adapt.measured import calibration_of, plain, preactivation, seen
from equilog.training.gradients.fixed_cell import FixedCell

DEVICES = ("crossbar.programming", "crossbar.drift", FIXED_NETWORK.stream)
NEURONS = ("amplifier.offset", "activation.gain", "activation.offset")
FINEST = 1e-4
"""Noise that no reading is taken to be below, in units of the state: a twin is not better than that."""
_STEPS = 12
_FIRST_STEPS = 4
# The first fit counts no more settles than this for every unknown of a neuron.
_FIRST_SETTLES = 2
# Deviates of the activations' gain to begin with; a neuron fits whose mean squared error is below _FITS σ².
_GAINS = (0.0, -1.0, 1.0, -2.0, 2.0)
_FITS = 2.0
_HALVINGS = 5
_SETTLED = 1e-4


@dataclass(frozen=True)
class Identification:
    """What was found.

    Attributes:
        chip: the estimate, to program and to train with.
        settles: how many drives it is made from.
        rms_before: of the typical chip's states against readings at drives that were not fitted; nan without any.
        rms_after: of the estimate's, at the same drives.
    """

    chip: IdentifiedChip
    settles: int
    rms_before: float
    rms_after: float


@torch.no_grad()
def identify(
    device: Device,
    cell: CircuitCell,
    spec: Spec,
    drive: Tensor,
    *,
    conditions: Conditions | None = None,
    check: Tensor | None = None,
) -> Identification:
    """Find the chip of a technology that answers as the device does.

    Plain readings are used, whatever calibration is in force. Effects that the technology does not have end up, as far
    as they can, in the deviates of those that it has.

    Args:
        device: programmed with the cell.
        cell: with the weights that it was programmed with.
        spec: the technology; its standard deviations are the prior, its ADC says how finely states were read.
        drive: what to settle, shape ``(batch, m)``; the more varied, the more they tell.
        conditions: when and how warm the device is read, as far as is known.
        check: drives to compare the estimate with the device at, shape ``(checks, m)``.

    Raises:
        UserError: if the technology has no error that could be found.
        ValueError: if a reading is not finite.
    """
    held = FixedCell.of(cell)
    regression = _Regression(device, held, spec, drive, conditions)
    chip = regression.most_probable()
    before = after = math.nan
    if check is not None and len(check):
        settled = device.settle(check)
        before, after = (
            _rms(program_cell(held, each, conditions), check, settled, calibration_of(device))
            for each in (IdentifiedChip(spec, 0), chip)
        )
    return Identification(chip, len(drive), before, after)


def excitation(channels: int, settles: int, generator: torch.Generator) -> Tensor:
    """Return drives that excite everything a cell has, uniform in [−1, 1], shape ``(settles, channels)``."""
    return 2 * torch.rand(settles, channels, generator=generator, dtype=torch.float64) - 1


def _rms(layer: ProgrammedLayer, drive: Tensor, settled: Settled, calibration: Calibration | None) -> float:
    """Return the distance of the twin's states from readings, where it rests nearest to where the device does."""
    system = static_system(layer, dac(layer, drive.double()))
    start = seen(system.activation, settled, calibration)
    return float((EquilibriumLayer()(system, start) - plain(settled.read, calibration)).square().mean().sqrt())


@dataclass(frozen=True)
class _Equations:
    """What a batch says of every neuron, each of shape ``(batch, n)``: errors, their size, and what moves predictions.

    Attributes:
        known: x, shape ``(batch, columns)``.
        error: reading less prediction.
        sigma: its standard deviation if the chip were known.
        to_sum: slope of the prediction towards the neuron's sum ``Σ C_ij x_j``.
        to_gain, to_shift: towards the deviates of its activation.
    """

    known: Tensor
    error: Tensor
    sigma: Tensor
    to_sum: Tensor
    to_gain: Tensor
    to_shift: Tensor

    def jacobian(self, i: int, scale: Tensor, per_offset: Tensor) -> Tensor:
        """Return ``∂prediction/∂η`` of neuron i in units of σ, shape ``(batch, columns + 3)``.

        Args:
            i: the neuron.
            scale: ``∂C_i/∂η``, shape ``(columns,)``.
            per_offset: that of the sum towards the amplifier's offset.
        """
        slope = self.to_sum[:, i, None]
        ends = [slope * per_offset, self.to_gain[:, i, None], self.to_shift[:, i, None]]
        return torch.cat([slope * self.known * scale, *ends], 1) / self.sigma[:, i, None]


def _sum(equations: list[_Equations], sized: list[_Equations], eta: Tensor) -> Tensor:
    """Return the sum that is minimised, of every neuron, shape ``(n,)``, errors in units of the second ones' σ."""
    misfit = [(e.error / s.sigma).square().sum(0) for e, s in zip(equations, sized)]
    return torch.stack([*misfit, eta.square().sum(1)]).sum(0)


class _Regression:
    """Every neuron's regression in unknowns η of variance 1: one a column of C, then its offset, gain and shift."""

    def __init__(
        self, device: Device, cell: FixedCell, spec: Spec, drive: Tensor, conditions: Conditions | None
    ) -> None:
        self.cell, self.spec, self.conditions = cell, spec, conditions
        settled = device.settle(drive)
        self.z = plain(settled.read, calibration_of(device)).double()
        if not bool(self.z.isfinite().all()):
            raise ValueError("a reading is inf or nan: look at the device before it is identified")
        # A machine that sees some of its pre-activations is treated as one that sees none.
        self.p = settled.p.double() if bool(settled.p.isfinite().all()) else None
        self.played = dac(self._program(IdentifiedChip(spec, 0)), drive.double())
        self.per_device, self.per_offset, self.lowest = self._sensitivities()
        self.scale = torch.stack(list(self.per_device.values())).square().sum((0, 1)).sqrt()  # (n, columns)
        linear = 0 if cell.fixed is None else cell.fixed.linear
        self.gain_sigma, offset_sigma = output_sigmas(spec, cell.states, linear)
        self.shift_sigma = offset_sigma / float(spec.activation.v_scale_volt)
        if not any(bool(v.any()) for v in (self.scale, self.per_offset, self.gain_sigma, self.shift_sigma)):
            raise UserError(
                f"technology {spec.name!r} has no error that differs from chip to chip, so there is none to find; "
                "give it one, crossbar.programming_sigma for instance"
            )
        self.sigma = converter_variance(spec.adc, spec.activation.v_out_volt, rounded=True) ** 0.5
        # Codes that were played are known, so their rounding is no error.
        self._equilibrium = EquilibriumLayer(on_failure="ignore")
        self.playing_variance = converter_variance(spec.dac, spec.dac.full_scale_volt, rounded=False)

    def most_probable(self) -> IdentifiedChip:
        """Return the chip that fits best.

        Far from the answer a neuron that is predicted saturated, and is not, would not know which way to go: where
        pre-activations are not seen, what readings say of them is fitted first, which is linear. They say it for a
        gain that is taken as known: as long as a neuron fits badly, another one is begun with.
        """
        n, columns = self.scale.shape
        best = self.z.new_zeros(n, columns + 3)
        if self.p is not None:
            return self._chip(self._minimise(best, inverted=False, steps=_STEPS))
        lowest = torch.full_like(best[:, 0], math.inf)
        for gain in _GAINS:
            found = torch.zeros_like(best)
            found[:, -2] = gain
            found = self._minimise(found, inverted=True, steps=_FIRST_STEPS)
            fits = lowest < _FITS * len(self.z)
            found = self._minimise(torch.where(fits[:, None], best, found), inverted=False, steps=_STEPS)
            cost = self._cost(found)
            best, lowest = torch.where((cost < lowest)[:, None], found, best), torch.minimum(cost, lowest)
            if bool((lowest < _FITS * len(self.z)).all()):
                return self._chip(best)
        return self._chip(self._minimise(best, inverted=False, steps=_STEPS))

    def _minimise(self, eta: Tensor, *, inverted: bool, steps: int) -> Tensor:
        """Descend, every neuron for itself; a step that makes a neuron's sum larger is halved for that neuron.

        Sums before and after a step are compared at the σ of before: σ depends on the unknowns, and a sum of squares
        would also fall if it grew.
        """
        for _ in range(steps):
            equations = self._equations(eta, inverted)
            before = _sum(equations, equations, eta)
            step = self._gauss_newton(eta, equations) - eta
            if inverted:
                step[:, -2] = 0
            for _ in range(_HALVINGS):
                after = _sum(self._equations(eta + step, inverted), equations, eta + step)
                worse = after > before
                if not bool(worse.any()):
                    break
                step = torch.where(worse[:, None], step / 2, step)
            eta = torch.where(worse[:, None], eta, eta + step)
            if bool((worse | (before - after <= _SETTLED * after)).all()):
                break
        return eta

    def _cost(self, eta: Tensor) -> Tensor:
        equations = self._equations(eta, False)
        return _sum(equations, equations, eta)

    def _program(self, chip: Chip) -> ProgrammedLayer:
        return program_cell(self.cell, chip, self.conditions)

    def _sensitivities(self) -> tuple[dict[str, Tensor], Tensor, Tensor]:
        """Return ``∂C/∂deviate`` of every device, each ``(2, n, columns)``, and of every amplifier's offset, ``(n,)``.

        The third are the deviates of programming at which a device would conduct nothing, shape ``(2, n, columns)``.
        At the typical chip: the equations are linear in the deviates, but for devices that would fall below zero.
        With resistive wires a device also moves other weights a little, which the residuals see and this does not.
        """
        n, columns = self.z.shape[1], self.z.shape[1] + self.played.shape[1] + 1
        with torch.enable_grad():
            unknown = {name: torch.zeros(2, n, columns, dtype=torch.float64, requires_grad=True) for name in DEVICES}
            unknown[NEURONS[0]] = torch.zeros(n, dtype=torch.float64, requires_grad=True)
            layer = self._program(IdentifiedChip(self.spec, 0, unknown))
            # Every channel alone, and none: the injections are then the columns of U, and the constant.
            basis = torch.cat([torch.eye(columns - n - 1), torch.zeros(1, columns - n - 1)]).double()
            system = static_system(layer, basis)
            alone, constant = system.injection[:-1], system.injection[-1]
            every = system.weight.sum() + (alone - constant).sum() + constant.sum()
            found = torch.autograd.grad(every, list(unknown.values()), retain_graph=True, allow_unused=True)
            g = torch.stack([layer.g_plus_siemens, layer.g_minus_siemens])
            programmed = unknown[DEVICES[0]]
            per_siemens = torch.zeros_like(programmed)
            if g.requires_grad:
                (moves,) = torch.autograd.grad(g.sum(), programmed, allow_unused=True)
                per_siemens = per_siemens if moves is None else moves
        *devices, offset = (torch.zeros_like(u) if g is None else g for u, g in zip(unknown.values(), found))
        lowest = torch.where(per_siemens > 0, -g.detach() / per_siemens, -math.inf)
        return dict(zip(DEVICES, devices)), offset, lowest

    def _chip(self, eta: Tensor) -> IdentifiedChip:
        """Return the chip that η of shape ``(n, columns + 3)`` stands for."""
        weights, (offset, gain, shift) = eta[:, :-3], eta[:, -3:].unbind(1)
        share = weights / torch.where(self.scale > 0, self.scale, 1)
        deviates = {name: s * share for name, s in self.per_device.items() if bool(s.any())}
        if (programmed := deviates.get(DEVICES[0])) is not None:
            # A device conducts no less than nothing: what it cannot give, the other one of the pair does.
            kept = torch.maximum(programmed, self.lowest)
            slope = self.per_device[DEVICES[0]]
            missing = (slope * (programmed - kept)).flip(0)
            deviates[DEVICES[0]] = kept + torch.where(slope != 0, missing / slope, 0.0)
        return IdentifiedChip(self.spec, 0, deviates | dict(zip(NEURONS, (offset, gain, shift))))

    def _equations(self, eta: Tensor, inverted: bool) -> list[_Equations]:
        """Return what is fitted: pre-activations where seen, else readings or, `inverted`, what they say of p."""
        system = static_system(self._program(self._chip(eta)), self.played)
        weight, phi = system.weight, system.activation
        assert isinstance(phi, Tanh | Curve | Mixed)
        size, own = weight.square().sum(1), weight.diagonal()
        entering = self.playing_variance * total_of(self.cell)[1].square().sum(1)
        if self.p is not None:
            z = phi(self.p)
            none, one = torch.zeros_like(z), torch.ones_like(z)
            by_gain, by_shift = self.gain_sigma * z / phi.gain, -self.shift_sigma * phi.slope(self.p)
            sums = _Equations(
                self._known(z),
                self.p - system(self.p),
                (entering + FINEST**2 * (1 + size)).sqrt() * one,
                one,
                none,
                none,
            )
            return [
                sums,
                replace(
                    sums, error=self.z - z, sigma=self.sigma * one, to_sum=none, to_gain=by_gain, to_shift=by_shift
                ),
            ]
        said = preactivation(phi, self.z)
        if inverted:
            z, slope = phi(said), phi.slope(said)
            error = slope * (said - self.z @ weight.mT - system.injection)
        else:
            p = self._equilibrium.rest(system, said)
            z, slope = phi(p), phi.slope(p)
            left = self.z - z
            error = left - slope * (left @ weight.mT)
        sigma = ((1 - slope * own).square() + slope.square() * (size - own.square())) * self.sigma**2
        sigma = (sigma + slope.square() * entering + FINEST**2).sqrt()
        known = self._known(self.z if inverted else z)
        if inverted:
            # Here readings are regressors: many of them must not outvote the prior with their bias.
            sigma = sigma * max(1.0, len(known) / (_FIRST_SETTLES * known.shape[1])) ** 0.5
        by_gain, by_shift = self.gain_sigma * z / phi.gain, -self.shift_sigma * slope
        return [_Equations(known, error, sigma, slope, by_gain, by_shift)]

    def _known(self, z: Tensor) -> Tensor:
        """Return what C multiplies, shape ``(batch, columns)``."""
        return torch.cat([z, self.played, torch.ones_like(z[:, :1])], 1)

    def _gauss_newton(self, eta: Tensor, equations: list[_Equations]) -> Tensor:
        """Return the minimum of the linearised sums, shape of η."""
        rows = []
        eye = torch.eye(eta.shape[1], dtype=eta.dtype)
        for i in range(len(eta)):
            a = torch.cat([e.jacobian(i, self.scale[i], self.per_offset[i]) for e in equations])
            b = torch.cat([e.error[:, i] / e.sigma[:, i] for e in equations]) + a @ eta[i]
            rows.append(torch.cholesky_solve((a.T @ b)[:, None], torch.linalg.cholesky(a.T @ a + eye))[:, 0])
        return torch.stack(rows)


def converter_variance(block: Converter, unit_volt: float, *, rounded: bool) -> float:
    """Return the variance of what a converter adds, in units of `unit_volt` squared: noise, bows, rounding if asked.

    A bow is taken at half of its largest square; nothing is taken to be finer than :data:`FINEST`.
    """
    code = float(block.full_scale_volt) / unit_volt / (2 ** (int(block.bits) - 1) - 1)
    bow, noise = float(block.inl_lsb or 0.0) * code, float(block.noise_volt or 0.0) / unit_volt
    return (code**2 / 12 if rounded else 0.0) + bow**2 / 2 + noise**2 + FINEST**2
