"""VideoWriter: what it writes plays back, and nothing half-written is ever left."""

from __future__ import annotations

import itertools
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
from small_disk import no_file_above
from video_files import numbered_image, numbered_images, read_number

from oddwatch.errors import UsageError, VideoError
from oddwatch.types import Frame, Image
from oddwatch.video import VideoWriter, open_video


def read(path: Path) -> list[Frame]:
    with open_video(path) as video:
        return list(video)


def write(
    path: Path, images: Iterable[Image], *, times: Iterable[float | None] = itertools.repeat(None), **options: Any
) -> None:
    with VideoWriter(path, **{"fps": 25, **options}) as video:
        for image, seconds in zip(images, times, strict=False):
            video.write(image, time_seconds=seconds)


def test_what_is_written_comes_back(tmp_path: Path) -> None:
    path = tmp_path / "a.mp4"
    with VideoWriter(path, fps=12.5) as video:
        for image in numbered_images(30):
            video.write(image)
        assert not path.exists()
    frames = read(path)
    assert [read_number(frame.image) for frame in frames] == list(range(30))
    assert [frame.time_seconds for frame in frames] == [n / 12.5 for n in range(30)]
    assert [entry.name for entry in tmp_path.iterdir()] == ["a.mp4"]


def test_it_is_h264_with_its_index_first(tmp_path: Path) -> None:
    path = tmp_path / "a.mp4"
    write(path, numbered_images(60), fps=29.97)
    data = path.read_bytes()
    assert data.index(b"moov") < data.index(b"mdat")
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        assert (stream.codec_context.name, stream.pix_fmt) == ("h264", "yuv420p")
        assert stream.average_rate is not None
        assert float(stream.average_rate) == pytest.approx(29.97, rel=1e-4)
        assert stream.duration is not None
        assert float(stream.duration * (stream.time_base or 0)) == pytest.approx(60 / 29.97, abs=1e-3)


def test_colours_survive(tmp_path: Path) -> None:
    image = np.zeros((720, 1280, 3), dtype=np.uint8)
    colours = [(255, 255, 255), (255, 0, 0), (0, 255, 0), (0, 0, 255), (200, 120, 40)]
    for place, colour in enumerate(colours):
        image[:, place * 256 : (place + 1) * 256] = colour
    write(tmp_path / "a.mp4", [image])
    got = read(tmp_path / "a.mp4")[0].image.astype(int)
    for place, colour in enumerate(colours):
        assert np.abs(got[360, place * 256 + 128] - colour).max() <= 4, colour


def test_odd_sizes_are_made_even_by_repeating_the_edge(tmp_path: Path) -> None:
    image = np.zeros((241, 321, 3), dtype=np.uint8)
    image[:, -8:], image[-8:] = 255, 255
    write(tmp_path / "a.mp4", [image])
    got = read(tmp_path / "a.mp4")[0].image
    assert got.shape == (242, 322, 3)
    assert got[:, -1].min() > 240
    assert got[-1].min() > 240
    assert got[:230, :310].max() < 15


@pytest.mark.parametrize("size", [(1, 1), (8000, 20), (20, 3000)])
def test_extreme_sizes(tmp_path: Path, size: tuple[int, int]) -> None:
    write(tmp_path / "a.mp4", [numbered_image(7, *size)])
    width, height = (side + side % 2 for side in size)
    assert read(tmp_path / "a.mp4")[0].image.shape == (height, width, 3)


def test_images_are_scaled_to_the_size_asked_for(tmp_path: Path) -> None:
    write(tmp_path / "a.mp4", [numbered_image(5, 64, 48), numbered_image(6, 200, 200)], size_px=(128, 96))
    frames = read(tmp_path / "a.mp4")
    assert [(frame.image.shape, read_number(frame.image)) for frame in frames] == [((96, 128, 3), 5), ((96, 128, 3), 6)]


def test_times_of_their_own(tmp_path: Path) -> None:
    times = [3.0, 3.04, 4.0, 4.001, 9.5]
    write(tmp_path / "a.mp4", numbered_images(5), times=times)
    frames = read(tmp_path / "a.mp4")
    assert [frame.time_seconds for frame in frames] == pytest.approx([0, 0.04, 1.0, 1.001, 6.5], abs=1e-4)
    assert [read_number(frame.image) for frame in frames] == list(range(5))
    with av.open(str(tmp_path / "a.mp4")) as container:
        assert container.streams.video[0].start_time == 0


def test_a_view_of_a_larger_image_can_be_written(tmp_path: Path) -> None:
    large = numbered_image(9, 128, 96)
    write(tmp_path / "a.mp4", [large[::2, ::2]])
    assert read_number(read(tmp_path / "a.mp4")[0].image) == 9


@pytest.mark.parametrize(
    "image",
    [np.zeros((4, 4), np.uint8), np.zeros((4, 4, 4), np.uint8), np.zeros((4, 4, 3), np.float32)],
)
def test_wrong_images(tmp_path: Path, image: Image) -> None:
    with pytest.raises(ValueError, match="an image is"):
        write(tmp_path / "a.mp4", [image])
    assert list(tmp_path.iterdir()) == []


def test_another_size_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"must be \(64, 48\) px .* got \(48, 64\)"):
        write(tmp_path / "a.mp4", [numbered_image(1, 64, 48), numbered_image(1, 48, 64)])


@pytest.mark.parametrize("times", [[1.0, 1.0], [1.0, 0.5], [0.0, float("nan")]])
def test_times_must_ascend(tmp_path: Path, times: list[float]) -> None:
    with pytest.raises(ValueError, match="time"):
        write(tmp_path / "a.mp4", numbered_images(2), times=times)


@pytest.mark.parametrize("options", [{"fps": 0}, {"fps": float("nan")}, {"fps": 25, "size_px": (0, 4)}])
def test_wrong_options(tmp_path: Path, options: dict[str, Any]) -> None:
    with pytest.raises(UsageError, match="must be"):
        VideoWriter(tmp_path / "a.mp4", **options)


def test_nothing_written_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"a\.mp4: no image was written"), VideoWriter(tmp_path / "a.mp4", fps=25):
        pass
    assert list(tmp_path.iterdir()) == []


def test_outside_its_block_it_writes_nothing(tmp_path: Path) -> None:
    video = VideoWriter(tmp_path / "a.mp4", fps=25)
    with pytest.raises(ValueError, match="inside its `with` block"):
        video.write(numbered_image(1))
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("error", [RuntimeError, KeyboardInterrupt])
def test_an_error_leaves_what_was_there_before(tmp_path: Path, error: type[BaseException]) -> None:
    path = tmp_path / "a.mp4"
    path.write_bytes(b"before")

    def interrupted() -> None:
        with VideoWriter(path, fps=25) as video:
            video.write(numbered_image(1))
            raise error

    with pytest.raises(error):
        interrupted()
    assert path.read_bytes() == b"before"
    assert list(tmp_path.iterdir()) == [path]


def test_a_missing_folder_is_named(tmp_path: Path) -> None:
    with (
        pytest.raises(VideoError, match=r"gone/a\.mp4: cannot be written: No such file or directory"),
        VideoWriter(tmp_path / "gone" / "a.mp4", fps=25),
    ):
        pass


@pytest.mark.parametrize("images", [1, 4, 100])
def test_a_full_disk(tmp_path: Path, images: int) -> None:
    """With few images it is full only when the file is finished."""
    noise = np.random.default_rng(0).integers(0, 256, (images, 240, 320, 3), dtype=np.uint8)
    with no_file_above(10_000), pytest.raises(VideoError) as caught:
        write(tmp_path / "a.mp4", noise)
    assert str(caught.value) == f"{tmp_path}/a.mp4: the disk is full (write it to another place, or free some space)"
    assert list(tmp_path.iterdir()) == []
