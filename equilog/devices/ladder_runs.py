"""What ngspice simulates of one programmed chip for the ladder, as many benches at once as there are cores."""

from __future__ import annotations

import math
import os
import tempfile
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor, as_completed
from dataclasses import dataclass
from pathlib import Path
from threading import Event
from typing import Any

from torch import Tensor

from equilog import circuit
from equilog.circuit.chain import ChainRun, TwinChain, chain, write_chain
from equilog.circuit.ngspice import Ngspice
from equilog.devices.ladder_report import Settling
from equilog.hardware import ProgrammedLayer


@dataclass(frozen=True)
class Runs:
    """What came back: resting points (v, s) in volts, transients, samples through the chain."""

    at_rest: tuple[Tensor, Tensor] | None
    waveforms: list[circuit.Waveform]
    chains: list[ChainRun]


def simulate(
    simulator: Ngspice,
    layer: ProgrammedLayer,
    played: Tensor,
    wanted: set[str],
    count: int,
    settling: Settling,
    asked: Tensor,
    expected: TwinChain | None,
    folder: Path | None,
    tell: Callable[[str, float], None],
) -> Runs:
    """Write the circuit and run its benches, as many at once as there are cores."""
    # Long enough to see every watched sample rest, and to see that it stays there.
    seen = [t for t in settling.time_second[:count] if math.isfinite(t)]
    duration = max([10 * layer.time_constant_second, *(1.5 * t for t in seen)])
    with tempfile.TemporaryDirectory(prefix="equilog-circuit-") as scratch, ThreadPoolExecutor(os.cpu_count()) as pool:
        place = folder or Path(scratch)
        rests, watched = "rest" in wanted, range(count if "time" in wanted else 0)
        if rests or watched:
            circuit.write_circuit(layer, place, rest=played, settle=played[:count], duration_second=duration)
        cancel = Event()
        at_rest = [pool.submit(circuit.rest, simulator, place, layer.states, len(played), cancel)] if rests else []
        in_time = [pool.submit(circuit.settle, simulator, place, layer.states, k, cancel) for k in watched]
        through = []
        if expected is not None:
            write_chain(layer, place / "chain", drive=asked, report=expected.report_second)
            through = [pool.submit(chain, simulator, place / "chain", k, cancel) for k in range(len(asked))]
        jobs: list[Future[Any]] = [*at_rest, *in_time, *through]
        try:
            for done, finished in enumerate(as_completed(jobs)):
                finished.result()
                tell("settling the circuit in ngspice", 0.3 + 0.7 * (done + 1) / len(jobs))
        except BaseException:
            cancel.set()  # Ctrl-C, or one bench that failed: the others need not finish
            pool.shutdown(cancel_futures=True)
            raise
        first = at_rest[0].result() if at_rest else None
        return Runs(first, [job.result() for job in in_time], [job.result() for job in through])
