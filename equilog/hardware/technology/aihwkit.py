"""Device and converter figures from aihwkit: an inference noise model or an RPU configuration becomes a technology.

Objects are read by the names of their attributes (aihwkit 1.2.0); aihwkit itself is not needed. Conductances there are
in µS. What has an exact counterpart here is taken over; what has none is refused by name, unless the caller accepts to
leave it out; what decides nothing about a technology is skipped. Both lists are kept: nothing is dropped silently.

Ages: `t_inference` of aihwkit's PCM models counts from the first read at t₀, an age here from programming, so that
``age = t_inference + t₀``; `ReRamWan2022NoiseModel` counts from programming as we do.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from typing import Any

from equilog.hardware.technology.aihwkit_config import CONFIG_KEYS, read_config
from equilog.hardware.technology.spec import Spec, spec_from_data
from equilog.names import UserError, nearest

PER_MICRO = 1e6
"""µS in a siemens; dividing by it keeps 25 µS the float that 2.5e-5 is"""
DRIFT_MEAN = (-0.0155, 0.0244, 0.049, 0.1)
DRIFT_SIGMA = (-0.0125, -0.0059, 0.008, 0.045)
"""slope, intercept, low and high of the drift exponent, written into aihwkit's PCMLikeNoiseModel"""
FLICKER = {"coefficient": 0.0088, "exponent": 0.65, "cap": 0.2}
"""the 1/f noise written into the same"""


@dataclass
class AihwkitImport:
    """What an aihwkit object says in our terms.

    Attributes:
        kind: name of its class, "RPU configuration" for one.
        changes: blocks of a technology, as for :meth:`Spec.changed`.
        refused: settings without an exact counterpart, by name, with the reason.
        skipped: settings that decide nothing about a technology, or that were read as they act, with a remark.
    """

    kind: str
    changes: dict[str, Any] = field(default_factory=dict)
    refused: dict[str, str] = field(default_factory=dict)
    skipped: dict[str, str] = field(default_factory=dict)


def from_aihwkit(
    source: Any,
    base: Spec,
    name: str = "aihwkit",
    *,
    accept: Collection[str] = (),
    relaxed_second: float | None = None,
) -> Spec:
    """Return a technology with what `source` says, and everything else from `base`.

    Args:
        source: an inference noise model (PCMLikeNoiseModel, CustomDriftPCMLikeNoiseModel, StateIndependentNoiseModel,
            ReRamWan2022NoiseModel), an RPU configuration with its `forward` and `noise_model`, or the configuration
            as a mapping.
        base: supplies what aihwkit does not model: amplifiers, activation, timing, energy, wires.
        name: of the new technology.
        accept: refused settings that may be left out, by the names that the refusal gives.
        relaxed_second: which later age of ReRamWan2022NoiseModel to relax to; the first one if None.

    Raises:
        UserError: for an object that is not understood, for settings without counterpart that are not accepted, or
            where the result is no valid technology (say, g_min of `base` above the imported g_max).
    """
    found = read_aihwkit(source, base, relaxed_second=relaxed_second)
    if strange := [key for key in accept if key not in found.refused]:
        raise UserError(
            f"accept = {strange[0]!r}{nearest(strange[0], found.refused)}: {found.kind} has no such setting to leave "
            f"out; refused are: {', '.join(found.refused) or 'none'}"
        )
    if left := {key: why for key, why in found.refused.items() if key not in accept}:
        raise UserError(
            f"{found.kind} has settings without an exact counterpart: "
            + "; ".join(f"{key} ({why})" for key, why in left.items())
            + ". Set them to neutral values in aihwkit, or leave them out: "
            f"accept=[{', '.join(repr(key) for key in left)}]"
        )
    remarks: dict[str, list[str]] = {}
    for key, text in (found.skipped | {key: f"left out, {found.refused[key]}" for key in accept}).items():
        remarks.setdefault(text, []).append(key)
    summary = f"Imported from aihwkit's {found.kind} onto {base.name!r}."
    if remarks:
        summary += " " + "; ".join(f"{', '.join(keys)}: {text}" for text, keys in remarks.items()) + "."
    data = base.model_dump(mode="json") | {"name": name, "summary": summary}
    for block, changes in found.changes.items():
        # Not merged any deeper: what is replaced must not keep the range and validity of what stood there.
        data[block] = data[block] | changes
    return spec_from_data(data, f"aihwkit's {found.kind} on {base.name!r}")


def read_aihwkit(source: Any, base: Spec, *, relaxed_second: float | None = None) -> AihwkitImport:
    """Return what `source` says, without refusing anything but objects that are not understood; arguments as above."""
    kind = type(source).__name__
    if kind in _READERS:
        found = AihwkitImport(kind)
        _read_noise_model(source, found, base, relaxed_second)
        return found
    settings = _attributes(source)
    if "forward" not in settings:
        raise UserError(
            f"{kind} is neither a noise model of aihwkit that can be imported ({', '.join(_READERS)}) nor a "
            "configuration with a `forward` part" + nearest(kind, _READERS)
        )
    found = AihwkitImport("RPU configuration")
    model = settings.pop("noise_model", None)
    if model is not None:
        if type(model).__name__ in _READERS:
            _read_noise_model(model, found, base, relaxed_second, "noise_model.")
        else:
            found.refused["noise_model"] = (
                f"{type(model).__name__} cannot be read; importable are objects of {', '.join(_READERS)}"
            )
    parts = {key: _attributes(value) if key in CONFIG_KEYS else value for key, value in settings.items()}
    read_config(parts, found.changes, found.refused, found.skipped, base)
    return found


def _attributes(source: Any) -> dict[str, Any]:
    if source is None:
        return {}
    if isinstance(source, Mapping):
        return {str(key): value for key, value in source.items()}
    return dict(vars(source)) if hasattr(source, "__dict__") else {}


def _read_noise_model(
    model: Any, found: AihwkitImport, base: Spec, relaxed_second: float | None, prefix: str = ""
) -> None:
    kind = type(model).__name__
    if relaxed_second is not None and kind != "ReRamWan2022NoiseModel":
        raise UserError(f"relaxed_second = {relaxed_second}: {kind} has no ages to choose from; leave it out")
    reader = _Model(model, kind, found, prefix)
    # A device model replaces the whole device: what the base says of levels, drift, … is about another one.
    bar: dict[str, Any] = dict.fromkeys(
        ("levels", "programming_sigma", "relaxation", "drift", "temperature", "stuck", "read_noise")
    )
    bar |= reader.range(base)
    bar |= _READERS[kind](reader, relaxed_second)
    found.changes["crossbar"] = bar


@dataclass
class _Model:
    """A noise model, read by attribute name."""

    model: Any
    kind: str
    found: AihwkitImport
    prefix: str

    def get(self, name: str) -> Any:
        if not hasattr(self.model, name):
            hint = (
                " (aihwkit 1.2.0 forgets this argument of the constructor and fails on it itself: leave it out there)"
                if name.endswith("_g_max_reference")
                else ""
            )
            raise UserError(f"{self.kind} has no attribute {name!r}{hint}")
        return getattr(self.model, name)

    def number(self, name: str, least: float = 0.0) -> float:
        value = float(self.get(name))
        if not value >= least:
            raise UserError(f"{self.kind}.{name} = {value}: expected {least:g} or more")
        return value

    def source(self, name: str) -> str:
        return f"aihwkit {self.kind}, {name}"

    def figure(self, value: float, name: str) -> dict[str, Any]:
        return {"value": value, "source": self.source(name)}

    def polynomial(self, coefficients: Collection[float], scale: float, name: str) -> dict[str, Any]:
        in_siemens = [scale * float(c) / PER_MICRO for c in coefficients]
        return {"coefficients_siemens": in_siemens, "source": self.source(name)}

    def skip(self, name: str, remark: str) -> None:
        self.found.skipped[self.prefix + name] = remark

    def refuse(self, name: str, why: str) -> None:
        self.found.refused[self.prefix + name] = why

    def range(self, base: Spec) -> dict[str, Any]:
        """Return the conductance range of a single pair of devices, the only mapping that is also ours."""
        converter = self.get("g_converter")
        shape = type(converter).__name__
        if shape != "SinglePairConductanceConverter":
            raise UserError(
                f"{self.kind}.g_converter is a {shape}; only SinglePairConductanceConverter is our pair G⁺, G⁻"
            )
        bar = {"g_max_siemens": self.figure(float(converter.g_max) / PER_MICRO, "g_converter.g_max")}
        if converter.g_min > 0:
            bar["g_min_siemens"] = self.figure(float(converter.g_min) / PER_MICRO, "g_converter.g_min")
        else:
            idle = float(base.crossbar.g_min_siemens)
            self.skip("g_converter.g_min", f"0, where a device here conducts at least {idle:g} S, as in {base.name!r}")
        return bar

    def flicker(self, coefficient: float, exponent: float, cap: float) -> dict[str, Any] | None:
        scale = self.number("read_noise_scale")
        if scale == 0:
            return None
        return {
            "flicker": {
                "coefficient": self.figure(scale * coefficient, "1/f noise, read_noise_scale"),
                "exponent": self.figure(exponent, "1/f noise"),
                "cap": self.figure(scale * cap, "1/f noise, read_noise_scale"),
                "read_second": self.figure(self.number("t_read"), "t_read"),
            }
        }

    def constant_drift(self, mean: float, sigma: float, name: str) -> dict[str, Any]:
        scale = self.number("drift_scale")
        return {
            "exponent_mean": self._log((0.0, mean, mean, mean), scale, name),
            "exponent_sigma": self._log((0.0, sigma, sigma, sigma), scale, name),
        }

    def logarithmic_drift(self) -> dict[str, Any]:
        scale = self.number("drift_scale")
        name = "generate_drift_coefficients, drift_scale"
        return {
            "exponent_mean": self._log(DRIFT_MEAN, scale, name),
            "exponent_sigma": self._log(DRIFT_SIGMA, scale, name),
        }

    def _log(self, law: tuple[float, float, float, float], scale: float, name: str) -> dict[str, Any]:
        keys = ("slope", "intercept", "low", "high")
        return {key: scale * value for key, value in zip(keys, law)} | {"source": self.source(name)}


def _pcm(read: _Model, _: float | None, drift: dict[str, Any] | None = None) -> dict[str, Any]:
    scale = read.number("prog_noise_scale")
    scale *= read.number("g_max") / read.number("prog_coeff_g_max_reference")
    return {
        "programming_sigma": read.polynomial(read.get("prog_coeff"), scale, "prog_coeff"),
        "programmed_second": read.figure(read.number("t_0"), "t_0"),
        "drift": drift or read.logarithmic_drift(),
        "read_noise": read.flicker(**FLICKER),
    }


def _custom_drift_pcm(read: _Model, relaxed_second: float | None) -> dict[str, Any]:
    table = read.get("custom_drift_model")
    means, sigmas = set(table["nu_mean_lst"]), set(table["nu_std_lst"])
    if len(means) == len(sigmas) == 1:
        return _pcm(read, relaxed_second, read.constant_drift(means.pop(), sigmas.pop(), "custom_drift_model"))
    read.refuse("custom_drift_model", "a table over the conductance; here exponents follow a clamped logarithm")
    return _pcm(read, relaxed_second) | {"drift": None}


def _state_independent(read: _Model, _: float | None) -> dict[str, Any]:
    # Its read noise is G/g_max with g_max in µS, added to G in µS: relative to G, a constant 1/g_max.
    share = 1 / read.number("g_max")
    return {
        "programming_sigma": read.polynomial(read.get("prog_coeff"), read.number("prog_noise_scale"), "prog_coeff"),
        "programmed_second": read.figure(read.number("t_0"), "t_0"),
        "drift": read.constant_drift(read.number("drift_nu_mean"), read.number("drift_nu_std"), "drift_nu_*"),
        "read_noise": read.flicker(coefficient=share, exponent=0.0, cap=share),
    }


def _wan(read: _Model, relaxed_second: float | None) -> dict[str, Any]:
    scale = read.number("noise_scale") * read.number("g_max") / read.number("coeff_g_max_reference")
    fitted = getattr(read.model, "prog_coeff_g_max_reference", None)
    if fitted is not None and fitted != read.get("coeff_g_max_reference"):
        read.skip(
            "prog_coeff_g_max_reference",
            f"the coefficients were fitted at {fitted:g} µS but aihwkit applies them unscaled to g_max = "
            f"{read.number('g_max'):g} µS; imported as it computes (g_max={fitted:g} there gives the published device)",
        )
    by_age = {float(age): coefficients for age, coefficients in read.get("coeff_dic").items()}
    first, *later = sorted(by_age)
    if relaxed_second is not None and float(relaxed_second) not in later:
        raise UserError(f"relaxed_second = {relaxed_second}: expected one of {', '.join(f'{age:g}' for age in later)}")
    found = {
        "programming_sigma": read.polynomial(by_age[first], scale, f"coeff_dic[{first:g}]"),
        "programmed_second": read.figure(first, "coeff_dic"),
    }
    if later:
        age = later[0] if relaxed_second is None else float(relaxed_second)
        found["relaxation"] = {
            "at_second": read.figure(age, "coeff_dic"),
            "sigma": read.polynomial(by_age[age], scale, f"coeff_dic[{age:g}]"),
        }
        for other in later:
            if other != age:
                read.skip(f"coeff_dic[{other:g}]", f"one later age is held, {age:g} s (relaxed_second chooses)")
    return found


_READERS: dict[str, Callable[[_Model, float | None], dict[str, Any]]] = {
    "PCMLikeNoiseModel": _pcm,
    "CustomDriftPCMLikeNoiseModel": _custom_drift_pcm,
    "StateIndependentNoiseModel": _state_independent,
    "ReRamWan2022NoiseModel": _wan,
}
