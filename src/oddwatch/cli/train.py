"""`oddwatch train`: a configuration and a manifest -> a run folder."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import typer

from oddwatch.cli.commands import INTERRUPTED
from oddwatch.cli.output import counted, print_json, print_table, progress_bar, say
from oddwatch.errors import UsageError
from oddwatch.finetune import Autoencoder, Data, FineTune, Optimiser, Recipe, Tracker, Trainer, train
from oddwatch.finetune.folder import COLUMNS

_SHOWN = 10
Changes = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="KEY=VALUE", help="Any other key of the file, such as data.batch_size=4."),
]


def train_command(
    config: Annotated[Path, typer.Argument(metavar="CONFIG", help="A YAML file, such as one of configs/.")],
    manifest: Annotated[
        Path | None, typer.Option("--manifest", metavar="CSV", help="Made by oddwatch dataset prepare.")
    ] = None,
    out: Annotated[
        str | None,
        typer.Option(
            "--out", "-o", metavar="RUN", help="For checkpoints, metrics, logs: a folder, or s3://BUCKET/RUN."
        ),
    ] = None,
    cache: Annotated[
        Path | None, typer.Option("--cache", metavar="FOLDER", help="Where embeddings are kept between runs.")
    ] = None,
    weights: Annotated[
        str | None,
        typer.Option(
            "--weights", metavar="FILE", help="The backbone's weights; random: an untrained one, and every row says so."
        ),
    ] = None,
    epochs: Annotated[int | None, typer.Option("--epochs", metavar="N", min=1, help="How many in all.")] = None,
    seed: Annotated[
        int | None, typer.Option("--seed", metavar="N", min=0, help="Fixes everything that is random.")
    ] = None,
    tracker: Annotated[
        str | None,
        typer.Option(
            "--tracker",
            metavar="NAME",
            help="Where metrics go besides metrics.csv: tensorboard, wandb (offline unless --set tracker.online=true), "
            "mlflow or none.",
        ),
    ] = None,
    changes: Changes = None,
    resume: Annotated[
        bool, typer.Option("--resume", help="Go on with the run in the folder after its last finished epoch.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object instead of a table.")] = False,
) -> None:
    """Train an autoencoder, or a backbone with it, on a manifest."""
    from oddwatch.config.train import read_config

    given = changed(changes)
    options = {"backbone.weights": weights, "epochs": epochs, "seed": seed, "tracker.name": tracker}
    paths = {"manifest": manifest, "out": out, "cache": cache}
    given |= {key: value for key, value in options.items() if value is not None}
    given |= {key: str(value) for key, value in paths.items() if value is not None}
    read = read_config(config, given)
    with progress_bar() as progress:
        try:
            done = train(
                recipe_of(read.model_dump()),
                Path(read.manifest),
                read.out,
                cache=Path(read.cache),
                resume=resume,
                config=read.to_yaml(),
                progress=progress,
            )
        except (KeyboardInterrupt, SystemExit) as ended:
            say(f"oddwatch: interrupted; finished epochs are kept in {read.out}, --resume goes on after them")
            code = ended.code if isinstance(ended, SystemExit) else INTERRUPTED
            raise typer.Exit(code if isinstance(code, int) else 1) from None
    if as_json:
        print_json(
            {
                "run": str(done.folder),
                "backbone": done.backbone,
                "clips": done.clips,
                "views": done.views,
                "epochs": done.epochs,
                "best_epoch": done.best_epoch,
                "best_validation_loss": done.best_loss,
                "tensors": list(done.tensors),
            }
        )
        return
    rows = [[row[column] or "-" for column in COLUMNS] for row in done.metrics]
    step = -(-len(rows) // _SHOWN)
    shown = [row for index, row in enumerate(rows) if index % step == 0 or index == len(rows) - 1]
    titles = [column.replace("_", " ") for column in COLUMNS]
    print_table(f"{len(rows)} epochs", titles, shown, numbers=[title for title in titles if title != "backbone"])
    print(
        f"{done.backbone}: {counted(done.views['train'], 'view')} of {counted(done.clips['train'], 'clip')} to learn "
        f"from, {done.views['validation']} of {done.clips['validation']} to validate; lowest validation loss "
        f"{done.best_loss:.4g} in epoch {done.best_epoch}."
    )
    board = f"; tensorboard --logdir {done.folder}" if read.tracker.name == "tensorboard" else ""
    print(f"Run: {done.folder} (best.ckpt and last.ckpt in checkpoints/{board})")


def changed(changes: Sequence[str] | None) -> dict[str, Any]:
    """KEY=VALUE of --set. Raises UsageError."""
    from oddwatch.config.train import parse_value

    given: dict[str, Any] = {}
    for change in changes or ():
        key, equals, value = change.partition("=")
        if not (equals and key):
            raise UsageError(f"--set {change!r}: write KEY=VALUE, such as data.batch_size=4")
        given[key] = parse_value(value)
    return given


def recipe_of(config: dict[str, Any]) -> Recipe:
    """The recipe that a configuration stands for. Raises UsageError for a value out of range."""
    backbone = config["backbone"]
    weights = {} if backbone["weights"] is None else {"weights": backbone["weights"]}
    data, autoencoder = dict(config["data"]), dict(config["autoencoder"])
    data["scale_px"] = None if data["scale_px"] is None else tuple(data["scale_px"])
    autoencoder["hidden"] = tuple(autoencoder["hidden"])
    try:
        return Recipe(
            backbone=backbone["name"],
            options={**weights, **backbone["options"]},
            epochs=config["epochs"],
            seed=config["seed"],
            autoencoder=Autoencoder(**autoencoder),
            data=Data(**data),
            optimiser=Optimiser(**config["optimiser"]),
            fine_tune=FineTune(**config["fine_tune"]),
            trainer=Trainer(**config["trainer"]),
            tracker=Tracker(**config["tracker"]),
        )
    except ValueError as error:
        raise UsageError(str(error)) from error
