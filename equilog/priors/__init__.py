"""Physical laws that a cell can carry, ``z = σ(W z + U x + b + P(z, x))``: residuals with names, shapes and units."""

from equilog.priors.conservation import conserved, conserved_energy, conserved_sum
from equilog.priors.diffusion import (
    darcy,
    darcy_of_permeability,
    graph_diffusion,
    graph_laplacian,
    heat_step,
    poisson,
    screened_poisson,
)
from equilog.priors.elasticity import Elastic, plane_stress, truss
from equilog.priors.flow import CavityFlow, FlowError, cavity, solve_cavity
from equilog.priors.grid import Grid, Side, dirichlet, neumann, periodic
from equilog.priors.kirchhoff import (
    Bipolar,
    CurrentSource,
    Diode,
    Network,
    NoOperatingPointError,
    Resistor,
    VoltageSource,
)
from equilog.priors.law import Constant, Field, Law, Relaxation
from equilog.priors.linear_law import LinearLaw, linearised
from equilog.priors.stencil import stencil_jacobian
from equilog.priors.stepping import implicit_step

__all__ = [
    "Bipolar",
    "CavityFlow",
    "Constant",
    "CurrentSource",
    "Diode",
    "Elastic",
    "Field",
    "FlowError",
    "Grid",
    "Law",
    "LinearLaw",
    "Network",
    "NoOperatingPointError",
    "Relaxation",
    "Resistor",
    "Side",
    "VoltageSource",
    "cavity",
    "conserved",
    "conserved_energy",
    "conserved_sum",
    "darcy",
    "darcy_of_permeability",
    "dirichlet",
    "graph_diffusion",
    "graph_laplacian",
    "heat_step",
    "implicit_step",
    "linearised",
    "neumann",
    "periodic",
    "plane_stress",
    "poisson",
    "screened_poisson",
    "solve_cavity",
    "stencil_jacobian",
    "truss",
]
