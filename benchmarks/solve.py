"""Forward only: how long until every sample is at rest, how much of it is the cell, and is it at rest?

    python benchmarks/solve.py --json results/solve.json
    python benchmarks/solve.py --problems contractive monotone --sizes 128 --batches 64 --repeats 5
    python benchmarks/solve.py --problems stiff --sizes 32 128 --all-solvers
    python benchmarks/solve.py --problems contractive --sizes 4096 --batches 64 --large

Every reference problem in float32 to a relative tolerance, all contestants in turns within one process:

    bare cell         one addmm and one activation (or the problem's own function), without a solver
    equilog, system   EquilibriumLayer on the AffineSystem, solver Auto
    equilog, function EquilibriumLayer.fixed_point on the same black box that torchdeq gets, solver Auto
    torchdeq …        its fixed-point, Anderson and Broyden solvers, called without the DEQ wrapper

All begin at the same state, z = φ(u) for systems. The verdict on each sample is ours, by the true residual
‖f(z) − z‖ / ‖z‖ of the state that came back, for both libraries alike. Who calls its result converged and misses the
tolerance is asked for half of it, a quarter, an eighth, and timed there: equilog judges systems by p, and torchdeq
returns f(x) for the x it judged, so both may miss by a little. A solver that leaves one sample above the tolerance has
not converged, is timed once, and is no rival. `overhead` is time / (evaluations × bare cell); `/ torchdeq` is the
median ratio to the quickest of torchdeq's converged solvers in the same repetition: below 1 is quicker.

Sizes beyond a problem's LIMIT are skipped unless --large is given; so is a contestant that needed longer than
--patience in a smaller case of the same problem.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from _harness import (
    MAX_STEPS,
    SLACK,
    TORCHDEQ,
    Cell,
    Cells,
    Counted,
    Timing,
    asked,
    by_case,
    chosen,
    flat,
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
from torchdeq.solver import get_solver
from torchdeq.utils.layer_utils import deq_decorator

from equilog.cells import AffineSystem
from equilog.equilibrium import (
    Anderson,
    Auto,
    Broyden,
    Chord,
    EquilibriumLayer,
    Newton,
    NewtonKrylov,
    Picard,
    Settle,
    Solver,
)
from equilog.equilibrium.reference_problems import PROBLEMS
from equilog.equilibrium.states import Nested

LIMIT = {"contractive": 4096, "monotone": 1024, "monotone, saturated": 1024, "nowhere": 32}
"""Up to which n a problem is tried by default; 512 if not listed. Making the weights is what takes the time."""

AUTO = "equilog, system"
FUNCTION = "equilog, function"
BARE = "bare cell"
# A Jacobian a sample: beyond this many numbers the memory is not there.
DENSE = 2**27


@dataclass
class Contestant:
    """One way to solve a cell.

    Attributes:
        call: what is timed.
        state: turns what `call` returned into the state z.
        evaluations: of the cell in the latest call; None if it must be counted from outside.
        says: whether the library itself calls the latest result converged.
    """

    call: Callable[[], Any]
    state: Callable[[Any], Nested]
    evaluations: Callable[[], int] | None
    says: Callable[[Any], bool]


def equilog_system(cell: Cell, solver: Solver) -> Contestant:
    system = cell.system
    assert system is not None
    layer = EquilibriumLayer(solver, on_failure="ignore")
    return Contestant(
        lambda: layer(AffineSystem(system.weight, system.injection, system.activation)),
        lambda z: z,
        lambda: int(layer.last.steps.max()),
        lambda _: bool(layer.last.converged.all()),
    )


def equilog_function(cell: Cell, solver: Solver) -> Contestant:
    layer = EquilibriumLayer(solver, on_failure="ignore")
    return Contestant(
        lambda: layer.fixed_point(cell.f, cell.start), lambda z: z, None, lambda _: bool(layer.last.converged.all())
    )


def torchdeq(cell: Cell, name: str, rtol: float) -> Contestant:
    solver = get_solver(TORCHDEQ[name])
    f, start, state = cell.f, cell.start, lambda found: found[0]
    if not isinstance(start, Tensor):  # its own way to put several tensors into one
        f, start = deq_decorator(lambda *z: cell.f(z), cell.start, no_stat=False)
        state = lambda found: tuple(f.vec2list(found[0]))  # noqa: E731
    return Contestant(
        lambda: solver(f, start, max_iter=MAX_STEPS, tol=rtol, stop_mode="rel"),
        state,
        None,
        lambda found: bool((found[2]["rel_lowest"] < rtol).all()),
    )


def contestants(cell: Cell, rtol: float, all_solvers: bool = False) -> dict[str, Contestant]:
    """Return everybody who can solve this cell."""
    auto = Auto(rtol=rtol, atol=0.0)
    made = {}
    if cell.system is not None:
        made[AUTO] = equilog_system(cell, auto)
    made[FUNCTION] = equilog_function(cell, auto)
    if all_solvers:
        kinds: list[type[Solver]] = [Picard, Anderson, Broyden, NewtonKrylov, Settle]
        dense = cell.n**2 * cell.batch <= DENSE
        kinds += [Newton] if dense and (cell.system is not None or cell.n <= 128) else []
        for kind in kinds + [Chord] * (cell.system is not None):
            solver = kind(rtol=rtol, atol=0.0)
            way = equilog_function if cell.system is None else equilog_system
            made[f"equilog {kind.name}"] = way(cell, solver)
    return made | {f"torchdeq {name}": torchdeq(cell, name, rtol) for name in TORCHDEQ}


def examine(cell: Cell, name: str, rtol: float, arguments: argparse.Namespace) -> dict[str, Any]:
    """Call one contestant once and judge what comes back."""
    counted = Counted(cell.f)
    contestant = contestants(replace(cell, f=counted), rtol, arguments.all_solvers)[name]
    begin, begin_cpu = time.perf_counter(), time.process_time()
    try:
        found = contestant.call()
    except (RuntimeError, ValueError) as error:  # LinAlgError is a RuntimeError
        return {"error": f"{type(error).__name__}: {error}"[:200], "converged": False}
    # Less than the wall clock's time only if the machine slept.
    took = min(time.perf_counter() - begin, time.process_time() - begin_cpu)
    evaluations = counted.calls if contestant.evaluations is None else contestant.evaluations()
    residual = cell.residual(contestant.state(found))
    at_rest = residual <= SLACK * arguments.rtol
    return {
        "rtol_asked": rtol,
        "evaluations": evaluations,
        "worst_residual": float(residual.nan_to_num(torch.inf).max()),
        "samples_not_at_rest": int((~at_rest).sum()),
        "converged": bool(at_rest.all()),
        "says_converged": contestant.says(found),
        "first_call_second": took,
    }


def examine_until_met(cell: Cell, name: str, arguments: argparse.Namespace) -> dict[str, Any]:
    """Examine, and ask for more of who calls converged what misses the tolerance."""
    found: dict[str, Any] = {}
    for factor in (1, 0.5, 0.25, 0.125):
        found = examine(cell, name, factor * arguments.rtol, arguments)
        if found["converged"] or not found.get("says_converged"):
            break
    return found


def measure(cell: Cell, arguments: argparse.Namespace, solvable: bool, slow: set[str]) -> list[dict[str, Any]]:
    """Return one row a contestant; note in `slow` who took too long for larger cases to be tried."""
    everybody = contestants(cell, arguments.rtol, arguments.all_solvers)
    rows: dict[str, dict[str, Any]] = {}
    calls: dict[str, Callable[[], Any]] = {BARE: lambda: cell.f(cell.start)}
    once = []
    for name in everybody:
        if name in slow:
            rows[name] = {"error": f"skipped: needed more than {arguments.patience:.0f} s before", "converged": False}
            continue
        found = rows[name] = examine_until_met(cell, name, arguments)
        if "error" in found:
            continue
        # Beyond the reach of float32, f(z) = z + 1 has a residual of zero.
        found["converged"] &= solvable
        calls[name] = contestants(cell, found["rtol_asked"], arguments.all_solvers)[name].call
        if not found["converged"] or found["first_call_second"] > arguments.budget:
            once.append(name)
        if found["first_call_second"] > arguments.patience:
            slow.add(name)
    times = interleave(calls, arguments.repeats, arguments.budget, once)
    bare = times[BARE]
    rivals = [name for name in times if name.startswith("torchdeq") and rows[name]["converged"]]
    best = min(rivals, key=lambda name: times[name].median, default=None)
    for name, row in rows.items():
        row["best_of_torchdeq"] = best
        if name in times:
            row |= {"time": times[name].as_json(), "time_text": str(times[name])}
            row["bare_second"] = bare.median
            row["overhead"] = _overhead(times[name], bare, row["evaluations"])
            row["over_torchdeq"] = times[name].over(times[best]) if best and row["converged"] else None
    return [{"contestant": name, "rtol": arguments.rtol, **row} for name, row in rows.items()]


def _overhead(took: Timing, bare: Timing, evaluations: int) -> float:
    return took.over(bare) / max(evaluations, 1)


def alone_and_in_batch(cell: Cell, rtol: float, samples: int = 8) -> dict[str, float | None]:
    """Return the largest difference between samples solved alone and in their batch, relative to the largest state."""
    differences: dict[str, float | None] = {}
    for name, contestant in contestants(cell, rtol).items():
        try:
            whole = flat(contestant.state(contestant.call()))
            worst = 0.0
            for row in range(0, cell.batch, max(1, cell.batch // samples)):
                one = contestants(cell.alone(row), rtol)[name]
                difference = (flat(one.state(one.call()))[0] - whole[row]).abs().max()
                worst = max(worst, float(difference / whole[row].abs().max()))
            differences[name] = worst
        except RuntimeError:
            differences[name] = None
    return differences


def main() -> None:
    """Measure and report."""
    made = parser(__doc__, (32, 128, 512, 1024, 4096), (1, 64, 256), 15, [p.name for p in PROBLEMS])
    made.add_argument("--all-solvers", action="store_true", help="every solver of equilog, not only Auto")
    made.add_argument("--large", action="store_true", help="every size for every problem")
    made.add_argument("--patience", type=float, default=10.0, help="seconds, see above, default 10")
    made.add_argument("--details", action="store_true", help="also print one row a contestant")
    arguments = made.parse_args()
    prepare(arguments.threads)
    cases = [
        (problem, n)
        for problem in chosen(arguments.problems)
        for n in arguments.sizes
        if arguments.large or n <= LIMIT.get(problem.name, 512)
    ]
    if not cases:
        made.error("every size is beyond the limit of the problems chosen: give --large")
    # Samples alone and in their batch are compared at the size nearest to 128.
    alone_at = {p.name: min((abs(n - 128), n) for q, n in cases if q is p)[1] for p, _ in cases}
    rows: list[dict[str, Any]] = []
    alone: list[dict[str, Any]] = []
    current, slow = "", set()
    try:
        with torch.no_grad(), progress(len(cases) * len(arguments.batches), "solve") as step:
            for problem, n in cases:
                cells = None
                if problem.name != current:
                    current, slow = problem.name, set()
                for batch in arguments.batches:
                    step(f"{problem.name}, n = {n}, batch {batch}")
                    cells = cells or Cells(problem, n, arguments.batches, arguments.seed)
                    label = {"problem": problem.name, "n": n, "batch": batch, "solvable": problem.solvable}
                    rows += [label | row for row in measure(cells[batch], arguments, problem.solvable, slow)]
                if problem.solvable and n == alone_at[problem.name]:
                    cell = Cells(problem, n, [64], arguments.seed)[64]
                    label = {"problem": problem.name, "n": n, "batch": 64}
                    alone.append(label | alone_and_in_batch(cell, arguments.rtol))
    except KeyboardInterrupt:
        arguments.interrupted = True
    tables = [summary(rows), *([alone_table(alone)] if alone else [])]
    show([*details(rows), *tables] if arguments.details or arguments.all_solvers else tables)
    write(arguments.json, rows, arguments, alone_and_in_batch=alone)


def summary(rows: Sequence[Mapping[str, Any]]) -> Table:
    """One line a case: who needs how long, in how many evaluations, and how that compares."""
    columns = ["problem", "n × batch", "cell", "equilog,\nsystem", "over-\nhead", "equilog,\nfunction", "over-\nhead"]
    columns += [f"torchdeq\n{name}" for name in TORCHDEQ] + ["system /\ntorchdeq", "function /\ntorchdeq"]
    lines = []
    for (problem, n, batch), group in by_case(rows):
        bare = next((r["bare_second"] for r in group.values() if "bare_second" in r), None)
        line = [problem, f"{n} × {batch}", "–" if bare is None else f"{1e6 * bare:.0f} µs"]
        for name in (AUTO, FUNCTION):
            row = group.get(name, {})
            line += [_short(row), f"{row['overhead']:.2f}" if row.get("converged") else "–"]
        line += [_short(group.get(f"torchdeq {name}", {})) for name in TORCHDEQ]
        line += [_ratio(group.get(name, {})) for name in (AUTO, FUNCTION)]
        lines.append(line)
    caption = (
        "median ms (evaluations); ½ ¼ ⅛: of the tolerance had to be asked for; ✗: not every sample at rest by its true "
        "residual; ! the library said it was; "
        "overhead: time / (evaluations × cell); / torchdeq: ratio to its quickest converged solver; "
        "none: none of torchdeq's converges"
    )
    return table("forward to rest", columns, lines, caption)


def _short(row: Mapping[str, Any]) -> str:
    if not row:
        return ""
    if "error" in row:
        return row["error"].split(":")[0]
    mark = "" if row["converged"] else " ✗" + ("!" if row["says_converged"] else "")
    return f"{number(1e3 * row['time']['median_second'])} ({row['evaluations']}){asked(row)}{mark}"


def _ratio(row: Mapping[str, Any]) -> str:
    if not row or not row.get("converged"):
        return "–"
    return "none" if row["over_torchdeq"] is None else f"{row['over_torchdeq']:.2f}"


def details(rows: Sequence[Mapping[str, Any]]) -> list[Table]:
    """One table a case, one line a contestant."""
    columns = ["contestant", "at rest", "ms (quartiles)", "evaluations", "overhead", "worst residual", "/ torchdeq"]
    tables = []
    for (problem, n, batch), group in by_case(rows):
        lines = []
        for name, row in group.items():
            if "error" in row:
                lines.append([name, "no: " + row["error"], *[""] * 5])
                continue
            verdict = "all" if row["converged"] else f"{batch - row['samples_not_at_rest']} of {batch}"
            verdict += asked(row) + ("" if row["converged"] == row["says_converged"] else ", says otherwise")
            lines.append(
                [
                    name,
                    verdict,
                    row["time_text"],
                    str(row["evaluations"]),
                    f"{row['overhead']:.2f}",
                    f"{row['worst_residual']:.1e}",
                    _ratio(row),
                ]
            )
        bare = next((r["bare_second"] for r in group.values() if "bare_second" in r), 0.0)
        tables.append(table(f"{problem}, n = {n}, batch {batch}: cell {1e6 * bare:.0f} µs", columns, lines))
    return tables


def alone_table(alone: Sequence[Mapping[str, Any]]) -> Table:
    """A sample alone against in its batch."""
    names = [AUTO, FUNCTION, *(f"torchdeq {name}" for name in TORCHDEQ)]
    lines = [
        [
            a["problem"],
            f"{a['n']} × {a['batch']}",
            *("–" if a.get(name) is None else f"{a[name]:.0e}" for name in names),
        ]
        for a in alone
    ]
    caption = "largest difference of eight samples, relative to the largest number of the state"
    return table("a sample alone against in its batch", ["problem", "n × batch", *names], lines, caption)


if __name__ == "__main__":
    main()
