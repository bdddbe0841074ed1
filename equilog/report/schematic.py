"""One neuron drawn: its crossbar row, the summing integrator, the activation, with this chip's values."""

from __future__ import annotations

from typing import Literal

import schemdraw
import schemdraw.elements as e

from equilog.drawing.style import ANALOG, BAND, INK, MUTED, Plate, inline
from equilog.drawing.units import count, engineering, plain, scientific
from equilog.report.findings import Findings

KEY = "fig-schematic"
TITLE = "One neuron"

Align = Literal["left", "center", "right"]

# Places on the sheet, in drawing units.
_BUS, _NODE = 4.3, 5.3
_IN_Y, _OUT_Y = 3.1, 2.475
_TOP, _BOTTOM = 7.55, -1.0


def schematic_plate(run: Findings) -> Plate:
    """Return the circuit of neuron i as the netlist holds it; every neuron is the same but for its mismatch."""
    before = schemdraw.svgconfig.text
    schemdraw.svgconfig.text = "text"
    try:
        sheet = schemdraw.Drawing(canvas="svg", show=False)
        sheet.config(fontsize=11, color=INK, lw=1.3, unit=2.6, bgcolor="none")
        _rooms(sheet)
        _crossbar(sheet, run)
        _integrator(sheet, run)
        _activation(sheet, run)
        svg = sheet.get_imagedata("svg").decode()
    finally:
        schemdraw.svgconfig.text = before
    layer = run.layer
    return Plate(
        KEY,
        f"{TITLE} of {layer.states}",
        [inline(svg, f"{KEY}-svg", TITLE)],
        "Both polarities of every source reach the virtual ground xᵢ through one conductance each, so their difference "
        "is a signed weight; the integrator inverts, so G⁺ hangs on the negative one. At rest vᵢ is the "
        f"pre-activation. τ = R_f C_f = {engineering(run.tau, 's')}; noise gain 1 + R_f ΣG = "
        f"{float(layer.noise_gain.mean()):.1f} on average, which is what divides the amplifier's bandwidth.",
        wide=True,
    )


def _rooms(sheet: schemdraw.Drawing) -> None:
    """Draw a tinted room behind each of the three blocks that the netlist names."""
    for left, right, name in (
        (-2.2, 4.75, "crossbar row i"),
        (4.95, 9.65, "summing integrator"),
        (9.85, 15.9, "activation block"),
    ):
        sheet += (
            e.Rect(corner1=(left, _BOTTOM), corner2=(right, _TOP), fill=BAND, lw=0.1).at((0, 0)).color(BAND).zorder(-1)
        )
        _text(sheet, left + 0.2, _TOP - 0.38, name, MUTED, 10, "left")


def _crossbar(sheet: schemdraw.Drawing, run: Findings) -> None:
    layer = run.layer
    bar = run.spec.crossbar
    groups = (
        (5.9, "s_j", "ij", f"{count(layer.states, 'activation')}, j = 0 … {layer.states - 1}"),
        (3.5, "d_k", "ik", f"{count(layer.drives, 'DAC')}, k = 0 … {layer.drives - 1}"),
        (1.1, "V_{ref}", "ib", "bias reference"),
    )
    for y, source, index, caption in groups:
        _text(sheet, -1.95, y + 0.62, caption, MUTED, 9.5, "left")
        for at, sign, polarity in ((y, "+", "⁻"), (y - 1.0, "−", "⁺")):
            sheet += e.Dot(open=True).at((-0.3, at))
            _text(sheet, -0.55, at - 0.07, f"{sign}${source}$", INK, 11, "right")
            sheet += e.Line().at((-0.2, at)).to((1.5, at))
            sheet += e.Resistor().at((1.5, at)).to((_BUS, at))
            _text(sheet, (1.5 + _BUS) / 2, at + 0.42, _conductance(polarity, index), INK, 10.5, "center")
            if (y, sign) != (groups[0][0], "+") and (y, sign) != (groups[-1][0], "−"):
                sheet += e.Dot().at((_BUS, at))
    sheet += e.Line().at((_BUS, groups[0][0])).to((_BUS, groups[-1][0] - 1.0)).linewidth(2)
    _text(
        sheet, 1.27, _BOTTOM + 0.4,
        f"G = {engineering(bar.g_min_siemens, 'S', trim=True)} … {engineering(bar.g_max_siemens, 'S', trim=True)}",
        ANALOG, 10, "center",
    )  # fmt: skip


def _conductance(polarity: str, index: str) -> str:
    return f"G{polarity}$_{{{index}}}$"


def _integrator(sheet: schemdraw.Drawing, run: Findings) -> None:
    amp, layer = run.spec.amplifier, run.layer
    left, right = _NODE, 8.95
    sheet += e.Line().at((_BUS, _IN_Y)).to((6.2, _IN_Y))
    sheet += e.Dot().at((_BUS, _IN_Y))
    sheet += e.Dot().at((left, _IN_Y))
    _text(sheet, left + 0.42, _IN_Y - 0.32, "$x_i$", INK, 11, "center")
    sheet += (op := e.Opamp().at((6.2, _IN_Y)).anchor("in1"))
    sheet += e.Line().at(op.out).to((right, _OUT_Y))
    sheet += e.Line().at((left, _IN_Y)).to((left, 5.85))
    sheet += e.Line().at((right, _OUT_Y)).to((right, 5.85))
    sheet += e.Dot().at((left, 4.45))
    sheet += e.Dot().at((right, 4.45))
    sheet += e.Dot().at((right, _OUT_Y))
    sheet += e.Resistor().at((left, 4.45)).to((right, 4.45))
    sheet += e.Capacitor().at((left, 5.85)).to((right, 5.85))
    middle = (left + right) / 2
    _value(sheet, middle, 4.95, "$R_f$", engineering(float(layer.r_feedback_ohm), "Ω"))
    _value(sheet, middle, 6.5, "$C_f$", engineering(float(layer.c_feedback_farad), "F", trim=True))
    # The offset is the netlist's own voltage source at the other input.
    sheet += e.Line().at((6.2, 1.85)).to((5.6, 1.85))
    sheet += e.SourceV().at((5.6, 0.15)).to((5.6, 1.85)).scale(0.8)
    sheet += e.Ground().at((5.6, 0.15))
    sigma = float(amp.offset_sigma_volt)
    spread = f"σ = {engineering(sigma, 'V', trim=True)}" if sigma > 0 else "0 V"
    _text(sheet, 6.25, 0.06, f"offset $o_i$:  {spread}", ANALOG, 10, "left")
    gain = float(amp.dc_gain)
    _text(sheet, 7.15, 1.24, f"$A_0$ = {plain(gain) if gain < 1e6 else scientific(gain)}", ANALOG, 10, "left")
    _text(sheet, 7.15, 0.74, f"GBW = {engineering(float(amp.gbw_hertz), 'Hz', trim=True)}", ANALOG, 10, "left")


def _activation(sheet: schemdraw.Drawing, run: Findings) -> None:
    act = run.spec.activation
    left, right, half = 10.35, 14.15, 1.15
    sheet += e.Line().at((8.95, _OUT_Y)).to((left, _OUT_Y))
    _text(sheet, 9.3, _OUT_Y + 0.34, "$v_i$", INK, 11, "center")
    sheet += e.Rect(corner1=(left, _OUT_Y - half), corner2=(right, _OUT_Y + half), fill="none", lw=1.3).at((0, 0))
    middle = (left + right) / 2
    _text(sheet, middle, _OUT_Y + 0.1, "$s_i$ = $V_s$ tanh($v_i$ / $V_a$)", INK, 11, "center")
    for y, sign in ((_OUT_Y + 0.7, "+"), (_OUT_Y - 0.7, "−")):
        sheet += e.Line(arrow="->").at((right, y)).to((15.55, y))
        _text(sheet, 14.8, y + 0.34, f"{sign}$s_i$", INK, 11, "center")
    _text(
        sheet,
        middle,
        _OUT_Y - half - 0.5,
        f"$V_a$ = {engineering(float(act.v_scale_volt), 'V', trim=True)}",
        ANALOG,
        10,
        "center",
    )
    _text(
        sheet,
        middle,
        _OUT_Y - half - 1.05,
        f"$V_s$ = {engineering(float(act.v_out_volt), 'V', trim=True)}",
        ANALOG,
        10,
        "center",
    )
    _text(sheet, 15.6, _OUT_Y + half + 1.0, "both polarities to column i", MUTED, 9.5, "right")
    _text(sheet, 15.6, _OUT_Y + half + 0.5, "of every row; +$s_i$ to the ADC", MUTED, 9.5, "right")


def _value(sheet: schemdraw.Drawing, x: float, y: float, name: str, value: str) -> None:
    _text(sheet, x, y, f"{name} = {value}", ANALOG, 10.5, "center")


def _text(sheet: schemdraw.Drawing, x: float, y: float, text: str, colour: str, size: float, align: Align) -> None:
    label = (
        e.Label()
        .at((x, y))
        .label(text, fontsize=size, color=colour, halign=align, valign="center", loc="center", ofst=0)
    )
    sheet += label
