"""Whatever can settle: the digital computer, a chip's twin, ngspice, an analog computer, a bench of instruments."""

from equilog.devices.calibration import Calibration, spanning_drives
from equilog.devices.device import BaseDevice, Cell, Device, DeviceError, DeviceTimeoutError, Settled, run_on
from equilog.devices.digital import DigitalDevice
from equilog.devices.instrument import InstrumentDevice
from equilog.devices.instrument_bench import Bench, load_bench
from equilog.devices.ladder import Ladder, verify
from equilog.devices.lucidac import LucidacDevice, LucidacTwin
from equilog.devices.ngspice import NgspiceDevice
from equilog.devices.twin import TwinDevice

__all__ = [
    "BaseDevice",
    "Bench",
    "Calibration",
    "Cell",
    "Device",
    "DeviceError",
    "DeviceTimeoutError",
    "DigitalDevice",
    "InstrumentDevice",
    "Ladder",
    "LucidacDevice",
    "LucidacTwin",
    "NgspiceDevice",
    "Settled",
    "TwinDevice",
    "load_bench",
    "run_on",
    "spanning_drives",
    "verify",
]
