"""Does a module compute tanh or sigmoid of an affine map? Asked of its values, so it does not matter how it is written.

If ``f(z, u) = φ(W z + U u + b)``, then ``φ⁻¹(f)`` at the origin is b, and a step along each axis shows one column of W
or U. What was found is then held against f at other points; only agreement there makes it the module's form.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn

LIMIT = 2048
"""Inputs and states together: all of them are probed one by one, with dense matrices."""
STEP = 0.25
POINTS = 64
AGREES = 1e-6
"""largest disagreement that is put down to rounding in float64"""


class NotAffine(Exception):
    """The module is of another form; the message says in which way."""


@dataclass(frozen=True)
class Affine:
    """``f = gain · tanh-state + shift`` with ``p = W z + U x + b`` in tanh-states z, all float64.

    Attributes:
        weight: W, shape ``(n, n)``; zero if the module has no state.
        input_weight: U, shape ``(n, m)``.
        bias: b, shape ``(n,)``.
        gain, shift: of the output; 1 and 0 for tanh, ½ and ½ for sigmoid.
        inputs, states: shapes of one sample's input and output.
    """

    weight: Tensor
    input_weight: Tensor
    bias: Tensor
    gain: float
    shift: float
    inputs: torch.Size
    states: torch.Size


_KNOWN: dict[str, tuple[Callable[[Tensor], Tensor], Callable[[Tensor], Tensor]]] = {
    "tanh": (torch.tanh, torch.atanh),
    "sigmoid": (torch.sigmoid, torch.logit),
}


@torch.no_grad()
def recognise(module: nn.Module, args: tuple[Tensor, ...]) -> Affine:
    """Return the affine form of a cell ``f(z, u)``, or of a layer ``f(x)``.

    Args:
        module: the cell or layer; a copy in float64 is probed.
        args: what it is called with, batch first: shapes and the range to probe are taken from here.

    Raises:
        NotAffine: saying why it has no such form.
    """
    shapes = [a.shape[1:] for a in args]
    sizes = [math.prod(shape) for shape in shapes]
    if sum(sizes) > LIMIT:
        raise NotAffine(f"{' + '.join(map(str, sizes))} inputs and states are more than the {LIMIT} that are probed")
    probed = copy.deepcopy(module).double()
    states = args[0].shape[1:] if len(args) == 2 else None
    output = torch.Size()

    def f(q: Tensor) -> Tensor:
        parts = [part.reshape(len(q), *shape) for part, shape in zip(q.split(sizes, dim=1), shapes)]
        try:
            y = probed(*parts)
        except Exception as error:
            raise NotAffine(f"calling it in float64 fails: {type(error).__name__}: {error}") from None
        if not isinstance(y, Tensor) or len(y) != len(q) or (states is not None and y.shape[1:] != states):
            got = tuple(y.shape[1:]) if isinstance(y, Tensor) else type(y).__name__
            raise NotAffine(f"it returns {got} for a state of shape {None if states is None else tuple(states)}")
        nonlocal output
        output = y.shape[1:]
        return y.flatten(1).double()

    given = torch.cat([a.flatten(1).double() for a in args], dim=1)[:POINTS]
    generator = torch.Generator().manual_seed(0)
    reach = torch.cat([a.flatten(1).abs().amax().clamp(min=1).double().expand(s) for a, s in zip(args, sizes)])
    random = (2 * torch.rand(POINTS, len(reach), generator=generator, dtype=torch.float64) - 1) * reach
    points = torch.cat([given, random])
    with torch.random.fork_rng(devices=[]):
        probed.eval()
        y = f(points)
        axes = f(torch.cat([torch.zeros_like(points[:1]), STEP * torch.eye(len(reach), dtype=torch.float64)]))
        if not bool(y.isfinite().all() and axes.isfinite().all()):
            raise NotAffine("it returns inf or nan")
        if float((f(points[:1]) - y[:1]).abs().max()) > AGREES:
            raise NotAffine("a sample's value depends on the rest of its batch")
        probed.train()
        if float((f(points) - y).abs().max()) > AGREES:
            raise NotAffine("it computes otherwise in training, as dropout and batch normalisation do")
    misses = {}
    for name, (phi, inverse) in _KNOWN.items():
        p = inverse(axes)
        bias = p[0]
        both = (p[1:] - bias).T / STEP
        misses[name] = float((phi(points @ both.T + bias) - y).abs().max())
        if misses[name] <= AGREES:
            return _in_tanh(name, both, bias, sizes[0] if states is not None else 0, shapes[-1], output)
    raise NotAffine(_why(y, misses))


def _in_tanh(name: str, both: Tensor, bias: Tensor, of_state: int, inputs: torch.Size, states: torch.Size) -> Affine:
    n = len(bias)
    w = both[:, :of_state] if of_state else both.new_zeros(n, n)
    u = both[:, of_state:]
    if name == "tanh":
        return Affine(w, u, bias, 1.0, 0.0, inputs, states)
    # σ(p) = ½ + ½ tanh(p/2): in t = 2z − 1 the cell is tanh(¼W t + ½(U x + b + ½W1)).
    return Affine(w / 4, u / 2, (bias + w.sum(1) / 2) / 2, 0.5, 0.5, inputs, states)


def _why(y: Tensor, misses: dict[str, float]) -> str:
    low, high = float(y.min()), float(y.max())
    if low == 0 and float((y == 0).double().mean()) > 0.01:
        return "its activation looks like ReLU; a chip has tanh, and sigmoid by way of it"
    if low < -1 or high > 1:
        return f"its values reach from {low:.3g} to {high:.3g}; tanh and sigmoid stay within ±1"
    miss = min((m for m in misses.values() if math.isfinite(m)), default=None)
    if miss is None:
        return "its outputs are saturated near zero input: no affine map can be read off them"
    return f"it is neither tanh nor sigmoid of an affine map: it misses the nearest by {miss:.2g}"
