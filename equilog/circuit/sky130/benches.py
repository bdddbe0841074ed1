"""Test benches of the transistor blocks, each block on its own: what ``benchmarks/blocks.py`` measures.

Every function returns figures in SI units under names that :data:`equilog.circuit.sky130.requirements.REQUIREMENTS`
and the technology derived from them use. Loads are those that the block meets in a network.
"""

from __future__ import annotations

import math
import tempfile
from collections.abc import Mapping
from importlib import resources
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from equilog.circuit.ngspice import Ngspice, NgspiceError
from equilog.circuit.rawfile import Plot
from equilog.circuit.sky130.models import models

SUPPLY_VOLT = 1.8
UNIT_AMPERE = 5e-6
V_OUT_VOLT = 0.2
"""V_s: half the pair's current through the activation's resistor."""
COLUMN_SIEMENS = 50e-6
"""Load of an activation output in a network: a column of 32 devices at a sixth of 10 µS."""
COLUMN_FARAD = 1e-12
FEEDBACK_OHM = 100e3
"""Load of the integrator's amplifier."""
FAR_VOLT = 0.6
"""An input at which the activation is saturated."""

Figures = dict[str, float]
Array = NDArray[np.float64]

_SUPPLIES = "Vdd vdd 0 dc 0.9\nVss vss 0 dc -0.9\nXbias vdd vss nb pb bias\nVsupply vdd dut dc 0\n"
_OPTIONS = ".options reltol=1e-6 abstol=1e-14 vntol=1e-10 gmin=1e-14 itl1=500 itl2=500\n"


def library() -> str:
    """Return the text of the blocks."""
    return (resources.files("equilog.circuit.sky130") / "blocks.lib").read_text(encoding="utf-8")


def simulate(simulator: Ngspice, body: str, control: str, *, seed: int | None = None) -> list[Plot]:
    """Run one bench; its control block writes ``out.raw``.

    Args:
        simulator: ngspice.
        body: deck lines of the circuit; nodes vdd, vss, nb, pb are there, and ``dut``, whose current from vdd is
            ``i(vsupply)``.
        control: commands.
        seed: of a draw of mismatch; typical transistors unless given.

    Raises:
        NgspiceError: if the simulator fails.
        Sky130MissingError: if the models are not installed.
    """
    blocks = library()
    with tempfile.TemporaryDirectory(prefix="equilog-bench-") as scratch:
        folder = Path(scratch)
        (folder / "models.lib").write_text(models(blocks, mismatch=seed is not None), encoding="utf-8")
        (folder / "blocks.lib").write_text(blocks, encoding="utf-8")
        draw = "" if seed is None else f".option seed={seed + 1}\n"
        deck = (
            f"* bench\n{draw}.include models.lib\n.include blocks.lib\n{_SUPPLIES}{_OPTIONS}{body}\n"
            f".control\nset filetype=binary\nset appendwrite\n{control}\nquit 0\n.endc\n.end\n"
        )
        (folder / "bench.cir").write_text(deck, encoding="utf-8")
        return simulator.run(folder, "bench.cir", "out.raw", timeout_second=300)


def amplifier(simulator: Ngspice) -> Figures:
    """Return the figures of the amplifier: small signal, noise, output range, slew, supply."""
    small = _open_loop(simulator, 8, FEEDBACK_OHM, 1e-12)
    driver = _open_loop(simulator, 16, 5e3, 2e-12)
    return {
        "amplifier.dc_gain": small["gain"],
        "amplifier.dc_gain_into_5k": driver["gain"],
        "amplifier.gbw_hertz": small["gbw"],
        "amplifier.gbw_into_5k_hertz": driver["gbw"],
        "amplifier.phase_margin_degree": min(small["margin"], driver["margin"]),
        "amplifier.offset_volt": small["offset"],
        "amplifier.noise_volt_per_rthz": small["noise"],
        "amplifier.gm_over_id": small["gm_over_id"],
        "amplifier.supply_ampere": small["supply"],
        **_large_signal(simulator),
    }


def activation(simulator: Ngspice) -> tuple[Figures, Array]:
    """Return the figures of the activation, and its curve: input, both outputs, shape ``(points, 3)``."""
    body = f"Xd v sp sn dut vss nb pb activation\n{_column('sp')}{_column('sn')}Vin v 0 dc 0 ac 1"
    plots = simulate(
        simulator,
        body,
        "dc Vin -0.9 0.9 0.02\nwrite out.raw v(v) v(sp) v(sn) i(vsupply)\n"
        "ac dec 40 1e4 1e9\nlet f=real(frequency)\nlet p=mag(v(sp))\nlet n=mag(v(sn))\n"
        "let pp=cph(v(sp))\nlet nn=cph(-v(sn))\n"
        "setplot new\nlet f=ac1.f\nlet p=ac1.p\nlet n=ac1.n\nlet pp=ac1.pp\nlet nn=ac1.nn\nsetscale f\n"
        "write out.raw f p n pp nn",
    )
    sweep, response = plots
    v, sp, sn = sweep["v(v)"], sweep["v(sp)"], sweep["v(sn)"]
    s = (sp - sn) / 2
    frequency, positive, negative = response["f"], _vector(response, "p"), _vector(response, "n")
    lags = {name: -np.interp(1e6, frequency, _vector(response, name)) / (2 * math.pi * 1e6) for name in ("pp", "nn")}
    figures = {
        "activation.low_volt": float(s[0]),
        "activation.high_volt": float(s[-1]),
        "activation.at_zero_volt": float(np.interp(0.0, v, s)),
        "activation.common_volt": float(np.interp(0.0, v, (sp + sn) / 2)),
        "activation.slope": float(np.gradient(s, v).max()),
        "activation.polarity_error_volt": float(np.abs(sp + sn).max() / 2),
        "activation.bandwidth_hertz": _first_below(frequency, negative / negative[0], math.sqrt(0.5)),
        "activation.peaking_db": float(20 * np.log10(max(m.max() / m[0] for m in (positive, negative)))),
        "activation.lag_positive_second": float(lags["pp"]),
        "activation.lag_negative_second": float(lags["nn"]),
        "activation.supply_ampere": float(sweep["i(vsupply)"].max()),
        "activation.drive_siemens": _drive(simulator),
    }
    return figures, np.stack([v, sp, sn], axis=1)


def comparator(simulator: Ngspice) -> Figures:
    """Return the figures of the comparator: systematic offset, delay for 10 mV of overdrive, supply."""
    body = "X1 i 0 q dut vss nb comparator\nCq q 0 20f\nVin i 0 "
    still = simulate(simulator, body + "dc 0", "dc Vin -1m 1m 4u\nwrite out.raw v(i) v(q) i(vsupply)")[0]
    delays = []
    for first, last in ((-0.05, 0.01), (0.05, -0.01)):
        moving = simulate(
            simulator,
            body + f"pulse({first} {last} 1u 1n 1n 2u 4u)",
            "tran 1n 1.5u\nwrite out.raw v(q)",
        )[0]
        delays.append(_crossing(moving["time"], moving["v(q)"]) - 1e-6)
    return {
        "comparator.offset_volt": _crossing(still["v(i)"], still["v(q)"]),
        "comparator.delay_second": max(delays),
        "comparator.supply_ampere": float(still["i(vsupply)"][[0, -1]].max()),
        "comparator.supply_halfway_ampere": float(still["i(vsupply)"].max()),
    }


def mismatch(simulator: Ngspice, runs: int, seed: int = 0, at_once: int = 12) -> tuple[Figures, dict[str, list[float]]]:
    """Return standard deviations over transistors drawn with the models' own mismatch, and the draws.

    What all blocks of a deck share, the bias's own mismatch, is not a difference from neuron to neuron: the mean of
    every deck is taken off.

    Args:
        simulator: ngspice.
        runs: blocks of each kind.
        seed: of the draws.
        at_once: blocks in one deck.
    """
    groups: dict[str, list[Array]] = {name: [] for name in ("amplifier", "activation", "gain", "comparator")}
    left, deck = runs, 0
    while left > 0:
        count = min(at_once, left) if left - at_once != 1 else left
        for name, values in _draw(simulator, count, 1000 * seed + deck).items():
            groups[name].append(values)
        left, deck = left - count, deck + 1
    sigma = {name: _within(draws) for name, draws in groups.items()}
    figures = {
        "amplifier.offset_sigma_volt": sigma["amplifier"],
        "activation.offset_sigma_volt": sigma["activation"],
        "activation.gain_sigma": sigma["gain"],
        "comparator.offset_sigma_volt": sigma["comparator"],
    }
    return figures, {name: np.concatenate(draws).tolist() for name, draws in groups.items()}


def _draw(simulator: Ngspice, count: int, seed: int) -> dict[str, Array]:
    each = range(count)
    amps = "\n".join(f"X{k} 0 o{k} o{k} dut vss nb opamp" for k in each)
    rest = simulate(simulator, amps, "op\nwrite out.raw " + " ".join(f"v(o{k})" for k in each), seed=seed)[0]
    pairs = "\n".join(
        f"X{k} v sp{k} sn{k} dut vss nb pb activation\n{_column(f'sp{k}')}{_column(f'sn{k}')}" for k in each
    )
    write = "write out.raw " + " ".join(f"v(sp{k}) v(sn{k})" for k in each)
    steps = (-FAR_VOLT, -0.01, 0.01, FAR_VOLT)
    points = simulate(
        simulator,
        f"{pairs}Vin v 0 dc 0",
        "\n".join(f"alter Vin dc={volt}\nop\n{write}\ndestroy all" for volt in steps),
        seed=seed,
    )
    low, a, b, high = (np.array([(p[f"v(sp{k})"] - p[f"v(sn{k})"])[0] / 2 for k in each]) for p in points)
    middle, slope = (a + b) / 2, (b - a) / (steps[2] - steps[1])
    comparators = "\n".join(f"X{k} i 0 q{k} dut vss nb comparator" for k in each)
    turns = simulate(
        simulator,
        # A slow ramp: twelve comparators at once are more than a search for an operating point survives.
        f"{comparators}\nVin i 0 pwl(0 -20m 2u -20m 42u 20m)",
        "tran 0.1u 42u 0 0.2u uic\nlinearize\nwrite out.raw v(i) " + " ".join(f"v(q{k})" for k in each),
        seed=seed,
    )[-1]
    started = turns["v(i)"] > -0.0199
    return {
        "amplifier": np.array([rest[f"v(o{k})"][0] for k in each]),
        "activation": -middle / slope,
        "gain": (high - low) / (2 * V_OUT_VOLT),
        "comparator": np.array([_crossing(turns["v(i)"][started], turns[f"v(q{k})"][started]) for k in each]),
    }


def _open_loop(simulator: Ngspice, out: int, load_ohm: float, load_farad: float) -> Mapping[str, float]:
    # The loop is closed at zero frequency only, so that the amplifier finds its own operating point.
    body = (
        f"Xd p n o dut vss nb opamp out={out}\nRl o 0 {load_ohm}\nCl o 0 {load_farad}\n"
        "Vin p 0 dc 0 ac 1\nLloop n o 1e6\nCloop n 0 1"
    )
    control = (
        "op\nlet gm=@m.xd.xm1.m1[gm]\nlet id=@m.xd.xm1.m1[id]\nwrite out.raw v(o) i(vsupply) gm id\n"
        "ac dec 50 10 1e10\nlet f=real(frequency)\nlet g=mag(v(o))\nlet a=cph(v(o))\n"
        "setplot new\nlet f=ac1.f\nlet g=ac1.g\nlet a=ac1.a\nsetscale f\nwrite out.raw f g a\n"
        "noise v(o) Vin dec 20 1 1e9\nsetplot previous\nwrite out.raw inoise_spectrum"
    )
    rest, response, noise = simulate(simulator, body, control)
    frequency, gain, angle = response["f"], _vector(response, "g"), _vector(response, "a")
    crossover = _first_below(frequency, gain, 1.0)
    spectrum = next(name for name in noise.names if "inoise_spectrum" in name)
    return {
        "gain": float(gain[0]),
        "gbw": float(np.interp(1e6, frequency, gain)) * 1e6,
        "margin": 180 + math.degrees(float(np.interp(crossover, frequency, angle))),
        "offset": float(rest["v(o)"][0]),
        "noise": float(np.interp(1e6, noise["frequency"], noise[spectrum])),
        "gm_over_id": float(_vector(rest, "gm")[0] / _vector(rest, "id")[0]),
        "supply": float(rest["i(vsupply)"][0]),
    }


def _large_signal(simulator: Ngspice) -> Figures:
    body = f"Xd 0 n o dut vss nb opamp\nRa i n {FEEDBACK_OHM}\nRb n o {FEEDBACK_OHM}\nCl o 0 2e-12\nVin i 0 "
    swept = simulate(simulator, body + "dc 0", "dc Vin -1.2 1.2 0.01\nwrite out.raw v(i) v(o)")[0]
    figures = {
        "amplifier.swing_high_volt": float(swept["v(o)"].max()),
        "amplifier.swing_low_volt": float(swept["v(o)"].min()),
    }
    for name, first, last in (("fall", -0.5, 0.5), ("rise", 0.5, -0.5)):
        moving = simulate(
            simulator, body + f"pulse({first} {last} 1u 1n 1n 2u 4u)", "tran 0.5n 1.5u\nwrite out.raw v(o)"
        )[0]
        sign = 1 if name == "rise" else -1
        begin, end = (_crossing(moving["time"], sign * moving["v(o)"] - level) for level in (-0.3, 0.3))
        figures[f"amplifier.slew_{name}_volt_per_second"] = 0.6 / (end - begin)
    return figures


def _drive(simulator: Ngspice) -> float:
    """Return the column conductance at which a saturated output has lost 1 % of V_s."""
    loads = [COLUMN_SIEMENS * k for k in range(1, 13)]
    body = f"Xd v sp sn dut vss nb pb activation\nRp sp 0 {1 / loads[0]}\nRn sn 0 {1 / loads[0]}\nVin v 0 dc 0"
    control = "\n".join(
        f"alter Vin dc={sign * FAR_VOLT}\nalter Rp={1 / g}\nalter Rn={1 / g}\n"
        "op\nwrite out.raw v(sp) v(sn)\ndestroy all"
        for sign in (-1, 1)
        for g in loads
    )
    plots = simulate(simulator, body, control)
    volts = np.array([[p["v(sp)"][0], p["v(sn)"][0]] for p in plots]).reshape(2, len(loads), 2)
    lost = np.abs(volts - volts[:, :1]).max(axis=(0, 2)) / V_OUT_VOLT
    return _crossing(np.array(loads), lost - 0.01) if lost.max() > 0.01 else loads[-1]


def _column(node: str) -> str:
    return f"R{node} {node} 0 {1 / COLUMN_SIEMENS}\nC{node} {node} 0 {COLUMN_FARAD}\n"


def _vector(plot: Plot, name: str) -> Array:
    """Return a vector made by ``let``, which ngspice may write as a voltage."""
    return plot[name] if name in plot.names else plot[f"v({name})"]


def _crossing(x: Array, y: Array) -> float:
    """Return where y first passes zero; raises :class:`NgspiceError` if it does not."""
    changes = np.flatnonzero(np.sign(y[:-1]) != np.sign(y[1:]))
    if not len(changes):
        raise NgspiceError("a block never turns within its bench's range")
    k = int(changes[0])
    return float(x[k] - y[k] * (x[k + 1] - x[k]) / (y[k + 1] - y[k]))


def _first_below(frequency: Array, magnitude: Array, level: float) -> float:
    return math.exp(_crossing(np.log(frequency), np.log(magnitude / level)))


def _within(draws: list[Array]) -> float:
    """Return the standard deviation around each deck's own mean."""
    squares = sum(float(((values - values.mean()) ** 2).sum()) for values in draws)
    return math.sqrt(squares / sum(len(values) - 1 for values in draws))
