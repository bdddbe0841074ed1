"""What settles: the maps whose fixed point is wanted, and weights that keep it unique."""

from equilog.cells.activation import Activation, Linear, Mixed, ReLU, Tanh
from equilog.cells.certificate import Certificate, Verdict, certify
from equilog.cells.circuit_cell import CircuitCell
from equilog.cells.contractive import ContractiveConv2d, ContractiveWeight
from equilog.cells.curve import Curve, MonotoneSpline, OutsideCurveError, check_inside
from equilog.cells.fixed import FixedCoupling, fixed_of, populated_of, total_of
from equilog.cells.linear_cell import Cubic, CubicCell, LinearCell
from equilog.cells.monotone import MonotoneConv2d, MonotoneWeight
from equilog.cells.node_driven import NodeDrivenCell
from equilog.cells.physics_informed import PhysicsInformedCell
from equilog.cells.symmetric import SymmetricConv2d, SymmetricWeight
from equilog.cells.system import AffineSystem

__all__ = [
    "Activation",
    "AffineSystem",
    "Certificate",
    "CircuitCell",
    "ContractiveConv2d",
    "ContractiveWeight",
    "Cubic",
    "CubicCell",
    "Curve",
    "FixedCoupling",
    "Linear",
    "LinearCell",
    "Mixed",
    "MonotoneConv2d",
    "MonotoneSpline",
    "MonotoneWeight",
    "NodeDrivenCell",
    "OutsideCurveError",
    "PhysicsInformedCell",
    "ReLU",
    "SymmetricConv2d",
    "SymmetricWeight",
    "Tanh",
    "Verdict",
    "certify",
    "check_inside",
    "fixed_of",
    "populated_of",
    "total_of",
]
