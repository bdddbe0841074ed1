"""What the benchmarks share: one fair clock for several contestants, the cells they solve, tables and JSON.

Fair means: in one process, in turns, in an order that rotates from repetition to repetition, so that a busy neighbour
or a throttled clock meets everybody alike. A ratio is the median of the ratios within each repetition.
"""

from __future__ import annotations

import argparse
import gc
import json
import os
import platform
import statistics
import subprocess
import sys
import time
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from functools import lru_cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import torch
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table
from torch import Tensor

from equilog.cells import AffineSystem
from equilog.equilibrium import reference_problems
from equilog.equilibrium.reference_problems import PROBLEMS, ReferenceProblem
from equilog.equilibrium.states import Nested

# Making a monotone weight of a given norm takes longer than all that is measured on it: each is made once.
reference_problems.monotone_weight = lru_cache(maxsize=8)(reference_problems.monotone_weight)

TORCHDEQ = {"fixed point": "fixed_point_iter", "anderson": "anderson", "broyden": "broyden"}
"""torchdeq's solvers: how we call them, and how it does."""

MAX_STEPS = 200
# Seconds of a measurement, made of several calls where one is shorter; and from where on a call is not repeated.
MEASUREMENT, LONG = 4e-3, 50e-3
# A residual this close above the tolerance is a matter of rounding, not of convergence.
SLACK = 1.01


def parser(
    doc: str | None, sizes: Sequence[int], batches: Sequence[int], repeats: int, problems: Sequence[str]
) -> argparse.ArgumentParser:
    """Return a parser with the options all benchmarks have."""
    made = argparse.ArgumentParser(description=doc, formatter_class=argparse.RawDescriptionHelpFormatter)
    names = [p.name for p in PROBLEMS]
    made.add_argument("--problems", nargs="+", choices=names, default=list(problems), metavar="NAME", help=str(names))
    made.add_argument("--sizes", type=int, nargs="+", default=list(sizes), metavar="N", help="default: %(default)s")
    made.add_argument("--batches", type=int, nargs="+", default=list(batches), metavar="B", help="default: %(default)s")
    made.add_argument("--repeats", type=int, default=repeats, help="repetitions of everybody, default %(default)s")
    made.add_argument("--budget", type=float, default=4.0, help="seconds a contestant may spend on a case, default 4")
    made.add_argument("--rtol", type=float, default=1e-4, help="relative tolerance of both libraries, default 1e-4")
    made.add_argument("--threads", type=int, default=2, help="default 2")
    made.add_argument("--seed", type=int, default=0)
    made.add_argument("--json", type=Path, help="write everything measured here")
    return made


def chosen(names: Sequence[str]) -> list[ReferenceProblem]:
    """Return these problems, in the order of the list."""
    return [p for p in PROBLEMS if p.name in names]


def prepare(threads: int) -> None:
    """Set what holds for all contestants alike: threads, and denormals flushed to zero."""
    # First of all: the threads of the pool inherit the mode from the one that starts them.
    torch.set_flush_denormal(True)
    torch.set_num_threads(threads)
    # torchdeq's stop_mode, a solver that did not converge: all of it is judged here, by its true residual.
    warnings.simplefilter("ignore")


def machine() -> dict[str, Any]:
    """Return where and with what this was measured."""
    return {
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "cpu": _cpu(),
        "cpus": os.cpu_count(),
        "threads": torch.get_num_threads(),
        "load_average": os.getloadavg(),
        "flush_denormal": True,
        "python": platform.python_version(),
        "platform": platform.platform(),
        "torch": torch.__version__,
        "torchdeq": _version("torchdeq"),
        "equilog": _version("equilog"),
        "commit": _commit(),
    }


def _version(name: str) -> str | None:
    try:
        return version(name)
    except PackageNotFoundError:
        return None


def _cpu() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
        return next(line.split(":", 1)[1].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        return platform.processor()


def _commit() -> str | None:
    command = ["git", "-C", str(Path(__file__).parent), "describe", "--always", "--dirty"]
    try:
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return None


@dataclass(frozen=True)
class Timing:
    """Seconds of one call, once a repetition; the repetitions are those of all contestants."""

    seconds: tuple[float, ...]

    @property
    def median(self) -> float:
        """The number to quote."""
        return statistics.median(self.seconds)

    @property
    def quartiles(self) -> tuple[float, float]:
        """A quarter of the calls was quicker than the first, a quarter slower than the second."""
        if len(self.seconds) == 1:
            return self.seconds[0], self.seconds[0]
        low, _, high = statistics.quantiles(self.seconds, n=4, method="inclusive")
        return low, high

    def over(self, other: Timing) -> float:
        """Return the median over repetitions of this time divided by the other's in the same repetition."""
        return statistics.median(a / b for a, b in zip(self.seconds, other.seconds))

    def as_json(self) -> dict[str, Any]:
        """Return medians and spread in seconds."""
        low, high = self.quartiles
        return {
            "median_second": self.median,
            "quartiles_second": [low, high],
            "min_second": min(self.seconds),
            "repeats": len(self.seconds),
        }

    def __str__(self) -> str:
        low, high = self.quartiles
        return f"{number(1e3 * self.median)} ({number(1e3 * low)}–{number(1e3 * high)})"


def interleave(
    contestants: Mapping[str, Callable[[], object]], repeats: int, budget: float = 4.0, once: Sequence[str] = ()
) -> dict[str, Timing]:
    """Time everybody in turns.

    Args:
        contestants: what to call, by name.
        repeats: how often; each repetition begins with another contestant.
        budget: seconds after which a slow contestant sits out the remaining repetitions.
        once: who is called only once and without warming up, as it is known to be slow or to fail.
    """
    names = list(contestants)
    seconds: dict[str, list[float]] = {name: [] for name in names}
    gc.collect()
    gc.freeze()
    try:
        inner = {name: 0 if name in once else _warm_up(call) for name, call in contestants.items()}
        for r in range(repeats):
            shift = r % len(names)
            for name in names[shift:] + names[:shift]:
                so_far = seconds[name]
                # By its quickest call: one that the machine slept through does not use up the budget.
                if so_far and (name in once or min(so_far) * max(1, inner[name]) * len(so_far) > budget):
                    continue
                so_far.append(_clock(contestants[name], inner[name]))
    finally:
        gc.unfreeze()
    return {name: Timing(tuple(values)) for name, values in seconds.items()}


def _warm_up(call: Callable[[], object]) -> int:
    """Return how many calls in a row make a measurement, 0 for one that is long enough to stand on its own."""
    took = _clock(call, 0)
    if took < 0.5:
        took = _clock(call, 2)
    return 0 if took > LONG else max(2, min(100, round(MEASUREMENT / max(took, 1e-9))))


def _clock(call: Callable[[], object], times: int) -> float:
    """Return the seconds of one of so many calls; before a short one, everything it touches is made warm."""
    gc.collect()
    gc.disable()
    try:
        if times:
            call()
        begin = time.perf_counter()
        for _ in range(max(1, times)):
            call()
        return (time.perf_counter() - begin) / max(1, times)
    finally:
        gc.enable()


@dataclass(frozen=True)
class Cell:
    """A reference problem as it is handed to both libraries.

    Attributes:
        f: ``z -> φ(W z + u)`` in the fewest calls PyTorch has for it, or the problem's own function.
        start: ``φ(u)`` for systems: the z that belongs to ``p = u``, where equilog's affine solve begins.
        system: the affine system, if it is one.
        n, batch: numbers per sample, and samples.
    """

    f: Callable[[Any], Any]
    start: Nested
    system: AffineSystem | None
    n: int
    batch: int

    def alone(self, row: int) -> Cell:
        """Return the cell of one sample; a function is still evaluated in its own batch."""
        if self.system is not None:
            return cell_of(replace(self.system, injection=self.system.injection[row : row + 1]))
        parts = as_tuple(self.start)

        def f(z: Nested) -> Nested:
            whole = tuple(s.clone() for s in parts)
            for w, part in zip(whole, as_tuple(z)):
                w[row : row + 1] = part
            found = tuple(part[row : row + 1] for part in as_tuple(self.f(like(self.start, whole))))
            return like(self.start, found)

        start = tuple(part[row : row + 1] for part in parts)
        return Cell(f, like(self.start, start), None, self.n, 1)

    def residual(self, z: Nested) -> Tensor:
        """Return the true ``‖f(z) − z‖ / ‖z‖`` of every sample, for systems in float64."""
        given = flat(z).double()
        with torch.no_grad():
            if self.system is None:
                found = flat(self.f(z)).double()
            else:
                w, u = self.system.weight.double(), self.system.injection.double()
                found = self.system.activation(torch.addmm(u, given, w.mT))
        return (found - given).norm(dim=1) / given.norm(dim=1)


def cell_of(made: Any) -> Cell:
    """Return what the reference problems make, as a cell."""
    if not isinstance(made, AffineSystem):
        z = made.z
        return Cell(made.f, z, None, flat(z).shape[1], len(flat(z)))
    u, weight_t = made.injection, made.weight.mT
    phi = {"Tanh": torch.tanh_, "ReLU": torch.relu_}[type(made.activation).__name__]
    batch, n = u.shape
    return Cell(lambda z: phi(torch.addmm(u, z, weight_t)), made.activation(u), made, n, batch)


class Cells:
    """The cells of one problem and size for several batches; a weight is made once."""

    def __init__(self, problem: ReferenceProblem, n: int, batches: Sequence[int], seed: int) -> None:
        self._make = lambda batch: problem.make(n, batch, torch.float32, seed)
        self._largest = self._make(max(batches))

    def __getitem__(self, batch: int) -> Cell:
        """Return the cell of this batch."""
        made = self._largest
        if isinstance(made, AffineSystem):
            return cell_of(replace(made, injection=made.injection[:batch].clone()))
        return cell_of(self._make(batch))


def as_tuple(z: Nested) -> tuple[Tensor, ...]:
    """Return the tensors of a state."""
    return (z,) if isinstance(z, Tensor) else tuple(z)


def like(example: Nested, parts: tuple[Tensor, ...]) -> Nested:
    """Return the parts as a tensor, or a tuple, as the example is."""
    return parts[0] if isinstance(example, Tensor) else parts


def flat(z: Nested) -> Tensor:
    """Return a state as rows of one matrix."""
    return torch.cat([part.reshape(len(part), -1) for part in as_tuple(z)], dim=1)


class Counted:
    """A function that knows how often it was called."""

    def __init__(self, f: Callable[..., Any]) -> None:
        self.f, self.calls = f, 0

    def __call__(self, *args: Any) -> Any:
        """Call it and count."""
        self.calls += 1
        return self.f(*args)


Case = tuple[str, int, int]
"""Problem, n, batch."""


def by_case(rows: Sequence[Mapping[str, Any]]) -> list[tuple[Case, dict[str, Mapping[str, Any]]]]:
    """Return the rows by case, and within a case by contestant."""
    groups: dict[Case, dict[str, Mapping[str, Any]]] = {}
    for row in rows:
        groups.setdefault((row["problem"], row["n"], row["batch"]), {})[row["contestant"]] = row
    return list(groups.items())


def asked(row: Mapping[str, Any]) -> str:
    """Return which part of the tolerance had to be asked for, if not the whole."""
    return {2: " ½", 4: " ¼", 8: " ⅛"}.get(round(row["rtol"] / row["rtol_asked"]), "")


def number(x: float) -> str:
    """Return three significant digits, without an exponent where none is needed."""
    return f"{x:.0f}" if 100 <= abs(x) < 1e6 else f"{x:.3g}"


def table(title: str, columns: Sequence[str], rows: Sequence[Sequence[str]], caption: str = "") -> Table:
    """Return a table; the first two columns are names, the others numbers."""
    made = Table(title=title, caption=caption or None, title_justify="left", caption_justify="left")
    for i, column in enumerate(columns):
        made.add_column(column, justify="left" if i < 2 else "right", no_wrap=True)
    for row in rows:
        made.add_row(*row)
    return made


def show(tables: Sequence[Table]) -> None:
    """Print tables on stdout, never narrower than they need to be when it is a file."""
    console = Console() if sys.stdout.isatty() else Console(width=180)
    for each in tables:
        console.print(each)


@contextmanager
def progress(total: int, title: str) -> Iterator[Callable[[str], None]]:
    """Show a bar on stderr; call what is yielded before each of `total` pieces of work."""
    columns = TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn()
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task(title, total=total)
        begun = False

        def step(what: str) -> None:
            nonlocal begun
            bar.update(task, advance=int(begun), description=f"{title}: {what}", refresh=True)
            begun = True

        yield step
        bar.update(task, completed=total)


def write(path: Path | None, rows: Sequence[Mapping[str, Any]], arguments: argparse.Namespace, **more: Any) -> None:
    """Write the rows with all that a reader needs to repeat them."""
    if path is None:
        return
    options = {k: str(v) if isinstance(v, Path) else v for k, v in vars(arguments).items()}
    data = {"command": " ".join(["python", *sys.argv]), "machine": machine(), "options": options, **more, "rows": rows}
    path.parent.mkdir(parents=True, exist_ok=True)
    # Written beside and renamed: what was measured before stays whole if this is interrupted.
    scratch = path.with_name(f".{path.name}.part")
    scratch.write_text(json.dumps(_finite(data), indent=1) + "\n", encoding="utf-8")
    scratch.replace(path)


def rows_of(path: Path | None) -> list[dict[str, Any]]:
    """Return the rows that a file holds already; none without one."""
    if path is None or not path.is_file():
        return []
    rows: list[dict[str, Any]] = json.loads(path.read_text(encoding="utf-8"))["rows"]
    return rows


def _finite(value: Any) -> Any:
    """Return the value with inf and nan as None: JSON has neither."""
    if isinstance(value, Mapping):
        return {k: _finite(v) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(v) for v in value]
    if isinstance(value, float) and not abs(value) < float("inf"):
        return None
    return value
