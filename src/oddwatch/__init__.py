"""oddwatch learns what is usual in front of a camera and tells when something else happens.

>>> import oddwatch
>>> detector = oddwatch.Detector()  # detector.learn("usual/").save("door"), then oddwatch.Detector.load("door")
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0.dev0"

if TYPE_CHECKING:
    from oddwatch.datasets import load_dataset
    from oddwatch.detector import Detector
    from oddwatch.detector.verdict import ClipVerdict
    from oddwatch.embed import EmbeddingCache
    from oddwatch.errors import OddwatchError
    from oddwatch.grouping import Grouping
    from oddwatch.report import write_report
    from oddwatch.report.annotate import annotate
    from oddwatch.types import Event, ScoreTrack
    from oddwatch.video import open_video

# Imported when first used: `import oddwatch` stays fast and pulls in neither torch nor a decoder.
_HOMES = {
    "ClipVerdict": "oddwatch.detector.verdict",
    "Detector": "oddwatch.detector",
    "EmbeddingCache": "oddwatch.embed",
    "Event": "oddwatch.types",
    "Grouping": "oddwatch.grouping",
    "OddwatchError": "oddwatch.errors",
    "ScoreTrack": "oddwatch.types",
    "annotate": "oddwatch.report.annotate",
    "load_dataset": "oddwatch.datasets",
    "open_video": "oddwatch.video",
    "write_report": "oddwatch.report",
}

__all__ = [
    "ClipVerdict",
    "Detector",
    "EmbeddingCache",
    "Event",
    "Grouping",
    "OddwatchError",
    "ScoreTrack",
    "__version__",
    "annotate",
    "load_dataset",
    "open_video",
    "write_report",
]


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        return getattr(import_module(_HOMES[name]), name)
    raise AttributeError(f"module 'oddwatch' has no attribute {name!r}")
