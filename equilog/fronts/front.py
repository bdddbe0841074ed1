"""A front: models trained with a regulariser at several weights, each measured on chips that training never saw.

Every point is a run folder of its own, trained and not yet verified: ``equilog verify`` makes a circuit of the one that
is chosen. Interrupted and called again with the same settings, a front goes on where it stopped.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Callable
from pathlib import Path

from equilog.fronts.point import Point, measure
from equilog.hardware import load_spec
from equilog.names import UserError, unknown
from equilog.objective import Scored
from equilog.pipeline import load_data, objective_of, train_run
from equilog.runs import RunConfig, RunFolder
from equilog.tasks import Data
from equilog.training import Stage
from equilog.training.losses import LOSSES

Progress = Callable[[str, int, int], None]


class Front(Scored):
    """All points of one front, in the order of their weights."""

    task: str
    hardware: str
    loss: str
    points: tuple[Point, ...]

    @property
    def best(self) -> tuple[Point, ...]:
        """The points that no other beats in both score and energy, cheapest first."""
        found: list[Point] = []
        for point in sorted(self.points, key=lambda p: (p.energy_typical_joule, -self.rank(p.score_mean))):
            if not found or self.rank(point.score_mean) > self.rank(found[-1].score_mean):
                found.append(point)
        return tuple(found)


def draw_front(
    config: RunConfig,
    loss: str,
    weights: list[float],
    path: Path,
    *,
    chips: int = 20,
    progress: Progress | None = None,
) -> Front:
    """Train and measure a model for every weight, and write ``front.csv``, ``front.json`` and ``front.svg``.

    Args:
        config: the run that all points share; stages on chips get the regulariser.
        loss: name of the regulariser, of :data:`equilog.training.losses.LOSSES`.
        weights: its weights λ; 0 is the run without it.
        path: folder to write.
        chips: on how many unseen chips every model is measured.
        progress: called with a phrase, and which point of how many it is about.

    Raises:
        UserError: for an unknown regulariser, weights below 0, a curriculum without chips, or a folder that holds
            something else.
        TrainingInterrupted: on Ctrl-C in training; calling again goes on.
    """
    if loss not in LOSSES:
        raise unknown("regulariser", loss, LOSSES)
    if not weights or min(weights) < 0:
        raise UserError(f"weights {weights}: expected at least one, each 0 or more")
    if not any(stage.twin and stage.epochs for stage in config.training.stages.values()):
        raise UserError("no stage of this curriculum meets chips: a regulariser would change nothing")
    tell = progress or (lambda _phrase, _point, _of: None)
    ordered = sorted(set(weights))
    spec = load_spec(config.hardware)
    path.mkdir(parents=True, exist_ok=True)
    data, points = load_data(config), []
    for k, weight in enumerate(ordered):
        folder = RunFolder(path / f"{loss}-{weight:g}")
        with_loss = weighted(config, loss, weight)
        if not folder.started:
            folder.begin(with_loss, spec)
        elif not folder.is_run or folder.config() != with_loss or folder.spec() != spec:
            raise UserError(f"{folder.path} holds something else; choose another --out, or remove it")
        tell(f"training with {loss} × {weight:g}", k, len(ordered))
        train_run(folder, data, progress=progress is not None)
        tell(f"measuring {loss} × {weight:g}", k, len(ordered))
        points.append(_measured_once(folder, weight, data, chips))
    scored = Scored.fields_of(objective_of(config, data))
    front = Front(task=config.task, hardware=spec.name, loss=loss, points=tuple(points), **scored)
    _write(front, path)
    return front


def weighted(config: RunConfig, loss: str, weight: float) -> RunConfig:
    """Return the run with a regulariser at this weight in every stage that meets chips, besides those it has."""

    def changed(stage: Stage) -> Stage:
        if not stage.twin:
            return stage
        return stage.model_copy(update={"losses": stage.losses | {loss: weight}})

    stages = {name: changed(stage) for name, stage in config.training.stages.items()}
    return config.model_copy(update={"training": config.training.model_copy(update={"stages": stages})})


def _measured_once(folder: RunFolder, weight: float, data: Data, chips: int) -> Point:
    file = folder.path / f"point-{chips}.json"
    if file.is_file():
        return Point.model_validate_json(file.read_text(encoding="utf-8"))
    point = measure(folder, weight, data, chips)
    file.write_text(point.model_dump_json(indent=1), encoding="utf-8")
    return point


def _write(front: Front, path: Path) -> None:
    from equilog.fronts.figure import front_svg  # noqa: PLC0415  (matplotlib, only where a picture is drawn)

    rows = [point.model_dump() for point in front.points]
    text = io.StringIO()
    writer = csv.DictWriter(text, list(rows[0]), lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    (path / "front.csv").write_text(text.getvalue(), encoding="utf-8")
    (path / "front.json").write_text(front.model_dump_json(indent=1), encoding="utf-8")
    (path / "front.svg").write_text(front_svg(front), encoding="utf-8")
