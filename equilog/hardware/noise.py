"""Noise at rest: how far thermal noise moves a settled chip, and samples of it to train with.

Every resistor at a neuron's virtual ground makes a thermal current; together ``4kT(ΣG_i + 1/R_f)`` per hertz
(one-sided) into C_f. An amplifier may add a white voltage ``e_n`` in series with its + input. The circuit linearised
at rest, ``ẇ = A w + noise`` with ``w = (y, v)`` per neuron (:mod:`equilog.hardware.transient`), then fluctuates with
the stationary covariance that solves the Lyapunov equation

    AΣ + ΣAᵀ + Q = 0,    Q_yy = 2kT(ΣG_i + 1/R_f)/C_f²,    Q_vv = ω_t² e_n²/2

(halves, because a one-sided density S drives a white process of intensity S/2). Linear: valid while the noise is small
against V_a. Read noise of the devices, 1/f noise, amplifier current noise and the ADC's own noise are not in it.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property

import torch
from scipy.constants import Boltzmann
from scipy.linalg import solve_continuous_lyapunov
from torch import Tensor

from equilog.hardware.programming import ProgrammedLayer
from equilog.hardware.transient import Transient

MOST_NEURONS = 512
"""The Lyapunov equation is solved densely, O(n³) for every sample: seconds a sample here, and refused beyond."""


class UnstableChipError(RuntimeError):
    """The circuit does not stay at the resting point: its noise grows without bound."""


@dataclass(frozen=True)
class NoiseAtRest:
    """Fluctuations about rest, for each sample of a batch; float64, without gradient.

    Attributes:
        covariance_volt2: of the amplifier outputs ``v``, V², shape ``(batch, n, n)``.
        slope_per_volt: ``dz/dv`` at rest, shape ``(batch, n)``: carries noise from outputs to states.
        v_scale_volt: V_a.
        temperature_kelvin: for which it holds.
    """

    covariance_volt2: Tensor
    slope_per_volt: Tensor
    v_scale_volt: float
    temperature_kelvin: float

    @property
    def rms_volt(self) -> Tensor:
        """Noise of every amplifier output in volts rms, shape ``(batch, n)``."""
        return self.covariance_volt2.diagonal(dim1=1, dim2=2).sqrt()

    @property
    def rms(self) -> Tensor:
        """The same in units of V_a, that is of the pre-activation ``p``."""
        return self.rms_volt / self.v_scale_volt

    @property
    def state_covariance(self) -> Tensor:
        """Covariance of the states ``z = s/V_s``, shape ``(batch, n, n)``; singular where activations saturate."""
        return self.slope_per_volt[:, :, None] * self.covariance_volt2 * self.slope_per_volt[:, None, :]

    @property
    def state_rms(self) -> Tensor:
        """Noise of every state ``z``, rms, shape ``(batch, n)``."""
        return self.slope_per_volt.abs() * self.rms_volt

    def draw(self, generator: torch.Generator | None = None) -> Tensor:
        """Return one Gaussian perturbation of the states ``z`` for each sample, shape ``(batch, n)``.

        What a single reading of a chip at rest would add, correlations between neurons included. Draws of the same
        generator state are the same.
        """
        white = torch.randn(self.slope_per_volt.shape, dtype=torch.float64, generator=generator)
        return self.slope_per_volt * (self._root @ white[:, :, None])[:, :, 0]

    @cached_property
    def _root(self) -> Tensor:
        # Of the outputs' covariance, which is definite whatever the activations do.
        return torch.linalg.cholesky(self.covariance_volt2)


@torch.no_grad()
def noise_at_rest(
    layer: ProgrammedLayer,
    rest_volt: Tensor,
    temperature_kelvin: float = 300.0,
    *,
    amplifier_noise: float = 0.0,
) -> NoiseAtRest:
    """Return the stationary noise of a programmed chip about its resting points.

    Exact for the linearised circuit (Bartels & Stewart, Comm. ACM 15 (1972) 820, through SciPy), one dense solve a
    sample: 3 ms at n = 32, 20 ms at n = 64, 11 s at n = 512 on one core.

    Args:
        layer: the chip.
        rest_volt: resting outputs ``v*`` of each sample, shape ``(batch, n)``; ``p* V_a`` of the static twin.
        temperature_kelvin: of all resistors.
        amplifier_noise: ``e_n`` in V/√Hz, white, in series with every amplifier's + input.

    Raises:
        ValueError: for a temperature not above 0, a noise below 0, another shape than the layer's, or more than 512
            neurons.
        UnstableChipError: if a resting point is not stable in the circuit, naming the worst sample.
    """
    n = layer.states
    if rest_volt.ndim != 2 or rest_volt.shape[1] != n:
        raise ValueError(f"expected resting outputs of shape (batch, {n}), got {tuple(rest_volt.shape)}")
    if not (0 < temperature_kelvin < math.inf and 0 <= amplifier_noise < math.inf):
        raise ValueError(
            f"expected a temperature above 0 K and an amplifier noise of 0 or more, "
            f"got {temperature_kelvin} K and {amplifier_noise} V/√Hz"
        )
    if n > MOST_NEURONS:
        raise ValueError(f"noise at rest is computed for at most {MOST_NEURONS} neurons, this layer has {n}")
    rest_volt = rest_volt.detach().to(torch.float64)
    layer = layer.to(torch.float64)
    moving = Transient(layer, rest_volt.new_zeros(1, layer.drives))
    matrix = moving.linearised(rest_volt)
    _check_stable(torch.linalg.eigvals(matrix).real.amax(1))

    thermal = 2 * Boltzmann * temperature_kelvin * (layer.row_conductance_siemens + 1 / layer.r_feedback_ohm)
    amplifier = 2 * (math.pi * layer.gbw_hertz * amplifier_noise) ** 2
    intensity = torch.stack([thermal / layer.c_feedback_farad**2, amplifier], dim=1).flatten()
    minus_q = -torch.diag(intensity).numpy()
    full = torch.stack([torch.from_numpy(solve_continuous_lyapunov(a, minus_q)) for a in matrix.numpy()])
    outputs = full[:, 1::2, 1::2]
    return NoiseAtRest(
        covariance_volt2=(outputs + outputs.mT) / 2,
        slope_per_volt=moving.activation_slope(rest_volt),
        v_scale_volt=moving.v_a,
        temperature_kelvin=float(temperature_kelvin),
    )


def _check_stable(abscissa: Tensor) -> None:
    if not bool((abscissa < 0).all()):
        worst = int(abscissa.argmax())
        raise UnstableChipError(
            f"{int((~(abscissa < 0)).sum())} of {len(abscissa)} resting points are unstable in the circuit, worst "
            f"sample {worst} with a pole at {float(abscissa[worst]):+.3g} 1/s: it has no noise at rest"
        )
