"""An analog technology as data: every number with its unit in its name and its source beside it."""

from __future__ import annotations

from importlib import resources
from pathlib import Path
from typing import Annotated, Any

from pydantic import AfterValidator, Field, model_validator

from equilog.hardware.figure import UNSOURCED, Figure
from equilog.names import Strict, load_yaml, merged, parse, unknown

NAME_PATTERN = r"[a-z0-9][a-z0-9_-]{0,40}"
"""What a technology may be called; the name is written into comments of the netlist."""


def _above_zero(figure: Figure) -> Figure:
    if not min(figure.bounds()) > 0:
        raise ValueError("expected a number above 0, its low and high bound too")
    return figure


def _not_negative(figure: Figure) -> Figure:
    if min(figure.bounds()) < 0:
        raise ValueError("expected 0 or more, for its low and high bound too")
    return figure


def _bits(figure: Figure) -> Figure:
    if not (figure == int(figure) and 2 <= figure <= 24):
        raise ValueError("expected a whole number of bits from 2 to 24")
    return figure


def _levels(figure: Figure) -> Figure:
    if not (figure == int(figure) and 2 <= figure <= 2**20):
        raise ValueError("expected a whole number of levels from 2 to 2^20 (leave it out for continuous)")
    return figure


Positive = Annotated[Figure, AfterValidator(_above_zero)]
NonNegative = Annotated[Figure, AfterValidator(_not_negative)]
Bits = Annotated[Figure, AfterValidator(_bits)]
Levels = Annotated[Figure, AfterValidator(_levels)]


class Polynomial(Strict):
    """``σ(x) = Σ cₖ xᵏ`` with x = G/G_max: an error that depends on the programmed state, in siemens."""

    coefficients_siemens: tuple[float, ...] = Field(min_length=1)
    source: str
    valid: str = ""


class Crossbar(Strict):
    """The array of programmable conductances; a signed weight is a differential pair G⁺, G⁻."""

    g_min_siemens: Positive
    """lowest programmable conductance; both devices of every pair carry at least this"""
    g_max_siemens: Positive
    """highest programmable conductance"""
    levels: Levels | None = None
    """distinct programmable levels from g_min to g_max; left out: continuous"""
    programming_sigma: Polynomial | None = None
    """standard deviation of the programmed conductance; left out: programmed exactly"""

    @model_validator(mode="after")
    def _ordered(self) -> Crossbar:
        if not self.g_min_siemens < self.g_max_siemens:
            raise ValueError(
                f"g_min_siemens = {float(self.g_min_siemens)} must be below g_max_siemens = {float(self.g_max_siemens)}"
            )
        return self


class Amplifier(Strict):
    """The op-amp of the summing integrator: A(s) = A₀/(1 + s A₀/ω_t), ω_t = 2π GBW."""

    dc_gain: Positive
    """open-loop gain A₀ at zero frequency, V/V"""
    gbw_hertz: Positive
    """gain–bandwidth product"""
    offset_sigma_volt: NonNegative
    """standard deviation of the input offset from amplifier to amplifier"""
    c_feedback_farad: Positive
    """integrating capacitor C_f; the time constant is τ = R_f C_f"""
    supply_volt: Positive
    """supply, for power"""
    load_farad: Positive
    """capacitance the amplifier drives, for power"""
    gm_over_id: Positive
    """transconductance efficiency g_m/I_D in 1/V, for power: I = 2π GBW C_L/(g_m/I_D) a branch"""
    branches: Positive
    """current branches that draw that current (two: output stage and input pair)"""


class ActivationBlock(Strict):
    """The neuron's non-linearity: s = V_s φ(v/V_a), both polarities."""

    v_scale_volt: Positive
    """V_a, input voltage that is pre-activation 1"""
    v_out_volt: Positive
    """V_s, output voltage that is state 1; also the read voltage across the crossbar"""
    gain_sigma: NonNegative
    """relative standard deviation of the output amplitude"""
    offset_sigma_volt: NonNegative
    """standard deviation of the input offset"""
    bias_ampere: Positive
    """current drawn by the pair and its two output drivers, for power"""


class Dac(Strict):
    """Digital to analog: plays the parameterization's drive into the crossbar."""

    bits: Bits
    full_scale_volt: Positive
    """output voltage of drive 1; the range is symmetric"""
    conversion_second: Positive
    """time from code to settled output"""
    energy_joule: Positive
    """energy of one conversion"""


class Adc(Strict):
    """Analog to digital: reads the resting activation outputs."""

    bits: Bits
    full_scale_volt: Positive
    """input voltage of the largest code; the range is symmetric and clips"""
    conversion_second: Positive
    """time of one conversion; all neurons are converted at once"""
    energy_joule: Positive
    """energy of one conversion"""


class Spec(Strict):
    """A technology. Immutable; validated; unknown keys refused.

    Load one with :func:`load_spec`, change one with :meth:`changed` or a YAML file of your own.
    """

    name: str = Field(pattern=f"^{NAME_PATTERN}$")
    summary: str
    crossbar: Crossbar
    amplifier: Amplifier
    activation: ActivationBlock
    dac: Dac
    adc: Adc

    def changed(self, **overrides: Any) -> Spec:
        """Return a validated copy with numbers replaced: ``spec.changed(amplifier={"dc_gain": 1e3})``.

        Raises:
            UserError: for an unknown key or an invalid value.
        """
        return spec_from_data(merged(self.model_dump(mode="json"), overrides), f"changed {self.name}")

    def figures(self) -> dict[str, Figure]:
        """Return every number under its dotted name, in file order."""
        found: dict[str, Figure] = {}
        for group in ("crossbar", "amplifier", "activation", "dac", "adc"):
            block = getattr(self, group)
            for key in type(block).model_fields:
                if isinstance(value := getattr(block, key), Figure):
                    found[f"{group}.{key}"] = value
        return found

    def unsourced(self) -> list[str]:
        """Return the names of the numbers that state no source."""
        return [name for name, figure in self.figures().items() if figure.source == UNSOURCED]


def preset_names() -> list[str]:
    """Return the names of the technologies that come with equilog."""
    folder = resources.files("equilog.hardware") / "presets"
    return sorted(f.name.removesuffix(".yaml") for f in folder.iterdir() if f.name.endswith(".yaml"))


def load_spec(name_or_path: str | Path) -> Spec:
    """Load a preset by name or a technology from a YAML file.

    Args:
        name_or_path: a preset's name, or a path (anything with a path separator or ending in .yaml/.yml).

    Raises:
        UserError: for an unknown preset (naming the nearest), an unreadable file, or an invalid value.
    """
    text = str(name_or_path)
    path = Path(name_or_path)
    if path.suffix in (".yaml", ".yml") or "/" in text or "\\" in text:
        return spec_from_data(load_yaml(path), str(path))
    if text not in preset_names():
        raise unknown("hardware preset", text, preset_names())
    with resources.as_file(resources.files("equilog.hardware") / "presets" / f"{text}.yaml") as file:
        return spec_from_data(load_yaml(file), f"preset {text}")


def spec_from_data(data: Any, where: str) -> Spec:
    """Validate a mapping (as read from YAML) as a technology; raises ``UserError`` naming every mistake."""
    return parse(Spec, data, where)
