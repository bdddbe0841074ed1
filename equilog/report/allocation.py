"""What ``equilog allocate`` found for a run, if it was asked: its pictures, and the proof in a sentence."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from equilog.drawing.style import Plate, framed
from equilog.drawing.units import engineering, percent
from equilog.names import UserError

FOLDER, FILE = "allocate", "allocation.json"
_PICTURES = {
    "graph.svg": (
        "Which operation runs where",
        "Filled boxes are on chips, pale ones digital. Words beside an edge say what converts there; its colour is the "
        "chips' where voltages go from crossbar to crossbar.",
    ),
    "energy.svg": (
        "What takes the energy",
        "Typical values at batch 1. Hatched parts are on chips; a cross is the split recounted on an unseen chip.",
    ),
    "front.svg": (
        "What energy, latency and accuracy trade for",
        "Every point is a split that no other beats in all three. The ring is the one that was chosen.",
    ),
}


@dataclass(frozen=True)
class Section:
    """The section of a page: what was found in sentences, and the pictures."""

    sentences: list[str]
    plates: list[Plate]


def weights_digest(run: Path) -> str:
    """Return a digest of a run's weights, by which an allocation is known to be of them and not of former ones."""
    digest = hashlib.sha256()
    for name in ("model.safetensors", "adapted.safetensors"):
        if (run / name).is_file():
            digest.update((run / name).read_bytes())
    return digest.hexdigest()


def allocation_section(run: Path) -> Section | None:
    """Return the section, None if nothing was allocated or the weights are others since.

    Raises:
        UserError: for a file that is there and cannot be read.
    """
    place = run / FOLDER
    if not (place / FILE).is_file():
        return None
    try:
        data = json.loads((place / FILE).read_text(encoding="utf-8"))
        if data["weights_sha256"] != weights_digest(run):
            return None
        sentences = _sentences(data)
    except (ValueError, KeyError, TypeError) as error:
        raise UserError(
            f"{place / FILE} is not what equilog allocate writes ({type(error).__name__}: {error}): run it again, or "
            "remove the folder"
        ) from None
    plates = [
        Plate(
            f"fig-allocate-{name.removesuffix('.svg')}",
            title,
            [framed((place / name).read_text(encoding="utf-8"), title)],
            caption,
        )
        for name, (title, caption) in _PICTURES.items()
        if (place / name).is_file()
    ]
    return Section(sentences, plates)


def _sentences(data: dict[str, Any]) -> list[str]:
    chosen, digital, proof, outcome = data["chosen"], data["digital"], data["proof"], data["outcome"]
    energy, latency, what = chosen["energy_joule"], chosen["latency_second"], data["minimised"].partition("_")[0]
    on = [row["name"] for row in data["layers"] if row["kind"] != "digital"]
    accuracy = outcome["accuracy_unseen_chips"]
    return [
        f"On {data['hardware']} beside {data['target']}, {', '.join(on) or 'no operation'} "
        f"{'belongs' if len(on) < 2 else 'belong'} on chips.",
        f"The split takes {engineering(energy['typical'], 'J')} ({engineering(energy['low'], 'J')} to "
        f"{engineering(energy['high'], 'J')}) and {engineering(latency['typical'], 's')} an inference; all digital it "
        f"is {engineering(digital['energy_joule'], 'J')} and {engineering(digital['latency_second'], 's')}.",
        f"No split within the limits takes less {what} by more than a share of {float(proof['gap']):.2g}, which "
        f"{proof['solver']} proved.",
        f"Run on {len(accuracy['each'])} unseen chips and {outcome['samples']} other samples it reads "
        f"{percent(accuracy['mean'])}; predicted were {percent(outcome['accuracy_predicted'])}, and the ideal model "
        f"reads {percent(outcome['accuracy_ideal'])}.",
    ]
