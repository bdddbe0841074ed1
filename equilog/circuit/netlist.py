"""A programmed chip as a readable SPICE circuit: the same resistors as the twin, digit for digit.

Folder layout:

    blocks.lib      op-amp, integrator, activation, output without one, neurons
    crossbar.inc    two resistors a weight, each row under the weights it realises; none where nothing is populated
    fixed.inc       one resistor a coefficient of a law, if the layer has one
    layer.cir       the neurons, the drive and reference sources, and the crossbar
    op.cir          test bench: resting point of every sample
    settle_K.cir    test bench: transient of sample K from discharged capacitors
    noise.cir       test bench: noise of chosen amplifier outputs at every sample's resting point

Nodes: ``xI`` virtual ground, ``vI`` amplifier output, ``spI``/``snI`` activation output in both polarities, ``dpK``/
``dnK`` DAC K, ``refp``/``refn`` bias reference. The one thing of a user's that reaches a deck is the technology's
name, in a comment; it is checked again here, because a deck can run commands.
"""

from __future__ import annotations

import re
from importlib import resources
from itertools import pairwise
from pathlib import Path

from torch import Tensor

from equilog.cells.curve import curve_in
from equilog.circuit.curve import with_curve
from equilog.circuit.noise_bench import NoiseBench, noise_deck
from equilog.circuit.text import number, write_files
from equilog.hardware import ProgrammedLayer
from equilog.hardware.curve import activation_of
from equilog.hardware.technology.spec import NAME_PATTERN

# Tight enough that the simulator's own error lies two decades below what verification allows. Not tighter in current
# than float64 resolves: 0.1 V across a wire segment of 0.1 Ω rounds to 1e-16 A, and ngspice would iterate for ever.
OP_OPTIONS = "reltol=1e-10 abstol=1e-15 vntol=1e-13 gmin=1e-15 itl1=500 itl2=500"
TRAN_OPTIONS = "reltol=1e-8 abstol=1e-14 vntol=1e-9 chgtol=1e-18 trtol=1 gmin=1e-15 method=trap"
RECORDED = ("v", "sp")


def write_circuit(
    layer: ProgrammedLayer,
    folder: Path,
    *,
    rest: Tensor | None = None,
    settle: Tensor | None = None,
    duration_second: float | None = None,
    noise: NoiseBench | None = None,
) -> list[Path]:
    """Write the circuit and, if samples are given, the test benches that settle them.

    Args:
        layer: the chip.
        folder: where to; made if need be. Files of the same names are replaced.
        rest: drives as played, shape ``(samples, m)``, for ``op.cir``.
        settle: drives as played, shape ``(samples, m)``, for ``settle_K.cir``.
        duration_second: length of the transients; 25 time constants unless given.
        noise: what ``noise.cir`` measures.

    Returns:
        the files written.

    Raises:
        ValueError: for a population, which is no circuit; if the noise bench names a neuron that is not there, no
            temperature or a negative noise.
    """
    if layer.chips is not None:
        raise ValueError(
            f"a circuit is one chip, this is a population of {layer.chips}: program one of them on its own"
        )
    folder.mkdir(parents=True, exist_ok=True)
    # Benches of an earlier call would otherwise be left beside a circuit they do not belong to.
    for stale in folder.glob("*.cir"):
        if re.fullmatch(r"op|noise|settle_\d+", stale.stem):
            stale.unlink()
    (folder / "fixed.inc").unlink(missing_ok=True)
    blocks = (resources.files("equilog.circuit") / "blocks.lib").read_text(encoding="utf-8")
    curve = curve_in(activation_of(layer))
    text = {
        "blocks.lib": blocks if curve is None else with_curve(blocks, curve.spline),
        "crossbar.inc": _crossbar(layer),
        "layer.cir": _layer(layer),
    }
    if layer.fixed_target is not None:
        text["fixed.inc"] = _fixed_network(layer)
    if rest is not None:
        text["op.cir"] = _op_bench(layer, rest)
    if settle is not None:
        duration = 25 * layer.time_constant_second if duration_second is None else duration_second
        for k, played in enumerate(settle):
            text[f"settle_{k}.cir"] = _settle_bench(layer, played, duration)
    if noise is not None:
        text["noise.cir"] = noise_deck(layer, noise, OP_OPTIONS)
    return write_files(folder, text)


def component_count(layer: ProgrammedLayer) -> dict[str, int]:
    """Return how many of each part the netlist holds, by kind; those of a law only where there is one."""
    devices = int((layer.g_plus_siemens > 0).sum() + (layer.g_minus_siemens > 0).sum())
    n, m = layer.states, layer.drives
    law = {}
    if layer.fixed_pairs is not None:
        law["fixed resistors"] = sum(int((f > 0).sum()) for f in layer.fixed_pairs)
    if layer.linear:
        law["linear outputs"] = layer.linear
    return law | {
        "crossbar devices": devices,
        "op-amps": n,
        "feedback resistors": n,
        "feedback capacitors": n,
        "activation blocks": n - layer.linear,
        "DACs": m,
        "ADCs": n,
        "references": 1,
    }


def _sources(layer: ProgrammedLayer) -> list[tuple[str, str, str]]:
    """Return label, positive and negative node of every crossbar column."""
    n, m = layer.states, layer.drives
    return (
        [(f"W[{{i}},{j}]", f"sp{j}", f"sn{j}") for j in range(n)]
        + [(f"U[{{i}},{k}]", f"dp{k}", f"dn{k}") for k in range(m)]
        + [("b[{i}]", "refp", "refn")]
    )


def _crossbar(layer: ProgrammedLayer) -> str:
    wires = layer.wires
    word, bit = (0.0, 0.0) if wires is None else (float(wires.word_line_ohm), float(wires.bit_line_ohm))
    lines = [
        "* Crossbar. A positive weight hangs on the negative polarity, because the integrator inverts:",
        "* Rp from the negative source realises G+, Rm from the positive source realises G-.",
        "* Each comment: weight realised by this chip (weight asked for).",
    ]
    columns = _sources(layer)
    plus, minus = layer.g_plus_siemens.tolist(), layer.g_minus_siemens.tolist()
    whole, asked = layer.effective.detach(), layer.target.tolist()
    realised = (whole if (law := layer.fixed_effective) is None else whole - law.detach()).tolist()
    everywhere = list(range(len(columns)))
    for i in range(layer.states):
        places = everywhere if layer.populated is None else layer.populated[i].nonzero().flatten().tolist()
        if not places:
            continue
        lines.append(f"\n* row {i}: everything that flows into x{i}")
        for k in places:
            label, positive, negative = columns[k]
            lines.append(f"* {label.format(i=i)} = {realised[i][k]:+.4f} ({asked[i][k]:+.4f})")
            pair = ((2 * k, "p", negative, plus[i][k]), (2 * k + 1, "m", positive, minus[i][k]))
            for line, kind, node, g in pair:
                source = f"w{line}_{i}" if word else node
                sink = f"b{i}_{line}" if bit else f"x{i}"
                if g > 0:
                    lines.append(f"R{kind}_{i}_{k} {source} {sink} {number(1 / g)}")
                else:
                    lines.append(f"* R{kind}_{i}_{k}: this device does not conduct")
    return "\n".join(lines + _wires(layer, columns, word, bit)) + "\n"


def _fixed_network(layer: ProgrammedLayer) -> str:
    """Return the resistors of a law, straight from the sources to the virtual grounds."""
    pairs, effective, target = layer.fixed_pairs, layer.fixed_effective, layer.fixed_target
    assert pairs is not None
    assert effective is not None
    assert target is not None
    places = ((pairs[0] > 0) | (pairs[1] > 0)).nonzero().tolist()
    plus, minus, realised, asked = (m.tolist() for m in (*pairs, effective, target))
    columns, row = _sources(layer), -1
    lines = [
        "* Fixed network: a linear law in precision resistors beside the crossbar. Nothing of it is programmed.",
        "* As there, a positive coefficient hangs on the negative polarity.",
        "* Each comment: coefficient realised by this chip (coefficient of the law).",
    ]
    for i, k in places:
        if i != row:
            row = i
            lines.append(f"\n* row {i}: what the law makes flow into x{i}")
        label, positive, negative = columns[k]
        for kind, node, g in (("p", negative, plus[i][k]), ("m", positive, minus[i][k])):
            if g > 0:
                lines.append(f"* law {label.format(i=i)} = {realised[i][k]:+.4f} ({asked[i][k]:+.4f})")
                lines.append(f"Rk{kind}_{i}_{k} {node} x{i} {number(1 / g)}")
    return "\n".join(lines) + "\n"


def _wires(layer: ProgrammedLayer, columns: list[tuple[str, str, str]], word: float, bit: float) -> list[str]:
    """Return the segments of the lines, as :mod:`equilog.hardware.wires` draws them."""
    lines = []
    drivers = [node for _, positive, negative in columns for node in (negative, positive)]
    if word:
        lines.append(f"\n* word lines: {number(word)} ohm from the source to the first device and between devices")
        for k, driver in enumerate(drivers):
            nodes = [driver, *(f"w{k}_{i}" for i in range(layer.states))]
            lines += [f"Rw_{k}_{i} {a} {b} {number(word)}" for i, (a, b) in enumerate(pairwise(nodes))]
    if bit:
        lines.append(f"\n* bit lines: {number(bit)} ohm between devices and from the last one to the virtual ground")
        for i in range(layer.states):
            nodes = [*(f"b{i}_{k}" for k in range(len(drivers))), f"x{i}"]
            lines += [f"Rb_{i}_{k} {a} {b} {number(bit)}" for k, (a, b) in enumerate(pairwise(nodes))]
    return lines


def _layer(layer: ProgrammedLayer) -> str:
    spec, n, m = layer.spec, layer.states, layer.drives
    if not re.fullmatch(NAME_PATTERN, spec.name):
        raise ValueError(f"technology name {spec.name!r} must not reach a netlist; expected {NAME_PATTERN}")
    lines = [
        f"* equilog layer: {n} neurons, {m} drives; technology {spec.name}, chip {layer.seed}",
        f"* R_f = {float(number(layer.r_feedback_ohm)):.6g} ohm, C_f = {float(layer.c_feedback_farad):.6g} F, "
        f"tau = {layer.time_constant_second:.6g} s",
        ".include blocks.lib",
        "",
        "* Neurons. vos: amplifier offset; gain, avos: activation mismatch of this chip.",
    ]
    shared = (
        f"rf={number(layer.r_feedback_ohm)} cf={number(layer.c_feedback_farad)} "
        f"va={number(spec.activation.v_scale_volt)} vs={number(spec.activation.v_out_volt)}"
    )
    amp = spec.amplifier
    limits = {"slew": amp.slew_volt_per_second, "rail": amp.rail_volt}
    given = "".join(f" {name}={number(value)}" for name, value in limits.items() if value is not None)
    for i in range(n):
        kind = ("linear_neuron" if i < layer.linear else "neuron") + ("_limited" if given else "")
        own = (
            f"a0={number(layer.dc_gain[i])} gbw={number(layer.gbw_hertz[i])} "
            f"vos={number(layer.amp_offset_volt[i])} gain={number(layer.act_gain[i])} "
            f"avos={number(layer.act_offset_volt[i])}"
        )
        lines += [f"Xn{i} x{i} v{i} sp{i} sn{i} {kind}", f"+ {shared}{given}", f"+ {own}"]
    if bias := spec.amplifier.input_bias_ampere:
        lines += ["", "* Bias currents into the inverting inputs"]
        lines += [f"Ibias{i} x{i} 0 dc {number(bias)}" for i in range(n)]
    lines += ["", "* Drives: DAC outputs in both polarities; a test bench sets the Vd sources."]
    for k in range(m):
        lines += [f"Vd{k} dp{k} 0 dc 0", f"Ed{k} dn{k} 0 dp{k} 0 -1"]
    reference = number(spec.dac.full_scale_volt)
    lines += ["", "* Bias reference", f"Vref refp 0 dc {reference}", "Eref refn 0 refp 0 -1", ""]
    lines += [".include crossbar.inc", *([] if layer.fixed_target is None else [".include fixed.inc"]), ""]
    return "\n".join(lines)


def _save(layer: ProgrammedLayer) -> list[str]:
    return [".save " + " ".join(f"v({name}{i})" for name in RECORDED) for i in range(layer.states)]


def _op_bench(layer: ProgrammedLayer, rest: Tensor) -> str:
    volts = rest * layer.spec.dac.full_scale_volt
    lines = [
        "* Resting point of every sample, one operating point each; writes op.raw",
        ".include layer.cir",
        f".options {OP_OPTIONS}",
        *_save(layer),
        ".op",
        ".control",
        "set filetype=binary",
        "set appendwrite",
    ]
    for index, row in enumerate(volts):
        lines.append(f"* sample {index}")
        lines += [f"alter Vd{k} dc = {number(value)}" for k, value in enumerate(row)]
        lines += ["op", "write op.raw", "destroy all"]
    lines += ["quit 0", ".endc", ".end", ""]
    return "\n".join(lines)


def _settle_bench(layer: ProgrammedLayer, played: Tensor, duration_second: float) -> str:
    volts = played * layer.spec.dac.full_scale_volt
    step = layer.time_constant_second / 20
    first = step / 1000  # ngspice starts with tstep/10; the amplifier's own pole is what moves first
    lines = [
        "* Transient from discharged capacitors (reset released at t = 0); writes tran.raw",
        ".include layer.cir",
        f".options {TRAN_OPTIONS}",
        *_save(layer),
        f".tran {number(first)} {number(duration_second)} 0 {number(step)} uic",
        ".control",
        "set filetype=binary",
    ]
    lines += [f"alter Vd{k} dc = {number(value)}" for k, value in enumerate(volts)]
    lines += ["run", "write tran.raw", "quit 0", ".endc", ".end", ""]
    return "\n".join(lines)
