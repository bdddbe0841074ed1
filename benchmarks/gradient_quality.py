"""How well does each way to get a gradient from a machine point where the exact gradient points?

    python benchmarks/gradient_quality.py --json results/gradient_quality.json

A cell of n states with a symmetric weight, `--drives` DAC channels and n nudging channels on a chip of `--preset`. Its
one flaw is the programming error, Gaussian. `uniform`: the same σ for every device, in % of g_max. A zero weight is
then as wrong as a large one; at n = 32, 5 % of g_max is more than the typical off-diagonal entry of W. `relative`: σ in
% of each device's own conductance. Loss: cross-entropy of a random readout, `--samples` samples. Printed is the cosine
between the gradient found and the exact one, over all parameters of the cell, as the mean over chips; the readout's own
gradient is exact in all ways.

Exact is the implicit gradient of the twin of that very chip, errors included. `held`: R_f as it is, a resistor on the
chip. `asked`: R_f follows the largest weight as `program` chooses it, so that this one weight scales every error of the
array; all ways below leave that out. The table has `held`, the file both.

The ways, all on the same chips: `device in the loop` measures z and goes back through the nominal twin's weights at the
measured z; `identified` through the weights that `--settles` settlings show, read by the ADC alone; `ideal model` never
sees the chip; `EP` is equilibrium propagation, its nudges through the crossbar, where they meet the same programming
error; `EP, exact nudges` is its limit for small β with nudges that are exact: what the chip's asymmetry alone costs, by
the twin's equations; `adjoint circuit` has λ from ngspice where the device is ngspice. Weight perturbation programs the
chip twice a probe; it is done on one chip of the twin. A chip that does not settle is counted, not averaged. ngspice
has one chip, `uniform` only. `--monotone` has the default cell instead, which EP refuses.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from _harness import progress, show, table, write
from torch import Tensor

from equilog.cells import CircuitCell, SymmetricWeight
from equilog.circuit import find_ngspice
from equilog.circuit.adjoint import AdjointGradients, assemble
from equilog.devices import BaseDevice, Device, NgspiceDevice, Settled, TwinDevice
from equilog.equilibrium import Auto, EquilibriumLayer, NotConvergedError
from equilog.hardware import Chip, ProgrammedLayer, Spec, load_spec, program
from equilog.hardware.transient import UnstableChipError
from equilog.hardware.twin import adc, dac, static_system
from equilog.names import UserError
from equilog.training.gradients import (
    AdjointReading,
    CellGradient,
    EquilibriumPropagation,
    FixedCell,
    GradientSource,
    NotSymmetricError,
    WeightPerturbation,
    measure,
)

SETTLE = EquilibriumLayer(Auto(rtol=1e-12, atol=1e-13), on_failure="raise")
WITHOUT_CONVERTERS = 24
"""bits that stand for no converter"""
TARGET, TARGET_SIGMA = 0.99, 0.05
IN_THE_LOOP, IDENTIFIED = "device in the loop", "device in the loop, identified"


def technology(preset: str, sigma: float, bits: int, mismatch: str = "uniform") -> Spec:
    spec = load_spec(preset)
    size = sigma * float(spec.crossbar.g_max_siemens)
    error = {"coefficients_siemens": [size] if mismatch == "uniform" else [0.0, size], "source": "benchmark"}
    exact = {key: None for key in ("levels", "relaxation", "drift", "stuck", "read_noise")}
    return spec.changed(
        crossbar=exact | {"programming_sigma": error if sigma else None},
        amplifier={"offset_sigma_volt": 0.0},
        activation={"gain_sigma": 0.0, "offset_sigma_volt": 0.0},
        dac={"bits": bits},
        adc={"bits": bits},
    )


class Case:
    """A cell, a batch and a loss; the cell with nudging channels is what every chip holds."""

    def __init__(self, n: int, arguments: argparse.Namespace) -> None:
        torch.manual_seed(arguments.seed + n)
        m, samples = arguments.drives, arguments.samples
        recurrent = None if arguments.monotone else SymmetricWeight(n)
        self.cell = CircuitCell(n, m, recurrent=recurrent).double()
        self.drive = 2 * torch.rand(samples, m, dtype=torch.float64) - 1
        self.readout = torch.randn(4, n, dtype=torch.float64) * 4 / n**0.5
        self.labels = torch.randint(4, (samples,))
        held = FixedCell.of(self.cell)
        self.nudging = held.largest * torch.eye(n, dtype=torch.float64)
        self.wide = held.with_columns(self.nudging)
        self.wide_drive = torch.cat([self.drive, torch.zeros(samples, n, dtype=torch.float64)], 1)

    def loss_gradient(self, z: Tensor) -> Tensor:
        """Return ∂L/∂z."""
        with torch.enable_grad():
            z = z.detach().requires_grad_()
            loss = torch.nn.functional.cross_entropy(z @ self.readout.T, self.labels)
        return torch.autograd.grad(loss, z)[0]

    def on_tape(self) -> tuple[Tensor, Tensor, Tensor]:
        """Return W, U with the nudging columns, and b, as functions of the parameters."""
        weight, input_weight, bias = self.cell.matrices()
        return weight, torch.cat([input_weight, self.nudging], 1), bias

    def parameters(self, outputs: Sequence[Tensor], gradients: Sequence[Tensor]) -> Tensor:
        """Return what gradients of some functions of the parameters are to the parameters, as one vector."""
        found = torch.autograd.grad(list(outputs), list(self.cell.parameters()), list(gradients))
        return torch.cat([g.flatten() for g in found])

    def of_cell(self, gradient: CellGradient | AdjointGradients) -> Tensor:
        """Return gradients of W, U and b as those of the parameters, nudging columns left out."""
        m = self.cell.drives
        return self.parameters(self.cell.matrices(), (gradient.weight, gradient.input_weight[:, :m], gradient.bias))

    def by_lambda(self, layer: ProgrammedLayer, z: Tensor, g: Tensor, *, transposed: bool = True) -> AdjointGradients:
        """Return the gradients of the realised weights that ``λ = (D⁻¹ − Wᵀ)⁻¹ g`` makes, W of `layer`, D at z.

        Not transposed, λ is what a nudge measures.
        """
        played = dac(layer, self.wide_drive)
        weight = static_system(layer, played).weight
        slope = (1 - z.square()).clamp(min=1e-6)  # φ = tanh: its slope follows from the state that was read
        inverse = torch.diag_embed(1 / slope) - (weight.T if transposed else weight)
        return assemble(layer, played, z, torch.linalg.solve(inverse, g[..., None])[..., 0])


def exact(case: Case, chip: Chip, z: Tensor) -> dict[str, Tensor]:
    """Return the twin's own gradients at g of the state that was read, see the module for `held` and `asked`."""
    g = case.loss_gradient(z)
    layer = program(case.on_tape(), chip)
    state = SETTLE(static_system(layer, dac(layer, case.wide_drive)))
    asked = case.parameters([adc(layer, state)], [g])
    with torch.no_grad():
        held = case.by_lambda(program(case.wide.matrices(), chip), state.detach(), g)
    return {"held": case.of_cell(held), "asked": asked}


def cosine(a: Tensor, b: Tensor) -> float:
    return float(torch.nn.functional.cosine_similarity(a, b, dim=0))


def ways(name: str, bits: int, chip: Chip, arguments: argparse.Namespace) -> dict[str, tuple[GradientSource, bool]]:
    """Return the sources by the name of their row, and whether they program nudging channels themselves."""
    found: dict[str, tuple[GradientSource, bool]] = {}
    for phases in (2, 3):
        for beta in arguments.betas:
            found[f"EP, {phases} phases, β = {beta:g}"] = EquilibriumPropagation(beta, phases), True
    if bits != WITHOUT_CONVERTERS:
        return found
    simulator = find_ngspice() if name == "ngspice" else None
    found["adjoint circuit, calibrated"] = AdjointReading(True, simulator), False
    found["adjoint circuit, plain"] = AdjointReading(False, simulator), False
    if name == "twin" and chip.seed == arguments.seed:
        found[f"weight perturbation, {arguments.probes} probes"] = WeightPerturbation(arguments.probes), False
    return found


def identified(case: Case, device: Device, chip: Chip, arguments: argparse.Namespace) -> Chip | None:
    """Return the chip as system identification sees it, or None where there is nothing to find."""
    from equilog.training.adapt.identify import excitation, identify

    if chip.spec.crossbar.programming_sigma is None or not arguments.settles:
        return None
    random = torch.Generator().manual_seed(arguments.seed)
    drive = excitation(case.wide.drives, arguments.settles, random)
    return identify(Blind(device), case.wide, chip.spec, drive).chip


class Blind(BaseDevice):
    """A device whose pre-activations cannot be seen: on a chip there are no converters for them."""

    def __init__(self, device: Device) -> None:
        self.name, self._device = device.name, device

    def settle(self, drive: Tensor) -> Settled:
        """Return what the ADCs report."""
        settled = self._device.settle(drive)
        return replace(settled, p=torch.full_like(settled.p, torch.nan))


def measured(case: Case, device: Device, chip: Chip, bits: int, arguments: argparse.Namespace) -> dict[str, Any]:
    """Return cosines to both references of every way on one chip, and the seconds that each took."""
    device.program(case.wide)
    z = device.settle(case.wide_drive).read
    truth = exact(case, chip, z)
    nominal = Chip(technology(arguments.preset, 0.0, bits), 0)
    found: dict[str, CellGradient | AdjointGradients] = {}
    with torch.no_grad():
        layer, own = (program(case.wide.matrices(), each) for each in (nominal, chip))
        ideal = SETTLE(case.cell.system(case.drive))
        found[IN_THE_LOOP] = case.by_lambda(layer, z, case.loss_gradient(z))
        if (better := identified(case, device, chip, arguments)) is not None:
            estimate = program(case.wide.matrices(), better)
            found[IDENTIFIED] = case.by_lambda(estimate, z, case.loss_gradient(z))
        found["ideal model"] = case.by_lambda(layer, ideal, case.loss_gradient(ideal))
        if not arguments.monotone:
            limit = case.by_lambda(own, z, case.loss_gradient(z), transposed=False)
            found["EP, exact nudges"] = replace(limit, weight=(limit.weight + limit.weight.T) / 2)
    took: dict[str, float] = {}
    for way, (source, own_nudges) in ways(device.name, bits, chip, arguments).items():
        begin = time.perf_counter()
        try:
            cell, drive = (case.cell, case.drive) if own_nudges else (case.wide, case.wide_drive)
            found[way] = measure(source, device, cell, drive, case.loss_gradient)
        except NotSymmetricError:
            continue
        took[way] = time.perf_counter() - begin
    vectors = {way: case.of_cell(gradient) for way, gradient in found.items()}
    return {
        way: {reference: cosine(vector, truth[reference]) for reference in truth}
        | {"error": float((vector - truth["held"]).norm() / truth["held"].norm()), "second": took.get(way)}
        for way, vector in vectors.items()
    }


def rows_of(
    case: Case,
    name: str,
    mismatch: str,
    bits: int,
    sigma: float,
    arguments: argparse.Namespace,
    lost: list[dict[str, Any]],
) -> list[dict[str, Any]]:
    """Return a row for every way, the mean over chips; those that do not settle are added to `lost`."""
    common = {"device": name, "mismatch": mismatch, "n": case.cell.states, "bits": bits, "sigma": sigma}
    by_way: dict[str, list[dict[str, Any]]] = defaultdict(list)
    chips = arguments.chips if name == "twin" else 1
    # Without mismatch all chips are the same.
    for seed in range(chips if sigma else 1):
        chip = Chip(technology(arguments.preset, sigma, bits, mismatch), arguments.seed + seed)
        device: Device = TwinDevice(chip) if name == "twin" else NgspiceDevice(chip)
        with device:
            try:
                for way, values in measured(case, device, chip, bits, arguments).items():
                    by_way[way].append(values)
            except (NotConvergedError, UnstableChipError) as error:
                lost.append({**common, "chip": chip.seed, "said": str(error)})
    made = []
    for way, values in by_way.items():
        row = common | {"way": way, "chips": len(values)}
        for reference in ("held", "asked"):
            numbers = [v[reference] for v in values]
            row[reference] = statistics.fmean(numbers)
            row[f"{reference}_worst"] = min(numbers)
        seconds = [v["second"] for v in values if v["second"] is not None]
        row["error"] = statistics.fmean(v["error"] for v in values)
        made.append(row | {"second": statistics.fmean(seconds) if seconds else None})
    return made


Kind = tuple[str, str, int]
"""Device, mismatch, bits."""


def of_kind(rows: Sequence[dict[str, Any]], kind: Kind) -> list[dict[str, Any]]:
    return [r for r in rows if (r["device"], r["mismatch"], r["bits"]) == kind]


def shown(rows: Sequence[dict[str, Any]], sigmas: Sequence[float], kind: Kind) -> Any:
    here = of_kind(rows, kind)
    cosines = {(r["way"], r["n"], r["sigma"]): r["held"] for r in here}
    seconds = {(r["way"], r["n"]): r["second"] for r in here}
    body = []
    for way in dict.fromkeys(r["way"] for r in here):
        for n in sorted({r["n"] for r in here}):
            took = seconds.get((way, n))
            numbers = [f"{cosines[way, n, s]:.4f}" if (way, n, s) in cosines else "–" for s in sigmas]
            body.append([way, str(n), *numbers, "–" if took is None else f"{1e3 * took:.0f}"])
    name, mismatch, bits = kind
    converters = "no converters" if bits == WITHOUT_CONVERTERS else f"{bits}-bit converters"
    columns = ["way", "n", *(f"{100 * s:g} %" for s in sigmas), "ms"]
    return table(f"Cosine to the exact gradient: {name}, {mismatch}, {converters}", columns, body)


def verdict(rows: Sequence[dict[str, Any]]) -> str:
    said = [f"cosine ≥ {TARGET} at {100 * TARGET_SIGMA:g} %:"]
    for r in rows:
        if r["way"] in (IN_THE_LOOP, IDENTIFIED) and r["sigma"] == TARGET_SIGMA:
            held = f"{r['held']:.4f} {'met' if r['held'] >= TARGET else 'MISSED'}"
            said.append(f"  {r['device']}, {r['mismatch']}, {r['bits']} bits, n = {r['n']}, {r['way']}: {held}")
    return "\n".join(said)


def main(given: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sizes", type=int, nargs="+", default=[8, 16, 32])
    parser.add_argument("--sigmas", type=float, nargs="+", default=[0.0, 0.01, 0.05, 0.1])
    parser.add_argument("--betas", type=float, nargs="+", default=[0.03, 0.3, 1.0])
    parser.add_argument("--bits", type=int, nargs="+", default=[WITHOUT_CONVERTERS, 8])
    parser.add_argument("--devices", nargs="+", choices=["twin", "ngspice"], default=["twin", "ngspice"])
    parser.add_argument("--preset", default="rram", help="with the activation tanh")
    parser.add_argument("--monotone", action="store_true", help="the default cell, without symmetry")
    parser.add_argument("--drives", type=int, default=4)
    parser.add_argument("--samples", type=int, default=16)
    parser.add_argument("--chips", type=int, default=4, help="chips of the twin; ngspice has one")
    parser.add_argument("--settles", type=int, default=120, help="to identify a chip; 0 to leave it out")
    parser.add_argument("--probes", type=int, default=64)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args(given)
    torch.set_num_threads(1)
    if load_spec(arguments.preset).activation.curve is not None:
        raise UserError(f"preset {arguments.preset!r} has a measured activation, slopes are read off z by tanh here")
    kinds = [
        (name, mismatch, bits)
        for name in arguments.devices
        for mismatch in (("uniform", "relative") if name == "twin" else ("uniform",))
        for bits in arguments.bits
        if mismatch == "uniform" or bits == WITHOUT_CONVERTERS
    ]
    pieces = [(kind, n, sigma) for kind in kinds for n in arguments.sizes for sigma in arguments.sigmas]
    cases = {n: Case(n, arguments) for n in arguments.sizes}
    rows: list[dict[str, Any]] = []
    lost: list[dict[str, Any]] = []
    begin = time.perf_counter()
    with progress(len(pieces), "gradients") as step:
        for kind, n, sigma in pieces:
            step(f"{', '.join(map(str, kind))} bits, n = {n}, {100 * sigma:g} %")
            rows += rows_of(cases[n], *kind, sigma, arguments, lost)
    took = time.perf_counter() - begin
    show([shown(rows, arguments.sigmas, kind) for kind in kinds])
    print(verdict(rows))
    print(f"chips that did not settle: {len(lost)}; {took:.0f} s")
    write(arguments.json, rows, arguments, seconds=took, lost=lost)


if __name__ == "__main__":
    main()
