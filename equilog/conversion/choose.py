"""Which layers a user means, and as what: by name, by pattern, by a function, or all that can be converted."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from fnmatch import fnmatchcase
from typing import get_args

from torch import nn

from equilog.conversion.sites import Kind, Site, called
from equilog.names import UserError, unknown

Choice = Callable[[str, nn.Module], "bool | Kind | None"]
Layers = Mapping[str, Kind] | Iterable[str] | Choice | str | None


def choose(found: dict[str, Site], layers: Layers) -> dict[str, Kind]:
    """Return what each chosen layer becomes; layers that stay digital are left out.

    Args:
        found: all layers, see :func:`~equilog.conversion.sites.sites`.
        layers: see :func:`equilog.convert`.

    Raises:
        UserError: for an unknown name or kind, a layer named that cannot become what it should, or nothing to convert.
    """
    chosen: dict[str, Kind] = {}
    if layers is None or callable(layers):
        for name, site in found.items():
            asked = True if layers is None else layers(name, site.module)
            if isinstance(asked, str):
                chosen[name] = _explicit(found, name, asked)
            elif asked and site.linear:
                chosen[name] = suits(site)
    else:
        wanted = {layers: None} if isinstance(layers, str) else layers
        asked_for: dict[str, str | None] = dict(wanted) if isinstance(wanted, Mapping) else dict.fromkeys(wanted)
        pairs = list(asked_for.items())
        exact = [(name, kind) for name, kind in pairs if not _pattern(name)]
        for name, kind in exact:
            if name not in found:
                raise unknown("layer", name, (n for n in found if n))
            chosen[name] = _explicit(found, name, kind)
        for pattern, kind in pairs:
            if _pattern(pattern):
                _match(found, pattern, kind, chosen)
    chosen = {name: kind for name, kind in chosen.items() if kind != "digital"}
    chosen = {_inner(found[name]): kind for name, kind in chosen.items()}
    for name in chosen:
        around = [n for n in chosen if n != name and (not n or name.startswith(f"{n}."))]
        if around:
            raise UserError(f"{called(name)} is inside {called(around[0])}, and both are to be converted: name one")
    if not chosen:
        raise UserError(
            "no layer to convert: " + "; ".join(f"{name}: {why}" for name, why in _obstacles(found).items())
            if _obstacles(found)
            else "no layer to convert: there is no nn.Linear or nn.Conv2d among those chosen"
        )
    return chosen


def suits(site: Site) -> Kind:
    """Return what a layer becomes if the user does not say: an equilibrium if it can, a product if it can."""
    return next((kind for kind, reason in site.can().items() if not reason), "digital")


def _explicit(found: dict[str, Site], name: str, kind: str | None) -> Kind:
    site = found[_inner(found[name])]
    against = site.can()
    if kind is None:
        kind = next((k for k, reason in against.items() if not reason), None)
        if kind is None:
            raise UserError(f"{called(name)} cannot be converted: {_both(against)}")
    if kind not in get_args(Kind):
        raise unknown("kind of layer", kind, get_args(Kind))
    if kind != "digital" and (reason := against[kind]):  # type: ignore[index]  # one of the two that are left
        raise UserError(f"{called(name)} cannot become {_article(kind)}: {reason}{_other(against, kind)}")
    return kind  # type: ignore[return-value]  # checked above


def _match(found: dict[str, Site], pattern: str, kind: str | None, chosen: dict[str, Kind]) -> None:
    """Add the linear layers that a pattern matches and that can be converted so; names and earlier patterns win."""
    if kind is not None and kind not in get_args(Kind):
        raise unknown("kind of layer", kind, get_args(Kind))
    matched = {name: site for name, site in found.items() if site.linear and fnmatchcase(name, pattern)}
    if not matched:
        raise UserError(f"no nn.Linear or nn.Conv2d matches {pattern!r}; there are: {', '.join(_linear(found))}")
    fits = {}
    for name, site in matched.items():
        become = kind or suits(site)
        if become == "digital" or not site.can()[become]:  # type: ignore[index]
            fits[name] = become
    if not fits:
        name, site = next(iter(matched.items()))
        raise UserError(f"no layer that {pattern!r} matches can be converted so; {name!r}: {_both(site.can(), kind)}")
    inside = tuple(f"{name}." for name in chosen)
    for name, become in fits.items():
        if not name.startswith(inside):
            chosen.setdefault(name, become)  # type: ignore[arg-type]


def _inner(site: Site) -> str:
    """A Sequential of a linear layer and its activation is meant as that layer."""
    children = list(site.module._modules)
    if type(site.module) is nn.Sequential and len(children) == 2:
        first, second = site.module
        if type(first) is nn.Linear and isinstance(second, (nn.Tanh, nn.Sigmoid)):
            return f"{site.name}.{children[0]}" if site.name else children[0]
    return site.name


def _pattern(name: str) -> bool:
    return any(c in name for c in "*?[")


def _linear(found: dict[str, Site]) -> list[str]:
    return [name for name, site in found.items() if site.linear]


def _obstacles(found: dict[str, Site]) -> dict[str, str]:
    return {name: site.can()["product"] for name, site in found.items() if site.linear and site.can()["product"]}


def _both(against: dict[Kind, str], only: str | None = None) -> str:
    return "; ".join(f"no {kind}: {why}" for kind, why in against.items() if why and kind in (only or kind))


def _other(against: dict[Kind, str], kind: str) -> str:
    other = next((k for k, reason in against.items() if not reason and k != kind), None)
    return f"; it can become {_article(other)}" if other else ""


def _article(kind: str) -> str:
    return "an equilibrium" if kind == "equilibrium" else "a product"
