"""Does phase-change memory in equilog have the statistics that were published, and those that aihwkit gives it?

    python benchmarks/pcm.py --json results/pcm.json         # needs aihwkit 1.2.0, see docs/comparison.md
    python benchmarks/pcm.py --without-aihwkit

Arrays of devices, all asked for the same conductance, are programmed and read at several ages by equilog's effects
(preset pcm) and by aihwkit's PCMLikeNoiseModel, and set against the formulas of Nandakumar et al. (ICECS 2019),
integrated numerically over the programming error. The statistics are mean and standard deviation of the conductance
over devices, and the standard deviation of repeated reads of one device. `z` is the difference divided by the sampling
error of that difference: beyond ±4 the two do not describe the same thing.
"""

from __future__ import annotations

import argparse
import math
from pathlib import Path
from typing import Any

import numpy as np
import torch
from _harness import prepare, show, table, write
from numpy.polynomial.hermite_e import hermegauss
from torch import Tensor

from equilog.hardware import Chip, Conditions, load_spec, without
from equilog.hardware.effects import DEVICE_EFFECTS, Devices

G_MAX = 25e-6
AGES = {"fresh": 20.0, "1 h": 3600.0, "1 day": 86400.0, "1 month": 2.592e6}
T_0, T_READ = 20.0, 250e-9


def formula(x: float, age: float) -> dict[str, float]:
    """Return mean and spread of G over devices without read noise, and the spread of reads of a median device."""
    point, weight = hermegauss(80)
    weight = weight / weight.sum()
    sigma = 0.26348e-6 + 1.9650e-6 * x - 1.1731e-6 * x * x
    programmed = np.maximum(x * G_MAX + sigma * point, 0.0)[:, None]
    mean = min(max(-0.0155 * math.log(x) + 0.0244, 0.049), 0.1)
    spread = min(max(-0.0125 * math.log(x) - 0.0059, 0.008), 0.045)
    exponent = np.abs(mean + spread * point)[None, :]
    g = programmed * (age / T_0) ** -exponent
    both = weight[:, None] * weight[None, :]
    average = float((both * g).sum())
    q = np.minimum(0.0088 / np.maximum((programmed / G_MAX) ** 0.65, 1e-3), 0.2)
    read = g * q * math.sqrt(math.log((age + T_READ) / (2 * T_READ)))
    return {
        "mean": average,
        "std": math.sqrt(float((both * g * g).sum()) - average**2),
        "read": math.sqrt(float((both * read**2).sum())),
    }


def ours(x: float, age: float, devices: int, seed: int) -> dict[str, Tensor]:
    """Return two reads of the devices of one array."""
    spec = without(load_spec("pcm"), "stuck", "temperature", "wires", "levels")
    side = math.isqrt(devices)
    asked = torch.full((1, side, side), x * G_MAX, dtype=torch.float64)
    chip = Chip(spec, seed)
    found = {}
    for name, reads in (("still", None), ("noisy", torch.Generator().manual_seed(seed))):
        state = Devices.of(asked)
        for effect in DEVICE_EFFECTS:
            if effect.present(spec.crossbar):
                drawn = effect.sample(chip, asked.shape)
                state = effect.forward(state, drawn, spec.crossbar, Conditions(age, reads=reads))
        found[name] = state.now.flatten()
    return found


def theirs(x: float, age: float, devices: int, seed: int) -> dict[str, Tensor]:
    """Return the same from aihwkit, whose time counts from t_0 after programming; its conductances are in µS."""
    from aihwkit.inference.noise.pcm import PCMLikeNoiseModel

    side = math.isqrt(devices)
    asked = torch.full((side, side), x * G_MAX * 1e6, dtype=torch.float64)
    found = {}
    for name, scale in (("still", 0.0), ("noisy", 1.0)):
        torch.manual_seed(seed)
        model = PCMLikeNoiseModel(g_max=G_MAX * 1e6, read_noise_scale=scale)
        programmed = model.apply_programming_noise_to_conductance(asked)
        exponent = model.generate_drift_coefficients(asked)
        read = model.apply_drift_noise_to_conductance(programmed, exponent, age - T_0)
        found[name] = read.flatten() * 1e-6
    return found


def statistics_of(reads: dict[str, Tensor]) -> dict[str, tuple[float, float]]:
    """Return every statistic with its sampling error."""
    g, noise = reads["still"], reads["noisy"] - reads["still"]
    count = len(g)

    def spread(values: Tensor) -> tuple[float, float]:
        centred = values - values.mean()
        std = float(centred.std())
        # Of a standard deviation, whatever the distribution: from the fourth moment.
        fourth = float((centred**4).mean())
        return std, math.sqrt(max(fourth - std**4, 0.0) / count) / (2 * std)

    return {"mean": (float(g.mean()), float(g.std()) / math.sqrt(count)), "std": spread(g), "read": spread(noise)}


def main() -> None:
    """Measure, print, write; exit with 1 if anything differs beyond its sampling error."""
    made = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    made.add_argument("--states", type=float, nargs="+", default=[0.1, 0.3, 0.6, 1.0], help="G/G_max asked for")
    made.add_argument("--devices", type=int, default=250_000)
    made.add_argument("--without-aihwkit", action="store_true")
    made.add_argument("--seed", type=int, default=0)
    made.add_argument("--json", type=Path)
    args = made.parse_args()
    prepare(torch.get_num_threads())
    rows: list[dict[str, Any]] = []
    for x in args.states:
        for label, age in AGES.items():
            exact = formula(x, age)
            measured = {"equilog": statistics_of(ours(x, age, args.devices, args.seed))}
            if not args.without_aihwkit:
                measured["aihwkit"] = statistics_of(theirs(x, age, args.devices, args.seed))
            for name, unit in (("mean", 1e6), ("std", 1e6), ("read", 1e6)):
                row: dict[str, Any] = {"x": x, "age": label, "statistic": name, "formula_us": exact[name] * unit}
                for library, found in measured.items():
                    value, error = found[name]
                    row[f"{library}_us"], row[f"{library}_z"] = value * unit, (value - exact[name]) / error
                if "aihwkit" in measured:
                    (a, da), (b, db) = measured["equilog"][name], measured["aihwkit"][name]
                    row["between_z"] = (a - b) / math.hypot(da, db)
                rows.append(row)
    keys = [k for k in rows[0] if k.endswith("_us") or k.endswith("_z")]
    cells = [
        [
            f"{r['x']:g} G_max, {r['age']}",
            r["statistic"],
            *(f"{r[k]:.4f}" if k.endswith("us") else f"{r[k]:+.1f}" for k in keys),
        ]
        for r in rows
    ]
    show(
        [table("PCM statistics, µS", ["devices", "", *(k.replace("_us", "").replace("_z", " z") for k in keys)], cells)]
    )
    worst = {k: max(abs(r[k]) for r in rows) for k in keys if k.endswith("_z")}
    print("largest |z|: " + ", ".join(f"{k.removesuffix('_z')} {v:.1f}" for k, v in worst.items()))
    write(args.json, rows, args, largest_z=worst)
    raise SystemExit(any(v > 4 for k, v in worst.items() if k != "aihwkit_z"))


if __name__ == "__main__":
    main()
