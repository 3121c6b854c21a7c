"""`oddwatch events`: what cameras saw, with its evidence, and what people say of it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import datetime, tzinfo
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from oddwatch.cli.opening import AsJson, Cameras, Since, SiteFile, Until, local, now, open_site, open_store, parse_time
from oddwatch.cli.output import clock, counted, print_json, print_table, say_failures
from oddwatch.errors import OddwatchError, StoreError, UsageError
from oddwatch.files import write_bytes, write_text
from oddwatch.types import Failure

if TYPE_CHECKING:
    from oddwatch.store import Store
    from oddwatch.store.records import StoredEvent

_LABELS = ("usual", "unusual", "none")
LabelFilter = Annotated[
    str | None, typer.Option("--label", metavar="LABEL", help="Only labelled usual, unusual, or with none.")
]
Most = Annotated[int, typer.Option("--most", metavar="N", min=1, help="The newest so many.")]
EventId = Annotated[int, typer.Argument(metavar="EVENT", help="Its number, as oddwatch events list shows it.")]


def list_events(
    file: SiteFile,
    cameras: Cameras = None,
    since: Since = None,
    until: Until = None,
    label: LabelFilter = None,
    most: Most = 50,
    as_json: AsJson = False,
) -> None:
    """List events, the newest first."""
    site = open_site(file)
    with open_store(site) as store:
        found = _find(store, site.zone, cameras, since, until, label, most)
    if as_json:
        print_json({"events": _as_json(found)})
    elif not found:
        print("No events.")
    else:
        columns = ("event", "camera", "start", "seconds", "score", "place", "label", "why")
        rows = [_row(event, site.zone) for event in found]
        print_table(counted(len(found), "event"), columns, rows, numbers=("event", "seconds", "score"))


def show_event(file: SiteFile, event: EventId, as_json: AsJson = False) -> None:
    """Show one event: when, where, why, and the files that show it."""
    site = open_site(file)
    with open_store(site) as store:
        found = store.events.get(event)
        paths = {one.kind: str(store.evidence.path(one.path)) for one in found.evidence}
    if as_json:
        print_json({**_as_json([found])[0], "files": paths})
        return
    lines = {
        "camera": found.camera,
        "from": local(found.start, site.zone),
        "to": f"{local(found.end, site.zone)} ({clock(found.seconds)}, {found.state})",
        "peak": f"{found.score:.3g} at {local(found.peak, site.zone)}",
        "p-value": "-" if found.p_value is None else f"{found.p_value:.2g}",
        "place": found.place,
        **_why(found.why),
        "detector": found.detector or "-",
        "label": f"{found.label or '-'}{f': {found.note}' if found.note else ''}",
        **{kind: path for kind, path in paths.items() if kind not in {one["thumbnail"] for one in found.similar}},
    }
    print(f"Event {found.id}")
    for name, value in lines.items():
        print(f"  {name:<10} {value}")
    for one in found.similar:
        when = clock(one["seconds"]) if one["at"] is None else local(datetime.fromisoformat(one["at"]), site.zone)
        picture = paths.get(one["thumbnail"], "without a picture")
        print(f"  {'alike':<10} {when} in {one['source']}, which was usual: {picture}")


def _why(why: Mapping[str, Any]) -> dict[str, str]:
    """In words, then whatever else is known."""
    rest = {key: value for key, value in why.items() if key not in ("says", "attribute", "level")}
    says = str(why.get("says", "-"))
    if "attribute" in why:
        says += f" ({why['attribute']}, {why['level']:.1f}x its alarm level)"
    told = {key: value if isinstance(value, str) else json.dumps(value) for key, value in rest.items()}
    return {"unusual": says, **told}


def label_event(
    file: SiteFile,
    event: EventId,
    label: Annotated[str, typer.Argument(metavar="LABEL", help="usual (a false alarm), unusual, or none.")],
    note: Annotated[str, typer.Option("--note", metavar="TEXT", help="What it was.")] = "",
    as_json: AsJson = False,
) -> None:
    """Say what an event was. Evidence of labelled events is kept longest."""
    if label not in _LABELS:
        raise UsageError(f"a label is {', '.join(_LABELS)}, got {label!r}")
    given: Any = None if label == "none" else label
    site = open_site(file)
    with open_store(site) as store:
        found = store.events.label(event, given, at=now(), note=note)
    if as_json:
        print_json(_as_json([found])[0])
    else:
        print(f"Event {found.id} is labelled {label}.")


def export_events(
    file: SiteFile,
    out: Annotated[Path, typer.Option("--out", "-o", metavar="FOLDER", help="Where to write them.")],
    cameras: Cameras = None,
    since: Since = None,
    until: Until = None,
    label: LabelFilter = None,
    most: Most = 1000,
    as_json: AsJson = False,
) -> None:
    """Write events to FOLDER/events.json, with copies of their evidence beside it."""
    site = open_site(file)
    failures = []
    copied = 0
    with open_store(site) as store:
        found = _find(store, site.zone, cameras, since, until, label, most)
        for event in found:
            for one in event.evidence:
                try:
                    write_bytes(out / one.path, store.evidence.read(one))
                    copied += 1
                except StoreError as error:
                    failures.append(Failure(f"event {event.id}, {one.kind}", str(error)))
                except OSError as error:
                    raise OddwatchError(f"{out} cannot be written: {error.strerror} (choose another)") from error
    write_text(out / "events.json", json.dumps({"site": site.name, "events": _as_json(found)}, indent=1) + "\n")
    say_failures(failures)
    if as_json:
        print_json({"out": str(out), "events": len(found), "files": copied, "failures": len(failures)})
    else:
        print(f"{counted(len(found), 'event')} with {counted(copied, 'file')} of evidence: {out}")
    if failures:
        raise typer.Exit(1)


def _find(
    store: Store,
    zone: tzinfo | None,
    cameras: list[str] | None,
    since: str | None,
    until: str | None,
    label: str | None,
    most: int,
) -> list[StoredEvent]:
    if label is not None and label not in _LABELS:
        raise UsageError(f"--label is {', '.join(_LABELS)}, got {label!r}")
    known = store.events.cameras()
    for camera in cameras or ():
        if camera not in known:
            raise UsageError(f"the store knows no camera {camera!r}: it has {', '.join(known) or 'none'}")
    return store.events.find(
        cameras=cameras or (),
        since=parse_time(since, zone, "--since"),
        until=parse_time(until, zone, "--until"),
        label=label,
        most=most,
    )


def _as_json(events: list[StoredEvent]) -> list[dict[str, Any]]:
    from oddwatch.outbox.messages import event_data

    return [event_data(event) for event in events]


def _row(event: StoredEvent, zone: tzinfo | None) -> list[str]:
    seconds = f"{event.seconds:.1f}" + ("+" if event.state == "open" else "")
    score = f"{event.score:.3g}"
    start = local(event.start, zone)
    why = str(event.why.get("says", "-"))
    return [str(event.id), event.camera, start, seconds, score, event.place, event.label or "-", why]
