"""What this board cannot be, said before anything is drawn."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial

import torch

from equilog.circuit.board.catalogue import capacitor, resistor
from equilog.circuit.board.values import RAIL_VOLT, activation_values, detector_values, drive_values
from equilog.hardware import ProgrammedLayer
from equilog.hardware.technology.eseries import ESeries, nearest
from equilog.names import UserError

MOST_NEURONS = MOST_DRIVES = 16
PAIR_SCALE_VOLT = 2 * 1.380649e-23 * 300.0 / 1.602176634e-19
"""2 V_T at 300 K: the pair is tanh(v/2V_T)"""
PAIR_SCALE_SLACK = 0.02
"""How far V_a may lie from it: 6 K of temperature, and what twin and pair then differ by is below 1 % of a state."""


def check(layer: ProgrammedLayer) -> None:
    """Refuse a layer that the board cannot be.

    Raises:
        UserError: naming every reason, what would do, and how to get there.
    """
    reasons = list(_reasons(layer))
    if reasons:
        raise UserError("this layer is no board: " + "; ".join(reasons), reasons)


def _reasons(layer: ProgrammedLayer) -> Iterator[str]:
    spec = layer.spec
    if layer.chips is not None:
        yield f"a board is one chip, this is a population of {layer.chips}: program one of them on its own"
        return
    for what, count, most, chips in (
        ("neurons", layer.states, MOST_NEURONS, "two 8-channel ADCs on one bus"),
        ("drives", layer.drives, MOST_DRIVES, "two 8-channel DACs, the addresses there are on one bus"),
    ):
        if count > most:
            yield (
                f"{count} {what}, expected at most {most} ({chips}; {layer.devices:,} crossbar resistors in all are "
                "work for a chip): train a smaller layer, or compile for a simulator"
            )
    if spec.crossbar.e_series is None:
        yield (
            f"technology {spec.name!r} has conductances of any value, but resistors are bought: set crossbar.e_series, "
            "as the preset 'board' does, so that the twin is trained with the rounding"
        )
        return
    if spec.crossbar.wires is not None:
        yield "crossbar.wires are resistances of thin metal, a board has copper: leave them out"
    if layer.linear:
        yield (
            f"{layer.linear} states have no activation, every neuron of this board has its pair: settle this cell in a "
            "simulator, or give the law linear=0"
        )
    if spec.activation.curve is not None:
        yield "activation.curve is measured, the board's activation is a bipolar pair: leave it out, for tanh"
    scale = float(spec.activation.v_scale_volt)
    if abs(scale / PAIR_SCALE_VOLT - 1) > PAIR_SCALE_SLACK:
        yield (
            f"activation.v_scale_volt = {scale:g} V, but a bipolar pair has 2 V_T = {PAIR_SCALE_VOLT:.4f} V at 300 K "
            f"(within {PAIR_SCALE_SLACK:.0%})"
        )
    if float(spec.amplifier.supply_volt) != 2 * RAIL_VOLT:
        yield f"amplifier.supply_volt = {float(spec.amplifier.supply_volt):g} V, the board runs on ±5 V: expected 10"
    for key, bits, most in (("dac.bits", spec.dac.bits, 12), ("adc.bits", spec.adc.bits, 14)):
        if bits > most:
            yield f"{key} = {int(bits)}, the board's converter resolves {most} of the range that is used"
    yield from _values(layer)


def _of_the_law(ohm: float, series: ESeries) -> None:
    try:
        resistor(nearest(ohm, series))
    except ValueError as error:
        raise ValueError(f"the law needs a resistor of {ohm:.4g} ohm: {error}") from None


def _values(layer: ProgrammedLayer) -> Iterator[str]:
    """Yield what the parts' own modules refuse."""
    spec, bar = layer.spec, layer.spec.crossbar
    series = bar.e_series
    assert series is not None
    full_scale = float(spec.dac.full_scale_volt)
    attempts: list[Callable[[], object]] = [
        lambda: resistor(nearest(1 / float(bar.g_min_siemens), series)),
        lambda: resistor(nearest(1 / float(bar.g_max_siemens), series)),
        lambda: resistor(nearest(float(layer.r_feedback_ohm), series)),
        lambda: capacitor(float(layer.c_feedback_farad)),
        lambda: activation_values(float(spec.activation.v_out_volt), series),
        lambda: drive_values(full_scale, series),
    ]
    if (detector := spec.detector) is not None:
        attempts.append(
            lambda: detector_values(float(detector.threshold_volt), float(detector.window_second), full_scale, series)
        )
    law = torch.cat(layer.fixed_pairs or ()) if layer.fixed_pairs else layer.g_plus_siemens.new_zeros(0)
    for ohm in (1 / law[law > 0].detach()).aminmax() if bool((law > 0).any()) else ():
        attempts.append(partial(_of_the_law, float(ohm), series))
    for attempt in attempts:
        try:
            attempt()
        except ValueError as error:
            yield str(error)
