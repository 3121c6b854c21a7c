"""Folders of clips -> a manifest: the published rules and counts, and what is dropped."""

from __future__ import annotations

import json
import shutil
from collections import Counter
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from command_line import Runner
from small_disk import no_file_above
from video_files import write_frames, write_video

from oddwatch.datasets import load_dataset
from oddwatch.datasets.manifest import read_manifest, write_manifest
from oddwatch.datasets.prepare import Prepared, prepare_folders, prepare_ucf_sports, shares, views
from oddwatch.datasets.transcode import transcode
from oddwatch.errors import DatasetError, VideoError
from oddwatch.types import Image
from oddwatch.video import list_videos, open_video

# Clips per published folder; with those under a second the article's 11, 10, 20, 12, 17, 4, 20 and 22, 12, 6 stay.
UCF = {
    "Diving-Side": 11,
    "Golf-Swing-Back": 3,
    "Golf-Swing-Front": 5,
    "Golf-Swing-Side": 2,
    "Kicking-Front": 8,
    "Kicking-Side": 12,
    "Riding-Horse": 12,
    "Run-Side": 17,
    "Swing-Bench": 4,
    "Swing-SideAngle": 20,
    "Walk-Front": 22,
    "SkateBoarding-Front": 12,
    "Lifting": 6,
}
COUNTS = {"Diving-Side": 11, "Golf-Swing": 10, "Kicking": 20, "Riding-Horse": 12, "Run-Side": 17, "Swing-Bench": 4}
COUNTS |= {"Swing-SideAngle": 20, "Walk-Front": 22, "SkateBoarding-Front": 12, "Lifting": 6}


def pictures(count: int, number: int) -> list[Image]:
    return [np.full((48, 64, 3), (number * 7 + i) % 256, dtype=np.uint8) for i in range(count)]


@pytest.fixture(scope="module")
def ucf(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The published folders: class/NNN/*.avi with ground truth and frames beside, loose files, clips under a second."""
    root = tmp_path_factory.mktemp("ucf")
    number = 0
    for kind, count in UCF.items():
        for clip in range(count):
            number += 1
            home = root / "ucf action" / kind / f"{clip + 1:03d}"
            home.mkdir(parents=True)
            write_video(home / f"{number}.avi", pictures(12, number), fps=10)
        (home / "gt").mkdir()
        (home / "gt" / "1.txt").write_text("1 2 3 4")
        write_frames(home / "jpeg", pictures(12, 1), extension=".jpg")  # the clip again, as frames
        (root / "ucf action" / kind / "Thumbs.db").write_bytes(b"x")
    diving = root / "ucf action" / "Diving-Side"
    write_video(diving / "short.avi", pictures(9, 3), fps=10)  # loose, and under a second
    (diving / "012").mkdir()
    (diving / "012" / "broken.avi").write_text("not a video")
    return root


def counts(prepared: Prepared) -> dict[str, Counter[str]]:
    found: dict[str, Counter[str]] = {}
    for clip in prepared.clips:
        found.setdefault(clip.action, Counter())[clip.split] += 1
    return found


def test_the_articles_counts(ucf: Path) -> None:
    prepared = prepare_ucf_sports(ucf)
    by_split = Counter(clip.split for clip in prepared.clips)
    assert by_split == {"train": 46, "validation": 10, "test": 38, "anomaly": 40}
    assert {action: sum(n.values()) for action, n in counts(prepared).items()} == COUNTS
    assert {Path(f.source).name for f in prepared.dropped} == {"short.avi", "broken.avi"}
    train = {a: n["train"] for a, n in counts(prepared).items() if n["train"]}
    validation = {a: n["validation"] for a, n in counts(prepared).items() if n["train"]}
    assert sum(n * (1 + views(n, 200)) for n in train.values()) == 1396
    assert sum(n * (1 + views(n, 10)) for n in validation.values()) == 70
    assert {clip.label for clip in prepared.clips if clip.split == "anomaly"} == {"anomalous"}
    first = prepared.clips[0]
    assert [first.frames, first.seconds, first.fps] == pytest.approx([12, 1.2, 10])


def test_the_seed_decides(ucf: Path) -> None:
    def split(seed: int) -> dict[str, str]:
        return {clip.path: clip.split for clip in prepare_ucf_sports(ucf, seed=seed).clips}

    assert split(1) == split(1)
    assert split(1) != split(2)


@pytest.mark.parametrize("clips", range(3, 60))
def test_shares_are_the_published_rule(clips: int) -> None:
    train, test = round(0.5 * clips), round(0.4 * clips)
    expected = (train - 1, 1, test) if train + test == clips else (train, clips - train - test, test)
    found = shares(clips)
    assert (found["train"], found["validation"], found["test"]) == expected
    assert min(found.values()) >= 1


def test_clips_of_a_class_without_video_are_their_frames(tmp_path: Path) -> None:
    for number, kind in enumerate(UCF):
        for clip in range(3):
            write_frames(tmp_path / kind / f"{clip}", pictures(10, number * 3 + clip), extension=".jpg")
    prepared = prepare_ucf_sports(tmp_path)
    assert len(prepared.clips) == 39
    assert all(clip.fps == pytest.approx(10) for clip in prepared.clips)


@pytest.fixture(scope="module")
def actions(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("actions")
    number = 0
    for kind, count in {"a": 10, "b": 10, "c": 4, "two": 2, "one": 1, "empty": 0}.items():
        (root / kind).mkdir()
        for clip in range(count):
            number += 1
            write_video(root / kind / f"{clip}.mp4", pictures(12, number), fps=10)
    return root


def test_clips_of_one_source_stay_together(actions: Path) -> None:
    groups = {f"{kind}/{clip}.mp4": f"{clip // 2}" for kind in "ab" for clip in range(10)}
    groups |= {f"c/{clip}.mp4": "c" for clip in range(4)}
    prepared = prepare_folders(actions, normal=["a", "b"], anomalous=["c"], groups=groups)
    side: Mapping[str, set[str]] = {c.source: set() for c in prepared.clips}
    for clip in prepared.clips:
        side[clip.source].add(clip.split)
    assert all(len(splits) == 1 for splits in side.values())
    assert all(n.keys() == {"train", "validation", "test"} for a, n in counts(prepared).items() if a != "c")


@pytest.mark.parametrize(
    ("normal", "anomalous", "says"),
    [
        (["a", "nothing"], ["c"], "has no folder nothing"),
        (["a", "c"], ["c"], "c is named as normal and as anomalous"),
        (["a", "two"], ["c"], "class two has 2 usable clips: .* at least three"),
        (["a", "one"], ["c"], "class one has 1 usable clip: .* at least three"),
        (["a", "empty"], ["c"], "class empty has 0 usable clips"),
        (["a"], ["c", "empty"], "class empty has no usable clip: leave it out"),
    ],
)
def test_what_cannot_be_split(actions: Path, normal: list[str], anomalous: list[str], says: str) -> None:
    with pytest.raises(DatasetError, match=says):
        prepare_folders(actions, normal=normal, anomalous=anomalous)


@pytest.mark.parametrize(("normal", "anomalous"), [(["a"], ["c"]), (["c"], ["a"])])
def test_why_clips_are_not_usable_is_said(actions: Path, normal: list[str], anomalous: list[str]) -> None:
    with pytest.raises(DatasetError, match=r"class \w .*usable.* \((\d+) of its \1 dropped, .* is shorter than 60 s\)"):
        prepare_folders(actions, normal=normal, anomalous=anomalous, min_seconds=60)


def test_sources_that_cannot_be_kept_apart(actions: Path) -> None:
    groups = {f"{kind}/{clip}.mp4": "one" for kind in "abc" for clip in range(10)}
    with pytest.raises(DatasetError, match=r"class a: no clip is left for .*: its clips come from too few sources"):
        prepare_folders(actions, normal=["a"], anomalous=["c"], groups=groups)
    with pytest.raises(DatasetError, match=r"b/0.mp4 is in no group"):
        prepare_folders(actions, normal=["b"], anomalous=["c"], groups={"c/0.mp4": "x"})


def test_what_is_no_video_needs_no_source(actions: Path, tmp_path: Path) -> None:
    folder = tmp_path / "copy"
    shutil.copytree(actions, folder)
    (folder / "a" / "broken.mp4").write_text("no video")
    groups = {f"{kind}/{path.name}": path.name for kind in "ac" for path in (folder / kind).glob("[0-9]*.mp4")}
    found = prepare_folders(folder, normal=["a"], anomalous=["c"], groups=groups)
    assert [Path(failure.source).name for failure in found.dropped] == ["broken.mp4"]


def test_the_same_file_in_two_classes(actions: Path, tmp_path: Path) -> None:
    for kind in "abc":
        (tmp_path / kind).mkdir()
        for clip in (actions / kind).iterdir():
            (tmp_path / kind / clip.name).symlink_to(clip)
    (tmp_path / "b" / "again.mp4").symlink_to(actions / "a" / "0.mp4")
    (tmp_path / "c" / "copy.mp4").write_bytes((actions / "a" / "1.mp4").read_bytes())
    (tmp_path / "a" / "twice.mp4").write_bytes((actions / "a" / "2.mp4").read_bytes())
    prepared = prepare_folders(tmp_path, normal=["a", "b"], anomalous=["c"])
    dropped = [(Path(f.source).name, Path(f.reason.split(": ")[1].split(" (")[0]).name) for f in prepared.dropped]
    assert dropped == [("twice.mp4", "2.mp4"), ("again.mp4", "0.mp4"), ("copy.mp4", "1.mp4")]
    assert all("the same file as in a" in f.reason for f in prepared.dropped)
    assert len(prepared.clips) == 24


@pytest.mark.slow
def test_copies_of_all_clips(capsys: pytest.CaptureFixture[str], actions: Path, tmp_path: Path) -> None:
    """As many frames at the same rate, hardly other pictures, in the same splits; what is there is left alone."""
    oddwatch = Runner(capsys)
    command = ("dataset", "prepare", "folders", actions, "out", "--normal", "a", "--anomalous", "c", "--transcode")
    assert oddwatch(*command).code == 0
    copies = read_manifest(tmp_path / "out" / "manifest.csv")
    originals = prepare_folders(actions, normal=["a"], anomalous=["c"]).clips
    about = [[(c.action, c.split, c.source, c.frames, c.width_px) for c in clips] for clips in (copies, originals)]
    assert about[0] == about[1]
    for copy, original in zip(copies, originals, strict=True):
        assert Path(copy.path).is_relative_to(tmp_path / "out" / "videos" / copy.action)
        with open_video(copy.path) as one, open_video(original.path) as other:
            found, wanted = ([picture.frame() for picture in video.pictures()] for video in (one, other))
        assert [f.time_seconds for f in found] == pytest.approx([f.time_seconds for f in wanted])
        assert max(np.abs(f.image.astype(int) - w.image).max() for f, w in zip(found, wanted, strict=True)) < 12
    gone, *kept = sorted((tmp_path / "out" / "videos").rglob("*.mp4"))
    before = {path: path.stat().st_mtime_ns for path in kept}
    gone.unlink()
    assert oddwatch(*command).code == 0
    assert gone.exists()
    assert {path: path.stat().st_mtime_ns for path in kept} == before
    assert read_manifest(tmp_path / "out" / "manifest.csv") == copies


def test_copies_on_a_full_disk(actions: Path, tmp_path: Path) -> None:
    clips = prepare_folders(actions, normal=["a"], anomalous=["c"]).clips
    with pytest.raises(VideoError, match="the disk is full"), no_file_above(400):
        transcode(clips, tmp_path)
    assert not any(path.is_file() for path in tmp_path.rglob("*"))
    assert len(transcode(clips, tmp_path)) == len(clips)


# the manifest


def test_a_manifest_comes_back_and_lists_its_videos(actions: Path, tmp_path: Path) -> None:
    prepared = prepare_folders(actions, normal=["a", "b"], anomalous=["c"])
    write_manifest(tmp_path / "manifest.csv", prepared.clips)
    again = read_manifest(tmp_path / "manifest.csv")
    assert [replace(c, seconds=0, fps=0) for c in again] == [replace(c, seconds=0, fps=0) for c in prepared.clips]
    assert list_videos(str(tmp_path / "manifest.csv")).videos == tuple(clip.path for clip in prepared.clips)
    dataset = load_dataset("manifest", tmp_path)
    assert (len(dataset.split("train")), len(dataset.split("test"))) == (10, 12)
    unusual = [s.frame_labels.all() for s in dataset.split("test") if s.frame_labels is not None]
    assert (len(unusual), sum(unusual)) == (12, 4)


def test_a_manifest_beside_its_clips_can_be_moved(actions: Path, tmp_path: Path) -> None:
    moved = tmp_path / "here"
    moved.mkdir()
    for kind in "abc":
        (moved / kind).mkdir()
        for clip in (actions / kind).iterdir():
            (moved / kind / clip.name).write_bytes(clip.read_bytes())
    write_manifest(moved / "manifest.csv", prepare_folders(moved, normal=["a", "b"], anomalous=["c"]).clips)
    moved = moved.rename(tmp_path / "there")
    assert all(Path(clip.path).is_file() for clip in read_manifest(moved / "manifest.csv"))


@pytest.mark.parametrize(
    ("old", "new", "says"),
    [
        ("class,label", "class,mark", "has no column label"),
        ("normal,train", "anomalous,train", "line 2: a clip of the split train is normal, not 'anomalous'"),
        ("normal,train", "normal,training", "line 2: split is one of train, validation, test, anomaly"),
        (",12,", ",many,", "line 2: invalid literal"),
        (",1.200,", ",nan,", "line 2: seconds and fps must be positive"),
    ],
)
def test_a_manifest_that_is_wrong(actions: Path, tmp_path: Path, old: str, new: str, says: str) -> None:
    path = tmp_path / "manifest.csv"
    write_manifest(path, prepare_folders(actions, normal=["a"], anomalous=["c"]).clips)
    path.write_text(path.read_text().replace(old, new, 1))
    with pytest.raises(DatasetError, match=says):
        read_manifest(path)


def test_no_manifest(tmp_path: Path) -> None:
    (tmp_path / "empty.csv").touch()
    for name, says in (
        ("empty.csv", "no column"),
        ("gone.csv", "no manifest .*gone.csv: make one"),
        (".", "directory"),
    ):
        with pytest.raises(DatasetError, match=says):
            read_manifest(tmp_path / name)


# the command


def test_prepare_writes_a_manifest_and_a_chart(ucf: Path, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    run = Runner(capsys)
    ran = run("dataset", "prepare", "ucf-sports", ucf, tmp_path / "out")
    assert ran.code == 0, ran.err
    assert "134 clips" in ran.out
    assert ran.err.count("skipped:") == 2
    assert (tmp_path / "out" / "clips.png").read_bytes().startswith(b"\x89PNG")
    ran = run("dataset", "prepare", "ucf-sports", ucf, tmp_path / "out", "--json")
    assert json.loads(ran.out)["classes"]["Golf-Swing"] == {"train": 5, "validation": 1, "test": 4, "anomaly": 0}
    assert len(read_manifest(tmp_path / "out" / "manifest.csv")) == 134


def test_prepare_folders_and_what_is_wrong(actions: Path, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    run = Runner(capsys)
    command = ("dataset", "prepare", "folders", actions, "out", "--normal", "a, b", "--anomalous", "c")
    assert run(*command).code == 0
    assert run(*command, "--min-seconds", "2").code == 1
    assert run("dataset", "prepare", "folders", "gone", "out", "--normal", "a", "--anomalous", "c").code == 1
    assert run("dataset", "prepare", "folders", actions, "out", "--normal", ",", "--anomalous", "c").code == 2
    groups = tmp_path / "groups.csv"
    groups.write_text("path,recording\n")
    ran = run(*command, "--split-by", groups)
    assert (ran.code, "needs the columns path and source" in ran.err) == (1, True)
