"""Cameras: options, times, what is kept for clips, replays through the real process. Live streams and their faults are
in test_camera_faults.py.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from camera_servers import HttpCameras, Watched, free_port, write_segments
from small_videos import images, write

from oddwatch.errors import UsageError, VideoError
from oddwatch.types import Frame
from oddwatch.video import CameraFrame, CameraOptions, CameraState, Clocks, Gaps, open_video
from oddwatch.video.arrival import ArrivalClock
from oddwatch.video.live import LiveReader
from oddwatch.video.recording import write_clip


@pytest.fixture(scope="module")
def recording(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write(tmp_path_factory.mktemp("replay") / "one.mp4", 6.0, seed=1)


def test_an_address_shows_no_password() -> None:
    options = CameraOptions("rtsp://me:p@ss/w:ord@camera:554/1?token=abc")
    assert options.name == "rtsp://camera:554/1?token=***"
    for secret in ("p@ss", "w:ord", "abc"):
        assert secret not in repr(options)
    with pytest.raises(UsageError) as raised:
        CameraOptions("rtsp://me:p@ss/w:ord@camera/1", fps=0)
    assert "p@ss" not in str(raised.value)


@pytest.mark.parametrize("password", ["p@ss", "a:b:c", "50%25/2", "@@//::%%", "x?user=y#z", "p w"])
@pytest.mark.parametrize("scheme", ["rtsp", "http"])
def test_no_password_shows_when_a_camera_does_not_answer(
    password: str, scheme: str, capfd: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    url = f"{scheme}://operator:{password}@127.0.0.1:{free_port()}/1"
    reader = LiveReader(CameraOptions(url))
    item = next(reader.items())
    assert isinstance(item, CameraState)
    assert item.kind == "lost"
    shown = repr(item) + repr(reader.options) + caplog.text + "".join(capfd.readouterr())
    assert password not in shown
    assert "operator" not in shown


def test_a_playlist_cannot_lead_to_a_file_of_this_machine(tmp_path: Path) -> None:
    pictures = list(images(2.0, seed=1))
    segments = write_segments(tmp_path / "segments", pictures)
    secret = segments / "s000.ts"

    class Playlists(HttpCameras):
        def playlist(self) -> str:
            return f"#EXTM3U\n#EXT-X-TARGETDURATION:1\n#EXTINF:1.0,\nfile://{secret}\n#EXT-X-ENDLIST\n"

    server = Playlists(pictures, segments)
    try:
        item = next(LiveReader(CameraOptions(server.url("hls/live.m3u8"))).items())
    finally:
        server.shutdown()
        server.server_close()
    assert isinstance(item, CameraState)
    assert item.kind == "lost"


@pytest.mark.parametrize(
    ("url", "says"),
    [
        ("", "needs an address"),
        ("file:///etc/passwd", "file:// is no address of a camera"),
        ("concat://a|b", "is no address"),
        ("ftp://camera/1", "give rtsp://"),
    ],
)
def test_other_addresses_are_refused(url: str, says: str) -> None:
    with pytest.raises(UsageError, match=says):
        CameraOptions(url)


def test_options_that_cannot_work_are_refused() -> None:
    for wrong in (
        {"transport": "pigeon"},
        {"open_seconds": 8.0},
        {"stall_seconds": 0.0},
        {"height_px": 4},
        {"size_px": (0, 10)},
        {"masks": (((0.0, 0.0), (1.0, 1.0)),)},
        {"masks": (((0.0, 0.0), (1.0, 1.0), (2.0, 0.0)),)},
        {"replay": "backwards"},
        {"evidence_bytes": -1},
    ):
        with pytest.raises(UsageError, match="rtsp://camera"):
            CameraOptions("rtsp://camera/1", **wrong)


def test_bursts_keep_their_spacing() -> None:
    """Ten at once, every second, after the last three seconds at once."""
    times, found, late = ArrivalClock(), [], []
    for index in range(1500):
        pts = index * 0.1
        arrived = 1000.0 + (0.0 if index < 30 else np.floor((index - 30) / 10) + 1)
        found.append(times.tick(pts, arrived))
        late.append(arrived - found[-1])
    assert np.diff(found) == pytest.approx(0.1, abs=0.0101)
    assert min(late[:100]) > -4.0
    assert min(late[-100:]) > -0.2
    assert max(late) < 1.2


@pytest.mark.parametrize("jump", [3600.0, -3600.0, 5.0, -5.0])
def test_timestamps_that_jump_do_not_move_the_time(jump: float) -> None:
    times, found = ArrivalClock(), []
    for index in range(60):
        pts = index * 0.1 + (jump if index >= 30 else 0.0)
        found.append(times.tick(pts, 50.0 + index * 0.1))
    assert np.array(found) == pytest.approx(50.0 + np.arange(60) * 0.1, abs=0.01)


@pytest.mark.parametrize("share", [0.999, 0.96, 1.04])
def test_the_clock_of_a_camera_is_followed(share: float) -> None:
    """0.96: its timestamps assume 25 pictures a second where 24 come."""
    times, found, late = ArrivalClock(), [], []
    for index in range(20_000):
        arrived = 10.0 + index * 0.1
        found.append(times.tick(index * 0.1 * share, arrived))
        late.append(arrived - found[-1])
    assert np.abs(late).max() < 0.01 + 15 * max(1 - share, 0.0)  # the earliest of 15 s is looked at
    assert np.diff(found) == pytest.approx(0.1, abs=0.0055)


def test_what_comes_late_for_a_while_is_not_followed() -> None:
    """A congested line: for ten seconds all pictures come three seconds late."""
    times, found, arrived = ArrivalClock(), [], 0.0
    for index in range(600):
        arrived = max(arrived, 10.0 + index * 0.1 + (3.0 if 200 <= index < 300 else 0.0))
        found.append(times.tick(index * 0.1, arrived))
    assert np.array(found) == pytest.approx(10.0 + np.arange(600) * 0.1, abs=0.01)


def test_streams_without_timestamps_have_those_of_arrival() -> None:
    times = ArrivalClock()
    assert [times.tick(None, at) for at in (1.0, 1.2, 1.2, 1.5)] == [1.0, 1.2, pytest.approx(1.201), 1.5]


def frame(seconds: float, wall: float) -> CameraFrame:
    return CameraFrame(Frame(np.zeros((4, 4, 3), np.uint8), seconds, 0), wall)


def test_gaps_are_measured_on_a_clock_that_nobody_sets() -> None:
    gaps = Gaps(started_wall=1000.0, started_seconds=0.0)
    assert gaps.push(frame(1.0, 1001.0)) is None
    assert gaps.push(frame(1.1, 4601.1)) is None  # set an hour ahead
    gaps.push(CameraState("lost", 3.0, 4603.0, "no answer in time"))
    gaps.push(CameraState("lost", 9.0, 4609.0, "Connection refused"))
    assert gaps.why == "no answer in time"
    found = gaps.push(frame(11.1, 1011.1))
    assert found is not None
    assert (found.from_wall, found.to_wall, found.says) == (4601.1, 1011.1, "no answer in time")
    assert found.seconds == pytest.approx(10.0)
    assert gaps.close(1012.0, 12.0) is None
    assert gaps.close(1020.0, 20.0) is not None


def items_of(options: CameraOptions) -> tuple[LiveReader, list[CameraFrame], list[CameraState]]:
    reader = LiveReader(options)
    items = list(reader.items())
    frames = [item for item in items if isinstance(item, CameraFrame)]
    return reader, frames, [item for item in items if isinstance(item, CameraState)]


def test_a_folder_is_replayed_as_one_recording(recording: Path, tmp_path: Path) -> None:
    for name in ("a.mp4", "b.mp4"):
        (tmp_path / name).write_bytes(recording.read_bytes())
    (tmp_path / "c.mp4").write_bytes(b"nothing")
    _, frames, states = items_of(CameraOptions(str(tmp_path), replay="fast"))
    assert len(frames) == 120
    seconds = np.array([one.frame.time_seconds for one in frames])
    assert np.diff(seconds) == pytest.approx(0.1, abs=0.07)
    assert seconds[-1] - seconds[0] == pytest.approx(11.84, abs=0.05)
    assert [one.kind for one in states] == ["connected", "lost", "ended"]
    assert "c.mp4" in states[1].says


def test_replays_that_cannot_be(tmp_path: Path) -> None:
    with pytest.raises(VideoError, match=r"nowhere\.mp4"):
        items_of(CameraOptions(str(tmp_path / "nowhere.mp4"), replay="fast"))


def test_numbered_pictures_need_a_rate(tmp_path: Path) -> None:
    import cv2

    for number, image in enumerate(images(1.0, seed=1)):
        cv2.imwrite(str(tmp_path / f"{number:03}.png"), image)
    with pytest.raises(UsageError, match="replay_fps"):
        items_of(CameraOptions(str(tmp_path), replay="fast"))
    _, frames, _ = items_of(CameraOptions(str(tmp_path), replay="fast", replay_fps=5.0))
    assert np.diff([one.frame.time_seconds for one in frames]) == pytest.approx(0.2, abs=1e-6)


def test_frames_are_thinned_out_to_the_rate(recording: Path) -> None:
    reader, frames, _ = items_of(CameraOptions(str(recording), replay="fast", fps=4.0))
    assert reader.decoded == 60
    assert len(frames) in (23, 24, 25)


def test_at_real_time_it_takes_its_time(recording: Path) -> None:
    now = [100.0]

    class Waiting(threading.Event):
        def wait(self, timeout: float | None = None) -> bool:
            now[0] += timeout or 0.0
            return False

    reader = LiveReader(CameraOptions(str(recording)), clocks=Clocks(wall=lambda: 7.0, monotonic=lambda: now[0]))
    reader._stopped = Waiting()
    frames = [item for item in reader.items() if isinstance(item, CameraFrame)]
    assert now[0] == pytest.approx(105.9, abs=0.2)
    assert np.diff([one.frame.time_seconds for one in frames[5:-3]]) == pytest.approx(0.1, abs=1e-3)
    assert frames[0].wall_seconds == pytest.approx(7.0, abs=0.5)


@pytest.fixture(scope="module")
def kept(recording: Path) -> LiveReader:
    return items_of(CameraOptions(str(recording), replay="fast"))[0]


def brightness(path: Path) -> Iterator[np.ndarray]:
    with open_video(path) as video:
        for one in video:
            yield one.image.astype(np.float64)


def test_a_clip_is_the_stream_itself(kept: LiveReader, recording: Path, tmp_path: Path) -> None:
    start = kept.ring.between(0, np.inf)[0].seconds
    found = kept.ring.between(start + 1, start + 3)
    assert not write_clip(found, tmp_path / "clip.mp4")
    assert [path.name for path in tmp_path.iterdir()] == ["clip.mp4"]
    got, whole = list(brightness(tmp_path / "clip.mp4")), list(brightness(recording))
    assert 29 <= len(got) <= 35
    for place in (0, 10, 28):  # bit for bit, from the key frame on
        np.testing.assert_array_equal(got[place], whole[place])


def test_masks_are_burned_in(kept: LiveReader, tmp_path: Path) -> None:
    found = kept.ring.between(0, np.inf)
    mask = ((0.0, 0.0), (0.5, 0.0), (0.5, 1.0), (0.0, 1.0))
    assert write_clip(found, tmp_path / "clip.mp4", masks=[mask])
    shown = list(brightness(tmp_path / "clip.mp4"))
    assert len(shown) == 60
    for image in shown:
        assert image[:, :76].max() < 24
        assert image[:, 84:].mean() > 60


def test_what_is_kept_is_bounded(recording: Path) -> None:
    reader, _, _ = items_of(CameraOptions(str(recording), replay="fast", evidence_bytes=20_000))
    assert reader.ring.bytes <= 20_000
    with pytest.raises(VideoError, match="nothing of that time is kept"):
        write_clip(reader.ring.between(0, 1), "clip.mp4")


def test_a_clip_that_cannot_be_written_leaves_nothing(kept: LiveReader, tmp_path: Path) -> None:
    with pytest.raises(VideoError, match="cannot be written"):
        write_clip(kept.ring.between(0, np.inf), tmp_path / "no" / "clip.mp4")
    assert list(tmp_path.iterdir()) == []


def test_a_replay_in_its_process_loses_nothing(recording: Path, tmp_path: Path) -> None:
    mask = ((0.0, 0.0), (0.5, 0.0), (0.5, 1.0), (0.0, 1.0))
    options = CameraOptions(str(recording), replay="fast", masks=(mask,), size_px=(80, 60))
    with Watched(options) as watched:
        watched.until(lambda: watched.states("ended"))
        assert [one.frame.index for one in watched.frames] == list(range(60))
        assert watched.camera.counts.dropped == 0
        assert {one.frame.image.shape for one in watched.frames} == {(60, 80, 3)}
        assert watched.frames[7].frame.image[:, :38].max() == 0
        last = watched.frames[-1].frame.time_seconds
        number = watched.camera.clip(tmp_path / "clip.mp4", from_seconds=last - 2, to_seconds=last)
        watched.until(watched.clips)
        assert [(one.request, one.recoded, one.problem) for one in watched.clips()] == [(number, True, "")]
        pid = watched.camera.pid
    assert not Path(f"/proc/{pid}").exists()


def test_a_slow_reader_loses_the_oldest_and_counts(recording: Path) -> None:
    import time

    with Watched(CameraOptions(str(recording), fps=10.0)) as watched:
        watched.more(1)
        time.sleep(1.5)
        watched.more(12)
        counts = watched.camera.counts
    indices = [one.frame.index for one in watched.frames]
    assert counts.dropped > 5
    assert indices == sorted(indices)
    assert counts.dropped + len(indices) == indices[-1] + 1


def test_a_replay_that_fails_says_so_here(tmp_path: Path) -> None:
    (tmp_path / "empty.mp4").write_bytes(b"")
    with pytest.raises(VideoError, match="the file is empty"), Watched(CameraOptions(str(tmp_path / "empty.mp4"))) as w:
        w.more(1)
    assert os.path.exists(tmp_path / "empty.mp4")
