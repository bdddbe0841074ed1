"""How time and peak memory grow with the number of neurons and with the batch.

    python benchmarks/scaling.py --json results/scaling.json --figure results/scaling
    python benchmarks/scaling.py --problems contractive --sizes 128 256 512 1024 --repeats 3
    python benchmarks/scaling.py --sizes 256 --batches 16 64 256 1024

For every size at the middle batch, and every batch at the middle size: seconds of a forward solve and of a training
step, and the step's peak bytes, of equilog's Auto and of torchdeq's solvers, all to the same tolerance and judged by
the true residual as in solve.py. An exponent is the slope of log(quantity) over log(n): over all sizes, and, because
small problems are all overhead, over the two largest. Matrix products alone grow as n² at a fixed batch and linearly
with the batch. A solver that leaves a sample above the tolerance is not shown from there on.

--figure writes PNG and SVG of time against n. Making a problem of n = 4096 takes a minute and is not measured.
"""

from __future__ import annotations

import argparse
import math
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import torch
from _harness import TORCHDEQ, Cells, chosen, interleave, number, parser, prepare, progress, show, table, write
from memory import check_tracker, peak_bytes
from rich.table import Table
from solve import AUTO, FUNCTION, contestants, examine_until_met
from train_step import contestant as train_contestant
from train_step import data_of

from equilog.cells import AffineSystem

NAMES = (AUTO, FUNCTION, *(f"torchdeq {name}" for name in TORCHDEQ))
QUANTITIES = {"forward": "second", "training step": "second", "peak memory": "byte"}
COLOURS = dict(zip(("bare cell", *NAMES), ("#888888", "#c1121f", "#f08a4b", "#1d4e89", "#4f9ac4", "#7a6fb0")))


def measure(cells: Cells, batch: int, arguments: argparse.Namespace, out: set[str]) -> list[dict[str, Any]]:
    """Return one row a contestant; whoever does not converge is put into `out` and not tried again."""
    cell = cells[batch]
    rows: dict[str, dict[str, Any]] = {name: {} for name in NAMES if name not in out}
    calls: dict[str, Callable[[], object]] = {"bare cell": lambda: cell.f(cell.start)}
    data = data_of(cell.system, arguments.seed)
    with torch.no_grad():
        for name in rows:
            rows[name] = examine_until_met(cell, name, arguments)
            if rows[name]["converged"]:
                calls[name] = contestants(cell, rows[name]["rtol_asked"])[name].call
            else:
                out.add(name)
        forward = interleave(calls, arguments.repeats, arguments.budget)
    steps = {name: train_contestant(data, name, rows[name]["rtol_asked"]) for name in rows if name not in out}
    train = interleave(
        {name: partial(data.gradient, step) for name, step in steps.items()}, arguments.repeats, arguments.budget
    )
    for name, step in steps.items():
        rows[name] |= {
            "forward": forward[name].as_json(),
            "training step": train[name].as_json(),
            "peak memory": {"median_byte": peak_bytes(partial(data.gradient, step))},
            "evaluations_of_step": step.evaluations(),
        }
    rows["bare cell"] = {"converged": True, "forward": forward["bare cell"].as_json()}
    return [{"contestant": name, **row} for name, row in rows.items()]


def exponents(points: Sequence[tuple[int, float]]) -> tuple[float, float] | None:
    """Return the slope in log-log over all points, by least squares, and over the last two."""
    if len(points) < 2:
        return None
    x, y = ([math.log(p[i]) for p in points] for i in (0, 1))
    mean_x, mean_y = sum(x) / len(x), sum(y) / len(y)
    slope = sum((a - mean_x) * (b - mean_y) for a, b in zip(x, y)) / sum((a - mean_x) ** 2 for a in x)
    return slope, (y[-1] - y[-2]) / (x[-1] - x[-2])


def points_of(
    rows: Sequence[Mapping[str, Any]], problem: str, name: str, what: str, over: str, fixed: int
) -> list[tuple[int, float]]:
    """Return (n or batch, quantity) of one contestant, at one batch or n."""
    other = "batch" if over == "n" else "n"
    key = f"median_{QUANTITIES[what]}"
    return sorted(
        (row[over], row[what][key])
        for row in rows
        if (row["problem"], row["contestant"], row[other]) == (problem, name, fixed) and what in row
    )


def fits(rows: Sequence[Mapping[str, Any]], arguments: argparse.Namespace) -> list[dict[str, Any]]:
    """Return the exponents of every contestant."""
    found = []
    for problem in arguments.problems:
        for over, fixed in (("n", middle(arguments.batches)), ("batch", middle(arguments.sizes))):
            for what in QUANTITIES:
                for name in ("bare cell", *NAMES):
                    points = points_of(rows, problem, name, what, over, fixed)
                    slopes = exponents(points)
                    if slopes:
                        label = {"problem": problem, "contestant": name, "quantity": what, "over": over, "at": fixed}
                        found.append(label | {"all": slopes[0], "last_two": slopes[1], "points": points})
    return found


def tables(found: Sequence[Mapping[str, Any]]) -> list[Table]:
    """One table a problem and direction."""
    made = []
    for problem, over, at in dict.fromkeys((f["problem"], f["over"], f["at"]) for f in found):
        mine = [f for f in found if (f["problem"], f["over"]) == (problem, over)]
        columns = ["contestant", "up to", *(f"{what}:\nexponent (last two)" for what in QUANTITIES)]
        columns += ["forward,\nms, largest", "step,\nms, largest", "peak,\nMiB, largest"]
        lines = []
        for name in dict.fromkeys(f["contestant"] for f in mine):
            by = {f["quantity"]: f for f in mine if f["contestant"] == name}
            line = [name, str(max(f["points"][-1][0] for f in by.values()))]
            line += [f"{by[w]['all']:.2f} ({by[w]['last_two']:.2f})" if w in by else "–" for w in QUANTITIES]
            for what, unit in zip(QUANTITIES, (1e-3, 1e-3, 2**20)):
                line.append(number(by[what]["points"][-1][1] / unit) if what in by else "–")
            lines.append(line)
        other = "batch" if over == "n" else "n"
        made.append(table(f"growth with {over}: {problem}, {other} = {at}", columns, lines))
    return made


def figure(rows: Sequence[Mapping[str, Any]], arguments: argparse.Namespace) -> None:
    """Write time against n, a panel for each problem and quantity, lines labelled where they end."""
    import matplotlib as mpl

    mpl.use("Agg")
    from matplotlib import pyplot as plt

    whats = ("forward", "training step")
    batch = middle(arguments.batches)
    grid = {"squeeze": False, "sharey": True, "layout": "constrained"}
    shape = len(arguments.problems), len(whats)
    drawing, axes = plt.subplots(*shape, figsize=(11, 4.6 * shape[0]), **grid)
    labels = []
    for row, problem in enumerate(arguments.problems):
        for column, what in enumerate(whats):
            axis = axes[row][column]
            ends = []
            for name in ("bare cell", *NAMES):
                points = points_of(rows, problem, name, what, "n", batch)
                if not points:
                    continue
                x, y = zip(*((n, 1e3 * second) for n, second in points))
                dash = {"linestyle": ":"} if name == "bare cell" else {"marker": "o", "markersize": 3.5}
                axis.plot(x, y, color=COLOURS[name], linewidth=1.8, **dash)
                ends.append((x[-1], y[-1], name))
            axis.set_xscale("log", base=2)
            axis.set_yscale("log")
            axis.set_xticks(arguments.sizes, [str(n) for n in arguments.sizes])
            axis.set_xlim(min(arguments.sizes) / 1.15, max(arguments.sizes) * 3.2)
            axis.grid(color="#dddddd", linewidth=0.6)
            axis.spines[["top", "right"]].set_visible(False)
            axis.set_title(f"{problem}: {what}", loc="left", fontsize=11)
            axis.set_xlabel("neurons n")
            if column == 0:
                axis.set_ylabel("milliseconds")
            axis.yaxis.set_major_formatter(lambda value, _: f"{value:g}")
            labels.append((axis, ends))
    for axis, ends in labels:  # when all panels are in and the common limits known
        _label(axis, ends)
    threads = "1 thread" if arguments.threads == 1 else f"{arguments.threads} threads"
    drawing.suptitle(
        f"Time to rest within {arguments.rtol:g}, batch {batch}, float32, {threads}; "
        "solvers that do not converge are left out",
        fontsize=10,
        x=0.01,
        ha="left",
    )
    path: Path = arguments.figure
    path.parent.mkdir(parents=True, exist_ok=True)
    for kind in ("png", "svg"):
        drawing.savefig(path.with_suffix(f".{kind}"), dpi=160)
    plt.close(drawing)


def _label(axis: Any, ends: Sequence[tuple[float, float, str]]) -> None:
    """Write each name beside the end of its line, pushed apart where they would touch."""
    low, high = axis.get_ylim()
    apart = (high / low) ** 0.042  # the height of a line of text
    placed: list[float] = []
    for x, y, name in sorted(ends, key=lambda end: end[1]):
        where = max(y, placed[-1] * apart) if placed else y
        placed.append(where)
        style = {"color": COLOURS[name], "fontsize": 8.5, "va": "center"}
        line = {"arrowprops": {"arrowstyle": "-", "color": COLOURS[name], "linewidth": 0.6, "shrinkA": 0, "shrinkB": 2}}
        axis.annotate(name, (x, y), (x * 1.15, where), **style, **(line if where > y * 1.05 else {}))


def middle(values: Sequence[int]) -> int:
    """Return the value in the middle."""
    return sorted(values)[(len(values) - 1) // 2]


def main() -> None:
    """Measure and report."""
    made = parser(__doc__, (128, 256, 512, 1024, 2048, 4096), (16, 64, 256), 7, ("contractive",))
    made.add_argument("--figure", type=Path, help="write PNG and SVG here, without suffix")
    made.set_defaults(all_solvers=False)
    arguments = made.parse_args()
    prepare(arguments.threads)
    check_tracker()
    arguments.problems = [p.name for p in chosen(arguments.problems)]
    for problem in chosen(arguments.problems):
        if not isinstance(problem.make(2, 1, torch.float32, 0), AffineSystem):
            made.error(f"{problem.name} is no AffineSystem and has no leaves to train")
    n_mid, batch_mid = middle(arguments.sizes), middle(arguments.batches)
    cases = [(n, [b for b in arguments.batches if b == batch_mid or n == n_mid]) for n in sorted(arguments.sizes)]
    rows: list[dict[str, Any]] = []
    try:
        with progress(len(arguments.problems) * sum(len(b) for _, b in cases), "scaling") as step:
            for problem in chosen(arguments.problems):
                out: set[str] = set()
                for n, batches in cases:
                    cells = None
                    for batch in batches:
                        step(f"{problem.name}, n = {n}, batch {batch}")
                        cells = cells or Cells(problem, n, batches, arguments.seed)
                        label = {"problem": problem.name, "n": n, "batch": batch}
                        rows += [label | row for row in measure(cells, batch, arguments, out)]
    except KeyboardInterrupt:
        arguments.interrupted = True
    found = fits(rows, arguments)
    show(tables(found))
    if arguments.figure:
        figure(rows, arguments)
    write(arguments.json, rows, arguments, exponents=found)


if __name__ == "__main__":
    main()
