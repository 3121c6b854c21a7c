"""The classic baseline: the backbone `pixels` and the scorer `convlstm`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.numpy import load, save
from test_motion import embed
from torch.utils.flop_counter import FlopCounterMode
from video_files import write_video

from oddwatch.backbones import build_backbone
from oddwatch.detector import Detector
from oddwatch.detector.suited import suitable_scorers
from oddwatch.errors import UsageError
from oddwatch.finetune import Recipe, train
from oddwatch.scorers.convlstm import ConvLSTMScorer
from oddwatch.scorers.convlstm_network import ConvLSTM, SpatiotemporalAutoencoder
from oddwatch.types import FloatArray, Frame

FRAMES, SIZE = 3, 27
PAPER = (128, 64, 64, 32, 64)


def clips(n: int, *, speed: int, seed: int) -> FloatArray:
    """(n, d) a light square that moves across a dark, noisy picture."""
    rng = np.random.default_rng(seed)
    made = rng.normal(0.4, 0.01, (n, FRAMES, SIZE, SIZE))
    for clip in made:
        x, y = rng.integers(2, 12, 2)
        for t, picture in enumerate(clip):
            picture[y : y + 5, x + speed * t : x + speed * t + 5] += 0.5
    return np.asarray(made.reshape(n, -1), dtype=np.float32)


def small(**options: Any) -> ConvLSTMScorer:
    few = {"frames": FRAMES, "filters": (8, 8, 8, 4, 8), "epochs": 40, "batch_size": 8, "learning_rate": 5e-3}
    return ConvLSTMScorer(**{**few, **options})


@pytest.fixture(scope="module")
def fitted() -> ConvLSTMScorer:
    return small().fit(clips(48, speed=1, seed=0))


# the network


def test_layers_parameters_and_operations_are_those_of_the_paper() -> None:
    """Counted by hand from the sizes that the paper gives: 227, 55 and 26 px, and back."""
    with torch.device("meta"):
        network = SpatiotemporalAutoencoder(227, PAPER)
        with FlopCounterMode(display=False) as counter:
            assert network(torch.empty(2, 10, 227, 227)).shape == (2, 10, 227, 227)
    sizes = [(1, 128, 11), (128, 64, 5)]
    ends = sum(a * b * k * k for a, b, k in sizes)
    memories = [(64, 64), (64, 32), (32, 64)]
    between = sum(4 * h * (c + h) * 9 for c, h in memories)
    biases = 128 + 64 + 4 * (64 + 32 + 64) + 128 + 1
    assert sum(p.numel() for p in network.parameters()) == 2 * ends + between + biases == 1_068_225
    each = 2 * (55**2 * 121 * 128 + 26**2 * 25 * 128 * 64) + 26**2 * between
    assert counter.get_total_flops() == 2 * 2 * 10 * each


def test_the_memory_is_a_convolutional_lstm() -> None:
    """On pictures of one pixel, with only the middle of each kernel, it is torch's own LSTM cell."""
    torch.manual_seed(0)
    memory, cell = ConvLSTM(3, 4), torch.nn.LSTMCell(3, 4)
    take, keep, show, new = range(4)
    order = [take, keep, new, show]  # of the gates in torch
    with torch.no_grad():
        for mine, theirs in ((memory.input.weight, cell.weight_ih), (memory.recurrent.weight, cell.weight_hh)):
            theirs.copy_(mine[:, :, 1, 1].reshape(4, 4, -1)[order].flatten(0, 1))
        assert memory.input.bias is not None
        cell.bias_ih.copy_(memory.input.bias.reshape(4, 4)[order].flatten())
        cell.bias_hh.zero_()
        x = torch.randn(2, 5, 3)
        found = memory(x[..., None, None])[..., 0, 0]
        state = None
        for t in range(5):
            state = cell(x[:, t], state)
            torch.testing.assert_close(found[:, t], state[0])


@pytest.mark.parametrize("size", [5, 26, 27, 28, 40, 43])
def test_any_size_of_picture_is_copied_at_its_size(size: int) -> None:
    torch.manual_seed(0)
    network = SpatiotemporalAutoencoder(size, (2, 2, 2, 2, 2))
    x = torch.rand(1, 2, size, size)
    assert network(x).shape == x.shape
    torch.testing.assert_close(network.errors(x), (network(x) - x).square().mean().reshape(1))


# the scorer


def test_the_unusual_scores_high(fitted: ConvLSTMScorer) -> None:
    assert fitted.losses[-1] < 0.8 * fitted.losses[0]
    usual = fitted.score(clips(20, speed=1, seed=1))
    assert usual.dtype == np.float64
    larger = clips(20, speed=1, seed=1) + clips(20, speed=-1, seed=2)
    assert np.median(fitted.score(larger)) > usual.max()
    assert fitted.score(clips(4, speed=1, seed=1)[:0]).shape == (0,)


def test_an_error_of_1_is_that_of_the_mean_picture() -> None:
    rows = clips(48, speed=1, seed=0)
    untaught = small(epochs=1, learning_rate=1e-12).fit(rows)
    assert untaught.score(rows).mean() == pytest.approx(1, rel=0.05)
    network = untaught._network
    assert network is not None
    pictures = rows.reshape(-1, SIZE, SIZE)
    np.testing.assert_allclose(network.mean.numpy(), pictures.mean(0), atol=1e-6)
    assert float(network.scale) == pytest.approx(float((pictures - pictures.mean(0)).std()), rel=1e-4)


def test_the_score_of_a_clip_depends_on_nothing_but_the_clip(fitted: ConvLSTMScorer) -> None:
    rows = clips(6, speed=2, seed=3)
    one_by_one = np.concatenate([fitted.score(row[None]) for row in rows])
    np.testing.assert_allclose(fitted.score(rows), one_by_one, rtol=1e-4)
    network = fitted._network
    assert network is not None
    x = (rows.reshape(6, FRAMES, SIZE, SIZE) - network.mean.numpy()) / network.scale.numpy()
    with torch.no_grad():
        copy = network(torch.from_numpy(x)).numpy()
    np.testing.assert_allclose(fitted.score(rows), ((copy - x) ** 2).mean((1, 2, 3)), rtol=1e-4)


def test_state_and_back_through_safetensors(fitted: ConvLSTMScorer) -> None:
    arrays, meta = fitted.state()
    again = ConvLSTMScorer(**json.loads(json.dumps(fitted.options)))
    again.restore(load(save(dict(arrays))), json.loads(json.dumps(meta)))
    rows = clips(4, speed=1, seed=1)
    np.testing.assert_array_equal(again.score(rows), fitted.score(rows))


def test_it_says_what_it_takes(fitted: ConvLSTMScorer) -> None:
    assert small().says() == ""
    assert fitted._network is not None
    total = sum(p.numel() for p in fitted._network.parameters())
    assert fitted.says() == f"{total:,} parameters, 0.0 GFLOP per clip of 3 frames of 27 x 27 px"
    paper = ConvLSTMScorer()
    paper._network, paper._size_px = SpatiotemporalAutoencoder(227, PAPER), 227
    assert paper.says() == "1,068,225 parameters, 15.9 GFLOP per clip of 10 frames of 227 x 227 px"


def test_training_is_seeded_and_told_of() -> None:
    rows = clips(12, speed=1, seed=0)
    told: list[float] = []
    scores = []
    for seed in (1, 1, 2):
        scorer = small(epochs=2, seed=seed)
        scorer.told = told.append
        scores.append(scorer.fit(rows).score(rows))
    np.testing.assert_array_equal(scores[0], scores[1])
    assert not np.array_equal(scores[0], scores[2])
    assert told[:4] == [0.25, 0.5, 0.75, 1]
    near = small(epochs=2, seed=1, precision="bfloat16").fit(rows).score(rows)
    assert 0 < np.abs(near / scores[0] - 1).max() < 0.2


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"filters": (1, 2)}, "filters are five numbers"),
        ({"precision": "float16"}, "precision is float32 or bfloat16, got 'float16'"),
        ({"epochs": 0}, "epochs"),
    ],
)
def test_wrong_options(options: dict[str, Any], says: str) -> None:
    with pytest.raises(ValueError, match=says):
        small(**options)


def test_wrong_rows(fitted: ConvLSTMScorer) -> None:
    with pytest.raises(ValueError, match="score before fit"):
        small().score(clips(2, speed=1, seed=0))
    with pytest.raises(ValueError, match="state before fit"):
        small().state()
    with pytest.raises(ValueError, match=f"rows of {FRAMES * SIZE**2} values, got rows of 12"):
        fitted.score(np.zeros((2, 12), np.float32))
    with pytest.raises(ValueError, match="rows are clips of 3 square pictures, got rows of 13 values"):
        small().fit(np.zeros((2, 13), np.float32))


# its backbone, and both together


def test_pixels_are_the_gray_frames_one_after_the_other() -> None:
    backbone = build_backbone("pixels", frames=4, size_px=8, window_seconds=0.3, stride_seconds=0.3)
    images = np.stack([np.full((8, 8, 3), 20 * i, np.uint8) for i in range(8)])
    images[:, :4, :, 1] += 50
    found = embed(backbone, [Frame(image, i / 10, i) for i, image in enumerate(images)])
    assert found.vector.shape == (2, backbone.record.vector_size) == (2, 4 * 8 * 8)
    pictures = found.vector.reshape(2, 4, 8, 8) * 255
    for clip, first in zip(pictures, (0, 3), strict=True):
        for picture, number in zip(clip, range(first, first + 4), strict=True):
            np.testing.assert_allclose(picture[4:], 20 * number)
            np.testing.assert_allclose(picture[:4], 20 * number + 50 * 0.587, atol=0.6)


def test_they_are_for_each_other() -> None:
    assert Detector(backbone="pixels").name == "pixels, convlstm on vector"
    assert suitable_scorers("pixels", "vector") == ["convlstm"]
    with pytest.raises(UsageError, match="scorer 'gaussian' does not suit pixels on vector: choose one of convlstm"):
        Detector(backbone="pixels", scorer="gaussian")
    for backbone, on in (("motion", "vector"), ("motion", "grid"), ("timesformer", "vector")):
        assert "convlstm" not in suitable_scorers(backbone, on)
    with pytest.raises(UsageError, match="pixels gives no embeddings: learn from it with oddwatch learn"):
        train(Recipe("pixels"), Path("none.csv"), Path("out"), cache=Path("cache"))


@pytest.fixture(scope="module")
def video(tmp_path_factory: pytest.TempPathFactory) -> Path:
    rng = np.random.default_rng(0)
    images = [rng.integers(90, 110, (32, 32, 3)).astype(np.uint8) for _ in range(60)]
    for i, image in enumerate(images):
        image[8:14, i % 26 : i % 26 + 6] = 220
    return write_video(tmp_path_factory.mktemp("video") / "usual.mp4", images, fps=10)


def test_a_detector_of_pixels_learns_saves_loads_and_scores(video: Path, tmp_path: Path) -> None:
    scorer = {**small().options, "epochs": 1}
    backbone = {"frames": FRAMES, "size_px": SIZE, "window_seconds": 0.2, "stride_seconds": 0.2}
    detector = Detector(backbone="pixels", backbone_options=backbone, scorer_options=scorer, folds=2)
    told: list[float] = []
    detector.learn(
        video, progress=lambda what, done, total: told.append(done / (total or 1)) if "learn" in what else None
    )
    assert told == sorted(told)
    assert told[-1] == 1
    detector.save(tmp_path / "detector")
    loaded = Detector.load(tmp_path / "detector")
    track = detector.score(video)
    np.testing.assert_array_equal(loaded.score(video).scores, track.scores)
    clip = loaded.score_clip(video, threshold=1e9)
    assert clip.score == pytest.approx(track.scores.mean())
