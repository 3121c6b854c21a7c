"""An `Evaluation` as one JSON object, for machines."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from oddwatch.types import Evaluation, EventMetrics, FrameMetrics


def to_json(evaluation: Evaluation) -> dict[str, Any]:
    """JSON types only. `causal`, `offline` and `events` speak of the configuration asked for; `rows` of all."""
    first, loo = evaluation.rows[0], evaluation.leave_one_out
    return {
        "dataset": evaluation.dataset,
        "causal": _figures(first.causal),
        "offline": _figures(first.offline),
        "events": _figures(first.events),
        "frames_per_second": evaluation.frames_per_second,
        "threshold": {"value": evaluation.threshold, "says": evaluation.threshold_says},
        "leave_one_out": None if loo is None else {**asdict(loo), "verdict": loo.verdict},
        "rows": [
            {
                "name": row.name,
                "causal": _figures(row.causal),
                "offline": _figures(row.offline),
                "events": _figures(row.events),
                "note": row.note,
            }
            for row in evaluation.rows
        ],
        "failures": [asdict(failure) for failure in evaluation.failures],
        "settings": evaluation.settings,
        "citation": evaluation.citation,
    }


def _figures(figures: FrameMetrics | EventMetrics | None) -> dict[str, Any] | None:
    return None if figures is None else asdict(figures)
