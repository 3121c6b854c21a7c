"""open_video on sound and odd files: right frames, right way up, right times; one clear line for what is no video."""

from __future__ import annotations

import gc
import logging
import os
import subprocess
import sys
import textwrap
from fractions import Fraction
from pathlib import Path

import cv2
import numpy as np
import pytest
from read_videos import numbers, read, times
from video_files import (
    cut_off,
    damage,
    numbered_image,
    numbered_images,
    read_number,
    write_frames,
    write_sound,
    write_video,
)

from oddwatch.errors import UsageError, VideoError
from oddwatch.types import VideoInfo
from oddwatch.video import open_video
from oddwatch.video.clock import Clock


def test_a_file_yields_every_frame_with_its_time_and_index(tmp_path: Path) -> None:
    path = write_video(tmp_path / "a.mp4", numbered_images(40), fps=20)
    with open_video(path) as video:
        assert video.info == VideoInfo(str(path), 64, 48, 20.0, 2.0, "h264")
        frames = list(video)
        assert (video.skipped, video.truncated) == (0, False)
    assert numbers(frames) == list(range(40))
    assert times(frames) == [n / 20 for n in range(40)]
    assert [frame.index for frame in frames] == list(range(40))
    assert frames[0].image.shape == (48, 64, 3)
    assert all(frame.image.flags.c_contiguous for frame in frames)


@pytest.mark.parametrize(
    ("name", "codec", "pix_fmt"),
    [
        ("a.mkv", "libx264", "yuv420p"),
        ("a.ts", "libx264", "yuv420p"),
        ("a.avi", "mpeg4", "yuv420p"),
        ("a.webm", "libvpx", "yuv420p"),
        ("a.mpg", "mpeg2video", "yuv420p"),
        ("a.mov", "mjpeg", "yuvj420p"),
        ("gray.mkv", "ffv1", "gray"),
        ("ten_bits.mkv", "ffv1", "yuv420p10le"),
        ("alpha.mkv", "ffv1", "bgra"),
    ],
)
def test_containers_and_pixel_formats(tmp_path: Path, name: str, codec: str, pix_fmt: str) -> None:
    frames = read(write_video(tmp_path / name, numbered_images(10), codec=codec, pix_fmt=pix_fmt))
    assert numbers(frames) == list(range(10))
    assert times(frames) == pytest.approx([n / 25 for n in range(10)], abs=1e-3)


def test_colours_survive(tmp_path: Path) -> None:
    image = np.zeros((48, 64, 3), dtype=np.uint8)
    image[:, :16], image[:, 16:32], image[:, 32:48] = (255, 0, 0), (0, 255, 0), (0, 0, 255)
    path = write_video(tmp_path / "a.mkv", [image], codec="ffv1", pix_fmt="yuv444p")
    got = read(path)[0].image.astype(int)
    for column, colour in ((8, (255, 0, 0)), (24, (0, 255, 0)), (40, (0, 0, 255)), (56, (0, 0, 0))):
        assert np.abs(got[24, column] - colour).max() <= 3


def test_an_unknown_colour_space_is_taken_for_the_usual_one(tmp_path: Path) -> None:
    options = {"x264-params": "colormatrix=YCgCo"}
    assert numbers(read(write_video(tmp_path / "a.mp4", numbered_images(5), options=options))) == list(range(5))


def test_gray_video_comes_as_three_equal_channels(tmp_path: Path) -> None:
    ramp = np.repeat(np.arange(64, dtype=np.uint8)[None, :, None], 3, axis=2).repeat(48, axis=0)
    got = read(write_video(tmp_path / "a.mkv", [ramp * 4], codec="ffv1", pix_fmt="gray"))[0].image
    assert np.array_equal(got, ramp * 4)


@pytest.mark.parametrize("size", [(1, 1), (3, 3), (8000, 20), (20, 8000), (321, 241)])
@pytest.mark.parametrize("codec", ["mjpeg", "libx264"])
def test_odd_sizes(tmp_path: Path, size: tuple[int, int], codec: str) -> None:
    path = tmp_path / ("a.avi" if codec == "mjpeg" else "a.mp4")
    pix_fmt = "yuvj420p" if codec == "mjpeg" else "yuv444p"
    options = {"preset": "ultrafast"} if codec == "libx264" else {}
    frames = read(write_video(path, [numbered_image(5, *size)] * 3, codec=codec, pix_fmt=pix_fmt, options=options))
    assert [frame.image.shape for frame in frames] == [(size[1], size[0], 3)] * 3
    if min(size) > 3:
        assert numbers(frames) == [5, 5, 5]


@pytest.mark.parametrize("mirrored", [False, True])
@pytest.mark.parametrize("degrees", [0, 90, 180, 270])
def test_rotation_metadata_is_applied(tmp_path: Path, degrees: int, mirrored: bool) -> None:
    image = numbered_image(0b000000010011)
    path = write_video(tmp_path / "a.mp4", [image], rotation=degrees, mirrored=mirrored)
    upright = np.rot90(image, degrees // 90)
    upright = upright[:, ::-1] if mirrored else upright
    with open_video(path) as video:
        got = next(video).image
        assert (video.info.height_px, video.info.width_px) == got.shape[:2] == upright.shape[:2]
    assert np.abs(got.astype(int) - upright).mean() < 10
    assert got.flags.c_contiguous


def test_frame_times_of_a_variable_rate_file(tmp_path: Path) -> None:
    milliseconds = [700, 740, 1000, 1001, 5000, 5200]
    path = write_video(tmp_path / "a.mkv", numbered_images(6), milliseconds=milliseconds)
    assert times(read(path)) == pytest.approx([0, 0.04, 0.3, 0.301, 4.3, 4.5], abs=1e-9)


def test_a_stream_without_timestamps_goes_on_by_its_average_rate(tmp_path: Path) -> None:
    frames = read(write_video(tmp_path / "a.h264", numbered_images(30), options={"bf": "0"}))
    assert numbers(frames) == list(range(30))
    assert np.allclose(np.diff(times(frames)), 1 / 25)


@pytest.mark.parametrize(
    ("pts", "expected"),
    [
        ([5, 6, 8, 9], [0, 1, 3, 4]),
        ([0, 1, None, 3], [0, 1, 2, 3]),
        ([None, None, 7, 8], [0, 1, 2, 3]),
        ([0, 1, 1, 2, 3], [0, 1, 1.5, 2, 3]),
        ([0, 1, 1, 1, 2, 4], [0, 1, 1.5, 2, 2.5, 4]),
        ([0, 2, 1, 3], [0, 2, 2.5, 3]),
        ([100, 101, 3, 4, 6], [0, 1, 2, 3, 5]),
        ([0, 1, 500, 501], [0, 1, 500, 501]),
    ],
)
def test_the_clock_mends_timestamps(pts: list[int | None], expected: list[float]) -> None:
    clock = Clock(Fraction(1), frame_seconds=1.0)
    assert [clock.tick(one) for one in pts] == expected


def test_joined_recordings_keep_one_size_and_ascending_times(tmp_path: Path) -> None:
    small = write_video(tmp_path / "a.ts", numbered_images(30)).read_bytes()
    large = write_video(tmp_path / "b.ts", numbered_images(30, 128, 96)).read_bytes()
    joined = tmp_path / "joined.ts"
    joined.write_bytes(small + large + small)
    frames = read(joined)
    assert numbers(frames) == [*range(30)] * 3
    assert {frame.image.shape for frame in frames} == {(48, 64, 3)}
    assert np.allclose(np.diff(times(frames)), 1 / 25)


def test_a_larger_first_part_makes_the_rest_larger(tmp_path: Path) -> None:
    parts = [numbered_images(5, 128, 96), numbered_images(5, 64, 48)]
    data = b"".join(write_video(tmp_path / f"{n}.h264", part).read_bytes() for n, part in enumerate(parts))
    (tmp_path / "joined.h264").write_bytes(data)
    frames = read(tmp_path / "joined.h264")
    assert numbers(frames) == [*range(5)] * 2
    assert {frame.image.shape for frame in frames} == {(96, 128, 3)}


@pytest.mark.parametrize("packet", [25, 57])
def test_damaged_packets_are_left_out_and_counted(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, packet: int
) -> None:
    path = write_video(tmp_path / "a.mp4", numbered_images(60), options={"g": "10", "bf": "0"})
    with open_video(damage(path, [packet])) as video:
        frames = list(video)
        assert video.skipped == 1
        assert not video.truncated
    got = numbers(frames)
    assert got[:packet] == list(range(packet))
    assert len(got) == 59
    assert times(frames) == [n / 25 for n in range(60) if n != packet]
    assert f"{path}: damaged packets left out: 1" in caplog.text


def test_good_frames_behind_damage_at_the_end_are_not_lost_in_decoder_threads(tmp_path: Path) -> None:
    path = damage(write_video(tmp_path / "a.mp4", numbered_images(60), codec="mpeg4", options={"g": "1"}), [56, 58])
    assert [round(t * 25) for t in times(read(path))] == [*range(56), 57, 59]


def test_a_file_that_was_cut_off_yields_what_is_there(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    images = numbered_images(200, 128, 96)
    path = write_video(tmp_path / "a.mp4", images, options={"bf": "0"}, container_options={"movflags": "+faststart"})
    with open_video(cut_off(path, keep=0.6)) as video:
        got = numbers(list(video))
        assert video.truncated
    assert got == list(range(len(got)))
    assert 60 < len(got) < 160
    assert f"{path}: it ends before its time" in caplog.text


def test_a_cut_through_the_last_packet_is_noticed(tmp_path: Path) -> None:
    images = numbered_images(60, 128, 96)
    path = write_video(tmp_path / "a.mp4", images, options={"bf": "0"}, container_options={"movflags": "+faststart"})
    path.write_bytes(path.read_bytes()[:-3])
    with open_video(path) as video:
        assert numbers(list(video))[:59] == list(range(59))
        assert video.truncated


def test_the_end_of_a_cut_off_file_is_no_damage_besides_on_one_core(tmp_path: Path) -> None:
    images = numbered_images(60, 128, 96)
    path = write_video(tmp_path / "a.mp4", images, options={"bf": "0"}, container_options={"movflags": "+faststart"})
    cut_off(path, keep=0.6)
    cores = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {min(cores)})
    try:
        with open_video(path) as video:
            assert len(list(video)) > 10
    finally:
        os.sched_setaffinity(0, cores)
    assert (video.skipped, video.truncated) == (0, True)


def test_a_cut_matroska_file_is_noticed_by_its_duration(tmp_path: Path) -> None:
    path = cut_off(write_video(tmp_path / "a.mkv", numbered_images(100), options={"bf": "0"}), keep=0.5)
    with open_video(path) as video:
        got = numbers(list(video))
        assert video.truncated
    assert got == list(range(len(got)))
    assert 20 < len(got) < 80


@pytest.mark.parametrize("name", ["a.mp4", "a.mkv", "a.ts"])
def test_sound_beside_the_pictures_is_left_alone(tmp_path: Path, name: str) -> None:
    path = write_video(tmp_path / name, numbered_images(50), sound_seconds=9)
    with open_video(path) as video:
        assert numbers(list(video)) == list(range(50))
        assert not video.truncated
        found = video.read_at([40])
    assert found is None or read_number(found[40].image) == 40


def test_the_frame_count_of_the_container_is_not_believed(tmp_path: Path) -> None:
    path = write_video(tmp_path / "a.avi", numbered_images(30), codec="mpeg4", options={"bf": "0"})
    data = bytearray(path.read_bytes())
    assert data[48:52] == (30).to_bytes(4, "little")  # total frames in the avi header
    data[48:52] = (47).to_bytes(4, "little")
    strh = data.index(b"strh") + 8
    data[strh + 32 : strh + 36] = (47).to_bytes(4, "little")  # length in the stream header
    path.write_bytes(bytes(data))
    assert numbers(read(path)) == list(range(30))


def test_one_frame_is_a_video(tmp_path: Path) -> None:
    frames = read(write_video(tmp_path / "a.mp4", numbered_images(1)))
    assert (numbers(frames), times(frames)) == ([0], [0.0])


def test_names_that_look_like_protocols_and_patterns(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    write_video(tmp_path / "plain.mp4", numbered_images(3)).rename(tmp_path / "a:b 100%03d.mp4")
    assert numbers(read("a:b 100%03d.mp4")) == [0, 1, 2]


def broken_files(folder: Path) -> dict[str, tuple[Path, str]]:
    """Name of the case -> the file and what its error must say."""
    folder.mkdir(exist_ok=True)
    (folder / "empty.mp4").touch()
    for name in ("text.mp4", "text.txt"):
        (folder / name).write_text("only words\n" * 100)
    (folder / "no_frames").mkdir()
    (folder / "videos").mkdir()
    (folder / "mixed").mkdir()
    write_frames(folder / "mixed", numbered_images(2), extension=".png")
    write_frames(folder / "mixed", numbered_images(2), extension=".jpg")
    write_frames(folder / "bad_images", numbered_images(2))
    for image in (folder / "bad_images").iterdir():
        image.write_bytes(b"no image")
    write_video(folder / "videos" / "1.mp4", numbered_images(2))
    unknown = write_video(folder / "unknown.mkv", numbered_images(2))
    unknown.write_bytes(unknown.read_bytes().replace(b"V_MPEG4/ISO/AVC", b"V_SOMETHING/NEW"))
    large = [np.random.default_rng(0).integers(0, 256, (240, 320, 3), dtype=np.uint8)] * 10
    return {
        "missing": (folder / "missing.mp4", "no such file or folder (check the path)"),
        "empty": (folder / "empty.mp4", "the file is empty"),
        "text as mp4": (folder / "text.mp4", "not a video file"),
        "text": (folder / "text.txt", "it holds no video"),
        "sound": (write_sound(folder / "sound.mp4"), "it holds sound but no video"),
        "cover": (write_sound(folder / "song.mp3", cover=numbered_image(1)), "it holds sound but no video"),
        "no index": (
            cut_off(write_video(folder / "cut.mp4", large), keep=0.5),
            "an mp4 whose index (moov) is missing or damaged",
        ),
        "all damaged": (
            damage(write_video(folder / "noise.mp4", numbered_images(9)), range(9)),
            "no frame of it could be decoded (it is damaged or was cut off",
        ),
        "unknown codec": (unknown, "its codec is unknown to this build of FFmpeg (convert it to H.264)"),
        "inside a file": (unknown / "a.mp4", "cannot be read: Not a directory"),
        "empty folder": (folder / "no_frames", "a folder without numbered frames (frames are images with a number"),
        "folder of videos": (folder / "videos", "a folder without numbered frames (name the video files in it)"),
        "two kinds": (folder / "mixed", "its images are of several kinds: .jpg, .png"),
        "bad images": (folder / "bad_images", "none of its images can be read"),
    }


def test_what_is_no_video_gets_one_clear_line(tmp_path: Path) -> None:
    for case, (path, expected) in broken_files(tmp_path / "broken").items():
        with pytest.raises(VideoError) as caught:
            open_video(path, fps=10)
        assert str(caught.value).startswith(f"{path}: {expected}"), case
        assert "\n" not in str(caught.value), case


def test_a_video_without_any_frame(tmp_path: Path) -> None:
    path = write_video(tmp_path / "a.avi", numbered_images(3), codec="mjpeg", pix_fmt="yuvj420p")
    data = path.read_bytes()
    movi = data.index(b"movi")
    path.write_bytes(data[: movi + 4])
    with pytest.raises(VideoError, match=r"it holds no (frame|video) \("):
        open_video(path)


def test_a_file_that_may_not_be_read(tmp_path: Path) -> None:
    path = write_video(tmp_path / "a.mp4", numbered_images(2))
    path.chmod(0)
    is_root = os.geteuid() == 0
    if is_root:
        os.seteuid(65534)
    try:
        with pytest.raises(VideoError, match=r"a\.mp4: permission denied \(give yourself the right to read it\)"):
            open_video(path)
    finally:
        if is_root:
            os.seteuid(0)


def test_a_folder_of_frames_is_read_in_natural_order(tmp_path: Path) -> None:
    folder = write_frames(tmp_path / "frames", numbered_images(12), first=1)
    (folder / ".frame3.png").write_bytes(b"hidden")
    (folder / "cover.png").write_bytes(b"no number")
    (folder / "notes7.txt").write_text("no image")
    with open_video(folder, fps=10) as video:
        assert video.info == VideoInfo(str(folder), 64, 48, 10.0, 1.2, "png")
        frames = list(video)
    assert numbers(frames) == list(range(12))
    assert times(frames) == [n / 10 for n in range(12)]


@pytest.mark.parametrize("extension", [".jpg", ".PNG", ".tif", ".bmp", ".webp"])
def test_kinds_of_images(tmp_path: Path, extension: str) -> None:
    assert numbers(read(write_frames(tmp_path / "f", numbered_images(3), extension=extension), fps=5)) == [0, 1, 2]


def test_a_folder_of_frames_leaves_out_bad_images_and_keeps_the_times(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    folder = write_frames(tmp_path / "frames", numbered_images(6))
    (folder / "frame2.png").write_bytes(b"")
    (folder / "frame3.png").write_bytes(b"no image")
    striped = np.zeros((192, 256, 3), dtype=np.uint8)
    striped[:, ::4] = 255
    cv2.imwrite(str(folder / "frame4.png"), striped)
    with open_video(folder, fps=2) as video:
        frames = list(video)
        assert video.skipped == 2
    assert times(frames) == [0, 0.5, 2, 2.5]
    assert [frame.index for frame in frames] == [0, 1, 2, 3]
    assert {frame.image.shape for frame in frames} == {(48, 64, 3)}
    assert np.abs(frames[2].image.astype(int) - 64).max() <= 1  # averaged, not picked
    assert "images left out that cannot be read: 2" in caplog.text


def test_a_folder_needs_fps_and_a_file_does_not_mind_it(tmp_path: Path) -> None:
    folder = write_frames(tmp_path / "frames", numbered_images(2))
    with pytest.raises(UsageError, match=r"frames: .*give --fps"):
        open_video(folder)
    file = write_video(tmp_path / "a.mp4", numbered_images(3), fps=25)
    assert times(read(file, fps=10)) == [0, 0.04, 0.08]
    for fps in (0, -1, float("nan"), float("inf")):
        with pytest.raises(UsageError, match="fps must be a positive number"):
            open_video(file, fps=fps)


def test_a_closed_video_says_so(tmp_path: Path) -> None:
    path = write_video(tmp_path / "a.mp4", numbered_images(3))
    with open_video(path) as video:
        next(video)
    with pytest.raises(ValueError, match="is closed: read its frames inside the `with` block"):
        next(video)
    video.close()


def test_decoding_writes_nothing_to_the_terminal(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    logging.getLogger("oddwatch").setLevel(logging.ERROR)
    try:
        read(damage(write_video(tmp_path / "a.mp4", numbered_images(60)), [30, 31, 32]))
    finally:
        logging.getLogger("oddwatch").setLevel(logging.NOTSET)
    captured = capfd.readouterr()
    # libx264 reports to the terminal when it encodes; the decoder must not.
    assert "decode" not in captured.err
    assert "error" not in captured.err.lower()


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_memory_does_not_grow_with_the_length(tmp_path: Path) -> None:
    """In a process of its own. The limit is below 100 bytes a frame, which is what one forgotten object costs."""
    path = write_video(tmp_path / "a.mp4", (numbered_image(n % 4096, 32, 24) for n in range(8000)), fps=1)
    script = textwrap.dedent("""
        import resource, sys
        from oddwatch.video import open_video, prefetch

        def resident_bytes():
            with open("/proc/self/statm") as file:
                return int(file.read().split()[1]) * resource.getpagesize()

        with open_video(sys.argv[1]) as video:
            for frame in prefetch(video):
                if frame.index == 2000:
                    before = resident_bytes()
        print(frame.index, frame.time_seconds, resident_bytes() - before)
    """)
    done = subprocess.run([sys.executable, "-c", script, path], capture_output=True, text=True, check=True)
    index, seconds, grown = map(float, done.stdout.split())
    assert (index, seconds) == (7999, 7999)
    assert grown < 6000 * 100


def test_opening_many_files_leaks_no_handles(tmp_path: Path) -> None:
    path = write_video(tmp_path / "a.mp4", numbered_images(3))
    bad = write_sound(tmp_path / "sound.mp4")
    gc.collect()
    before = len(os.listdir("/dev/fd"))
    for _ in range(20):
        with open_video(path) as video:
            next(video)
        with pytest.raises(VideoError):
            open_video(bad)
    gc.collect()
    assert len(os.listdir("/dev/fd")) == before
