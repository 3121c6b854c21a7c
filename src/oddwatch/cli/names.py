"""`oddwatch backbones`, `oddwatch scorers`: what there is to choose from."""

from __future__ import annotations

import math
from dataclasses import asdict
from typing import Annotated, Any

import typer

from oddwatch.backbones import BACKBONES, Backbone, backbone_class, build_backbone
from oddwatch.backbones.clips import ClipBackbone
from oddwatch.backbones.cost import cost
from oddwatch.backbones.pretrained import PretrainedBackbone
from oddwatch.backbones.weights import PUBLISHED, RANDOM
from oddwatch.cli.output import counted, print_descriptions, print_json, print_table
from oddwatch.errors import MissingExtraError, UsageError
from oddwatch.files import sha256_of
from oddwatch.scorers import SCORERS, scorer_class

BackboneName = Annotated[str, typer.Argument(metavar="NAME", help="One of: oddwatch backbones.")]
Json = Annotated[bool, typer.Option("--json", help="Print one JSON object instead of text.")]


def backbones(context: typer.Context, as_json: Json = False) -> None:
    """The backbones: what turns video into embeddings. Without a command, list them."""
    if context.invoked_subcommand is not None:
        return
    classes = [backbone_class(name) for name in BACKBONES]
    if as_json:
        print_json({"backbones": [_backbone_json(found) for found in classes]})
        return
    columns = ("name", "clip", "vector", "grid", "top-1", "licence of weights", "note")
    print_table("", columns, map(_backbone_row, classes), numbers=("vector", "grid", "top-1"))
    print("clip: frames x px. vector, grid: values per moment, per place. top-1: Kinetics-400 accuracy, as")
    print("published with the weights. All about one: oddwatch backbones show NAME")


def show_backbone(
    name: BackboneName,
    last: Annotated[
        int, typer.Option("--last", metavar="N", min=0, help="Mark the last N as trainable, as fine-tuning would.")
    ] = 0,
    as_json: Json = False,
) -> None:
    """All about a backbone: its record, and its parameters without the classifier: index, name, shape, trainable."""
    found = backbone_class(name)
    takes = cost(found) if issubclass(found, PretrainedBackbone) else None
    parameters = takes.parameters if takes else ()
    rows = [(index, n, shape, index >= len(parameters) - last) for index, (n, shape) in enumerate(parameters)]
    learns = sum(math.prod(shape) for _, _, shape, trainable in rows if trainable)
    total, gflop = (takes.total, takes.gflop) if takes else (0, None)
    if as_json:
        keys = ("index", "name", "shape", "trainable")
        tensors = [dict(zip(keys, row, strict=True)) for row in rows]
        totals = {"tensors": tensors, "parameters": total, "trainable_parameters": learns, "gflop_per_clip": gflop}
        print_json({**_backbone_json(found), **totals})
        return
    facts = [*_facts(found), *([("takes", f"{gflop:.1f} GFLOP per clip")] if gflop else [])]
    print_descriptions([(key, (text,)) for key, text in facts if text])
    if not takes:
        return
    print()
    cells = [(str(i), n, " x ".join(map(str, shape)), "yes" if t else "no") for i, n, shape, t in rows]
    print_table("", ("index", "name", "shape", "trainable"), cells, numbers=("index",))
    print(f"{counted(len(rows), 'tensor')}, {total:,} parameters, {learns:,} of them trainable.")


def pull_backbone(name: BackboneName) -> None:
    """Fetch the weights of a backbone ahead of time, into the standard cache."""
    if not issubclass(backbone_class(name), PretrainedBackbone):
        raise UsageError(f"{name} has no weights")
    made = build_backbone(name, weights=PUBLISHED)
    assert isinstance(made, PretrainedBackbone)
    path = made.weights_file()
    assert path is not None
    print(f"{path}: sha256 {sha256_of(path)}")


def tune_backbone(
    name: BackboneName,
    weights: Annotated[
        str,
        typer.Option(
            "--weights",
            metavar="FILE|random",
            help="Its weights in a file of yours instead of the published ones; random: none at all, which is as fast.",
        ),
    ] = PUBLISHED,
    rounds: Annotated[int, typer.Option("--rounds", metavar="N", min=1, help="Take the median of so many.")] = 5,
    as_json: Json = False,
) -> None:
    """Measure what computes a backbone fastest on this machine, and keep it for --tuned."""
    from oddwatch.backbones.tuning import MAX_ERROR, best, keep, measure

    made = _pretrained(name, weights=weights)
    measured = measure(made, rounds=rounds)
    chosen = best(measured)
    path = keep(made, measured)
    if as_json:
        found = [asdict(m) for m in measured]
        print_json({"name": name, "weights": weights, "measured": found, "best": asdict(chosen), "kept": str(path)})
        return
    cells = []
    for m in measured:
        times = m.clips_per_second / measured[0].clips_per_second
        figures = (f"{m.clips_per_second:.2f}", f"{times:.2f}", f"{100 * m.relative_error:.2g}%")
        cells.append((m.runtime, m.precision, *figures, "best" if m is chosen else ""))
    columns = ("runtime", "precision", "clips/s", "times float32 in torch", "relative error", "")
    print_table(name, columns, cells, numbers=columns[2:5])
    if weights == RANDOM:
        print("Random weights: the speed is that of any others, the relative error only about that of trained ones.")
    print(
        f"Best with a relative error of at most {MAX_ERROR:.0%}: {chosen.runtime} {chosen.precision}. Kept in {path}."
    )
    print(f"Next: oddwatch learn VIDEO... --backbone {name} --tuned --out DETECTOR")


def _pretrained(name: str, *, weights: str) -> PretrainedBackbone:
    if not issubclass(backbone_class(name), PretrainedBackbone):
        raise UsageError(f"{name} has no weights")
    made = build_backbone(name, weights=weights)
    assert isinstance(made, PretrainedBackbone)
    return made


def _clip(found: type[Backbone]) -> str:
    return f"{found.input.frames} x {found.input.size_px}" if issubclass(found, ClipBackbone) else "-"


def _backbone_row(found: type[Backbone]) -> tuple[str, ...]:
    """One line of the table."""
    r, weights = found.record, found.record.weights
    grid = "-" if r.grid_size is None else str(r.grid_size)
    if weights is None:
        return r.name, _clip(found), str(r.vector_size), grid, "-", "-", "needs no weights"
    top1 = "-" if weights.top1 is None else f"{weights.top1:.1f}"
    note = "NOT commercial" if weights.non_commercial else ""
    return r.name, _clip(found), str(r.vector_size), grid, top1, weights.licence.partition(" (")[0], note


def _facts(found: type[Backbone]) -> list[tuple[str, str]]:
    """What the record of a backbone says, in words."""
    r, weights = found.record, found.record.weights
    gives = f"a vector of {r.vector_size} values, " + (
        f"a grid of {r.grid_size} values per place" if r.grid_size else "no grid"
    )
    facts = [("name", r.name), ("what", r.summary), ("clip", ""), ("gives", gives), ("paper", r.paper)]
    if issubclass(found, ClipBackbone):
        i = found.input
        facts[2] = ("clip", f"{i.frames} frames of {i.size_px} x {i.size_px} px, mean {i.mean}, std {i.std}")
    if weights is None:
        options = ", ".join(f"{key}={value}" for key, value in (_options(found) or {}).items())
        return [*facts, ("weights", "needs none"), ("options", options)]
    warning = "; NOT for commercial use" if weights.non_commercial else ""
    begins = f"begins with {weights.sha256}" if weights.sha256 else f"not published: {weights.sha256_unknown}"
    return [
        *facts,
        ("weights", str(weights)),
        ("licence", weights.licence + warning),
        ("sha256", f"{begins}; pinned when first fetched"),
        ("top-1", "" if weights.top1 is None else f"{weights.top1:g}% of Kinetics-400, as published with the weights"),
    ]


def _options(found: type[Backbone]) -> dict[str, Any] | None:
    """Those of ours that need no weights, as they are when none is given."""
    known = found.record.weights is None and found.record.name in BACKBONES
    return build_backbone(found.record.name).options() if known else None


def _backbone_json(found: type[Backbone]) -> dict[str, Any]:
    record = found.record
    keys = ("name", "summary", "vector_size", "grid_size", "channels", "paper")
    weights = None if record.weights is None else asdict(record.weights)
    clip = asdict(found.input) if issubclass(found, ClipBackbone) else None
    return {
        **{key: getattr(record, key) for key in keys},
        "input": clip,
        "weights": weights,
        "options": _options(found),
    }


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
