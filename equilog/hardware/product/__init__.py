"""A crossbar without feedback: one analog matrix product as a layer."""

from equilog.hardware.product.linear import AnalogLinear

__all__ = ["AnalogLinear"]
