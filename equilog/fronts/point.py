"""One point of a front: a trained model, measured on unseen chips as they are used."""

from __future__ import annotations

import torch

from equilog.cost.inference import ARRAY, chip_inference, chip_watt
from equilog.cost.span import total
from equilog.hardware import Chip, Conditions, program_cell
from equilog.hardware.quantise import half_code
from equilog.hardware.rest import at_rest
from equilog.hardware.transient import Transient
from equilog.hardware.twin import adc, dac
from equilog.names import Strict
from equilog.objective import Scored
from equilog.pipeline import UNSEEN_CHIPS, mean_score, objective_of
from equilog.runs import RunFolder
from equilog.tasks import Data

SETTLED_SAMPLES = 32
"""that every chip also settles in time, for the time and the power of an inference"""
LONGEST_TAU = 200


class Point(Strict):
    """Means over chips but where it says otherwise; energy and time are the chip's alone, without the digital ends."""

    weight: float
    score_ideal: float
    score_mean: float
    score_worst: float
    chips: int
    displacement_rms: float
    """rms over chips, samples and neurons of what moves z away from its ideal value; 1 is full scale"""
    settling_second: float
    """of the slowest sample, mean over chips"""
    energy_low_joule: float
    energy_typical_joule: float
    energy_high_joule: float
    power_typical_watt: float
    array_watt: float


@torch.no_grad()
def measure(folder: RunFolder, weight: float, data: Data, chips: int) -> Point:
    """Return the figures of a trained run on so many unseen chips, just programmed and read with noise.

    Energy and power are those of :mod:`equilog.cost.inference`, with the slowest sample's settling to half an ADC code.

    Raises:
        UserError: if the run is not trained.
        NotConvergedError, UnstableChipError: for a chip that does not come to rest.
    """
    model, spec = folder.load_model(), folder.spec()
    objective = objective_of(folder.config(), data)
    scored = Scored(**Scored.fields_of(objective))
    drive = model.parameterize(data.test_x)
    ideal = model.settle(drive).double()
    dtype = next(model.parameters()).dtype
    scores, moved, times, energies, powers, arrays = [], [], [], [], [], []
    for k in range(chips):
        reads = torch.Generator().manual_seed(k)
        chip = Chip(spec, UNSEEN_CHIPS + k)
        layer = program_cell(model.cell, chip, Conditions(reads=reads), dtype=torch.float64)
        played = dac(layer, drive.double())
        rest = at_rest(layer, played)
        read = adc(layer, rest.z)
        scores.append(float(objective.score(model.readout(read.to(dtype)), data.test_y)) / len(data.test_y))
        moved.append(float((read - ideal).square().mean()))
        few = slice(SETTLED_SAMPLES)
        moving = Transient(layer, played[few])
        volt = rest.p[few] * float(spec.activation.v_scale_volt)
        settled, _ = moving.settle(volt, half_code(spec), LONGEST_TAU * layer.time_constant_second)
        times.append(float(settled.max()))
        watt = chip_watt(layer, rest.p[few], rest.z[few], played[few])
        arrays.append(watt[ARRAY].typical)
        energies.append(chip_inference(layer, watt, times[-1], rows=model.rows).energy)
        powers.append(total(list(watt.values())).typical)

    def mean(values: list[float]) -> float:
        return sum(values) / len(values)

    return Point(
        weight=weight,
        score_ideal=mean_score(model, data.test_x, data.test_y, objective),
        score_mean=mean(scores),
        score_worst=scored.worst_of(scores),
        chips=chips,
        displacement_rms=mean(moved) ** 0.5,
        settling_second=mean(times),
        energy_low_joule=mean([e.low for e in energies]),
        energy_typical_joule=mean([e.typical for e in energies]),
        energy_high_joule=mean([e.high for e in energies]),
        power_typical_watt=mean(powers),
        array_watt=mean(arrays),
    )
