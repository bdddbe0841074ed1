"""A trained layer as a board: which part's pin hangs on which net.

Nets bear the names of the SPICE netlist: ``xI`` virtual ground, ``vI`` integrator, ``spI``/``snI`` state, ``dpK``/
``dnK`` drive, ``refp``/``refn`` bias reference; beside them ``+5V``, ``-5V``, ``GND``, ``VREF`` and what lies within a
block.

A neuron takes one quad op-amp: integrator, difference amplifier behind the bipolar pair, inverter, and the detector's
amplifier. A drive takes one dual op-amp behind its DAC.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field

import torch

from equilog.cells import FixedCoupling
from equilog.circuit.board.catalogue import (
    ADC,
    COMPARATOR,
    DAC,
    DAC_OUTPUTS,
    DUAL,
    PAIR,
    QUAD,
    REFERENCE,
    Part,
    capacitor,
    header,
    resistor,
)
from equilog.circuit.board.limits import check
from equilog.circuit.board.values import (
    REFERENCE_VOLT,
    DetectorValues,
    activation_values,
    detector_values,
    drive_values,
    ratio,
)
from equilog.hardware import Chip, ProgrammedLayer, program, without
from equilog.hardware.effects import DEVICE_EFFECTS, FIXED_NETWORK, NEURON_EFFECTS
from equilog.hardware.technology.eseries import ESeries, nearest

ADC_CHANNELS = DAC_CHANNELS = 8
ROUNDINGS = ("levels", "e-series")
"""what is done to a conductance before anything is bought"""


@dataclass(frozen=True)
class Component:
    """One part on the board.

    Attributes:
        ref: designator.
        part: what it is.
        nets: pin number to net; a pin that is left open has a net of its own.
        block: which block it belongs to, such as ``neuron 3``.
        role: what it does there, such as ``W[3,0] G+``.
    """

    ref: str
    part: Part
    nets: dict[str, str]
    block: str
    role: str


@dataclass
class Board:
    """All components, and the layer with the values one buys."""

    nominal: ProgrammedLayer
    components: list[Component] = field(default_factory=list)
    counts: Counter[str] = field(default_factory=Counter)

    @property
    def series(self) -> ESeries:
        """The resistors' E series."""
        series = self.nominal.spec.crossbar.e_series
        assert series is not None
        return series

    def add(self, part: Part, nets: dict[str, str], block: str, role: str) -> None:
        """Place a part; `nets` by pin name, which reaches every pin of that name. Pins not named are left open."""
        self.counts[part.letter] += 1
        ref = f"{part.letter}{self.counts[part.letter]}"
        missing = set(nets) - set(part.pins.values())
        assert not missing, f"{part.name} has no pin {missing}"
        by_number = {
            number: nets.get(name, f"unconnected-({ref}-{name}-Pad{number})") for number, name in part.pins.items()
        }
        self.components.append(Component(ref, part, by_number, block, role))

    def between(self, part: Part, a: str, b: str, block: str, role: str) -> None:
        """Place a part of two pins, from net `a` to net `b`."""
        self.counts[part.letter] += 1
        ref = f"{part.letter}{self.counts[part.letter]}"
        self.components.append(Component(ref, part, {"1": a, "2": b}, block, role))

    def resist(self, ohm: float, a: str, b: str, block: str, role: str) -> None:
        """Place the resistor of a value of the series."""
        self.between(resistor(nearest(ohm, self.series)), a, b, block, role)

    def decouple(self, block: str, what: str, *nets: str) -> None:
        """Place 100 nF from each supply net of a part to ground."""
        for net in nets:
            self.between(capacitor(100e-9), net, "GND", block, f"decoupling of {what}, {net}")

    def nets(self) -> dict[str, list[tuple[str, str]]]:
        """Return designator and pin of all that hangs on each net, nets in order of first use."""
        found: dict[str, list[tuple[str, str]]] = {}
        for component in self.components:
            for number, net in component.nets.items():
                found.setdefault(net, []).append((component.ref, number))
        return found


def design(layer: ProgrammedLayer) -> Board:
    """Return the board of a layer.

    Its resistors are the values asked for, rounded to the series: tolerance, which this chip draws from its seed, is
    what one gets with the parts.

    Raises:
        UserError: for a layer that this board cannot be; see :mod:`equilog.circuit.board.limits`.
    """
    check(layer)
    board = Board(nominal_of(layer))
    _supply(board)
    for i in range(layer.states):
        _crossbar_row(board, i)
        _neuron(board, i)
        if layer.spec.detector is not None:
            _detector(board, i)
    if layer.spec.detector is not None:
        _thresholds(board)
    _drives(board)
    _converters(board)
    _host(board)
    return board


@torch.no_grad()
def nominal_of(layer: ProgrammedLayer) -> ProgrammedLayer:
    """Return the layer on a chip whose resistors are what was asked for, rounded, and whose neurons are alike."""
    n, m = layer.states, layer.drives
    drawn = [e.name for e in DEVICE_EFFECTS if e.name not in ROUNDINGS] + [e.name for e in NEURON_EFFECTS]
    spec = without(layer.spec, *drawn, FIXED_NETWORK.name)
    weight, input_weight, bias = layer.target.detach().split([n, m, 1], dim=1)
    fixed = None
    if layer.fixed_target is not None:
        held, driven, constant = layer.fixed_target.detach().split([n, m, 1], dim=1)
        fixed = FixedCoupling(held, driven, constant[:, 0], linear=layer.linear)
    return program((weight, input_weight, bias[:, 0]), Chip(spec, 0), fixed=fixed, populated=layer.populated)


def columns(layer: ProgrammedLayer) -> list[tuple[str, str, str]]:
    """Return label, positive and negative net of every column of the crossbar."""
    return (
        [(f"W[{{i}},{j}]", f"sp{j}", f"sn{j}") for j in range(layer.states)]
        + [(f"U[{{i}},{k}]", f"dp{k}", f"dn{k}") for k in range(layer.drives)]
        + [("b[{i}]", "refp", "refn")]
    )


def _supply(board: Board) -> None:
    block = "supply"
    board.add(header(3, 1), {"Pin_1": "+5V", "Pin_2": "GND", "Pin_3": "-5V"}, block, "supply")
    for net in ("+5V", "-5V"):
        board.between(capacitor(10e-6), net, "GND", block, f"bulk, {net}")
    block = "reference"
    full_scale = float(board.nominal.spec.dac.full_scale_volt)
    board.resist(1000.0, "+5V", "VREF", block, "bias of the reference")
    board.add(REFERENCE, {"K": "VREF", "A": "GND", "NC": "GND"}, block, "2.5 V")
    board.decouple(block, "reference", "VREF")
    into, feedback = ratio(full_scale / REFERENCE_VOLT, board.series)
    board.resist(into, "VREF", "ref_a", block, "bias reference, negative, input")
    board.resist(feedback, "ref_a", "refn", block, "bias reference, negative, feedback")
    board.resist(10e3, "refn", "ref_b", block, "bias reference, positive, input")
    board.resist(10e3, "ref_b", "refp", block, "bias reference, positive, feedback")
    _inverters(board, block, ("ref_a", "refn"), ("ref_b", "refp"))


def _inverters(board: Board, block: str, first: tuple[str, str], second: tuple[str, str]) -> None:
    """Place a dual op-amp whose sections invert: summing node and output of each."""
    nets = {"V+": "+5V", "V-": "-5V"}
    for section, (node, out) in zip("AB", (first, second)):
        nets |= {f"IN+ {section}": "GND", f"IN- {section}": node, f"OUT {section}": out}
    board.add(DUAL, nets, block, "two inverters")
    board.decouple(block, "op-amp", "+5V", "-5V")


def _crossbar_row(board: Board, i: int) -> None:
    layer = board.nominal
    for k, (label, positive, negative) in enumerate(columns(layer)):
        pairs = [("G+", negative, layer.g_plus_siemens[i, k]), ("G-", positive, layer.g_minus_siemens[i, k])]
        if (law := layer.fixed_pairs) is not None:
            pairs += [("law +", negative, law[0][i, k]), ("law -", positive, law[1][i, k])]
        for sign, source, g in pairs:
            if float(g) > 0:
                board.resist(1 / float(g), source, f"x{i}", f"crossbar row {i}", f"{label.format(i=i)} {sign}")


def _neuron(board: Board, i: int) -> None:
    spec, block = board.nominal.spec, f"neuron {i}"
    act = activation_values(float(spec.activation.v_out_volt), board.series)
    quad = {"V+": "+5V", "V-": "-5V"}
    quad |= {"IN- A": f"x{i}", "IN+ A": "GND", "OUT A": f"v{i}"}
    quad |= {"IN- B": f"diff_m{i}", "IN+ B": f"diff_p{i}", "OUT B": f"sp{i}"}
    quad |= {"IN- C": f"inv{i}", "IN+ C": "GND", "OUT C": f"sn{i}"}
    if spec.detector is None:  # a follower of ground: an input left open picks up what it likes
        quad |= {"IN- D": f"spare{i}", "IN+ D": "GND", "OUT D": f"spare{i}"}
    else:
        quad |= {"IN- D": f"move_g{i}", "IN+ D": f"move{i}", "OUT D": f"moved{i}"}
    board.add(QUAD, quad, block, "integrator, difference amplifier, inverter, detector's amplifier")
    board.decouple(block, "op-amp", "+5V", "-5V")
    board.resist(float(board.nominal.r_feedback_ohm), f"x{i}", f"v{i}", block, "R_f")
    board.between(capacitor(float(board.nominal.c_feedback_farad)), f"x{i}", f"v{i}", block, "C_f")

    # The half whose base is v draws more as v rises: its collector falls, so it is the subtracted one.
    board.add(
        PAIR,
        {"B1": f"v{i}", "B2": "GND", "E1": f"tail{i}", "E2": f"tail{i}", "C1": f"coll_m{i}", "C2": f"coll_p{i}"},
        block,
        "tanh pair",
    )
    mirror = {"B1": f"bias{i}", "C1": f"bias{i}", "B2": f"bias{i}", "C2": f"tail{i}"}
    board.add(PAIR, mirror | {"E1": f"deg_a{i}", "E2": f"deg_b{i}"}, block, "mirror of the tail current")
    board.resist(act.mirror, "GND", f"bias{i}", block, "tail current")
    for side in "ab":
        board.resist(act.degeneration, f"deg_{side}{i}", "-5V", block, "degeneration of the mirror")
    for side, end in (("m", f"sp{i}"), ("p", "GND")):
        board.resist(act.collector, "+5V", f"coll_{side}{i}", block, "collector load")
        board.resist(act.difference_in, f"coll_{side}{i}", f"diff_{side}{i}", block, "difference amplifier, input")
        board.resist(act.difference_out, f"diff_{side}{i}", end, block, "difference amplifier, output")
    board.resist(10e3, f"sp{i}", f"inv{i}", block, "inverter, input")
    board.resist(10e3, f"inv{i}", f"sn{i}", block, "inverter, feedback")


def _detector(board: Board, i: int) -> None:
    """Place what sees neuron i move: v behind a high pass is v less v lagged."""
    spec, block = board.nominal.spec, f"detector {i}"
    assert spec.detector is not None
    parts = _detector_values(board)
    board.between(capacitor(parts.lag_farad), f"v{i}", f"move{i}", block, "lag")
    board.resist(parts.lag, f"move{i}", "GND", block, "lag")
    board.resist(parts.gain_feedback, f"moved{i}", f"move_g{i}", block, "gain, feedback")
    board.resist(parts.gain_ground, f"move_g{i}", "GND", block, "gain, to ground")
    for side, plus, minus in (("above", "level_p", f"moved{i}"), ("below", f"moved{i}", "level_m")):
        nets = {"GND": "GND", "IN+": plus, "IN-": minus, "V-": "-5V", "V+": "+5V", "OUT": "STILL"}
        nets |= {"BAL": f"strobe_{side}{i}", "STRB": f"strobe_{side}{i}"}
        board.add(COMPARATOR, nets, block, f"pulls STILL down while v{i} moves, {side} the threshold")
        board.decouple(block, "comparator", "+5V", "-5V")


def _detector_values(board: Board) -> DetectorValues:
    spec = board.nominal.spec
    assert spec.detector is not None
    return detector_values(
        float(spec.detector.threshold_volt),
        float(spec.detector.window_second),
        float(spec.dac.full_scale_volt),
        board.series,
    )


def _thresholds(board: Board) -> None:
    parts, block = _detector_values(board), "detector"
    for reference, level in (("refp", "level_p"), ("refn", "level_m")):
        board.resist(parts.divider_top, reference, level, block, "threshold")
        board.resist(parts.divider_bottom, level, "GND", block, "threshold")
    board.resist(4.75e3, "+5V", "STILL", block, "pull-up of the wired AND")


def _drives(board: Board) -> None:
    spec = board.nominal.spec
    parts = drive_values(float(spec.dac.full_scale_volt), board.series)
    for k in range(board.nominal.drives):
        block = f"drive {k}"
        board.resist(parts.dac, f"dac{k}", f"drive_a{k}", block, "from the DAC")
        board.resist(parts.reference, "refn", f"drive_a{k}", block, "shift by the reference")
        board.resist(parts.feedback, f"drive_a{k}", f"dn{k}", block, "feedback")
        board.resist(10e3, f"dn{k}", f"drive_b{k}", block, "inverter, input")
        board.resist(10e3, f"drive_b{k}", f"dp{k}", block, "inverter, feedback")
        _inverters(board, block, (f"drive_a{k}", f"dn{k}"), (f"drive_b{k}", f"dp{k}"))


def _converters(board: Board) -> None:
    n, m = board.nominal.states, board.nominal.drives
    for chip, start in enumerate(range(0, m, DAC_CHANNELS)):
        block = f"DAC {chip}"
        nets = {"LDAC": "GND", "ADDR0": "+5V" if chip else "GND", "AVDD": "+5V", "VREFIN": "VREF", "CLR": "+5V"}
        nets |= {"GND": "GND", "SDA": "SDA", "SCL": "SCL"}
        nets |= {DAC_OUTPUTS[k - start]: f"dac{k}" for k in range(start, min(start + DAC_CHANNELS, m))}
        board.add(DAC, nets, block, f"drives {start} to {min(start + DAC_CHANNELS, m) - 1}")
        board.decouple(block, "DAC", "+5V", "VREF")
    for net in ("SDA", "SCL"):
        board.resist(4.75e3, "+5V", net, "DAC 0", "pull-up of the bus")
    for chip, start in enumerate(range(0, n, ADC_CHANNELS)):
        block = f"ADC {chip}"
        nets = dict.fromkeys(("AVCC", "VDRIVE", "PAR/SER", "STBY", "REF_SELECT"), "+5V")
        # Range ±5 V, no oversampling, data pins that serial mode does not use.
        low = ["AGND", "REFGND", "OS0", "OS1", "OS2", "RANGE", *(f"V{k}GND" for k in range(1, 9))]
        nets |= dict.fromkeys(low + [name for name in ADC.pins.values() if name.startswith("DB")], "GND")
        nets |= {"CONVST_A": "CONVST", "CONVST_B": "CONVST", "RESET": "RESET", "RD/SCLK": "SCLK", "CS": f"CS{chip}"}
        nets |= {"BUSY": f"BUSY{chip}", "DOUT_A": f"DOUTA{chip}", "DOUT_B": f"DOUTB{chip}"}
        nets |= {"REFIN/REFOUT": f"adc_ref{chip}", "REFCAPA": f"adc_cap{chip}", "REFCAPB": f"adc_cap{chip}"}
        for channel in range(ADC_CHANNELS):
            nets[f"V{channel + 1}"] = f"sp{start + channel}" if start + channel < n else "GND"
        # The two regulators' outputs bear one name, but each has a capacitor of its own.
        board.add(ADC, nets, block, f"states {start} to {min(start + ADC_CHANNELS, n) - 1}")
        adc = board.components[-1]
        for number in ADC.numbers("REGCAP"):
            adc.nets[number] = f"adc_reg{chip}_{number}"
            board.between(capacitor(1e-6), adc.nets[number], "GND", block, "regulator")
        for net in (f"adc_ref{chip}", f"adc_cap{chip}"):
            board.between(capacitor(10e-6), net, "GND", block, "reference")
        board.decouple(block, "ADC", *["+5V"] * (len(ADC.numbers("AVCC")) + 1))


def _host(board: Board) -> None:
    """Place the header to whatever plays drives and reads states: 5 V logic."""
    signals = ["+5V", "GND", "SDA", "SCL", "SCLK", "CONVST", "RESET", "GND"]
    signals += ["STILL"] if board.nominal.spec.detector is not None else []
    for chip in range(-(-board.nominal.states // ADC_CHANNELS)):
        signals += [f"CS{chip}", f"BUSY{chip}", f"DOUTA{chip}", f"DOUTB{chip}"]
    signals += ["GND"] * (len(signals) % 2)
    board.add(
        header(len(signals) // 2, 2),
        {f"Pin_{k}": net for k, net in enumerate(signals, start=1)},
        "host",
        "host, 5 V logic",
    )
