"""Pictures of a learned stepper: its course in time, and the orbit it draws, beside the trusted ones."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor

from equilog.tasks.beside import IDEAL, TRUSTED, TWIN, curves_beside
from equilog.tasks.dynamics.reference import trajectories
from equilog.tasks.dynamics.rollout import rolled
from equilog.tasks.dynamics.systems import System
from equilog.tasks.measures import Picture
from equilog.tasks.task import Predict

if TYPE_CHECKING:
    from matplotlib.figure import Figure

SHOWN = 3


def pictures_of(system: System, ideal: Predict, twin: Predict) -> list[Picture]:
    """Return a trajectory in time, and the orbit in a plane, or a map over time of more than three coordinates."""
    start = torch.tensor([system.probe], dtype=torch.float64)
    if system.kind == "chaos":
        start = trajectories(system, start, 1, system.horizon)[:, -1]
    steps = system.steps(system.horizon)
    trusted = trajectories(system, start, steps)[0]
    of_ideal, of_twin = (rolled(predict, start, steps)[0] for predict in (ideal, twin))
    at = torch.arange(steps + 1, dtype=torch.float64) * system.step
    named = list(enumerate(system.coordinates))[:SHOWN]
    curves = [{name: path[:, k] for k, name in named} for path in (trusted, of_ideal, of_twin)]
    in_time = curves_beside(
        f"{system.name}-time",
        "A trajectory in time",
        f"Roll-outs of {steps} steps of h = {system.step:g} from one start. Trusted is DOP853 at 1e-12.",
        at,
        *curves,
        across="time",
    )
    if system.size > SHOWN:
        return [in_time, _maps(system, trusted, of_ideal, of_twin)]
    return [in_time, _portrait(system, trusted, of_ideal, of_twin)]


def _maps(system: System, *paths: Tensor) -> Picture:
    def draw(figure: Figure) -> None:
        low, high = float(paths[0].min()), float(paths[0].max())
        panels = figure.subplots(3, 1, sharex=True)
        for axes, name, path in zip(panels, (TRUSTED, IDEAL, TWIN), paths):
            shown = axes.imshow(
                path.T.numpy(), origin="lower", extent=(0.0, system.horizon, 0.5, system.size + 0.5), vmin=low,
                vmax=high, cmap="viridis", interpolation="nearest", aspect="auto",
            )  # fmt: skip
            axes.set_title(name)
            axes.set_ylabel("variable")
            axes.grid(visible=False)
        panels[-1].set_xlabel("time")
        figure.colorbar(shown, ax=list(panels), shrink=0.8)

    return Picture(
        key=f"{system.name}-map",
        title="All variables over time",
        caption="The same trajectories, a row a variable. Forecasts part from the trusted one where its chaos has made "
        "their errors large.",
        size=(7.2, 4.2),
        draw=draw,
    )


def _portrait(system: System, *paths: Tensor) -> Picture:
    across, up = plane(system)

    def draw(figure: Figure) -> None:
        from equilog.drawing.style import ANALOG, INK, SIMULATOR  # noqa: PLC0415  # an optional extra

        panels = figure.subplots(1, 3, sharex=True, sharey=True)
        for axes, name, path, colour in zip(panels, (TRUSTED, IDEAL, TWIN), paths, (INK, SIMULATOR, ANALOG)):
            axes.plot(path[:, across], path[:, up], "-", color=colour, linewidth=0.6)
            axes.plot(path[0, across], path[0, up], "o", color=colour, markersize=3)
            axes.set_title(name)
            axes.set_xlabel(system.coordinates[across])
        panels[0].set_ylabel(system.coordinates[up])
        for k, limit in ((across, panels[0].set_xlim), (up, panels[0].set_ylim)):
            low, high = float(paths[0][:, k].min()), float(paths[0][:, k].max())
            room = 0.15 * max(high - low, 1e-3)
            limit(low - room, high + room)

    return Picture(
        key=f"{system.name}-portrait",
        title="The orbit in state space",
        caption="The same trajectories; the dot is where they start.",
        size=(7.2, 2.6),
        draw=draw,
    )


def plane(system: System) -> tuple[int, int]:
    """Return the two coordinates that show most: x and z of Lorenz's butterfly, else the first two."""
    return (0, 2) if system.name == "lorenz63" else (0, 1)
