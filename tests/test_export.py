"""A training run becomes a detector that scores clips as the run did."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from command_line import Runner
from test_finetune import FROZEN, TUNED, manifest
from video_files import write_video

from oddwatch.detector import Detector
from oddwatch.errors import RunError
from oddwatch.export import export_run
from oddwatch.finetune import FineTune, Recipe, train
from oddwatch.finetune.clips import clips_of
from oddwatch.finetune.folder import RunFolder

pytestmark = pytest.mark.slow

__all__ = ["manifest"]


@pytest.mark.parametrize(
    "recipe",
    [FROZEN, replace(TUNED, epochs=3, fine_tune=FineTune(3, target="detached"))],
    ids=["frozen", "fine-tuned"],
)
def test_validation_clips_score_what_the_run_says(recipe: Recipe, manifest: Path, tmp_path: Path) -> None:
    """The mean error of the validation clips by the saved detector is the best validation loss of the run."""
    done = train(recipe, manifest, tmp_path / "run", cache=tmp_path / "cache")
    export_run(tmp_path / "run", tmp_path / "detector", cache=tmp_path / "cache")
    detector = Detector.load(tmp_path / "detector")
    paths = [clip.path for clip in clips_of(manifest) if clip.split == "validation"]
    scores = [detector.score_clip(path, threshold=1.0).score for path in paths]
    assert np.mean(scores) == pytest.approx(done.best_loss, rel=1e-4)
    assert detector.clip_threshold().value >= np.sort(scores)[-1] * 0.99
    assert (tmp_path / "run" / "backbone.safetensors").exists() == bool(done.tensors)


def test_the_command(capsys: pytest.CaptureFixture[str], manifest: Path, tmp_path: Path) -> None:
    train(FROZEN, manifest, tmp_path / "run", cache=tmp_path / "embeddings")
    oddwatch = Runner(capsys)
    ran = oddwatch("export", tmp_path / "run", "--out", "detector")
    assert ran.code == 0, ran.err
    write_video(tmp_path / "white.mp4", [np.full((24, 32, 3), 255, np.uint8)] * 6, fps=10)
    scored = oddwatch("score", "detector", tmp_path / "white.mp4", "--unit", "clip", "--json")
    assert scored.code == 0, scored.err
    assert json.loads(scored.out)["clips"][0]["anomalous"]
    again = ("export", tmp_path / "run", "--out", "detector")
    assert "detector holds a detector: add --overwrite to replace it" in oddwatch(*again).err
    assert oddwatch(*again, "--overwrite").code == 0
    folder = RunFolder(tmp_path / "run")
    folder.write({**folder.record(), "state": "running"})
    with pytest.raises(RunError, match="is not finished"):
        export_run(tmp_path / "run", tmp_path / "other", cache=tmp_path / "embeddings")
