"""Noise at rest: how far thermal and amplifier noise move a settled chip, and samples of it to train with.

The circuit linearised at rest, ``ẇ = A w + noise`` with ``w = (y, v)`` per neuron
(:mod:`equilog.hardware.noise.model`), fluctuates with the stationary covariance that solves the Lyapunov equation

    AΣ + ΣAᵀ + Q = 0

Linear: valid while the noise is small against V_a. Read noise of the devices, 1/f noise, amplifier current noise and
the converters' noise are not in it. Three ways to it:

- **doubling** (:mod:`equilog.hardware.noise.lyapunov`): the whole covariance, exact and differentiable;
- **schur**: the same through SciPy, slower and independent;
- **sampled** (:mod:`equilog.hardware.noise.large`): variances of large chips, with a statistical error and no gradient.

:func:`equilog.hardware.noise.draw.draw_noise` draws from it without solving for it. To train for robustness, add
``expected_displacement.mean()`` to the loss, or what a draw does to it.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

from equilog.hardware.noise.large import TOLERANCE, sampled_noise
from equilog.hardware.noise.lyapunov import METHODS, lyapunov, relative_residual
from equilog.hardware.noise.model import LinearCircuit, linear_circuit
from equilog.hardware.programming import ProgrammedLayer
from equilog.hardware.transient import UnstableChipError

MOST_EXACT = 1024
"""Neurons up to which ``method="auto"`` is exact: O(n³) for every sample, 10 s there on one core."""

LARGEST_RESIDUAL = 1e-6
"""relative to Q; what an exact solution exceeds only where a pole is within rounding of the imaginary axis"""


@dataclass(frozen=True)
class NoiseAtRest:
    """Fluctuations about rest, for each sample of a batch; float64. Shapes have the leading dimensions of `rest_volt`.

    Attributes:
        variance_volt2: of the amplifier outputs ``v``, V², shape ``(…, n)``.
        matrix_volt2: their whole covariance, shape ``(…, n, n)``; None if it was sampled.
        slope_per_volt: ``dz/dv`` at rest, shape ``(…, n)``: carries noise from outputs to states.
        expected_displacement: ``E‖δz‖²``, how far noise moves the states: trace of their covariance, shape ``(…)``.
        v_scale_volt: V_a.
        temperature_kelvin: for which it holds.
        amplifier_noise: e_n in V/√Hz, for which it holds.
        method: ``"doubling"``, ``"schur"`` or ``"sampled"``.
        residual: of the Lyapunov equation, relative to Q in the Frobenius norm, shape ``(…)``.
        rms_error_volt: statistical standard error of `rms_volt`, shape ``(…, n)``; None if exact.
        displacement_error: the same of `expected_displacement`, shape ``(…)``.
    """

    variance_volt2: Tensor
    matrix_volt2: Tensor | None
    slope_per_volt: Tensor
    expected_displacement: Tensor
    v_scale_volt: float
    temperature_kelvin: float
    amplifier_noise: float
    method: str
    residual: Tensor
    rms_error_volt: Tensor | None = None
    displacement_error: Tensor | None = None

    @property
    def rms_volt(self) -> Tensor:
        """Noise of every amplifier output in volts rms, shape ``(…, n)``."""
        return self.variance_volt2.sqrt()

    @property
    def rms(self) -> Tensor:
        """The same in units of V_a, that is of the pre-activation ``p``."""
        return self.rms_volt / self.v_scale_volt

    @property
    def state_rms(self) -> Tensor:
        """Noise of every state ``z``, rms, shape ``(…, n)``."""
        return self.slope_per_volt.abs() * self.rms_volt

    @property
    def covariance_volt2(self) -> Tensor:
        """Covariance of the amplifier outputs ``v``, V², shape ``(…, n, n)``; raises ValueError if it was sampled."""
        if self.matrix_volt2 is None:
            raise ValueError(
                "noise found by sampling has variances but no covariance: ask for method='doubling', or draw with "
                "equilog.hardware.noise.draw.draw_noise"
            )
        return self.matrix_volt2

    @property
    def state_covariance(self) -> Tensor:
        """Covariance of the states ``z = s/V_s``, shape ``(…, n, n)``; singular where activations saturate."""
        return self.slope_per_volt[..., :, None] * self.covariance_volt2 * self.slope_per_volt[..., None, :]

    def draw(self, generator: torch.Generator | None = None) -> Tensor:
        """Return one Gaussian perturbation of the states ``z`` for each sample, shape ``(…, n)``.

        What a single reading of a chip at rest would add, correlations between neurons included. Draws of the same
        generator state are the same.
        """
        white = torch.randn(self.slope_per_volt.shape, dtype=torch.float64, generator=generator)
        return self.slope_per_volt * (self._root @ white[..., None])[..., 0]

    @cached_property
    def _root(self) -> Tensor:
        # Of the outputs' covariance, which is definite whatever the activations do, but for outputs at a rail.
        still = (self.variance_volt2.detach() == 0).to(torch.float64)
        return torch.linalg.cholesky(self.covariance_volt2 + still.diag_embed())


def noise_at_rest(
    layer: ProgrammedLayer,
    rest_volt: Tensor,
    temperature_kelvin: float | None = None,
    *,
    amplifier_noise: float | None = None,
    method: str = "auto",
    probes: int = 64,
    generator: torch.Generator | None = None,
) -> NoiseAtRest:
    """Return the stationary noise of a programmed chip, or of a population, about its resting points.

    Exact results carry gradients of any order, to all that the chip is made of and to the resting points; a backward
    pass costs as much again. Under ``torch.no_grad()`` nothing is kept for it.

    Args:
        layer: the chip, or a population.
        rest_volt: resting outputs ``v*`` of each sample, ``p* V_a`` of the static twin; shape ``(batch, n)``, or
            ``(chips, batch, n)`` for a population.
        temperature_kelvin: of all resistors; the layer's conditions unless given.
        amplifier_noise: ``e_n`` in V/√Hz, white, in series with every amplifier's + input; the technology's unless
            given, none if it states none.
        method: ``"doubling"``, ``"schur"`` or ``"sampled"``; ``"auto"`` is doubling up to 1024 neurons and sampled
            beyond. A sample takes 0.7 ms at n = 32, 1.3 s at n = 512, 10 s at n = 1024; sampled, 0.2 s at n = 1024 and
            7 s at n = 4096 (one core, ``python benchmarks/noise_at_rest.py``).
        probes: of a sampled result; its relative standard errors are about ``1/√(2·probes)`` at most and are returned.
        generator: where probes are drawn from; the same ones every time unless given.

    Raises:
        ValueError: for a temperature not above 0, a noise below 0, another shape than the layer's, an unknown method,
            or fewer than two probes.
        UnstableChipError: if a resting point is not stable in the circuit, naming the worst sample; or so nearly
            unstable that the solution means nothing.
    """
    if method not in ("auto", "sampled", *METHODS):
        raise ValueError(f"method = {method!r}: expected auto, sampled, {' or '.join(METHODS)}")
    circuit = linear_circuit(layer, rest_volt, temperature_kelvin, amplifier_noise)
    if method == "auto":
        method = "doubling" if layer.states <= MOST_EXACT else "sampled"
    if method == "sampled":
        return _sampled(circuit, rest_volt.shape[:-1], probes, generator)
    return _exact(circuit, rest_volt.shape[:-1], method)


def _exact(circuit: LinearCircuit, lead: torch.Size, method: str) -> NoiseAtRest:
    n, slope = circuit.slope_per_volt.shape[-1], circuit.slope_per_volt.view(*lead, -1)
    every, covariances, residuals, poles = lead, [], [], []
    if lead[-1] > 1 and circuit.alike:
        circuit, lead = circuit.part(slice(None), slice(1)), torch.Size((*lead[:-1], 1))
    for part in circuit.chunks():
        a, q = part.matrix()[0], part.intensity()[0]
        solution, stable = lyapunov(a, q, method)
        with torch.no_grad():
            residuals.append(relative_residual(a, q, solution))
            pole = torch.full((len(a),), -torch.inf, dtype=torch.float64)
            for k in (~stable).nonzero()[:, 0].tolist():
                pole[k] = torch.linalg.eigvals(a[k]).real.max()
            poles.append(pole)
        covariances.append(solution[:, n:, n:])
    pole, residual = (torch.cat(parts).view(lead).expand(every) for parts in (poles, residuals))
    _check_stable(pole, residual)
    covariance = torch.cat(covariances).view(*lead, n, n).expand(*every, n, n)
    variance = covariance.diagonal(dim1=-2, dim2=-1)
    return NoiseAtRest(
        variance_volt2=variance,
        matrix_volt2=covariance,
        slope_per_volt=slope,
        expected_displacement=(slope.square() * variance).sum(-1),
        v_scale_volt=circuit.v_scale_volt,
        temperature_kelvin=circuit.temperature_kelvin,
        amplifier_noise=circuit.amplifier_noise,
        method=method,
        residual=residual,
    )


def _sampled(circuit: LinearCircuit, lead: torch.Size, probes: int, generator: torch.Generator | None) -> NoiseAtRest:
    if probes < 2:
        raise ValueError(f"probes = {probes}: expected at least 2, or their scatter cannot be judged")
    found = sampled_noise(circuit, probes, generator or torch.Generator().manual_seed(0))
    residual = found.residual.view(lead)
    if not bool((residual <= TOLERANCE).all()):
        raise UnstableChipError(
            f"{int((~(residual <= TOLERANCE)).sum())} of {residual.numel()} resting points are unstable in the circuit "
            f"or all but, worst {_place(residual)}: their noise does not die out"
        )
    variance = found.variance_volt2.view(*lead, -1)
    return NoiseAtRest(
        variance_volt2=variance,
        matrix_volt2=None,
        slope_per_volt=circuit.slope_per_volt.detach().view(*lead, -1),
        expected_displacement=found.displacement.view(lead),
        v_scale_volt=circuit.v_scale_volt,
        temperature_kelvin=circuit.temperature_kelvin,
        amplifier_noise=circuit.amplifier_noise,
        method="sampled",
        residual=residual,
        # d√x = dx/2√x; an output at its rail has no noise and no error.
        rms_error_volt=found.variance_error.view(*lead, -1) / (2 * variance.sqrt()).clamp_min(1e-30),
        displacement_error=found.displacement_error.view(lead),
    )


def _check_stable(pole: Tensor, residual: Tensor) -> None:
    """Raise for samples with a pole (−inf where the solution converged) or with too much left of the equation."""
    if bool((pole > -torch.inf).any()):
        raise UnstableChipError(
            f"{int((pole > -torch.inf).sum())} of {pole.numel()} resting points are unstable in the circuit, worst "
            f"{_place(pole)} with a pole at {float(pole.max()):+.3g} 1/s: it has no noise at rest"
        )
    if not bool((residual <= LARGEST_RESIDUAL).all()):
        raise UnstableChipError(
            f"noise at rest of {_place(residual)} solves its equation only to {float(residual.max()):.1e} of the noise "
            f"that drives it (expected {LARGEST_RESIDUAL:.0e}): the circuit is within rounding of instability"
        )


def _place(values: Tensor) -> str:
    """Name the sample with the largest value, as nan counts."""
    worst = int(values.nan_to_num(torch.inf).argmax())
    if values.ndim == 1:
        return f"sample {worst}"
    return f"sample {worst % values.shape[1]} of chip {worst // values.shape[1]}"
