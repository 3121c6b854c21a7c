"""Four cameras of a real RTSP server, from their first minute to alerts at a receiver, a broker and a service."""

from __future__ import annotations

import base64
import json
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from camera_servers import RtspServer, have_rtsp_server
from command_line import Runner
from numpy.typing import NDArray
from receivers import Broker, receiver, until
from small_videos import ODD_SECONDS, figure, write
from watch_command import site_file, watching

from oddwatch.types import Frame, Image
from oddwatch.video import open_video

LEARN_SECONDS = 60.0
"""As long as the model of the empty place takes to settle: with less, most of what is learned from is without it."""
ODD = {"door": 99, "gate": 98}
"""Cameras before which somebody goes the wrong way, and what he looks like."""
CUT_SECONDS = 1.5
"""Nothing is shown for so long where a film begins: what leaps from one film to another is unusual, too."""
QUIET = ("yard", "shed")
_ALIKE = 0.7  # correlation of a picture with the figure: 0.9 where it is, at most 0.5 where it is not


@pytest.mark.service
@pytest.mark.skipif(not have_rtsp_server(), reason="needs Debian's gir1.2-gst-rtsp-server-1.0 and python3-gi")
def test_four_cameras_learn_then_tell_what_is_unusual(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Something happens before two of them; each of three sinks is told of these, once, and of no other event."""
    mounts = {}
    for seed, name in enumerate((*ODD, *QUIET), start=1):
        mounts[name] = [write(tmp_path / f"{name}.mp4", 75.0, seed=seed)]
        if name in ODD:
            odd = tmp_path / f"{name}-odd.mp4"
            mounts[name].append(write(odd, 30.0, seed=10 + seed, odd="left", looks=ODD[name]))
    broker = Broker(tmp_path, user="oddwatch", password="p@:%/ss")
    broker.up()
    try:
        with receiver() as hook, receiver() as service, broker.heard() as heard, RtspServer(mounts) as server:
            for name in mounts:
                server.tell(name, "rest", CUT_SECONDS)
            learn = {"seconds": LEARN_SECONDS, "budget": "1/hour"}
            cameras = [{"name": name, "url": server.url(name), "learn": learn} for name in mounts]
            house = {"name": "house", "kind": "mqtt", "host": "127.0.0.1", "port": broker.port}
            house |= {"user": broker.user, "password": broker.password}
            phone = {"name": "phone", "kind": "apprise", "url": f"json://127.0.0.1:{service.port}/told"}
            site = site_file(tmp_path, hook.url, *cameras, sinks=[house, phone])
            made = json.loads(site.read_text())
            for sink in made["alerts"]["sinks"]:  # on a busy machine a camera may need longer than it has to connect
                sink["tell_health"] = False
            site.write_text(json.dumps(made))
            with watching(site) as watch:
                until(lambda: all(f"{name}: armed" in watch.log for name in mounts), 180)
                assert [hook.taken, service.taken, events(heard)] == [[], [], []], watch.log
                for name in ODD:
                    server.tell(name, "play", 1)
                until(lambda: len(hook.taken) == len(service.taken) == len(events(heard)) == 2, 60)
                until(lambda: watch.log.count("is over") == 2, 60)
                assert watch.end()[0] == 0, watch.log
        assert (len(hook.taken), len(service.taken), len(events(heard))) == (2, 2, 2), watch.log
    finally:
        broker.down()
    oddwatch = Runner(capsys)
    found = {one["camera"]: one for one in json.loads(oddwatch("events", "list", site, "--json").out)["events"]}
    assert set(found) == set(ODD)
    assert len(json.loads(oddwatch("alerts", "list", site, "--state", "sent", "--json").out)["alerts"]) == 6
    by_hook = {one.json["camera"]: one.json for one in hook.taken}
    by_service = {one.json["title"].partition(":")[0]: one.json for one in service.taken}
    by_broker = {one["camera"]: one for one in events(heard)}
    files = {
        name: json.loads(oddwatch("events", "show", site, event["id"], "--json").out)["files"]
        for name, event in found.items()
    }
    clips = {name: frames(shown["clip"]) for name, shown in files.items()}
    for name, event in found.items():
        assert set(files[name]) == {"clip", "thumbnail", "heatmap", "usual-1", "usual-2", "usual-3"}
        assert by_hook[name]["event"]["uid"] == by_broker[name]["event"]["uid"] == event["uid"]
        for alert in (by_hook[name], by_broker[name]):
            assert (alert["site"], alert["kind"], alert["camera"]) == ("home", "event", name)
            assert alert["event"]["why"]["says"] in alert["text"]
        assert by_service[name]["title"] == f"{name}: something unusual"
        assert "p-value" in by_service[name]["message"]
        figures = figures_in(clips[name], ODD[name])
        told = {
            "hook": base64.b64decode(by_hook[name]["thumbnail"]["base64"]),
            "service": base64.b64decode(by_service[name]["attachments"][0]["base64"]),
            "broker": heard[f"oddwatch/home/{name}/thumbnail"][-1][0],
            **{kind: Path(files[name][kind]).read_bytes() for kind in ("thumbnail", "heatmap")},
        }
        for kind, jpeg in told.items():
            picture = decoded(jpeg)
            moments = {other: nearest(picture, clip) for other, clip in clips.items()}
            assert min(moments, key=lambda other: moments[other][1]) == name, kind
            at = min(figures, key=lambda seconds: abs(seconds - moments[name][0]))
            assert abs(at - moments[name][0]) < 0.8, kind  # half a second passes until it is in the picture as a whole
            if kind == "thumbnail":
                check_box(event["box"], figures[at])
            if kind == "heatmap":
                check_heat(picture, event["box"])
    assert oddwatch("store", "check", site, "--whole").code == 0


def events(heard: dict[str, list[tuple[bytes, bool]]]) -> list[Any]:
    """What the broker was told of events, of all cameras."""
    return [json.loads(said) for topic, all_said in heard.items() if topic.endswith("/event") for said, _ in all_said]


def frames(clip: str) -> list[Frame]:
    with open_video(clip) as video:
        return list(video)


def figures_in(clip: list[Frame], looks: int) -> dict[float, tuple[float, float]]:
    """time -> place of the odd figure in a clip, which shows it for as long as it was there, and some time before and
    after.
    """
    places = {frame.time_seconds: place_of_figure(frame.image, looks) for frame in clip}
    seen = {seconds: place for seconds, place in places.items() if place is not None}
    first, last = min(seen), max(seen)
    stays = ODD_SECONDS[1] - ODD_SECONDS[0]
    assert 0.7 * stays < last - first < 1.1 * stays
    assert len(seen) > 0.7 * 10 * stays
    assert first - clip[0].time_seconds > 1
    assert clip[-1].time_seconds - last > 0.3
    return seen


def place_of_figure(image: Image, looks: int) -> tuple[float, float] | None:
    """(x, y) of the middle of the odd figure as fractions of the picture, None where it is not seen whole."""
    wanted = figure(looks)
    alike = cv2.matchTemplate(grey(image), wanted.astype(np.float32), cv2.TM_CCOEFF_NORMED)
    _, most, _, (left, top) = cv2.minMaxLoc(alike)
    if most < _ALIKE:
        return None
    return (left + wanted.shape[1] / 2) / image.shape[1], (top + wanted.shape[0] / 2) / image.shape[0]


def nearest(picture: Image, clip: list[Frame]) -> tuple[float, float]:
    """(seconds, mean difference in grey levels) of the frame that a picture shows, whatever is drawn into it."""
    plain = colour(picture) < 16
    differences = {f.time_seconds: np.abs(grey(picture) - grey(f.image))[plain].mean() for f in clip}
    return min(differences.items(), key=lambda one: one[1])


def check_box(box: list[float], figure_at: tuple[float, float]) -> None:
    """It is where the figure is."""
    left, top, right, bottom = box
    assert left - 0.1 < figure_at[0] < right + 0.1
    assert top - 0.1 < figure_at[1] < bottom + 0.1


def check_heat(picture: Image, box: list[float]) -> None:
    """It is hot inside the box."""
    hot = colour(picture)
    height, width = hot.shape
    inside = np.zeros(hot.shape, bool)
    left, top, right, bottom = (round(f * n) for f, n in zip(box, (width, height) * 2, strict=True))
    inside[top:bottom, left:right] = True
    assert hot[inside].mean() > 50
    assert hot[~inside].mean() < 0.25 * hot[inside].mean()


def colour(image: Image) -> NDArray[np.int16]:
    """(H, W) how colourful it is: the scenes are grey."""
    wide = image.astype(np.int16)
    return np.asarray(wide.max(axis=2) - wide.min(axis=2), np.int16)


def grey(image: Image) -> NDArray[np.float32]:
    return np.asarray(cv2.cvtColor(image, cv2.COLOR_RGB2GRAY), np.float32)


def decoded(jpeg: bytes) -> Image:
    picture = cv2.imdecode(np.frombuffer(jpeg, np.uint8), cv2.IMREAD_COLOR)
    assert picture is not None
    return np.asarray(cv2.cvtColor(picture, cv2.COLOR_BGR2RGB), np.uint8)
