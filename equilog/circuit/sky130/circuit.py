"""A programmed chip as a circuit of SKY130 transistors around the crossbar's resistors.

Folder layout as in :mod:`equilog.circuit.netlist`, and the same test benches, so that whatever settles one circuit
settles the other; ``blocks.lib`` holds transistors, and ``models.lib`` the models they need.
"""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

from torch import Tensor

from equilog.circuit.netlist import write_circuit
from equilog.circuit.sky130.benches import library
from equilog.circuit.sky130.characterised import characterised_spec, measured
from equilog.circuit.sky130.models import models
from equilog.hardware import ProgrammedLayer
from equilog.names import UserError

# Transistor models have derivatives that are continuous to a part in 1e9 or so: a tighter search never ends.
OP_OPTIONS = "reltol=1e-6 abstol=1e-13 vntol=1e-9 gmin=1e-13 itl1=500 itl2=500"
TRAN_OPTIONS = "reltol=1e-4 abstol=1e-12 vntol=1e-6 chgtol=1e-16 gmin=1e-13 method=trap"
RESET_SECOND = 1e-10
TRANSISTORS_PER_NEURON = 26
TRANSISTORS_SHARED = 4


def write_transistor_circuit(
    layer: ProgrammedLayer,
    folder: Path,
    *,
    rest: Tensor | None = None,
    settle: Tensor | None = None,
    duration_second: float | None = None,
) -> list[Path]:
    """Write the circuit with transistors for amplifiers and activations, and test benches as `write_circuit` does.

    The chip's mismatch enters as voltage sources at amplifiers and pairs and in the resistor that sets an activation's
    amplitude; transistors are typical ones.

    Args:
        layer: the chip, of :func:`characterised_spec` or a technology changed from it in other things than amplifier
            gain, activation and reference voltages.
        folder: where to; made if need be. Files of the same names are replaced.
        rest: drives as played, shape ``(samples, m)``, for ``op.cir``.
        settle: drives as played, shape ``(samples, m)``, for ``settle_K.cir``.
        duration_second: length of the transients; 25 time constants unless given.

    Returns:
        the files written.

    Raises:
        Sky130MissingError: if the transistor models are not installed.
        UserError: for a layer with a law in fixed resistors.
        ValueError: for a population; for a layer of another technology; if a column of the crossbar is more than an
            output drives.
    """
    check_drivable(layer)
    blocks = library()
    cut = models(blocks)
    paths = write_circuit(layer, folder, rest=rest, settle=settle, duration_second=duration_second)
    for path in paths:
        if path.suffix == ".cir":
            path.write_text(_with_transistors(path.read_text(encoding="utf-8"), path.stem, layer), encoding="utf-8")
    (folder / "blocks.lib").write_text(blocks, encoding="utf-8")
    (folder / "models.lib").write_text(cut, encoding="utf-8")
    return [*paths, folder / "models.lib"]


def twin_layer(layer: ProgrammedLayer) -> ProgrammedLayer:
    """Return the chip as the twin should see it: with what is systematic in the blocks beside its mismatch.

    That is the amplifier's own offset, and the mean c of an activation's two outputs at rest, which the twin takes for
    zero: it drives a current ``c ΣG`` into the row, as an offset of ``−c R_f ΣG_neurons/N`` would.
    """
    found, n = measured(), layer.states
    neurons = (layer.g_plus_siemens + layer.g_minus_siemens)[..., :n].sum(-1)
    share = layer.r_feedback_ohm * neurons / layer.noise_gain
    shift = found["amplifier.offset_volt"] - found["activation.common_volt"] * share
    return replace(layer, amp_offset_volt=layer.amp_offset_volt + shift)


def transistor_count(layer: ProgrammedLayer) -> int:
    """Return how many transistors the circuit holds, parallel ones counted once."""
    return TRANSISTORS_PER_NEURON * layer.states + TRANSISTORS_SHARED


def check_drivable(layer: ProgrammedLayer) -> None:
    """Raise if the transistors cannot be this layer.

    Raises:
        UserError: for a law in fixed resistors, or neurons without an activation.
        ValueError: for a layer of another technology, or a column that is more than an output drives.
    """
    ours, given = characterised_spec(), layer.spec
    if layer.fixed_target is not None or layer.linear:
        raise UserError(
            "the transistor circuit has no fixed network and no output without an activation: settle this cell in the "
            "circuit of blocks, or train a cell without a fixed coupling"
        )
    blocks = ("curve", "v_scale_volt", "v_out_volt")
    if wrong := [key for key in blocks if getattr(given.activation, key) != getattr(ours.activation, key)]:
        raise ValueError(
            f"technology {given.name!r} has another activation.{wrong[0]} than the transistors: program the cell onto "
            "a chip of equilog.circuit.sky130.characterised_spec()"
        )
    limit = measured()["activation.drive_siemens"]
    if layer.chips is None:
        for name, g in (("positive", layer.g_minus_siemens), ("negative", layer.g_plus_siemens)):
            columns = g.detach()[:, : layer.states].sum(0)
            worst = int(columns.argmax())
            if float(columns[worst]) > limit:
                raise ValueError(
                    f"the {name} output of neuron {worst} drives {float(columns[worst]) * 1e6:.3g} µS, expected at "
                    f"most {limit * 1e6:.3g} µS: lower crossbar.g_max_siemens or use fewer neurons"
                )


def _with_transistors(text: str, stem: str, layer: ProgrammedLayer) -> str:
    """Return a deck of the macro-model circuit with transistors in place of its neurons, or with options for them."""
    if stem != "layer":
        moving = stem.startswith("settle")
        text = re.sub(r"^\.options .*$", f".options {TRAN_OPTIONS if moving else OP_OPTIONS}", text, flags=re.MULTILINE)
        return _from_reset(text, layer) if moving else text
    text, found = re.subn(
        r"^Xn(\d+) .*\n(?:\+.*\n)*", lambda match: _neuron(layer, int(match[1])), text, flags=re.MULTILINE
    )
    if found != layer.states:
        raise ValueError(f"expected {layer.states} neurons in the netlist, found {found}")
    head = "\n".join(
        [
            ".include models.lib",
            ".include blocks.lib",
            "",
            "* Supplies and bias",
            "Vdd vdd 0 dc 0.9",
            "Vss vss 0 dc -0.9",
            "Xbias vdd vss nb pb bias",
        ]
    )
    return text.replace(".include blocks.lib", head, 1)


def _from_reset(text: str, layer: ProgrammedLayer) -> str:
    """Return a transient that begins with capacitors shorted and bias at rest, instead of with all nodes at zero.

    Raises:
        ValueError: if the deck has no transient.
    """
    reset = [
        "* Reset: shorts every integrator's capacitor until t = 0",
        f"Vreset reset 0 pwl(0 1 {RESET_SECOND!r} 0)",
        ".model reset_switch sw(vt=0.5 vh=0.1 ron=1 roff=1e12)",
        *(f"Sreset{i} x{i} v{i} reset 0 reset_switch" for i in range(layer.states)),
    ]
    text, found = re.subn(r"^(\.tran .*) uic$", lambda match: "\n".join([*reset, match[1]]), text, flags=re.MULTILINE)
    if found != 1:
        raise ValueError(f"expected one transient in the test bench, found {found}")
    return text


def _neuron(layer: ProgrammedLayer, i: int) -> str:
    given = {
        "rf": layer.r_feedback_ohm,
        "cf": layer.c_feedback_farad,
        "vos": layer.amp_offset_volt[i],
        "gain": layer.act_gain[i],
        "avos": layer.act_offset_volt[i],
    }
    numbers = " ".join(f"{name}={float(value)!r}" for name, value in given.items())
    return f"Xn{i} x{i} v{i} sp{i} sn{i} vdd vss nb pb neuron\n+ {numbers}\n"
