"""Whatever can settle: the digital computer, a chip's twin, ngspice; one small protocol, and the ladder of them."""

from equilog.devices.device import Device, Settled, run_on
from equilog.devices.digital import DigitalDevice
from equilog.devices.ladder import Ladder, verify
from equilog.devices.ngspice import NgspiceDevice
from equilog.devices.twin import TwinDevice

__all__ = ["Device", "DigitalDevice", "Ladder", "NgspiceDevice", "Settled", "TwinDevice", "run_on", "verify"]
