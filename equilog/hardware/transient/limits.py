"""What slew and rails do to a step: neurons that begin or cease to be held on the way, or met a rail at its end.

Along a step every neuron follows the law under which it began; what it really does is part of N. At the end outputs are
clamped to the rails, and every neuron gets the law that then holds. Few neurons are concerned at a time: they are
listed by flat index, and where there are none, nothing is done.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from equilog.hardware.transient.dynamics import Dynamics, Own, Point, Regime, put, take
from equilog.hardware.transient.etd import Step


@dataclass(frozen=True)
class Listed:
    """Values of some neurons: flat indices ``where``, shape ``(k,)``, and `value`, shape ``(k,)`` or ``(2, k)``."""

    where: Tensor
    value: Tensor


class Forcing:
    """N of the exponential method along one step from a point, every neuron in the regime in which it began.

    Attributes:
        quiet: no neuron has slewed or met a rail, and none was held.
        kinks: what neurons that changed their regime on the way added to N, one entry a call.
        drive: d at the last call.
        odd: at the last call, the neurons that had to be looked at.
    """

    def __init__(self, dynamics: Dynamics, regime: Regime | None) -> None:
        self._dynamics, self._regime = dynamics, regime
        self._own = None if regime is None else dynamics.own_of(regime.where)
        self.quiet = regime is None
        self.kinks: list[Listed] = []
        self.drive = dynamics.constant
        self.odd = torch.empty(0, dtype=torch.int64)

    def __call__(self, state: Tensor) -> Tensor:
        """Return N at `state`; shapes as :class:`Point`."""
        of, regime = self._dynamics, self._regime
        v = of.output(state, regime)
        if not of.limited:
            self.drive = of.drive(v, None if of.between is None else of.ground(state, None))
            return self.drive[None]
        x = of.ground(state, regime)
        raw = torch.addcmul(of.own.push, of.own.omega, x, value=-1)
        # The largest of all first: most of the time there is nothing to look for.
        exceeds = float(v.abs().amax()) > of.rail or float(raw.abs().amax()) > of.slew
        if regime is None and not exceeds:
            self.drive = of.drive(v, x)
            self.odd = self.odd[:0]
            return self.drive[None]
        self.quiet = False
        inside = v.clamp(-of.rail, of.rail)
        # The capacitor sees the output within the rails; v itself goes on beyond, to be clamped at the step's end.
        self.drive = d = of.drive(inside, None if of.between is None else x - v + inside)
        n = d.expand(2, *d.shape).clone()
        odd = (v.abs() > of.rail).logical_or_(raw.abs() > of.slew).view(-1)
        found = []
        if regime is not None and self._own is not None:
            odd[regime.where] = False
            bound, strange = self._held(regime, self._own, *(take(part, regime.where) for part in (v, x, d)))
            put(n, regime.where, bound)
            found.append(Listed(regime.where, strange))
        if len(free := odd.nonzero()[:, 0]):
            own, raw_here, v_here = of.own_of(free), take(raw, free), take(v, free)
            over = v_here - v_here.clamp(-of.rail, of.rail)
            kink = own.load * over - own.e * (raw_here.clamp(-of.slew, of.slew) - raw_here)
            n.view(2, -1).index_add_(1, free, kink)
            found.append(Listed(free, kink))
        self.odd = torch.cat([part.where for part in found])
        self.kinks += found
        return n

    def _held(self, regime: Regime, own: Own, v: Tensor, x: Tensor, d: Tensor) -> tuple[Tensor, Tensor]:
        """Return N of the held neurons, and how it differs from the law that held them when the step began."""
        of = self._dynamics
        inside = v.clamp(-of.rail, of.rail)
        clipped = (own.push - own.omega * (x - v + inside)).clamp_(-of.slew, of.slew)
        moves = clipped - own.leak * inside
        moves = torch.where((regime.side * inside >= of.rail) & (regime.side * moves > 0), 0.0, moves)
        strange = torch.where(regime.side != 0, moves, clipped - regime.law)
        return torch.stack([d - own.load * inside, moves]), torch.stack([own.load * (v - inside), strange])


def land(of: Dynamics, begin: Point, step: Step, forcing: Forcing) -> tuple[Point, Listed | None]:
    """End a step: clamp outputs to the rails and find every neuron's regime.

    Returns:
        the point at the end, and by how many volts what happened on the way went unseen.
    """
    if not of.limited:
        return Point(step.end, step.at_end), None
    halfway = of.output(step.half, begin.regime)
    passed = float(halfway.abs().amax()) > of.rail
    if forcing.quiet and not passed:
        return Point(step.end, step.at_end), None
    where = forcing.odd
    if passed:
        where = torch.cat([where, (halfway.abs() > of.rail).view(-1).nonzero()[:, 0]]).unique()
    v = take(of.output(step.end, begin.regime), where)
    y = take(of.ground(step.end, begin.regime), where) - v
    own, d, middle = of.own_of(where), take(forcing.drive, where), take(halfway, where).abs() - of.rail
    inside = v.clamp(-of.rail, of.rail)
    raw = own.push - own.omega * (y + inside)
    clipped = raw.clamp(-of.slew, of.slew)
    moves = clipped - own.leak * inside
    side = torch.where((inside.abs() >= of.rail) & (moves * inside > 0), inside.sign(), 0.0)
    slews = (raw.abs() > of.slew) & (side == 0)
    held = slews | (side != 0)
    # Beyond the rail and already on the way back, or beyond it half-way only: when it came and went is not known.
    unseen = torch.where(side == 0, (v - inside).abs(), 0.0)
    unseen = torch.where((v.abs() < of.rail) & (middle > 0), torch.maximum(unseen, middle), unseen)

    state = step.end.clone()
    free = y - own.shift - own.e * inside
    put(state, where, torch.where(held, torch.stack([y, inside]), free))
    now, regime = forcing.drive[None], None
    if bool(held.any()):
        now = now.expand(2, *now.shape[1:]).clone()
        bound = torch.stack([d - own.load * inside, torch.where(slews, moves, 0.0)])
        put(now, where, torch.where(held, bound, d))
        regime = Regime(where[held], torch.where(slews, clipped, 0.0)[held], side[held])
    return Point(state, now, regime), Listed(where, unseen)


def merge(accepted: Tensor, new: Point, old: Point) -> Point:
    """Return `new` for the samples of ``accepted`` (chips, batch), `old` for the others."""
    chosen, n = accepted[..., None], new.state.shape[-1]
    kept = []
    for point, mine in ((new, accepted), (old, ~accepted)):
        if (regime := point.regime) is not None:
            here = mine.view(-1)[regime.where // n]
            kept.append(Regime(regime.where[here], regime.law[here], regime.side[here]))
    regime = None
    if sum(len(part.where) for part in kept):
        regime = Regime(*(torch.cat([getattr(part, name) for part in kept]) for name in ("where", "law", "side")))
    return Point(torch.where(chosen, new.state, old.state), torch.where(chosen, new.now, old.now), regime)
