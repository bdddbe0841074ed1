"""Measured activations: from a table of volts to the curve that twin and netlist share."""

from __future__ import annotations

import math
import re
import warnings
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from equilog.cells import Curve, Mixed, MonotoneSpline, Tanh
from equilog.cells.curve import MAX_POINTS
from equilog.hardware.technology.blocks import MeasuredCurve
from equilog.names import UserError, nearest

if TYPE_CHECKING:
    from equilog.hardware.programming import ProgrammedLayer

STEEPEST = 1.01
"""A curve steeper than this (in z against p) is warned of; the rest is less than mismatch adds anyway."""

_VOLTS = {
    "v": 1.0, "volt": 1.0, "volts": 1.0,
    "mv": 1e-3, "millivolt": 1e-3, "millivolts": 1e-3,
    "uv": 1e-6, "µv": 1e-6, "μv": 1e-6, "microvolt": 1e-6, "microvolts": 1e-6,
}  # fmt: skip
_AMPERES = {"amp", "amps", "ampere", "amperes", "milliampere", "microampere", "nanoampere", "ma", "ua", "µa", "μa"}


class SteepCurveWarning(UserWarning):
    """A measured activation is steeper than certificates of stability assume."""


def activation_of(layer: ProgrammedLayer) -> Tanh | Curve | Mixed:
    """Return the activations of a programmed chip, or of each chip of a population, in ``p = v/V_a``.

    Args:
        layer: `act_gain` and `act_offset_volt` have shape ``(n,)``, or ``(chips, n)`` for states
            ``(chips, batch, n)``.

    Returns:
        the technology's measured curve with every neuron's own gain and offset, or tanh if it has none, and nothing in
        neurons without an activation; behind the amplifiers' rails, if those are known.

    Warns:
        SteepCurveWarning: if the curve's slope exceeds V_s/V_a.
    """
    block, rail_volt = layer.spec.activation, layer.spec.amplifier.rail_volt
    rail = math.inf if rail_volt is None else float(rail_volt / block.v_scale_volt)
    gain, shift = layer.act_gain, layer.act_offset_volt / block.v_scale_volt
    if gain.ndim > 1:
        gain = gain[..., None, :]
    if shift.ndim > 1:
        shift = shift[..., None, :]
    if block.curve is None:
        return Mixed(layer.linear, Tanh(), gain, shift, rail) if layer.linear else Tanh(gain, shift, rail)
    v_a, v_s = float(block.v_scale_volt), float(block.v_out_volt)
    spline = spline_of(block.curve, v_a, v_s)
    if layer.linear:
        return Mixed(layer.linear, Curve(spline, v_scale_volt=v_a), gain, shift, rail)
    return Curve(spline, gain, shift, rail, v_a)


@lru_cache(maxsize=64)
def spline_of(curve: MeasuredCurve, v_scale_volt: float, v_out_volt: float) -> MonotoneSpline:
    """Return the spline through the points, in ``z = s/V_s`` against ``p = v/V_a``; made once for each curve.

    Warns:
        SteepCurveWarning: if its slope exceeds 1 by more than a hundredth.

    Raises:
        ValueError: if there are more points than a netlist should hold.
    """
    spline = MonotoneSpline(
        [v / v_scale_volt for v in curve.input_volt],
        [s / v_out_volt for s in curve.output_volt],
    )
    if spline.max_slope > STEEPEST:
        warnings.warn(
            f"the measured activation rises by up to {spline.max_slope:.4g} V_s/V_a, but the certificates of monotone "
            f"weights assume 1 at most; with v_scale_volt = {v_scale_volt / spline.max_slope:.4g} or less they hold, "
            "or certify W diag(max_slope)",
            SteepCurveWarning,
            stacklevel=2,
        )
    return spline


def inline_curve(data: Any, where: str, folder: Path | None) -> Any:
    """Replace ``activation: {curve: {file: …}}`` in a technology's data by the points that the file holds.

    Args:
        data: as read from YAML; anything without such a key is returned as it is.
        where: of the data, for messages.
        folder: that the file name is relative to; the current directory if None.

    Raises:
        UserError: if the file cannot be read, or points are given beside it.
    """
    block = data.get("activation") if isinstance(data, dict) else None
    if not isinstance(block, dict):
        return data
    curve = block.get("curve")
    if not isinstance(curve, dict) or "file" not in curve:
        return data
    for key in sorted(map(str, curve.keys() - {"file", "source", "valid"})):
        if key in ("input_volt", "output_volt"):
            raise UserError(f"{where}: activation.curve has both a file and {key}: leave one of them out")
        raise UserError(f"{where}: unknown key 'activation.curve.{key}'{nearest(key, ('file', 'source', 'valid'))}")
    file, source, valid = curve["file"], curve.get("source", ""), curve.get("valid", "")
    for key, value in (("file", file), ("source", source), ("valid", valid)):
        if not isinstance(value, str):
            raise UserError(f"{where}: activation.curve.{key}: expected text, got {value!r}")
    try:
        points = read_curve((folder or Path()) / file, source=source, valid=valid)
    except UserError as error:
        raise UserError(f"{where}: activation.curve.file: {error}") from None
    return data | {"activation": block | {"curve": points.model_dump(mode="json")}}


def read_curve(path: str | Path, *, source: str = "", valid: str = "") -> MeasuredCurve:
    """Read a measured or simulated transfer curve from a text file of two columns, input and output, both rising.

    Columns are separated by commas, semicolons, tabs or spaces (after semicolons a decimal comma is understood).
    ``#`` begins a comment. A header is optional, also as a comment; it may end in a unit, as in ``v_in_volt``,
    ``out_mV`` or ``Output [mV]``; without one the numbers are volts. What ngspice's ``wrdata`` writes is such a file.

    Args:
        path: the file.
        source: where the curve comes from; unless given, the file's comment ``# source: …``, or else its name.
        valid: for which conditions; unless given, the file's comment ``# valid: …``.

    Raises:
        UserError: naming file, line, value and what was expected.
    """
    path = Path(path)
    try:
        text = path.read_bytes().decode("utf-8-sig", "replace")
    except (OSError, ValueError) as error:  # a name with a null byte is a ValueError
        raise UserError(f"{path}: {getattr(error, 'strerror', None) or error}") from None
    if "\0" in text:
        raise UserError(f"{path}: expected text, two columns of volts, got binary data")
    said: dict[str, str] = {}
    header = False
    units: list[float | None] = [None, None]
    x: list[float] = []
    y: list[float] = []
    for number, line in enumerate(text.splitlines(), start=1):
        here = f"{path}, line {number}"
        content, _, comment = line.partition("#")
        if match := re.fullmatch(r"\s*(source|valid)\s*:\s*(.*\S)\s*", comment, re.I):
            said.setdefault(match[1].lower(), match[2])
        fields = _split(content)
        if not fields:
            names = _split(comment)
            # A header in a comment counts if it has units; prose seldom has two words that both end in one.
            if not x and not header and len(names) == 2 and _unit(names[0]) and (unit := _unit(names[1], here)):
                units = [_unit(names[0]), unit]
            continue
        if len(fields) != 2:
            raise UserError(
                f"{here}: expected two columns, input and output in volts, got {len(fields)} in {line.strip()[:60]!r}"
            )
        if not x and not header and not any(map(_is_number, fields)):
            header, units = True, [_unit(field, here) for field in fields]
            continue
        for values, field, factor, name in zip((x, y), fields, units, ("input", "output")):
            values.append(_volts(field, factor or 1.0, values, f"{here}: {name}"))
    if not 4 <= len(x) <= MAX_POINTS:
        advice = "; keep every k-th row" if len(x) > MAX_POINTS else ""
        raise UserError(f"{path}: {len(x)} points; expected 4 to {MAX_POINTS}{advice}")
    return MeasuredCurve(
        input_volt=tuple(x),
        output_volt=tuple(y),
        source=source or said.get("source", f"file {path.name}"),
        valid=valid or said.get("valid", ""),
    )


def _split(line: str) -> list[str]:
    """Return the fields of a line, by the strongest delimiter in it; one at the end separates nothing."""
    line = line.strip()
    for delimiter in (";", "\t", ","):
        if delimiter in line:
            fields = [field.strip().strip("\"'") for field in line.split(delimiter)]
            return fields[:-1] if not fields[-1] else fields
    return line.split()


def _is_number(field: str) -> bool:
    try:
        float(field.replace(",", "."))
    except ValueError:
        return False
    return True


def _volts(field: str, factor: float, before: list[float], what: str) -> float:
    try:
        value = float(field.replace(",", ".")) * factor
    except ValueError:
        raise UserError(f"{what} {field!r} is not a number; expected volts") from None
    if not math.isfinite(value):
        raise UserError(f"{what} {field!r} is not finite; expected volts")
    if before and value == before[-1]:
        raise UserError(
            f"{what} {value!r} V stands twice; expected a value above that of the row before "
            "(average repeated rows; leave out the flat ends, where the last point is held anyway)"
        )
    if before and value < before[-1]:
        raise UserError(
            f"{what} {value!r} V after {before[-1]!r} V; expected both columns to rise from row to row "
            "(sort by input; swap the outputs of an inverting block)"
        )
    return value


def _unit(header: str, here: str | None = None) -> float | None:
    """Return the volts in the unit that a column's name ends in, None if it names none.

    Raises:
        UserError: if `here` is given and the unit is not one of voltage.
    """
    name = header.strip().lower()
    bracketed = re.search(r"[\[(]\s*([^\])]*?)\s*[\])]$", name)
    if bracketed and re.match(r"v\s*\(", name):
        return None  # a vector of ngspice, as v(out)
    unit = bracketed[1] if bracketed else re.split(r"[\s_]+", name)[-1]
    if here and unit not in _VOLTS and (bracketed or unit in _AMPERES):
        raise UserError(f"{here}: column {header!r} is in {unit!r}; expected V, mV or µV")
    return _VOLTS.get(unit)
