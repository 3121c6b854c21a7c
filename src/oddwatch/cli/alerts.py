"""`oddwatch alerts` and `oddwatch notify`: what is on its way to people, and whether it would arrive."""

from __future__ import annotations

import uuid
from typing import Annotated

import typer

from oddwatch.cli.opening import AsJson, SiteFile, build_sinks, local, now, open_site, open_store
from oddwatch.cli.output import counted, print_json, print_table
from oddwatch.errors import UsageError

SinkName = Annotated[str | None, typer.Option("--sink", metavar="NAME", help="Of this sink alone.")]


def list_alerts(
    file: SiteFile,
    state: Annotated[
        str | None, typer.Option("--state", metavar="STATE", help="Only waiting, sent, dead or digested.")
    ] = None,
    sink: SinkName = None,
    most: Annotated[int, typer.Option("--most", metavar="N", min=1, help="The newest so many.")] = 50,
    as_json: AsJson = False,
) -> None:
    """List alerts, the newest first: sent, waiting, or dead, and why."""
    from oddwatch.store.records import ALERT_STATES

    if state is not None and state not in ALERT_STATES:
        raise UsageError(f"--state is {', '.join(ALERT_STATES)}, got {state!r}")
    site = open_site(file)
    with open_store(site) as store:
        found = store.alerts.find(states=[state] if state else (), sink=sink, most=most)
    if as_json:
        rows = []
        for alert in found:
            times = {name: getattr(alert, name) for name in ("made_at", "next_try_at", "sent_at")}
            rows.append(
                {
                    "id": alert.id,
                    "key": alert.key,
                    "kind": alert.kind,
                    "sink": alert.sink,
                    "state": alert.state,
                    "held": alert.held,
                    "event": alert.event_id,
                    "attempts": alert.attempts,
                    "last_error": alert.last_error,
                    **{name: None if time is None else time.isoformat() for name, time in times.items()},
                }
            )
        print_json({"alerts": rows})
    elif not found:
        print("No alerts.")
    else:
        columns = ("alert", "kind", "event", "sink", "state", "tries", "made", "sent", "last error")
        table = [
            [
                str(alert.id),
                alert.kind,
                str(alert.event_id or "-"),
                alert.sink,
                f"{alert.state} ({alert.held})" if alert.held else alert.state,
                str(alert.attempts),
                local(alert.made_at, site.zone),
                local(alert.sent_at, site.zone),
                alert.last_error or "-",
            ]
            for alert in found
        ]
        print_table(counted(len(found), "alert"), columns, table, numbers=("alert", "event", "tries"))


def retry_alerts(
    file: SiteFile,
    alerts: Annotated[
        list[int] | None, typer.Argument(metavar="[ALERT...]", help="Their numbers; every dead one without.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Have dead alerts tried again by the oddwatch watch that runs."""
    site = open_site(file)
    with open_store(site) as store:
        dead = {alert.id for alert in store.alerts.find(states=["dead"])}
        if wrong := [number for number in alerts or () if number not in dead]:
            raise UsageError(f"alert {wrong[0]} is not dead: oddwatch alerts list --state dead shows those that are")
        count = store.alerts.retry(alerts or None, at=now())
    if as_json:
        print_json({"retried": count})
    else:
        print(f"{counted(count, 'alert')} will be tried again.")


def try_sinks(file: SiteFile, sink: SinkName = None, as_json: AsJson = False) -> None:
    """Send a test message to every sink of a site, at once and once, whatever the hour."""
    from oddwatch.config.site import read_site
    from oddwatch.notify.base import Message

    site = read_site(file)
    names = [one.name for one in site.alerts.sinks]
    if sink is not None and sink not in names:
        raise UsageError(f"{file} has no sink {sink!r}: it has {', '.join(names) or 'none'}")
    if not names:
        raise UsageError(f"{file} has no sinks: alerts.sinks says where alerts go")
    results = []
    for one in build_sinks(site):
        if sink in (None, one.name):
            title = f"{site.name}: a test of oddwatch"
            text = "This is how an alert arrives."
            message = Message(f"{uuid.uuid4().hex}.{one.name}", "test", site.name, "", title, text, now())
            one.start()
            try:
                results.append((one.name, one.deliver(message, now=now())))
            finally:
                one.close()
    if as_json:
        print_json({"sinks": [{"sink": name, "outcome": o.how, "reason": o.reason} for name, o in results]})
    else:
        rows = [[name, outcome.how, outcome.reason or "-"] for name, outcome in results]
        print_table("Test", ("sink", "outcome", "reason"), rows)
    if any(outcome.how != "delivered" for _, outcome in results):
        raise typer.Exit(1)
