"""Bad input through the real command: one clear line on standard error that names the file and the remedy, the right
exit code, no traceback, nothing half-written, and no noise from the libraries that decode.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
from command_line import Runner, assert_one_line, finish, start
from small_disk import no_file_above
from small_videos import images, write
from video_files import cut_off, damage, write_frames, write_sound, write_video

from oddwatch.detector import Detector
from oddwatch.report import annotate as annotate_module


@pytest.fixture(name="oddwatch")
def _oddwatch(capfd: pytest.CaptureFixture[str]) -> Runner:
    return Runner(capfd)


@pytest.fixture(scope="module")
def usual(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write(tmp_path_factory.mktemp("usual") / "usual.mp4", 20.0, seed=1)


@pytest.fixture(scope="module")
def saved(usual: Path) -> Path:
    """A detector that nobody changes."""
    folder = usual.parent / "door"
    Detector(scorer="gaussian").learn(usual).save(folder)
    return folder


@pytest.fixture
def door(saved: Path, tmp_path: Path) -> Path:
    """A detector of one's own."""
    return Path(shutil.copytree(saved, tmp_path / "door"))


# videos


def empty(path: Path) -> None:
    path.write_bytes(b"")


def text(path: Path) -> None:
    path.write_text("Nothing to see here.\n" * 200)


def truncated(path: Path) -> None:
    """Cut off before its index, which this kind of mp4 has at its end."""
    cut_off(write_video(path, images(6, seed=4), fps=10), keep=0.6)


def no_frames(path: Path) -> None:
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=10)
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        container.start_encoding()


def only_a_header(path: Path) -> None:
    whole = path.with_name("whole.mkv")
    write_video(whole, images(1, seed=4), fps=10)
    data = whole.read_bytes()
    whole.unlink()
    path.write_bytes(data[: data.index(b"\x1f\x43\xb6\x75")])  # where a Matroska file's first cluster begins


def one_frame(path: Path) -> None:
    write_video(path, images(0.1, seed=4), fps=10)


def one_by_one(path: Path) -> None:
    write_video(path, [np.zeros((1, 1, 3), np.uint8)] * 200, codec="ffv1", pix_fmt="bgr0")


def wide(path: Path) -> None:
    """A strip of noise that moves to the left."""
    noise = np.random.default_rng(0).integers(0, 255, (20, 8000, 3), dtype=np.uint8)
    write_video(path, (np.roll(noise, -frame, axis=1) for frame in range(60)), fps=10, options={"preset": "ultrafast"})


def sound(path: Path) -> None:
    write_sound(path)


BAD: dict[str, tuple[Callable[[Path], None], str]] = {
    "empty.mp4": (empty, r"the file is empty \(record or copy it again\)"),
    "text.mp4": (text, r"not a video file, or damaged at its start \(check that it plays elsewhere\)"),
    "truncated.mp4": (truncated, r"an mp4 whose index \(moov\) is missing or damaged \(.*record or copy it again\)"),
    "no-frames.mp4": (no_frames, r"it holds no (video|frame) \(.*\)"),
    "header.mkv": (only_a_header, r"not a video file, or damaged at its start \(.*\)"),
    "one-frame.mp4": (one_frame, r"too short to show any movement \(give a video of at least a second\)"),
    "sound.mp4": (sound, r"it holds sound but no video \(check that it is the right file, and whole\)"),
}
"""Name of a file, what makes it, what is said about it after its name."""


@pytest.mark.parametrize("name", BAD)
def test_a_bad_video(oddwatch: Runner, saved: Path, name: str) -> None:
    make, reason = BAD[name]
    make(Path(name))
    says = f"{re.escape(name)}: {reason}"
    assert_one_line(oddwatch("learn", name, "--out", "new"), says)
    assert_one_line(oddwatch("score", saved, name, "--csv", "scores.csv"), says)
    assert not Path("new").exists()
    assert Path("scores.csv").read_text().count("\n") == 1
    assert_one_line(oddwatch("score", saved, name, "--unit", "clip"), says)
    said = json.loads(oddwatch("score", saved, name, "--json").out)
    assert (said["events"], [f["source"] for f in said["failures"]]) == ([], [name])


@pytest.mark.slow
@pytest.mark.parametrize("make", [one_by_one, wide])
def test_a_picture_of_a_strange_size(oddwatch: Runner, saved: Path, make: Callable[[Path], None]) -> None:
    """A detector of another view refuses it. Nothing moves in either: what moves as a whole is a shaken camera."""
    make(Path("a.mkv"))
    shape = r"a\.mkv: its picture has another shape than the video this detector learned from \(.*\) \(.*learn a .*\)"
    assert_one_line(oddwatch("score", saved, "a.mkv"), shape)
    ran = oddwatch("learn", "a.mkv", "--out", "new", "--scorer", "gaussian")
    assert_one_line(ran, r"a\.mkv: nothing moves in the usual video: give video in which the usual happens")
    assert not Path("new").exists()


def test_a_video_that_is_not_there(oddwatch: Runner, saved: Path) -> None:
    says = r"missing\.mp4: no such file or folder \(check the path\)"
    assert_one_line(oddwatch("learn", "missing.mp4", "--out", "new"), says)
    assert_one_line(oddwatch("score", saved, "missing.mp4"), says)


def test_too_little_video_names_it(oddwatch: Runner) -> None:
    write(Path("a.mp4"), 1.0, seed=1)
    write(Path("b.mp4"), 0.5, seed=2)
    assert_one_line(oddwatch("learn", "a.mp4", "--out", "new"), r"a\.mp4: 9 usual moments are too few .*: give .*")
    assert_one_line(oddwatch("learn", "a.mp4", "b.mp4", "--out", "new"), r"2 videos: 13 usual moments are too few .*")
    assert not Path("new").exists()


def test_a_folder_without_video(oddwatch: Runner, saved: Path) -> None:
    Path("notes").mkdir()
    Path("notes/a.txt").write_text("no video")
    says = r"notes: no video in this folder \(video files, or images with numbers in their names\)"
    assert_one_line(oddwatch("learn", "notes", "--out", "new"), says)
    assert_one_line(oddwatch("score", saved, "notes"), says)


def test_good_and_bad_together(oddwatch: Runner, usual: Path, saved: Path) -> None:
    """The bad are named, the good are done, and the exit code is 1."""
    for name, (make, _) in BAD.items():
        make(Path(name))
    shutil.copy(usual, "usual.mp4")
    write(Path("odd.mp4"), 9.0, seed=3, odd="left")
    ran = oddwatch("learn", ".", "missing.mp4", "--out", "new", "--scorer", "gaussian", "--json")
    assert ran.code == 1
    said = json.loads(ran.out)
    assert said["videos"] == 2
    bad = {"missing.mp4", *BAD}
    assert {Path(f["source"]).name for f in said["failures"]} == bad
    assert {Path(line.split(": ")[1]).name for line in ran.err.splitlines()} == bad
    assert all(line.startswith("skipped: ") for line in ran.err.splitlines())
    ran = oddwatch("score", saved, "text.mp4", "odd.mp4", "empty.mp4", "--json")
    assert ran.code == 1
    said = json.loads(ran.out)
    assert [video["video"] for video in said["videos"]] == ["odd.mp4"]
    assert [event["video"] for event in said["events"]] == ["odd.mp4"]
    assert [f["source"] for f in said["failures"]] == ["text.mp4", "empty.mp4"]


def test_all_bad_are_named_when_nothing_can_be_learned(oddwatch: Runner) -> None:
    empty(Path("empty.mp4"))
    text(Path("text.mp4"))
    ran = oddwatch("learn", "empty.mp4", "text.mp4", "--out", "new")
    assert (ran.code, ran.out) == (1, "")
    first, last = ran.err.splitlines()
    assert first.startswith("skipped: text.mp4: not a video file")
    assert re.fullmatch(r"oddwatch: empty\.mp4: the file is empty .* \(and 1 more that cannot be used\)", last)


def test_a_damaged_video_is_used_as_far_as_it_goes(oddwatch: Runner, saved: Path) -> None:
    """A warning of one line, however often the video is read; the exit code is 0."""
    cut_off(write(Path("cut.mp4"), 6.0, seed=4), keep=0.6)
    damage(write_video(Path("damaged.mp4"), images(6, seed=4), fps=10), [10, 20])
    for name, warning in (
        ("cut.mp4", "it ends before its time, the file was cut off"),
        ("damaged.mp4", "damaged packets left out: 2"),
    ):
        ran = oddwatch("score", saved, name, "--annotate", "seen")
        assert (ran.code, ran.err) == (0, f"warning: {name}: {warning}\n")
        assert Path("seen", f"{Path(name).stem}-annotated.mp4").exists()


def test_frames_that_cannot_be_read(oddwatch: Runner, saved: Path) -> None:
    """libpng and libjpeg would each print a line of their own."""
    for extension in (".png", ".jpg"):
        folder = write_frames(Path(f"frames{extension[1:]}"), images(3, seed=4), extension=extension)
        cut_off(folder / f"frame7{extension}", keep=0.5)
        cut_off(folder / f"frame9{extension}", keep=0.01)
        empty(folder / f"frame12{extension}")
        ran = oddwatch("score", saved, folder, "--fps", "10")
        assert ran.code == 0
        assert re.fullmatch(rf"warning: {folder}: images left out that cannot be read: [23]\n", ran.err), ran.err


@pytest.mark.parametrize("fps", [None, "0", "-1", "nan"])
def test_frames_without_a_rate(oddwatch: Runner, saved: Path, usual: Path, fps: str | None) -> None:
    """Said before any work, whatever stands before them."""
    write_frames(Path("frames"), images(1, seed=4))
    options = [] if fps is None else ["--fps", fps]
    says = r"frames: a folder of .*: give --fps" if fps is None else r"--fps must be a positive number, got .*"
    for command in (["score", saved, "frames"], ["learn", "frames", "--out", "new"]):
        assert_one_line(oddwatch(*command, *options), says, code=2)
    if fps is None:
        assert_one_line(oddwatch("score", saved, usual, "frames"), says, code=2)


def test_a_camera_that_does_not_answer_keeps_its_password(oddwatch: Runner, saved: Path) -> None:
    for command in (
        ["score", saved, "rtsp://bob:secret@127.0.0.1:1/live"],
        ["learn", "rtsp://bob:secret@127.0.0.1:1/live", "--out", "new"],
    ):
        assert_one_line(oddwatch(*command), r"rtsp://127\.0\.0\.1:1/live: cannot be opened: .* \(check the address.*\)")


# names and options


LEARN = ["learn", "a.mp4", "--out", "new"]
SCORE = ["score", "door", "a.mp4"]


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ([*LEARN, "--weights", "w.pth"], r"motion uses no weights: leave out --weights, or choose another --backbone"),
        (
            [*LEARN, "--backbone", "flow"],
            r"unknown backbone 'flow': choose one of .*motion, .*or module:Class .or module:function.",
        ),
        (
            [*LEARN, "--scorer", "forest"],
            r"unknown scorer 'forest': choose one of attributes, autoencoder, blend, centroid, convlstm, "
            r"gaussian, knn, whitened, or module:Class",
        ),
        (
            ["evaluate", "ped3", ".", "--out", "new"],
            r"unknown data set 'ped3': choose one of avenue, embeddings, folder, manifest, ped2, shanghaitech",
        ),
        (["evaluate", "ped2", ".", "--out", "new", "--scorer", "forest"], r"unknown scorer 'forest': choose one of .*"),
        ([*LEARN, "--scorer", "attributes", "--on", "vector"], r"scorer 'attributes' does not suit .*: choose one .*"),
        ([*LEARN, "--budget", "lots"], r"budget 'lots' is not understood: write 2/day, .*"),
        ([*SCORE, "--budget", "lots"], r"budget 'lots' is not understood: write 2/day, .*"),
        ([*SCORE, "--budget", "1%", "--threshold", "3"], r"give --budget or --threshold, not both"),
        ([*SCORE, "--threshold", "nan"], r"--threshold must be a positive number, got nan"),
        ([*SCORE, "--threshold", "0"], r"--threshold must be a positive number, got 0"),
        ([*SCORE, "--unit", "clip", "--annotate", "seen"], r"--annotate .* does not go with --unit clip"),
        ([*SCORE, "--unit", "clip", "--budget", "2/day"], r"a clip has no clock, .*: write a share such as 5%"),
    ],
)
def test_wrong_names_and_options(oddwatch: Runner, door: Path, arguments: list[str], says: str) -> None:
    """The valid names are listed, and the exit code is 2."""
    assert_one_line(oddwatch(*arguments), says, code=2)
    assert not Path("new").exists()


def test_a_folder_that_is_no_data_set(oddwatch: Runner) -> None:
    Path("data").mkdir()
    for name in ("avenue", "folder", "ped2", "shanghaitech"):
        assert_one_line(oddwatch("evaluate", name, "data", "--out", "new"), rf"{name}: .*data.* \(expected: .*\)")
    assert_one_line(oddwatch("evaluate", "folder", "none", "--out", "new"), r"folder: none is not a folder: give .*")
    Path("file").write_text("")
    assert_one_line(oddwatch("evaluate", "folder", "data", "--out", "file"), r"--out file is a file: give .*", code=2)
    assert not Path("new").exists()


@pytest.fixture
def locked(usual: Path, oddwatch: Runner) -> Iterator[str]:
    """A folder that cannot be entered: the super-user, who may enter all, is somebody else meanwhile."""
    Path("locked/data/train").mkdir(parents=True)
    shutil.copy(usual, "locked/data/train/1.mp4")
    Path("locked").chmod(0)
    assert oddwatch("demo", "--out", usual).code == 1  # imports what commands import late, while it can be read
    is_root = os.geteuid() == 0
    if is_root:
        for folder in (Path.cwd(), *Path.cwd().parents[:2]):
            folder.chmod(0o755)
        os.seteuid(65534)
    yield "locked"
    if is_root:
        os.seteuid(0)
    Path("locked").chmod(0o755)


def test_a_folder_that_may_not_be_entered(oddwatch: Runner, locked: str) -> None:
    video, new = f"{locked}/data/train/1.mp4", f"{locked}/new"
    denied = "Permission denied"
    assert_one_line(
        oddwatch("learn", "1.mp4", "--out", new), rf"{new} cannot be used: {denied} \(.*choose another --out\)"
    )
    assert_one_line(
        oddwatch("learn", video, "--out", "door"), rf"{video}: cannot be read: {denied} \(check its permissions\)"
    )
    assert_one_line(
        oddwatch("evaluate", "folder", f"{locked}/data", "--out", "new"),
        rf"folder: {locked}/data cannot be read: {denied} \(check its permissions\)",
    )
    assert_one_line(
        oddwatch("evaluate", "folder", ".", "--out", new),
        rf"--out {new} cannot be used: {denied} \(choose another\)",
        code=2,
    )
    assert_one_line(oddwatch("demo", "--out", new), rf"{new} cannot be used: {denied} \(choose another --out\)")
    assert_one_line(oddwatch("score", f"{locked}/door", "1.mp4"), rf"{locked}/door/.* cannot be read: {denied} \(.*\)")


# a full disk


def limited(of: Callable[..., Any], most_bytes: int) -> Callable[..., Any]:
    """`of`, during which files stay small."""

    def wrapped(*arguments: Any, **options: Any) -> Any:
        with no_file_above(most_bytes):
            return of(*arguments, **options)

    return wrapped


def test_the_disk_is_full_while_a_detector_is_saved(
    oddwatch: Runner, usual: Path, door: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A new folder does not appear; a detector that was there stays as it was and works."""
    before = {path.name: path.read_bytes() for path in door.iterdir()}
    monkeypatch.setattr(Detector, "save", limited(Detector.save, 2000))
    for name in ("new", "door"):
        ran = oddwatch("learn", usual, "--out", name, "--overwrite", "--scorer", "centroid", "--budget", "1/hour")
        assert_one_line(ran, rf"{name} cannot be written: File too large \(free some space or choose another --out\)")
    assert not Path("new").exists()
    assert {path.name: path.read_bytes() for path in door.iterdir()} == before


def test_the_disk_is_full_while_learning(
    oddwatch: Runner, usual: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Embeddings are kept in a temporary file, which is gone afterwards."""
    (tmp_path / "temporary").mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "temporary"))
    with no_file_above(20_000):
        ran = oddwatch("learn", usual, "--out", "new")
    assert_one_line(ran, r".*/temporary/oddwatch-\w+ cannot be written: .* \(free some space, or set TMPDIR .*\)")
    assert not Path("new").exists()
    assert list((tmp_path / "temporary").iterdir()) == []


def test_the_disk_is_full_while_results_are_written(
    oddwatch: Runner, saved: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What was found is printed all the same."""
    write(Path("odd.mp4"), 9.0, seed=3, odd="left")
    ran = oddwatch("score", saved, "odd.mp4", "--csv", "/dev/full")
    assert (ran.code, ran.out.count("odd.mp4")) == (1, 1)
    assert ran.err == (
        "oddwatch: /dev/full cannot be written: No space left on device (free some space or choose another)\n"
    )
    assert not Path("/dev/full").is_file()
    monkeypatch.setattr(annotate_module, "annotate", limited(annotate_module.annotate, 20_000))
    ran = oddwatch("score", saved, "odd.mp4", "--annotate", "seen")
    assert (ran.code, ran.out.count("odd.mp4")) == (1, 1)
    assert re.fullmatch(r"skipped: seen/odd-annotated\.mp4: the disk is full \(.*free some space\)\n", ran.err)
    assert list(Path("seen").iterdir()) == []


# interrupted


def test_ctrl_c_while_learning(usual: Path, door: Path, tmp_path: Path) -> None:
    """A real process and a real signal, sent once embeddings are being written; the detector in --out stays."""
    before = {path.name: path.read_bytes() for path in door.iterdir()}
    (tmp_path / "videos").mkdir()
    for number in range(30):
        os.link(usual, tmp_path / "videos" / f"{number}.mp4")
    (tmp_path / "temporary").mkdir()
    process = start("learn", "videos", "--out", "door", "--overwrite", cwd=tmp_path, temporary=tmp_path / "temporary")
    until = time.monotonic() + 40
    while not any(path.stat().st_size for path in (tmp_path / "temporary").glob("oddwatch-*/values")):
        assert time.monotonic() < until
        assert process.poll() is None
        time.sleep(0.005)
    process.send_signal(signal.SIGINT)
    ran = finish(process)
    assert_one_line(ran, "interrupted; what was not finished has not been written", code=130)
    assert {path.name: path.read_bytes() for path in door.iterdir()} == before
    assert list((tmp_path / "temporary").iterdir()) == []


def test_a_bad_video_in_a_real_process(saved: Path, tmp_path: Path) -> None:
    text(tmp_path / "text.mp4")
    truncated(tmp_path / "truncated.mp4")
    ran = finish(start("score", saved, "text.mp4", "truncated.mp4", "--json", cwd=tmp_path))
    assert ran.code == 1
    assert [f["source"] for f in json.loads(ran.out)["failures"]] == ["text.mp4", "truncated.mp4"]
    assert [line.split(": ")[1] for line in ran.err.splitlines()] == ["text.mp4", "truncated.mp4"]
