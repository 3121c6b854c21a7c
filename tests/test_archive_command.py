"""`oddwatch embed` and learning from embeddings, made here and elsewhere."""

from __future__ import annotations

import json
import os
import signal
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from command_line import Runner, finish, start
from kept_embeddings import NAME, archive_videos, assert_same, directly, jobs, read, shutil_copy, without_grid
from mean_backbone import MeanPicture
from small_videos import images, write
from video_files import write_frames

import oddwatch.embed.cache
from oddwatch.backbones import Backbone, build_backbone
from oddwatch.detector import Detector
from oddwatch.embed import (
    ArchiveProgress,
    EmbeddingCache,
    cached_video,
    embed_archive,
    embed_video,
    fingerprint,
)
from oddwatch.errors import CacheError, UsageError


@pytest.fixture(scope="module")
def videos(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    return archive_videos(tmp_path_factory.mktemp("archive"))


@pytest.fixture
def cache(tmp_path: Path) -> EmbeddingCache:
    return EmbeddingCache(tmp_path / "kept")


@pytest.fixture
def oddwatch_command(capsys: pytest.CaptureFixture[str]) -> Runner:
    return Runner(capsys)


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
    assert "several backbones here" in oddwatch_command("learn", "kept", "--out", "new").err
    for choice in ("motion", NAME):
        ran = oddwatch_command(
            "learn", "kept", "--out", "door", "--overwrite", "--backbone", choice, "--option", "frames=3"
        )
        assert (choice == NAME) == (ran.code == 0)
    assert (
        oddwatch_command("learn", "kept", "--out", "door", "--overwrite", "--backbone", "motion", "--on", "vector").code
        == 0
    )


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


@pytest.mark.slow
@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGINT])
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
