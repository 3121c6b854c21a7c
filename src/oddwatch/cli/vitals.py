"""How a site that is watched is doing: for `/healthz`, `/readyz` and Prometheus."""

from __future__ import annotations

import shutil
import time
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from oddwatch.cli.watching import Watch
from oddwatch.errors import StoreError

if TYPE_CHECKING:
    from collections.abc import Callable

    from prometheus_client.core import GaugeMetricFamily, Metric

    from oddwatch.monitor import CameraStatistics

    _Columns = dict[str, tuple[str, Callable[[CameraStatistics], float | None]]]

_UPKEEP_SECONDS = 120.0
"""As long as a write to a database that is away is tried again, and some more."""


class Vitals:
    """watch: the site that is looked at, from other threads."""

    def __init__(self, watch: Watch) -> None:
        from prometheus_client import CollectorRegistry

        self._watch = watch
        self._registry = CollectorRegistry(auto_describe=False)
        self._registry.register(self)

    def health(self) -> tuple[bool, dict[str, Any]]:
        """Whether the process does its work, however the cameras are: if not, it should be started anew."""
        watch = self._watch
        wrong = []
        if not watch.outbox.running:
            wrong.append("alerts are not delivered")
        if time.monotonic() - watch.upkept_at > _UPKEEP_SECONDS:
            wrong.append("the upkeep hangs")
        return not wrong, {"healthy": not wrong, "wrong": wrong}

    def ready(self) -> tuple[bool, dict[str, Any]]:
        """Whether every camera that should be is seen, learning or armed, and the store answers."""
        phases = {one.camera: one.phase for one in self._watch.cameras.statistics()}
        cameras = {**phases, **dict.fromkeys(self._watch.cameras.off, "off")}
        store = "ok"
        try:
            self._watch.store.alerts.counts()
        except StoreError as error:
            store = str(error)
        ready = store == "ok" and all(phase in ("armed", "learning") for phase in phases.values())
        return ready, {"ready": ready, "cameras": cameras, "store": store}

    def metrics(self) -> bytes:
        """In Prometheus's text format."""
        from prometheus_client import generate_latest

        return generate_latest(self._registry)

    def collect(self) -> Iterator[Metric]:
        """What Prometheus's client asks for."""
        yield from self._of_cameras()
        yield from self._of_store()

    def _of_cameras(self) -> Iterator[Metric]:
        from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily

        found = self._watch.cameras.statistics()
        counters: _Columns = {
            "frames": ("Pictures that were scored or learned from", lambda one: one.counts.frames),
            "dropped_frames": ("Pictures lost because scoring was slow", lambda one: one.counts.dropped),
            "damaged": ("Pieces of the stream that cannot be decoded", lambda one: one.counts.damaged),
            "connections": ("Connections that brought a picture", lambda one: one.counts.connections),
            "decoder_restarts": ("Times that the decoder's process died", lambda one: one.counts.restarts),
            "failures": ("Times that watching failed and began anew", lambda one: one.failures),
            "events": ("Unusual events", lambda one: one.events),
            "observed_seconds": ("Time in which it was observed", lambda one: one.observed_seconds),
            "watched_seconds": ("Time in which it was to be observed", lambda one: one.watched_seconds),
        }
        for name, (says, value) in counters.items():
            counter = CounterMetricFamily(f"oddwatch_camera_{name}", says, labels=["camera"])
            for one in found:
                counter.add_metric([one.camera], value(one) or 0.0)
            yield counter
        gauges: _Columns = {
            "queue": ("Pictures that waited when they were last read", lambda one: one.queue),
            "lag_seconds": ("From a picture to its score", lambda one: one.lag_seconds),
            "threshold": ("The score from which on something is unusual", lambda one: one.threshold),
            "last_frame_timestamp_seconds": ("When the last picture was taken", lambda one: one.last_frame_wall),
            "sees": ("Whether it is armed or learning and not blind", lambda one: one.phase in ("armed", "learning")),
        }
        for name, (says, value) in gauges.items():
            gauge = GaugeMetricFamily(f"oddwatch_camera_{name}", says, labels=["camera"])
            for one in found:
                if (now := value(one)) is not None:
                    gauge.add_metric([one.camera], float(now))
            yield gauge
        yield _quantiles("score", "Scores of the last minutes", [(one.camera, one.score_quantiles) for one in found])
        took = [(one.camera, one.seconds_per_frame) for one in found]
        yield _quantiles("seconds_per_frame", "Time that scoring a picture takes", took)

    def _of_store(self) -> Iterator[Metric]:
        from prometheus_client.core import GaugeMetricFamily

        store, undelivered = self._watch.store, self._watch.cameras.undelivered
        yield GaugeMetricFamily("oddwatch_records_waiting", "Records that wait for the store", value=undelivered)
        free = shutil.disk_usage(store.folder).free
        yield GaugeMetricFamily("oddwatch_disk_free_bytes", "Free where evidence is kept", value=free)
        up = GaugeMetricFamily("oddwatch_store_up", "Whether the store answers")
        try:
            counts, kept = store.alerts.counts(), store.upkeep.bytes_kept()
        except StoreError:
            up.add_metric([], 0)
            yield up
            return
        up.add_metric([], 1)
        yield up
        yield GaugeMetricFamily("oddwatch_evidence_bytes", "Evidence that is kept", value=kept)
        alerts = GaugeMetricFamily("oddwatch_alerts", "Alerts in the store", labels=["sink", "state"])
        for sink, states in counts.items():
            for state, count in states.items():
                alerts.add_metric([sink, state], count)
        yield alerts


def _quantiles(name: str, says: str, values: list[tuple[str, tuple[float, float, float] | None]]) -> GaugeMetricFamily:
    from prometheus_client.core import GaugeMetricFamily

    gauge = GaugeMetricFamily(f"oddwatch_camera_{name}", says, labels=["camera", "quantile"])
    for camera, found in values:
        for quantile, value in zip(("0.5", "0.99", "1"), found or (), strict=False):
            gauge.add_metric([camera, quantile], value)
    return gauge
