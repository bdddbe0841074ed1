"""The converters of an aihwkit RPU configuration in our terms; see :mod:`equilog.hardware.technology.aihwkit`.

aihwkit rounds to multiples of ``2 · bound · res``, clips at ±bound and counts ``1/res = 2^n − 2`` steps for n bits
(or takes the number of steps itself as `res`): exactly the symmetric converter of :mod:`equilog.hardware.quantise`.
Noise is in the same units as the bound, so only their ratio matters here.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

from equilog.hardware.technology.spec import Spec

CONFIG_KEYS = {"forward", "mapping", "pre_post"}
"""parts of a configuration whose own settings are read"""

TRAINING_ONLY = ("backward", "clip", "device", "modifier", "remap", "update")
SIMULATION_ONLY = ("runtime", "simulator_tile_class", "tile_array_class", "tile_class")

# Settings of `forward` with the one value that changes nothing.
NEUTRAL: dict[str, tuple[Any, str]] = {
    "is_perfect": (False, "a converter here has a finite number of bits"),
    "mv_type": ("OnePass", "inputs of both signs are played at once here"),
    "inp_sto_round": (False, "converters here round to the nearest code"),
    "inp_asymmetry": (0.0, "both signs of an input are alike here"),
    "out_noise_std": (0.0, "ADCs here are equally noisy"),
    "out_sto_round": (False, "converters here round to the nearest code"),
    "out_scale": (1.0, "digital scaling of the output"),
    "out_asymmetry": (0.0, "both signs of an output are alike here"),
    "bound_management": ("None", "a repeated run with smaller inputs is not part of a technology"),
    "noise_management": ("None", "digital scaling of every input vector is not part of a technology"),
    "out_nonlinearity": (0.0, "see adc.inl_lsb"),
    "r_series": (0.0, "see crossbar.wires"),
    "v_offset_std": (0.0, "an output-dependent gain error; see activation.gain_sigma"),
    "w_read_asymmetry_dtod": (0.0, "both signs of an input meet the same conductance here"),
    "apply_xdep_pcm_read_noise": (False, "read noise here does not depend on the input"),
    "adc_quantization": (False, "ADCs here round to the nearest code"),
}

# Settings of `forward` that only tune another one: without effect where that is neutral, gone with it where refused.
SERVANTS = {
    "out_nonlinearity_std": "out_nonlinearity",
    "slope_calibration": "out_nonlinearity",
    "v_offset_w_min": "v_offset_std",
    "max_bm_factor": "bound_management",
    "max_bm_res": "bound_management",
    "bm_test_negative_bound": "bound_management",
    "nm_thres": "noise_management",
    "xdep_pcm_read_noise_scale": "apply_xdep_pcm_read_noise",
    "adc_frequency": "adc_quantization",
    "ir_drop_g_ratio": "ir_drop",
    "ir_drop_rs": "ir_drop",
    "ir_drop_segments": "ir_drop",
    "ir_drop_time_step_resolution_scale": "ir_drop",
    "ir_drop_v_read": "ir_drop",
    "ir_drop_integration_sum": "ir_drop",
    "split_mode_bit_shift": "ir_drop",
}

Reasons = dict[str, str]


def read_config(
    settings: dict[str, Any], changes: dict[str, Any], refused: Reasons, skipped: Reasons, base: Spec
) -> None:
    """Add what a configuration says to `changes`, and what it cannot say to `refused` and `skipped`.

    Args:
        settings: of the configuration without its noise model; `forward`, `mapping`, `pre_post` as mappings.
        changes: blocks of a technology; a conductance range in it is the one that weight noise refers to.
        refused, skipped: reasons by dotted name.
        base: the technology whose full scales the noise refers to.
    """
    _Forward(dict(settings.get("forward", {})), changes, refused, skipped, base, settings.get("mapping", {})).read()
    for key, value in settings.get("mapping", {}).items():
        _mapping(key, value, refused, skipped)
    for key, value in settings.get("pre_post", {}).items():
        if key == "input_range" and not _setting(value, "enable"):
            continue
        if value not in (None, False, 0):
            refused[f"pre_post.{key}"] = "digital processing around the array is the model's business here"
    for key, value in settings.items():
        if key in CONFIG_KEYS or value is None:
            continue
        if key in TRAINING_ONLY:
            skipped[key] = "of training only"
        elif key in SIMULATION_ONLY:
            skipped[key] = "of aihwkit's simulation only"
        elif key == "drift_compensation":
            refused[key] = f"{type(value).__name__}, a digital correction of outputs; recalibrate the model instead"
        else:
            refused[key] = "not known to this importer"


def _mapping(key: str, value: Any, refused: Reasons, skipped: Reasons) -> None:
    if key in ("weight_scaling_columnwise", "learn_out_scaling"):
        if value:
            refused[f"mapping.{key}"] = "neurons here share one R_f, there is no scale of each output"
    elif key in ("max_input_size", "max_output_size"):
        skipped[f"mapping.{key}"] = "a layer here is one array"
    elif key == "digital_bias":
        skipped["mapping.digital_bias"] = "the bias here is a column of the array"
    elif key == "weight_scaling_omega":
        skipped["mapping.weight_scaling_omega"] = "the largest weight here always spans the conductance range"
    elif key == "weight_scaling_lr_compensation":
        skipped["mapping.weight_scaling_lr_compensation"] = "of training only"
    elif key != "out_scaling_columnwise":  # tunes learn_out_scaling
        refused[f"mapping.{key}"] = "not known to this importer"


class _Forward:
    """The analog forward pass (`IOParameters`)."""

    def __init__(
        self,
        forward: dict[str, Any],
        changes: dict[str, Any],
        refused: Reasons,
        skipped: Reasons,
        base: Spec,
        mapping: dict[str, Any],
    ) -> None:
        self.forward, self.changes, self.refused, self.skipped = forward, changes, refused, skipped
        self.base, self.mapping = base, mapping
        self.special: dict[str, Callable[[Any], None]] = {
            "w_noise": self._weight_noise,
            "ir_drop": self._ir_drop,
        }

    def read(self) -> None:
        """Read every setting that there is."""
        self._converter("dac", "inp", float(self.base.dac.full_scale_volt))
        self._converter("adc", "out", float(self.base.adc.full_scale_volt))
        if "out_bound" in self.forward:
            self.skipped["forward.out_bound"] = (
                "a range of Σwx; ADCs here read states, and their full scale stays that of " + repr(self.base.name)
            )
        done = {f"{side}_{what}" for side in ("inp", "out") for what in ("res", "bound", "noise")} | {"w_noise_type"}
        for key, value in self.forward.items():
            if key in done:
                continue
            if key in self.special:
                self.special[key](value)
            elif key in NEUTRAL:
                neutral, why = NEUTRAL[key]
                if not _is(value, neutral):
                    self._refuse(key, f"{_text(value)}; {why}")
            elif key not in SERVANTS:
                self._refuse(key, "not known to this importer")

    def _refuse(self, key: str, why: str) -> None:
        self.refused[f"forward.{key}"] = why

    def _converter(self, block: str, side: str, full_scale: float) -> None:
        found: dict[str, Any] = {}
        if (res := self.forward.get(f"{side}_res")) is not None:
            bits = _bits(float(res))
            if bits is None:
                self._refuse(f"{side}_res", f"{res!r}; expected 1/(2^n − 2) or 2^n − 2 steps for n bits from 2 to 24")
            else:
                found["bits"] = {"value": bits, "source": f"aihwkit forward.{side}_res"}
        noise = float(self.forward.get(f"{side}_noise") or 0.0)
        bound = self.forward.get(f"{side}_bound")
        if noise == 0:
            found["noise_volt"] = None
        elif bound is None or not 0 < float(bound) < math.inf:
            self._refuse(f"{side}_noise", f"{noise:g} without a finite {side}_bound has no size relative to full scale")
        else:
            found["noise_volt"] = {
                "value": noise / float(bound) * full_scale,
                "source": f"aihwkit forward.{side}_noise / {side}_bound, times the full scale of {self.base.name!r}",
            }
        if found:
            self.changes[block] = found

    def _weight_noise(self, sigma: float) -> None:
        kind = self.forward.get("w_noise_type", "None")
        if not sigma or _is(kind, "None"):
            return
        omega = float(self.mapping.get("weight_scaling_omega") or 0.0)
        if not _is(kind, "AdditiveConstant"):
            self._refuse("w_noise", f"of type {_text(kind)}; here it is a polynomial of the conductance or 1/f noise")
        elif omega <= 0 or self.mapping.get("weight_scaling_columnwise"):
            self._refuse(
                "w_noise", "needs mapping.weight_scaling_omega above 0, for the whole matrix at once, to have a size"
            )
        else:
            bar = {"g_min_siemens": self.base.crossbar.g_min_siemens, "g_max_siemens": self.base.crossbar.g_max_siemens}
            imported = self.changes.setdefault("crossbar", {})
            low, high = (_value(imported.get(key, figure)) for key, figure in bar.items())
            # A weight is a difference of two devices, each of which gets its share of the variance.
            each = float(sigma) / omega * (high - low) / math.sqrt(2)
            imported["read_noise"] = (imported.get("read_noise") or {}) | {
                "sigma": {
                    "coefficients_siemens": [each],
                    "source": "aihwkit forward.w_noise, spread over both devices of a pair",
                }
            }

    def _ir_drop(self, scale: float) -> None:
        if not scale:
            return
        if "ir_drop_rs" in self.forward:
            ohm = float(scale) * float(self.forward["ir_drop_rs"])
        else:
            g_max = _value(self.changes.get("crossbar", {}).get("g_max_siemens", self.base.crossbar.g_max_siemens))
            ohm = float(scale) / (float(self.forward.get("ir_drop_g_ratio", 1 / 0.35 / 5e-6)) * g_max)
        self._refuse("ir_drop", f"approximate there, solved exactly here: set crossbar.wires, about {ohm:.3g} Ω a cell")


def _bits(res: float) -> int | None:
    """Return n where `res` means 2^n − 2 steps, else None."""
    if not 0 < res < math.inf:
        return None
    steps = res if res > 1 else 1 / res
    bits = round(math.log2(steps + 2))
    return bits if 2 <= bits <= 24 and math.isclose(steps, 2**bits - 2, rel_tol=1e-9) else None


def _is(value: Any, neutral: Any) -> bool:
    """Whether a setting, an enumeration by object, value or name, has its neutral value."""
    if isinstance(neutral, str):
        names = {_text(value), str(getattr(value, "name", value))}
        return neutral.casefold() in {name.replace("_", "").casefold() for name in names}
    return bool(value == neutral)


def _text(value: Any) -> str:
    return str(getattr(value, "value", value))


def _value(figure: Any) -> float:
    return float(figure["value"] if isinstance(figure, dict) else figure)


def _setting(part: Any, key: str) -> Any:
    return part.get(key) if isinstance(part, dict) else getattr(part, key, None)
