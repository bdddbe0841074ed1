"""A quarter of a thin plate with a hole, pulled and sheared at its edges: displacements by plane stress."""

from __future__ import annotations

from typing import Any, ClassVar

import numpy as np
import torch
from scipy import sparse
from scipy.sparse.linalg import splu
from torch import Tensor

from equilog.model import HybridDEQ
from equilog.names import UserError
from equilog.priors import plane_stress
from equilog.tasks.computed import Computed, uniform
from equilog.tasks.measures import Measure, Picture, SolverAnswer, relative_error
from equilog.tasks.physics.kept import kept
from equilog.tasks.physics.structures import MILLIMETRE, Structure
from equilog.tasks.task import Data, ModelConfig, Predict
from equilog.training.config import TrainConfig
from equilog.training.curriculum import ideal, ideal_then_twin

SIDE_METRE, HOLE_METRE, THICKNESS_METRE = 0.1, 0.02, 5e-3
YOUNG_PASCAL, POISSON_RATIO = 70e9, 0.33
LARGEST_MEGAPASCAL = 50.0
AROUND, OUTWARDS = 8, 7
"""elements along the hole's quarter and from there to the edges"""
FINER = 4
TRAIN_SAMPLES, TEST_SAMPLES = 512, 256
_DATA_SEEDS = (21, 22)


class Tractions:
    """Patterns of an edge's traction for 1 Pa, of ``η`` from 0 at the line of symmetry to 1 at the corner.

    On either outer edge: even pull, pull ``3 η² − 1`` without a resultant, shear ``4 η (1 − η)``, which is none at the
    corner, where the shear of both edges must be the same, and turns its sign at the line of symmetry. In all six.
    """

    count = 6

    @staticmethod
    def at(pattern: int, x: np.ndarray) -> np.ndarray:
        """Return the traction's two components, shaped like the two coordinates `x`."""
        x = np.asarray(x)
        side, kind = divmod(pattern, 3)
        eta = x[1 - side] / SIDE_METRE
        here = x[side] > SIDE_METRE * (1 - 1e-9)
        value = here * (np.ones_like(eta), 3 * eta**2 - 1, 4 * eta * (1 - eta))[kind]
        out = np.zeros_like(x)
        out[1 - side if kind == 2 else side] = value
        return out


@kept
def plate() -> Structure:
    """Return the quarter plate: six edge tractions in megapascals, symmetric about both axes.

    Raises:
        UserError: without scikit-fem.
    """
    skfem = _skfem()
    mesh = _mesh(1)
    law = plane_stress(mesh, YOUNG_PASCAL, POISSON_RATIO, THICKNESS_METRE, _symmetric, scale=_NEWTON)
    stiffness, loads = _assembled(mesh, skfem.ElementTriP1())
    patterns = 1e6 * torch.from_numpy(loads[law.free])
    largest = torch.full((Tractions.count,), LARGEST_MEGAPASCAL)
    lines = [(int(a), int(b)) for a, b in mesh.facets.T]
    return Structure(law, patterns, largest, stiffness.toarray(), torch.from_numpy(mesh.p.T.copy()), lines)


@kept
def fine() -> Tensor:
    """Return free displacements at the plate's nodes in millimetres for 1 MPa of each pattern, ``(n, 6)``.

    By quadratic triangles on a mesh of four times as many elements in both directions, which has all nodes of the
    coarse one.
    """
    skfem = _skfem()
    mesh = _mesh(FINER)
    element = skfem.ElementTriP2()
    stiffness, loads = _assembled(mesh, element)
    basis = skfem.Basis(mesh, skfem.ElementVector(element))
    at = basis.doflocs
    held = np.zeros(basis.N, dtype=bool)
    for dofs, coordinate in ((_component(basis, 0), 0), (_component(basis, 1), 1)):
        held[dofs] = at[coordinate, dofs] < 1e-9
    free = np.flatnonzero(~held)
    u = np.zeros((basis.N, Tractions.count))
    u[free] = splu(sparse.csc_matrix(stiffness[free][:, free])).solve(1e6 * loads[free])
    coarse = _mesh(1).p
    nodes = [int(np.argmin(np.linalg.norm(mesh.p - p[:, None], axis=0))) for p in coarse.T]
    found = u[basis.nodal_dofs[:, nodes].T.reshape(-1)]
    return torch.from_numpy(found[plate().law.free]) / MILLIMETRE


def answer(x: Tensor) -> Tensor:
    """Return free displacements in millimetres for tractions in megapascals, ``(samples, 6)``, on the same mesh."""
    return plate().answer(x)


def stress_concentration(u: Tensor) -> float:
    """Return stress at the hole's top over traction, from displacements ``(n,)`` in mm under 1 MPa of pull in x.

    The hole's edge carries no traction: there the stress is ``E ε`` with ``ε = (u_r + ∂u_t/∂t)/a`` along it. At the
    top, t = 90°, from least-squares series of cosines (u_r) and sines (u_t) of 2t and 4t; without a far edge the first
    terms are exact (Kirsch 1898, σ = 3 at the top).
    """
    moved = plate().whole(u[None])[0]
    edge = [k for k, p in enumerate(plate().nodes) if abs(float(p.norm()) - HOLE_METRE) < 1e-9]
    x, y = plate().nodes[edge].T
    t = torch.atan2(y, x)
    radial = moved[edge, 0] * t.cos() + moved[edge, 1] * t.sin()
    along = moved[edge, 1] * t.cos() - moved[edge, 0] * t.sin()
    order = torch.tensor([2.0, 4.0], dtype=torch.float64)
    cosines = torch.cat([torch.ones_like(t)[:, None], torch.cos(order * t[:, None])], dim=1)
    a = torch.linalg.lstsq(cosines, radial).solution
    b = torch.linalg.lstsq(torch.sin(order * t[:, None]), along).solution
    strain = (a[0] - a[1] + a[2] - 2 * b[0] + 4 * b[1]) / HOLE_METRE
    return float(strain) * YOUNG_PASCAL / 1e6


def heywood() -> float:
    """Return the stress concentration of a hole in a strip, of the traction far away.

    ``K = (2 + (1 − d/W)³)/(1 − d/W)``, which is Howland's solution (*Phil. Trans. R. Soc. A* 229 (1930) 49) to half a
    percent (Heywood, *Designing by Photoelasticity*, 1952; Pilkey & Pilkey, *Peterson's Stress Concentration Factors*,
    3rd ed. 2008, §4.3.1).
    """
    left = 1 - HOLE_METRE / SIDE_METRE
    return (2 + left**3) / left


def tractions(samples: int, seed: int) -> Tensor:
    """Return tractions in megapascals, ``(samples, 6)``, from −50 to 50 each."""
    return LARGEST_MEGAPASCAL * uniform(samples, Tractions.count, seed)


class Plate(Computed):
    """Displacements of the plate's nodes in millimetres; the law alone answers."""

    name = "plate"
    summary = (
        "displacements of a plate of 200 × 200 × 5 mm with a hole of 40 mm (a quarter of it: 72 nodes, 128 degrees of "
        "freedom) under six patterns of traction at its edges; plane stress by linear triangles in fixed conductances"
    )
    split = "computed in float64 from seeds: 512 training samples (seed 21) and 256 test samples (seed 22)"
    caveat = (
        "linear and one plate, so that the law alone is the answer on this mesh and needs no training; the mesh's own "
        "error is far above the model's and is stated beside it"
    )
    counts, seeds = (TRAIN_SAMPLES, TEST_SAMPLES), _DATA_SEEDS
    what = "scikit-fem's operator, the same mesh (Cholesky)"
    inputs, targets = staticmethod(tractions), staticmethod(answer)
    model_defaults = ModelConfig(states=128, drives=Tractions.count, margin=0.3)
    train_defaults = TrainConfig(stages=ideal(0), batch_size=64, learning_rate=0.01, weight_decay=0.0)
    train_without_law = train_defaults.model_copy(update={"stages": ideal_then_twin(60)})
    verify_defaults: ClassVar[dict[str, Any]] = {
        "rest_samples": 8, "settle_samples": 0, "chain_samples": 0, "chips": 10
    }  # fmt: skip

    def build(self, config: ModelConfig) -> HybridDEQ:
        """Tractions to drives, K in conductances, displacements in millimetres out."""
        return plate().model(config)

    @torch.no_grad()
    def measures(self, predict: Predict, data: Data, *, ideal: bool) -> list[Measure]:
        """Return what every structure has, the stress concentration, and once what the mesh itself is off by."""
        pull = torch.zeros(1, Tractions.count, dtype=torch.float64)
        pull[0, 0] = LARGEST_MEGAPASCAL
        found = plate().measures(predict, data)
        found.append(
            Measure(
                name="stress concentration at the hole",
                value=stress_concentration(predict(pull)[0] / LARGEST_MEGAPASCAL),
                reference=stress_concentration(fine()[:, 0]),
                better="near the reference",
                note=f"from displacements along its edge; trusted: quadratic elements on a mesh {FINER} times as fine; "
                f"this mesh {stress_concentration(answer(pull)[0] / LARGEST_MEGAPASCAL):.3f}, a long strip of the same "
                f"width {heywood():.3f} (Howland), a hole in an endless plate 3 (Kirsch)",
            )
        )
        if ideal:
            by_fine = data.test_x.double() @ fine().T
            found.append(
                Measure(
                    name="error of the mesh", value=relative_error(answer(data.test_x), by_fine),
                    note=f"mean of ‖ŷ − y‖/‖y‖, targets against quadratic elements on a mesh {FINER} times as fine",
                )
            )  # fmt: skip
        return found

    def pictures(self, ideal: Predict, twin: Predict, data: Data) -> list[Picture]:
        """Return the plate under an even pull in x."""
        x = torch.zeros(1, Tractions.count)
        x[0, 0] = LARGEST_MEGAPASCAL
        return [plate().drawn("plate", f"A quarter of the plate, pulled by {LARGEST_MEGAPASCAL:g} MPa", ideal, twin, x)]

    def solver(self, x: Tensor) -> SolverAnswer:
        """Return the displacements by Cholesky factors."""
        return plate().solver(x)


_NEWTON = LARGEST_MEGAPASCAL * 1e6 * THICKNESS_METRE * SIDE_METRE / AROUND
"""what an edge's node carries, about: the scale of forces"""


def _symmetric(x: np.ndarray) -> np.ndarray:
    """Nodes on an axis stay on it."""
    return np.stack([x[0] < 1e-9, x[1] < 1e-9])


def _mesh(finer: int) -> Any:
    """Return triangles between the hole and the edges, on rays from the middle, smaller towards the hole."""
    skfem = _skfem()
    around, outwards = AROUND * finer, OUTWARDS * finer
    t = np.linspace(0, np.pi / 2, around + 1)
    ray = np.stack([np.cos(t), np.sin(t)])
    ray[0, -1] = ray[1, 0] = 0.0
    share = np.linspace(0, 1, outwards + 1)
    share = share * (0.35 + 0.65 * share)
    hole, edge = HOLE_METRE * ray, SIDE_METRE * ray / ray.max(0)
    points = hole[:, None] + share[:, None] * (edge - hole)[:, None]
    number = np.arange((outwards + 1) * (around + 1)).reshape(outwards + 1, around + 1)
    a, b, c, d = (part.reshape(-1) for part in (number[:-1, :-1], number[1:, :-1], number[1:, 1:], number[:-1, 1:]))
    return skfem.MeshTri(points.reshape(2, -1), np.concatenate([np.stack([a, b, c]), np.stack([a, c, d])], axis=1))


def _assembled(mesh: Any, element: Any) -> tuple[sparse.csr_array, np.ndarray]:
    """Return K in N/m and loads ``(total, 6)`` in N for 1 Pa of each pattern, by scikit-fem's own forms."""
    skfem = _skfem()
    from skfem.models.elasticity import lame_parameters, linear_elasticity  # noqa: PLC0415  (an extra)

    lam, mu = lame_parameters(YOUNG_PASCAL, POISSON_RATIO)
    basis = skfem.Basis(mesh, skfem.ElementVector(element))
    # Plane stress is plane strain with 2λμ/(λ + 2μ) in the place of λ.
    stiffness = THICKNESS_METRE * linear_elasticity(2 * lam * mu / (lam + 2 * mu), mu).assemble(basis)
    edges = skfem.FacetBasis(mesh, skfem.ElementVector(element), facets=mesh.boundary_facets())

    def load(pattern: int) -> np.ndarray:
        def work(v: Any, w: Any) -> Any:
            return THICKNESS_METRE * (Tractions.at(pattern, w.x) * np.asarray(v)).sum(0)

        found: np.ndarray = skfem.LinearForm(work).assemble(edges)
        return found

    return sparse.csr_array(stiffness), np.stack([load(k) for k in range(Tractions.count)], axis=1)


def _component(basis: Any, k: int) -> np.ndarray:
    """Return all degrees of freedom of displacements in one direction."""
    return np.concatenate([basis.nodal_dofs[k::2].reshape(-1), basis.facet_dofs[k::2].reshape(-1)])


def _skfem() -> Any:
    try:
        import skfem  # noqa: PLC0415  (an extra)
    except ImportError:
        raise UserError("the plate needs scikit-fem: pip install 'equilog[physics]'") from None
    return skfem
