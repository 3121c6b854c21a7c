"""`oddwatch backbones`, `oddwatch scorers`: what there is to choose from."""

from __future__ import annotations

from dataclasses import asdict
from typing import Annotated, Any

import typer

from oddwatch.backbones import BACKBONES, BackboneRecord, backbone_class, build_backbone
from oddwatch.backbones.pretrained import PretrainedBackbone
from oddwatch.backbones.weights import PUBLISHED, RANDOM, WeightsRecord
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
    records = [backbone_class(name).record for name in BACKBONES]
    if as_json:
        print_json({"backbones": [_backbone_json(r) for r in records]})
        return
    entries = []
    for r in records:
        grid = f"a grid of {r.grid_size} values per place" if r.grid_size else "no grid"
        sizes = f"gives a vector of {r.vector_size} values and {grid}; weights: {_weights(r.weights)}"
        entries.append((r.name, (r.summary, sizes, r.paper)))
    print_descriptions(entries)


def show_backbone(
    name: BackboneName,
    last: Annotated[
        int, typer.Option("--last", metavar="N", min=0, help="Mark the last N as trainable, as fine-tuning would.")
    ] = 0,
    as_json: Json = False,
) -> None:
    """List the parameters of a backbone without its classifier: index, name, shape, trainable; and totals."""
    found = _pretrained(name, weights=RANDOM).backbone_parameters()
    rows = [
        (index, parameter_name, list(p.shape), index >= len(found) - last)
        for index, (parameter_name, p) in enumerate(found)
    ]
    total = sum(p.numel() for _, p in found)
    learns = sum(p.numel() for (_, p), row in zip(found, rows, strict=True) if row[3])
    if as_json:
        keys = ("index", "name", "shape", "trainable")
        tensors = [dict(zip(keys, row, strict=True)) for row in rows]
        print_json({"name": name, "tensors": tensors, "parameters": total, "trainable_parameters": learns})
        return
    cells = [(str(i), n, " x ".join(map(str, shape)), "yes" if t else "no") for i, n, shape, t in rows]
    print_table(name, ("index", "name", "shape", "trainable"), cells, numbers=("index",))
    print(f"{counted(len(rows), 'tensor')}, {total:,} parameters, {learns:,} of them trainable.")


def pull_backbone(name: BackboneName) -> None:
    """Fetch the weights of a backbone ahead of time, into the standard cache."""
    made = _pretrained(name, weights=PUBLISHED)
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


def _weights(weights: WeightsRecord | None) -> str:
    if weights is None:
        return "none needed"
    accuracy = "" if weights.top1 is None else f", {weights.top1:g}% of Kinetics-400"
    return f"{weights}{accuracy}, {weights.licence}{' (NOT commercial)' if weights.non_commercial else ''}"


def _backbone_json(record: BackboneRecord) -> dict[str, Any]:
    keys = ("name", "summary", "vector_size", "grid_size", "paper")
    weights = None if record.weights is None else asdict(record.weights)
    return {**{key: getattr(record, key) for key in keys}, "weights": weights}


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
