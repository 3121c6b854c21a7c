"""The folder of a run: what was asked for, what came of it, epoch by epoch, and checkpoints.

`run.json`, `config.yaml`, `manifest.csv`, `metrics.csv`, `checkpoints/best.ckpt` and `last.ckpt`, `tensorboard/`.
Every file is replaced at once: whatever stops a run leaves the state after a finished epoch. It may be an address that
fsspec knows (`oddwatch.files.place`).
"""

from __future__ import annotations

import csv
import io
import json
import os
from collections.abc import Mapping, Sequence
from itertools import zip_longest
from pathlib import Path
from typing import Any

from oddwatch.errors import RunError
from oddwatch.files import os_errors, place, write_text

FORMAT = 1
RECORD = "run.json"
METRICS = "metrics.csv"
COLUMNS = (
    "epoch",
    "backbone",
    "tensors_learning",
    "learning_rate",
    "train_loss",
    "validation_loss",
    "embedding_variance",
    "latent_usage",
    "seconds",
)
_FEW = 4  # entries of a list that a line can show
_MAY_CHANGE = {"epochs", "trainer.patience", "trainer.accelerator", "trainer.devices", "data.workers"}


class RunFolder:
    """Reads and writes it."""

    def __init__(self, folder: str | os.PathLike[str]) -> None:
        """Raises UsageError, MissingExtraError: see `place`."""
        self.folder = place(folder)

    @property
    def best(self) -> Path:
        """The checkpoint with the lowest validation loss."""
        return self.folder / "checkpoints" / "best.ckpt"

    @property
    def last(self) -> Path:
        """The checkpoint of the last finished epoch."""
        return self.folder / "checkpoints" / "last.ckpt"

    def claim(self, asked: Mapping[str, Any], *, resume: bool) -> None:
        """Make it this run's. asked: all that the result depends on, as JSON types. Raises RunError when something
        else is there, or on resuming when nothing is, or what is there was asked for something else.
        """
        try:
            with os_errors():
                is_run = (self.folder / RECORD).exists()
                empty = not self.folder.exists() or not any(self.folder.iterdir())
        except OSError as error:
            raise RunError(f"{self.folder} cannot be used: {error.strerror or error} (choose another --out)") from error
        there = self.record() if is_run else None
        if resume:
            if there is None:
                raise RunError(f"{self.folder} holds no run to resume: leave out --resume to start one")
            if other := _differences(there["asked"], asked):
                raise RunError(
                    f"{self.folder} holds a run with {_said(*other[0])}: resume it with what it began with, or choose "
                    "another --out"
                )
        elif there is not None:
            raise RunError(f"{self.folder} holds a run already: go on with --resume, or choose another --out")
        elif not empty:
            raise RunError(f"{self.folder} is not empty and holds no run: choose another --out")

    def record(self) -> dict[str, Any]:
        """What `run.json` says. Raises RunError."""
        path = self.folder / RECORD
        try:
            with os_errors():
                text = path.read_text(encoding="utf-8")
            found: dict[str, Any] = json.loads(text)
            if found["format"] != FORMAT:
                raise RunError(f"{path} is of another version of oddwatch: use that one")
            found["asked"].keys()
        except FileNotFoundError as error:
            raise RunError(f"{self.folder} is no run: it has no {RECORD} (make one with oddwatch train)") from error
        except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
            raise RunError(f"{path} is damaged or cannot be read: restore a copy or choose another --out") from error
        return found

    def write(self, record: Mapping[str, Any]) -> None:
        """Replace `run.json`. Raises OddwatchError."""
        write_text(self.folder / RECORD, json.dumps({"format": FORMAT, **record}, indent=1) + "\n")

    def metrics(self) -> list[dict[str, str]]:
        """Rows of `metrics.csv`, one for each finished epoch; none when there is none. Raises RunError."""
        path = self.folder / METRICS
        try:
            with os_errors():
                text = path.read_text(encoding="utf-8")
        except FileNotFoundError:
            return []
        except OSError as error:
            raise RunError(f"{path} cannot be read: {error.strerror or error}") from error
        return list(csv.DictReader(io.StringIO(text)))

    def write_metrics(self, rows: Sequence[Mapping[str, Any]]) -> None:
        """Replace `metrics.csv`. Raises OddwatchError."""
        text = io.StringIO()
        writer = csv.DictWriter(text, COLUMNS, lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
        write_text(self.folder / METRICS, text.getvalue())


def _said(name: str, before: Any, now: Any) -> str:
    """What differs, of long lists the first of it."""
    if isinstance(before, list) and isinstance(now, list) and max(len(before), len(now)) > _FEW:
        first = next((a or b for a, b in zip_longest(before, now) if a != b), None)
        return f"another {name}, of {len(before)} entries, now {len(now)}; the first that differs is {first!r}"
    return f"{name} {before!r}, now it is {now!r}"


def _differences(before: Mapping[str, Any], now: Mapping[str, Any], prefix: str = "") -> list[tuple[str, Any, Any]]:
    found = []
    for key in sorted(before.keys() | now.keys()):
        name, a, b = prefix + key, before.get(key), now.get(key)
        if isinstance(a, dict) and isinstance(b, dict):
            found += _differences(a, b, f"{name}.")
        elif a != b and name not in _MAY_CHANGE:
            found.append((name, a, b))
    return found
