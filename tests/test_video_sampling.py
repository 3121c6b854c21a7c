"""sample_clip and frames_at: the same frames whether they were found by seeking or by decoding everything."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from video_files import damage, numbered_images, read_number, write_frames, write_video

from oddwatch.errors import UsageError, VideoError
from oddwatch.types import Frame
from oddwatch.video import frames_at, open_video, sample_clip
from oddwatch.video.file import FileSource

FRAMES = 600

X264 = {"g": "50", "bf": "3", "sc_threshold": "0"}
OPEN_GOP = {**X264, "x264-params": "open-gop=1:b-adapt=0"}
FILES: dict[str, tuple[str, dict[str, str], bool]] = {
    "b_frames.mp4": ("libx264", X264, True),
    "open_gop.mp4": ("libx264", OPEN_GOP, True),
    "open_gop.mkv": ("libx264", OPEN_GOP, True),
    "open_gop.ts": ("libx264", OPEN_GOP, True),
    "all_key.mp4": ("libx264", {"g": "1"}, True),
    "mpeg4.avi": ("mpeg4", {"g": "50"}, True),
    "vp9.webm": ("libvpx-vp9", {"g": "50", "deadline": "realtime", "cpu-used": "8"}, True),
    "one_gop.mp4": ("libx264", {**X264, "g": "9999"}, False),
    "intra_refresh.mp4": ("libx264", {**X264, "x264-params": "intra-refresh=1"}, False),
    "b_frames.avi": ("libx264", X264, False),
    "no_times.h264": ("libx264", X264, False),
    "hidden_frames.webm": ("libvpx", {"g": "50", "auto-alt-ref": "1", "lag-in-frames": "16"}, False),
}
"""Name -> codec, options, whether the frames can be had by seeking."""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = tmp_path_factory.mktemp("videos")
    for name, (codec, options, _) in FILES.items():
        write_video(made / name, numbered_images(FRAMES, 32, 24), codec=codec, options=options)
    return made


@pytest.fixture
def decoded(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Grows by one item for every frame that is decoded."""
    counter: list[int] = []
    original = FileSource._decode

    def counting(source: FileSource, packets: Iterator[object]) -> Iterator[object]:
        for frame in original(source, packets):  # type: ignore[arg-type]
            counter.append(1)
            yield frame

    monkeypatch.setattr(FileSource, "_decode", counting)
    return counter


def read(path: Path, *, fps: float | None = None) -> list[Frame]:
    with open_video(path, fps=fps) as video:
        return list(video)


def assert_same(got: Frame, expected: Frame) -> None:
    assert (got.index, got.time_seconds) == (expected.index, expected.time_seconds)
    assert np.array_equal(got.image, expected.image)


@pytest.mark.parametrize("name", FILES)
def test_seeking_and_decoding_give_the_same(folder: Path, name: str, decoded: list[int]) -> None:
    everything = read(folder / name)
    assert len(everything) == FRAMES
    assert [read_number(frame.image) for frame in everything] == list(range(FRAMES))
    can_seek = FILES[name][2]

    decoded.clear()
    clip = sample_clip(folder / name, frames=4)
    for place, index in enumerate([0, 199, 399, 599]):
        assert np.array_equal(clip.images[place], everything[index].image)
        assert clip.times_seconds[place] == everything[index].time_seconds
    assert (clip.start_seconds, clip.end_seconds) == (0.0, everything[-1].time_seconds)
    assert (len(decoded) < FRAMES / 2) == can_seek

    decoded.clear()
    times = np.array([frame.time_seconds for frame in everything])
    asked = [23.9, 4.01, 12.0, 12.0, -3.0, 99.0]
    for got, seconds in zip(frames_at(folder / name, asked), asked, strict=True):
        shown = max((n for n in range(FRAMES) if times[n] <= seconds + 1e-6), default=0)
        assert_same(got, everything[shown])
    assert (len(decoded) < FRAMES / 2) == can_seek


@pytest.mark.parametrize("name", ["b_frames.mp4", "open_gop.ts", "open_gop.mkv"])
def test_every_frame_can_be_had_by_seeking(folder: Path, name: str) -> None:
    everything = read(folder / name)
    for index in [1, 2, 47, 48, 49, 50, 51, 52, 99, 100, 101, 597, 598, 599]:
        with open_video(folder / name) as video:
            found = video.read_at([index])
        assert found is not None
        assert_same(found[index], everything[index])


def test_no_seeking_where_decoding_is_about_as_cheap(tmp_path: Path) -> None:
    with open_video(write_video(tmp_path / "a.mp4", numbered_images(40))) as video:
        assert video.read_at([39]) is None
        assert video.timeline() == pytest.approx(np.arange(40) / 25)


def test_a_few_frames_of_a_short_video(tmp_path: Path) -> None:
    path = write_video(tmp_path / "a.mp4", numbered_images(10))
    clip = sample_clip(path, frames=4)
    # linspace(0, 9, 4) = 0 3 6 9
    assert [read_number(image) for image in clip.images] == [0, 3, 6, 9]
    assert clip.times_seconds == pytest.approx([0, 0.12, 0.24, 0.36])
    assert clip.start_seconds == 0
    assert clip.end_seconds == pytest.approx(0.36)


@pytest.mark.parametrize(
    ("frames", "expected"),
    [(1, [0]), (2, [0, 6]), (3, [0, 3, 6]), (5, [0, 1, 3, 4, 6]), (9, [0, 0, 1, 2, 3, 3, 4, 5, 6])],
)
def test_indices_are_truncated(tmp_path: Path, frames: int, expected: list[int]) -> None:
    clip = sample_clip(write_frames(tmp_path / "f", numbered_images(7)), frames=frames, fps=2)
    assert [read_number(image) for image in clip.images] == expected
    assert clip.times_seconds.tolist() == [index / 2 for index in expected]
    assert (clip.start_seconds, clip.end_seconds) == (0, 3)


def test_the_count_is_that_of_decoded_frames(tmp_path: Path) -> None:
    path = damage(write_video(tmp_path / "a.mp4", numbered_images(60), options={"g": "1"}), [10, 20, 59])
    whole = read(path)
    assert len(whole) == 57
    clip = sample_clip(path, frames=8)
    expected = [whole[index] for index in (0, 8, 16, 24, 32, 40, 48, 56)]
    assert clip.times_seconds.tolist() == [frame.time_seconds for frame in expected]
    assert all(np.array_equal(a, b.image) for a, b in zip(clip.images, expected, strict=True))


def test_damage_where_a_seek_lands_falls_back_to_decoding(tmp_path: Path) -> None:
    options = {"g": "10", "bf": "0", "sc_threshold": "0"}
    path = damage(write_video(tmp_path / "a.mp4", numbered_images(300, 32, 24), options=options), [150])
    whole = read(path)
    assert len(whole) < 300
    with open_video(path) as video:
        assert video.read_at([155]) is None
        assert video.read_at([165]) is not None
    shown = max(frame.index for frame in whole if frame.time_seconds <= 6.2)
    assert_same(frames_at(path, [6.2])[0], whole[shown])


def test_bad_images_of_a_folder_do_not_count(tmp_path: Path) -> None:
    folder = write_frames(tmp_path / "f", numbered_images(8))
    (folder / "frame7.png").write_bytes(b"no image")
    clip = sample_clip(folder, frames=3, fps=1)
    assert [read_number(image) for image in clip.images] == [0, 3, 6]
    assert [read_number(frame.image) for frame in frames_at(folder, [6.5, 7, 100], fps=1)] == [6, 6, 6]


def test_frames_at_of_a_variable_rate_file(tmp_path: Path) -> None:
    milliseconds = [0, 100, 150, 1000, 1040]
    path = write_video(tmp_path / "a.mkv", numbered_images(5), milliseconds=milliseconds)
    asked = [0.0, 0.099, 0.1, 0.149, 0.15, 0.7 - 0.55, 0.9, 1.0, 1.039, 1.04, 7.0]
    assert 0.7 - 0.55 < 0.15  # by a rounding error
    assert [frame.index for frame in frames_at(path, asked)] == [0, 0, 1, 1, 2, 2, 2, 3, 3, 4, 4]


def test_a_video_of_one_frame(tmp_path: Path) -> None:
    path = write_video(tmp_path / "a.mp4", numbered_images(1))
    clip = sample_clip(path, frames=8)
    assert clip.images.shape == (8, 48, 64, 3)
    assert (clip.start_seconds, clip.end_seconds) == (0, 0)
    assert frames_at(path, [0, 5])[1].index == 0


def test_wrong_arguments(tmp_path: Path) -> None:
    path = write_video(tmp_path / "a.mp4", numbered_images(3))
    assert frames_at(path, []) == []
    with pytest.raises(UsageError, match="frames must be at least 1, got 0"):
        sample_clip(path, frames=0)
    with pytest.raises(UsageError, match="times must be finite"):
        frames_at(path, [0.0, float("nan")])
    with pytest.raises(UsageError, match="give --fps"):
        sample_clip(write_frames(tmp_path / "f", numbered_images(2)), frames=2)
    with pytest.raises(VideoError, match="no such file"):
        sample_clip(tmp_path / "missing.mp4", frames=2)


def test_a_live_stream_cannot_be_sampled(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write_video(tmp_path / "a.h264", numbered_images(3))
    real = open_video
    monkeypatch.setattr("oddwatch.video.sampling.open_video", lambda _, fps: real(path, fps=fps))
    with pytest.raises(UsageError, match="a live stream has no end"):
        sample_clip("rtsp://camera/1", frames=2)
