"""Burgers' equation at rest: forcing to velocity, learnt beside the viscous answer that a chip holds."""

from __future__ import annotations

import math
from typing import Any, ClassVar

import torch
from torch import Tensor

from equilog.model import HybridDEQ
from equilog.priors import Field, Grid, Law, LinearLaw, poisson
from equilog.tasks.beside import curves_beside
from equilog.tasks.computed import Computed, seeded
from equilog.tasks.lawful import lawful_model
from equilog.tasks.measures import Measure, Picture, SolverAnswer, consistency, noisy_error
from equilog.tasks.physics.offers import WithSources, offered
from equilog.tasks.physics.steady_burgers_flow import (
    LARGEST_LINEAR,
    LENGTH_METRE,
    MODES,
    PATTERNS,
    POINTS,
    VISCOSITY,
    amplitudes,
    at_rest,
    centres,
    sines,
)
from equilog.tasks.solved import one_by_one
from equilog.tasks.task import Data, ModelConfig, Predict
from equilog.training.config import TrainConfig
from equilog.training.curriculum import ideal_then_twin

TRAIN_SAMPLES, TEST_SAMPLES = 2048, 256
_DATA_SEEDS = 1, 2
# Above every amplitude in m/s² of the data's four sines, and every velocity in m/s: a DAC plays no more, an ADC reads
# no more.
STRONGEST, FASTEST = (0.6, 2.0, 3.8, 6.6), 0.6
# Above every amplitude of −(u²/2)' of the data, 0.66 m/s².
SOURCES, MIXED, SOURCE_SIZE = 8, 32, 0.9
BIAS = 0.5


def forcings(samples: int, seed: int) -> Tensor:
    """Return random forcings in m/s² at the 32 points, float64, shape ``(samples, 32)``.

    Four sines with normal amplitudes in proportion to their number, scaled to a viscous answer, without the product,
    whose largest speed is evenly between 0.25 and 0.5 m/s.
    """
    generator = seeded(seed)
    k = torch.arange(1, PATTERNS + 1, dtype=torch.float64)
    c = k * torch.randn(samples, PATTERNS, dtype=torch.float64, generator=generator)
    size = LARGEST_LINEAR * (1 + torch.rand(samples, 1, dtype=torch.float64, generator=generator)) / 2
    modes = sines(centres(), PATTERNS).T
    viscous = (c / (VISCOSITY * (math.pi * k / LENGTH_METRE) ** 2)) @ modes
    return (size / viscous.abs().amax(1, keepdim=True) * c) @ modes


def velocities(f: Tensor) -> Tensor:
    """Return u in m/s at the 32 points for forcings ``(batch, 32)``, see :func:`~.steady_burgers_flow.at_rest`."""
    return at_rest(amplitudes(f, PATTERNS))[0] @ sines(centres(), MODES).T


def grid() -> Grid:
    """Return the 32 cells between two walls where u = 0."""
    return Grid((POINTS,), LENGTH_METRE / POINTS)


def viscous() -> LinearLaw:
    """Return what the chip holds: ``−ν u'' = f`` on the 32 cells, every row multiplied by the inverse: ``u = A⁻¹ f``.

    The same answers, by conductances from the drives instead of a chain of 32 neurons: the chain's margin is 0.0048,
    and a chip's errors are multiplied by its inverse (``benchmarks/inverted_law.py``).
    """
    with torch.device("cpu"):  # also where a model is only counted
        a = VISCOSITY * torch.from_numpy(poisson(grid()).a.toarray())
        fields = Field("velocity", (POINTS,), "m/s"), Field("forcing", (POINTS,), "m/s^2")
        eye = torch.eye(POINTS, dtype=torch.float64)
        return LinearLaw(eye, torch.linalg.inv(a), state=fields[0], sources=fields[1], unit="m/s")


def burgers_at_rest(strength: float) -> Law:
    """Return ``(u²/2)' − ν u'' − f = 0`` in central differences on the 32 cells, in units of `strength` m/s²."""
    cells = grid()

    def residual(u: Tensor, f: Tensor) -> Tensor:
        # Behind a wall u is what is before it, with the other sign.
        wide = torch.cat([-u[:, :1], u, -u[:, -1:]], dim=1)
        product = (wide[:, 2:].square() - wide[:, :-2].square()) / (4 * cells.steps[0])
        return product - VISCOSITY * cells.divergence(u) - f

    return Law(residual, Field("velocity", (POINTS,)), Field("forcing", (POINTS,)), scale=strength)


class BurgersSteady(Computed):
    """Forcing at 32 points between two walls, to the velocity at rest there."""

    name = "burgers-steady"
    summary = (
        "(u²/2)' − ν u'' = f on 1 m between walls where u = 0, 32 points, ν = 0.1 m²/s, f of four sines with viscous "
        "answers of up to 0.5 m/s; Newton's method on 32 sine modes"
    )
    split = "computed in float64 from seeds: 2048 training samples (seed 1) and 256 test samples (seed 2)"
    caveat = (
        "made up, without noise; the chip holds the inverse of −ν u'', as a chain of 32 neurons errs by 40 % on rram; "
        "sources in powers of f's amplitudes are formed digitally"
    )
    counts, seeds = (TRAIN_SAMPLES, TEST_SAMPLES), _DATA_SEEDS
    what = "Burgers' equation at rest by Newton's method"
    inputs, targets = staticmethod(forcings), staticmethod(velocities)
    model_defaults = ModelConfig(states=POINTS + 4, drives=PATTERNS + SOURCES + 4, margin=0.3)
    train_defaults = TrainConfig(
        stages=ideal_then_twin(120, share=0.25),
        batch_size=64,
        learning_rate=0.01,
        weight_decay=0.0,
    )
    verify_defaults: ClassVar[dict[str, Any]] = {
        "rest_samples": 20,
        "settle_samples": 1,
        "chain_samples": 0,
        "chips": 10,
    }

    def build(self, config: ModelConfig) -> HybridDEQ:
        """The viscous answer to f and to learnt sources in conductances; hidden states for the rest."""
        with torch.device("cpu"):
            strongest, onto = torch.tensor(STRONGEST), _onto()
            scale = torch.cat([strongest, torch.full((SOURCES,), SOURCE_SIZE)])
            patterns = torch.cat([sines(centres(), PATTERNS), sines(centres(), SOURCES)], dim=1)
        sources = WithSources(onto, strongest, MIXED, SOURCES, SOURCE_SIZE)
        model = lawful_model(
            viscous(), config, scale=FASTEST, input_scale=scale, patterns=patterns, damping=2.0, apart=True
        )
        return offered(model, sources, bias=BIAS)

    @torch.no_grad()
    def measures(self, predict: Predict, data: Data, *, ideal: bool) -> list[Measure]:
        """Say how well outputs obey the equation, how momentum balances, and what noise does."""
        x, y = data.test_x.double(), data.test_y.double()
        output = predict(x).double()
        law = burgers_at_rest(float(x.square().mean().sqrt()))
        residual = consistency(law, output, x, what="residual of Burgers' equation")
        own = _imbalance(y, x)
        return [
            Measure(
                name=residual.name, value=residual.value, reference=float(law.consistency(y, x).mean()),
                better="near the reference", note="central differences, rms in units of f's; their own error is the "
                "reference",
            ),
            Measure(
                name="imbalance of momentum", value=_imbalance(output, x), reference=own, better="near the reference",
                note="|Σf h − friction at both walls|/Σ|f|h, friction by u in the outer cells; the trusted answer's is "
                "the reference",
            ),
            noisy_error(predict, data),
        ]  # fmt: skip

    @torch.no_grad()
    def pictures(self, ideal: Predict, twin: Predict, data: Data) -> list[Picture]:
        """Draw three test samples."""
        x, y = data.test_x[:3].double(), data.test_y.double()
        trusted, of_ideal, of_twin = (
            {f"u, sample {i + 1}": u[i] for i in range(3)} for u in (y, ideal(x).double(), twin(x).double())
        )
        caption = "Velocities between two walls under three forcings of the test set; trusted: Newton's method."
        return [
            curves_beside(
                "burgers-steady", "At rest", caption, centres(), trusted, of_ideal, of_twin,
                across="x, metre", up="m/s",
            )
        ]  # fmt: skip

    def solver(self, x: Tensor) -> SolverAnswer:
        """Solve each sample; operations: 4 · 32³ + 4 · 32² for the Jacobian, 32³/3 for its factors, a Newton step."""
        steps = [at_rest(amplitudes(f[None], PATTERNS))[1] for f in x[:16]]
        each = 4 * MODES**3 + 4 * MODES**2 + MODES**3 / 3
        return one_by_one("Newton, 32 sine modes, 1e-12", velocities, x, each * sum(steps) / len(steps))


def _onto() -> Tensor:
    """What takes 32 values to the amplitudes of four sines."""
    return (2 / POINTS) * sines(centres(), PATTERNS).T


def _imbalance(u: Tensor, f: Tensor) -> float:
    """Momentum put in by f that does not leave through the walls, where u² is zero: ν u' there, half a cell away."""
    h = LENGTH_METRE / POINTS
    friction = VISCOSITY * (u[:, 0] + u[:, -1]) / (h / 2)
    return float(((f.sum(1) * h - friction).abs() / (f.abs().sum(1) * h)).mean())
