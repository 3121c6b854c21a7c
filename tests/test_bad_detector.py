"""A detector folder that cannot be used or is in the way, through the real command: one clear line, nothing written."""

from __future__ import annotations

import json
import os
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from command_line import Runner, assert_one_line
from small_videos import write
from video_files import cut_off

from oddwatch.detector import Detector


@pytest.fixture(name="oddwatch")
def _oddwatch(capfd: pytest.CaptureFixture[str]) -> Runner:
    return Runner(capfd)


@pytest.fixture(scope="module")
def usual(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write(tmp_path_factory.mktemp("usual") / "usual.mp4", 20.0, seed=1)


@pytest.fixture(scope="module")
def saved(usual: Path) -> Path:
    """A detector that nobody changes."""
    folder = usual.parent / "door"
    Detector(scorer="gaussian").learn(usual).save(folder)
    return folder


@pytest.fixture
def door(saved: Path, tmp_path: Path) -> Path:
    """A detector of one's own."""
    return Path(shutil.copytree(saved, tmp_path / "door"))


def make_unreadable(path: Path) -> None:
    """Also for the super-user, who may read everything but a link that leads to itself."""
    path.chmod(0)
    if os.access(path, os.R_OK):
        path.unlink()
        path.symlink_to(path.name)


def edit(path: Path, change: Callable[[dict[str, Any]], object]) -> None:
    record = json.loads(path.read_text())
    change(record)
    path.write_text(json.dumps(record))


def break_nothing(door: Path) -> None:
    shutil.rmtree(door)


def break_file(door: Path) -> None:
    shutil.rmtree(door)
    door.touch()


def break_emptied(door: Path) -> None:
    for path in door.iterdir():
        path.unlink()


def break_json_unreadable(door: Path) -> None:
    make_unreadable(door / "detector.json")


def break_json_half(door: Path) -> None:
    cut_off(door / "detector.json", keep=0.5)


def break_json_missing(door: Path) -> None:
    (door / "detector.json").unlink()


def break_tensors_missing(door: Path) -> None:
    next(door.glob("scorer-*")).unlink()


def break_tensors_half(door: Path) -> None:
    cut_off(next(door.glob("scorer-*")), keep=0.5)


def break_tensors_unreadable(door: Path) -> None:
    make_unreadable(next(door.glob("calibration-*")))


def break_newer(door: Path) -> None:
    edit(door / "detector.json", lambda record: record.update(format=99, oddwatch="7.0"))


def break_parts(door: Path) -> None:
    edit(door / "detector.json", lambda record: record.pop("state"))


@pytest.mark.parametrize(
    ("spoil", "says"),
    [
        (break_nothing, r"door is not a detector: no such folder \(make one with oddwatch learn --out\)"),
        (break_emptied, r"door is not a detector: it has no detector\.json \(make one with oddwatch learn --out\)"),
        (break_json_missing, r"door is not a detector: it has no detector\.json \(make one with .*\)"),
        (break_json_unreadable, r"door/detector\.json cannot be read: .* \(check its permissions\)"),
        (break_file, r"door is a file, and a detector is a folder \(make one with oddwatch learn --out\)"),
        (break_json_half, r"door/detector\.json is damaged, .*: learn again or restore a copy"),
        (break_tensors_missing, r"door/scorer-.*\.safetensors cannot be read: .*: learn again or restore a copy"),
        (break_tensors_half, r"door/scorer-.*\.safetensors is damaged, .*: learn again or restore a copy"),
        (break_tensors_unreadable, r"door/calibration-.* cannot be read: .*: learn again or restore a copy"),
        (break_newer, r"door was made by oddwatch 7\.0 \(format 99\), this one reads up to format 1: upgrade oddwatch"),
        (break_parts, r"door is damaged: .* \(learn again or restore a copy\)"),
    ],
)
def test_a_detector_that_cannot_be_used(
    oddwatch: Runner, usual: Path, door: Path, spoil: Callable[[Path], None], says: str
) -> None:
    spoil(door)
    assert_one_line(oddwatch("score", "door", usual), says)
    Path("data/test").mkdir(parents=True)
    assert_one_line(oddwatch("evaluate", "folder", "data", "--out", "new", "--detector", "door"), says)


def test_learn_does_not_write_into_a_folder_of_something_else(oddwatch: Runner, usual: Path) -> None:
    """Said before any work."""
    Path("photos").mkdir()
    Path("photos/a.jpg").write_bytes(b"x")
    Path("file").write_bytes(b"x")
    for name in ("photos", "file"):
        says = f"{name} is not a detector and not empty: give --out a new folder"
        assert_one_line(oddwatch("learn", usual, "--out", name), says)
    assert [path.name for path in Path("photos").iterdir()] == ["a.jpg"]


def test_a_detector_is_replaced_only_when_asked(oddwatch: Runner, usual: Path, door: Path) -> None:
    before = (door / "detector.json").read_bytes()
    says = rf"{re.escape(str(door))} holds a detector: add --overwrite to replace it, or choose another --out"
    assert_one_line(oddwatch("learn", usual, "--out", door), says)
    assert (door / "detector.json").read_bytes() == before
