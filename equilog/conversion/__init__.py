"""Networks of PyTorch on analog hardware: layers become crossbar products or equilibria, and train on chips."""

from equilog.conversion.calibrate import ConversionWarning, calibrate
from equilog.conversion.chips import set_chip
from equilog.conversion.convert import convert
from equilog.conversion.layers import DigitalEquilibrium, Equilibrium, Product, ProductConv2d
from equilog.conversion.report import Report, Row, report
from equilog.conversion.weight import KeptMargin

__all__ = [
    "ConversionWarning",
    "DigitalEquilibrium",
    "Equilibrium",
    "KeptMargin",
    "Product",
    "ProductConv2d",
    "Report",
    "Row",
    "calibrate",
    "convert",
    "report",
    "set_chip",
]
