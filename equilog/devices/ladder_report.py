"""The ladder's findings as data: what ``verify.json`` holds and the report draws."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Annotated, Any

from pydantic import BeforeValidator, ConfigDict, Field, PlainSerializer, computed_field, model_validator

from equilog.names import Strict, unknown
from equilog.objective import Scored

TOLERANCE_AT_REST = 1e-6
TOLERANCE_IN_TIME = 1e-4
TOLERANCE_OF_REPORT = 0.01
"""Of the detector, as a fraction of the twin's report."""
TOLERANCE_OF_TRANSISTORS = 0.01
CLASSES_THAT_MAY_DIFFER = 0.02
"""Of the samples that transistors settle: how many the digital side may classify otherwise than the twin's."""

IDEAL, TWIN_AT_REST, TWIN_IN_TIME = "ideal", "twin at rest", "twin in time"
AT_REST, IN_TIME, CHAIN, TRANSISTORS = (
    "ngspice at rest",
    "ngspice in time",
    "ngspice, whole chain",
    "ngspice, transistors",
)
RUNGS: dict[str, tuple[str, ...]] = {
    "twin": (IDEAL, TWIN_AT_REST, TWIN_IN_TIME),
    "rest": (AT_REST,),
    "time": (IN_TIME,),
    "chain": (CHAIN,),
    "transistors": (TRANSISTORS,),
}
"""What can be asked for, and the rungs of the ladder that it climbs; in the order of the ladder."""


def asked_for(names: Iterable[str]) -> tuple[str, ...]:
    """Return names of :data:`RUNGS` in the ladder's order, each once.

    Raises:
        UserError: for an unknown one, naming the nearest.
    """
    wanted = set(names)
    for name in sorted(wanted - RUNGS.keys()):
        raise unknown("rung", name, RUNGS)
    return tuple(name for name in RUNGS if name in wanted)


# JSON has no infinity; a sample that never settles is written as null and read back as inf.
Seconds = Annotated[
    float,
    BeforeValidator(lambda t: math.inf if t is None else t),
    PlainSerializer(lambda t: t if math.isfinite(t) else None),
]


class Rung(Strict):
    """One rung: how far it lies from the one it is compared with, in units of full scale."""

    rung: str
    compared_with: str | None = None
    max_error: float | None = None
    rms_error: float | None = None
    tolerance: float | None = None
    agrees: bool | None = None
    score: float | None = None

    @classmethod
    def of(cls, rung: str, **values: Any) -> Rung:
        """Make a rung and judge it: `agrees` is None where there is no tolerance to meet."""
        error, tolerance = values.get("max_error"), values.get("tolerance")
        agrees = None if error is None or tolerance is None else bool(error <= tolerance)
        return cls(rung=rung, agrees=agrees, **values)


class NodeError(Strict):
    """One node at the sample where twin and simulator disagree most, in units of full scale."""

    node: str
    sample: int
    twin: float
    ngspice: float
    error: float


class Settling(Strict):
    """How the chip comes to rest, by the twin in time."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=True)

    time_second: list[Seconds]
    """per sample, until every activation output stays within `tolerance`; inf if it never does"""
    tolerance: float
    """half an ADC code, in units of the state"""
    time_constant_second: float
    spectral_abscissa_per_second: float
    """largest real part of any pole of the circuit linearised at rest, amplifiers included"""
    noise_gain: float
    """mean over neurons"""
    largest_output_volt: float
    """largest amplifier output at rest; neither twin nor macro-model has rails that would clip it"""

    @property
    def stable(self) -> bool:
        """Whether every pole at every watched resting point lies in the left half plane."""
        return self.spectral_abscissa_per_second < 0


class ChainFindings(Strict):
    """Samples through the whole chain, from drive to codes, in ngspice and in the twin in time.

    States and codes are compared each at its own detector's report, and besides with those of the twin at rest.
    """

    samples: int
    reported: int
    """samples that the detector reported in both; only these have codes"""
    timeouts_differ: int
    """samples reported in one and not in the other"""
    codes: int
    """ADC codes compared"""
    codes_equal: int
    codes_equal_at_rest: int
    codes_wrong: int
    """codes outside those of the twin's held state less and plus the tolerance of the rung"""
    largest_difference: int
    """in codes"""
    held_from_rest: float | None = None
    """largest distance of a held state from the twin at rest, in codes; None without a report"""
    report_error: float | None = None
    """largest difference of the report from the twin's, as a fraction of it"""

    def __str__(self) -> str:
        text = (
            f"whole chain: {self.codes_equal} of {self.codes} codes equal, {self.codes_equal_at_rest} to those at rest"
        )
        if self.held_from_rest is not None and self.report_error is not None:
            text += f"; held within {self.held_from_rest:.2g} codes of rest; reports within {self.report_error:.1e}"
        if self.held_from_rest is not None and self.held_from_rest > 0.5:
            text += "; THE DETECTOR REPORTS TOO EARLY: lower its threshold or lengthen window or hold"
        silent = self.samples - self.reported
        if silent:
            text += f"; {silent} of {self.samples} samples timed out, {self.timeouts_differ} of them in one only"
        return text


class TransistorFindings(Strict):
    """The weights on a chip of SKY130 transistors, at rest, against the twin made of its blocks' measured figures.

    Differences at activation outputs are the rung's own; the digital side reads nothing else.
    """

    technology: str
    chip_seed: int
    samples: int
    neurons: int
    transistors: int
    same_class: int | None = None
    """samples that the digital side classifies as it does those of the twin; None without classes"""
    amplifier_max_error: float
    """largest difference of an amplifier output, in units of V_a; what saturates hides it from the activation"""
    amplifier_rms_error: float
    stable: bool = True
    """whether the twin's poles at the steepest samples lie in the left half plane"""

    @property
    def enough_classes(self) -> bool:
        """Whether no more samples are classified otherwise than :data:`CLASSES_THAT_MAY_DIFFER` allows."""
        allowed = math.floor(CLASSES_THAT_MAY_DIFFER * self.samples + 1e-9)
        return self.same_class is None or self.samples - self.same_class <= allowed

    def __str__(self) -> str:
        text = (
            f"transistors: {self.neurons} neurons of {self.transistors:,} on {self.technology}, chip {self.chip_seed}"
        )
        if self.same_class is not None:
            text += f"; {self.same_class} of {self.samples} samples classified as by its twin"
        text += (
            f"; amplifier outputs within {100 * self.amplifier_max_error:.2g} % of V_a, "
            f"{100 * self.amplifier_rms_error:.2g} % rms"
        )
        return text if self.stable else text + "; UNSTABLE by its twin"


class LadderReport(Scored):
    """Everything :func:`equilog.devices.verify` measured."""

    simulator: str | None
    not_verified_because: str | None = None
    samples: int
    rows_a_sample: int = 1
    """how often a sample settles; where it is more than once, all that is said one by one is said of rows"""
    settle_samples: int = 0
    rungs: list[Rung]
    settling: Settling
    nodes: list[NodeError] = Field(default_factory=list)
    sample_errors: list[float] = Field(default_factory=list)
    codes_equal: float | None = None
    clipped_drives: float = 0.0
    chain: ChainFindings | None = None
    transistors: TransistorFindings | None = None
    identity: str = ""
    """of model, chip and samples; rungs of one identity stand in one report"""

    @model_validator(mode="before")
    @classmethod
    def _read_back(cls, data: Any) -> Any:
        # `verified` is written for readers of the JSON and derived from the rest when read back.
        return {k: v for k, v in data.items() if k != "verified"} if isinstance(data, dict) else data

    @computed_field  # type: ignore[prop-decorator]
    @property
    def verified(self) -> bool:
        """Whether the simulator settled the circuit at rest, every rung with a tolerance meets it, and it is stable."""
        return self.simulator is not None and self.rung(AT_REST) is not None and not self.disagrees

    @property
    def row(self) -> str:
        """What is settled one by one, as people call it."""
        return "sample" if self.rows_a_sample == 1 else "row"

    @property
    def counted(self) -> str:
        """How many are settled, in words."""
        at_rest = f"{self.samples:,} sample{'' if self.samples == 1 else 's'}"
        if self.rows_a_sample == 1:
            return f"{at_rest} at rest, {self.settle_samples} in time"
        rows = f"row{'' if self.settle_samples == 1 else 's'}"
        return f"{at_rest} of {self.rows_a_sample} rows at rest, {self.settle_samples} {rows} in time"

    @property
    def disagrees(self) -> bool:
        """Whether a rung that was climbed misses its tolerance, or the circuit is unstable."""
        return not self.settling.stable or any(r.agrees is False for r in self.rungs)

    def rung(self, name: str) -> Rung | None:
        """Return a rung by name, None if it was not climbed."""
        return next((r for r in self.rungs if r.rung == name), None)

    def __str__(self) -> str:
        lines = [f"{'rung':<21} {'against':<19} {'max error':>10} {'tolerance':>10} {'':<5} {self.score_name}"]
        for r in self.rungs:
            error = "" if r.max_error is None else f"{r.max_error:.1e}"
            tolerance = "" if r.tolerance is None else f"{r.tolerance:.0e}"
            verdict = {None: "", True: "ok", False: "FAILS"}[r.agrees]
            against, score = r.compared_with or "", self.number(r.score)
            lines.append(f"{r.rung:<21} {against:<19} {error:>10} {tolerance:>10} {verdict:<5} {score}")
        if self.chain is not None:
            lines.append(str(self.chain))
        if self.transistors is not None:
            lines.append(str(self.transistors))
        if not self.settling.stable:
            lines.append("UNSTABLE: a pole of the linearised circuit lies in the right half plane")
        if not self.verified and self.not_verified_because:
            lines.append(f"NOT VERIFIED: {self.not_verified_because}")
        return "\n".join(lines)
