"""A trained run as a circuit: written for a target, and counted block by block."""

from __future__ import annotations

import tempfile
from pathlib import Path

import torch
from torch import Tensor

from equilog import circuit
from equilog.cells import OutsideCurveError
from equilog.circuit.chain import twin_chain, write_chain
from equilog.cost.parts import BlockCost, block_table, transistor_table
from equilog.devices.twin import TwinDevice
from equilog.equilibrium import NotConvergedError
from equilog.hardware import Chip, ProgrammedLayer
from equilog.hardware.rest import at_rest
from equilog.hardware.transient import UnstableChipError
from equilog.hardware.twin import dac
from equilog.names import UserError
from equilog.pipeline.train import load_data
from equilog.runs.folder import RunFolder
from equilog.tasks import Data

# A resting point of transistors takes a second at 64 neurons, and power hardly depends on the sample.
TRANSISTOR_SAMPLES = 4
TARGETS = ("spice", "chain", "transistors", "board")


def compile_run(folder: RunFolder, data: Data | None = None, target: str = "spice") -> list[Path]:
    """Write the circuit of a trained run, with test benches for its verification samples.

    Args:
        folder: the run.
        data: its data; loaded unless given.
        target: "spice" for the network of blocks in ``circuit/``; in a folder of its own within that, "chain" for
            everything from code to code, "transistors" for SKY130 ones in the place of blocks, on a chip of their own
            technology with the run's seed, "board" for a board of parts.

    Returns:
        the files written.

    Raises:
        UserError: for a technology that the target cannot be made of, or if an extra is missing.
        ValueError: for another target.
    """
    if target not in TARGETS:
        raise ValueError(f"target = {target!r}: expected one of {', '.join(TARGETS)}")
    config, model = folder.config(), folder.load_model()
    data = data or load_data(config)
    device = TwinDevice(_transistor_chip(config.chip_seed) if target == "transistors" else folder.chip())
    device.program(model.cell)
    layer, count = device.layer, config.verify.settle_samples
    with torch.no_grad():
        drive = model.parameterize(data.test_x[: config.verify.rest_samples]).double()
    played, place = dac(layer, drive), folder.circuit / target
    if target == "chain":
        return _compile_chain(layer, place, drive[: max(1, config.verify.chain_samples)])
    if target == "board":
        from equilog.circuit.board import write_board  # noqa: PLC0415  # its libraries are an extra's

        return write_board(layer, place)
    if target == "transistors":
        return _write_transistors(layer, place, played, played[:count])
    return circuit.write_circuit(layer, folder.circuit, rest=played, settle=played[:count])


@torch.no_grad()
def parts_of_run(folder: RunFolder, data: Data | None = None, target: str = "chain") -> list[BlockCost]:
    """Return what a trained run's circuit is made of, and what its blocks take in area and power.

    The circuit is written anew for that, into a folder that does not stay, and settled for the verification samples.

    Args:
        folder: the run.
        data: its data; loaded unless given.
        target: "chain" for everything from code to code, which without a detector in the technology is the network
            alone; "transistors" for SKY130 ones in the place of blocks, settled in ngspice.

    Raises:
        NgspiceMissingError: for transistors without a simulator.
        UserError: for a circuit that transistors cannot make, if their models are missing, or if ngspice fails.
        ValueError: for another target.
    """
    if target not in ("chain", "transistors"):
        raise ValueError(f"target = {target!r}: expected one of chain, transistors")
    config, model = folder.config(), folder.load_model()
    data = data or load_data(config)
    device = TwinDevice(_transistor_chip(config.chip_seed) if target == "transistors" else folder.chip())
    device.program(model.cell)
    layer = device.layer
    played = dac(layer, model.parameterize(data.test_x[: config.verify.rest_samples]).double())
    with tempfile.TemporaryDirectory(prefix="equilog-parts-") as scratch:
        place = Path(scratch)
        if target == "transistors":
            simulator, played = circuit.find_ngspice(), played[:TRANSISTOR_SAMPLES]
            _write_transistors(layer, place, played)
            try:
                return transistor_table(layer, place, played, simulator)
            except circuit.NgspiceError as error:
                raise UserError(f"ngspice does not settle the transistors: {error}") from None
        if layer.spec.detector is None:
            circuit.write_circuit(layer, place)
        else:
            write_chain(layer, place)
        try:
            rest = at_rest(layer, played)
        except (NotConvergedError, UnstableChipError, OutsideCurveError):
            return block_table(layer, place, None, None, played)
        return block_table(layer, place, rest.p, rest.z, played)


def _transistor_chip(seed: int) -> Chip:
    from equilog.circuit.sky130 import characterised_spec, require  # noqa: PLC0415

    require()
    return Chip(characterised_spec(), seed)


def _write_transistors(layer: ProgrammedLayer, place: Path, rest: Tensor, settle: Tensor | None = None) -> list[Path]:
    from equilog.circuit.sky130 import write_transistor_circuit  # noqa: PLC0415

    try:
        return write_transistor_circuit(layer, place, rest=rest, settle=settle)
    except ValueError as error:
        raise UserError(str(error)) from None


def _compile_chain(layer: ProgrammedLayer, place: Path, drive: Tensor) -> list[Path]:
    if layer.spec.detector is None:
        raise UserError(
            f"technology {layer.spec.name!r} has no detector to say when the chain may convert: give it a `detector` "
            "block and run again"
        )
    return write_chain(layer, place, drive=drive, report=twin_chain(layer, drive).report_second)
