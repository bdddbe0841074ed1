"""Count, area and power of every block, counts from the written netlist: what the chip is made of, in one table."""

from __future__ import annotations

from pathlib import Path

from torch import Tensor

from equilog.circuit.parts import Areas, blocks
from equilog.cost.analog import activation_watt, amplifier_watt, array_watt
from equilog.cost.span import Span
from equilog.hardware import ProgrammedLayer
from equilog.names import Strict


class BlockCost(Strict):
    """One row: how many a deck holds, what area and power they take together."""

    name: str
    count: int
    area_m2: Span | None
    watt: Span | None
    area_source: str
    watt_source: str


def block_table(
    layer: ProgrammedLayer, folder: Path, p: Tensor, z: Tensor, played: Tensor, areas: Areas | None = None
) -> list[BlockCost]:
    """Return the table of a chip whose circuit lies in `folder`.

    Args:
        layer: the chip.
        folder: written by :func:`equilog.circuit.write_circuit` for it.
        p, z, played: resting points and drives as :func:`equilog.cost.analog.array_watt` takes them.
        areas: the process; the one that ships with equilog unless given. Discrete parts have no area here: the bill of
            materials of their board has.

    Raises:
        DeckError: if there is no circuit.
    """
    spec = layer.spec
    discrete = areas is None and spec.crossbar.e_series is not None
    found = blocks(folder, areas)
    counts = {row.name: row.count for row in found}
    # The converters' own energy, if they did nothing but convert; everything else is on all the time.
    watt = {
        "op-amps": (amplifier_watt(layer), "n · branches · V_dd · 2π GBW C_L/(g_m/I_D)"),
        "activation blocks": (activation_watt(layer), "n · V_dd · I_bias"),
        "crossbar devices": (Span.of(array_watt(layer, p, z, played)), "at rest, feedback resistors included"),
    }
    for name, block in (("DACs", spec.dac), ("ADCs", spec.adc)):
        energy = Span.of(block.energy_joule) * counts.get(name, 0)
        watt[name] = (energy / float(block.conversion_second), "energy over time of a conversion, while converting")
    return [
        BlockCost(
            name=row.name,
            count=row.count,
            area_m2=None
            if row.area_m2 is None or discrete
            else Span(low=row.area_m2[0], typical=row.area_m2[1], high=row.area_m2[2]),
            watt=watt[row.name][0] if row.name in watt else None,
            area_source="discrete parts, see the board's bill of materials" if discrete else row.source,
            watt_source=watt[row.name][1] if row.name in watt else "not modelled",
        )
        for row in found
    ]
