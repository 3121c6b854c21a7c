"""Embeddings that are kept: found again by all that they depend on, whole or not at all, whoever made them."""

from __future__ import annotations

import json
import os
import pickle
import signal
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from command_line import Runner, finish, start
from mean_backbone import MeanPicture
from small_backbones import small
from small_disk import no_file_above
from small_videos import images, write
from video_files import cut_off, write_frames

import oddwatch.embed.cache
from oddwatch.backbones import Backbone, build_backbone
from oddwatch.detector import Detector
from oddwatch.embed import (
    ArchiveProgress,
    EmbeddingCache,
    EmbeddingStore,
    Job,
    cached_video,
    embed_archive,
    embed_video,
    fingerprint,
)
from oddwatch.errors import CacheError, UsageError, WeightsError
from oddwatch.types import Embeddings
from oddwatch.video import sample_clip

NAME = "mean_backbone:MeanPicture"
SECONDS = (2.0, 3.3, 0.7, 4.0, 1.2)


@pytest.fixture(scope="module")
def videos(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    folder = tmp_path_factory.mktemp("archive")
    return [str(write(folder / f"{i}.mp4", seconds, seed=i)) for i, seconds in enumerate(SECONDS)]


@pytest.fixture
def cache(tmp_path: Path) -> EmbeddingCache:
    return EmbeddingCache(tmp_path / "kept")


@pytest.fixture
def oddwatch_command(capsys: pytest.CaptureFixture[str]) -> Runner:
    return Runner(capsys)


def jobs(paths: Sequence[str], *, fps: float | None = None) -> list[Job]:
    return [Job(index, path, fps) for index, path in enumerate(paths)]


def read(cache: EmbeddingCache, path: str, backbone: Backbone, *, grids: bool = False) -> Embeddings:
    entry = cache.find(path, backbone, grids=grids)
    assert entry is not None
    return Embeddings.concatenate([embeddings for _, embeddings in entry.read()])


def directly(path: str, backbone: Backbone) -> Embeddings:
    return Embeddings.concatenate([embeddings for _, embeddings in embed_video(path, backbone)])


def assert_same(found: Embeddings, expected: Embeddings) -> None:
    for name in ("vector", "grid", "start_seconds", "end_seconds"):
        np.testing.assert_array_equal(getattr(found, name), getattr(expected, name), strict=True)


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


def shutil_copy(source: str, target: Path) -> str:
    target.write_bytes(Path(source).read_bytes())
    return str(target)


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


def without_grid(embeddings: Embeddings) -> Embeddings:
    return Embeddings(embeddings.vector, None, embeddings.start_seconds, embeddings.end_seconds)


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


# the command


def test_embed_then_learn_then_score(videos: list[str], oddwatch_command: Runner, tmp_path: Path) -> None:
    folder = Path(videos[0]).parent
    ran = oddwatch_command("embed", folder, "gone.mp4", "--backbone", NAME, "--out", "kept", "--json")
    assert ran.code == 1
    said = json.loads(ran.out)
    assert (said["embedded"], said["kept"], said["clips"]) == (5, 0, 3 + 6 + 1 + 7 + 2)
    assert [f["source"] for f in said["failures"]] == ["gone.mp4"]
    ran = oddwatch_command("embed", folder, "--backbone", NAME, "--out", "kept")
    assert ran.code == 0
    assert "Embedded 0 videos" in ran.out
    assert "5 were there" in ran.out
    ran = oddwatch_command("learn", "kept", "--out", "door", "--scorer", "knn", "--budget", "1/hour")
    assert ran.code == 1
    assert "19 usual moments are too few" in ran.err
    more = [str(write(tmp_path / "more" / f"{i}.mp4", 3.0, seed=i)) for i in range(20, 24)]
    oddwatch_command("embed", *more, "--backbone", NAME, "--out", "kept", "--grid")
    ran = oddwatch_command("learn", "kept", "--out", "door", "--classes", "--json")
    assert ran.code == 0, ran.err
    learned = json.loads(ran.out)
    assert (learned["backbone"], learned["on"], learned["videos"]) == (NAME, "vector", 9)
    assert {e["label"] for e in Detector.load("door").describe()["inputs"]} == {folder.name, "more"}
    ran = oddwatch_command("score", "door", videos[3], "--cache", "kept")
    assert ran.code == 0


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["--fps", "5"], "kept holds embeddings: leave out --fps"),
        (["--tuned"], "kept holds embeddings: leave out --weights, --runtime"),
        (["--option", "batch=2"], "there are no embeddings of these options here"),
        (["--cache", "other"], "leave out"),
        (["--backbone", "r3d-18"], "there are no embeddings of r3d-18 here, only of mean_backbone:MeanPicture"),
        (["--on", "grid"], "have no grids"),
    ],
)
def test_wrong_learning(videos: list[str], oddwatch_command: Runner, arguments: list[str], says: str) -> None:
    oddwatch_command("embed", *videos, "--backbone", NAME, "--out", "kept")
    ran = oddwatch_command("learn", "kept", "--out", "door", *arguments)
    assert ran.code == 2
    assert says in ran.err


def test_embeddings_of_two_backbones(videos: list[str], oddwatch_command: Runner) -> None:
    command = ("embed", *videos, "--backbone", NAME, "--out", "kept", "--option", "window_seconds=0.5")
    for frames in (2, 3):
        oddwatch_command(*command, "--option", f"frames={frames}")
    ran = oddwatch_command("learn", "kept", "--out", "door")
    assert ran.code == 2
    assert "of mean_backbone:MeanPicture in several ways here (frames=3): choose one with --option" in ran.err
    ran = oddwatch_command("learn", "kept", "--out", "door", "--option", "frames=3")
    assert ran.code == 0, ran.err
    oddwatch_command("embed", *videos, "--backbone", "motion", "--out", "kept")
    assert "several backbones here" in oddwatch_command("learn", "kept", "--out", "door").err
    for choice in ("motion", NAME):
        ran = oddwatch_command("learn", "kept", "--out", "door", "--backbone", choice, "--option", "frames=3")
        assert (choice == NAME) == (ran.code == 0)
    assert oddwatch_command("learn", "kept", "--out", "door", "--backbone", "motion", "--on", "vector").code == 0


def test_only_what_embed_was_asked_for_is_learned(videos: list[str], oddwatch_command: Runner, tmp_path: Path) -> None:
    """Not what score and evaluate kept beside it, nor what a video was before it changed."""
    options = {"window_seconds": 0.5, "stride_seconds": 0.2}
    changes = tmp_path / "arch" / "walk" / "monday" / "1.mp4"
    changes.parent.mkdir(parents=True)
    shutil_copy(videos[0], changes)
    command = ("embed", "arch", *videos[3:], "--backbone", NAME, "--out", "kept", "--option", "window_seconds=0.5")
    oddwatch_command(*command, "--option", "stride_seconds=0.2")
    embed_archive(jobs(videos[1:2]), build_backbone(NAME, **options), EmbeddingCache("kept"))
    shutil_copy(videos[2], changes)
    oddwatch_command(*command, "--option", "stride_seconds=0.2")
    ran = oddwatch_command("learn", "kept", "--out", "door", "--classes", "--json")
    assert ran.code == 0, ran.err
    inputs = Detector.load("door").describe()["inputs"]
    assert sorted(e["label"] for e in inputs) == sorted(["walk", *[Path(videos[3]).parent.name] * 2])


def test_a_video_that_changes_while_it_is_embedded_is_not_kept(
    videos: list[str], cache: EmbeddingCache, tmp_path: Path
) -> None:
    path = shutil_copy(videos[3], tmp_path / "growing.mp4")

    def change(progress: ArchiveProgress) -> None:
        if progress.clips == 2:
            os.replace(shutil_copy(videos[1], tmp_path / "new.mp4"), path)

    done = embed_archive(jobs([path]), MeanPicture(batch=1), cache, progress=change)
    assert [str(f) for f in done.failures] == [f"{path}: it changed while it was read (try again when it is complete)"]
    assert cache.entries() == []
    assert embed_archive(jobs([path]), MeanPicture(batch=1), cache).embedded == 1
    assert_same(read(cache, path, MeanPicture()), without_grid(directly(videos[1], MeanPicture())))


def test_two_writers_of_one_video_do_not_mix(
    videos: list[str], cache: EmbeddingCache, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(oddwatch.embed.cache, "PART_BYTES", 1)
    made = MeanPicture()
    (info, embeddings), *_ = embed_video(videos[3], MeanPicture(batch=100))
    first, second = (cache.writer(videos[3], made, grids=False) for _ in range(2))
    for row in range(len(embeddings)):
        first.add(info, embeddings[row : row + 1])
        second.add(info, embeddings[row : row + 1])
    first.finish()
    assert_same(read(cache, videos[3], made), without_grid(embeddings))
    (cache.folder / cache.entries()[0].parts[0]).unlink()
    assert cache.find(videos[3], made, grids=False) is None


def test_a_copy_has_its_own_name(videos: list[str], cache: EmbeddingCache, tmp_path: Path) -> None:
    embed_archive(jobs(videos[:1]), MeanPicture(), cache)
    copy = shutil_copy(videos[0], tmp_path / "copy.mp4")
    assert {info.name for info, _ in cached_video(copy, MeanPicture(), cache, grids=False)} == {copy}


def test_equal_options_are_the_same(videos: list[str], cache: EmbeddingCache) -> None:
    embed_archive(jobs(videos[:1]), MeanPicture(window_seconds=1), cache)
    assert cache.find(videos[0], MeanPicture(window_seconds=1.0), grids=False) is not None


def test_frames_are_what_tells_a_folder_of_frames(tmp_path: Path) -> None:
    folder = write_frames(tmp_path / "frames", list(images(2.0, seed=1)))
    cache = EmbeddingCache(folder)
    for kept in (0, 1):
        assert embed_archive(jobs([str(folder)], fps=10.0), MeanPicture(), cache).kept == kept
    os.mkfifo(tmp_path / "pipe")
    assert fingerprint(str(tmp_path / "pipe")) is None


def test_a_folder_that_cannot_be_written_is_said_first(videos: list[str], tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(CacheError, match="file cannot be written"):
        embed_archive(jobs(["gone", *videos]), MeanPicture(), EmbeddingCache(tmp_path / "file"))


def wait_for(found: Callable[[], bool]) -> None:
    until = time.monotonic() + 40
    while not found():
        assert time.monotonic() < until
        time.sleep(0.005)


@pytest.mark.parametrize("how", [signal.SIGKILL, pytest.param(signal.SIGINT, marks=pytest.mark.slow)])
def test_a_run_that_was_stopped_goes_on(videos: list[str], tmp_path: Path, how: signal.Signals) -> None:
    slow = {"MEAN_PICTURE_SECONDS": "0.3"}
    command = ("embed", *videos, "--backbone", NAME, "--out", tmp_path / "kept", "--json")
    process = start(*command, environment=slow)
    cache = EmbeddingCache(tmp_path / "kept")
    wait_for(lambda: cache.folder.exists() and len(cache.entries()) >= 2)
    process.send_signal(how)
    ran = finish(process)
    assert ran.code == (130 if how is signal.SIGINT else -signal.SIGKILL)
    if how is signal.SIGINT:
        assert "interrupted; finished videos are kept in" in ran.err
    there = {entry.file: entry.file.stat().st_mtime_ns for entry in cache.entries()}
    assert 2 <= len(there) < 5
    again = finish(start(*command))
    said = json.loads(again.out)
    assert (said["kept"], said["embedded"]) == (len(there), 5 - len(there))
    for file, changed in there.items():
        assert file.stat().st_mtime_ns == changed
    for path in videos:
        assert_same(read(cache, path, named()), without_grid(directly(path, MeanPicture())))


def named() -> Backbone:
    return build_backbone(NAME)


# embeddings made elsewhere


def given(path: Path, *, size: int = 6, seed: int = 0) -> Path:
    """Three usual scenes of 30 embeddings, one with something odd in it."""
    rng = np.random.default_rng(seed)
    scene = np.repeat(np.arange(4), 30)
    x = rng.normal(size=(120, size)).astype(np.float32)
    x[100:110] += 20
    labels = np.zeros((120, 2), dtype=np.uint8)
    labels[100:110] = 1
    np.savez(path, embeddings=x, scene=scene, frame_labels=labels)
    return path


def test_learning_from_embeddings_made_elsewhere(oddwatch_command: Runner, tmp_path: Path) -> None:
    train, test = given(tmp_path / "train.npz"), given(tmp_path / "test.npz", seed=1)
    ran = oddwatch_command("learn", train, "--out", "door", "--fps", "0.5", "--json")
    assert ran.code == 0, ran.err
    learned = json.loads(ran.out)
    assert (learned["backbone"], learned["scorer"], learned["videos"]) == ("given", "blend", 3)  # none of the odd scene
    assert learned["seconds"] == 3 * 30 * 2
    ran = oddwatch_command("score", "door", test, "--json")
    assert ran.code == 0, ran.err
    (event,) = json.loads(ran.out)["events"]
    assert event["start_seconds"] == pytest.approx(3 * 3600 + 20, abs=4)
    assert event["video"] == str(test)


def test_wrong_embeddings_made_elsewhere(videos: list[str], oddwatch_command: Runner, tmp_path: Path) -> None:
    train, other = given(tmp_path / "train.npz"), given(tmp_path / "other.npz", size=5)
    oddwatch_command("learn", train, "--out", "door")
    for arguments, code, says in (
        (
            ("learn", "rtsp://me:secret@camera/1", train, "--out", "new"),
            2,
            f"{train} holds embeddings: give such files",
        ),
        (("learn", train, "--out", "new", "--backbone", "r3d-18"), 2, "leave out --backbone"),
        (("learn", train, "--out", "new", "--fps", "0"), 2, "--fps must be a positive number"),
        (("learn", train, other, "--out", "new"), 2, "other.npz has embeddings of 5 values, not 6"),
        (("learn", tmp_path / "gone.npz", "--out", "new"), 1, "gone.npz is not there"),
        (("learn", train, "--out", "new", "--on", "grid"), 2, "has no grid"),
        (("score", "door", other), 1, "has embeddings of 5 values, the detector learned from 6"),
        (("score", "door", videos[0]), 1, "does not end in .npz or .parquet"),
        (("score", "door", test_file := tmp_path / "gone.npz"), 1, f"{test_file}: no such file"),
    ):
        ran = oddwatch_command(*arguments)
        assert (ran.code, says in ran.err) == (code, True), ran.err
    with pytest.raises(UsageError, match="cannot look at video"):
        build_backbone("given", vector_size=6).stream()
    with pytest.raises(UsageError, match="above 0"):
        build_backbone("given", vector_size=0)
    with pytest.raises(UsageError, match="need backbone 'given', not 'motion'"):
        Detector().learn_given([])


def test_options_of_a_backbone_by_the_command_line(videos: list[str], oddwatch_command: Runner) -> None:
    command = ("embed", *videos, "--backbone", NAME, "--out", "kept")
    ran = oddwatch_command(*command, "--option", "window_seconds=null", "--option", "frames=5", "--json")
    assert json.loads(ran.out)["clips"] == 5
    assert {entry.options["frames"] for entry in EmbeddingCache("kept").entries()} == {5}
    for option, says in (
        ("frames", "an option is NAME=VALUE, got 'frames'"),
        ("window=3", "it has no option 'window'"),
        ("frames=0.x", "frames must be a whole number of at least 1, got '0.x'"),
    ):
        ran = oddwatch_command(*command, "--option", option)
        assert (ran.code, says in ran.err) == (2, True), ran.err
    ran = oddwatch_command(
        "embed", *videos, "--backbone", "r3d-18", "--weights", "a", "--option", "weights=b", "--out", "k"
    )
    assert "weights is given twice" in ran.err
