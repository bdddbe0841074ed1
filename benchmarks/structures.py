"""What does the girder cost on a chip: how its error falls with the damping of the law, untrained.

    python benchmarks/structures.py --json results/structures.json

The model of `trusses`, states in units of their reach, with other dampings α in the place of the task's own: margin,
and relative L2 error on unseen loads, mean over the chips that come to rest. `resistors`: the same chips with
amplifiers that have neither offset nor finite gain. Half a minute of one core.
"""

from __future__ import annotations

import argparse
import statistics
from pathlib import Path
from typing import Any

from _harness import prepare, show, table, write

from equilog.cells import fixed_of
from equilog.devices import TwinDevice
from equilog.devices.ladder import score_on
from equilog.hardware import Chip, Spec, load_spec, without
from equilog.hardware.transient import UnstableChipError
from equilog.model import HybridDEQ
from equilog.objective import Regression
from equilog.tasks.physics.trusses import Trusses, girder, loads

PRESETS = ("rram", "pcm", "cmos-sky130", "board")
SAMPLES, SEED, FIRST_CHIP = 64, 5, 1000
Row = dict[str, Any]


def error(model: HybridDEQ, spec: Spec, chips: int) -> Row:
    """Return the mean error over chips at rest, and how many do not stay there."""
    x = loads(SAMPLES, SEED)
    y, found = girder().answer(x).float(), []
    for seed in range(FIRST_CHIP, FIRST_CHIP + chips):
        try:
            found.append(score_on(model, TwinDevice(Chip(spec, seed)), x.float(), y, Regression()))
        except UnstableChipError:
            continue
    return {"mean": statistics.fmean(found) if found else float("nan"), "lost": chips - len(found)}


def measure(damping: float, chips: int) -> Row:
    """Return a row of the table."""
    model = girder().model(Trusses.model_defaults, damping)
    law = fixed_of(model.cell)
    assert law is not None
    row: Row = {"damping": damping, "margin": law.margin}
    for name in PRESETS:
        spec = load_spec(name)
        row[name] = error(model, spec, chips)
        row[f"{name}, resistors"] = error(model, without(spec, "amplifier-offset", "finite-gain"), chips)
    return row


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--dampings", type=float, nargs="+", default=[1.0, 3.0, 10.0, 40.0])
    parser.add_argument("--chips", type=int, default=8)
    parser.add_argument("--json", type=Path)
    args = parser.parse_args()
    prepare(1)
    rows = [measure(damping, args.chips) for damping in args.dampings]
    kinds = [kind for name in PRESETS for kind in (name, f"{name}, resistors")]

    def shown(found: Row) -> str:
        return f"{found['mean']:.2g}" + (f" ({found['lost']} lost)" if found["lost"] else "")

    lines = [[f"{row['damping']:g}", f"{row['margin']:.2g}", *(shown(row[kind]) for kind in kinds)] for row in rows]
    show([table("The girder on chips: relative error, mean over chips", ["α", "margin", *kinds], lines)])
    write(args.json, rows, args)


if __name__ == "__main__":
    main()
