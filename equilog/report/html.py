"""The page: figures and tables of a run put into the template; everything that is text is escaped."""

from __future__ import annotations

import re
from importlib import resources

import jinja2
from markupsafe import Markup, escape

from equilog.drawing import units
from equilog.drawing.style import css_variables
from equilog.report import tables
from equilog.report.allocation import Section, allocation_section
from equilog.report.cost import cost_plates
from equilog.report.findings import Findings, gather, verdict
from equilog.report.parts import parts_table
from equilog.report.rungs import ladder_plate, transistor_plate
from equilog.report.schematic import schematic_plate
from equilog.report.scores import score_plate
from equilog.report.settling import settling_plate, stability_plate
from equilog.report.task_says import TaskSays, task_says
from equilog.report.training import training_plate
from equilog.report.waveforms import waveform_plate
from equilog.report.weights import weights_plate
from equilog.runs.folder import RunFolder
from equilog.tasks import get_task


def render(folder: RunFolder) -> str:
    """Return the report of a finished run as one HTML document.

    Raises:
        UserError: if the run is not finished.
    """
    run = gather(folder)
    return page(run, allocation_section(folder.path), task_says(run, folder))


def page(run: Findings, allocation: Section | None = None, says: TaskSays | None = None) -> str:
    """Return the HTML document of what was found, with what was allocated and what the task says, if anything."""
    environment = jinja2.Environment(
        loader=jinja2.FunctionLoader(_shipped),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["formula"] = _formula
    task = get_task(run.config.task)
    settling = [p for p in (settling_plate(run), stability_plate(run)) if p is not None]
    return environment.get_template("template.html.j2").render(
        style=Markup(_shipped("style.css")),
        light=css_variables(dark=False),
        dark=css_variables(dark=True),
        run=run,
        task=task,
        verdict=verdict(run),
        tiles=tables.tiles(run),
        rungs=tables.rung_rows(run),
        nodes=tables.node_rows(run.report.nodes),
        samples=tables.sample_rows(run),
        top=tables.TOP,
        ladder=ladder_plate(run),
        transistors=transistor_plate(run),
        waveforms=waveform_plate(run),
        scores=score_plate(run),
        settling=settling,
        cost_plates=[] if run.cost is None else cost_plates(run.cost),
        cost_rows=[] if run.cost is None else tables.cost_rows(run.cost),
        parts=parts_table(run.parts) if run.parts else None,
        allocation=allocation,
        says=says,
        training=training_plate(run),
        schematic=schematic_plate(run),
        weights=weights_plate(run),
        technology=tables.technology_groups(run.spec),
        command=tables.command(run.config),
        departures=tables.departures(run.config),
        config=tables.config_text(run.config),
        units=units,
    )


def _formula(text: str) -> Markup:
    """Return text, escaped, with V_a and its like set as formulas are."""
    return Markup(re.sub(r"\b([A-Za-z])_([A-Za-z0-9]+)\b", r"\1<sub>\2</sub>", str(escape(text))))


def _shipped(name: str) -> str:
    return (resources.files("equilog.report") / name).read_text(encoding="utf-8")
