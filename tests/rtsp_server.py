"""An RTSP server that plays mp4 files in a loop and makes trouble when told to. Run by the SYSTEM's Python, which has
GStreamer: /usr/bin/python3 rtsp_server.py PORT USER:PASSWORD|- NAME=FILE[,FILE...] ...

Prints `ready`. Commands on standard input, one a line: `NAME stall`, `NAME go`, `NAME play N` (the Nth file),
`NAME freeze` (one picture again and again; `go` ends it), `NAME rest SECONDS` (before each turn of the file, without a
picture: so long that nobody takes the cut for something that moved). It ends with its input.
"""

from __future__ import annotations

import sys

import gi

gi.require_version("Gst", "1.0")
gi.require_version("GstApp", "1.0")
gi.require_version("GstRtspServer", "1.0")
from gi.repository import GLib, Gst, GstApp, GstRtspServer  # noqa: E402, F401

FPS = 10
Unit = tuple[bytes, bool, int]


def access_units(path: str) -> list[Unit]:
    """Encoded pictures of an mp4, each with whether it is a key frame, and how long before it is shown (ns)."""
    pipeline = Gst.parse_launch(
        f'filesrc location="{path}" ! qtdemux ! h264parse config-interval=-1 ! '
        "video/x-h264,stream-format=byte-stream,alignment=au ! appsink name=sink sync=false"
    )
    sink = pipeline.get_by_name("sink")
    pipeline.set_state(Gst.State.PLAYING)
    units: list[Unit] = []
    while (sample := sink.emit("pull-sample")) is not None:
        buffer = sample.get_buffer()
        data = buffer.extract_dup(0, buffer.get_size())
        shown = buffer.pts - len(units) * Gst.SECOND // FPS
        units.append((data, not buffer.has_flags(Gst.BufferFlags.DELTA_UNIT), shown))
    pipeline.set_state(Gst.State.NULL)
    return units


class Channel(GstRtspServer.RTSPMediaFactory):  # type: ignore[misc]  # gi is known to the system's Python alone
    """One path of the server."""

    def __init__(self, files: list[str]) -> None:
        super().__init__()
        self.files = [access_units(file) for file in files]
        self.playing, self.stalled, self.frozen = 0, False, False
        self.place = 0
        self.rest, self.rested = 0, 0  # pictures left out
        self.set_shared(True)
        self.set_launch(
            "( appsrc name=source is-live=true format=time do-timestamp=false "
            f"caps=video/x-h264,stream-format=byte-stream,alignment=au,framerate={FPS}/1 ! "
            "h264parse ! rtph264pay name=pay0 pt=96 config-interval=1 )"
        )
        self.connect("media-configure", self._configure)

    def _configure(self, factory: object, media: GstRtspServer.RTSPMedia) -> None:
        source = media.get_element().get_by_name_recurse_up("source")
        state = {"count": 0, "going": True}
        self.place = 0

        def push() -> bool:
            if not state["going"]:
                return False
            state["count"] += 1
            units = self.files[self.playing]
            if self.place % len(units) == 0 and self.rested < self.rest:
                self.rested += 1
            elif not self.stalled:
                self.rested = 0
                data, is_key, shown = units[0 if self.frozen else self.place % len(units)]
                self.place += 1
                buffer = Gst.Buffer.new_wrapped(data)
                buffer.dts = state["count"] * Gst.SECOND // FPS
                buffer.pts = buffer.dts + shown
                buffer.duration = Gst.SECOND // FPS
                if not is_key:
                    buffer.set_flags(Gst.BufferFlags.DELTA_UNIT)
                source.emit("push-buffer", buffer)
            return True

        def over(_: object) -> None:
            state["going"] = False

        media.connect("unprepared", over)
        GLib.timeout_add(1000 // FPS, push)


def main(port: str, login: str, *mounts: str) -> None:
    Gst.init(None)
    server = GstRtspServer.RTSPServer()
    server.set_service(port)
    server.set_address("127.0.0.1")
    channels = {name: Channel(files.split(",")) for name, _, files in (mount.partition("=") for mount in mounts)}
    for name, channel in channels.items():
        server.get_mount_points().add_factory(f"/{name}", channel)
    if login != "-":
        user, _, password = login.partition(":")
        auth = GstRtspServer.RTSPAuth()
        token = GstRtspServer.RTSPToken()
        token.set_string("media.factory.role", "viewer")
        auth.add_basic(GstRtspServer.RTSPAuth.make_basic(user, password), token)
        server.set_auth(auth)
        for channel in channels.values():
            permissions = GstRtspServer.RTSPPermissions()
            permissions.add_permission_for_role("viewer", "media.factory.access", True)
            permissions.add_permission_for_role("viewer", "media.factory.construct", True)
            channel.set_permissions(permissions)
    server.attach(None)
    loop = GLib.MainLoop()

    def command(_: object, __: object) -> bool:
        words = sys.stdin.readline().split()
        if not words:
            loop.quit()
            return False
        channel = channels[words[0]]
        if words[1] == "stall":
            channel.stalled = True
        elif words[1] == "go":
            channel.stalled = channel.frozen = False
        elif words[1] == "freeze":
            channel.frozen = True
        elif words[1] == "rest":
            channel.rest = round(float(words[2]) * FPS)
        elif words[1] == "play":
            channel.playing, channel.place = int(words[2]), 0
        print("done", flush=True)
        return True

    GLib.io_add_watch(
        GLib.IOChannel.unix_new(0), GLib.PRIORITY_DEFAULT, GLib.IOCondition.IN | GLib.IOCondition.HUP, command
    )
    print("ready", flush=True)
    loop.run()


if __name__ == "__main__":
    main(*sys.argv[1:])
