"""Fan-in is paid for: gain error and bandwidth of one neuron against the number of its inputs.

An inverting summer with R_f and n inputs of unit ratio has noise gain N = 1 + n; its gain error is about N/A₀ and its
bandwidth GBW/N. Both are read off a programmed layer here, not assumed.
"""

import math

import torch

from equilog.hardware import Chip, load_spec, program
from equilog.hardware.transient import Transient

A0, GBW = 1e4, 1e8
spec = load_spec("ideal").changed(amplifier={"dc_gain": A0, "gbw_hertz": GBW, "c_feedback_farad": 1e-16})

rows = []
for fan_in in (32, 128, 512):
    # One neuron, no feedback of its own, `fan_in` drives of weight 1.
    layer = program((torch.zeros(1, 1), torch.ones(1, fan_in), torch.zeros(1)), Chip(spec, 0))
    missing = float(layer.noise_gain[0] / layer.dc_gain[0])
    gain_error = missing / (1 + missing)
    # With next to no C_f the slowest pole of the block is the amplifier's closed-loop pole.
    moving = Transient(layer, torch.zeros(1, fan_in, dtype=torch.float64))
    bandwidth_hertz = -float(moving.spectral_abscissa(torch.zeros(1, 1, dtype=torch.float64))[0]) / (2 * math.pi)
    rows.append((fan_in, gain_error, bandwidth_hertz))

if __name__ == "__main__":
    for fan_in, gain_error, bandwidth_hertz in rows:
        print(f"fan-in {fan_in}: gain error {gain_error:.2%}, bandwidth {bandwidth_hertz / 1e6:.3f} MHz")
