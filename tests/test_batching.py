"""Cameras that share a network: one copy of it, batches of their clips, the scores that they would have alone."""

from __future__ import annotations

import gc
import threading
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from small_backbones import small
from small_videos import write
from watched_cameras import Kept

from oddwatch.backbones import BackboneRecord, EmbeddingStream, build_backbone
from oddwatch.backbones.clips import ClipBackbone, ClipInput, Pixels
from oddwatch.detector import Detector
from oddwatch.monitor import Plan, Supervisor, batching
from oddwatch.monitor.batching import Networks
from oddwatch.types import Embeddings, Frame
from oddwatch.video import CameraOptions, open_video

ENDLESS = 30.0
"""Seconds that clips wait for those of others, where they must not wait in vain."""


class Brightness(ClipBackbone):
    """Slow, and fails on white."""

    record = BackboneRecord("brightness", "mean of a clip", 1, None)
    input = ClipInput(2, 4, (0.0, 0.0, 0.0), (1.0, 1.0, 1.0))
    heavy = True
    calls: list[tuple[ClipBackbone, int]]

    def embed(self, clips: Pixels) -> tuple[Pixels, None]:
        type(self).calls.append((self, len(clips)))
        if (clips > 0.99).any():
            raise ValueError("too bright")
        return clips.mean(axis=(1, 2, 3, 4))[:, None], None

    def source_sha256(self) -> str:
        return "of a test"


@pytest.fixture(autouse=True)
def _no_calls(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Brightness, "calls", [], raising=False)


def frames(value: int, count: int = 5) -> list[Frame]:
    return [Frame(np.full((8, 8, 3), value, np.uint8), index / 4, index) for index in range(count)]


def at_once(streams: Sequence[EmbeddingStream], values: Sequence[int]) -> list[Embeddings | Exception | None]:
    """What each stream makes of its second of frames, each in a thread."""
    found: list[Embeddings | Exception | None] = [None] * len(streams)

    def push(number: int) -> None:
        try:
            found[number] = streams[number].push(frames(values[number]))
        except Exception as error:
            found[number] = error

    threads = [threading.Thread(target=push, args=(number,)) for number in range(len(streams))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(ENDLESS)
    return found


def brightness(**options: Any) -> Brightness:
    return Brightness(window_seconds=1.0, **options)


def test_clips_of_all_cameras_are_one_batch(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(batching, "GATHER_SECONDS", ENDLESS)
    networks = Networks()
    backbones = [brightness(batch=8) for _ in range(3)]
    streams = [networks.stream(backbone) for backbone in backbones]
    found = at_once(streams, (50, 100, 200))
    assert Brightness.calls == [(backbones[0], 3)]
    for value, one in zip((50, 100, 200), found, strict=True):
        assert isinstance(one, Embeddings)
        assert one.vector.tolist() == [[pytest.approx(value / 255)]]
        assert (one.start_seconds.tolist(), one.end_seconds.tolist()) == ([0.0], [1.0])


def test_a_full_batch_does_not_wait(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(batching, "GATHER_SECONDS", ENDLESS)
    networks = Networks()
    streams = [networks.stream(brightness(batch=2)) for _ in range(5)]
    found = at_once(streams[:4], (10, 20, 30, 40))
    assert [size for _, size in Brightness.calls] == [2, 2]
    assert all(isinstance(one, Embeddings) for one in found)


def test_a_camera_alone_waits_for_nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(batching, "GATHER_SECONDS", ENDLESS)
    networks = Networks()
    stream, gone = networks.stream(brightness()), networks.stream(brightness())
    del gone
    gc.collect()
    began = time.monotonic()
    assert stream.push(frames(100)) is not None
    assert time.monotonic() - began < ENDLESS / 2


def test_a_clip_that_fails_fails_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(batching, "GATHER_SECONDS", ENDLESS)
    networks = Networks()
    streams = [networks.stream(brightness(batch=8)) for _ in range(3)]
    first, second, third = at_once(streams, (50, 255, 200))
    assert isinstance(second, ValueError)
    for one, value in ((first, 50), (third, 200)):
        assert isinstance(one, Embeddings)
        assert one.vector[0, 0] == pytest.approx(value / 255)
    assert [size for _, size in Brightness.calls] == [3, 1, 1, 1]
    again = at_once(streams, (10, 20, 30))  # times go on from 0: windows of before are not repeated
    assert not any(isinstance(one, Exception) for one in again)


def test_what_is_not_equal_or_not_heavy_is_not_shared(monkeypatch: pytest.MonkeyPatch) -> None:
    networks = Networks()
    one, other = brightness(), brightness(size_px=8)
    for backbone in (one, other):
        networks.stream(backbone).push(frames(100))
    assert [backbone for backbone, _ in Brightness.calls] == [one, other]
    monkeypatch.setattr(Brightness, "heavy", False)
    light = [brightness(), brightness()]
    streams = [networks.stream(backbone) for backbone in light]
    for stream in streams:
        stream.push(frames(100))
    assert [backbone for backbone, _ in Brightness.calls[2:]] == light
    assert type(networks.stream(build_backbone("motion"))) is type(build_backbone("motion").stream())


def test_a_network_goes_with_the_last_camera() -> None:
    networks = Networks()
    streams = [networks.stream(brightness()) for _ in range(2)]
    streams.pop()
    gc.collect()
    assert len(networks._known) == 1
    streams.pop()
    gc.collect()
    assert len(networks._known) == 0


@pytest.mark.slow
def test_three_cameras_share_a_network_and_score_as_they_would_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    videos = {name: write(tmp_path / f"{name}.mp4", 9.0, seed=seed) for seed, name in enumerate(("a", "b", "c"))}
    backbone = small("mc3-18", window_seconds=0.6, stride_seconds=0.3, batch=3)
    detector = Detector(backbone="mc3-18", backbone_options=backbone.options(), scorer="knn", on="vector", folds=2)
    detector.learn(write(tmp_path / "usual.mp4", 9.0, seed=9)).save(tmp_path / "detector")
    kind = type(backbone)
    built: list[Any] = []
    sizes: list[int] = []
    build, embed = kind.build, kind.embed

    def counted_build(self: Any) -> Any:
        built.append(self)
        return build(self)

    def counted_embed(self: Any, clips: Pixels) -> Any:
        sizes.append(len(clips))
        return embed(self, clips)

    monkeypatch.setattr(batching, "GATHER_SECONDS", 0.5)
    monkeypatch.setattr(kind, "build", counted_build)
    monkeypatch.setattr(kind, "embed", counted_embed)
    plans = [
        Plan(name, CameraOptions(str(video), replay="fast"), tmp_path / "detector") for name, video in videos.items()
    ]
    with Supervisor(plans, Kept(tmp_path).sinks()) as supervisor:
        assert supervisor.wait(120)
        together = supervisor.statistics()
    assert len(built) == 1
    assert max(sizes) == 3
    clips, calls = sum(sizes), len(sizes)
    assert clips == 3 * 28
    assert calls < 0.7 * clips
    sizes.clear()
    for shared, video in zip(together, videos.values(), strict=True):
        with open_video(str(video)) as source:
            stream = detector.backbone.stream()
            alone = [found for frame in source if (found := stream.push([frame])) is not None]
        scores = detector.score_embeddings(Embeddings.concatenate(alone), "alone").scores
        assert shared.scored == 90
        assert shared.score_quantiles == pytest.approx(np.quantile(scores, (0.5, 0.99, 1.0)).tolist(), rel=1e-4)
    assert (max(sizes), sum(sizes)) == (1, clips)
