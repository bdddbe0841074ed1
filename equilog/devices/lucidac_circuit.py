"""An equilibrium as a program of the LUCIDAC: which integrator feeds which, through which coefficient.

The machine has 8 integrators, 4 multipliers, one constant and 32 lanes. A lane takes one output, multiplies it by its
coefficient and adds it to one input; an integrator integrates *minus* its sum at k₀ = 10⁴/s. In machine units x = p/s
(s: `full_scale`) the equilibrium ``p = W φ(p) + u`` with ``φ(p) = p − c p³`` is where

    −ẋ_i/k₀ = γ [x_i − Σ_j W_ij (x_j − c_j s² x_j³) − u_i/s]

is at rest. The leak and W_ii share a lane; a constant lane for every state carries u_i, new for every sample; a cubic
state takes two multipliers and four lanes to make x³. γ makes the largest coefficient 1: that is a scale of time, and
the best that 12 bits can do. What the machine consists of: https://github.com/anabrid/lucipy, docs/model.rst.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from equilog.cells import Cubic, Linear, Mixed, total_of
from equilog.devices.device import Cell
from equilog.hardware import Chip
from equilog.hardware.effects.converter import analog_to_digital, sample_inl
from equilog.hardware.effects.effect import polynomial
from equilog.names import UserError

INTEGRATORS, MULTIPLIERS, LANES = 8, 4, 32
CONSTANT = 14
"""crosslane of the constant 1 in lanes 16 to 31"""
CONSTANT_LANES = 16
"""first lane that can carry it"""
K0_PER_SECOND = 1e4
LARGEST = 10.0
"""largest coefficient; above 1 it is divided by 10 before the DAC and multiplied by 10 behind it"""
STEP = 2.2 / 2**12
"""12 bits over ±1.1: AD5452 of the firmware, https://github.com/anabrid/lucidac-firmware"""
RANGE = 1.0
"""one machine unit: outputs beyond overload"""


@dataclass(frozen=True)
class Lane:
    """One connection: output `source` times `coefficient` into the sum at input `target`.

    Outputs: integrators 0–7, multipliers 8–11, the constant 14. Inputs: integrators 0–7, multiplier k 8 + 2k, 9 + 2k.
    """

    number: int
    source: int
    coefficient: float
    target: int


@dataclass(frozen=True)
class Patch:
    """A cell on the machine: all lanes but the constants, whose coefficients come with each drive.

    Attributes:
        states: n; state i is integrator i.
        cubic: the states with a cubic, at most two; the k-th of them uses multipliers 2k and 2k + 1.
        full_scale: s, the pre-activation that is one machine unit.
        time_scale: γ.
        curvature: c, shape ``(n,)``.
        input_weight, bias: U and b, float64.
        fixed: the lanes that stay.
    """

    states: int
    cubic: tuple[int, ...]
    full_scale: float
    time_scale: float
    curvature: Tensor
    input_weight: Tensor
    bias: Tensor
    fixed: tuple[Lane, ...]

    @property
    def channels(self) -> tuple[int, ...]:
        """The outputs to be read: every state, then every cube."""
        return (*range(self.states), *(8 + 2 * k + 1 for k in range(len(self.cubic))))

    def lanes(self, drive: Tensor) -> list[tuple[Lane, ...]]:
        """Return all lanes of every sample, for drives of shape ``(batch, m)``.

        Raises:
            UserError: if a constant is larger than a coefficient can be.
        """
        constants = -self.time_scale * (drive.double() @ self.input_weight.T + self.bias) / self.full_scale
        if bool((constants.abs() > LARGEST).any()):
            sample, i = (int(k) for k in (constants.abs() > LARGEST).nonzero()[0])
            raise UserError(
                f"sample {sample}: the constant of state {i} needs coefficient {float(constants[sample, i]):.4g}, the "
                f"largest is ±{LARGEST:g}; choose full_scale above "
                f"{self.full_scale * float(constants.abs().max()) / LARGEST:.3g}"
            )
        return [
            (*self.fixed, *(Lane(CONSTANT_LANES + i, CONSTANT, c, i) for i, c in enumerate(row)))
            for row in constants.tolist()
        ]


def patch(cell: Cell, full_scale: float = 1.0) -> Patch:
    """Return the cell as a program of the machine; nothing is sent anywhere.

    Args:
        cell: at most 8 states, linear or cubic.
        full_scale: the pre-activation that is one machine unit.

    Raises:
        UserError: naming everything that does not fit: an activation the machine does not have, too many states,
            cubics or connections, a coefficient below the resolution, a flow that does not come to rest.
        ValueError: for a `full_scale` that is not above zero.
    """
    if not 0 < full_scale < float("inf"):
        raise ValueError(f"full_scale = {full_scale}: expected the pre-activation of one machine unit, above 0")
    weight, input_weight, bias = (m.detach().double() for m in total_of(cell))
    n, mistakes = len(weight), []
    if not all(bool(m.isfinite().all()) for m in (weight, input_weight, bias)):
        raise UserError("a weight is inf or nan: the cell cannot be programmed")
    weight, curvature = _polynomial(cell, weight)
    cubic = tuple(int(j) for j in curvature.nonzero()[:, 0])
    linear = torch.eye(n, dtype=torch.float64) - weight
    cubes = weight * curvature * full_scale**2
    scale = 1 / max(float(linear.abs().max()), float(cubes.abs().max()))
    if n > INTEGRATORS:
        mistakes.append(f"{n} states: the machine has {INTEGRATORS} integrators")
    if 2 * len(cubic) > MULTIPLIERS:
        mistakes.append(
            f"{len(cubic)} cubic states, two multipliers each: the machine has {MULTIPLIERS}; "
            f"give at most {MULTIPLIERS // 2} states a curvature"
        )
    wanted = _connections(scale * linear, scale * cubes, cubic)
    if (count := len(wanted) + n) > LANES:
        fan_in = [1 + sum(target == i for _, _, target in wanted) for i in range(n)]
        worst = max(range(n), key=fan_in.__getitem__)
        mistakes.append(
            f"{count} connections ({n} of them constants): the machine has {LANES} lanes; the largest fan-in is "
            f"{fan_in[worst]}, of state {worst}; make W sparser or smaller (dense and linear: up to 5 states)"
        )
    for source, coefficient, target in wanted:
        if abs(coefficient) < STEP / 2:
            mistakes.append(
                f"the coefficient from output {source} to state {target} would be {coefficient:.1e} beside the "
                f"largest of 1, below half a code of 12 bits ({STEP / 2:.1e}): it would be lost; set its weight to 0"
            )
    if float(torch.linalg.eigvals(linear).real.min()) <= 0:
        mistakes.append("I − W has an eigenvalue that is not in the right half plane: the machine would run away")
    if mistakes:
        raise UserError("the cell does not fit on the LUCIDAC: " + "; ".join(mistakes), mistakes)
    free = [*range(CONSTANT_LANES), *range(CONSTANT_LANES + n, LANES)]
    fixed = tuple(Lane(number, *connection) for number, connection in zip(free, wanted))
    return Patch(n, cubic, full_scale, scale, curvature, input_weight, bias, fixed)


def _polynomial(cell: Cell, weight: Tensor) -> tuple[Tensor, Tensor]:
    """Return W with the slopes of a linear activation in it, and the curvatures, shape ``(n,)``."""
    zero = weight.new_zeros(len(weight))
    match cell.activation:
        case Linear(d=d):
            slope = d.detach().double().expand(len(weight))
            if not bool((slope == 1).all()):
                raise UserError(f"a linear activation of slopes {slope.tolist()}: expected 1; put them into W and U")
            return weight, zero
        case Mixed(linear=linear) if linear >= len(weight):
            return weight, zero
        case Cubic(curvature=c):
            return weight, zero + c.detach().double()
        case other:
            raise UserError(
                f"the cell's activation is {type(other).__name__}: the LUCIDAC has none, only sums and products; use a "
                "LinearCell, a law without activations in all states, or a CubicCell with at most two cubic states "
                "(c = 1/3 is tanh to third order)"
            )


def _connections(linear: Tensor, cubes: Tensor, cubic: tuple[int, ...]) -> list[tuple[int, float, int]]:
    """Return every (source, coefficient, target) but the constants."""
    found = [(j, float(linear[i, j]), i) for i in range(len(linear)) for j in range(len(linear)) if linear[i, j] != 0]
    for k, j in enumerate(cubic):
        square, cube = 8 + 2 * k, 8 + 2 * k + 1  # outputs; their inputs are 8 + 4k … 11 + 4k
        found += [(j, 1.0, 8 + 4 * k), (j, 1.0, 9 + 4 * k), (square, 1.0, 10 + 4 * k), (j, 1.0, 11 + 4 * k)]
        found += [(cube, float(cubes[i, j]), i) for i in range(len(cubes)) if cubes[i, j] != 0]
    return found


@dataclass(frozen=True)
class Flaws:
    """What one machine does to coefficients and readings, drawn from a chip's seed; one volt is one machine unit.

    Rounding to 12 bits; a programming error a lane (`crossbar.programming_sigma`); an offset an integrator, seen at
    its output through all that feeds it (`amplifier.offset_sigma_volt`); gain and offset of a cube
    (`activation.gain_sigma`, `offset_sigma_volt`); codes and bows of the ADCs. Noise and drift are not in it.
    """

    chip: Chip

    def realise(self, lanes: tuple[Lane, ...], cubes: int) -> tuple[Lane, ...]:
        """Return the lanes with the coefficients that the machine really has; its offsets are in the constants."""
        bar, gain, offset = self.chip.spec.crossbar, *self._cubes(cubes)
        wanted = torch.tensor([lane.coefficient for lane in lanes], dtype=torch.float64)
        upscaled = torch.where(wanted.abs() > 1, 10.0, 1.0)
        dac = (wanted / upscaled / STEP).round() * STEP
        if bar.programming_sigma is not None:
            sigma = polynomial(dac.abs(), bar.programming_sigma) / float(bar.g_max_siemens)
            drawn = self.chip.standard_normal("lucidac.coefficient", LANES)
            dac = dac + sigma * drawn[[lane.number for lane in lanes]]
        real = [replace(lane, coefficient=float(c)) for lane, c in zip(lanes, dac * upscaled)]
        input_offset = self.chip.standard_normal("lucidac.offset", INTEGRATORS) * float(
            self.chip.spec.amplifier.offset_sigma_volt
        )
        for k, lane in enumerate(real):
            if lane.source == CONSTANT:
                into = [other for other in real if other.target == lane.target]
                noise_gain = 1 + sum(abs(other.coefficient) for other in into)
                shift = noise_gain * float(input_offset[lane.target])
                shift += sum(c.coefficient * offset[(c.source - 9) // 2] for c in into if c.source in (9, 11))
                real[k] = replace(lane, coefficient=lane.coefficient + shift)
        scaled = [c.coefficient * (1 + gain[(c.source - 9) // 2] if c.source in (9, 11) else 1) for c in real]
        # The client takes no more than ±10, where the real DAC goes a tenth further.
        return tuple(replace(lane, coefficient=max(-LARGEST, min(LARGEST, c))) for lane, c in zip(real, scaled))

    def cubes(self, ideal: Tensor) -> Tensor:
        """Return the outputs of the cubing multipliers, shape ``(batch, cubes)``."""
        gain, offset = self._cubes(ideal.shape[-1])
        return ideal * (1 + ideal.new_tensor(gain)) + ideal.new_tensor(offset)

    def converted(self, x: Tensor) -> Tensor:
        """Return what the ADCs say of outputs in machine units, shape ``(batch, channels)``."""
        block = self.chip.spec.adc
        full_scale = float(block.full_scale_volt)
        return analog_to_digital(x / full_scale, block, sample_inl(self.chip, "adc", x.shape[-1]), None) * full_scale

    def _cubes(self, count: int) -> tuple[list[float], list[float]]:
        block = self.chip.spec.activation
        draw = self.chip.standard_normal
        gain = draw("lucidac.cube.gain", MULTIPLIERS // 2)[:count] * float(block.gain_sigma)
        offset = draw("lucidac.cube.offset", MULTIPLIERS // 2)[:count] * float(block.offset_sigma_volt)
        return gain.tolist(), offset.tolist()


@dataclass(frozen=True)
class Rest:
    """Where a machine with these lanes rests: x and cubes in machine units, and its slowest rate of decay, in 1/s."""

    x: Tensor
    cubes: Tensor
    rate_per_second: Tensor


def rest(lanes: list[tuple[Lane, ...]], states: int, cubic: tuple[int, ...]) -> Rest:
    """Return the resting point of every sample, by Newton's method on the sums at the integrators.

    Independent of the vendor's code: this is what the emulator is compared with.

    Returns:
        `x` of shape ``(batch, states)``, `cubes` ``(batch, len(cubic))``, `rate_per_second` ``(batch,)``.

    Raises:
        UserError: if a sample has no resting point near the origin, or the machine does not stay at it.
    """
    linear = torch.zeros(len(lanes), states, states, dtype=torch.float64)
    cubes = torch.zeros(len(lanes), states, len(cubic), dtype=torch.float64)
    factor = torch.ones(len(lanes), len(cubic), dtype=torch.float64)  # of x³, from the four lanes that make it
    constant = torch.zeros(len(lanes), states, dtype=torch.float64)
    for sample, each in enumerate(lanes):
        for lane in each:
            if lane.target >= 8:
                factor[sample, (lane.target - 8) // 4] *= lane.coefficient
            elif lane.source == CONSTANT:
                constant[sample, lane.target] += lane.coefficient
            elif lane.source >= 8:
                cubes[sample, lane.target, (lane.source - 9) // 2] += lane.coefficient
            else:
                linear[sample, lane.target, lane.source] += lane.coefficient
    x = torch.zeros_like(constant)
    chosen = list(cubic)
    for _ in range(50):
        made = factor * x[:, chosen] ** 3
        total = (linear @ x[..., None] + cubes @ made[..., None])[..., 0] + constant
        jacobian = linear.clone()
        jacobian[:, :, chosen] += cubes * (3 * factor * x[:, chosen] ** 2)[:, None, :]
        step = torch.linalg.solve_ex(jacobian, total)[0]
        x = x - step
        if not bool((step.abs().amax(1) > 1e-13).any()):
            break
    else:
        raise UserError(f"sample {int(step.abs().amax(1).argmax())}: no resting point found near the origin")
    rate = K0_PER_SECOND * torch.linalg.eigvals(jacobian).real.amin(1)
    if not bool((rate > 0).all()):
        sample = int(rate.argmin())
        raise UserError(
            f"sample {sample} does not stay at rest: its slowest mode grows at {-float(rate[sample]):.3g} 1/s"
        )
    return Rest(x, factor * x[:, chosen] ** 3, rate)
