"""What was found of a training run: every clip with its error and its distances, and what follows from them.

Kept as two files in a folder, `clips.csv` and `evaluation.json`, so that runs can be compared without scoring again.
"""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from oddwatch.errors import RunError
from oddwatch.files import write_text
from oddwatch.types import Failure, FloatArray

FORMAT = 1
CLIPS, RECORD = "clips.csv", "evaluation.json"
NORMAL_SPLITS = ("train", "validation", "test")
SPLITS = (*NORMAL_SPLITS, "anomaly")
SPACES = ("embedding", "latent")
"""Where distances to class centroids are measured."""
UNTRAINED = "untrained backbone"
_FIXED = ("path", "class", "label", "split", "backbone", "error")


@dataclass(frozen=True)
class ScoredClip:
    """error: of the reconstruction, high = anomalous. distances: by space, to the centroid of each normal class in the
    order of `RunEvaluation.classes`; no spaces for a method without embeddings.
    """

    path: str
    action: str
    split: str
    error: float
    distances: dict[str, tuple[float, ...]] = field(default_factory=dict)

    def nearest(self, space: str) -> float:
        """Distance to the nearest class centroid: above a threshold, it is farther than that from ALL of them."""
        return min(self.distances[space])

    def score(self, by: str) -> float:
        """by: `error`, or a space."""
        return self.error if by == "error" else self.nearest(by)


@dataclass(frozen=True)
class Area:
    """AUROC of the anomalous clips against those of a normal split; by: `error`, or the space of the distance to the
    nearest class centroid. None when there are none of either.
    """

    by: str
    split: str
    anomalous: int
    normal: int
    auroc: float | None


@dataclass(frozen=True)
class ThresholdRow:
    """A threshold in the form of the article (Randellini 2023): the share of the clips of each split that it gets
    right, None for a split without clips. An anomalous clip is right at `value` or above, any other below.

    by: as `Area`. kind: `given`, `calibrated` on validation clips, or `hindsight`, for which the anomalous clips were
    looked at; chosen: the same in words.
    """

    by: str
    kind: str
    chosen: str
    value: float
    accuracy: dict[str, float | None]


@dataclass(frozen=True, eq=False)
class Plane:
    """t-SNE of a space: places (m, 2) of the clips with these numbers (m,)."""

    space: str
    places: FloatArray
    clips: NDArray[np.intp]


@dataclass(frozen=True, eq=False)
class RunEvaluation:
    """All that `oddwatch evaluate run` found; report and comparison are drawn from it and from nothing else.

    name: of the run. backbone: its name, which says so when it is untrained. classes: the normal ones, those of the
    training clips. settings: what the run was asked for, JSON types only. epochs: rows of its `metrics.csv`.
    checkpoint: sha256 of what was evaluated. planes: none where they were not asked for.
    """

    name: str
    backbone: str
    untrained: bool
    clips: tuple[ScoredClip, ...]
    classes: tuple[str, ...]
    areas: tuple[Area, ...]
    thresholds: tuple[ThresholdRow, ...]
    failures: tuple[Failure, ...]
    settings: dict[str, Any]
    epochs: tuple[dict[str, str], ...]
    best_epoch: int | None
    checkpoint: str
    planes: tuple[Plane, ...] = ()

    @property
    def seconds(self) -> float:
        """What training took in all epochs, without making the embeddings."""
        return sum(float(row["seconds"] or 0) for row in self.epochs)

    def scores(self, by: str, split: str) -> FloatArray:
        """(n,) of the clips of a split. by: `error`, or a space."""
        return np.array([clip.score(by) for clip in self.clips if clip.split == split], dtype=np.float64)

    def counts(self) -> dict[str, int]:
        """How many clips of each split were scored."""
        return {split: sum(clip.split == split for clip in self.clips) for split in SPLITS}

    @property
    def calibrated(self) -> float:
        """The threshold of the error that was calibrated on validation clips."""
        return next(row.value for row in self.thresholds if (row.by, row.kind) == ("error", "calibrated"))

    @property
    def spaces(self) -> tuple[str, ...]:
        """Those in which distances were measured."""
        return tuple(space for space in SPACES if self.clips and space in self.clips[0].distances)


def to_json(found: RunEvaluation) -> dict[str, Any]:
    """JSON types only, without the clips, which are in `clips.csv`."""
    return {
        "run": found.name,
        "backbone": found.backbone,
        "untrained": found.untrained,
        "clips": found.counts(),
        "classes": list(found.classes),
        "areas": [asdict(area) for area in found.areas],
        "thresholds": [asdict(row) for row in found.thresholds],
        "failures": [asdict(failure) for failure in found.failures],
        "epochs": list(found.epochs),
        "best_epoch": found.best_epoch,
        "seconds": found.seconds,
        "checkpoint": found.checkpoint,
        "settings": found.settings,
    }


def write_evaluation(found: RunEvaluation, folder: Path) -> None:
    """`clips.csv`, then `evaluation.json`, into `folder`. Raises OddwatchError when they cannot be written."""
    write_text(folder / CLIPS, clips_csv(found))
    write_text(folder / RECORD, json.dumps({"format": FORMAT, **to_json(found)}, indent=1, allow_nan=False) + "\n")


def read_evaluation(folder: Path) -> RunEvaluation | None:
    """What `write_evaluation` left, without planes; None when there is nothing. Raises RunError when it is damaged."""
    path = folder / RECORD
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
        if found["format"] != FORMAT:
            raise RunError(f"{path} is of another version of oddwatch: delete it and evaluate the run again")
        return RunEvaluation(
            name=found["run"],
            backbone=found["backbone"],
            untrained=found["untrained"],
            clips=_read_clips(folder / CLIPS, found["classes"]),
            classes=tuple(found["classes"]),
            areas=tuple(Area(**area) for area in found["areas"]),
            thresholds=tuple(ThresholdRow(**row) for row in found["thresholds"]),
            failures=tuple(Failure(**failure) for failure in found["failures"]),
            settings=found["settings"],
            epochs=tuple(found["epochs"]),
            best_epoch=found["best_epoch"],
            checkpoint=found["checkpoint"],
        )
    except FileNotFoundError:
        return None
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise RunError(f"{path} is damaged or cannot be read: delete it and evaluate the run again") from error


def clips_csv(found: RunEvaluation) -> str:
    """A row for each clip. `SPACE_own` is the distance to the centroid of the clip's own class, empty for an anomalous
    one, `SPACE_nearest` to the nearest one, `SPACE_to_CLASS` to each.
    """
    columns = list(_FIXED)
    for space in found.spaces:
        columns += [f"{space}_own", f"{space}_nearest", f"{space}_nearest_class"]
    columns += [_column(space, action) for space in found.spaces for action in found.classes]
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(columns)
    for clip in found.clips:
        label = "anomalous" if clip.split == "anomaly" else "normal"
        row: list[object] = [clip.path, clip.action, label, clip.split, found.backbone, repr(clip.error)]
        for space in found.spaces:
            distances = clip.distances[space]
            own = repr(distances[found.classes.index(clip.action)]) if clip.action in found.classes else ""
            row += [own, repr(min(distances)), found.classes[int(np.argmin(distances))]]
        row += [repr(distance) for space in found.spaces for distance in clip.distances[space]]
        writer.writerow(row)
    return text.getvalue()


def _column(space: str, action: str) -> str:
    return f"{space}_to_{action}"


def _read_clips(path: Path, classes: Sequence[str]) -> tuple[ScoredClip, ...]:
    with path.open(newline="", encoding="utf-8", errors="surrogateescape") as file:
        reader = csv.DictReader(file)
        columns = set(reader.fieldnames or ())
        spaces = [space for space in SPACES if f"{space}_nearest" in columns]
        return tuple(
            ScoredClip(
                row["path"],
                row["class"],
                row["split"],
                float(row["error"]),
                {space: tuple(float(row[_column(space, action)]) for action in classes) for space in spaces},
            )
            for row in reader
        )
