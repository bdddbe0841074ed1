"""The same chip as a SPICE circuit: resting voltages by the twin and by ngspice.

The netlist is written from the very conductances the twin computes with, so the two must agree to the simulator's own
precision. Needs ngspice.
"""

import torch

from equilog.cells import CircuitCell
from equilog.devices import NgspiceDevice, TwinDevice
from equilog.hardware import Chip, load_spec

torch.manual_seed(0)
cell = CircuitCell(states=8, drives=4)
drive = torch.rand(10, 4) * 2 - 1
chip = Chip(load_spec("rram"), seed=3)

twin, circuit = TwinDevice(chip), NgspiceDevice(chip)
for device in (twin, circuit):
    device.program(cell)
a, b = twin.settle(drive), circuit.settle(drive)

error = float((a.p - b.p).abs().max())
same_codes = bool((a.read == b.read).all())

if __name__ == "__main__":
    print(f"largest difference {error:.1e} of full scale; ADC codes {'equal' if same_codes else 'differ'}")
