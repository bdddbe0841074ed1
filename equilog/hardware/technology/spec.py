"""An analog technology as data: every number with its unit in its name and its source beside it."""

from __future__ import annotations

from collections.abc import Iterator
from importlib import resources
from pathlib import Path
from typing import Any

from pydantic import Field

from equilog.hardware.curve import inline_curve
from equilog.hardware.technology.blocks import ActivationBlock, Adc, Amplifier, Crossbar, Dac, Detector, FixedNetwork
from equilog.hardware.technology.figure import UNSOURCED, Figure
from equilog.names import Strict, load_yaml, merged, parse, unknown

NAME_PATTERN = r"[a-z0-9][a-z0-9_-]{0,40}"
"""What a technology may be called; the name is written into comments of the netlist."""


class Spec(Strict):
    """A technology. Immutable; validated; unknown keys refused.

    Load one with :func:`load_spec`, change one with :meth:`changed` or a YAML file of your own.
    """

    name: str = Field(pattern=f"^{NAME_PATTERN}$")
    summary: str
    crossbar: Crossbar
    amplifier: Amplifier
    activation: ActivationBlock
    dac: Dac
    adc: Adc
    detector: Detector | None = None
    fixed_network: FixedNetwork | None = None
    """resistors of a law that is built in; left out: exact"""

    def changed(self, **overrides: Any) -> Spec:
        """Return a validated copy with numbers replaced: ``spec.changed(amplifier={"dc_gain": 1e3})``.

        Raises:
            UserError: for an unknown key or an invalid value.
        """
        return spec_from_data(merged(self.model_dump(mode="json"), overrides), f"changed {self.name}")

    def figures(self) -> dict[str, Figure]:
        """Return every number under its dotted name, in file order."""
        return dict(_figures(self))

    def unsourced(self) -> list[str]:
        """Return the names of the numbers that state no source."""
        return [name for name, figure in self.figures().items() if figure.source == UNSOURCED]


def _figures(block: Strict, prefix: str = "") -> Iterator[tuple[str, Figure]]:
    for key in type(block).model_fields:
        value = getattr(block, key)
        if isinstance(value, Figure):
            yield prefix + key, value
        elif isinstance(value, Strict):
            yield from _figures(value, f"{prefix}{key}.")


def preset_names() -> list[str]:
    """Return the names of the technologies that come with equilog."""
    folder = resources.files("equilog.hardware.technology") / "presets"
    return sorted(f.name.removesuffix(".yaml") for f in folder.iterdir() if f.name.endswith(".yaml"))


def load_spec(name_or_path: str | Path) -> Spec:
    """Load a preset by name or a technology from a YAML file.

    Args:
        name_or_path: a preset's name, or a path (anything with a path separator or ending in .yaml/.yml).

    Raises:
        UserError: for an unknown preset (naming the nearest), an unreadable file, or an invalid value.
    """
    text = str(name_or_path)
    path = Path(name_or_path)
    if path.suffix in (".yaml", ".yml") or "/" in text or "\\" in text:
        return spec_from_data(load_yaml(path), str(path), path.parent)
    if text not in preset_names():
        raise unknown("hardware preset", text, preset_names())
    with resources.as_file(resources.files("equilog.hardware.technology") / "presets" / f"{text}.yaml") as file:
        return spec_from_data(load_yaml(file), f"preset {text}", file.parent)


def spec_from_data(data: Any, where: str, folder: Path | None = None) -> Spec:
    """Validate a mapping (as read from YAML) as a technology; raises ``UserError`` naming every mistake.

    A measured curve given as ``file`` is read from `folder` (the current directory if None); the spec holds its points.
    """
    return parse(Spec, inline_curve(data, where, folder), where)
