"""Spoken digits: the recurrent equilibrium and an audio CNN of as many parameters, also on speakers never heard.

    python benchmarks/spoken_digits.py --data fsdd.zip --splits official theo --json results/spoken_digits.json

On the official split, or on all recordings of a speaker while those of the others train ("speakers" for each in turn).
The equilibrium goes through the task's curriculum (ideal, then changing chips), the CNN through as many
ideal epochs of the same loop, with the same augmentation.
"""

from __future__ import annotations

import argparse
from functools import partial
from pathlib import Path

import _harness
from _against import EQUILIBRIUM, TECHNOLOGY, plain, row, told
from rich.table import Table
from torch import nn

from equilog.baselines.audio_cnn import AudioCnn
from equilog.baselines.matching import count_of, matched
from equilog.tasks.sequence.spoken_digits import SpokenDigits
from equilog.training.curriculum import stretched

CNN = "audio CNN"
MODELS = (EQUILIBRIUM, CNN)
SPEAKERS = ("george", "jackson", "lucas", "nicolas", "theo", "yweweler")
OFFICIAL, EACH = "official", "speakers"


def build(task: SpokenDigits, model: str) -> nn.Module:
    """Return an untrained network."""
    if model == EQUILIBRIUM:
        return task.build(task.model_defaults)
    return matched(lambda width: AudioCnn(len(task.words), width), count_of(lambda: task.build(task.model_defaults)))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, help="archive or folder of the recordings; downloaded unless given")
    known = (OFFICIAL, *SPEAKERS, EACH)
    parser.add_argument("--splits", nargs="+", default=[OFFICIAL], choices=known, metavar="NAME", help=", ".join(known))
    parser.add_argument("--models", nargs="+", default=MODELS, choices=MODELS, metavar="NAME", help=", ".join(MODELS))
    parser.add_argument("--seeds", type=int, nargs="+", default=[0])
    parser.add_argument("--epochs", type=int, help="the task's own unless given")
    parser.add_argument("--chips", type=int, default=10)
    parser.add_argument("--json", type=Path, help="write rows here, and do only those that it does not hold")
    arguments = parser.parse_args()
    rows = _harness.rows_of(arguments.json)
    splits = [name for split in arguments.splits for name in (SPEAKERS if split == EACH else (split,))]
    for split in dict.fromkeys(splits):
        task = SpokenDigits(None if split == OFFICIAL else split)
        data = task.load(arguments.data)
        config = task.train_defaults
        if arguments.epochs is not None:
            config = config.model_copy(update={"stages": stretched(config.stages, arguments.epochs)})
        for model in arguments.models:
            for seed in arguments.seeds:
                if any((r["split"], r["model"], r["seed"]) == (split, model, seed) for r in rows):
                    continue
                settings = config if model == EQUILIBRIUM else plain(config)
                found = row(task, data, model, partial(build, task, model), settings, seed, arguments.chips)
                rows.append({"split": split, "epochs": config.epochs} | found)
                _harness.write(arguments.json, rows, arguments, technology=TECHNOLOGY)
    table = Table("tests", "model", "seed", "parameters", "accuracy", "chips, mean", "worst", "training CPU s")
    for r in rows:
        table.add_row(r["split"], r["model"], str(r["seed"]), *told(r))
    _harness.show([table])


if __name__ == "__main__":
    main()
