"""The report's tables and tiles as rows of text: what stands in them, not how they look."""

from __future__ import annotations

import math
import shlex
from dataclasses import dataclass
from typing import Any

import yaml

from equilog.cost import CostReport
from equilog.devices.ladder_report import NodeError
from equilog.drawing.units import (
    MISSING,
    count,
    engineering,
    figure_text,
    scientific,
    score_text,
)
from equilog.hardware import Figure, Spec
from equilog.hardware.technology.sheet import rows as sheet_rows
from equilog.report.cost import cost_lines
from equilog.report.findings import Findings
from equilog.runs.config import RunConfig

TOP = 10


@dataclass(frozen=True)
class Tile:
    """One key figure."""

    label: str
    value: str
    note: str = ""


def tiles(run: Findings) -> list[Tile]:
    """Return the key figures, in the order in which the report proves them."""
    m, report = run.metrics, run.report
    name = report.score_name
    chips = m.get(f"{name}_twin_unseen_chips") or {}
    tested = int(m.get("test_samples") or 0)
    simulated = report.simulator is not None
    at_rest, in_time = report.rung("ngspice at rest"), report.rung("ngspice in time")
    times = report.settling.time_second
    slowest = max(times, default=math.nan)
    median = sorted(times)[(len(times) - 1) // 2] if times else math.nan
    return [
        Tile(f"{name}, ideal", score_text(report, m.get(f"{name}_ideal")), count(tested, "test sample")),
        Tile(
            f"{name}, twin of this chip",
            score_text(report, m.get(f"{name}_twin")),
            f"chip {run.config.chip_seed}, {count(tested, 'test sample')}",
        ),
        Tile(
            f"{name}, unseen chips",
            score_text(report, chips.get("mean")),
            f"mean of {chips.get('chips', 0)}; worst {score_text(report, chips.get('worst'))}",
        ),
        Tile(
            f"{name}, ngspice",
            score_text(report, m.get(f"{name}_ngspice")) if simulated else "not run",
            f"first {count(report.samples, 'test sample')}" if simulated else "no simulator",
        ),
        Tile(
            "largest error at rest",
            scientific(at_rest.max_error) if at_rest else "not run",
            f"of full scale; {scientific(at_rest.tolerance)} allowed" if at_rest else "twin against ngspice",
        ),
        Tile(
            "largest error in time",
            scientific(in_time.max_error) if in_time else "not run",
            f"of full scale; {scientific(in_time.tolerance)} allowed" if in_time else "twin against ngspice",
        ),
        Tile(
            "settling time",
            "never" if math.isinf(median) else engineering(median, "s"),
            f"median; slowest {'never' if math.isinf(slowest) else engineering(slowest, 's')}",
        ),
        _energy_tile(run.cost),
    ]


def _energy_tile(cost: CostReport | None) -> Tile:
    if cost is None:
        return Tile("energy per inference", MISSING, "nothing to charge: the chip does not settle")
    return Tile(
        "energy per inference",
        engineering(cost.hybrid_energy.typical, "J"),
        f"hybrid; all digital {engineering(cost.digital_energy.typical, 'J')} (typical)"
        + (f"; {cost.rows} rows" if cost.rows > 1 else ""),
    )


def rung_rows(run: Findings) -> list[dict[str, Any]]:
    """Return the ladder."""
    return [
        {
            "rung": r.rung,
            "against": r.compared_with or MISSING,
            "max": scientific(r.max_error),
            "rms": scientific(r.rms_error),
            "tolerance": scientific(r.tolerance),
            "verdict": {True: "agrees", False: "fails", None: MISSING}[r.agrees],
            "agrees": r.agrees,
            "score": score_text(run.report, r.score),
        }
        for r in run.report.rungs
    ]


def node_rows(nodes: list[NodeError]) -> list[list[str]]:
    """Return nodes with both voltages, to as many digits as it takes to see that they agree."""
    return [[n.node, str(n.sample), _signed(n.twin), _signed(n.ngspice), scientific(n.error)] for n in nodes]


def _signed(value: float) -> str:
    return f"{value:+.9f}".replace("-", "−")


def sample_rows(run: Findings) -> list[list[str]]:
    """Return the samples on which twin and simulator differ most, worst first."""
    errors, times = run.report.sample_errors, run.report.settling.time_second
    worst = sorted(range(len(errors)), key=lambda k: -errors[k])[:TOP]
    return [
        [
            str(k),
            scientific(errors[k]),
            engineering(times[k], "s") if k < len(times) and math.isfinite(times[k]) else "never",
        ]
        for k in worst
    ]


def cost_rows(cost: CostReport) -> list[dict[str, Any]]:
    """Return energy and latency of every part as low, typical and high."""
    energy = cost_lines(cost.hybrid_energy_joule, cost.digital_energy_joule)
    latency = {
        (line.label, line.side): line for line in cost_lines(cost.hybrid_latency_second, cost.digital_latency_second)
    }
    rows = []
    for line in energy:
        other = latency.pop((line.label, line.side), None)
        rows.append({"line": line, "energy": _span(line.span, "J"), "latency": _span(other and other.span, "s")})
    rows += [{"line": line, "energy": _span(None, "J"), "latency": _span(line.span, "s")} for line in latency.values()]
    side = {"hybrid": "hybrid only", "digital": "digital only", "both": "both"}
    return [
        {
            "name": row["line"].label,  # type: ignore[attr-defined]
            "side": "" if row["line"].strong else side[row["line"].side],  # type: ignore[attr-defined]
            "strong": row["line"].strong,  # type: ignore[attr-defined]
            "cells": [*row["energy"], *row["latency"]],  # type: ignore[misc]
        }
        for row in rows
    ]


def _span(span: Any, unit: str) -> list[str]:
    return [MISSING] * 3 if span is None else [engineering(v, unit) for v in (span.low, span.typical, span.high)]


def technology_groups(spec: Spec) -> list[list[dict[str, str]]]:
    """Return every number and law of a technology, one list a block: name, value, range, source, where it holds."""
    groups: dict[str, list[dict[str, str]]] = {}
    for row in sheet_rows(spec):
        groups.setdefault(row.name.partition(".")[0], []).append(
            {
                "key": row.name,
                "value": row.formula if row.figure is None else figure_text(row.name, float(row.figure)),
                "range": MISSING if row.figure is None else _range(row.name, row.figure),
                "source": row.source,
                "valid": row.valid,
            }
        )
    return list(groups.values())


def _range(key: str, figure: Figure) -> str:
    if figure.low is None and figure.high is None:
        return MISSING
    low, _, high = figure.bounds()
    return f"{figure_text(key, low)} … {figure_text(key, high)}"


def command(config: RunConfig) -> str:
    """Return the command line that repeats the run, as far as names and seeds decide it."""
    words = ["equilog", "run", config.task, "--hardware", config.hardware]
    words += ["--seed", str(config.seed), "--chip-seed", str(config.chip_seed)]
    return shlex.join(words)


def departures(config: RunConfig) -> list[str]:
    """Return what else was set differently from the task's own defaults."""
    usual = RunConfig.for_task(config.task).model_dump(mode="json")
    found = []
    for key, value in config.model_dump(mode="json").items():
        if key in ("task", "hardware", "seed", "chip_seed"):
            continue
        before = usual[key]
        if isinstance(value, dict) and isinstance(before, dict):
            found += [f"{key}.{k} = {v}" for k, v in value.items() if v != before.get(k)]
        elif value != before:
            found.append(f"{key} = {value}")
    return found


def config_text(config: RunConfig) -> str:
    """Return the configuration as ``config.yaml`` holds it."""
    return str(yaml.safe_dump(config.model_dump(mode="json"), sort_keys=False)).strip()
