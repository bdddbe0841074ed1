"""How a finished run is printed in the terminal: its ladder, its scores, what its task measured."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.table import Table

if TYPE_CHECKING:
    from equilog.devices.ladder_report import LadderReport
    from equilog.runs import RunFolder

out = Console()


def print_run(folder: RunFolder, metrics: dict[str, Any], report: LadderReport) -> None:
    """Print what a run found, the ladder first."""
    print_ladder(report)
    ideal, twin, chips = (metrics[f"{report.score_name}_{of}"] for of in ("ideal", "twin", "twin_unseen_chips"))
    ideal, twin, mean, worst = map(report.number, (ideal, twin, chips["mean"], chips["worst"]))
    out.print(
        f"{report.score_name} on {metrics['test_samples']} test samples: ideal {ideal}, this chip {twin}, "
        f"{chips['chips']} unseen chips {mean} on average and {worst} at worst",
        highlight=False,
        soft_wrap=True,
    )
    if metrics["settling_time_max_second"] is not None:
        out.print(
            f"settling time {metrics['settling_time_median_second'] * 1e6:.3g} µs median, "
            f"{metrics['settling_time_max_second'] * 1e6:.3g} µs at most",
            highlight=False,
        )
    if metrics["cost_verdict"]:
        out.print(metrics["cost_verdict"], highlight=False, soft_wrap=True)
    if metrics.get("measures"):
        out.print(_measures_table(metrics))
    out.print(f"report: {folder.report}", highlight=False, soft_wrap=True)


def print_ladder(report: LadderReport) -> None:
    """Print every rung, and what each kind of circuit adds."""
    table = Table("rung", "against", "max error", "tolerance", "", report.score_name)
    verdict = {None: "", True: "[green]agrees[/green]", False: "[red]DISAGREES[/red]"}
    for r in report.rungs:
        table.add_row(
            r.rung,
            r.compared_with or "",
            "" if r.max_error is None else f"{r.max_error:.1e}",
            "" if r.tolerance is None else f"{r.tolerance:.0e}",
            verdict[r.agrees],
            report.number(r.score),
        )
    table.caption = f"{report.counted}; errors in units of full scale"
    out.print(table)
    if report.chain is not None:
        out.print(str(report.chain), highlight=False, soft_wrap=True)
    if report.transistors is not None:
        out.print(str(report.transistors), highlight=False, soft_wrap=True)
    if not report.settling.stable:
        out.print("[red]UNSTABLE:[/red] a pole of the linearised circuit lies in the right half plane")


def _measures_table(metrics: dict[str, Any]) -> Table:
    from equilog.report.task_says import measure_rows  # noqa: PLC0415  # drawing is an extra's

    table = Table("quantity", "unit", "ideal", "this chip", "trusted")
    for row in measure_rows(metrics):
        table.add_row(*row[:5])
    return table
