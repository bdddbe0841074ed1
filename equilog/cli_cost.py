"""``equilog cost``: what an inference of a run takes. One call into :mod:`equilog.pipeline`, and how it is printed."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.box import SIMPLE
from rich.console import Console
from rich.table import Table

if TYPE_CHECKING:
    from equilog.cost import CostReport, Span

EPILOG = (
    "[bold]Examples[/bold]\n\n"
    "equilog cost runs/digits-rram\n\n"
    "equilog cost runs/digits-rram --target gpu-fp16 --batch 256\n\n"
    "equilog cost runs/digits-rram --target cpu-int8@28nm --json | jq .verdict"
)


def cost(
    run_folder: Annotated[Path, typer.Argument(metavar="RUN", help="A run folder, as written by: equilog run")],
    target: Annotated[
        str | None,
        typer.Option(
            metavar="NAME",
            help="The digital computer: cpu, edge-npu or gpu with int8, fp16 or fp32, such as cpu-fp32, at another "
            "node cpu-fp32@28nm; or FILE.yaml:PRECISION. Default: edge-npu-fp16.",
        ),
    ] = None,
    batch: Annotated[int, typer.Option(min=1, help="Samples that the digital computer handles together.")] = 1,
    readings: Annotated[int, typer.Option(min=1, help="Conversions of every state that are averaged.")] = 1,
    enob: Annotated[
        float | None, typer.Option(min=1.0, max=24.0, help="Effective bits that ADCs need. Default: all they have.")
    ] = None,
    inferences: Annotated[
        float, typer.Option(min=1.0, help="Inferences between one programming of the chip and the next.")
    ] = 1e6,
    as_json: Annotated[bool, typer.Option("--json", help="Print machine-readable JSON on stdout.")] = False,
) -> None:
    """Estimate energy, latency and area of an inference, on the chip and on a digital computer, as ranges."""
    from equilog.cost import Use, load_target  # noqa: PLC0415
    from equilog.pipeline import cost_of_run  # noqa: PLC0415
    from equilog.runs import RunFolder  # noqa: PLC0415

    use = Use(batch=batch, readings=readings, adc_enob=enob, inferences_per_programming=inferences)
    report = cost_of_run(RunFolder(run_folder), None if target is None else load_target(target), use)
    if as_json:
        data = report.model_dump() | {"verdict": report.verdict, "latency_verdict": report.latency_verdict}
        sys.stdout.write(json.dumps(data, indent=1) + "\n")
        return
    out = Console()
    out.print(table("energy", "J", report.hybrid_energy_joule, report.digital_energy_joule))
    out.print(report.verdict, highlight=False, soft_wrap=True)
    out.print(table("latency", "s", report.hybrid_latency_second, report.digital_latency_second))
    out.print(report.latency_verdict, highlight=False, soft_wrap=True)
    out.print(*_remarks(report), sep="\n", highlight=False, soft_wrap=True)


def table(what: str, unit: str, hybrid: dict[str, Span], digital: dict[str, Span]) -> Table:
    """Return the parts of both sides as low, typical and high, the largest of each marked."""
    from equilog.cost.span import dominant, total  # noqa: PLC0415

    shown = Table(what, box=SIMPLE, padding=(0, 1, 0, 0))
    for heading in ("low", "typical", "high", "share"):
        shown.add_column(heading, justify="right")
    for side, parts in (("hybrid", hybrid), ("all digital", digital)):
        whole, (largest, _) = total(list(parts.values())), dominant(parts)
        for name, span in parts.items():
            mark = " ←" if name == largest else ""
            shown.add_row(f"  {name}{mark}", *_cells(span, unit), f"{span.typical / whole.typical:.0%}")
        shown.add_row(f"[bold]{side}[/bold]", *_cells(whole, unit), "", end_section=True)
    return shown


def _cells(span: Span, unit: str) -> list[str]:
    return [_prefixed(value, unit) for value in (span.low, span.typical, span.high)]


def _prefixed(value: float, unit: str) -> str:
    if value <= 0:
        return "0"
    for scale, prefix in ((1.0, ""), (1e-3, "m"), (1e-6, "µ"), (1e-9, "n"), (1e-12, "p"), (1e-15, "f")):
        if value >= scale:
            return f"{float(f'{value / scale:.3g}'):g} {prefix}{unit}"
    return f"{value:.2g} {unit}"


def _remarks(report: CostReport) -> list[str]:
    from equilog.cost.measured import missing  # noqa: PLC0415
    from equilog.cost.span import total  # noqa: PLC0415

    area = total(list(report.area_m2.values()))
    remarks = []
    if report.rows > 1:
        remarks.append(f"an inference is a sample of {report.rows} rows, which the chip settles one after the other")
    remarks += [
        f"digital: {report.digital_target} Equilibrium by {report.digital_solver}, {report.digital_steps:.3g} steps.",
        f"area: {area.low * 1e6:.2g} to {area.high * 1e6:.2g} mm², typically {area.typical * 1e6:.2g} mm²; "
        f"{', '.join(f'{count:,} {name}' for name, count in report.components.items())}",
    ]
    if (once := report.programming_joule) is None:
        remarks.append("programming: the technology does not say what writing a device takes (crossbar.write_joule)")
    else:
        span = ", ".join(_cells(once, "J"))
        shared = f"shared by {report.use.inferences_per_programming:g} inferences"
        remarks.append(f"programming the chip once: {span}; {shared}")
    if reason := missing():
        remarks.append(reason)
    return remarks
