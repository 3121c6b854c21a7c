"""`oddwatch status`, `oddwatch coverage`, `oddwatch store check`: how a site is, seen from its store."""

from __future__ import annotations

import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta, tzinfo
from typing import Annotated

import typer

from oddwatch.addresses import display_name
from oddwatch.cli.opening import AsJson, Cameras, Since, SiteFile, local, now, open_site, open_store, parse_time
from oddwatch.cli.output import counted, print_json, print_table
from oddwatch.errors import UsageError

_DAY = timedelta(days=1)


@dataclass(frozen=True)
class _Camera:
    """How one is. coverage: share of the last 24 hours."""

    name: str
    url: str
    last_observed: datetime | None
    coverage: float
    events: int
    blind: list[str]
    detector: str | None


def status(file: SiteFile, as_json: AsJson = False) -> None:
    """Show how cameras, alerts and storage are."""
    site = open_site(file)
    moment = now()
    with open_store(site) as store:
        events = store.events.count(since=moment - _DAY)
        alerts = store.alerts.counts()
        kept, shown, removed = store.upkeep.bytes_kept(), store.shown, store.upkeep.removed(moment - _DAY)
        free = shutil.disk_usage(store.folder).free if store.folder.is_dir() else None
        cameras = []
        for camera in site.cameras:
            gaps = store.coverage.gaps(camera.name, moment - _DAY, moment)
            unobserved = sum((gap.end - gap.start for gap in gaps), timedelta())
            detectors = store.events.detectors(camera.name)
            cameras.append(
                _Camera(
                    camera.name,
                    display_name(camera.url.get_secret_value()),
                    store.coverage.last(camera.name),
                    1 - unobserved / _DAY,
                    events.get(camera.name, 0),
                    [found.kind for found in store.events.findings(camera=camera.name, lasting=True)],
                    detectors[0].version if detectors else None,
                )
            )
    if as_json:
        storage = {"database": shown, "evidence_bytes": kept, "free_bytes": free, "removed_24h": removed}
        _status_json(site.name, cameras, alerts, storage)
        return
    rows = [
        [
            one.name,
            "never" if one.last_observed is None else local(one.last_observed, site.zone),
            f"{one.coverage:.1%}",
            str(one.events),
            ", ".join(one.blind) or "-",
            one.detector or "-",
        ]
        for one in cameras
    ]
    columns = ("camera", "last observed", "coverage, 24 h", "events, 24 h", "blind", "detector")
    print_table(site.name, columns, rows, numbers=("coverage, 24 h", "events, 24 h"))
    states = ("waiting", "sent", "dead", "digested")
    counts = [[sink, *(str(found.get(state, 0)) for state in states)] for sink, found in sorted(alerts.items())]
    if counts:
        print_table("Alerts", ("sink", *states), counts, numbers=states)
    space = "" if free is None else f", {free / 1e9:.1f} GB free"
    print(f"Evidence: {kept / 1e9:.2f} of {site.storage.keep_gb:g} GB{space}. Database: {shown}")
    for reason, count in removed.items():
        print(f"Removed in 24 h: {counted(count, 'file')}, {reason}.")


def _status_json(
    site: str, cameras: Sequence[_Camera], alerts: Mapping[str, Mapping[str, int]], storage: Mapping[str, object]
) -> None:
    rows = [
        {
            "camera": one.name,
            "url": one.url,
            "last_observed": None if one.last_observed is None else one.last_observed.isoformat(),
            "coverage_24h": round(one.coverage, 4),
            "events_24h": one.events,
            "blind": one.blind,
            "detector": one.detector,
        }
        for one in cameras
    ]
    print_json({"site": site, "cameras": rows, "alerts": alerts, "storage": storage})


def coverage(
    file: SiteFile,
    cameras: Cameras = None,
    since: Since = "7d",
    as_json: AsJson = False,
) -> None:
    """Show when each camera was observed, and when and why it was not."""
    site = open_site(file)
    begin, end = parse_time(since, site.zone, "--since"), now()
    assert begin is not None
    if begin >= end:
        raise UsageError(f"--since is in the future: {since}")
    names = [camera.name for camera in site.cameras]
    if unknown := [name for name in cameras or () if name not in names]:
        raise UsageError(f"{file} has no camera {unknown[0]!r}: it has {', '.join(names)}")
    days = []
    gaps = []
    with open_store(site) as store:
        for camera in cameras or names:
            for start, stop in _days(begin, end, site.zone):
                found = store.coverage.gaps(camera, start, stop)
                missing = sum((gap.end - gap.start).total_seconds() for gap in found)
                share = 1 - missing / (stop - start).total_seconds()
                days.append((camera, start, round(share, 4), round(missing, 1)))
                gaps += [(camera, gap) for gap in found]
    if as_json:
        print_json(
            {
                "days": [
                    {
                        "camera": camera,
                        "day": start.astimezone(site.zone).date().isoformat(),
                        "observed": share,
                        "unobserved_seconds": missing,
                    }
                    for camera, start, share, missing in days
                ],
                "gaps": [
                    {
                        "camera": camera,
                        "start": gap.start.isoformat(),
                        "end": gap.end.isoformat(),
                        "reason": gap.reason,
                    }
                    for camera, gap in gaps
                ],
            }
        )
        return
    rows = [[camera, f"{start.astimezone(site.zone):%Y-%m-%d}", f"{share:.1%}"] for camera, start, share, _ in days]
    print_table("Observed", ("camera", "day", "observed"), rows, numbers=("observed",))
    table = [[camera, local(g.start, site.zone), local(g.end, site.zone), g.reason] for camera, g in gaps]
    if table:
        print_table("Unobserved", ("camera", "from", "to", "reason"), table)


def _days(begin: datetime, end: datetime, zone: tzinfo | None) -> list[tuple[datetime, datetime]]:
    """Days of the site, the first and the last cut."""
    found = []
    start = begin.astimezone(zone)
    while start < end:
        date = start.date() + _DAY
        midnight = datetime(date.year, date.month, date.day, tzinfo=zone)
        if zone is None:
            midnight = midnight.astimezone()
        stop = min(midnight, end)
        found.append((start, stop))
        start = stop.astimezone(zone)
    return found


def check_store(
    file: SiteFile,
    repair: Annotated[
        bool,
        typer.Option("--repair", help="Mend it: rows say that their file is gone, files of no event are removed."),
    ] = False,
    whole: Annotated[bool, typer.Option("--whole", help="Read every file and compare its checksum.")] = False,
    as_json: AsJson = False,
) -> None:
    """Check that evidence files and the rows of the database agree."""
    site = open_site(file)
    with open_store(site) as store:
        report = store.upkeep.check(at=now(), repair=repair, whole=whole)
    wrong = {"missing": report.missing, "damaged": report.damaged, "orphans": report.orphans}
    if as_json:
        lists = {name: list(paths) for name, paths in wrong.items()}
        print_json({"rows": report.rows, **lists, "busy": list(report.busy), "repaired": repair})
    else:
        says = {"missing": "row without file", "damaged": "not what was written", "orphans": "file without row"}
        rows = [[path, says[name]] for name, paths in wrong.items() for path in paths]
        if rows:
            print_table("Repaired" if repair else "Wrong", ("file", "what"), rows)
        count = sum(map(len, wrong.values()))
        print(f"{report.rows} evidence files: {count} wrong{', repaired' if repair and count else ''}.")
        for camera in report.busy:
            print(f"{camera} is being watched: its files without a row were not looked for.")
    if not report.sound and not repair:
        raise typer.Exit(1)
