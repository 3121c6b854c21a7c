"""The benchmarks measure what they say. How fast anything is, is not tested."""

from __future__ import annotations

import importlib.util
import re
from itertools import pairwise
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
from small_videos import images, write
from video_files import write_frames

from oddwatch.errors import UsageError

FOLDER = Path(__file__).parent.parent / "benchmarks"


def load(name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(f"benchmark_{name}", FOLDER / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_small_experiment_is_made_of_the_six_configurations() -> None:
    from oddwatch.cli.train import recipe_of
    from oddwatch.config.train import parse_value, read_config

    experiment = load("experiment")
    assert {name for name in experiment.NAMES if name != "motion"} == {f.stem for f in experiment.CONFIGS.iterdir()}
    for name in experiment.NAMES:
        file, _, epochs, *changes = experiment.config(name)
        pairs = [change.partition("=") for change in changes if change != "--set"]
        recipe = recipe_of(read_config(Path(file), {key: parse_value(v) for key, _, v in pairs}).model_dump())
        assert recipe.options.get("weights") == (None if name == "motion" else "random")
        assert recipe.data.clips_per_class == 0
        assert recipe.fine_tune.ever == name.endswith("v2")
        if recipe.fine_tune.ever:
            assert 0 < recipe.fine_tune.from_epoch < int(epochs)


@pytest.mark.slow
def test_the_small_experiment_goes_on_where_it_was(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    experiment = load("experiment")
    out, asked = tmp_path / "out", {"clips": 4, "seed": 1, "names": ["motion"]}
    ran: list[str] = []
    really = experiment.oddwatch

    def counted(*arguments: object) -> None:
        ran.append(str(arguments[0]))
        really(*arguments)

    monkeypatch.setattr(experiment, "oddwatch", counted)
    experiment.run(out, **asked)
    assert ran == ["dataset", "train", "evaluate", "compare"]
    assert (out / "comparison" / "report.html").exists()
    before = (out / "runs" / "motion" / "evaluation" / "clips.csv").read_bytes()
    (out / "clips" / "fall" / "03.mp4").unlink()
    experiment.run(out, **asked)
    assert ran[4:] == ["compare"]
    assert (out / "clips" / "fall" / "03.mp4").exists()
    assert (out / "runs" / "motion" / "evaluation" / "clips.csv").read_bytes() == before
    with pytest.raises(UsageError, match="holds an experiment with"):
        experiment.run(out, **{**asked, "seed": 2})
    with pytest.raises(UsageError, match="is not empty and holds no experiment"):
        experiment.run(tmp_path, **asked)


@pytest.mark.slow
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


def textured(share: float = 0.0, frames: int = 8) -> list[np.ndarray]:
    """Grey frames of the benchmark's moving square."""
    made = load("flow").moving_square(share, frames, size_px=(160, 120))
    return [frame.image for frame in made]


def test_warp_error_is_that_of_the_motion_that_is_known() -> None:
    flow = load("flow")
    pairs = [(now[..., 0].copy(), before[..., 0].copy()) for before, now in pairwise(textured(0.3))]

    def known(now: np.ndarray, before: np.ndarray) -> np.ndarray:
        """The square's texture goes 2 px to the left, all the rest stays."""
        velocity = np.zeros((*now.shape, 2), np.float32)
        h, w = round(120 * 0.3**0.5), round(160 * 0.3**0.5)
        top, left = (120 - h) // 2, (160 - w) // 2
        velocity[top : top + h, left : left + w - 2, 0] = -2
        return velocity

    def none(now: np.ndarray, before: np.ndarray) -> np.ndarray:
        return np.zeros((*now.shape, 2), np.float32)

    errors = {name: flow.warp(method, pairs)[0] for name, method in {"known": known, "none": none}.items()}
    assert errors["known"] < 0.1 * errors["none"]
    for name, method in flow.methods().items():
        assert errors["known"] < flow.warp(method, pairs)[0] < 0.7 * errors["none"], name


def test_flow_is_measured_in_a_share_that_grows_no_faster_than_what_moves() -> None:
    flow = load("flow")
    for level in flow.LEVELS:
        measured = []
        for share in (0.0, 0.05, 0.2, 0.4):
            before, now = (f.image[..., 0].copy() for f in flow.moving_square(share, 2))
            measured.append(flow.Flow(level)(now, before).measured)
        assert measured[0] == 0
        assert 0 < measured[1] < measured[2] < measured[3] < 0.8
        assert measured[3] < 2 * measured[2] < 8 * measured[1]
    assert flow.growth((0, 0.1, 0.2, 0.4), (1.0, 2.0, 3.0, 5.0)) == pytest.approx(1)
    assert flow.growth((0, 0.1, 0.2, 0.4), (1.0, 2.0, 5.0, 17.0)) == pytest.approx(2)


def test_a_static_scene_costs_less(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    flow = load("flow")
    write_frames(tmp_path / "one", list(images(2.0, seed=1)))
    assert flow.folders_of(tmp_path) == flow.folders_of(tmp_path / "one") == [tmp_path / "one"]
    flow.print_speed([tmp_path / "one"], 10.0)
    printed = capsys.readouterr().out
    for quality in ("fine", "fast"):
        moving, static = re.findall(rf"^\| {quality} \| (?:moving|static) \| (\d+) \| (\d+)% ", printed, re.MULTILINE)
        assert int(static[1]) == 0 < int(moving[1])
        assert int(static[0]) > int(moving[0])


@pytest.mark.slow
def test_learning_more_takes_no_more_memory_than_it_should(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """In minutes what the benchmark does in hours: memory, and a folder under 20 MiB (what scoring costs it prints)."""
    flow = load("flow")
    monkeypatch.setattr(flow, "HOURS", (1 / 60, 0.1))
    flow.print_learning(1.0)
    rows = [
        [float(cell) for cell in line.split(" | ")[1:]]
        for line in capsys.readouterr().out.replace(" |\n", "\n").splitlines()
        if re.match(r"\| \d", line)
    ]
    short, long = rows
    assert long[0] == 6 * short[0]
    assert long[2] < min(2 * short[2], 2048)
    assert long[3] < 20


@pytest.mark.slow
def test_more_of_the_speed_is_found_before_a_plate() -> None:
    plate = load("plate")
    found = plate.found_speeds(0, "day", ["fast"])["fast"]
    assert set(found) == set(plate.KINDS)
    assert all(0 < share < 1.2 for pair in found.values() for share in pair)
    plain, plated = found["runner"]
    assert plated > plain
