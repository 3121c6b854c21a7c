"""Compare scorers on embeddings that were made elsewhere: fit on usual scenes, score the others, frame-level figures.

Every frame has the score of the embedding that covers it. Nothing is smoothed in time, no score is normalised by what
is tested, and no anomalous scene of the training files is read by anything here.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from oddwatch.embed import Progress
from oddwatch.embedding_file import EmbeddingFile, View
from oddwatch.errors import MissingExtraError, NotEnoughVideoError
from oddwatch.metrics import frame_metrics
from oddwatch.scorers import FOR_EMBEDDINGS, SCORERS, Scorer, build_scorer, scorer_class
from oddwatch.scorers.blend import BlendScorer
from oddwatch.types import ComparedScorer, ComparedView, Comparison, FloatArray, FrameMetrics

PUBLISHED = "autoencoder"
PUBLISHED_SEEDS = 3
"""How many trainings the published method's figures are the mean of: it is the one whose figures depend on the seed."""


@dataclass(frozen=True)
class Configuration:
    """A scorer with options that differ from its defaults."""

    scorer: str
    options: tuple[tuple[str, Any], ...] = ()

    @property
    def name(self) -> str:
        """The scorer and its options in short."""
        return ", ".join([self.scorer, *(f"{option} {value}" for option, value in self.options)])


def configurations() -> list[Configuration]:
    """Every scorer of the registry that takes any rows, the default for embeddings first, with the ways in which those
    that normalise rows can do so, and the blend in which no recordings choose.
    """
    names = [FOR_EMBEDDINGS, *(n for n in SCORERS if n != FOR_EMBEDDINGS and not scorer_class(n).columns)]
    found = []
    for name in names:
        found.append(Configuration(name))
        if name == "blend":
            found.append(Configuration(name, (("choose", False),)))
        if name in ("knn", "gaussian"):
            found += [Configuration(name, (("normalise", how),)) for how in ("length", "none")]
    return found


def compare_embeddings(
    views: Sequence[View], *, name: str, seed: int = 42, progress: Progress | None = None
) -> Comparison:
    """Figures of every scorer on every view. seed: of the first training; the published method is trained with two
    more. A scorer that cannot be built or cannot learn from so little has no figures, and its note says why.
    """
    scores: list[dict[str, FloatArray]] = [{} for _ in views]
    rows = []
    wanted = configurations()
    for done, wanted_one in enumerate(wanted):
        if progress:
            progress("comparing scorers", float(done), float(len(wanted)))
        seeds = range(seed, seed + (PUBLISHED_SEEDS if wanted_one.scorer == PUBLISHED else 1))
        notes = {
            FOR_EMBEDDINGS: ["what auto stands for"],
            PUBLISHED: [f"the published method, {len(seeds)} seeds"],
        }.get(wanted_one.name, [])
        figures: list[tuple[FrameMetrics, ...]] = []
        try:
            for view, kept in zip(views, scores, strict=True):
                fitted = [_fitted(wanted_one, view.train, s) for s in seeds]
                found = [one.score(view.test.embeddings) for one in fitted]
                if isinstance(fitted[0], BlendScorer):
                    notes.append(f"{view.name}: {fitted[0].says()}")
                kept[wanted_one.name] = found[0]
                figures.append(tuple(_figures(view.test, one) for one in found))
        except (MissingExtraError, NotEnoughVideoError) as error:
            rows.append(ComparedScorer(wanted_one.name, (), str(error)))
            continue
        rows.append(ComparedScorer(wanted_one.name, tuple(figures), "; ".join(notes)))
    return Comparison(name, tuple(rows), tuple(_view(v, s) for v, s in zip(views, scores, strict=True)), seed)


def to_json(comparison: Comparison) -> dict[str, Any]:
    """JSON types only: for each scorer the figures of each view, one for each seed, and the mean over the views."""
    views = [view.name for view in comparison.views]
    return {
        "dataset": comparison.dataset,
        "seed": comparison.seed,
        "views": [
            {"name": v.name, "training_embeddings": v.known, "learned_from": v.usual, "test_embeddings": len(v.scenes)}
            for v in comparison.views
        ],
        "scorers": [
            {
                "name": row.name,
                "micro_auc": row.micro_auc()[-1][0] if row.figures else None,
                "views": {
                    view: {"micro_auc": auc, "spread": spread, "seeds": [asdict(one) for one in seeds]}
                    for view, (auc, spread), seeds in zip(views, row.micro_auc(), row.figures, strict=False)
                },
                "note": row.note,
            }
            for row in comparison.scorers
        ],
    }


def _fitted(wanted: Configuration, train: EmbeddingFile, seed: int) -> Scorer:
    """Learns from usual scenes only. Rows are in the order of time, which is all that is known of it."""
    scorer = build_scorer(wanted.scorer, **dict(wanted.options))
    if "seed" in scorer.options:
        scorer = build_scorer(wanted.scorer, **dict(wanted.options), seed=seed)
    rows, scene = train.embeddings[train.usual], train.scenes[train.usual]
    groups = np.stack([scene, np.arange(len(rows))], axis=1).astype(np.float64)
    return scorer.fit(rows, groups=groups)


def _figures(test: EmbeddingFile, scores: FloatArray) -> FrameMetrics:
    """Micro over all frames; macro over the scenes that have both kinds."""
    assert test.frame_labels is not None
    of = [test.scenes == scene for scene in np.unique(test.scenes)]
    frames = test.frame_labels.shape[1]
    return frame_metrics([np.repeat(scores[i], frames) for i in of], [test.frame_labels[i].ravel() for i in of])


def _view(view: View, scores: dict[str, FloatArray]) -> ComparedView:
    test = view.test
    assert test.frame_labels is not None
    names = test.scene_names
    return ComparedView(
        name=view.name,
        frame_labels=test.frame_labels,
        scenes=tuple(str(i) if names is None else names[i] for i in test.scenes),
        scores=scores,
        known=len(view.train.embeddings),
        usual=int(view.train.usual.sum()),
    )
