"""The benchmarks measure what they say. How fast anything is, is not tested."""

from __future__ import annotations

import importlib.util
import re
from pathlib import Path
from types import ModuleType

import pytest
from small_videos import write

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
