"""Darcy flow: a porous medium to the pressure in it, learnt beside a network of resistors that is the mean medium."""

from __future__ import annotations

from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from equilog.model import HybridDEQ
from equilog.priors import LinearLaw, darcy_of_permeability
from equilog.priors import darcy as darcy_law
from equilog.tasks.beside import fields_beside
from equilog.tasks.computed import Computed
from equilog.tasks.lawful import lawful_model
from equilog.tasks.measures import Measure, Picture, SolverAnswer, consistency, noisy_error
from equilog.tasks.physics.media import DEVIATION, FINER, SIDE, grid, media, pressure, pressures, waves
from equilog.tasks.physics.offers import WithSources, offered
from equilog.tasks.solved import one_by_one
from equilog.tasks.task import Data, ModelConfig, Predict
from equilog.training.config import TrainConfig
from equilog.training.curriculum import ideal_then_twin

TRAIN_SAMPLES, TEST_SAMPLES = 2048, 256
_DATA_SEEDS = 1, 2
CELLS = SIDE**2
AMPLITUDES = 24
MIXED, SOURCE_SIZE = 48, 4.0  # 1/s: above what 99.9 % of the data need
HIGHEST = 0.11  # Pa: above every pressure of the data
LARGEST_AMPLITUDE = 4 * DEVIATION
BIAS = 0.5
DAMPING = 2.0


class Logarithm(nn.Module):
    """``a ↦ ln a``, as it varies about the mean medium: of a product of factors the sum is what is normal."""

    def forward(self, a: Tensor) -> Tensor:
        """Return shape of a, permeabilities above zero; smaller ones, as noise may make, count as 1e-3."""
        return a.clamp(min=1e-3).log()


def mean_medium() -> LinearLaw:
    """Return what the chip holds: ``−∇²u = 1 + q`` on the 8 × 8 cells, a medium of 1 m²/(Pa·s) everywhere."""
    with torch.device("cpu"):  # also where a model is only counted
        law = darcy_law(grid(), torch.ones(SIDE, SIDE, dtype=torch.float64))
        constant = torch.ones(CELLS, dtype=torch.float64)
        return LinearLaw(law.a, law.b, constant, state=law.state, sources=law.sources, unit=law.unit)


class Darcy(Computed):
    """Permeability of 8 × 8 cells to the pressure in them."""

    name = "darcy"
    summary = (
        "−∇·(a∇u) = 1 on the unit square, u = 0 around it, 8 × 8 cells; ln a smooth and random, rms 0.4, 24 waves; "
        "finite volumes on 32 × 32 cells"
    )
    split = "computed in float64 from seeds: 2048 training samples (seed 1) and 256 test samples (seed 2)"
    caveat = "made up, without noise; the logarithm and sources in powers of its waves are formed digitally"
    counts, seeds = (TRAIN_SAMPLES, TEST_SAMPLES), _DATA_SEEDS
    what = "pressures in log-normal media, 32 × 32 finite volumes"
    inputs, targets = staticmethod(media), staticmethod(pressures)
    model_defaults = ModelConfig(states=CELLS + 4, drives=AMPLITUDES + CELLS + 4, margin=0.3)
    train_defaults = TrainConfig(
        stages=ideal_then_twin(60, share=0.25),
        batch_size=64,
        learning_rate=0.01,
        weight_decay=0.0,
    )
    verify_defaults: ClassVar[dict[str, Any]] = {
        "rest_samples": 10,
        "settle_samples": 1,
        "chain_samples": 0,
        "chips": 10,
    }

    def build(self, config: ModelConfig) -> HybridDEQ:
        """The mean medium in conductances, a learnt source in every cell; hidden states for the rest."""
        with torch.device("cpu"):
            onto = torch.linalg.pinv(waves(SIDE).flatten(1)[1:].T)
            strongest = torch.full((AMPLITUDES,), LARGEST_AMPLITUDE)
            scale = torch.cat([strongest, torch.full((CELLS,), SOURCE_SIZE)])
            # Amplitudes are drives for hidden states; no law has them as they are.
            patterns = nn.functional.pad(torch.eye(CELLS, dtype=torch.float64), (AMPLITUDES, 0))
        sources = WithSources(onto, strongest, MIXED, CELLS, SOURCE_SIZE)
        model = lawful_model(
            mean_medium(), config, scale=HIGHEST, input_scale=scale, patterns=patterns, damping=DAMPING, apart=True
        )
        return offered(model, Logarithm(), sources, bias=BIAS)

    @torch.no_grad()
    def measures(self, predict: Predict, data: Data, *, ideal: bool) -> list[Measure]:
        """Say how well outputs obey the law in their own medium, and whether as much flows out as comes in."""
        a, y = data.test_x.double(), data.test_y.double()
        output = predict(a).double()
        law = darcy_of_permeability(grid(), 1.0)
        residual = consistency(law, output, a, what="residual of Darcy's law")
        return [
            Measure(
                name=residual.name, value=residual.value, reference=float(law.consistency(y, a).mean()),
                better="near the reference", note="8 × 8 finite volumes in the sample's own medium, rms in units of "
                "the source; their own error is the reference",
            ),
            Measure(
                name="imbalance of flow", value=float(imbalance(output, a).mean()),
                reference=float(imbalance(y, a).mean()), better="near the reference",
                note="|outflow − inflow|/inflow, outflow by the pressure in the two outer rows of cells; by the "
                "trusted pressure it is the reference",
            ),
            noisy_error(predict, data),
        ]  # fmt: skip

    @torch.no_grad()
    def pictures(self, ideal: Predict, twin: Predict, data: Data) -> list[Picture]:
        """Draw the pressure in the test set's least uniform medium."""
        spread = data.test_x.log().flatten(1).std(1)
        one = int(spread.argmax())
        a, y = data.test_x[one : one + 1], data.test_y[one]
        return [
            fields_beside(
                "darcy", "Pressure", "In the test medium that varies most; trusted: 32 × 32 finite volumes.",
                y, ideal(a)[0], twin(a)[0], unit="Pa", extent=(0, 1, 0, 1),
            )
        ]  # fmt: skip

    def solver(self, x: Tensor) -> SolverAnswer:
        """Factor each sample's matrix; operations: banded Cholesky, n (w² + 3w)/2 + 2nw with w = 32, n = w².

        Golub & Van Loan, *Matrix Computations*, 4th ed. 2013, §4.3.5. SciPy's SuperLU reorders, and needs fewer.
        """
        w = FINER * SIDE
        operations = w**2 * ((w**2 + 3 * w) / 2 + 2 * w)

        def solve(a: Tensor) -> Tensor:
            return torch.stack([pressure(one) for one in a])

        return one_by_one(f"finite volumes, {w} × {w}, sparse factors", solve, x, operations)


def imbalance(u: Tensor, a: Tensor) -> Tensor:
    """Return ``|outflow − 1|`` of every sample: what leaves through the four sides, of the 1 m²/s that comes in.

    At a side ``−∂u/∂n = (9 u₁ − u₂)/3h`` of the two cells before it, a parabola that is zero there, and ln a is a
    straight line: both to second order.
    """
    out = torch.zeros(len(u), dtype=u.dtype)
    for turned in range(4):
        v, b = torch.rot90(u, turned, (1, 2)), torch.rot90(a, turned, (1, 2))
        at_side = (b[:, 0] ** 3 / b[:, 1]).sqrt()
        out = out + (at_side * (9 * v[:, 0] - v[:, 1]) / 3).sum(1)
    return (out - 1).abs()
