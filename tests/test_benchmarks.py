"""The benchmarks measure what they say. How fast anything is, is not tested."""

from __future__ import annotations

import importlib.util
import re
from pathlib import Path
from types import ModuleType

import pytest
from small_videos import write

FOLDER = Path(__file__).parent.parent / "benchmarks"


def load(name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(f"benchmark_{name}", FOLDER / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_a_video_longer_than_what_is_measured(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    """The whole path takes all 300 frames, the stages 15: it must not look 20 times as slow."""
    load("pipeline")._speed(str(write(tmp_path / "a.mp4", 30.0, seed=1)), 15, 1)
    printed = capsys.readouterr().out
    assert "15 frames of 160x120" in printed
    assert "the whole video: 300 frames" in printed
    each = {name: float(ms) for name, ms in re.findall(r"^\| (.*?) \| \d+ \| ([\d.]+) \|", printed, re.MULTILINE)}
    assert len(each) == 5
    whole = each.pop("whole path, decode to score")
    assert whole < 5 * sum(each.values())
