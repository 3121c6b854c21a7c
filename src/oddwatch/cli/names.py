"""`oddwatch backbones`, `oddwatch scorers`: what there is to choose from."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from oddwatch.backbones import BACKBONES, backbone_class
from oddwatch.cli.output import print_descriptions, print_json
from oddwatch.errors import MissingExtraError
from oddwatch.scorers import SCORERS, scorer_class

Json = Annotated[bool, typer.Option("--json", help="Print one JSON object instead of text.")]


def backbones(as_json: Json = False) -> None:
    """List the backbones: what turns video into embeddings."""
    records = [backbone_class(name).record for name in BACKBONES]
    if as_json:
        keys = ("name", "summary", "vector_size", "grid_size", "weights", "licence", "paper")
        print_json({"backbones": [{key: getattr(r, key) for key in keys} for r in records]})
        return
    entries = []
    for r in records:
        grid = f"a grid of {r.grid_size} values per place" if r.grid_size else "no grid"
        sizes = f"gives a vector of {r.vector_size} values and {grid}; weights: {r.weights or 'none needed'}"
        entries.append((r.name, (r.summary, sizes, r.paper)))
    print_descriptions(entries)


def scorers(as_json: Json = False) -> None:
    """List the scorers: what turns embeddings into anomaly scores."""
    classes = {name: scorer_class(name) for name in SCORERS}
    found: list[dict[str, Any]] = []
    entries = []
    for name, made in classes.items():
        options: dict[str, Any] | None = None
        try:
            options = made().options
            says = f"options: {', '.join(f'{k}={v}' for k, v in options.items()) or 'none'}"
        except MissingExtraError as error:
            says = str(error)
        found.append({"name": name, "summary": made.summary, "paper": made.paper, "options": options})
        entries.append((name, (made.summary, says, made.paper)))
    if as_json:
        print_json({"scorers": found})
    else:
        print_descriptions(entries)
