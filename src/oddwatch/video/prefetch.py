"""Decoding ahead in threads of their own."""

from __future__ import annotations

import threading
from collections.abc import Iterable, Iterator, Sequence
from queue import Empty, Queue
from typing import TypeVar

Item = TypeVar("Item")


def prefetch(*producers: Iterable[Item], frames: int = 32) -> Iterator[Item]:
    """The same items, each producer in a background thread of its own; together up to `frames` items ahead.

    Items of one producer keep their order; those of several come as they are ready. An exception of a producer is
    raised here, after the items before it. The threads start with the first item and end with the iteration, also when
    that is closed early (by `close()`, or by leaving a loop over it). Memory: `frames` items, and one more for each
    producer. Raises ValueError when `frames` is below 1.

        with open_video("monday.mp4") as video:
            for frame in prefetch(video):
                ...
    """
    if frames < 1:
        raise ValueError(f"frames must be at least 1, got {frames}")
    return _prefetch(producers, frames)


def _prefetch(producers: Sequence[Iterable[Item]], frames: int) -> Iterator[Item]:
    queue: Queue[tuple[Item] | BaseException | None] = Queue(maxsize=frames)
    stopped = threading.Event()

    def produce(items: Iterable[Item]) -> None:
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

    threads = [
        threading.Thread(target=produce, args=(items,), name="oddwatch-prefetch", daemon=True) for items in producers
    ]
    for thread in threads:
        thread.start()
    running = len(threads)
    try:
        while running:
            got = queue.get()
            if isinstance(got, tuple):
                yield got[0]
            elif got is None:
                running -= 1
            else:
                raise got
    finally:
        stopped.set()
        while any(thread.is_alive() for thread in threads):
            try:
                queue.get(timeout=0.01)
            except Empty:
                continue
