"""The benchmark of the `motion` backbone with the `attributes` scorer: what it is worth, and how much of that is luck.

Embeddings of one setting of the backbone are made once for all rows that need them. A row that is known is not measured
again: what it depends on (videos, truth, sources, settings) is part of its key.
"""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np

from oddwatch.detector import Detector, On
from oddwatch.detector.suited import suitable_scorers
from oddwatch.embed import EmbeddingStore, Progress, StoredEmbeddings, fingerprint
from oddwatch.errors import MissingExtraError, NotEnoughVideoError, OddwatchError, UsageError
from oddwatch.evaluate.floors import FLOORS
from oddwatch.evaluate.measure import (
    PUBLISHED,
    KnownVideo,
    describe,
    events_of,
    figures_of,
    floor_rows,
    frame_scores,
    leave_one_out_of,
    score_stored,
    with_places,
)
from oddwatch.evaluate.stages import Speed, speed_of
from oddwatch.files import sha256_of
from oddwatch.metrics import frame_metrics
from oddwatch.scorers.attributes import ATTRIBUTES
from oddwatch.types import Dataset, EventMetrics, Failure, Frame, FrameMetrics, LeaveOneOut
from oddwatch.video import open_video

Section = Literal["main", "floors", "scorers", "ablation", "sensitivity"]
SECTIONS: tuple[Section, ...] = ("main", "floors", "scorers", "ablation", "sensitivity")
DEFAULT = "fine"
"""Name of the row of the default."""
SENSITIVITY: tuple[dict[str, Any], ...] = (
    *({"window_px": px} for px in (20, 24, 32, 36)),
    *({"carry": weight} for weight in (0.1, 0.15, 0.3, 0.4)),
    *({"stride_px": px} for px in (4, 12)),
    *({"moving_px": px} for px in (0.1, 0.3, 0.4)),
    *({"height_px": px} for px in (160, 200)),
    *({"held_share": share} for share in (0.01, 0.05)),
    {"spacing_seconds": 0.15},
    {"quality": "fast", "window_px": 36},
)
"""Options of the backbone that differ from the default, beside which `fine` and `fast` themselves count."""
_SPEED_FRAMES = 300
_SOURCES = ("backbones", "scorers", "detector", "embed", "video", "calibration.py", "grouping.py", "metrics.py")
"""What a row depends on in this package."""


@dataclass(frozen=True)
class Setting:
    """What one row measures. backbone: options of `motion`. calibrated: events are measured too."""

    section: Section
    name: str
    backbone: dict[str, Any]
    scorer: str = "attributes"
    on: On = "grid"
    only: tuple[str, ...] = ()
    calibrated: bool = False

    @property
    def offline(self) -> bool:
        """Whether it looks into the future."""
        return bool(self.backbone.get("offline"))


@dataclass(frozen=True)
class BenchRow:
    """What was found. offline: of embeddings that look ahead. note: why there are no figures. seconds: what it took."""

    section: Section
    name: str
    offline: bool
    figures: FrameMetrics
    events: EventMetrics | None = None
    leave_one_out: LeaveOneOut | None = None
    threshold_says: str = ""
    speed: Speed | None = None
    note: str = ""
    seconds: float = 0.0

    def to_json(self) -> dict[str, Any]:
        """JSON types only."""
        return asdict(self)

    @staticmethod
    def from_json(values: dict[str, Any]) -> BenchRow:
        """Inverse of `to_json`. Raises TypeError or KeyError for what is none."""
        loo = values["leave_one_out"]
        return BenchRow(
            **{
                **values,
                "figures": FrameMetrics(**values["figures"]),
                "events": None if values["events"] is None else EventMetrics(**values["events"]),
                "leave_one_out": loo and LeaveOneOut(**{**loo, "interval": tuple(loo["interval"])}),
                "speed": None if values["speed"] is None else Speed(**values["speed"]),
            }
        )


@dataclass(frozen=True)
class BenchResult:
    """rows: in the order of `plan`, floors last."""

    dataset: str
    rows: tuple[BenchRow, ...]
    failures: tuple[Failure, ...]
    budget: str


def plan(sections: Sequence[Section]) -> list[Setting]:
    """Every setting but the floors, those of one backbone after the other."""
    found: list[Setting] = []
    for quality in (DEFAULT, "fast"):
        for offline in (False, True):
            backbone = {"quality": quality, "offline": offline}
            if "main" in sections:
                found.append(Setting("main", quality, backbone, calibrated=True))
            if quality != DEFAULT:
                continue
            if "scorers" in sections and not offline:
                found += [
                    Setting("scorers", f"{name} on {look}", backbone, name, look)
                    for look in ("grid", "vector")
                    for name in suitable_scorers("motion", look)
                    if name != "attributes"
                ]
            if "ablation" in sections:
                alone = [Setting("ablation", f"{name} alone", backbone, only=(name,)) for name in ATTRIBUTES]
                without = [
                    Setting("ablation", f"all but {name}", backbone, only=tuple(a for a in ATTRIBUTES if a != name))
                    for name in ATTRIBUTES
                ]
                found += [*alone, *without]
    if "sensitivity" in sections:
        settings = [{"quality": DEFAULT}, {"quality": "fast"}, *SENSITIVITY]
        found += [
            Setting(
                "sensitivity",
                ", ".join(f"{k} {v}" for k, v in changed.items()),
                {"quality": DEFAULT, "offline": False, **changed},
            )
            for changed in settings
        ]
    return found


def bench(
    dataset: Dataset,
    *,
    sections: Sequence[Section] = SECTIONS,
    budget: str = "2/day",
    folds: int = 5,
    seed: int = 42,
    known: Mapping[str, BenchRow] | None = None,
    keep: Callable[[str, BenchRow], None] | None = None,
    progress: Progress | None = None,
) -> BenchResult:
    """Measure `motion` with `attributes` on a data set. known: rows by their key, which are not measured again. keep:
    is told of each row that was measured, with its key.

    Raises OddwatchError when no test video, or no usual one, can be used, UsageError for an unknown section.
    """
    if unknown := set(sections) - set(SECTIONS):
        raise UsageError(f"unknown section {sorted(unknown)[0]!r}: choose from {', '.join(SECTIONS)}")
    tests, broken = describe(dataset.split("test"))
    if not tests:
        raise OddwatchError(f"{dataset.name}: no test video to score: {'; '.join(map(str, broken)) or 'it has none'}")
    depends = {"data": _data_sha256(dataset), "code": _code_sha256(), "budget": budget, "folds": folds, "seed": seed}
    rows: dict[str, BenchRow] = {}

    def take(key: str, row: BenchRow) -> None:
        rows[key] = row
        if keep:
            keep(key, row)

    settings = {_key(depends, s): s for s in plan(sections)}
    rows |= {key: known[key] for key in settings if known and key in known}
    groups: dict[str, list[str]] = {}
    for key, setting in settings.items():
        groups.setdefault(json.dumps(setting.backbone, sort_keys=True), []).append(key)
    failures = dict.fromkeys(broken)
    for number, keys in enumerate(groups.values()):
        todo = [key for key in keys if key not in rows]
        if not todo:
            continue
        said = _said(progress, f"{number + 1} of {len(groups)}")
        with EmbeddingStore() as usual_store, EmbeddingStore() as test_store:
            maker = Detector(backbone_options=settings[todo[0]].backbone)
            for sample in dataset.split("train"):
                usual_store.add_video(sample.path, maker.backbone, fps=sample.fps, progress=said)
            if not usual_store.videos:
                reasons = "; ".join(map(str, usual_store.failures)) or "it has none"
                raise OddwatchError(f"{dataset.name}: no usual video to learn from: {reasons}")
            used = [
                t for t in tests if test_store.add_video(t.sample.path, maker.backbone, fps=t.sample.fps, progress=said)
            ]
            failures |= dict.fromkeys((*usual_store.failures, *test_store.failures))
            if not used:
                raise OddwatchError(f"{dataset.name}: no test video to score: {'; '.join(map(str, failures))}")
            usual, test = usual_store.freeze(), test_store.freeze()
            for done, key in enumerate(todo):
                if said:
                    said(settings[key].name, float(done), float(len(todo)))
                try:
                    take(key, _measured(settings[key], usual, test, used, budget, folds, seed))
                except (MissingExtraError, NotEnoughVideoError) as error:
                    rows[key] = replace(_empty(settings[key]), note=str(error))  # not kept: it can be mended
    result = [rows[key] for key in settings if key in rows]
    if "floors" in sections:
        keys = _floors(tests, depends, known or {}, take, progress)
        result += [row for key in keys if (row := rows.get(key) or (known or {}).get(key))]
    return BenchResult(dataset.name, tuple(result), tuple(failures), budget)


def _measured(
    setting: Setting,
    usual: StoredEmbeddings,
    test: StoredEmbeddings,
    tests: Sequence[KnownVideo],
    budget: str,
    folds: int,
    seed: int,
) -> BenchRow:
    """Raises MissingExtraError, NotEnoughVideoError."""
    began = time.perf_counter()
    detector = Detector(
        backbone_options=setting.backbone,
        scorer=setting.scorer,
        scorer_options={"only": list(setting.only)} if setting.only else None,
        on=setting.on,
        budget=budget,
        folds=folds,
        seed=seed,
    ).fit(usual, calibrate=setting.calibrated)
    tracks = score_stored(detector, test)
    scores = [frame_scores(t, track, ahead=setting.offline) for t, track in zip(tests, tracks, strict=True)]
    row = _empty(setting)
    figures = with_places(figures_of(tests, scores)[0], tests, tracks, ahead=setting.offline)
    if setting.calibrated:
        row = replace(
            row,
            events=events_of(detector, tests, tracks)[1],
            leave_one_out=leave_one_out_of(detector, usual, None) if _is_default(setting) else None,
            threshold_says=detector.threshold.says,
            speed=speed_of(
                _decoded(tests),
                setting.backbone,
                lambda embeddings: detector.score_embeddings(embeddings, "", maps=False),
            ),
        )
    return replace(row, figures=figures, seconds=round(time.perf_counter() - began, 1))


def _is_default(setting: Setting) -> bool:
    return setting.name == DEFAULT and not setting.offline


def _empty(setting: Setting) -> BenchRow:
    published = "the published method's scorer" if (setting.scorer, setting.on) == PUBLISHED else ""
    return BenchRow(setting.section, setting.name, setting.offline, frame_metrics([], []), note=published)


def _decoded(tests: Sequence[KnownVideo]) -> list[list[Frame]]:
    """Frames of the first test videos, as many as tell a speed."""
    videos: list[list[Frame]] = []
    for test in tests:
        left = _SPEED_FRAMES - sum(map(len, videos))
        if left <= 0:
            break
        with open_video(test.sample.path, fps=test.sample.fps) as source:
            videos.append([frame for frame, _ in zip(source, range(left), strict=False)])
    return videos


def _floors(
    tests: Sequence[KnownVideo],
    depends: dict[str, Any],
    known: Mapping[str, BenchRow],
    take: Callable[[str, BenchRow], None],
    progress: Progress | None,
) -> list[str]:
    """Keys of their rows."""
    keys = [_key(depends, Setting("floors", name, {})) for name in FLOORS]
    if any(t.labels is not None for t in tests) and not all(key in known for key in keys):
        for key, row in zip(keys, floor_rows(tests, progress), strict=True):
            take(key, BenchRow("floors", row.name, False, row.causal))
    return keys


def _said(progress: Progress | None, which: str) -> Progress | None:
    if progress is None:
        return None
    return lambda name, done, total: progress(f"{which}: {name}", done, total)


def _key(depends: dict[str, Any], setting: Setting) -> str:
    return hashlib.sha256(json.dumps([depends, asdict(setting)], sort_keys=True).encode()).hexdigest()


def _data_sha256(dataset: Dataset) -> str:
    """Of all that is read of it: bytes of the videos, rates, labels. Masks go with the labels."""
    digest = hashlib.sha256()
    for sample in dataset.samples:
        labels = None if sample.frame_labels is None else np.packbits(sample.frame_labels).tobytes().hex()
        known = [sample.name, sample.split, sample.fps, labels, repr(sample.truth), fingerprint(sample.path)]
        digest.update(json.dumps(known).encode())
    return digest.hexdigest()


def _code_sha256() -> str:
    """Of the sources that figures depend on."""
    folder = Path(__file__).parent.parent
    files = sorted(file for name in _SOURCES for file in [folder / name, *(folder / name).rglob("*.py")])
    digest = hashlib.sha256()
    for file in files:
        if file.is_file():
            digest.update(f"{file.relative_to(folder)} {sha256_of(file)}".encode())
    return digest.hexdigest()
