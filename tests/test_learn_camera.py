"""`oddwatch learn --camera`."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from small_videos import write
from typer.testing import CliRunner

from oddwatch.cli import app
from oddwatch.cli.learn_camera import camera_address
from oddwatch.detector import Detector
from oddwatch.errors import OddwatchError, UsageError


def test_passwords_come_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CAMERA_PASSWORD", "p@ss:w/or%d")
    found = camera_address("rtsp://me:${CAMERA_PASSWORD}@camera/1")
    assert found == "rtsp://me:p%40ss%3Aw%2For%25d@camera/1"
    with pytest.raises(UsageError, match=r"\$\{NOWHERE\}"):
        camera_address("rtsp://me:${NOWHERE}@camera/1")


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ([], "give VIDEO... to learn from, or --camera"),
        (["--camera", "rtsp://camera/1", "a.mp4"], "leave out VIDEO"),
        (["--camera", "rtsp://camera/1", "--folds", "3"], "--folds"),
        (["--camera", "ftp://camera/1"], "ftp:// is no address of a camera"),
    ],
)
def test_what_contradicts_itself_is_refused(arguments: list[str], says: str) -> None:
    result = CliRunner().invoke(app, ["learn", "-o", "new", *arguments])
    assert isinstance(result.exception, SystemExit | UsageError)
    assert says in str(result.exception) + result.output


@pytest.mark.slow
def test_a_camera_is_learned_by_hand_in_two_goes(tmp_path: Path) -> None:
    video = write(tmp_path / "usual.mp4", 8.0, seed=1)
    arguments = ["learn", "--camera", str(video), "--minutes", "0.15", "--scorer", "gaussian", "-o", "new", "--json"]
    arguments += ["--no-pictures"]
    first = CliRunner().invoke(app, arguments)
    assert isinstance(first.exception, OddwatchError | SystemExit)
    assert Path("new.learning").is_dir()
    second = CliRunner().invoke(app, arguments)
    assert second.exit_code == 0, second.output
    told = json.loads(second.stdout)
    assert told["seconds"] >= 9
    assert told["certified"] == "none yet"
    assert not Path("new.learning").exists()
    detector = Detector.load("new")
    assert detector.calibrated
    assert len(detector.moments) > 5
    assert detector.moments.pictured == 0
