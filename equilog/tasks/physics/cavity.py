"""The lid-driven cavity as an operator to learn: from the Reynolds number to the stream function.

The circuit holds ``−∇²ψ = ω`` on 16 × 16 inner nodes: a neuron a node, resistors between neighbours, ψ = 0 at walls.
What drives it are patterns of vorticity, those of the training flows' first singular vectors; how much of each belongs
to a Reynolds number is what is learnt, as polynomials in its logarithm.
"""

from __future__ import annotations

import math
import time
from functools import cache
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch
from scipy.sparse.linalg import splu
from torch import Tensor, nn

from equilog.model import HybridDEQ
from equilog.names import UserError
from equilog.objective import Objective, Regression
from equilog.priors import LinearLaw, cavity, stencil_jacobian
from equilog.tasks.beside import curves_beside, fields_beside
from equilog.tasks.computed import refuse_folder
from equilog.tasks.lawful import lawful_model
from equilog.tasks.measures import Measure, Picture, SolverAnswer, noisy_error
from equilog.tasks.physics import ghia
from equilog.tasks.physics.cavity_flows import GRIDS, HELD_OUT, LINE, NODES, at_nodes, extrapolated, flows, from_rest
from equilog.tasks.physics.cavity_velocity import Velocity, centre_lines
from equilog.tasks.physics.sparse_lu import multiplications
from equilog.tasks.physics.square import square_poisson
from equilog.tasks.task import Data, ModelConfig, Predict, Task
from equilog.training.config import TrainConfig
from equilog.training.curriculum import ideal

_FULL, _HEADROOM = 0.8, 1.1
_STRIDE = 3.0
_WIDEST = 1.08
"""input within which all flows lie"""
_MIDDLE, _HALF = math.log(50 * 1000) / 2, math.log(1000 / 50) / 2


def input_of(reynolds: Tensor) -> Tensor:
    """Return what the model is given: log Re, −1 at 50 and 1 at 1000; shape ``(samples, 1)``."""
    return ((reynolds.double().log() - _MIDDLE) / _HALF).reshape(-1, 1)


def reynolds_of(x: Tensor) -> Tensor:
    """Return Reynolds numbers of inputs ``(samples, 1)``, shape ``(samples,)``."""
    return (x.double().reshape(-1) * _HALF + _MIDDLE).exp()


@cache
def law() -> LinearLaw:
    """Return −∇²ψ = ω at the nodes, in lid speeds and sides."""
    return square_poisson(NODES, name="stream function", source="vorticity", unit="")


def vorticity_patterns(psi: Tensor, count: int) -> Tensor:
    """Return ``−∇²_h`` of the first singular vectors of ψ, each as large as 0.8 of a full drive must bring it in.

    Vectors of ψ rather than of ω: their answers are orthogonal, so that amplitudes are learnt one by one, and no others
    are nearer to the flows in ψ (proper orthogonal decomposition: Sirovich, *Q. Appl. Math.* 45 (1987) 561).

    Args:
        psi: of some flows, ``(samples, n, n)``.
        count: of patterns, k.

    Returns:
        shape ``(n², k)``.

    Raises:
        UserError: for more patterns than there are flows.
    """
    if count > len(psi):
        raise UserError(f"model.drives = {count}: {len(psi)} flows to train on have as many patterns; give no more")
    flat = psi.double().flatten(1).numpy()
    modes = np.linalg.svd(flat, full_matrices=False)[2][:count].T
    return torch.from_numpy(law().a @ (modes * np.abs(flat @ modes).max(0) / _FULL))


class Polynomials(nn.Module):
    """``a = 3 (E [T_1(x/c) … T_8(x/c)] + e)`` of one input x: Chebyshev's polynomials, E and e learnt from 0.

    The factor of 3 lets a learning rate that suits a crossbar without the law reach amplitudes in as many steps.

    Args:
        outputs: numbers in a.
        degree: of the highest.
    """

    def __init__(self, outputs: int, degree: int = 8) -> None:
        super().__init__()
        self.degree = degree
        self.linear = nn.Linear(degree, outputs)
        nn.init.zeros_(self.linear.weight)
        nn.init.zeros_(self.linear.bias)

    def forward(self, x: Tensor) -> Tensor:
        """Return shape ``(batch, outputs)`` for ``(batch, 1)``."""
        x = x / _WIDEST
        found = [torch.ones_like(x), x]
        while len(found) <= self.degree:
            found.append(2 * x * found[-1] - found[-2])
        amplitudes: Tensor = _STRIDE * self.linear(torch.cat(found[1:], dim=1))
        return amplitudes


class Cavity(Task):
    """Reynolds number in, stream function out; velocities from it are free of sources whatever the circuit does."""

    name = "cavity"
    summary = (
        "steady flow in a square cavity with a moving lid: from log Re, 50 to 1000, to the stream function at 16×16 "
        "inner nodes"
    )
    split = (
        "computed by Newton's method on grids of 52² and 69² points, extrapolated: 24 training flows, Re even in the "
        "logarithm from 45 to 1100; 12 test flows at other Re, of which 100, 400 and 1000 come first"
    )
    caveat = (
        "one parameter, so a table would do as well; a spline on 16×16 nodes bends more slowly than the layers at "
        "Re = 1000, where velocities are some percent off even for exact ψ"
    )
    model_defaults = ModelConfig(states=NODES**2, drives=10)
    train_defaults = TrainConfig(stages=ideal(250), batch_size=8, learning_rate=0.01, weight_decay=0.0)
    verify_defaults: ClassVar[dict[str, Any]] = {"rest_samples": 3, "settle_samples": 1, "chain_samples": 0}

    def load(self, folder: Path | None = None) -> Data:
        """Return the computed flows; `folder` is refused. The first time takes some 20 seconds."""
        refuse_folder(self.name, folder)
        train, test = flows()
        x, y = (input_of(train.reynolds), input_of(test.reynolds)), (train.psi, test.psi)
        return Data(x[0].float(), y[0].float(), x[1].float(), y[1].float(), "steady cavity flows by Newton's method")

    def objective(self, data: Data, config: TrainConfig) -> Objective:
        """Return squared error over the training targets' mean square; the score is the relative L2 error."""
        return Regression.scaled_by(data.train_y)

    def build(self, config: ModelConfig) -> HybridDEQ:
        """Polynomials of the input for amplitudes, the law at rest, ψ as it is read."""
        with torch.device("cpu"):
            psi = flows()[0].psi
            mixed, largest = vorticity_patterns(psi, config.drives), float(psi.abs().max())
        model = lawful_model(
            law(), config, scale=_HEADROOM * largest, input_scale=torch.ones(1), patterns=torch.zeros(NODES**2, 0),
            mixed=mixed, mixture=Polynomials(config.drives), apart=True,
        )  # fmt: skip
        if config.prior:
            # Read as it is: 65,000 weights would otherwise be fitted to 24 flows.
            model.readout.requires_grad_(False)
        return model

    @torch.no_grad()
    def measures(self, predict: Predict, data: Data, *, ideal: bool) -> list[Measure]:
        """Return velocities beside published and trusted ones, the largest divergence, and errors from noisy inputs."""
        trusted = flows()[1]
        psi = predict(input_of(torch.tensor(HELD_OUT)))
        found = []
        for name, table, line in zip("uv", (ghia.U_AT_X_HALF, ghia.V_AT_Y_HALF), (trusted.u, trusted.v)):
            own = np.interp(table[:, 0], LINE, line[0].numpy())
            got = centre_lines(psi[:1], table[:, 0])["uv".index(name)][0]
            found.append(
                Measure(
                    name=f"largest deviation of {name} from Ghia, Re 100",
                    value=100 * float(np.abs(got - table[:, 1]).max()),
                    reference=100 * float(np.abs(own - table[:, 1]).max()),
                    unit="% of the lid speed",
                    note="17 published points on the centre line; trusted: the deviation of the solver",
                )
            )
        lines = centre_lines(psi, LINE)
        for k, re in enumerate(HELD_OUT[1:], 1):
            gap = max(float(np.abs(got[k] - own[k].numpy()).max()) for got, own in zip(lines, (trusted.u, trusted.v)))
            found.append(
                Measure(
                    name=f"largest deviation of u and v, Re {re:g}",
                    value=100 * gap,
                    unit="% of the lid speed",
                    note="on both centre lines, from the solver's fine grids",
                )
            )
        out = Velocity(predict(data.test_x.double()).numpy()).sources()
        found.append(
            Measure(
                name="largest divergence",
                value=float(out.max()),
                unit="U/L",
                note="net flow out of 68×68 squares, per area, from u and v at their faces",
            )
        )
        return [*found, noisy_error(predict, data)]

    @torch.no_grad()
    def pictures(self, ideal: Predict, twin: Predict, data: Data) -> list[Picture]:
        """Return ψ, and velocities on centre lines: at Re 100 beside Ghia's, at 400 and 1000 beside the solver's."""
        trusted, x = flows()[1], input_of(torch.tensor(HELD_OUT))
        psi = {"ideal": ideal(x), "twin": twin(x)}
        found = [
            fields_beside(
                "psi", "Stream function", "At Re 1000, by nodes; the lid is above.",
                trusted.psi[2], psi["ideal"][2], psi["twin"][2], unit="U·L",
            )
        ]  # fmt: skip
        for k, (name, along, table) in enumerate((("u", "y", ghia.U_AT_X_HALF), ("v", "x", ghia.V_AT_Y_HALF))):
            of = {who: {name: torch.from_numpy(centre_lines(p[:1], table[:, 0])[k][0])} for who, p in psi.items()}
            found.append(
                curves_beside(
                    f"ghia-{name}", f"{name} through the centre, Re 100",
                    "Dots: Ghia, Ghia & Shin 1982. Curves join the same 17 places.",
                    torch.from_numpy(table[:, 0]), {name: torch.from_numpy(table[:, 1])}, of["ideal"], of["twin"],
                    across=f"{along}, sides", up="lid speeds", dots=True,
                )
            )  # fmt: skip
        lines = {who: centre_lines(p, LINE) for who, p in psi.items()}
        names = [(f"{name}, Re {HELD_OUT[k]:g}", at, k) for k in (1, 2) for at, name in enumerate("uv")]
        found.append(
            curves_beside(
                "centre-lines", "Velocities through the centre, Re 400 and 1000",
                "u over y at x = ½, v over x at y = ½.", torch.from_numpy(LINE),
                {name: (trusted.u, trusted.v)[at][k] for name, at, k in names},
                *({name: torch.from_numpy(lines[who][at][k]) for name, at, k in names} for who in lines),
                across="y or x, sides", up="lid speeds",
            )
        )  # fmt: skip
        return found

    def solver(self, x: Tensor) -> SolverAnswer:
        """Return what Newton's method finds from rest on both grids, extrapolated; Jacobians are not counted."""
        began, y, steps = time.perf_counter(), [], [0, 0]
        for re in reynolds_of(x).tolist():
            both = [from_rest(re, n) for n in GRIDS]
            y.append(torch.from_numpy(extrapolated(*(at_nodes(flow) for flow, _ in both))))
            steps = [total + own for total, (_, own) in zip(steps, both)]
        second, operations = (time.perf_counter() - began) / len(x), 0.0
        for total, n, (flow, _) in zip(steps, GRIDS, both):
            factors = splu(stencil_jacobian(cavity(re, n), flow.state, torch.ones(n - 2, dtype=torch.float64)))
            operations += total / len(x) * sum(multiplications(factors))
        name = f"Newton, sparse LU, on {GRIDS[0]}² and {GRIDS[1]}² points"
        return SolverAnswer(name, torch.stack(y), second, operations)
