"""Truth files: what is read is what was written, and every mistake is named."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from oddwatch.errors import DatasetError
from oddwatch.truth import read_truth, write_truth
from oddwatch.types import TruthBox, TruthEvent

EVENTS = (
    TruthEvent(
        "cyclist",
        12.0,
        15.5,
        (TruthBox(12.0, (0.0, 0.41, 0.08, 0.62)), TruthBox(12.1, (1 / 3, 0.4, 0.5, 1.0))),
    ),
    TruthEvent("Sturz über Bank", 20.0, 20.0),
)


def event(**changes: Any) -> dict[str, Any]:
    return {"kind": "fall", "start_seconds": 1, "end_seconds": 2.5, "boxes": [[1, 0, 0.1, 0.5, 1]]} | changes


def write(path: Path, content: object) -> Path:
    path.write_text(json.dumps(content))
    return path


def test_what_is_written_is_read(tmp_path: Path) -> None:
    path = tmp_path / "x.json"
    write_truth(path, EVENTS)
    assert read_truth(path) == EVENTS
    assert read_truth(str(path)) == EVENTS


def test_no_events(tmp_path: Path) -> None:
    write_truth(tmp_path / "x.json", ())
    assert json.loads((tmp_path / "x.json").read_text()) == {"events": []}
    assert read_truth(tmp_path / "x.json") == ()


def test_reads_what_the_format_says(tmp_path: Path) -> None:
    path = tmp_path / "x.json"
    text = '{"events": [{"kind": "cart", "start_seconds": 3, "end_seconds": 4, "boxes": [[3.5, 0, 0.25, 1, 0.5]]}]}'
    path.write_bytes(b"\xef\xbb\xbf" + text.encode())  # some editors put a byte order mark first
    assert read_truth(path) == (TruthEvent("cart", 3.0, 4.0, (TruthBox(3.5, (0.0, 0.25, 1.0, 0.5)),)),)


def test_boxes_are_optional(tmp_path: Path) -> None:
    path = write(tmp_path / "x.json", {"events": [{"kind": "fall", "start_seconds": 0, "end_seconds": 1}]})
    assert read_truth(path) == (TruthEvent("fall", 0.0, 1.0),)


@pytest.mark.parametrize(
    ("content", "says"),
    [
        ([], 'is {"events": [...]}'),
        ({}, 'is {"events": [...]}'),
        ({"events": {}}, 'is {"events": [...]}'),
        ({"events": [], "version": 1}, "nothing else"),
        ({"events": [3]}, "event 1 is not an object"),
        ({"events": [event(), {"kind": "fall", "start_seconds": 1}]}, "event 2 lacks end_seconds"),
        ({"events": [event(start=1)]}, "unknown start; allowed are kind, start_seconds, end_seconds, boxes"),
        ({"events": [event(kind="")]}, "kind is a word"),
        ({"events": [event(kind=None)]}, "kind is a word, got None"),
        ({"events": [event(start_seconds="1")]}, "start_seconds: expected a finite number, got '1'"),
        ({"events": [event(end_seconds=True)]}, "end_seconds: expected a finite number"),
        ({"events": [event(end_seconds=float("inf"))]}, "end_seconds: expected a finite number"),
        ({"events": [event(end_seconds=10**400)]}, "end_seconds: expected a finite number"),
        ({"events": [event(start_seconds=5, boxes=[])]}, "0 <= start_seconds <= end_seconds, got 5 and 2.5"),
        ({"events": [event(start_seconds=-0.1)]}, "0 <= start_seconds <= end_seconds"),
        ({"events": [event(boxes={})]}, "boxes is a list of"),
        ({"events": [event(boxes=[[1, 0, 0, 1]])]}, "box 1 is [time, left, top, right, bottom]"),
        ({"events": [event(boxes=[{"time": 1}])]}, "box 1 is [time, left, top, right, bottom]"),
        ({"events": [event(boxes=[[1, 0, 0, 1, None]])]}, "box 1: expected a finite number, got 'None'"),
        ({"events": [event(boxes=[[2.6, 0, 0, 1, 1]])]}, "its time 2.6 is outside the event, 1 to 2.5"),
        ({"events": [event(boxes=[[1, 0, 0, 1, 1], [1, 0, 0, 1, 1.01]])]}, "box 2: fractions of the frame"),
        ({"events": [event(boxes=[[1, 0.5, 0, 0.5, 1]])]}, "0 <= left < right <= 1"),
        ({"events": [event(boxes=[[1, 20, 30, 40, 50]])]}, "fractions of the frame"),
        ({"events": [event(boxes=[[2, 0, 0, 1, 1], [1, 0, 0, 1, 1]])]}, "boxes are in order of time"),
    ],
)
def test_wrong_content_is_refused(tmp_path: Path, content: object, says: str) -> None:
    path = write(tmp_path / "x.json", content)
    with pytest.raises(DatasetError) as caught:
        read_truth(path)
    assert str(caught.value).startswith(f"{path}: ")
    assert says in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("data", [b"", b"{", b"\xff\xfe\x00", b"[" * 100_000, b"x,y\n1,2\n"])
def test_not_json(tmp_path: Path, data: bytes) -> None:
    path = tmp_path / "x.json"
    path.write_bytes(data)
    with pytest.raises(DatasetError, match=r"x\.json: not a JSON truth file"):
        read_truth(path)


def test_missing_file_and_folder(tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match=r"gone\.json: no such truth file"):
        read_truth(tmp_path / "gone.json")
    with pytest.raises(DatasetError, match="cannot be read"):
        read_truth(tmp_path)
    (tmp_path / "file").touch()
    with pytest.raises(DatasetError, match="cannot be written"):
        write_truth(tmp_path / "file" / "x.json", EVENTS)


@pytest.mark.parametrize(
    "wrong",
    [
        TruthEvent("fall", 2.0, 1.0),
        TruthEvent("fall", 0.0, 1.0, (TruthBox(0.5, (0.0, 0.0, 1.2, 1.0)),)),
        TruthEvent("fall", 0.0, np.float32(1.0)),  # type: ignore[arg-type]
    ],
)
def test_writes_nothing_that_it_would_not_read(tmp_path: Path, wrong: TruthEvent) -> None:
    path = tmp_path / "x.json"
    write_truth(path, EVENTS)
    with pytest.raises(DatasetError, match="not written: event 2"):
        write_truth(path, [EVENTS[0], wrong])
    assert read_truth(path) == EVENTS


def test_an_interrupted_write_leaves_the_old_file_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "x.json"
    write_truth(path, EVENTS[:1])

    def full(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(DatasetError, match=r"x\.json: cannot be written \(No space left on device\)"):
        write_truth(path, EVENTS)
    assert read_truth(path) == EVENTS[:1]
    assert os.listdir(tmp_path) == ["x.json"]
