"""One inference, on the chip and without it, as ranges with the dominant term named."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from equilog.circuit.netlist import component_count
from equilog.cost.analog import activation_watt, amplifier_watt, array_watt
from equilog.cost.digital import DigitalTarget, default_target, equilibrium_work, module_work
from equilog.cost.span import Span, total
from equilog.devices.twin import TwinDevice
from equilog.hardware import Chip
from equilog.hardware.twin import dac
from equilog.model import HybridDEQ
from equilog.names import Strict


class CostReport(Strict):
    """Energy and latency of one inference at batch 1, parts by name."""

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
    """mean solver steps a sample"""
    digital_solver: str
    """the cheapest of the solvers tried"""

    @property
    def hybrid_energy(self) -> Span:
        """Sum of the hybrid parts, J."""
        return total(list(self.hybrid_energy_joule.values()))

    @property
    def digital_energy(self) -> Span:
        """Sum of the digital parts, J."""
        return total(list(self.digital_energy_joule.values()))

    @property
    def verdict(self) -> str:
        """Which side takes less energy, by how much, and which term decides it."""
        hybrid, digital = self.hybrid_energy, self.digital_energy
        ratio = hybrid.typical / digital.typical
        if 0.95 < ratio < 1.05:
            side = "both need the same energy to within 5 %"
        elif ratio > 1:
            side = f"digital needs {ratio:.2g} times less energy"
        else:
            side = f"the hybrid needs {1 / ratio:.2g} times less energy"
        overlap = hybrid.low <= digital.high and digital.low <= hybrid.high
        certainty = "the ranges overlap, so this may turn round" if overlap else "the ranges do not overlap"
        largest = max(self.hybrid_energy_joule, key=lambda k: self.hybrid_energy_joule[k].typical)
        share = self.hybrid_energy_joule[largest].typical / hybrid.typical
        both = ", which both sides pay" if largest in self.digital_energy_joule else ""
        return (
            f"At typical values {side}; {certainty}. "
            f"The hybrid's largest term is {largest}{both}: {share:.0%} of its total."
        )


@torch.no_grad()
def estimate(
    model: HybridDEQ,
    chip: Chip,
    x: Tensor,
    settling_second: list[float],
    target: DigitalTarget | None = None,
) -> CostReport:
    """Estimate one inference of a trained model on a chip and on digital hardware.

    Args:
        model: the trained model.
        chip: the chip.
        x: representative inputs, shape ``(batch, …)``.
        settling_second: measured settling times; the chip waits for the slowest of them (no detector yet).
        target: the digital computer; the one that ships with equilog unless given.

    Raises:
        ValueError: if a sample never settles (there is no time to charge), or no digital solver converges.
    """
    if not settling_second or not all(math.isfinite(t) for t in settling_second):
        raise ValueError("cannot charge a chip that does not settle: settling times are missing or infinite")
    target = target or default_target()
    device = TwinDevice(chip)
    device.program(model.cell)
    layer = device.layer
    drive = model.parameterize(x)
    settled = device.settle(drive)
    played = dac(layer, drive.double())

    spec = chip.spec
    wait = {
        "DAC": Span.of(spec.dac.conversion_second),
        "settling": Span.of(max(settling_second)),
        "ADC": Span.of(spec.adc.conversion_second),
    }
    watt = {
        "amplifiers": amplifier_watt(layer),
        "activations": activation_watt(layer),
        "crossbar and feedback": Span.of(array_watt(layer, settled.p, settled.z, played)),
    }
    on = total(list(wait.values()))
    ends = {
        "parameterization (digital)": module_work(model.parameterize, x[:1]),
        "readout (digital)": module_work(model.readout, settled.read[:1].to(next(model.parameters()).dtype)),
    }
    end_joule = {name: work.energy_joule(target) for name, work in ends.items()}
    end_second = {name: work.latency_second(target) for name, work in ends.items()}
    half_code = 0.5 / (2 ** (int(spec.adc.bits) - 1) - 1)
    solve, steps, solver = equilibrium_work(model.cell, drive, half_code)
    return CostReport(
        hybrid_energy_joule=end_joule
        | {name: power * on for name, power in watt.items()}
        | {
            "DAC": Span.of(spec.dac.energy_joule) * layer.drives,
            "ADC": Span.of(spec.adc.energy_joule) * layer.states,
        },
        digital_energy_joule=end_joule | {"equilibrium (digital)": solve.energy_joule(target)},
        hybrid_latency_second=end_second | wait,
        digital_latency_second=end_second | {"equilibrium (digital)": solve.latency_second(target)},
        chip_watt=watt,
        components=component_count(layer),
        digital_target=f"{target.name}: {target.summary}",
        digital_steps=steps,
        digital_solver=solver,
    )
