"""What a chip does to an equilibrium: the same weights on five chips of one technology.

A chip is a technology and a seed. Programming error, offsets and activation mismatch are drawn once and stay; the
resting point moves accordingly, and differently on every chip.
"""

import torch

from equilog.cells import CircuitCell
from equilog.devices import DigitalDevice, TwinDevice
from equilog.hardware import Chip, load_spec

torch.manual_seed(0)
cell = CircuitCell(states=16, drives=8)
drive = torch.rand(100, 8) * 2 - 1

ideal = DigitalDevice()
ideal.program(cell)
wanted = ideal.settle(drive).z

spec = load_spec("rram")
displacement = []
for seed in range(5):
    chip = TwinDevice(Chip(spec, seed))
    chip.program(cell)
    displacement.append(float((chip.settle(drive).z - wanted).square().mean().sqrt()))

again = TwinDevice(Chip(spec, 0))
again.program(cell)
repeated = float((again.settle(drive).z - wanted).square().mean().sqrt())

if __name__ == "__main__":
    print("rms displacement of z*, full scale 1:", ", ".join(f"{d:.3f}" for d in displacement))
