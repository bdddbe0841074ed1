"""One implicit step of a given differential equation ``ẋ = f(x, u)`` as a law between the states before and after.

Hairer, Nørsett & Wanner, *Solving Ordinary Differential Equations I*, 2nd ed. 1993, §II.7; that the implicit midpoint
rule keeps every quadratic invariant exactly: Cooper, *IMA J. Numer. Anal.* 7 (1987). A chip holds the linear part
of a step: ``linearised(step, x, x, u).coupling(…)``, exactly the step where f is linear.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal, get_args

from torch import Tensor

from equilog.priors.law import Constant, Field, Law

Rule = Literal["backward-euler", "midpoint", "trapezoid"]


def implicit_step(
    f: Callable[..., Tensor],
    state: Field,
    step_second: float,
    *,
    rule: Rule = "backward-euler",
    input: Field | None = None,
    scale: float | Tensor = 1.0,
    constants: dict[str, Constant] | None = None,
) -> Law:
    """Return the law ``r(z, x[, u]) = 0`` between the state z after the step and x before it.

    - "backward-euler": ``z − x − h f(z)``, order 1, damps everything stiff.
    - "midpoint": ``z − x − h f((z + x)/2)``, order 2, keeps quadratic invariants.
    - "trapezoid": ``z − x − h (f(z) + f(x))/2``, order 2.

    Args:
        f: ``(x[, u], **constants) -> ẋ``, batch first, in the state's unit per second.
        state: of x and z.
        step_second: h > 0; a number without dimension where nothing in the law has one.
        rule: see above.
        input: u, the same all through the step.
        scale: what counts as one in the residual, in the state's unit.
        constants: of f, by name; every number with a dimension in it, where units are declared.

    Raises:
        ValueError: for a step that is not positive, or another rule.
    """
    if not step_second > 0:
        raise ValueError(f"step_second = {step_second}: expected above 0")
    if rule not in get_args(Rule):
        raise ValueError(f"rule = {rule!r}: expected one of {', '.join(get_args(Rule))}")

    def residual(z: Tensor, x: Tensor, *u: Tensor, h: float, **k: float | Tensor) -> Tensor:
        if rule == "midpoint":
            rate = f((z + x) / 2, *u, **k)
        elif rule == "trapezoid":
            rate = (f(z, *u, **k) + f(x, *u, **k)) / 2
        else:
            rate = f(z, *u, **k)
        return z - x - h * rate

    declared = any((state.unit, input.unit if input else "", *(c.unit for c in (constants or {}).values())))
    before = Field(f"{state.name} before", state.shape, state.unit)
    return Law(
        residual,
        state,
        (before,) if input is None else (before, input),
        unit=state.unit,
        scale=scale,
        constants={"h": Constant(step_second, "s" if declared else ""), **(constants or {})},
    )
