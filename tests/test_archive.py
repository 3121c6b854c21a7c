"""Embeddings that are kept: found again by all that they depend on, whole or not at all, whoever made them."""

from __future__ import annotations

import json
import pickle
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from kept_embeddings import NAME, SECONDS, archive_videos, assert_same, directly, jobs, read, shutil_copy, without_grid
from mean_backbone import MeanPicture
from small_backbones import small
from small_disk import no_file_above
from small_videos import images
from video_files import cut_off, write_frames

import oddwatch.embed.cache
from oddwatch.backbones import Backbone, build_backbone
from oddwatch.detector import Detector
from oddwatch.embed import (
    ArchiveProgress,
    EmbeddingCache,
    EmbeddingStore,
    cached_video,
    embed_archive,
)
from oddwatch.errors import CacheError, UsageError, WeightsError
from oddwatch.types import Embeddings
from oddwatch.video import sample_clip


@pytest.fixture(scope="module")
def videos(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    return archive_videos(tmp_path_factory.mktemp("archive"))


@pytest.fixture
def cache(tmp_path: Path) -> EmbeddingCache:
    return EmbeddingCache(tmp_path / "kept")


@pytest.mark.parametrize("batch", [1, 3, 100])
def test_an_archive_is_its_videos_one_by_one(videos: list[str], cache: EmbeddingCache, batch: int) -> None:
    made = MeanPicture(batch=batch)
    done = embed_archive(jobs(videos), made, cache, grids=True, workers=2)
    assert (done.embedded, done.kept, done.failures) == (5, 0, ())
    assert done.clips == sum(len(directly(path, made)) for path in videos)
    for path in videos:
        assert_same(read(cache, path, made, grids=True), directly(path, made))
    again = embed_archive(jobs(videos), made, cache, grids=True)
    assert (again.embedded, again.kept, again.clips) == (0, 5, 0)


@pytest.mark.slow
def test_a_network_gives_the_same_in_any_company(videos: list[str], tmp_path: Path) -> None:
    """Bit for bit, because every batch is full."""
    made = small("r3d-18", window_seconds=1.0, stride_seconds=0.5, batch=4)
    together, alone = EmbeddingCache(tmp_path / "together"), EmbeddingCache(tmp_path / "alone")
    embed_archive(jobs(videos), made, together, workers=3)
    for path in reversed(videos):
        embed_archive(jobs([path]), made, alone)
    for path in videos:
        assert_same(read(together, path, made), read(alone, path, made))
        expected = directly(path, made).vector
        np.testing.assert_allclose(read(together, path, made).vector, expected, rtol=1e-5, atol=1e-5)


def test_a_backbone_with_a_stream_of_its_own(videos: list[str], cache: EmbeddingCache) -> None:
    motion = build_backbone("motion")
    done = embed_archive(jobs(videos[:2]), motion, cache, grids=True)
    assert (done.embedded, done.clips) == (2, 19 + 32)
    assert_same(read(cache, videos[1], motion, grids=True), directly(videos[1], motion))


def test_bad_videos_are_reported_and_the_others_kept(videos: list[str], cache: EmbeddingCache, tmp_path: Path) -> None:
    torn = cut_off(Path(shutil_copy(videos[0], tmp_path / "torn.mp4")), keep=0.3)
    text = tmp_path / "text.mp4"
    text.write_text("not a video")
    (tmp_path / "empty.mp4").touch()
    bad = [str(torn), str(text), str(tmp_path / "empty.mp4"), str(tmp_path / "gone.mp4")]
    done = embed_archive(jobs([*bad[:2], *videos, *bad[2:]]), MeanPicture(), cache, workers=2)
    assert done.embedded == 5
    assert sorted(f.source for f in done.failures) == sorted(bad)
    assert all("(" in f.reason for f in done.failures)  # the remedy
    assert len(cache.entries()) == 5
    assert embed_archive(jobs([*bad, *videos]), MeanPicture(), cache).kept == 5


# what an embedding depends on


class Other(MeanPicture):
    """Another class, same options."""


class Newer(MeanPicture):
    """Gives other embeddings than its last version."""

    version = 2


def test_only_what_an_embedding_depends_on_matters(videos: list[str], cache: EmbeddingCache, tmp_path: Path) -> None:
    embed_archive(jobs(videos[:1]), MeanPicture(batch=2), cache)
    moved = shutil_copy(videos[0], tmp_path / "moved.mp4")
    assert cache.find(moved, MeanPicture(batch=7), grids=False) is not None
    others: list[tuple[str, Backbone]] = [
        (videos[1], MeanPicture()),
        (videos[0], MeanPicture(window_seconds=1.1)),
        (videos[0], MeanPicture(stride_seconds=0.4)),
        (videos[0], MeanPicture(frames=4)),
        (videos[0], MeanPicture(size_px=5)),
        (videos[0], MeanPicture(window_seconds=None)),
        (videos[0], Other()),
        (videos[0], Newer()),
    ]
    for path, made in others:
        assert cache.find(path, made, grids=False) is None
    assert cache.find(videos[0], MeanPicture(), grids=True) is None  # kept without


def test_weights_and_precision_matter_and_where_the_weights_lie_does_not(tmp_path: Path) -> None:
    from safetensors.torch import save_file

    made = small("r3d-18")
    state = {name: value.contiguous() for name, value in made.network.state_dict().items()}
    for name in ("a", "b"):
        save_file(state, tmp_path / f"{name}.safetensors")
    identities = [
        small("r3d-18", weights=str(tmp_path / "a.safetensors")).identity(),
        small("r3d-18", weights=str(tmp_path / "b.safetensors"), batch=9).identity(),
        small("r3d-18").identity(),
        small("r3d-18", seed=1).identity(),
        small("r3d-18", precision="bfloat16").identity(),
    ]
    assert identities[0] == identities[1]
    assert len({json.dumps(i, sort_keys=True) for i in identities}) == 4


def test_the_source_of_a_foreign_class_matters() -> None:
    assert MeanPicture().identity()["source_sha256"]
    assert build_backbone("motion").identity()["source_sha256"] is None


def test_folders_of_frames_by_their_rate(cache: EmbeddingCache, tmp_path: Path) -> None:
    folder = str(write_frames(tmp_path / "frames", list(images(2.0, seed=1))))
    made = MeanPicture()
    for fps, expected in ((10.0, 3), (5.0, 7)):
        assert embed_archive(jobs([folder], fps=fps), made, cache).clips == expected
    entry = cache.find(folder, made, grids=False, fps=5.0)
    assert entry is not None
    assert (entry.fps, entry.clips) == (5.0, 7)


def test_a_backbone_is_sent_as_its_options() -> None:
    made = build_backbone("r3d-18", weights="random", seed=3, frames=4)
    copy = pickle.loads(pickle.dumps(made))
    assert (copy.name, copy.options()) == ("r3d-18", made.options())
    assert copy.identity() == made.identity()


# crashes, damage, disks


def test_long_videos_are_kept_in_parts(
    videos: list[str], cache: EmbeddingCache, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = MeanPicture()
    size = 48 * 4 + 48 * 4 + 16
    for part_bytes, files in ((2 * size, 4), (7 * size, 1), (3 * size, 3)):
        with monkeypatch.context() as patched:
            patched.setattr(oddwatch.embed.cache, "PART_BYTES", part_bytes)
            assert embed_archive(jobs(videos[3:4]), made, cache, grids=True).clips == 7
        assert_same(read(cache, videos[3], made, grids=True), directly(videos[3], made))
        entry = cache.entries()[0]
        assert len(entry.files) == files
        for file in entry.files:
            file.unlink()


def test_a_failure_in_the_middle_keeps_nothing_of_that_video(
    videos: list[str], cache: EmbeddingCache, monkeypatch: pytest.MonkeyPatch
) -> None:
    class StopError(Exception):
        pass

    def stop(progress: ArchiveProgress) -> None:
        if progress.clips >= 4:
            raise StopError

    with pytest.raises(StopError):
        embed_archive(jobs(videos[3:4]), MeanPicture(batch=1), cache, progress=stop)
    assert cache.entries() == []
    done = embed_archive(jobs(videos), MeanPicture(batch=1), cache)
    assert (done.embedded, done.kept) == (5, 0)


def test_damaged_files_are_made_again(
    videos: list[str], cache: EmbeddingCache, caplog: pytest.LogCaptureFixture
) -> None:
    made = MeanPicture()
    embed_archive(jobs(videos[:2]), made, cache)
    first, second = (entry.file for entry in cache.entries())
    cut_off(first, keep=0.6)
    second.write_bytes(b"")
    with pytest.raises(CacheError, match=r"is damaged or no file of embeddings \(delete it and embed again\)"):
        cache.entries()
    done = embed_archive(jobs(videos[:2]), made, cache)
    assert (done.embedded, done.kept) == (2, 0)
    assert caplog.text.count("is damaged") == 2
    assert_same(read(cache, videos[0], made), without_grid(directly(videos[0], made)))


def test_a_part_that_is_gone_is_named(
    videos: list[str], cache: EmbeddingCache, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(oddwatch.embed.cache, "PART_BYTES", 1)
    embed_archive(jobs(videos[3:4]), MeanPicture(batch=1), cache)
    entry = cache.entries()[0]
    entry.files[1].unlink()
    with pytest.raises(CacheError, match=r"00001.safetensors is damaged or gone \(delete [0-9a-f]{64}.safetensors"):
        list(entry.read())
    assert cache.find(videos[3], MeanPicture(), grids=False) is None


def test_a_full_disk(videos: list[str], cache: EmbeddingCache) -> None:
    made = MeanPicture()
    embed_archive(jobs(videos[:1]), made, cache)
    with no_file_above(100), pytest.raises(CacheError, match=r"kept cannot be written: .* \(free some space"):
        embed_archive(jobs(videos), made, cache)
    assert [path.name for path in cache.folder.iterdir()] == [cache.entries()[0].file.name]


def test_missing_weights_are_said_before_any_work(
    videos: list[str], cache: EmbeddingCache, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("ODDWATCH_OFFLINE", "1")
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    with pytest.raises(WeightsError, match="Three ways out"):
        embed_archive(jobs(["not there", *videos]), build_backbone("r3d-18"), cache)


# whole videos as clips


def test_a_whole_video_as_one_clip_is_the_articles_sampling(videos: list[str], cache: EmbeddingCache) -> None:
    made = MeanPicture(window_seconds=None)
    assert embed_archive(jobs(videos), made, cache).clips == 5
    for path, seconds in zip(videos, SECONDS, strict=True):
        frames = list(images(seconds, seed=int(Path(path).stem)))
        chosen = np.linspace(0, len(frames) - 1, 3).astype(int)
        found = read(cache, path, made)
        assert (found.start_seconds[0], found.end_seconds[0]) == (0.0, pytest.approx((len(frames) - 1) / 10))
        expected = np.mean([made.prepare(frames[i]) for i in chosen], axis=0).reshape(-1)
        np.testing.assert_allclose(found.vector[0], expected, atol=0.1)  # the file is compressed
        exact = np.mean([made.prepare(image) for image in sample_clip(path, frames=3).images], axis=0).reshape(-1)
        np.testing.assert_allclose(found.vector[0], exact, atol=1e-6)
    with pytest.raises(UsageError, match="needs one that has an end"):
        made.stream()


# learning and scoring from what is kept


def test_learning_from_kept_embeddings_is_learning_from_videos(
    videos: list[str], cache: EmbeddingCache, monkeypatch: pytest.MonkeyPatch
) -> None:
    options = {"window_seconds": 0.5, "stride_seconds": 0.2}
    plain = Detector(backbone=NAME, backbone_options=options, on="grid").learn(videos)
    first = Detector(backbone=NAME, backbone_options=options, on="grid").learn(videos, cache=cache)

    def never(*_: Any, **__: Any) -> Iterator[Any]:
        raise AssertionError("embedded again")

    monkeypatch.setattr(oddwatch.embed.cache, "embed_video", never)
    second = Detector(backbone=NAME, backbone_options=options, on="grid").learn(videos, cache=cache)
    kept = Detector(backbone=NAME, backbone_options=options, on="grid").learn_kept(cache.entries())
    for made in (first, second, kept):
        assert made.threshold == plain.threshold
        assert made.describe()["inputs"] == plain.describe()["inputs"]
        np.testing.assert_array_equal(made.score(videos[3], cache=cache).scores, plain_scores(plain, videos[3], cache))
    assert second.score_clip(videos[0], cache=cache).score == kept.score_clip(videos[0], cache=cache).score


def plain_scores(detector: Detector, path: str, cache: EmbeddingCache) -> Any:
    with EmbeddingStore() as store:
        store.add_entry(next(e for e in cache.entries() if e.path == path))
        stored = store.freeze()
        grids = stored.grids(0, len(stored))
        found = Embeddings(stored.vectors, grids, stored.times[:, 0], stored.times[:, 1])
        return detector.score_embeddings(found, path).scores


def test_what_kept_embeddings_cannot_teach(videos: list[str], cache: EmbeddingCache) -> None:
    embed_archive(jobs(videos), MeanPicture(), cache)
    with pytest.raises(UsageError, match="have no grids: embed with --grid, or learn on vector"):
        Detector(backbone=NAME, on="grid").learn_kept(cache.entries())
    with pytest.raises(UsageError, match="are of another backbone, other options or weights"):
        Detector(backbone=NAME, backbone_options={"frames": 5}, on="vector").learn_kept(cache.entries())
    with pytest.raises(UsageError, match="no video was given"):
        Detector(backbone=NAME).learn_kept([])


def test_nothing_is_kept_of_a_stream(videos: list[str], cache: EmbeddingCache) -> None:
    address = Path(videos[0]).as_uri()
    parts = list(cached_video(address, MeanPicture(), cache, grids=False))
    assert sum(len(e) for _, e in parts) == 3
    assert not cache.folder.exists()
