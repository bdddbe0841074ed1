"""The shared-Jacobian chord solver: one factorisation for the batch, Anderson on the preconditioned residual.

For ``r(p) = Wφ(p) + u − p`` the Jacobian of a sample is ``−(I − W D)`` with ``D = diag φ'(p)``. All samples use
the inverse at the batch-mean slope ``D̄``, and Anderson acceleration makes up for the difference. Where Picard
iteration needs ‖W‖ < 1, this converges for monotone W of any norm. Samples that it leaves unconverged are
finished by a damped Newton method with their own Jacobian (costly, robust), and what even that cannot settle is
reported, never returned silently.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from equilog.cells import AffineSystem
from equilog.equilibrium.anderson import anderson
from equilog.equilibrium.solution import Solution, Status


@dataclass(frozen=True)
class ChordSolver:
    """Solve ``p = Wφ(p) + u`` for a batch.

    A sample is accepted when ``‖residual‖₂ ≤ atol + rtol ‖p‖₂``. Left as None, the tolerances follow the
    precision of the state: rtol 1e-5 and atol 1e-7 in float32, 1e-11 and 1e-13 in float64.

    Attributes:
        rtol: relative tolerance.
        atol: absolute tolerance.
        max_steps: chord steps before the Newton rescue, and Newton steps in it.
        memory: Anderson differences kept per sample.
    """

    rtol: float | None = None
    atol: float | None = None
    max_steps: int = 60
    memory: int = 5

    def tolerances(self, dtype: torch.dtype) -> tuple[float, float]:
        """Return ``(rtol, atol)`` in force for states of this precision."""
        rtol, atol = (1e-11, 1e-13) if dtype == torch.float64 else (1e-5, 1e-7)
        return (rtol if self.rtol is None else self.rtol), (atol if self.atol is None else self.atol)

    @torch.no_grad()
    def solve(self, system: AffineSystem, start: Tensor | None = None) -> Solution:
        """Find ``p*`` of every sample.

        Args:
            system: the batch of equations.
            start: first guess of shape ``(batch, n)``; zero unless given.
        """
        rtol, atol = self.tolerances(system.injection.dtype)
        weight = system.weight

        def residual(p: Tensor) -> Tensor:
            return system(p) - p

        def threshold(p: Tensor) -> Tensor:
            return atol + rtol * torch.linalg.vector_norm(p, dim=1)

        p = torch.zeros_like(system.injection) if start is None else start
        # One cheap damped step first: slopes at the origin say little about slopes at rest.
        p = p + 0.5 * residual(p)
        inverse = chord_inverse(weight, system.activation.slope(p))
        found = anderson(residual, lambda r: r @ inverse.T, p, threshold, max_steps=self.max_steps, memory=self.memory)
        p, norm, steps, done = found.x, found.residual, found.steps, found.converged
        if not bool(done.all()):
            left = ~done
            rest = AffineSystem(weight, system.injection[left], system.activation)
            p_left, norm_left, steps_left, done_left = _newton(rest, threshold, self.max_steps)
            p, norm, steps, done = p.clone(), norm.clone(), steps.clone(), done.clone()
            better = done_left | ~(norm[left] <= norm_left)  # also where the chord iterate is not finite
            p[left] = torch.where(better[:, None], p_left, p[left])
            norm[left] = torch.where(better, norm_left, norm[left])
            done[left] = done_left
            steps[left] = self.max_steps + steps_left
        status = torch.where(done, int(Status.CONVERGED), int(Status.MAX_STEPS))
        status = torch.where(torch.isfinite(norm), status, int(Status.NOT_FINITE))
        return Solution(p, norm, steps, status, inverse)


def chord_inverse(weight: Tensor, slope: Tensor) -> Tensor:
    """Return ``(I − W D̄)⁻¹`` at the batch-mean slope, shape ``(n, n)``.

    Used as a preconditioner only, so accuracy costs steps, never correctness; a singular matrix falls back to
    the identity (plain Picard).
    """
    eye = torch.eye(weight.shape[0], dtype=weight.dtype, device=weight.device)
    # A sample with inf or nan must not cost the others their preconditioner.
    usable = slope[torch.isfinite(slope).all(1)]
    mean = usable.mean(0) if len(usable) else torch.zeros_like(eye[0])
    inverse, info = torch.linalg.inv_ex(eye - weight * mean)
    return inverse if int(info) == 0 and bool(torch.isfinite(inverse).all()) else eye


def _newton(
    system: AffineSystem, threshold: Callable[[Tensor], Tensor], max_steps: int
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Damped Newton with each sample's own Jacobian, halving steps that do not reduce its residual."""
    weight, phi = system.weight, system.activation
    p = torch.zeros_like(system.injection)
    r = system(p) - p
    norm = torch.linalg.vector_norm(r, dim=1)
    steps = torch.full(norm.shape, max_steps, device=p.device)
    done = norm <= threshold(p)
    steps = torch.where(done, 0, steps)
    eye = torch.eye(weight.shape[0], dtype=p.dtype, device=p.device)
    for k in range(1, max_steps + 1):
        if bool((done | ~torch.isfinite(norm)).all()):
            break
        jacobian = eye - weight * phi.slope(p)[:, None, :]
        delta, _ = torch.linalg.solve_ex(jacobian, r[:, :, None])
        # Where the Jacobian is singular, the residual itself is a direction that can be searched along.
        delta = torch.where(torch.isfinite(delta[:, :, 0]), delta[:, :, 0], r)
        size = torch.ones_like(norm)
        for _ in range(12):
            trial = p + size[:, None] * delta
            trial_norm = torch.linalg.vector_norm(system(trial) - trial, dim=1)
            worse = ~(trial_norm < norm) & ~done
            if not bool(worse.any()):
                break
            size = torch.where(worse, size / 2, size)
        p = torch.where(done[:, None], p, p + size[:, None] * delta)
        r = system(p) - p
        norm = torch.linalg.vector_norm(r, dim=1)
        newly = ~done & (norm <= threshold(p))
        steps = torch.where(newly, k, steps)
        done = done | newly
    return p, norm, steps, done
