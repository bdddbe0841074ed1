"""Models that hold a linear law in fixed conductances, and learn what the law does not say."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from equilog.cells import CircuitCell
from equilog.equilibrium import Chord, EquilibriumLayer
from equilog.model import HybridDEQ
from equilog.names import UserError
from equilog.priors import LinearLaw
from equilog.tasks.task import ModelConfig


class Drives(nn.Module):
    """``d = clip([x S, E x S + e])``: scaled inputs as they are, then learnt mixtures of them, within the DACs' ±1.

    Args:
        scale: S, what an input is multiplied by, shape ``(inputs,)``.
        passed: which inputs are drives as they are, the first so many.
        learnt: how many mixtures follow.
        mixture: any module from scaled inputs to ``(batch, learnt)`` in place of ``E x + e``.
    """

    scale: Tensor

    def __init__(self, scale: Tensor, passed: int, learnt: int, mixture: nn.Module | None = None) -> None:
        super().__init__()
        self.register_buffer("scale", scale.detach().clone())
        self.passed = passed
        self.mixture = (nn.Linear(len(scale), learnt) if mixture is None else mixture) if learnt else None

    def forward(self, x: Tensor) -> Tensor:
        """Return drives of shape ``(batch, passed + learnt)`` for inputs ``(batch, …)``, flattened."""
        x = x.flatten(1) * self.scale
        own = x[:, : self.passed]
        return nn.functional.hardtanh(own if self.mixture is None else torch.cat([own, self.mixture(x)], dim=1))


class Readout(nn.Module):
    """``y = R z + r``, reshaped to one sample's targets.

    Args:
        states: n.
        shape: of one sample's targets.
        start: R and r to begin with, of the first so many states, shapes ``(outputs, k)`` and ``(outputs,)``;
            the others begin at zero. Random unless given.
    """

    def __init__(self, states: int, shape: tuple[int, ...], start: tuple[Tensor, Tensor] | None = None) -> None:
        super().__init__()
        self.shape = shape
        self.linear = nn.Linear(states, int(torch.Size(shape).numel()))
        if start is not None:
            with torch.no_grad():
                self.linear.weight.zero_()
                self.linear.weight[:, : start[0].shape[1]] = start[0]
                self.linear.bias.copy_(start[1])

    def forward(self, z: Tensor) -> Tensor:
        """Return shape ``(…, *shape)``."""
        y: Tensor = self.linear(z)
        return y.unflatten(-1, self.shape)


def lawful_model(
    law: LinearLaw,
    config: ModelConfig,
    *,
    scale: float | Tensor,
    input_scale: Tensor,
    patterns: Tensor | None = None,
    mixed: Tensor | None = None,
    shape: tuple[int, ...] | None = None,
    readout: tuple[Tensor, Tensor] | None = None,
    mixture: nn.Module | None = None,
    damping: float = 1.0,
    apart: bool = False,
) -> HybridDEQ:
    """Return a model whose leading states are a law's, untrained at the law's own answer; or the same without it.

    With ``config.prior``, untrained, its output is the answer of the law: leading states are the law's state in units
    of `scale`, without an activation, and the readout multiplies them by it. Without, the same modules of the same
    sizes start at random, all states with an activation.

    Args:
        law: linear, monotone in the scales given, see :meth:`equilog.priors.LinearLaw.coupling`.
        config: states beyond the law's are hidden; drives beyond its own are learnt mixtures of inputs.
        scale: what a state's 1 is in units of the law's state: a number, or one a state.
        input_scale: what every input is divided by to be a drive, shape ``(inputs,)``.
        patterns: sources ``(m, k)`` for so many leading inputs; every source is an input unless given. ``(m, 0)`` if no
            input enters the law as it is.
        mixed: sources ``(m, k)`` for a drive of 1 that the first k learnt mixtures bring in; none unless given. The law
            then rests at the answer for what is learnt of its sources.
        shape: of one sample's targets; the law's state unless given.
        readout: R and r that give the output from the law's state in its own unit, ``(outputs, own)`` and
            ``(outputs,)``; the state itself unless given.
        mixture: see :class:`Drives`.
        damping: of the coupling.
        apart: see :class:`~equilog.cells.CircuitCell`.

    Raises:
        UserError: if the configuration has too few states or drives.
        ValueError: if sources are of another size, or the law is not monotone.
    """
    own, m = law.state.size, law.b.shape[1]
    patterns = torch.eye(m, dtype=torch.float64) if patterns is None else patterns.double()
    mixed = torch.zeros(m, 0, dtype=torch.float64) if mixed is None else mixed.double()
    for sources in (patterns, mixed):
        if sources.ndim != 2 or len(sources) != m:
            raise ValueError(f"sources of shape {tuple(sources.shape)}: expected ({m}, k) for a law of {m} sources")
    passed = patterns.shape[1]
    enough = max(1, passed + mixed.shape[1])
    if config.states < own or config.drives < enough:
        raise UserError(
            f"{config.states} states and {config.drives} drives for a law of {own} states and {passed} inputs"
            f"{f', {mixed.shape[1]} mixtures of them' * bool(mixed.shape[1])}: expected at least {own} and {enough}"
        )
    size = torch.as_tensor(scale, dtype=torch.float64).reshape(-1).expand(own)
    if readout is None:
        readout = torch.eye(own, dtype=torch.float64), torch.zeros(own, dtype=torch.float64)
    parameterize = Drives(1 / input_scale, passed, config.drives - passed, mixture)
    if not config.prior:
        cell = CircuitCell(config.states, config.drives, margin=config.margin)
        return HybridDEQ(parameterize, cell, Readout(config.states, shape or law.state.shape))
    played = torch.cat([patterns * input_scale.double()[:passed], mixed], dim=1)
    coupling = law.coupling(scale=size, drives=played, damping=damping, hidden=config.states - own)
    spare = config.drives - coupling.drives
    fixed = coupling.widened(spare) if spare else coupling
    fixed = fixed.to(torch.get_default_dtype())
    cell = CircuitCell(config.states, config.drives, margin=config.margin, fixed=fixed, apart=apart)
    start = readout[0] * size, readout[1]
    # Without hidden states nothing has an activation: one factorisation is the answer.
    settle = EquilibriumLayer(Chord(slope=1.0)) if config.states == own else None
    return HybridDEQ(parameterize, cell, Readout(config.states, shape or law.state.shape, start), settle)
