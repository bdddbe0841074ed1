"""Operating points of amplifiers whose resistors and supplies are drawn at random: one topology, ten nodes."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING, Any, ClassVar

import torch
from torch import Tensor, nn

from equilog.circuit.ngspice import NgspiceError, NgspiceMissingError
from equilog.model import HybridDEQ
from equilog.objective import Objective, Regression
from equilog.priors import Bipolar, Diode, Field, Law, LinearLaw, Network, Resistor, VoltageSource, linearised
from equilog.tasks.computed import Computed, uniform
from equilog.tasks.lawful import lawful_model
from equilog.tasks.measures import Measure, Picture, SolverAnswer, noisy_error, relative_error
from equilog.tasks.physics.kept import kept
from equilog.tasks.physics.simulated import operating_point
from equilog.tasks.solved import one_by_one
from equilog.tasks.task import Data, ModelConfig, Predict
from equilog.training.config import TrainConfig
from equilog.training.curriculum import ideal_then_twin

if TYPE_CHECKING:
    from matplotlib.figure import Figure

FACTOR = 1.5
"""A resistance lies between its nominal one over this and times this, evenly in the logarithm."""
SUPPLY_VOLT, SUPPLY_RANGE_VOLT = 9.0, 1.0
INPUT_VOLT, INPUT_RANGE_VOLT = 1.0, 0.5
TRAIN_SAMPLES, TEST_SAMPLES = 4096, 256
STEEPER = 3.0
"""how much larger than usual mixtures of inputs begin"""
NEAR_VOLT, STEEP_VOLT, NEWTON_STEPS = 1e-11, 0.2, 200
COMPARED = 4
"""operating points that the solver compares with ngspice's"""
CUT_SETS = {"c": ("e",), "m": ("f", "d")}
"""Whose laws are added to a node's: the currents between them, steep in their voltages, drop out. Kirchhoff's law holds
for any set of nodes; with single ones no scale of states that was tried makes the linear part monotone."""
HEADROOM = {"b": 1.0, "m": 4.0, "c": 3.0, "e": 1.0, "f": 3.0, "d": 4.0, "g": 4.0, "h": 4.0}
"""Units of states in units of their reach: those behind the first stage's gain are larger, for the margin; 0.09 with
these, 0.004 without."""
_DATA_SEEDS, _SCALE_SEED = (41, 42), 43


@kept
def nominal() -> Network:
    """Return the network: a stage with emitter degeneration, an emitter follower, a diode clamp at its output.

    Two voltage sources, eleven resistors, two npn transistors, two diodes. Sources hold nodes "cc" and "s"; the eight
    others follow from Kirchhoff's law.
    """
    return Network(
        [
            VoltageSource("cc", "0", SUPPLY_VOLT),
            VoltageSource("s", "0", INPUT_VOLT),
            Resistor("cc", "b", 47e3),
            Resistor("b", "0", 15e3),
            Resistor("s", "b", 22e3),
            Resistor("cc", "m", 1.5e3),
            Resistor("m", "c", 2.2e3),
            Bipolar("c", "b", "e", 1e-15, 120.0, 2.0),
            Resistor("e", "0", 1e3),
            Bipolar("m", "c", "f", 1e-15, 80.0, 2.0),
            Resistor("f", "0", 2.2e3),
            Diode("f", "d", 1e-14, 1.2),
            Resistor("d", "0", 3.3e3),
            Resistor("d", "g", 2.2e3),
            Diode("g", "h", 1e-12, 1.5),
            Resistor("g", "0", 10e3),
            Resistor("h", "0", 1e3),
        ]
    )  # fmt: skip


def free_nodes() -> list[int]:
    """Return places in the network's nodes of those that no source holds."""
    held = {e.plus for e in nominal().elements if isinstance(e, VoltageSource)}
    return [k for k, name in enumerate(nominal().nodes) if name not in held]


def limits() -> Tensor:
    """Return the largest input of each, ``(13,)``: logarithms of resistances over nominal ones, then volts."""
    resistors = sum(isinstance(e, Resistor) for e in nominal().elements)
    return torch.tensor([math.log(FACTOR)] * resistors + [SUPPLY_RANGE_VOLT, INPUT_RANGE_VOLT], dtype=torch.float64)


def inputs(samples: int, seed: int) -> Tensor:
    """Return ``ln(R / R_nominal)`` of all resistors, then what both sources differ by in volts, ``(samples, 13)``."""
    return uniform(samples, len(limits()), seed) * limits()


def network_of(x: Tensor) -> Network:
    """Return the network of one sample of inputs, ``(13,)``."""
    values = iter(x.double().tolist())
    elements = list(nominal().elements)
    # In this order: resistors come first among the inputs.
    elements = [replace(e, ohm=e.ohm * math.exp(next(values))) if isinstance(e, Resistor) else e for e in elements]
    elements = [replace(e, volt=e.volt + next(values)) if isinstance(e, VoltageSource) else e for e in elements]
    return Network(elements)


@kept
def law() -> Law:
    """Return Kirchhoff's current law at the eight free nodes, a function of their voltages and of the thirteen inputs.

    The residual of :meth:`equilog.priors.Network.law`, whose conductances are inputs here; in amperes.
    """
    network = nominal()
    whole, free = network.law(), free_nodes()
    held = [k for k in range(len(network.nodes)) if k not in free]
    fixed = {name: torch.as_tensor(constant.value, dtype=torch.float64) for name, constant in whole.constants.items()}
    siemens, volt = fixed.pop("siemens"), fixed["volt"]
    count = len(siemens)
    place = torch.tensor(held + free).argsort()

    def residual(v: Tensor, x: Tensor) -> Tensor:
        # Currents of sources enter at their own nodes alone, whose equations are left out.
        branches = x.new_zeros(len(x), len(held))
        nodes = torch.cat([volt.to(x) + x[:, count:], v], dim=1)[:, place]
        constants = {name: value.to(x) for name, value in fixed.items()}
        conductances = siemens.to(x) * torch.exp(-x[:, :count])
        r = whole.residual(torch.cat([nodes, branches], dim=1), siemens=conductances, **constants)
        return r[:, free]

    return Law(residual, Field("voltage", (len(free),)), Field("value", (count + len(held),)), scale=1e-3)


def operating_points(x: Tensor, steps: list[int] | None = None) -> Tensor:
    """Return voltages of the free nodes, ``(samples, 8)``, float64, for inputs ``(samples, 13)``.

    Newton's method on all samples at once from the nominal point, no voltage moving by more than 0.2 V in a step, until
    none moves by more than 1e-11 V: the answers of :meth:`equilog.priors.Network.operating_point`.

    Args:
        x: inputs.
        steps: the number of steps is appended to it.

    Raises:
        ValueError: naming the sample, if that does not come in 200 steps.
    """
    x, of = x.detach().double(), law()
    v = _at_rest().expand(len(x), -1)
    jacobian: Callable[[Tensor, Tensor], Tensor] = torch.func.vmap(
        torch.func.jacrev(lambda v, x: of.residual(v[None], x[None])[0])
    )
    for count in range(1, NEWTON_STEPS + 1):
        step = torch.linalg.solve(jacobian(v, x), of.residual(v, x))
        v = v - step.clamp(-STEEP_VOLT, STEEP_VOLT)
        if float(step.abs().max()) < NEAR_VOLT:
            if steps is not None:
                steps.append(count)
            return v
    raise ValueError(f"sample {int(step.abs().max(1).values.argmax())}: no operating point in {NEWTON_STEPS} steps")


@kept
def _at_rest() -> Tensor:
    return nominal().operating_point()[0][free_nodes()]


@kept
def linear_part() -> LinearLaw:
    """Return the law at the nominal point, of what voltages differ by: ``A δv = B x``, in amperes and volts.

    The laws of both collectors' nodes are those of cut sets of :data:`CUT_SETS` instead.
    """
    at = linearised(law(), _at_rest(), torch.zeros(len(limits()), dtype=torch.float64))
    names = [nominal().nodes[k] for k in free_nodes()]
    cut = torch.eye(len(names), dtype=torch.float64)
    for node, others in CUT_SETS.items():
        cut[names.index(node), [names.index(other) for other in others]] = 1.0
    sums = cut.numpy()
    return LinearLaw(sums @ at.a, sums @ at.b, state=at.state, sources=at.sources, scale=at.scale)


@kept
def state_scale() -> Tensor:
    """Return what a state's 1 is in volts, ``(8,)``: :data:`HEADROOM` times what 512 drawn networks reach at most."""
    reach = (operating_points(inputs(512, _SCALE_SEED)) - _at_rest()).abs().max(0).values
    return reach * torch.tensor([HEADROOM[nominal().nodes[k]] for k in free_nodes()], dtype=torch.float64)


class DcCircuits(Computed):
    """Node voltages of an amplifier from the values of its parts."""

    name = "dc-circuits"
    summary = (
        "operating points of a two-stage amplifier (10 nodes, 11 resistors, 2 transistors, 2 diodes) whose resistances "
        "vary by a factor of 1.5 either way and whose two sources vary by 1 V and 0.5 V; Kirchhoff's law, linearised "
        "at the nominal point, in fixed conductances"
    )
    split = "computed in float64 from seeds: 4,096 training samples (seed 41) and 256 test samples (seed 42)"
    caveat = "one topology and one set of transistors and diodes; what is new in a test sample are its values"
    counts, seeds = (TRAIN_SAMPLES, TEST_SAMPLES), _DATA_SEEDS
    what = "Newton's method on Kirchhoff's current law"
    inputs, targets = staticmethod(inputs), staticmethod(operating_points)
    model_defaults = ModelConfig(states=8 + 16, drives=13 + 24, margin=0.3)
    train_defaults = TrainConfig(
        stages=ideal_then_twin(48, share=0.25),
        batch_size=64, learning_rate=0.02, weight_decay=0.0,
    )  # fmt: skip
    verify_defaults: ClassVar[dict[str, Any]] = {"rest_samples": 50, "settle_samples": 1, "chain_samples": 0}

    def objective(self, data: Data, config: TrainConfig) -> Objective:
        """Return squared error over the training targets' variance; the score is the relative L2 error of voltages."""
        return Regression(float(data.train_y.double().var(0).mean()))

    def build(self, config: ModelConfig) -> HybridDEQ:
        """Values and mixtures of them to drives, the linear network in conductances, voltages out."""
        n, learnt = len(_at_rest()), config.drives - len(limits())
        return lawful_model(
            linear_part(), config, scale=state_scale(), input_scale=limits().float(), apart=True,
            readout=(torch.eye(n, dtype=torch.float64), _at_rest()), mixture=_mixture(learnt) if learnt > 0 else None,
        )  # fmt: skip

    @torch.no_grad()
    def measures(self, predict: Predict, data: Data, *, ideal: bool) -> list[Measure]:
        """Return errors in volts, currents that are missing at nodes, and the error when values are noisy."""
        x, y = data.test_x.double(), data.test_y.double()
        v = predict(x)
        found = [
            Measure(name="rms error", value=float((v - y).square().mean().sqrt()), unit="V"),
            Measure(name="largest error", value=float((v - y).abs().max()), unit="V"),
            Measure(
                name="currents that do not sum to zero",
                value=float(law().consistency(v, x).median()),
                unit="mA",
                note="rms over nodes of each sample's own network at the model's voltages, median over samples: a "
                "junction's current grows tenfold in 60 mV, and with it the mean with the worst sample",
            ),
            noisy_error(predict, data),
        ]
        if ideal:
            alone = linear_part().solve(x) + _at_rest()
            found.append(
                Measure(
                    name="error of the law alone", value=relative_error(alone, data.test_y),
                    note="mean of ‖ŷ − y‖/‖y‖; linearised at the nominal point, nothing learnt",
                )
            )  # fmt: skip
        return found

    @torch.no_grad()
    def pictures(self, ideal: Predict, twin: Predict, data: Data) -> list[Picture]:
        """Return voltages of every node on test samples, against the trusted ones."""
        x, y = data.test_x, data.test_y
        return [_scatter(y.double(), ideal(x), twin(x))]

    def solver(self, x: Tensor) -> SolverAnswer:
        """Return the answers of Newton's method, one after the other; its name says how far ngspice is from them.

        A step costs a factorisation and two triangular solves, ``n³/3 + n²`` multiply–accumulates; exponentials and
        the Jacobian are not counted.
        """
        steps: list[int] = []
        answer = one_by_one("Newton's method", lambda one: operating_points(one, steps), x, 0.0)
        n, mean = len(_at_rest()), sum(steps) / len(steps)
        name = f"Newton's method to 1e-11 V{_beside_ngspice(x[:COMPARED], answer.y)}"
        return replace(answer, name=name, operations_per_sample=mean * (n**3 / 3 + n**2))


def _mixture(learnt: int) -> nn.Linear:
    """Return mixtures of inputs that begin large: hidden states are curved from the start, as what is learnt is."""
    layer = nn.Linear(len(limits()), learnt)
    with torch.no_grad():
        layer.weight.mul_(STEEPER)
        layer.bias.mul_(STEEPER)
    return layer


def _beside_ngspice(x: Tensor, v: Tensor) -> str:
    try:
        trusted = torch.stack([operating_point(network_of(sample))[free_nodes()] for sample in x])
    except (NgspiceMissingError, NgspiceError):
        return ""
    return f", within {float((v[: len(x)] - trusted).abs().max()):.0e} V of ngspice on {len(x)} samples"


def _scatter(trusted: Tensor, ideal: Tensor, twin: Tensor) -> Picture:
    errors = {"on the chip": 1e3 * (twin - trusted), "ideal": 1e3 * (ideal - trusted)}
    # A chip that is far off does not hide how good the ideal model is.
    sizes = {name: max(float(e.abs().max()), 1e-6) for name, e in errors.items()}

    def draw(figure: Figure) -> None:
        from equilog.drawing.style import ANALOG, SIMULATOR  # noqa: PLC0415  # an optional extra

        colors = {"on the chip": ANALOG, "ideal": SIMULATOR}
        panels = figure.subplots(1, 2, sharex=True)
        for axes, (name, error) in zip(panels, errors.items()):
            axes.plot(trusted.flatten(), error.flatten(), ".", color=colors[name], markersize=2.0, alpha=0.6)
            axes.set_ylim(-1.1 * sizes[name], 1.1 * sizes[name])
            axes.set_title(name)
            axes.set_xlabel("trusted voltage, V")
        panels[0].set_ylabel("error, mV")

    return Picture(
        key="node-voltages", title="Errors of node voltages", size=(6.6, 2.8), draw=draw,
        caption="All free nodes of all test samples, a dot each; the panels have scales of their own.",
    )  # fmt: skip
