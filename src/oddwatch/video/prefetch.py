"""Decoding ahead in a thread of its own."""

from __future__ import annotations

import threading
from collections.abc import Iterable, Iterator
from queue import Empty, Queue
from typing import TypeVar

Item = TypeVar("Item")


def prefetch(items: Iterable[Item], *, frames: int = 32) -> Iterator[Item]:
    """The same items, produced by a background thread that is up to `frames` of them ahead.

    An exception of the producer is raised here, after the items before it. The thread starts with the first item and
    ends with the iteration, also when that is closed early (by `close()`, or by leaving a loop over it). Memory:
    `frames` items. Raises ValueError when `frames` is below 1.

        with open_video("monday.mp4") as video:
            for frame in prefetch(video):
                ...
    """
    if frames < 1:
        raise ValueError(f"frames must be at least 1, got {frames}")
    return _prefetch(items, frames)


def _prefetch(items: Iterable[Item], frames: int) -> Iterator[Item]:
    queue: Queue[tuple[Item] | BaseException | None] = Queue(maxsize=frames)
    stopped = threading.Event()

    def produce() -> None:
        end: BaseException | None = None
        try:
            for item in items:
                if stopped.is_set():
                    return
                queue.put((item,))
        except BaseException as error:
            end = error
        if not stopped.is_set():
            queue.put(end)

    thread = threading.Thread(target=produce, name="oddwatch-prefetch", daemon=True)
    thread.start()
    try:
        while isinstance(got := queue.get(), tuple):
            yield got[0]
        if got is not None:
            raise got
    finally:
        stopped.set()
        while thread.is_alive():
            try:
                queue.get(timeout=0.01)
            except Empty:
                continue
        thread.join()
