"""prefetch: same items, bounded, and no thread left behind however it ends."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from video_files import numbered_images, read_number, write_video

from oddwatch.types import Frame
from oddwatch.video import open_video, prefetch


class Threads:
    """Those of prefetching that have begun since; another test may have left one."""

    def __init__(self) -> None:
        self._before = set(threading.enumerate())

    def left(self) -> list[threading.Thread]:
        return [one for one in set(threading.enumerate()) - self._before if one.name == "oddwatch-prefetch"]


@pytest.fixture(autouse=True)
def begun() -> Iterator[Threads]:
    found = Threads()
    yield found
    assert found.left() == []


def test_frames_come_in_order(tmp_path: Path) -> None:
    with open_video(write_video(tmp_path / "a.mp4", numbered_images(50))) as video:
        assert [read_number(frame.image) for frame in prefetch(video, frames=3)] == list(range(50))


@pytest.mark.parametrize("frames", [1, 2, 32])
def test_none_is_an_item_like_any_other(frames: int) -> None:
    assert list(prefetch([None, 1, None], frames=frames)) == [None, 1, None]
    assert list(prefetch([], frames=frames)) == []


def test_it_runs_ahead_but_not_far() -> None:
    made: list[int] = []

    def produce() -> Iterator[int]:
        for number in range(100):
            made.append(number)
            yield number

    items = prefetch(produce(), frames=4)
    assert made == []
    assert next(items) == 0
    deadline = time.monotonic() + 2
    while len(made) < 6 and time.monotonic() < deadline:
        time.sleep(0.005)
    time.sleep(0.05)
    assert len(made) == 6  # one taken, four waiting, one in hand
    items.close()  # type: ignore[attr-defined]


def test_an_error_arrives_after_the_items_before_it(begun: Threads) -> None:
    def produce() -> Iterator[int]:
        yield 1
        yield 2
        raise RuntimeError("broken")

    items = prefetch(produce())
    assert [next(items), next(items)] == [1, 2]
    with pytest.raises(RuntimeError, match="broken"):
        next(items)
    assert begun.left() == []


@pytest.mark.parametrize("frames", [1, 2, 8])
def test_closing_early_stops_the_thread_and_the_producer(begun: Threads, frames: int) -> None:
    ended: list[bool] = []

    def produce() -> Iterator[int]:
        try:
            number = 0
            while True:
                yield number
                number += 1
        finally:
            ended.append(True)

    producer = produce()
    items = prefetch(producer, frames=frames)
    assert next(items) == 0
    items.close()  # type: ignore[attr-defined]
    assert begun.left() == []
    producer.close()  # type: ignore[attr-defined]
    assert ended == [True]


def test_leaving_a_loop_stops_the_thread(begun: Threads, tmp_path: Path) -> None:
    with open_video(write_video(tmp_path / "a.mp4", numbered_images(100))) as video:
        for frame in prefetch(video, frames=2):
            if frame.index == 5:
                break
        assert begun.left() == []


def test_an_error_of_the_consumer_stops_the_thread(tmp_path: Path) -> None:
    path = write_video(tmp_path / "a.mp4", numbered_images(100))

    def consume() -> None:
        with open_video(path) as video:
            for _ in prefetch(video, frames=2):
                raise KeyError("consumer")

    with pytest.raises(KeyError, match="consumer"):
        consume()


def test_the_video_may_be_closed_while_the_thread_decodes(tmp_path: Path) -> None:
    path = write_video(tmp_path / "a.mp4", numbered_images(100, 640, 480), options={"preset": "ultrafast"})
    for _ in range(10):
        with open_video(path) as video:
            items = prefetch(video, frames=500)
            next(items)
        with contextlib.suppress(ValueError):  # closed before its end, unless the thread was faster
            list(items)


def test_a_video_closed_before_its_end_is_an_error_and_not_an_end(tmp_path: Path) -> None:
    closed = threading.Event()

    def wait_for_close(video: Iterator[Frame]) -> Iterator[Frame]:
        yield next(video)
        closed.wait(5)
        yield from video

    with open_video(write_video(tmp_path / "a.mp4", numbered_images(20))) as video:
        items = prefetch(wait_for_close(video))
        next(items)
    closed.set()
    with pytest.raises(ValueError, match="is closed"):
        list(items)


def test_at_least_one_frame() -> None:
    with pytest.raises(ValueError, match="frames must be at least 1"):
        prefetch([], frames=0)
