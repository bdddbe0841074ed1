"""What a weight guarantees: one equilibrium, how fast, how far it can move, and whether a real chip keeps that.

The equation is ``p = Wφ(p) + u``, ``z = φ(p)``; φ acts elementwise, with slopes in [0, 1]; the flow is
``τ ṗ = −p + Wφ(p) + u``. (For slopes up to gⱼ in neuron j certify ``W diag(g)``.) Δ: difference of two solutions.

*Margin* ``m = λ_min(I − sym W)``, sym W = (W + Wᵀ)/2. m > 0 gives exactly one equilibrium for every such φ and
every u (Winston & Kolter, NeurIPS 2020). Slopes in [0, 1] mean ‖Δz‖² ≤ ΔzᵀΔp.

- Perturbation: Δp = WΔz + δu gives ‖Δz‖² ≤ ΔzᵀWΔz + Δzᵀδu ≤ (1 − m)‖Δz‖² + ‖Δz‖‖δu‖, so **m‖Δz*‖ ≤ ‖δu‖**.
  A weight error acts as δu = δW z*, with m of the weight that is really there.
- Settling: V = Σᵢ∫(φ(s) − φ(p*ᵢ))ds from p*ᵢ to pᵢ has ½‖Δz‖² ≤ V ≤ ½‖Δp‖²; its convex conjugate, too, is at least
  ½‖Δz‖², so V + ½‖Δz‖² ≤ ΔzᵀΔp. Then τV̇ = −ΔzᵀΔp + ΔzᵀWΔz ≤ −V + (½ − m)‖Δz‖² ≤ −2 min(m, ½) V, and
  **‖z(t) − z*‖ ≤ ‖p(0) − p*‖ exp(−min(m, ½) t/τ)**. Also τ d‖Δp‖/dt ≤ −(1 − ‖W‖₂)‖Δp‖: the faster of the two.
- Near rest, D = diag φ'(p*): WDx = (1 + λ)x with y = Dx gives (1 + Re λ) y*x = Re y*Wy ≤ (1 − m)‖y‖² ≤ (1 − m) y*x
  when m ≤ 1, so **every Re λ ≤ −min(m, 1)** (if y = 0 then λ = −1).
- Loop-shifted chord ``p ← Kψ(p) + (I − W/2)⁻¹u``, ψ(p) = φ(p) − p/2, K = (I − W/2)⁻¹W: ψ is ½-Lipschitz, so the rate
  is ‖K‖₂/2. With X = W/2, y = (I − X)⁻¹Xv, s = y + v: y = Xs and ‖v‖² − ‖y‖² = sᵀ(I − 2 sym X)s ≥ m‖s‖², so
  **‖K‖₂/2 ≤ ‖W‖₂/√(‖W‖₂² + 4m) < 1 for every W with m > 0** (Peaceman–Rachford). Picard's rate: ‖W‖₂ or ‖W‖∞.

*Row margin* ``r = 1 − maxᵢ(max(wᵢᵢ, 0) + Σⱼ≠ᵢ|wᵢⱼ|) ≥ 1 − ‖W‖∞`` does the same in the maximum norm: with
Δzⱼ = dⱼΔpⱼ, the row where |Δpᵢ| is largest gives r‖Δp*‖∞ ≤ ‖δu‖∞, and 1 − r bounds the matrix measure μ∞(WD), so the
flow contracts in ‖·‖∞ at rate r/τ (after Jafarpour et al., *Robust implicit networks via non-Euclidean contractions*,
NeurIPS 2021). r > 0 is enough for one equilibrium, whatever m is.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Literal, get_args

import torch
from torch import Tensor

from equilog.names import nearest

Norm = Literal["spectral", "row-sum"]


@dataclass(frozen=True)
class Certificate:
    """What is known of one weight W; every number errs on the safe side by `tolerance`.

    Attributes:
        states: n.
        margin: m, in the Euclidean norm. Positive: exactly one equilibrium.
        row_margin: r, in the maximum norm. Positive: exactly one equilibrium.
        spectral_norm: ‖W‖₂.
        row_sum: ‖W‖∞, the largest Σⱼ|wᵢⱼ|.
        chord_rate: ‖K‖₂/2, contraction per step of the loop-shifted chord iteration; inf if it is not defined.
        tolerance: absolute accuracy of these numbers.
        method: how they were found.
        entries: what :meth:`after` needs to know of |wᵢⱼ|.
        symmetric: W = Wᵀ by construction, so the flow descends an energy.
        promise: what holds by construction whatever the parameters are, up to rounding; empty for a concrete weight.
    """

    states: int
    margin: float
    row_margin: float
    spectral_norm: float
    row_sum: float
    chord_rate: float
    tolerance: float
    method: str
    entries: Entries = field(repr=False, compare=False)
    symmetric: bool = False
    promise: str = ""

    @property
    def holds(self) -> bool:
        """Exactly one equilibrium, reached by the flow from everywhere, for every φ with slopes in [0, 1]."""
        return self.margin > 0 or self.row_margin > 0

    @property
    def picard_rate(self) -> float:
        """Contraction per step of ``p ← Wφ(p) + u``; 1 or more promises nothing."""
        return min(self.spectral_norm, self.row_sum)

    @property
    def asymptotic_rate(self) -> float:
        """Rate near rest, in 1/τ: every eigenvalue of ``WD − I`` has a real part ≤ − this."""
        return max(min(self.margin, 1.0), self.row_margin)

    def rate(self, norm: Norm = "spectral") -> float:
        """Return the rate at which the flow is certain to settle from everywhere, in 1/τ; ≤ 0 promises nothing.

        Raises:
            ValueError: if the norm is unknown.
        """
        if check_norm(norm) == "row-sum":
            return self.row_margin
        return max(min(self.margin, 0.5), 1 - self.spectral_norm)

    def settling_time(self, tolerance: float, tau_second: float = 1.0, norm: Norm = "spectral") -> float:
        """Return the time after which ``‖z(t) − z*‖ ≤ tolerance ‖p(0) − p*‖``: in seconds, or in τ if none is given.

        Euclidean norms for "spectral", maximum norms for "row-sum"; inf if nothing is certain in that norm.

        Raises:
            ValueError: if the tolerance is not in (0, 1), τ not positive, or the norm unknown.
        """
        if not 0 < tolerance < 1:
            raise ValueError(f"tolerance = {tolerance}: expected a number in (0, 1)")
        if not 0 < tau_second < math.inf:
            raise ValueError(f"tau_second = {tau_second}: expected a positive time")
        rate = self.rate(norm)
        return tau_second * math.log(1 / tolerance) / rate if rate > 0 else math.inf

    def displacement(self, perturbation: float, norm: Norm = "spectral") -> float:
        """Return the bound on ``‖Δz*‖`` when u moves by ``‖δu‖ = perturbation``, both in the norm named; or inf.

        For a weight error ask the certificate of the *wrong* weight, with ``‖δW z*‖``, z* of the right one.

        Raises:
            ValueError: if the perturbation is negative or not a number, or the norm is unknown.
        """
        if not 0 <= perturbation < math.inf:
            raise ValueError(f"perturbation = {perturbation}: expected a number ≥ 0")
        margin = self.margin if check_norm(norm) == "spectral" else self.row_margin
        return perturbation / margin if margin > 0 else math.inf

    def after(
        self, *, rounding: float = 0.0, mismatch: float = 0.0, relative: bool = True, confidence: float = 0.999
    ) -> Verdict:
        """Return what survives when every entry is rounded and then misses its value at random.

        Rounding errors are independent and uniform in ±rounding/2; the rounded w' misses by a Gaussian of deviation
        ``mismatch·|w'|`` (relative) or ``mismatch``. Every entry is a device of its own, of a convolution too, which
        stands unrolled on a crossbar. If entries are stuck, clipped or shared, :func:`certify` what they make of W.

        Args:
            rounding: step q between levels, in units of W.
            mismatch: standard deviation, a fraction of |w'| or in units of W.
            relative: which of the two.
            confidence: that one chip obeys all bounds of the verdict together.

        Raises:
            ValueError: if a number is negative, not finite, or the confidence is not in (0, 1).
        """
        for name, value in (("rounding", rounding), ("mismatch", mismatch)):
            if not 0 <= value < math.inf:
                raise ValueError(f"{name} = {value}: expected a number ≥ 0")
        if not 0 < confidence < 1:
            raise ValueError(f"confidence = {confidence}: expected a number in (0, 1)")
        alpha = (1 - confidence) / 3
        symmetric, worst, full, row = _error_bounds(self.entries, self.states, rounding, mismatch, relative, alpha)
        return Verdict(self.margin - symmetric, self.row_margin - row, self.margin - worst, full, confidence)

    def __str__(self) -> str:
        def rate(value: float) -> str:
            return f"{value:.4g}" if value < 1 else f"none ({value:.4g} ≥ 1)"

        verdict = "exactly one equilibrium" if self.holds else "NOT certain to have one equilibrium"
        lines = [f"{self.states} states, {verdict}: margin {self.margin:.4g}, row margin {self.row_margin:.4g}"]
        lines += [f"  by construction  {self.promise}"] if self.promise else []
        lines += [f"  norms            ‖W‖₂ = {self.spectral_norm:.4g}, ‖W‖∞ = {self.row_sum:.4g}"]
        lines += [f"  rate per step    Picard {rate(self.picard_rate)}, chord {rate(self.chord_rate)}"]
        lines += [f"  rate near rest   {self.asymptotic_rate:.4g}/τ"] if self.holds else []
        norms: tuple[tuple[Norm, str], ...] = (("spectral", "₂"), ("row-sum", "∞"))
        for norm, n in norms:
            if self.rate(norm) > 0:
                time, bound = self.settling_time(1e-3, 1.0, norm), self.displacement(1.0, norm)
                lines += [f"  settles          to ‖Δz‖{n} ≤ 1e-3 ‖Δp(0)‖{n} within {time:.4g} τ"]
                lines += [f"  moves            ‖Δz*‖{n} ≤ {bound:.4g} ‖δu‖{n}"]
        if self.symmetric:
            lines += ["  energy           E(z) = −½zᵀWz − uᵀz + Σ∫φ⁻¹ falls along the flow; no ringing near rest"]
        return "\n".join([*lines, f"  found by         {self.method}, to {self.tolerance:.1e}"])


@dataclass(frozen=True)
class Verdict:
    """What a certificate is still worth on a chip; one chip obeys all bounds together with probability `confidence`.

    Attributes:
        margin, row_margin: lower bounds on m and r of the chip's weight.
        worst_margin: like `margin`, with rounding errors as bad as ±q/2 can be instead of random.
        weight_error: upper bound on ‖δW‖₂.
    """

    margin: float
    row_margin: float
    worst_margin: float
    weight_error: float
    confidence: float

    @property
    def holds(self) -> bool:
        """The chip still has exactly one equilibrium, with at least the stated confidence."""
        return self.margin > 0 or self.row_margin > 0

    @property
    def displacement(self) -> float:
        """Bound on ``‖Δz*‖₂ / ‖z*‖₂`` between chip and ideal weight: ‖δW‖₂/m'; inf if the margin is gone."""
        return self.weight_error / self.margin if self.margin > 0 else math.inf

    def __str__(self) -> str:
        return (
            f"{'holds' if self.holds else 'does NOT hold'} with confidence {self.confidence:.6g}: "
            f"margin ≥ {self.margin:.4g} (≥ {self.worst_margin:.4g} for the worst rounding), "
            f"row margin ≥ {self.row_margin:.4g}, ‖δW‖₂ ≤ {self.weight_error:.4g}, ‖Δz*‖ ≤ {self.displacement:.4g} ‖z*‖"
        )


@dataclass(frozen=True)
class Entries:
    """Sums of |w| over lines of W, float64: enough to bound what independent errors of its entries can do.

    Attributes:
        rows: number of devices, Σ|w| and Σw² of every (kind of) row, shape ``(3, k)``.
        columns: the same of the columns, ``(3, k)``.
        diagonal: |wᵢᵢ|, shape ``(k,)``.
        largest: max |w|.
    """

    rows: Tensor
    columns: Tensor
    diagonal: Tensor
    largest: float


def _error_bounds(
    entries: Entries, n: int, q: float, sigma: float, relative: bool, alpha: float
) -> tuple[float, float, float, float]:
    """Bound λ_max(sym δ), the same for the worst rounding, ‖δ‖₂ and ‖δ‖∞; each fails with probability ≤ α.

    ``δ_ij = R_ij + s_ij g_ij``: R uniform in ±q/2, g normal and, whatever R is, ``s ≤ σ(|w| + q/2)``, or σ if absolute.

    - Mean: E λ_max(sym δ) ≤ √(2v ln n), v the largest row sum of the variances of sym δ (Tropp, *An introduction to
      matrix concentration inequalities*, 2015, Thm 4.6.1; uniform errors are sub-Gaussian with their variance q²/12).
      Or s_max√(2n): Sudakov–Fernique, against √2 s gᵀx on the sphere, where a Gaussian of variance πq²/32 stands for
      the uniform error, which it exceeds in convex order. For ‖δ‖₂: √(2v ln 2n), and 2s_max√n (Chevet).
    - Tail: the errors are Gaussians, or q/√2π-Lipschitz images of them, and λ_max is 1-Lipschitz in the errors, so it
      exceeds its mean by √(s_max² + q²/2π)·√(2 ln 1/α) at most (Gaussian concentration: Boucheron, Lugosi & Massart,
      *Concentration inequalities*, 2013, Thm 5.6). Or both in one, √(2v ln(n/α)) (Tropp). The least of them counts.
    - Rows: E|δ| ≤ q/4 + s√(2/π), the same concentration with Σⱼ(s² + q²/2π), and α shared by n rows.
    """

    def squares(sums: Tensor, rho: float) -> Tensor:
        """Σ(s² + ρq²) over lines with these sums, ``(3, k)``."""
        count, size, square = sums
        return sigma**2 * (square + q * size + count * q**2 / 4 if relative else count) + rho * q**2 * count

    def bound(lines: Tensor, dimension: int, width: float, random: bool = True) -> float:
        top = torch.tensor([[1.0], [entries.largest], [entries.largest**2]], dtype=torch.float64)
        peak, reach = (math.sqrt(squares(top, random * rho)) for rho in (math.pi / 32, 0.5 / math.pi))
        twice_v, log = 2 * float(lines.max()), math.log(dimension)
        mean = min(math.sqrt(twice_v * log), peak * width)
        return min(mean + reach * math.sqrt(-2 * math.log(alpha)), math.sqrt(twice_v * (log - math.log(alpha))))

    def symmetric(rho: float) -> Tensor:
        own = torch.stack([torch.ones_like(entries.diagonal), entries.diagonal, entries.diagonal**2])
        return (squares(entries.rows, rho) + squares(entries.columns, rho)) / 4 + squares(own, rho) / 2

    rounding = float((entries.rows[0] + entries.columns[0]).max()) * q / 4  # ‖sym R‖₂ ≤ ‖sym R‖∞
    worst = rounding + bound(symmetric(0.0), n, math.sqrt(2 * n), random=False)
    full = bound(torch.cat([squares(entries.rows, 1 / 12), squares(entries.columns, 1 / 12)]), 2 * n, 2 * math.sqrt(n))
    count, size, _ = entries.rows
    mean = count * q / 4 + math.sqrt(2 / math.pi) * sigma * (size + count * q / 2 if relative else count)
    rows = mean + (squares(entries.rows, 1 / (2 * math.pi)) * 2 * math.log(n / alpha)).sqrt()
    return min(bound(symmetric(1 / 12), n, math.sqrt(2 * n)), worst), worst, full, float(rows.max())


def certify(weight: Tensor) -> Certificate:
    """Certify a concrete weight ``(n, n)``, for instance the one a chip really has, by dense factorisations in float64.

    Raises:
        ValueError: if it is not a square matrix, or holds inf or nan.
    """
    if weight.ndim != 2 or weight.shape[0] != weight.shape[1] or weight.shape[0] == 0:
        raise ValueError(f"weight has shape {tuple(weight.shape)}, expected (n, n) with n ≥ 1")
    if not bool(weight.isfinite().all()):
        raise ValueError("weight holds inf or nan: expected finite numbers")
    w = weight.detach().to("cpu", torch.float64)
    n, eye, size, diagonal = len(w), torch.eye(len(w), dtype=torch.float64), w.abs(), w.diagonal()
    lines = [torch.stack([torch.full_like(diagonal, n), size.sum(k), (size**2).sum(k)]) for k in (1, 0)]
    # LAPACK's values are exact for a matrix within a few n ε‖W‖ of this one.
    tolerance = 4 * n * torch.finfo(torch.float64).eps * (1 + float(torch.linalg.matrix_norm(w)))
    margin = float(torch.linalg.eigvalsh(eye - (w + w.T) / 2)[0]) - tolerance
    chord = float(torch.linalg.matrix_norm(torch.linalg.solve(eye - w / 2, w), 2)) / 2 if margin > 0 else math.inf
    return Certificate(
        states=n,
        margin=margin,
        row_margin=1 - float((lines[0][1] - diagonal.abs() + diagonal.clamp(min=0)).max()) - tolerance,
        spectral_norm=float(torch.linalg.matrix_norm(w, 2)) + tolerance,
        row_sum=float(lines[0][1].max()) + tolerance,
        chord_rate=chord + tolerance,
        tolerance=tolerance,
        method="dense eigenvalues and singular values",
        entries=Entries(lines[0], lines[1], diagonal.abs(), float(size.max())),
    )


def check_norm(norm: str) -> str:
    """Return the norm's name, or raise ``ValueError`` naming the nearest."""
    if norm not in get_args(Norm):
        raise ValueError(f"norm = {norm!r}{nearest(norm, get_args(Norm))}: expected one of {', '.join(get_args(Norm))}")
    return norm
