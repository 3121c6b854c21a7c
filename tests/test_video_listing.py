"""list_videos: from what people name to what open_video takes. The files here are empty: none of them is opened."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from oddwatch.errors import VideoError
from oddwatch.types import Failure
from oddwatch.video import Listing, classes_by_folder, list_videos, open_video


def make(*names: str) -> None:
    for name in names:
        path = Path(name)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()


def test_files_are_kept_whatever_their_extension_and_in_the_order_named() -> None:
    make("b.mp4", "a.dat", "c")
    assert list_videos(["b.mp4", "a.dat", "c"]) == Listing(("b.mp4", "a.dat", "c"), ())


@pytest.mark.parametrize("single", ["one.mp4", Path("one.mp4")])
def test_one_path_needs_no_list(single: str | Path) -> None:
    make("one.mp4")
    assert list_videos(single).videos == ("one.mp4",)


def test_a_folder_is_searched_in_natural_order() -> None:
    make("day/cam10.mp4", "day/cam2.MKV", "day/notes.txt", "day/.hidden.mp4", "day/readme.md", "day/sub/1.avi")
    assert list_videos(["day"]).videos == ("day/cam2.MKV", "day/cam10.mp4", "day/sub/1.avi")


def test_folders_of_frames_are_videos() -> None:
    make("one/1.jpg", "one/2.jpg")
    make("set/overview.png", "set/test/10/001.tif", "set/test/9/001.tif", "set/test/.cache/001.tif")
    assert list_videos(["one"]).videos == ("one",)
    assert list_videos(["set"]).videos == ("set/test/9", "set/test/10")


def test_a_folder_with_videos_and_thumbnails_is_a_folder_of_videos() -> None:
    make("rec/1.mp4", "rec/1.jpg", "rec/2.mp4", "rec/2.jpg")
    assert list_videos(["rec"]).videos == ("rec/1.mp4", "rec/2.mp4")


def test_a_folder_of_frames_is_searched_further() -> None:
    make("a/1.png", "a/b/1.png")
    assert list_videos("a").videos == ("a", "a/b")


def test_a_list_names_paths_relative_to_itself() -> None:
    make("lists/near.mp4", "far.mp4", "frames/1.png")
    lines = ["# a comment", "", "near.mp4", "  ../far.mp4  ", "../frames", "rtsp://me:secret@cam/1", "gone.mp4"]
    Path("lists/all.txt").write_text("\ufeff" + "\r\n".join(lines), encoding="utf-8")
    got = list_videos(["lists/all.txt"])
    assert got.videos == ("lists/near.mp4", "lists/../far.mp4", "lists/../frames", "rtsp://me:secret@cam/1")
    assert got.failures == (Failure("lists/gone.mp4", "no such file or folder (check the path)"),)


def test_lists_that_cannot_be_used() -> None:
    Path("empty.txt").write_text("# nothing\n")
    Path("outer.txt").write_text("empty.txt\n")
    Path("binary.txt").write_bytes(b"\xff\xfe\x00\x81")
    got = list_videos(["empty.txt", "outer.txt", "binary.txt"])
    assert got.videos == ()
    assert [(failure.source, failure.reason) for failure in got.failures] == [
        ("empty.txt", "the list is empty (write one path a line)"),
        ("./empty.txt" if os.sep == "\\" else "empty.txt", "a list inside a list (name its lines in the first one)"),
        ("binary.txt", "the list cannot be read: it is not UTF-8 text"),
    ]


def test_what_is_missing_does_not_stop_the_rest() -> None:
    make("good.mp4", "nothing/readme.md")
    got = list_videos(["gone.mp4", "good.mp4", "nothing", "http://me:secret@host/x.mp4"])
    assert got.videos == ("good.mp4", "http://me:secret@host/x.mp4")
    assert got.failures == (
        Failure("gone.mp4", "no such file or folder (check the path)"),
        Failure("nothing", "no video in this folder (video files, or images with numbers in their names)"),
    )


def test_the_same_video_named_twice_comes_once() -> None:
    make("day/1.mp4", "day/2.mp4")
    os.symlink("1.mp4", "day/3.mp4")
    assert list_videos(["day/2.mp4", "day", "./day/1.mp4"]).videos == ("day/2.mp4", "day/1.mp4")


def test_classes_are_the_first_folders_below_what_was_named() -> None:
    make("days/walk/monday/1.mp4", "days/run/2.mp4", "days/3.mp4", "days/run/seq/f1.png", "elsewhere/4.mp4")
    os.symlink("../../elsewhere/4.mp4", "days/run/link.mp4")
    Path("list.txt").write_text("days/run\nelsewhere/4.mp4\n")
    assert classes_by_folder(["days", "rtsp://camera/1"]) == {
        "days/3.mp4": "days",
        "days/run/2.mp4": "run",
        "days/run/link.mp4": "run",
        "days/run/seq": "run",
        "days/walk/monday/1.mp4": "walk",
    }
    assert classes_by_folder(["list.txt"]) == {
        "days/run/2.mp4": "run",
        "days/run/link.mp4": "run",
        "days/run/seq": "run",
    }
    os.chdir("days/run")
    assert classes_by_folder(["2.mp4", "seq", "../../elsewhere"]) == {
        "2.mp4": "run",
        "seq": "run",
        "../../elsewhere/4.mp4": "elsewhere",
    }


def test_links_in_a_circle_end() -> None:
    make("loop/a/1.mp4")
    for name in ("up", "down", "strange"):
        os.symlink("..", f"loop/a/{name}")
    os.symlink("gone", "loop/broken.mp4")
    assert list_videos("loop") == Listing(("loop/a/1.mp4",), ())


def test_a_folder_that_may_not_be_read_is_named() -> None:
    make("open/1.mp4", "open/shut/2.mp4")
    os.chmod("open/shut", 0)
    is_root = os.geteuid() == 0
    if is_root:
        for folder in (Path.cwd(), *Path.cwd().parents[:2]):
            folder.chmod(0o755)
        os.seteuid(65534)
    try:
        got = list_videos(["open"])
    finally:
        if is_root:
            os.seteuid(0)
        os.chmod("open/shut", 0o755)
    assert got.videos == ("open/1.mp4",)
    assert got.failures == (Failure("open/shut", "the folder cannot be read: Permission denied"),)


def test_what_may_not_be_entered_is_not_called_missing() -> None:
    make("shut/1.mp4", "shut/gone.txt", "listed/1.mp4", "listed/2.mp4", "linked/1.mp4")
    os.symlink("../shut/1.mp4", "linked/2.mp4")
    os.chmod("shut", 0)
    os.chmod("listed", 0o444)  # its names can be read, and nothing else
    is_root = os.geteuid() == 0
    if is_root:
        for folder in (Path.cwd(), *Path.cwd().parents[:2]):
            folder.chmod(0o755)
        os.seteuid(65534)
    try:
        got = list_videos(["shut/1.mp4", "shut/list.txt", "listed", "linked"])
        with pytest.raises(VideoError, match="listed: the folder cannot be read: Permission denied"):
            open_video("listed", fps=5)
    finally:
        if is_root:
            os.seteuid(0)
        for name in ("shut", "listed"):
            os.chmod(name, 0o755)
    assert got.videos == ("linked/1.mp4",)
    assert got.failures == (
        Failure("shut/1.mp4", "cannot be read: Permission denied (check its permissions)"),
        Failure("shut/list.txt", "cannot be read: Permission denied (check its permissions)"),
        Failure("listed", "the folder cannot be read: Permission denied"),
        Failure("linked/2.mp4", "cannot be read: Permission denied (check its permissions)"),
    )


def test_nothing_named_gives_nothing() -> None:
    assert list_videos([]) == Listing((), ())
