"""Videos -> embeddings in a store on disk: what is kept, what a failure leaves behind, and that nothing stays."""

from __future__ import annotations

import errno
import gc
import hashlib
import tempfile
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from small_videos import images, write
from video_files import write_frames

import oddwatch.embed.cache
from oddwatch.backbones import EmbeddingStream, build_backbone
from oddwatch.embed import EmbeddedVideo, EmbeddingStore, StoredEmbeddings, embed_video, fingerprint
from oddwatch.errors import OddwatchError, UsageError, VideoError
from oddwatch.types import Embeddings, Frame, VideoInfo
from oddwatch.video import open_video

MOTION = build_backbone("motion")
SECONDS = 4.0


@pytest.fixture(scope="module")
def video(tmp_path_factory: pytest.TempPathFactory) -> str:
    return str(write(tmp_path_factory.mktemp("videos") / "walk.mp4", SECONDS, seed=1))


@pytest.fixture
def temporary(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where temporary files go during the test."""
    folder = tmp_path / "temporary"
    folder.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(folder))
    return folder


def directly(path: str) -> Embeddings:
    """The embeddings without batches, threads or a store."""
    with open_video(path) as source:
        found = MOTION.stream().push(list(source))
    assert found is not None
    return found


def test_a_video_in_batches_is_the_video_at_once(video: str) -> None:
    parts = list(embed_video(video, MOTION))
    joined, expected = Embeddings.concatenate([e for _, e in parts]), directly(video)
    np.testing.assert_array_equal(joined.vector, expected.vector)
    np.testing.assert_array_equal(joined.end_seconds, expected.end_seconds)
    assert len(joined) == SECONDS * 10 - 1
    assert {info.name for info, _ in parts} == {video}


def test_progress_is_told_with_the_seconds_done(video: str) -> None:
    told: list[tuple[str, float, float | None]] = []
    list(embed_video(video, MOTION, progress=lambda *args: told.append(args)))
    assert [name for name, _, _ in told] == [video] * 2
    assert [done for _, done, _ in told] == pytest.approx([1.5, 3.1])
    assert [total for _, _, total in told] == pytest.approx([SECONDS] * 2)


def prefetching() -> set[threading.Thread]:
    """Threads that read ahead, but those of iterators that are garbage."""
    gc.collect()
    return {thread for thread in threading.enumerate() if thread.name == "oddwatch-prefetch"}


def test_leaving_a_video_early_leaves_no_thread(video: str) -> None:
    before, reading = threading.active_count(), prefetching()
    found = embed_video(video, MOTION)
    next(found)
    del found
    assert prefetching() <= reading
    assert threading.active_count() <= before + 2  # the threads of the backbone end with its stream


def test_a_folder_of_frames(tmp_path: Path) -> None:
    folder = write_frames(tmp_path / "frames", images(1.0, seed=1))
    ((_, found),) = embed_video(str(folder), MOTION, fps=10.0)
    assert len(found) == 9
    with pytest.raises(UsageError):
        list(embed_video(str(folder), MOTION))


def test_what_is_read_back_is_what_was_embedded(video: str) -> None:
    expected = directly(video)
    assert expected.grid is not None
    with EmbeddingStore() as store:
        assert store.add_video(video, MOTION, label="walk")
        assert store.add_video(video, MOTION)
        stored = store.freeze()
        n = len(expected)
        assert len(store) == len(stored) == 2 * n
        assert stored.grid_shape == expected.grid.shape[1:]
        np.testing.assert_array_equal(stored.vectors, np.tile(expected.vector, (2, 1)))
        np.testing.assert_array_equal(stored.times[:n, 0], expected.start_seconds)
        np.testing.assert_array_equal(stored.times[n:, 1], expected.end_seconds)
        np.testing.assert_array_equal(stored.grids(0, n), expected.grid)
        np.testing.assert_array_equal(stored.grids(n + 3, n + 7), expected.grid[3:7])
        np.testing.assert_array_equal(stored.video_of, [0] * n + [1] * n)
        sha256 = hashlib.sha256(Path(video).read_bytes()).hexdigest()
        assert stored.videos == (
            EmbeddedVideo(video, video, 0, n, "walk", sha256),
            EmbeddedVideo(video, video, n, 2 * n, "usual", sha256),
        )


def test_only_cells_that_hold_something_take_room(video: str, temporary: Path) -> None:
    expected = directly(video)
    assert expected.grid is not None
    held = int(expected.grid.any(axis=-1).sum())
    with EmbeddingStore() as store:
        store.add_video(video, MOTION)
        stored = store.freeze()
        sizes = {path.name: path.stat().st_size for path in temporary.rglob("*") if path.is_file()}
        assert sizes == {"values": 4 * held * expected.grid.shape[-1], "cells": 4 * held}
        np.testing.assert_array_equal(stored.grids(0, len(stored)), expected.grid)
        maps = Path("/proc/self/maps")
        if maps.exists():  # what was read is not in memory any more
            assert str(temporary) not in maps.read_text()
        assert held < 0.5 * expected.grid[..., 0].size


def test_more_can_be_added_after_a_look(video: str) -> None:
    with EmbeddingStore() as store:
        store.add_video(video, MOTION)
        first = store.freeze()
        kept = first.grids(0, 5)
        store.add_video(video, MOTION)
        assert len(store.freeze()) == 2 * len(first)
        np.testing.assert_array_equal(first.grids(0, 5), kept)


def test_a_video_of_a_still_scene_holds_nothing_and_can_be_stored(tmp_path: Path) -> None:
    still = np.full((48, 64, 3), 90, np.uint8)
    folder = write_frames(tmp_path / "still", [still] * 8)
    with EmbeddingStore() as store:
        assert store.add_video(str(folder), MOTION, fps=5.0)
        stored = store.freeze()
        assert len(stored.values) == 0
        assert not stored.grids(0, len(stored)).any()
        assert len(stored.sample_rows(np.arange(len(stored)), most=10, seed=0)[0]) == 0


def test_an_empty_store_can_be_read() -> None:
    with EmbeddingStore() as store:
        stored = store.freeze()
    assert (len(stored), stored.videos, stored.grid_shape) == (0, (), None)
    assert len(stored.only()) == 0


# what cannot be used


def test_bad_videos_are_noted_and_leave_nothing_between_the_good_ones(video: str, tmp_path: Path) -> None:
    (tmp_path / "text.mp4").write_text("this is no video")
    (tmp_path / "empty.mp4").touch()
    short = write(tmp_path / "short.mp4", 0.1, seed=1)
    tall = write(tmp_path / "tall.mp4", 1.0, seed=1, size_px=(120, 160))
    with EmbeddingStore() as store:
        for path in (
            tmp_path / "text.mp4",
            video,
            tmp_path / "empty.mp4",
            short,
            tall,
            tmp_path / "missing.mp4",
            video,
        ):
            store.add_video(str(path), MOTION)
        stored = store.freeze()
        expected = directly(video)
        assert [v.path for v in stored.videos] == [video, video]
        np.testing.assert_array_equal(stored.grids(len(expected), len(stored)), expected.grid)
    reasons = {Path(f.source).name: f.reason for f in store.failures}
    assert list(reasons) == ["text.mp4", "empty.mp4", "short.mp4", "tall.mp4", "missing.mp4"]
    assert reasons["short.mp4"] == "too short to show any movement (give a video of at least a second)"
    assert reasons["tall.mp4"].startswith(
        "its picture has another shape than the other videos (grid (20, 15), (15, 20))"
    )
    assert all("\n" not in reason and str(tmp_path) not in reason for reason in reasons.values())


def test_the_shape_of_a_first_video_that_failed_does_not_bind_the_next(
    video: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def breaks_off(path: str, *_: Any, **__: Any) -> Iterator[tuple[VideoInfo, Embeddings]]:
        grid = np.ones((2, 3, 4, 5), np.float32)
        times = np.arange(2.0)
        info = VideoInfo("other", 4, 3, None, None, "h264")
        yield info, Embeddings(np.ones((2, 7), np.float32), grid, times, times + 1)
        raise VideoError("other", "is cut off", "copy it again")

    with EmbeddingStore() as store:
        with monkeypatch.context() as patched:
            patched.setattr(oddwatch.embed.cache, "embed_video", breaks_off)
            assert not store.add_video("other", MOTION)
        assert store.add_video(video, MOTION)
        assert [str(f) for f in store.failures] == ["other: is cut off (copy it again)"]
        np.testing.assert_array_equal(store.freeze().grids(0, 9), np.asarray(directly(video).grid)[:9])


def test_a_store_can_be_told_the_shape_that_a_detector_needs(video: str, tmp_path: Path) -> None:
    tall = str(write(tmp_path / "tall.mp4", 1.0, seed=1, size_px=(120, 160)))
    with EmbeddingStore(grid_shape=np.asarray(directly(video).grid).shape[1:]) as store:
        assert not store.add_video(tall, MOTION)
        assert store.add_video(video, MOTION)
    assert [Path(f.source).name for f in store.failures] == ["tall.mp4"]


def test_an_address_that_fails_shows_no_password() -> None:
    with EmbeddingStore() as store:
        assert not store.add_video("http://me:secret@127.0.0.1:9/live.mp4", MOTION)
    assert "secret" not in str(store.failures)
    assert "127.0.0.1" in store.failures[0].source


# nothing stays


def test_the_temporary_files_go_when_the_store_is_left(video: str, temporary: Path) -> None:
    with EmbeddingStore() as store:
        store.add_video(video, MOTION)
        assert list(temporary.iterdir())
    assert not list(temporary.iterdir())


@pytest.mark.parametrize("stopped", [KeyboardInterrupt, RuntimeError])
def test_the_temporary_files_go_whatever_stops_the_work(
    video: str, temporary: Path, stopped: type[BaseException]
) -> None:
    def stop(*_: object) -> None:
        raise stopped

    before = prefetching()
    with pytest.raises(stopped), EmbeddingStore() as store:
        store.add_video(video, MOTION, progress=stop)
    assert not list(temporary.iterdir())
    assert prefetching() <= before


class FullDisk:
    """A file on a disk without room, which fails when it is closed too."""

    name = "values"

    def tell(self) -> int:
        return 0

    def write(self, _: bytes) -> int:
        raise OSError(errno.ENOSPC, "No space left on device")

    def flush(self) -> None:
        self.write(b"")

    close = flush


@pytest.mark.parametrize("stage", ["while adding", "while flushing"])
def test_a_full_disk_is_one_clear_error_and_the_folder_goes(video: str, temporary: Path, stage: str) -> None:
    store = EmbeddingStore()
    store._values.close()
    store._values = FullDisk()  # type: ignore[assignment]

    def work() -> None:
        with store:
            if stage == "while adding":
                store.add_video(video, MOTION)
            store.freeze()

    with pytest.raises(OddwatchError) as caught:
        work()
    assert "No space left on device (free some space, or set TMPDIR to a disk with more)" in str(caught.value)
    assert str(temporary) in str(caught.value)
    assert not list(temporary.iterdir())


# parts of a store


def made_up(lengths: list[int], *, cells_each: int = 3) -> StoredEmbeddings:
    """Videos whose embedding i holds the cells i % 4, +1 and +2 of a grid of 2 x 4, filled with 10 i + cell."""
    n = sum(lengths)
    ends = np.cumsum(lengths)
    cells = (np.arange(n)[:, None] + np.arange(cells_each)) % 8
    times = np.concatenate([np.arange(k) for k in lengths]) / 10
    return StoredEmbeddings(
        videos=tuple(
            EmbeddedVideo(f"video {i}", f"video {i}", int(end) - k, int(end), f"class {i}", None)
            for i, (end, k) in enumerate(zip(ends, lengths, strict=True))
        ),
        vectors=np.arange(n, dtype=np.float32)[:, None],
        times=np.stack([times, times + 0.1], axis=1),
        grid_shape=(2, 4, 2),
        values=np.repeat((10 * np.arange(n)[:, None] + cells).reshape(-1, 1), 2, axis=1).astype(np.float32),
        cells=cells.reshape(-1).astype(np.int32),
        row_bounds=np.stack([np.arange(n), np.arange(n) + 1], axis=1) * cells_each,
    )


def test_some_videos_alone_and_all_but_some() -> None:
    stored = made_up([3, 5, 2])
    middle, others = stored.only(1), stored.without(1)
    assert middle.vectors[:, 0].tolist() == [3, 4, 5, 6, 7]
    assert others.vectors[:, 0].tolist() == [0, 1, 2, 8, 9]
    assert [(v.name, v.first, v.last) for v in others.videos] == [("video 0", 0, 3), ("video 2", 3, 5)]
    assert others.video_of.tolist() == [0, 0, 0, 1, 1]
    np.testing.assert_array_equal(middle.grids(0, 5), stored.grids(3, 8))
    np.testing.assert_array_equal(others.grids(2, 5), stored.grids(0, 10)[[2, 8, 9]])
    np.testing.assert_array_equal(others.without(0).vectors, stored.only(2).vectors)
    assert len(stored.without(0, 1, 2)) == 0
    assert others.values is stored.values


def test_a_grid_is_put_together_from_its_cells() -> None:
    stored = made_up([2])
    grid = stored.grids(0, 2)
    assert grid.shape == (2, 2, 4, 2)
    assert grid[1].reshape(8, 2)[:, 0].tolist() == [0, 11, 12, 13, 0, 0, 0, 0]


def test_a_sample_knows_where_each_row_came_from() -> None:
    stored = made_up([30, 40])
    for items, most in ((np.arange(70), 1000), (np.arange(10, 60), 37), (np.array([3, 4, 50]), 5)):
        values, cells, of = stored.sample_rows(items, most=most, seed=0)
        assert len(values) == len(cells) == len(of) == min(most, 3 * len(items))
        np.testing.assert_array_equal(values[:, 0], 10 * of + cells)
        assert set(of) <= set(items)
        assert len({*zip(of.tolist(), cells.tolist(), strict=True)}) == len(of)


def test_a_sample_of_runs_has_whole_embeddings_that_follow_each_other() -> None:
    stored = made_up([300, 400])
    items = np.arange(100, 655)
    _, cells, of = stored.sample_rows(items, most=300, seed=0, run=10)
    drawn = np.unique(of)
    assert len(cells) == 3 * len(drawn)
    assert 60 <= len(drawn) <= 100
    assert set((drawn - 100) // 10) == {int(a) for a in (drawn[::5] - 100) // 10}
    for begin in {(one - 100) // 10 * 10 + 100 for one in drawn.tolist()}:
        assert set(range(begin, min(begin + 10, 655))) <= set(drawn.tolist())
    assert len(np.unique(stored.sample_rows(items, most=10_000, seed=0, run=10)[2])) == len(items)


def test_a_sample_is_even_seeded_and_passes_embeddings_that_hold_nothing() -> None:
    stored = made_up([1000])
    bounds = stored.row_bounds.copy()
    bounds[::2, 1] = bounds[::2, 0]
    half = StoredEmbeddings(**{**vars(stored), "row_bounds": bounds})
    _, _, of = half.sample_rows(np.arange(1000), most=300, seed=1)
    assert (of % 2 == 1).all()
    assert abs(np.mean(of) - 500) < 60
    np.testing.assert_array_equal(of, half.sample_rows(np.arange(1000), most=300, seed=1)[2])
    assert not np.array_equal(of, half.sample_rows(np.arange(1000), most=300, seed=2)[2])


def test_a_fingerprint_is_of_the_bytes(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"x" * 3_000_000)
    assert fingerprint(str(tmp_path / "a")) == hashlib.sha256(b"x" * 3_000_000).hexdigest()
    folder = tmp_path / "frames"
    folder.mkdir()
    seen = set()
    for name, data in (("1.png", b"a"), ("2.png", b"b"), ("1.png", b"c")):
        (folder / name).write_bytes(data)
        seen.add(fingerprint(str(folder)))
    assert len(seen) == 3
    assert fingerprint("rtsp://camera/1") is None


def test_a_backbone_without_a_grid(video: str) -> None:
    class Brightness(type(MOTION)):  # type: ignore[misc]
        def stream(self) -> Any:
            class Stream(EmbeddingStream):
                def push(self, frames: Sequence[Frame]) -> Embeddings:
                    times = np.array([f.time_seconds for f in frames])
                    means = np.array([[f.image.mean()] for f in frames], np.float32)
                    return Embeddings(means, None, times, times + 0.1)

            return Stream()

    with EmbeddingStore() as store:
        assert store.add_video(video, Brightness())
        stored = store.freeze()
    assert (stored.grid_shape, stored.vectors.shape) == (None, (SECONDS * 10, 1))
