"""One inference, on the chip and without it, as ranges with the dominant term named."""

from __future__ import annotations

import math

import torch
from pydantic import Field
from torch import Tensor

from equilog.circuit.netlist import component_count
from equilog.cost.analog import idle_watt
from equilog.cost.area import area_parts
from equilog.cost.digital import equilibrium_work, module_work
from equilog.cost.inference import Use, chip_inference, chip_watt
from equilog.cost.span import Span, dominant, total
from equilog.cost.target import DigitalTarget, default_target
from equilog.cost.writing import programming_joule
from equilog.devices.twin import TwinDevice
from equilog.hardware import Chip
from equilog.hardware.quantise import half_code
from equilog.hardware.twin import dac
from equilog.model import HybridDEQ
from equilog.names import Strict

WAITING = "standing power of the digital side, waiting"
IDLE = "idle power while the ends compute"


class CostReport(Strict):
    """Energy and latency of one inference, parts by name."""

    hybrid_energy_joule: dict[str, Span]
    """digital ends and everything on the chip"""
    digital_energy_joule: dict[str, Span]
    """the same ends, and the equilibrium solved digitally to the converters' resolution"""
    hybrid_latency_second: dict[str, Span]
    digital_latency_second: dict[str, Span]
    chip_watt: dict[str, Span]
    components: dict[str, int]
    digital_target: str
    digital_steps: float
    """mean solver steps of an equilibrium"""
    digital_solver: str
    """the cheapest of the solvers tried"""
    area_m2: dict[str, Span] = Field(default_factory=dict)
    """of the chip's blocks, or of the board's parts"""
    programming_joule: Span | None = None
    """of programming the whole chip once; None where the technology does not say"""
    use: Use = Use()
    rows: int = 1
    """equilibria of one inference: what it takes is for all of them together, one position's share is a part in so
    many"""

    @property
    def hybrid_energy(self) -> Span:
        """Sum of the hybrid parts, J."""
        return total(list(self.hybrid_energy_joule.values()))

    @property
    def digital_energy(self) -> Span:
        """Sum of the digital parts, J."""
        return total(list(self.digital_energy_joule.values()))

    @property
    def hybrid_latency(self) -> Span:
        """Sum of the hybrid parts, s."""
        return total(list(self.hybrid_latency_second.values()))

    @property
    def digital_latency(self) -> Span:
        """Sum of the digital parts, s."""
        return total(list(self.digital_latency_second.values()))

    @property
    def verdict(self) -> str:
        """Which side takes less energy, by how much, and which term decides it."""
        hybrid, digital = self.hybrid_energy, self.digital_energy
        return (
            f"At typical values {_comparison(hybrid, digital, 'less energy')}; {_certainty(hybrid, digital)}. "
            f"{_largest('hybrid', self.hybrid_energy_joule, self.digital_energy_joule)} "
            f"{_largest('digital side', self.digital_energy_joule, self.hybrid_energy_joule)}"
        )

    @property
    def latency_verdict(self) -> str:
        """Which side answers sooner, by how much, and what takes longest."""
        hybrid, digital = self.hybrid_latency, self.digital_latency
        return (
            f"At typical values {_comparison(hybrid, digital, 'less time')}; {_certainty(hybrid, digital)}. "
            f"{_largest('hybrid', self.hybrid_latency_second, self.digital_latency_second)} "
            f"{_largest('digital side', self.digital_latency_second, self.hybrid_latency_second)}"
        )


def _comparison(hybrid: Span, digital: Span, what: str) -> str:
    ratio = hybrid.typical / digital.typical
    if 0.95 < ratio < 1.05:
        return f"both need the same {what.removeprefix('less ')} to within 5 %"
    if ratio > 1:
        return f"digital needs {ratio:.2g} times {what}"
    return f"the hybrid needs {1 / ratio:.2g} times {what}"


def _certainty(hybrid: Span, digital: Span) -> str:
    overlap = hybrid.low <= digital.high and digital.low <= hybrid.high
    return "the ranges overlap, so this may turn round" if overlap else "the ranges do not overlap"


def _largest(side: str, parts: dict[str, Span], other: dict[str, Span]) -> str:
    name, share = dominant(parts)
    both = ", which both sides pay" if name in other else ""
    return f"The {side}'s largest term is {name}{both}: {share:.0%} of its total."


@torch.no_grad()
def estimate(
    model: HybridDEQ,
    chip: Chip,
    x: Tensor,
    settling_second: list[float],
    target: DigitalTarget | None = None,
    *,
    use: Use | None = None,
    detecting_second: float | None = None,
) -> CostReport:
    """Estimate one inference of a trained model on a chip and on digital hardware.

    Each side waits for the other where they take turns: the chip idles while the digital ends compute, the computer
    stands by while the chip settles. Of a sample with several rows the chip settles one after the other, the computer
    all together, which is the least that it can need.

    Args:
        model: the trained model.
        chip: the chip.
        x: representative inputs, shape ``(batch, …)``.
        settling_second: measured settling times; the chip waits for the slowest of them.
        target: the digital computer; the default one unless given.
        use: how the chip is used: inferences between programmings, readings averaged, bits needed, batch.
        detecting_second: from settling to the detector's report; the technology's hold time unless given.

    Raises:
        ValueError: if a sample never settles (there is no time to charge), or no digital solver converges.
    """
    if not settling_second or not all(math.isfinite(t) for t in settling_second):
        raise ValueError("cannot charge a chip that does not settle: settling times are missing or infinite")
    target, use = target or default_target(), use or Use()
    device = TwinDevice(chip)
    device.program(model.cell)
    layer = device.layer
    drive = model.parameterize(x)
    settled = device.settle(drive)
    watt = chip_watt(layer, settled.p, settled.z, dac(layer, drive.double()))
    on_chip = chip_inference(layer, watt, max(settling_second), use, detecting_second, model.rows)

    read = settled.read[: model.rows].to(next(model.parameters()).dtype)
    ends = {
        "parameterization (digital)": module_work(model.parameterize, x[:1]),
        "readout (digital)": module_work(model.readout, read),
    }
    end_joule = {name: work.energy_joule(target, use.batch) for name, work in ends.items()}
    end_second = {name: work.latency_second(target, use.batch) for name, work in ends.items()}
    # Of a batch each sample has its share of the ends' time, and all of its own settling.
    end_share = total(list(end_second.values())) / use.batch
    solve, steps, solver = equilibrium_work(model.cell, drive, half_code(chip.spec))
    solve = solve.rows(model.rows)
    waiting = {
        IDLE: idle_watt(layer) * end_share,
        WAITING: on_chip.latency * target.standing_watt,
    }
    return CostReport(
        hybrid_energy_joule=end_joule | on_chip.energy_joule | waiting,
        digital_energy_joule=end_joule | _named("equilibrium", solve.energy_parts(target, use.batch)),
        hybrid_latency_second=end_second | {name: span * use.batch for name, span in on_chip.latency_second.items()},
        digital_latency_second=end_second | _named("equilibrium", solve.latency_parts(target, use.batch)),
        chip_watt=watt,
        components=component_count(layer),
        digital_target=f"{target.name}: {target.summary}",
        digital_steps=steps,
        digital_solver=solver,
        area_m2=area_parts(layer),
        programming_joule=programming_joule(layer),
        use=use,
        rows=model.rows,
    )


def _named(what: str, parts: dict[str, Span]) -> dict[str, Span]:
    return {f"{what}: {name}": span for name, span in parts.items()}
