"""Peak memory of forward and backward after many iterations, against one evaluation of the cell with its gradient.

    python benchmarks/memory.py --json results/memory.json
    python benchmarks/memory.py --problems monotone --sizes 256 --batches 64
    python benchmarks/memory.py --iterations 200

Bytes of tensors that live above those that lived before the call: W, u and the loss's c are not counted, the gradients
are. `held` is what stays between forward and backward. PyTorch keeps no peak for the CPU, so a dispatch mode sees every
tensor that is made and a weak reference tells when its storage is gone. Before anything is measured, this is checked
against cases known by arithmetic and against the allocator's own log from torch.profiler.

All are made to do the given number of iterations forward and backward by a tolerance that cannot be met, except Auto,
which ends by itself at --rtol: its memory does not depend on the number of steps.
"""

from __future__ import annotations

import argparse
import gc
import weakref
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

import torch
from _harness import TORCHDEQ, Cells, by_case, chosen, parser, prepare, progress, show, table, write
from rich.table import Table
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from torchdeq import get_deq
from train_step import Data, Step, data_of, equilog_function, equilog_system

from equilog.cells import AffineSystem
from equilog.equilibrium import Anderson, Auto, Broyden, Chord, Picard

BARE = "bare cell and gradient"


class LiveBytes(TorchDispatchMode):
    """Bytes in storages that were made while this mode was on and are still alive.

    Attributes:
        live: now.
        peak: the most there ever was.
    """

    def __init__(self) -> None:
        super().__init__()
        self.live = self.peak = 0
        self._known: dict[int, tuple[weakref.ref[torch.UntypedStorage], int]] = {}

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        for tensor in tree_leaves((args, kwargs)):
            self._see(tensor, made=False)
        out = func(*args, **kwargs)
        for tensor in tree_leaves(out):
            self._see(tensor, made=True)
        return out

    def _see(self, tensor: Any, made: bool) -> None:
        if not isinstance(tensor, Tensor):
            return
        storage = tensor.untyped_storage()
        key = storage._cdata
        if key in self._known:
            return
        size = storage.nbytes() if made else 0  # what was there before the call is nobody's cost
        self._known[key] = weakref.ref(storage, lambda _: self._gone(key)), size
        self.live += size
        self.peak = max(self.peak, self.live)

    def _gone(self, key: int) -> None:
        self.live -= self._known.pop(key)[1]


def peak_bytes(call: Callable[[], object]) -> int:
    """Return the most bytes in tensors that were alive at once during the call, above those before it."""
    gc.collect()
    mode = LiveBytes()
    with mode:
        call()
    return mode.peak


def held_bytes(call: Callable[[], object]) -> int:
    """Return the bytes that are still there because the result of the call is."""
    gc.collect()
    mode = LiveBytes()
    with mode:
        kept = call()
    held = mode.live
    del kept
    return held


def allocator_peak(call: Callable[[], object]) -> int:
    """Return the same from the allocator's log: what kernels take for themselves is included."""
    gc.collect()
    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU], profile_memory=True) as log:
        call()
    live = peak = 0
    events = [e for e in log.profiler.kineto_results.events() if e.name() == "[memory]"]
    for event in sorted(events, key=lambda e: e.start_ns()):
        live += event.nbytes()
        peak = max(peak, live)
    return peak


def check_tracker() -> None:
    """Compare the tracker with arithmetic and with the allocator's log."""

    def plain() -> None:
        x = torch.empty(1000)  # 4000
        y = x + 1  # 8000
        z = y * 2  # 12000
        del y  # 8000
        view = z.view(10, 100).t()
        del z  # kept by its view
        twice = torch.cat([view, view])  # 16000
        x.add_(1)
        del x, view, twice

    n, batch = 256, 64
    w, u, c = torch.randn(n, n, requires_grad=True), torch.randn(batch, n, requires_grad=True), torch.randn(batch, n)

    def cell() -> None:
        z = torch.addmm(u, c, w.mT).tanh_()
        torch.autograd.grad((c * z).sum(), (w, u))

    # z*, the gradient through tanh (which is u's), W's gradient; the loss, and the one it is begun with.
    by_hand = 4 * (2 * batch * n + n * n)
    for call, wanted, slack in ((plain, 16000, 0), (cell, by_hand, 64)):
        found, log = peak_bytes(call), allocator_peak(call)
        assert 0 <= found - wanted <= slack, f"{call.__name__}: tracked {found}, by hand {wanted}"
        assert 0 <= log - wanted <= slack + 256, f"{call.__name__}: allocator {log}, by hand {wanted}"


def torchdeq_step(data: Data, name: str, iterations: int) -> Step:
    """Return a step with exactly so many iterations forward and backward."""
    solver = TORCHDEQ[name]
    deq = get_deq(
        ift=True, f_solver=solver, b_solver=solver, f_max_iter=iterations, b_max_iter=iterations, f_tol=0.0, b_tol=0.0
    )
    deq.train()
    start = data.cell.start.detach()
    return Step(lambda: deq(data.cell.f, start)[0][-1], lambda: (iterations, iterations))


def contestants(data: Data, iterations: int, rtol: float) -> dict[str, Step]:
    """Return everybody."""
    never = {"rtol": 0.0, "atol": 1e-30, "max_steps": iterations}
    f = data.cell.f
    start = data.cell.start.detach()
    made = {BARE: Step(lambda: f(start), lambda: (1, 1))}
    for solver in (Picard(**never), Anderson(**never, memory=5), Broyden(**never), Chord(**never)):
        made[f"equilog {solver.name}"] = equilog_system(data, solver)
    made["equilog auto"] = equilog_system(data, Auto(rtol=rtol, atol=0.0))
    made["equilog auto, function"] = equilog_function(data, Auto(rtol=rtol, atol=0.0))
    return made | {f"torchdeq {name}": torchdeq_step(data, name, iterations) for name in TORCHDEQ}


def measure(data: Data, arguments: argparse.Namespace) -> list[dict[str, Any]]:
    """Return one row a contestant."""
    rows = []
    for name, step in contestants(data, arguments.iterations, arguments.rtol).items():
        data.gradient(step)  # whatever is made once and kept is not the call's
        row: dict[str, Any] = {"contestant": name}
        row["peak_bytes"] = peak_bytes(partial(data.gradient, step))
        row["held_bytes"] = held_bytes(step.forward)
        row["forward"], row["backward"] = step.evaluations()
        rows.append(row)
    bare = rows[0]
    for row in rows:
        row["over_bare"] = row["peak_bytes"] / bare["peak_bytes"]
    return rows


def tables(rows: Sequence[Mapping[str, Any]]) -> list[Table]:
    """One table a case."""
    columns = ["contestant", "iterations", "peak", "/ bare", "held"]
    made = []
    for (problem, n, batch), group in by_case(rows):
        lines = [
            [
                name,
                f"{row['forward']} + {row['backward']}",
                f"{row['peak_bytes'] / 2**20:.2f} MiB",
                f"{row['over_bare']:.2f}",
                f"{row['held_bytes'] / 2**20:.2f} MiB",
            ]
            for name, row in group.items()
        ]
        caption = (
            f"above what lived before; a state is {4 * n * batch / 2**20:.2f} MiB, W and its gradient "
            f"{4 * n * n / 2**20:.2f} MiB each"
        )
        made.append(table(f"memory: {problem}, n = {n}, batch {batch}", columns, lines, caption))
    return made


def main() -> None:
    """Measure and report."""
    made = parser(__doc__, (1024,), (64,), 1, ("contractive", "monotone"))
    made.add_argument("--iterations", type=int, default=40, help="forward and backward, default 40")
    arguments = made.parse_args()
    prepare(arguments.threads)
    check_tracker()
    problems = [p for p in chosen(arguments.problems) if isinstance(p.make(2, 1, torch.float32, 0), AffineSystem)]
    rows: list[dict[str, Any]] = []
    with progress(len(problems) * len(arguments.sizes) * len(arguments.batches), "memory") as step:
        for problem in problems:
            for n in arguments.sizes:
                cells = None
                for batch in arguments.batches:
                    step(f"{problem.name}, n = {n}, batch {batch}")
                    cells = cells or Cells(problem, n, arguments.batches, arguments.seed)
                    data = data_of(cells[batch].system, arguments.seed)
                    rows += [{"problem": problem.name, "n": n, "batch": batch} | r for r in measure(data, arguments)]
    show(tables(rows))
    write(arguments.json, rows, arguments)


if __name__ == "__main__":
    main()
