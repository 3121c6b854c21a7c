"""windows: which frames go into which window, by exact numbers."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import numpy as np
import pytest

from oddwatch.types import Clip, Frame
from oddwatch.video import windows


def frames(times: Iterable[float]) -> Iterator[Frame]:
    """Frames that hold their own number, modulo 256."""
    for index, time in enumerate(times):
        yield Frame(np.full((2, 3, 3), index % 256, dtype=np.uint8), float(time), index)


def cut(times: Iterable[float], count: int, length: float, stride: float) -> list[Clip]:
    return list(windows(frames(times), frames_per_window=count, length_seconds=length, stride_seconds=stride))


def spans(clips: list[Clip]) -> list[tuple[float, float]]:
    return [(round(clip.start_seconds, 6), round(clip.end_seconds, 6)) for clip in clips]


def indices(clips: list[Clip]) -> list[list[int]]:
    return [clip.images[:, 0, 0, 0].tolist() for clip in clips]


def test_windows_that_touch() -> None:
    clips = cut(np.arange(9) / 4, 3, 1.0, 1.0)  # 0, 0.25, ... 2.0
    assert spans(clips) == [(0, 1), (1, 2)]
    assert indices(clips) == [[0, 2, 4], [4, 6, 8]]
    assert clips[1].times_seconds.tolist() == [1.0, 1.5, 2.0]
    assert clips[0].images.shape == (3, 2, 3, 3)


def test_windows_that_overlap() -> None:
    clips = cut(np.arange(9) / 4, 2, 1.0, 0.5)
    assert spans(clips) == [(0, 1), (0.5, 1.5), (1, 2)]
    assert indices(clips) == [[0, 4], [2, 6], [4, 8]]


def test_what_is_left_at_the_end_gets_a_whole_window_that_ends_with_the_last_frame() -> None:
    clips = cut(np.arange(11) / 4, 3, 1.0, 1.0)  # the last frame is at 2.5
    assert spans(clips) == [(0, 1), (1, 2), (1.5, 2.5)]
    assert indices(clips)[-1] == [6, 8, 10]


def test_nothing_is_left_when_the_last_window_ends_with_the_last_frame() -> None:
    assert spans(cut(np.arange(5) / 4, 2, 0.5, 0.25)) == [(0, 0.5), (0.25, 0.75), (0.5, 1)]


def test_a_video_shorter_than_a_window_is_one_clip_of_what_there_is() -> None:
    clips = cut([0, 0.1, 0.2, 0.3, 0.4], 3, 10.0, 1.0)
    assert spans(clips) == [(0, 0.4)]
    assert indices(clips) == [[0, 2, 4]]


def test_one_frame_and_no_frame() -> None:
    clips = cut([0.0], 3, 1.0, 1.0)
    assert (spans(clips), indices(clips)) == ([(0, 0)], [[0, 0, 0]])
    assert cut([], 3, 1.0, 1.0) == []


def test_a_stride_longer_than_the_window_leaves_gaps() -> None:
    assert spans(cut(np.arange(13) / 4, 2, 0.5, 2.0)) == [(0, 0.5), (2, 2.5)]
    # The third window had begun: it is moved back so that it is whole.
    assert spans(cut(np.arange(18) / 4, 2, 0.5, 2.0)) == [(0, 0.5), (2, 2.5), (3.75, 4.25)]


def test_nearest_frames_at_a_variable_rate() -> None:
    clips = cut([0, 0.1, 0.45, 0.9, 1.0, 1.6], 3, 1.0, 1.0)
    # Targets 0, 0.5, 1; then, after the end, 0.6, 1.1, 1.6 from the frames in [0.6, 1.6].
    assert spans(clips) == [(0, 1), (0.6, 1.6)]
    assert indices(clips) == [[0, 2, 4], [3, 4, 5]]


def test_of_two_frames_equally_near_the_earlier_is_taken() -> None:
    # In binary 0.3 - 0.2 is a little less than 0.2 - 0.1.
    assert indices(cut([0, 0.1, 0.3, 0.4], 3, 0.4, 0.4)) == [[0, 1, 3]]


def test_no_frame_after_the_end_of_a_window_is_used() -> None:
    # 1.01 is nearer to the end (1.0) than 0.5, but comes after it.
    clips = cut([0, 0.5, 1.01, 1.5, 2.0], 2, 1.0, 1.0)
    assert indices(clips) == [[0, 1], [2, 4]]
    assert all(clip.times_seconds[-1] <= clip.end_seconds + 1e-6 for clip in clips)


def test_a_window_comes_as_soon_as_it_is_over() -> None:
    taken: list[int] = []

    def counted() -> Iterator[Frame]:
        for frame in frames(np.arange(100) / 10):
            taken.append(frame.index)
            yield frame

    clips = windows(counted(), frames_per_window=2, length_seconds=1.0, stride_seconds=0.5)
    next(clips)
    assert taken[-1] == 10
    next(clips)
    assert taken[-1] == 15


def test_a_gap_in_the_stream_gives_no_empty_windows() -> None:
    clips = cut([0, 0.5, 1.0, 7.5, 8.0, 8.5, 9.0], 2, 1.0, 1.0)
    assert spans(clips) == [(0, 1), (1, 2), (7, 8), (8, 9)]
    assert indices(clips) == [[0, 2], [2, 2], [3, 4], [4, 6]]


def test_times_count_from_the_first_frame() -> None:
    assert spans(cut(100 + np.arange(5) / 4, 2, 0.5, 0.5)) == [(100, 100.5), (100.5, 101)]


def test_rounding_of_frame_times_does_not_move_windows() -> None:
    clips = cut(np.arange(3001) / 30, 2, 0.1, 0.1)  # 100 s; 1/30 s and 0.1 s are no binary fractions
    assert indices([clips[0], clips[499], clips[999]]) == [[0, 3], [1497 % 256, 1500 % 256], [2997 % 256, 3000 % 256]]
    assert len(clips) == 1000


def test_only_the_frames_of_one_window_are_kept() -> None:
    alive: set[int] = set()
    most = 0

    class Noticed(np.ndarray):
        def __del__(self) -> None:
            alive.discard(id(self))

    def watched() -> Iterator[Frame]:
        nonlocal most
        for index in range(2000):
            image = np.zeros((2, 2, 3), dtype=np.uint8).view(Noticed)
            alive.add(id(image))
            most = max(most, len(alive))
            yield Frame(image, index / 10, index)

    for _ in windows(watched(), frames_per_window=4, length_seconds=2.0, stride_seconds=7.0):
        pass
    assert 20 <= most <= 25


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"frames_per_window": 0}, "items_per_window must be at least 1, got 0"),
        ({"length_seconds": 0.0}, "length_seconds must be a positive number"),
        ({"stride_seconds": -1.0}, "stride_seconds must be a positive number"),
        ({"stride_seconds": float("nan")}, "stride_seconds must be a positive number"),
    ],
)
def test_wrong_arguments(arguments: dict[str, float], message: str) -> None:
    valid = {"frames_per_window": 2, "length_seconds": 1.0, "stride_seconds": 1.0}
    with pytest.raises(ValueError, match=message):
        windows([], **{**valid, **arguments})  # type: ignore[arg-type]
