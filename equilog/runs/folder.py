"""The run folder: what lies in it, and writing that never leaves a half file under a whole file's name.

config.yaml  hardware.yaml     what was asked for; written first
state/                         training checkpoint; only while training is unfinished
model.safetensors              the trained weights
training.csv                   one row per epoch
adapted.safetensors            the weights as adapted to the chip that is built; only where that was asked for
adaptation.csv                 one row for each thing done for that
circuit/                       the chip's netlist and test benches
waveforms.safetensors          transients, twin and ngspice
transistors.safetensors        activation outputs, twin and transistors; only where that rung was climbed
verify.json                    the ladder
pictures/                      what the task draws of its model; only where it draws
metrics.json                   the figures in short; written when all of the above is there
report.html                    all of it to look at
"""

from __future__ import annotations

import csv
import io
import json
import os
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import yaml
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from equilog.cost import CostReport
from equilog.cost.parts import BlockCost
from equilog.devices.ladder import Ladder, Waveforms
from equilog.devices.ladder_report import LadderReport
from equilog.devices.transistor_rung import TransistorOutputs
from equilog.hardware import Chip, Spec, load_spec
from equilog.model import HybridDEQ
from equilog.names import UserError
from equilog.runs.config import RunConfig
from equilog.tasks import get_task

# Last first: a removal that is cut short must not leave a folder that looks finished.
_FILES = (
    "report.html",
    "metrics.json",
    "verify.json",
    "waveforms.safetensors",
    "transistors.safetensors",
    "adaptation.csv",
    "adapted.safetensors",
    "training.csv",
    "model.safetensors",
    "hardware.yaml",
    "config.yaml",
)


class RunFolder:
    """A folder on disk, read and written file by file."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.circuit = path / "circuit"
        self.state = path / "state"
        self.pictures_folder = path / "pictures"
        self.report = path / "report.html"

    @property
    def started(self) -> bool:
        """Whether anything lies there already."""
        return self.path.exists() and (not self.path.is_dir() or any(self.path.iterdir()))

    @property
    def is_run(self) -> bool:
        """Whether a run was begun there."""
        return (self.path / "config.yaml").is_file()

    @property
    def finished(self) -> bool:
        """Whether a run went through to its metrics."""
        return (self.path / "metrics.json").is_file()

    def clear(self) -> None:
        """Remove what a run writes, and nothing else."""
        for name in _FILES:
            (self.path / name).unlink(missing_ok=True)
        for inner in (self.circuit, self.state, self.pictures_folder):
            shutil.rmtree(inner, ignore_errors=True)

    def begin(self, config: RunConfig, spec: Spec) -> None:
        """Make the folder and write down what was asked for."""
        self.path.mkdir(parents=True, exist_ok=True)
        self._write("config.yaml", yaml.safe_dump(config.model_dump(mode="json"), sort_keys=False))
        self._write("hardware.yaml", yaml.safe_dump(spec.model_dump(mode="json", exclude_none=True), sort_keys=False))

    def config(self) -> RunConfig:
        """Read ``config.yaml``; raises ``UserError`` if this is no run folder."""
        self._require("config.yaml", "is not a run folder")
        return RunConfig.read(self.path / "config.yaml")

    def spec(self) -> Spec:
        """Read ``hardware.yaml``, the technology as it was when the run began."""
        self._require("hardware.yaml", "is not a run folder")
        return load_spec(self.path / "hardware.yaml")

    def chip(self) -> Chip:
        """Return the chip that this run builds."""
        return Chip(self.spec(), self.config().chip_seed)

    def save_model(self, model: HybridDEQ) -> None:
        """Write the trained weights."""
        self._place("model.safetensors", lambda path: save_file(_tensors_of(model), path))

    def save_adapted(self, model: HybridDEQ, rows: list[dict[str, Any]]) -> None:
        """Write the weights as adapted to the chip that is built, and how that went."""
        self._write_rows("adaptation.csv", rows)
        self._place("adapted.safetensors", lambda path: save_file(_tensors_of(model), path))

    def load_model(self, *, adapted: bool = True) -> HybridDEQ:
        """Return the model: as adapted to the chip that is built if it was, or always as trained.

        Args:
            adapted: False for the weights that were trained for any chip.

        Raises:
            UserError: if training has not finished or the file is damaged.
        """
        self._require("model.safetensors", "holds no trained model yet")
        name = "adapted.safetensors" if adapted and self.adapted else "model.safetensors"
        config = self.config()
        model = get_task(config.task).build(config.model)
        try:
            model.load_state_dict(load_file(self.path / name))
        except (SafetensorError, RuntimeError) as error:
            raise UserError(f"{self.path}/{name} does not fit config.yaml: {' '.join(str(error).split())}") from None
        return model

    @property
    def trained(self) -> bool:
        """Whether the weights are there."""
        return (self.path / "model.safetensors").is_file()

    @property
    def adapted(self) -> bool:
        """Whether there are weights adapted to the chip that is built."""
        return (self.path / "adapted.safetensors").is_file()

    def save_training(self, rows: list[dict[str, Any]]) -> None:
        """Write one line per epoch."""
        self._write_rows("training.csv", rows)

    def _write_rows(self, name: str, rows: list[dict[str, Any]]) -> None:
        keys = list(dict.fromkeys(key for row in rows for key in row))
        text = io.StringIO()
        writer = csv.DictWriter(text, keys, lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
        self._write(name, text.getvalue())

    def training(self) -> list[dict[str, str]]:
        """Read the epochs; empty if none were trained."""
        path = self.path / "training.csv"
        if not path.is_file():
            return []
        with path.open(encoding="utf-8", newline="") as file:
            return list(csv.DictReader(file))

    def save_ladder(self, ladder: Ladder) -> None:
        """Write ``verify.json`` and what is drawn of it; the file that says what was found comes last."""
        tensors = {}
        for wave in ladder.waveforms:
            for key in ("time_second", "twin", "ngspice"):
                tensors[f"{wave.sample}.{key}"] = getattr(wave, key).contiguous()
        self._tensors("waveforms.safetensors", tensors)
        found = ladder.transistors
        pair = {} if found is None else {"twin": found.twin.contiguous(), "ngspice": found.ngspice.contiguous()}
        self._tensors("transistors.safetensors", pair)
        self._write("verify.json", ladder.report.model_dump_json(indent=1))

    def ladder(self) -> Ladder:
        """Read what :meth:`save_ladder` wrote; raises ``UserError`` if the run was not verified yet."""
        self._require("verify.json", "has not been verified yet (equilog verify RUN)")
        report = LadderReport.model_validate_json((self.path / "verify.json").read_text(encoding="utf-8"))
        path = self.path / "waveforms.safetensors"
        tensors: dict[str, Tensor] = load_file(path) if path.is_file() else {}
        samples = sorted({int(key.partition(".")[0]) for key in tensors})
        waves = [
            Waveforms(k, *(tensors[f"{k}.{part}"] for part in ("time_second", "twin", "ngspice"))) for k in samples
        ]
        path = self.path / "transistors.safetensors"
        outputs = TransistorOutputs(**load_file(path)) if path.is_file() else None
        return Ladder(report, waves, outputs)

    def former_ladder(self) -> Ladder | None:
        """Return what was found before, None if there is nothing that can be read: it is only to be added to."""
        try:
            return self.ladder()
        except (UserError, ValueError, KeyError, TypeError, SafetensorError):
            return None

    def save_metrics(self, metrics: dict[str, Any]) -> None:
        """Write ``metrics.json``: the run is whole."""
        self._write("metrics.json", json.dumps(metrics, indent=1))

    def metrics(self) -> dict[str, Any]:
        """Read ``metrics.json``; raises ``UserError`` if the run has not finished."""
        self._require("metrics.json", "is not finished (equilog run … --resume)")
        found: dict[str, Any] = json.loads((self.path / "metrics.json").read_text(encoding="utf-8"))
        return found

    def save_pictures(self, pictures: list[tuple[dict[str, str], str]]) -> None:
        """Write pictures, each ``{key, title, caption}`` and an SVG document; their list comes last."""
        shutil.rmtree(self.pictures_folder, ignore_errors=True)
        if not pictures:
            return
        self.pictures_folder.mkdir()
        for about, svg in pictures:
            self._write(f"pictures/{about['key']}.svg", svg)
        self._write("pictures/pictures.json", json.dumps([about for about, _ in pictures], indent=1))

    def pictures(self) -> list[tuple[dict[str, str], str]]:
        """Read what :meth:`save_pictures` wrote; raises ``UserError`` if a file that the list names cannot be read."""
        listed = self.pictures_folder / "pictures.json"
        if not listed.is_file():
            return []
        try:
            return [
                (about, (self.pictures_folder / f"{Path(about['key']).name}.svg").read_text(encoding="utf-8"))
                for about in json.loads(listed.read_text(encoding="utf-8"))
            ]
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise UserError(f"{listed} does not fit what lies beside it: {error}") from None

    def cost(self) -> CostReport | None:
        """Return the estimate within the metrics, None if there was nothing to charge."""
        data = self.metrics().get("cost")
        return None if data is None else CostReport.model_validate(data)

    def parts(self) -> list[BlockCost]:
        """Return the table of blocks within the metrics; empty if they were measured before there was one."""
        return [BlockCost.model_validate(row) for row in self.metrics().get("parts", [])]

    def save_report(self, html: str) -> None:
        """Write ``report.html``."""
        self._write("report.html", html)

    def _write(self, name: str, text: str) -> None:
        self._place(name, lambda path: path.write_text(text, encoding="utf-8"))

    def _tensors(self, name: str, tensors: dict[str, Tensor]) -> None:
        if tensors:
            self._place(name, lambda path: save_file(tensors, path))
        else:
            (self.path / name).unlink(missing_ok=True)

    def _place(self, name: str, write: Callable[[Path], object]) -> None:
        """Write beside the final name and rename: readers see the old file or the new one, whole."""
        place = self.path / name
        handle, scratch = tempfile.mkstemp(dir=place.parent, prefix=f".{place.name}.")
        os.close(handle)
        try:
            write(Path(scratch))
            os.chmod(scratch, 0o644)
            os.replace(scratch, place)
        except BaseException:
            Path(scratch).unlink(missing_ok=True)
            raise

    def _require(self, name: str, complaint: str) -> None:
        if not (self.path / name).is_file():
            raise UserError(f"{self.path} {complaint}: no {name}")


def _tensors_of(model: HybridDEQ) -> dict[str, Tensor]:
    return {name: t.detach().contiguous() for name, t in model.state_dict().items()}
