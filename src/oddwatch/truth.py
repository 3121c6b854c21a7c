"""The truth file: which unusual events a video shows, when and where. A video `x.mp4` has its truth in `x.json`.

    {"events": [{"kind": "cyclist", "start_seconds": 12.0, "end_seconds": 15.5,
                 "boxes": [[12.0, 0.0, 0.41, 0.08, 0.62], [12.1, 0.0, 0.41, 0.1, 0.62]]}]}

- `kind`: any word. `start_seconds`, `end_seconds`: of the first and the last frame that shows it, from the start of the
  video, 0 <= start <= end.
- `boxes`: optional; time, left, top, right, bottom of the unusual thing: the time within the event, the
  rest fractions of the frame, 0..1, left < right and top < bottom. In order of time.
- No events: `{"events": []}`. Nothing else belongs in the file, so that a misspelt key is found.
"""

from __future__ import annotations

import json
import math
import os
from collections.abc import Iterable
from contextlib import suppress
from itertools import pairwise
from pathlib import Path
from typing import Any

from oddwatch.errors import DatasetError
from oddwatch.files import write_bytes
from oddwatch.types import TruthBox, TruthEvent

_REQUIRED = ("kind", "start_seconds", "end_seconds")
_OPTIONAL = ("boxes",)


class _InvalidError(Exception):
    """What is wrong in the file, without its name."""


def read_truth(path: str | os.PathLike[str]) -> tuple[TruthEvent, ...]:
    """The events of a truth file, in its order. Raises DatasetError that names the file, the event and the rule."""
    try:
        content = json.loads(Path(path).read_text(encoding="utf-8-sig"))
        return _events(content)
    except FileNotFoundError:
        raise DatasetError(f"{path}: no such truth file") from None
    except OSError as error:
        raise DatasetError(f"{path}: cannot be read ({error.strerror})") from error
    except (ValueError, RecursionError) as error:
        raise DatasetError(f'{path}: not a JSON truth file ({error}); expected {{"events": [...]}}') from error
    except _InvalidError as error:
        raise DatasetError(f"{path}: {error}") from None


def write_truth(path: str | os.PathLike[str], events: Iterable[TruthEvent]) -> None:
    """Write a truth file, all of it or nothing. Raises DatasetError for events that `read_truth` would refuse."""
    content = {"events": [_as_json(event) for event in events]}
    try:
        _events(content)
        write_bytes(Path(path), (json.dumps(content, ensure_ascii=False) + "\n").encode())
    except _InvalidError as error:
        raise DatasetError(f"{path}: not written: {error}") from None
    except OSError as error:
        raise DatasetError(f"{path}: cannot be written ({error.strerror})") from error


def _as_json(event: TruthEvent) -> dict[str, Any]:
    return {
        "kind": event.kind,
        "start_seconds": event.start_seconds,
        "end_seconds": event.end_seconds,
        "boxes": [[b.time_seconds, *b.box] for b in event.boxes],
    }


def _events(content: object) -> tuple[TruthEvent, ...]:
    if not (isinstance(content, dict) and set(content) == {"events"} and isinstance(content["events"], list)):
        raise _InvalidError('a truth file is {"events": [...]} and nothing else')
    return tuple(_event(event, f"event {i}") for i, event in enumerate(content["events"], start=1))


def _event(event: object, where: str) -> TruthEvent:
    if not isinstance(event, dict):
        raise _InvalidError(f"{where} is not an object with {', '.join(_REQUIRED)}")
    if missing := [key for key in _REQUIRED if key not in event]:
        raise _InvalidError(f"{where} lacks {', '.join(missing)}")
    if unknown := [key for key in event if key not in (*_REQUIRED, *_OPTIONAL)]:
        raise _InvalidError(
            f"{where} has unknown {', '.join(unknown)}; allowed are {', '.join((*_REQUIRED, *_OPTIONAL))}"
        )
    kind = event["kind"]
    if not isinstance(kind, str) or not kind.strip():
        raise _InvalidError(f"{where}: kind is a word, got {kind!r}")
    start, end = (_number(event[key], f"{where}: {key}") for key in ("start_seconds", "end_seconds"))
    if not 0 <= start <= end:
        raise _InvalidError(f"{where}: 0 <= start_seconds <= end_seconds, got {start:g} and {end:g}")
    boxes = event.get("boxes", [])
    if not isinstance(boxes, list):
        raise _InvalidError(f"{where}: boxes is a list of [time, left, top, right, bottom]")
    read = tuple(_box(box, start, end, f"{where}: box {i}") for i, box in enumerate(boxes, start=1))
    if any(later.time_seconds < earlier.time_seconds for earlier, later in pairwise(read)):
        raise _InvalidError(f"{where}: boxes are in order of time")
    return TruthEvent(kind, start, end, read)


def _box(box: object, start: float, end: float, where: str) -> TruthBox:
    if not isinstance(box, list) or len(box) != 5:
        raise _InvalidError(f"{where} is [time, left, top, right, bottom], got {json.dumps(box)[:80]}")
    time, left, top, right, bottom = (_number(value, where) for value in box)
    if not start <= time <= end:
        raise _InvalidError(f"{where}: its time {time:g} is outside the event, {start:g} to {end:g}")
    if not (0 <= left < right <= 1 and 0 <= top < bottom <= 1):
        raise _InvalidError(
            f"{where}: fractions of the frame with 0 <= left < right <= 1 and 0 <= top < bottom <= 1, got "
            f"{left:g}, {top:g}, {right:g}, {bottom:g}"
        )
    return TruthBox(time, (left, top, right, bottom))


def _number(value: object, where: str) -> float:
    if isinstance(value, int | float) and not isinstance(value, bool):
        with suppress(OverflowError):
            if math.isfinite(value):
                return float(value)
    raise _InvalidError(f"{where}: expected a finite number, got {str(value)[:40]!r}")
