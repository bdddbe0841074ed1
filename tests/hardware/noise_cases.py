"""What the tests of noise share."""

from equilog.equilibrium import EquilibriumLayer
from equilog.hardware.twin import static_system


def rested(layer, played):
    """Resting outputs in volts."""
    p = EquilibriumLayer(on_failure="raise").rest(static_system(layer, played))
    return p * layer.spec.activation.v_scale_volt
