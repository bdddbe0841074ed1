"""Where transistors rest, one deck a sample: each operating point is looked for from where the twin says it is.

A trained network saturates many of its neurons, and from the node sets of ``blocks.lib`` alone ngspice does not find
its operating point at once: it adds conductances to ground and takes them away again step by step, three seconds a
sample at 32 neurons. Node sets at the twin's answer spare most samples that. They say where to begin only: ngspice lets
go of them and iterates until the circuit's own equations hold, so that the answer does not depend on them.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from threading import Event

import torch
from torch import Tensor

from equilog.circuit.ngspice import Ngspice
from equilog.circuit.simulate import rest_of
from equilog.circuit.sky130.characterised import measured
from equilog.circuit.sky130.circuit import OP_OPTIONS, write_transistor_circuit
from equilog.circuit.text import number, write_files
from equilog.hardware import ProgrammedLayer
from equilog.hardware.rest import Rest

TIMEOUT_SECOND = 300.0
"""Of one sample, which takes a third of a second at 32 neurons; much more where ngspice has to step after all."""


def transistors_at_rest(
    simulator: Ngspice,
    layer: ProgrammedLayer,
    played: Tensor,
    begin: Rest,
    folder: Path,
    *,
    cancel: Event | None = None,
    progress: Callable[[int], None] | None = None,
) -> tuple[Tensor, Tensor]:
    """Write the circuit with a deck ``op_K.cir`` a sample, and settle as many at once as there are cores.

    Args:
        simulator: ngspice.
        layer: the chip, as for :func:`write_transistor_circuit`.
        played: drives as played, shape ``(samples, m)``.
        begin: where to begin looking, of the same drives.
        folder: where to write; what an earlier call left there is replaced.
        cancel: as in :meth:`Ngspice.run`.
        progress: called with the number of samples that are done.

    Returns:
        amplifier and activation outputs at rest in volts, each of shape ``(samples, n)``, float64.

    Raises:
        NgspiceError: if the simulator fails; other samples that it is at are stopped.
        ValueError: as :func:`write_transistor_circuit`.
    """
    write_transistor_circuit(layer, folder)
    for stale in folder.glob("op_*.cir"):
        if re.fullmatch(r"op_\d+", stale.stem):
            stale.unlink()
    write_files(folder, {f"op_{k}.cir": _deck(layer, played[k], begin.p[k], begin.z[k]) for k in range(len(played))})
    jobs = [(f"op_{k}.cir", "op.raw") for k in range(len(played))]
    plots = simulator.run_all(folder, jobs, timeout_second=TIMEOUT_SECOND, cancel=cancel, progress=progress)
    found = [rest_of(plot[-1], layer.states) for plot in plots]
    return torch.stack([v for v, _ in found]), torch.stack([s for _, s in found])


def _deck(layer: ProgrammedLayer, played: Tensor, p: Tensor, z: Tensor) -> str:
    block, n = layer.spec.activation, layer.states
    v = p * float(block.v_scale_volt)
    s = z * float(block.v_out_volt)
    # The virtual ground that makes an amplifier of that gain put out v.
    x = layer.amp_offset_volt - v / measured()["amplifier.dc_gain"]
    begin = [
        f".nodeset v(x{i})={number(x[i])} v(v{i})={number(v[i])} v(sp{i})={number(s[i])} v(sn{i})={number(-s[i])}"
        for i in range(n)
    ]
    volts = played * layer.spec.dac.full_scale_volt
    lines = [
        "* Resting point of one sample; writes op.raw",
        ".include layer.cir",
        f".options {OP_OPTIONS}",
        *(f".save v(v{i}) v(sp{i})" for i in range(n)),
        "* Where the twin rests; only where ngspice begins to look",
        *begin,
        ".op",
        ".control",
        "set filetype=binary",
        *(f"alter Vd{k} dc = {number(value)}" for k, value in enumerate(volts)),
        "op",
        "write op.raw",
        "quit 0",
        ".endc",
        ".end",
        "",
    ]
    return "\n".join(lines)
