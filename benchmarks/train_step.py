"""Forward and backward: how long a training step takes, and whether its gradient is the gradient.

    python benchmarks/train_step.py --json results/train_step.json
    python benchmarks/train_step.py --problems contractive --sizes 128 --batches 64 --repeats 5
    python benchmarks/train_step.py --problems monotone --sizes 32 --details

The loss is (c · z*).sum() with random c; gradients go to W and u. All contestants in turns within one process, float32:

    equilog, system   EquilibriumLayer on the AffineSystem, solver Auto, exact gradient
    equilog, function EquilibriumLayer.fixed_point on the function, solver Auto, exact gradient
    torchdeq …        get_deq(ift=True), the same solver forward and backward, both with relative stopping
    equilog OneStep, Neumann, Reuse   the cheaper estimators, Reuse on the chord method's inverse

Gradients are compared, at three scales of the loss, with a float64 reference: state and adjoint solved until their
residuals, computed here by hand, are below 1e-11. `error` is ‖G − G*‖ / ‖G*‖ over the whole batch. As in solve.py, who
misses the forward tolerance in the true residual is asked for half of it, a quarter, an eighth. Whoever is not at rest,
or has a gradient error above 1 % and above that of equilog's system at scale 1, is timed once and no rival.
`overhead` is time / ((forward + backward evaluations) × one bare addmm and activation).
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from _harness import (
    MAX_STEPS,
    SLACK,
    TORCHDEQ,
    Cell,
    Cells,
    asked,
    by_case,
    cell_of,
    chosen,
    interleave,
    number,
    parser,
    prepare,
    progress,
    show,
    table,
    write,
)
from rich.table import Table
from torch import Tensor
from torchdeq import get_deq

from equilog.cells import AffineSystem
from equilog.equilibrium import Auto, Chord, EquilibriumLayer, Gradient, Neumann, OneStep, Reuse, Solver

AUTO = "equilog, system"
FUNCTION = "equilog, function"
BARE = "bare cell"
SCALES = (1.0, 1e-3, 1e-6)
ESTIMATORS: dict[str, Callable[[float], tuple[Solver, Gradient | None]]] = {
    "equilog OneStep": lambda rtol: (Auto(rtol=rtol, atol=0.0), OneStep()),
    "equilog Neumann(5)": lambda rtol: (Auto(rtol=rtol, atol=0.0), Neumann(5)),
    "equilog Reuse, Chord": lambda rtol: (Chord(rtol=rtol, atol=0.0), Reuse()),
}


@dataclass
class Step:
    """One way to make a training step.

    Attributes:
        forward: returns z* on the tape of W and u.
        evaluations: forward and backward, of the latest step.
    """

    forward: Callable[[], Tensor]
    evaluations: Callable[[], tuple[int, int]]


@dataclass
class Data:
    """What everybody differentiates: leaves W and u, and the loss's c."""

    weight: Tensor
    injection: Tensor
    c: Tensor
    cell: Cell

    def gradient(self, step: Step, scale: float = 1.0) -> tuple[Tensor, Tensor, Tensor]:
        """Return the gradients of W and u, and z*."""
        z = step.forward()
        loss = (self.c * z).sum() if scale == 1.0 else (scale * self.c * z).sum()
        return *torch.autograd.grad(loss, (self.weight, self.injection)), z.detach()


def data_of(system: AffineSystem, seed: int) -> Data:
    """Return leaves, a loss, and the cell as a function of the leaves."""
    weight, injection = system.weight.clone().requires_grad_(), system.injection.clone().requires_grad_()
    c = torch.randn(injection.shape, generator=torch.Generator().manual_seed(seed + 2))
    return Data(weight, injection, c, cell_of(AffineSystem(weight, injection, system.activation)))


def equilog_system(data: Data, solver: Solver, gradient: Gradient | None = None) -> Step:
    layer = EquilibriumLayer(solver, gradient=gradient, on_failure="ignore")
    activation = data.cell.system.activation
    return Step(lambda: layer(AffineSystem(data.weight, data.injection, activation)), lambda: _evaluations(layer))


def equilog_function(data: Data, solver: Solver) -> Step:
    layer = EquilibriumLayer(solver, on_failure="ignore")
    start = data.cell.start.detach()
    return Step(lambda: layer.fixed_point(data.cell.f, start), lambda: _evaluations(layer))


def _evaluations(layer: EquilibriumLayer) -> tuple[int, int]:
    back = layer.last_backward
    terms = layer.gradient.terms if isinstance(layer.gradient, Neumann) else 0
    return int(layer.last.steps.max()), terms if back is None else int(back.steps.max())


def torchdeq_step(data: Data, name: str, rtol: float) -> Step:
    solver = TORCHDEQ[name]
    deq = get_deq(
        ift=True,
        f_solver=solver,
        b_solver=solver,
        f_max_iter=MAX_STEPS,
        b_max_iter=MAX_STEPS,
        f_tol=rtol,
        b_tol=rtol,
        f_stop_mode="rel",
        b_stop_mode="rel",
    )
    deq.train()
    start = data.cell.start.detach()
    seen: dict[str, Any] = {}

    def forward() -> Tensor:
        found, seen["forward"] = deq(data.cell.f, start, backward_writer=lambda info: seen.update(backward=info))
        return found[-1]

    def evaluations(info: Mapping[str, Tensor]) -> int:
        # nstep is where the residual was lowest: of those who did not get there, not where they stopped.
        return int(info["nstep"].max()) if bool((info["rel_lowest"] < rtol).all()) else MAX_STEPS

    return Step(forward, lambda: (evaluations(seen["forward"]), evaluations(seen["backward"])))


def contestant(data: Data, name: str, rtol: float) -> Step:
    """Return the contestant of this name."""
    if name in ESTIMATORS:
        return equilog_system(data, *ESTIMATORS[name](rtol))
    if name == AUTO:
        return equilog_system(data, Auto(rtol=rtol, atol=0.0))
    if name == FUNCTION:
        return equilog_function(data, Auto(rtol=rtol, atol=0.0))
    return torchdeq_step(data, name.removeprefix("torchdeq "), rtol)


NAMES = (AUTO, FUNCTION, *(f"torchdeq {name}" for name in TORCHDEQ), *ESTIMATORS)


def reference(data: Data) -> tuple[Tensor, Tensor]:
    """Return the gradients of W and u in float64, from a state and an adjoint whose residuals are checked here.

    With ``p = W φ(p) + u``, ``g = c ∘ φ'(p)`` and ``λ = g + φ'(p) ∘ Wᵀ λ``: ``∂L/∂u = λ``, ``∂L/∂W = Σ λ φ(p)ᵀ``.
    """
    w, u, c = (t.detach().double() for t in (data.weight, data.injection, data.c))
    activation = data.cell.system.activation
    solver = Auto(rtol=1e-12, atol=0.0, max_steps=500)
    layer = EquilibriumLayer(solver, on_failure="ignore")
    leaf = u.clone().requires_grad_()
    z = layer(AffineSystem(w, leaf, activation))
    (lam,) = torch.autograd.grad((c * z).sum(), leaf)
    p = layer.last.state
    slope = activation.slope(p)
    state = (activation(p) @ w.mT + u - p).norm(dim=1) / p.norm(dim=1)
    adjoint = (c * slope + slope * (lam @ w) - lam).norm(dim=1) / lam.norm(dim=1)
    worst = float(torch.maximum(state, adjoint).max())
    if not worst < 1e-11:
        raise RuntimeError(f"the float64 reference has a residual of {worst:.1e}")
    return lam.mT @ activation(p), lam


def _error(found: Tensor, wanted: Tensor) -> float:
    return float((found.double() - wanted).norm() / wanted.norm())


def examine(data: Data, name: str, rtol: float, wanted: tuple[Tensor, Tensor]) -> dict[str, Any]:
    """Make one step at every scale of the loss and judge state and gradients."""
    row: dict[str, Any] = {}
    for factor in (1, 0.5, 0.25, 0.125):
        step = contestant(data, name, factor * rtol)
        try:
            *found, z = data.gradient(step)
        except RuntimeError as error:
            return {"error": f"{type(error).__name__}: {error}"[:200], "at_rest": False}
        at_rest = bool((data.cell.residual(z) <= SLACK * rtol).all())
        row = {"rtol_asked": factor * rtol, "at_rest": at_rest}
        row["forward"], row["backward"] = step.evaluations()
        if at_rest or row["forward"] >= MAX_STEPS:  # there, or known not to get there
            break
    row["error_w"], row["error_u"] = [], []
    for scale in SCALES:
        *found, _ = data.gradient(step, scale)
        row["error_w"].append(_error(found[0].double() / scale, wanted[0]))
        row["error_u"].append(_error(found[1].double() / scale, wanted[1]))
        if scale == 1.0:
            pairs = zip(("cosine_w", "cosine_u"), found, wanted)
            row |= {key: float(torch.cosine_similarity(a.double().ravel(), b.ravel(), 0)) for key, a, b in pairs}
    return row


def measure(data: Data, arguments: argparse.Namespace, slow: set[str]) -> list[dict[str, Any]]:
    """Return one row a contestant."""
    wanted = reference(data)
    rows: dict[str, dict[str, Any]] = {}
    plain = cell_of(data.cell.system)
    u, start, f = data.injection.detach(), data.cell.start.detach(), plain.f
    bare_f = cell_of(AffineSystem(data.weight.detach(), u, data.cell.system.activation)).f
    calls: dict[str, Callable[[], Any]] = {
        BARE: lambda: bare_f(start),
        "bare cell and gradient": lambda: torch.autograd.grad((data.c * f(start)).sum(), (data.weight, data.injection)),
    }
    for name in NAMES:
        rows[name] = {"error": "skipped"} if name in slow else examine(data, name, arguments.rtol, wanted)
        if "error" not in rows[name]:
            calls[name] = partial(data.gradient, contestant(data, name, rows[name]["rtol_asked"]))
    largest = max(1e-2, *rows[AUTO].get("error_u", [])[:1])
    fit = {
        name
        for name, row in rows.items()
        if row.get("at_rest") and (name in ESTIMATORS or row["error_u"][0] <= largest)
    }
    once = [name for name in calls if name in rows and name not in fit]
    times = interleave(calls, arguments.repeats, arguments.budget, once)
    rivals = [name for name in fit if name.startswith("torchdeq")]
    best = min(rivals, key=lambda name: times[name].median, default=None)
    for name, row in rows.items():
        row |= {"best_of_torchdeq": best, "fit": name in fit}
        if name in times:
            row |= {"time": times[name].as_json(), "time_text": str(times[name])}
            row["bare_second"] = times[BARE].median
            row["bare_gradient_second"] = times["bare cell and gradient"].median
            row["overhead"] = times[name].over(times[BARE]) / (row["forward"] + row["backward"])
            row["over_torchdeq"] = times[name].over(times[best]) if best else None
            if min(times[name].seconds) > arguments.patience:
                slow.add(name)
    return [{"contestant": name, "rtol": arguments.rtol, **row} for name, row in rows.items()]


def main() -> None:
    """Measure and report."""
    problems = ("contractive", "monotone", "monotone, saturated", "near-critical", "tiny", "relu")
    made = parser(__doc__, (32, 128, 512), (1, 64, 256), 15, problems)
    made.add_argument("--patience", type=float, default=10.0, help="seconds a step may take before larger are skipped")
    made.add_argument("--details", action="store_true", help="also print one row a contestant")
    arguments = made.parse_args()
    prepare(arguments.threads)
    problems = [p for p in chosen(arguments.problems) if isinstance(p.make(2, 1, torch.float32, 0), AffineSystem)]
    rows: list[dict[str, Any]] = []
    try:
        with progress(len(problems) * len(arguments.sizes) * len(arguments.batches), "train step") as step:
            for problem in problems:
                slow: set[str] = set()
                for n in arguments.sizes:
                    cells = None
                    for batch in arguments.batches:
                        step(f"{problem.name}, n = {n}, batch {batch}")
                        cells = cells or Cells(problem, n, arguments.batches, arguments.seed)
                        data = data_of(cells[batch].system, arguments.seed)
                        label = {"problem": problem.name, "n": n, "batch": batch}
                        rows += [label | row for row in measure(data, arguments, slow)]
    except KeyboardInterrupt:
        arguments.interrupted = True
    show([*(details(rows) if arguments.details else []), times_table(rows), errors_table(rows), estimators_table(rows)])
    write(arguments.json, rows, arguments, scales=SCALES)


def _time(row: Mapping[str, Any]) -> str:
    if "time" not in row:
        return row["error"].split(":")[0]
    steps = f"{row['forward']}+{row['backward']}"
    return f"{number(1e3 * row['time']['median_second'])} ({steps}){asked(row)}{'' if row['fit'] else ' ✗'}"


def _head(case: tuple[str, int, int]) -> list[str]:
    return [case[0], f"{case[1]} × {case[2]}"]


def _ratio(row: Mapping[str, Any]) -> str:
    if "time" not in row or not row["fit"]:
        return "–"
    return "none" if row["over_torchdeq"] is None else f"{row['over_torchdeq']:.2f}"


def times_table(rows: Sequence[Mapping[str, Any]]) -> Table:
    """One line a case: exact gradients."""
    exact = [AUTO, FUNCTION, *(f"torchdeq {name}" for name in TORCHDEQ)]
    columns = ["problem", "n × batch", "cell", "cell and\ngradient", "equilog,\nsystem", "over-\nhead"]
    columns += ["equilog,\nfunction", *(f"torchdeq\n{name}" for name in TORCHDEQ)]
    columns += ["system /\ntorchdeq", "function /\ntorchdeq"]
    lines = []
    for case, group in by_case(rows):
        some = next(r for r in group.values() if "time" in r)
        line = [*_head(case), *(f"{1e6 * some[key]:.0f} µs" for key in ("bare_second", "bare_gradient_second"))]
        line += [_time(group[AUTO]), f"{group[AUTO].get('overhead', float('nan')):.2f}"]
        line += [_time(group[name]) for name in exact[1:]]
        lines.append([*line, _ratio(group[AUTO]), _ratio(group[FUNCTION])])
    caption = (
        "median ms (forward + backward evaluations); ½ ¼ ⅛: of the tolerance had to be asked for; "
        "✗: not at rest, or the gradient is off; none: all of torchdeq's"
    )
    return table("training step", columns, lines, caption)


def errors_table(rows: Sequence[Mapping[str, Any]]) -> Table:
    """One line a case: gradient errors at the three scales of the loss, the larger of W's and u's."""
    exact = [AUTO, FUNCTION, *(f"torchdeq {name}" for name in TORCHDEQ)]
    lines = []
    for case, group in by_case(rows):
        line = _head(case)
        for name in exact:
            row = group[name]
            pairs = zip(row.get("error_w", ()), row.get("error_u", ()))
            line.append("  ".join(f"{max(pair):.0e}" for pair in pairs))
        lines.append(line)
    caption = f"relative error of the gradient, the larger of W's and u's, at loss scales {', '.join(map(str, SCALES))}"
    return table(
        "is it the gradient?", ["problem", "n × batch", *(n.replace(" ", "\n", 1) for n in exact)], lines, caption
    )


def estimators_table(rows: Sequence[Mapping[str, Any]]) -> Table:
    """One line a case: the cheaper estimators, their time relative to the exact gradient's, and where they point."""
    lines = []
    for case, group in by_case(rows):
        line = [*_head(case), _time(group[AUTO])]
        for name in ESTIMATORS:
            row = group[name]
            if "time" in row:
                line += [_time(row), f"{row['cosine_w']:.4f} {row['cosine_u']:.4f}"]
            else:
                line += ["–", "–"]
        lines.append(line)
    columns = ["problem", "n × batch", "exact"]
    for name in ESTIMATORS:
        columns += [name.removeprefix("equilog "), "cosine\nW, u"]
    return table(
        "cheaper gradients", columns, lines, "median ms (evaluations); cosine between it and the float64 gradient"
    )


def details(rows: Sequence[Mapping[str, Any]]) -> list[Table]:
    """One table a case, one line a contestant."""
    columns = ["contestant", "fit", "ms (quartiles)", "forward", "backward", "overhead", "/ torchdeq"]
    columns += [f"error of {of}\nat {scale:g}" for of in "Wu" for scale in SCALES]
    tables = []
    for (problem, n, batch), group in by_case(rows):
        lines = []
        for name, row in group.items():
            if "time" not in row:
                lines.append([name, row["error"], *[""] * (len(columns) - 2)])
                continue
            line = [name, "yes" if row["fit"] else "no", row["time_text"], str(row["forward"]), str(row["backward"])]
            line += [f"{row['overhead']:.2f}", _ratio(row)]
            lines.append([*line, *(f"{e:.1e}" for e in row["error_w"] + row["error_u"])])
        tables.append(table(f"{problem}, n = {n}, batch {batch}", columns, lines))
    return tables


if __name__ == "__main__":
    main()
