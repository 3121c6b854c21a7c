"""A user's own function as a backbone: found in the current folder, checked, kept in a detector."""

from __future__ import annotations

import pickle
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from command_line import finish, start
from small_videos import write

from oddwatch.backbones import backbone_class, build_backbone
from oddwatch.detector import Detector
from oddwatch.embed import embed_video
from oddwatch.errors import UsageError, WeightsError

Module = Callable[[str, str], str]
COLOURS = '''
"""Mean colours."""
import numpy as np


def embed(clips):
    """Mean and spread of colours."""
    assert clips.dtype == np.float32 and 0 <= clips.min() and clips.max() <= 1
    n, t, s = clips.shape[:3]
    vectors = np.concatenate([clips.mean(axis=(1, 2, 3)), clips.std(axis=(1, 2, 3))], axis=1)
    grids = clips.reshape(n, t, 4, s // 4, 4, s // 4, 3).mean(axis=(1, 3, 5))
    return vectors.astype(np.float64), grids


embed.frames, embed.size_px = 2, 16
'''


@pytest.fixture
def module(tmp_path: Path) -> Iterator[Module]:
    """Writes a module into the current folder; it is forgotten afterwards."""
    written = []

    def make(name: str, text: str) -> str:
        (tmp_path / f"{name}.py").write_text(text)
        sys.modules.pop(name, None)
        written.append(name)
        return f"{name}:embed"

    yield make
    for name in written:
        sys.modules.pop(name, None)


def test_what_it_returns_is_found_out_and_checked(module: Module, tmp_path: Path) -> None:
    name = module("own_colours", COLOURS)
    before = list(sys.path)
    made = build_backbone(name, window_seconds=0.5, stride_seconds=0.25)
    assert sys.path == before
    record = made.record
    assert (record.name, record.summary) == (name, "Mean and spread of colours.")
    assert (record.vector_size, record.grid_size, record.weights) == (6, 3, None)
    assert made.options() == {"window_seconds": 0.5, "stride_seconds": 0.25, "batch": 4, "frames": 2, "size_px": 16}
    path = write(tmp_path / "a.mp4", 2.0, seed=1)
    [(_, found), *_] = embed_video(str(path), made)
    assert found.grid is not None
    assert found.vector.dtype == found.grid.dtype == np.float32
    np.testing.assert_allclose(found.grid.mean(axis=(1, 2)), found.vector[:, :3], atol=1e-5)
    assert found.vector[:, :3].min() > 0.05


def test_a_detector_keeps_it_and_refuses_other_code(module: Module, tmp_path: Path) -> None:
    name = module("own_detector", COLOURS)
    usual = write(tmp_path / "usual.mp4", 8.0, seed=1)
    options = {"window_seconds": 0.5, "stride_seconds": 0.25}
    for on in ("vector", "grid"):
        detector = Detector(backbone=name, backbone_options=options, on=on, scorer="knn", budget="2%").learn(usual)
        detector.save(tmp_path / on)
        again = Detector.load(tmp_path / on)
        assert again.backbone.options() == detector.backbone.options()
        np.testing.assert_array_equal(again.score(usual).scores, detector.score(usual).scores)
    module("own_detector", COLOURS.replace("std", "var"))
    with pytest.raises(WeightsError, match=r"own_detector:embed are not those .*\(sha256 code [0-9a-f]{64}, then code"):
        Detector.load(tmp_path / "vector")


def test_a_copy_in_another_process_is_the_same_and_two_functions_are_not(module: Module) -> None:
    name = module("own_copies", COLOURS + "\ndef other(clips):\n    return clips[:, 0, 0, 0] + 1\n")
    made = build_backbone(name, batch=2)
    again = pickle.loads(pickle.dumps(made))
    assert (again.name, again.options(), again.identity()) == (name, made.options(), made.identity())
    other = build_backbone("own_copies:other", frames=2, size_px=16, batch=2)
    assert other.options() == made.options()
    assert other.identity() != made.identity()


@pytest.mark.slow
def test_the_command_finds_it_in_the_current_folder(module: Module, tmp_path: Path) -> None:
    module("own_command", COLOURS)
    usual = write(tmp_path / "usual.mp4", 32.0, seed=1)
    ran = finish(start("learn", usual, "--backbone", "own_command:embed", "--on", "vector", "--out", "d", cwd=tmp_path))
    assert (ran.code, ran.err) == (0, "")
    assert "own_command:embed, knn on vector" in ran.out


@pytest.mark.parametrize(
    ("returns", "message"),
    [
        ("clips[:, 0, 0, 0, 0]", r"returned vectors of shape \(1,\): it has to be \(N, D\) with N = 1"),
        ("clips[:0, 0, 0, 0]", r"returned vectors of shape \(0, 3\): it has to be \(N, D\) with N = 1"),
        ("(clips[:, 0, 0, 0], clips[0])", r"returned grids of shape \(8, 224, 224, 3\).*\(N, Gh, Gw, d\) with N = 1"),
        ("clips[:, 0, 0, 0] / 0", "returned vectors that are not all finite"),
        ("None", r"returned vectors of shape \(\): it has to be \(N, D\) with N = 1"),
        ("'text'", "returned vectors that are no array of numbers"),
        (
            "__import__('torch').ones(1, 2, requires_grad=True)",
            r"returned vectors that are no array of numbers: .*detach",
        ),
        ("clips.no_such", r"failed: AttributeError: .* \(.*own_result\.py:2\)"),
    ],
)
@pytest.mark.filterwarnings("ignore:invalid value")
def test_what_is_no_embedding(returns: str, message: str, module: Module) -> None:
    name = module("own_result", f"def embed(clips):\n    return {returns}\n")
    with pytest.raises(UsageError, match=rf"{name}, given clips \(1, 8, 224, 224, 3\), {message}"):
        build_backbone(name)


def test_an_object_that_can_be_called(module: Module) -> None:
    name = module(
        "own_object",
        "from dataclasses import dataclass\n@dataclass\nclass Net:\n    gain: float\n"
        "    def __call__(self, clips):\n        return self.gain * clips[:, 0, 0, 0]\nembed = Net(2.0)\n",
    )
    made = build_backbone(name)
    assert made.record.vector_size == 3
    assert type(made) is backbone_class(name)


def test_sizes_that_change(module: Module) -> None:
    name = module("own_sizes", "def embed(clips):\n    return clips[:, :, 0, 0, 0]\n")
    made: Any = build_backbone(name, frames=4)
    with pytest.raises(
        UsageError, match="own_sizes:embed returned vectors and grids of 4 and no values, and of 8 and no"
    ):
        made.embed(np.zeros((2, 4, 224, 224, 3), np.float32))


def test_what_is_no_function(module: Module) -> None:
    module("own_others", "embed = 3\nclass Thing: ...\ndef wrong(clips): return clips\nwrong.frames = 0\n")
    with pytest.raises(UsageError, match=r"'own_others:embed' is not a subclass of .*Backbone"):
        backbone_class("own_others:embed")
    with pytest.raises(UsageError, match=r"'own_others:Thing' is not a subclass of .*Backbone"):
        backbone_class("own_others:Thing")
    with pytest.raises(UsageError, match="frames and size_px are whole numbers above 0, got 0 and 224"):
        backbone_class("own_others:wrong")
    with pytest.raises(UsageError, match=r"No module named 'own_nothing' \(looked in the current folder and in what"):
        backbone_class("own_nothing:embed")
    with pytest.raises(UsageError, match=r"or module:Class \(or module:function\)"):
        backbone_class("own")
