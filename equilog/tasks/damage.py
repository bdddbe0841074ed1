"""Damaged samples: refused by name and reason, or left out and counted; the same words in every reader."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from typing import Literal, get_args

from equilog.names import UserError, unknown

OnDamage = Literal["refuse", "skip"]
"""what a reader does with a sample that cannot be used"""

UNKNOWN_CLASS, MISSING_IMAGE, DUPLICATE = "unknown class id", "missing image", "duplicate id"
"""reasons that several formats have; a reader's own are beside it"""


class DamagedError(Exception):
    """What is wrong with one sample.

    Attributes:
        reason: a few words that are the same for every sample with this damage: it is counted by them.
        detail: what is particular to this one.
    """

    def __init__(self, reason: str, detail: str = "") -> None:
        super().__init__(f"{reason} ({detail})" if detail else reason)
        self.reason = reason
        self.detail = detail


class Skipped:
    """How many samples were left out, by reason; none ever where damage is refused.

    Args:
        on_damage: "refuse" or "skip".
        counts: of samples left out before, as from a cache.

    Raises:
        UserError: for another word, naming the nearest.
    """

    def __init__(self, on_damage: OnDamage = "refuse", counts: Mapping[str, int] | None = None) -> None:
        if on_damage not in get_args(OnDamage):
            raise unknown("on_damage", on_damage, get_args(OnDamage))
        self.on_damage = on_damage
        self._counts: Counter[str] = Counter(counts or {})

    def found(self, where: object, damage: DamagedError) -> None:
        """Count a sample that cannot be used.

        Args:
            where: the file, and the place in it.
            damage: what is wrong with it.

        Raises:
            UserError: naming file and reason, where damage is refused.
        """
        if self.on_damage == "refuse":
            raise UserError(f"{where}: {damage}; mend or remove it, or leave such samples out with on_damage: skip")
        self._counts[damage.reason] += 1

    def take(self, counts: Mapping[str, int]) -> None:
        """Add counts of another reader."""
        self._counts.update(counts)

    @property
    def counts(self) -> dict[str, int]:
        """Samples left out by reason, the most frequent first."""
        return dict(self._counts.most_common())

    def __str__(self) -> str:
        """Say it in words."""
        if not self._counts:
            return "nothing skipped"
        return "skipped: " + ", ".join(f"{reason} {count}" for reason, count in self.counts.items())
