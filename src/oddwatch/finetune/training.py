"""A recipe and a manifest -> a run folder. Wires data, module and Lightning's trainer together."""

from __future__ import annotations

import contextlib
import copy
import logging
import os
import warnings
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Any

from oddwatch import __version__
from oddwatch.backbones import Backbone, backbone_class, build_backbone
from oddwatch.backbones.clips import ClipBackbone
from oddwatch.backbones.pretrained import PretrainedBackbone
from oddwatch.backbones.weights import RANDOM
from oddwatch.datasets.manifest import write_manifest
from oddwatch.embed import EmbeddingCache
from oddwatch.errors import MissingExtraError, UsageError
from oddwatch.files import write_text
from oddwatch.finetune.clips import clips_of, views_of
from oddwatch.finetune.embeddings import embed_views, is_kept
from oddwatch.finetune.folder import RunFolder
from oddwatch.finetune.recipe import Recipe
from oddwatch.torch_compat import import_torchvision

if TYPE_CHECKING:
    from oddwatch.finetune.trackers import RunTracker

Progress = Callable[[str, float, float | None], None]
_VERSIONED = ("torch", "lightning", "numpy", "opencv-python-headless", "av", "torchvision", "transformers")


@dataclass(frozen=True)
class Trained:
    """What became of a run. epochs: finished, of all that were asked for when it did not stop early. best_epoch: whose
    checkpoint is the best one. backbone: its name, and whether it is untrained.
    """

    folder: Path
    backbone: str
    clips: dict[str, int]
    views: dict[str, int]
    epochs: int
    best_epoch: int
    best_loss: float
    tensors: tuple[str, ...]
    metrics: tuple[dict[str, str], ...]


def train(
    recipe: Recipe,
    manifest: Path,
    out: str | os.PathLike[str],
    *,
    cache: Path,
    resume: bool = False,
    config: str = "",
    progress: Progress | None = None,
) -> Trained:
    """Train, or go on with what `out` has, a folder or an address such as `s3://bucket/run`. cache: folder of kept
    embeddings. config: text of the file that the recipe came from, kept beside the run.

    Raises UsageError for what cannot be, DatasetError for the manifest and its videos, WeightsError, RunError for the
    run folder, TrackerError for a tracker that cannot be reached, MissingExtraError.
    """
    with contextlib.ExitStack() as stack:
        return _train(recipe, manifest, RunFolder(out), cache, resume, config, progress, stack)


def _train(
    recipe: Recipe,
    manifest: Path,
    folder: RunFolder,
    cache: Path,
    resume: bool,
    config: str,
    progress: Progress | None,
    stack: contextlib.ExitStack,
) -> Trained:
    """stack: closes what was opened, however it ends."""
    backbone = _build(recipe)
    clips = clips_of(manifest)
    weights = backbone.weights_sha256()
    learned = _learned(backbone, recipe)
    parameters = {name: value for name, value in asdict(recipe).items() if name != "tracker"}
    asked = {**parameters, "manifest": [[c.path, c.action, c.split] for c in clips], "weights_sha256": weights}
    asked = _json(asked)
    first_process = not int(os.environ.get("LOCAL_RANK", "0"))
    if first_process:
        folder.claim(asked, resume=resume)
    _require_lightning()
    if resume:
        from oddwatch.finetune.loop import require_epochs

        require_epochs(folder, recipe.epochs)
    data, seed, kept = recipe.data, recipe.seed, EmbeddingCache(cache)
    views = {
        "train": views_of(clips, "train", data.clips_per_class, data, seed),
        "validation": views_of(clips, "validation", data.validation_clips_per_class, data, seed),
    }
    if isinstance(backbone, PretrainedBackbone) and not is_kept(views["train"][0], backbone, kept):
        backbone.ready()  # what is wrong with its weights is said before anything is written
    tracker = None
    if first_process:
        tracker = stack.enter_context(_tracked(recipe, folder, parameters, resume=resume))
    if first_process and not resume:
        write_manifest(folder.folder / "manifest.csv", clips)
        if config:
            write_text(folder.folder / "config.yaml", config)
    label = described(recipe)
    record = {
        "asked": asked,
        "backbone": label,
        "untrained": recipe.options.get("weights") == RANDOM,
        "tracker": {"name": recipe.tracker.name, "run": tracker.run if tracker else None},
        "versions": _versions(),
        "started": datetime.now(UTC).isoformat(timespec="seconds"),
        "state": "running",
    }
    if first_process:
        folder.write(record)

    def told(done: int, total: int) -> None:
        if progress:
            progress("embedding clips", float(done), float(total))

    everything = embed_views(
        [*views["train"], *views["validation"]], backbone, kept, workers=data.workers, progress=told
    )
    count = len(views["train"])
    embeddings = {"train": everything[:count], "validation": everything[count:]}

    import torch

    from oddwatch.finetune.data import ViewBatches, loader
    from oddwatch.finetune.loop import fit
    from oddwatch.finetune.module import Learner

    network = features = None
    if isinstance(backbone, PretrainedBackbone) and recipe.fine_tune.ever:
        # A copy: the backbone itself goes on giving the embeddings that its weights stand for.
        network, features = copy.deepcopy(backbone.network), backbone.features
    learner = Learner(recipe, everything.shape[1], network=network, features=features, learned=learned)
    loaders = [
        loader(
            ViewBatches(views[split], embeddings[split], backbone, live=lambda: learner.live, workers=data.workers),
            len(views[split]),
            recipe,
            shuffle=split == "train",
            rank=int(os.environ.get("LOCAL_RANK", "0")),
        )
        for split in ("train", "validation")
    ]
    threads = torch.get_num_threads()
    with torch.random.fork_rng(devices=[]), _quiet():
        if not recipe.fine_tune.ever:
            torch.set_num_threads(1)  # steps this small gain nothing from more, and the bits stay the same
        try:
            best = fit(learner, loaders[0], loaders[1], folder, label, logger=tracker, resume=resume, progress=progress)
        finally:
            torch.set_num_threads(threads)
    rows = folder.metrics()
    counts = {split: sum(clip.split == split for clip in clips) for split in ("train", "validation")}
    looks = {split: len(found) for split, found in views.items()}
    done = Trained(folder.folder, label, counts, looks, len(rows), *best, learned, tuple(rows))
    if first_process:
        finished = datetime.now(UTC).isoformat(timespec="seconds")
        outcome = {"epochs": len(rows), "best_epoch": best[0], "best_validation_loss": best[1]}
        more = {"clips": counts, "views": looks}
        tensors = {"embedding_size": int(everything.shape[1]), "tensors": list(learned)}
        folder.write({**record, **more, **tensors, **outcome, "finished": finished, "state": "finished"})
    return done


@contextlib.contextmanager
def _tracked(
    recipe: Recipe, folder: RunFolder, parameters: dict[str, Any], *, resume: bool
) -> Iterator[RunTracker | None]:
    """On resuming the run that it had there. Raises TrackerError, MissingExtraError."""
    from oddwatch.finetune.trackers import open_tracker

    before = folder.record().get("tracker", {}) if resume else {}
    run = before.get("run") if before.get("name") == recipe.tracker.name else None
    tracker = open_tracker(recipe.tracker, folder, run=run, parameters=parameters)
    status = "failed"
    try:
        yield tracker
        status = "success"
    finally:
        if tracker:
            tracker.close(status)


def described(recipe: Recipe) -> str:
    """The backbone's name, with what must not be forgotten about it."""
    return recipe.backbone + (" (untrained backbone)" if recipe.options.get("weights") == RANDOM else "")


def _build(recipe: Recipe) -> Backbone:
    """The backbone, one embedding of a clip from frames spread over all of it where it can. Raises UsageError."""
    if not issubclass(backbone_class(recipe.backbone), ClipBackbone):
        if recipe.data.clips_per_class or recipe.data.validation_clips_per_class:
            raise UsageError(f"backbone {recipe.backbone} sees whole videos: set data.clips_per_class to 0")
        if recipe.options.get("weights") is not None and backbone_class(recipe.backbone).record.weights is None:
            raise UsageError(f"backbone {recipe.backbone} has no weights: set backbone.weights to null")
        return build_backbone(recipe.backbone, **recipe.options)
    if backbone_class(recipe.backbone).record.vector_columns:
        raise UsageError(f"{recipe.backbone} gives no embeddings: learn from it with oddwatch learn --scorer convlstm")
    made = build_backbone(recipe.backbone, **{**recipe.options, "window_seconds": None})
    assert isinstance(made, ClipBackbone)
    size = made.input.size_px
    low, high = recipe.data.scale_px or (size, size)
    if not size <= low <= high:
        raise UsageError(f"data.scale_px is two lengths from {size} up, got {low} and {high}")
    return made


def _learned(backbone: Backbone, recipe: Recipe) -> tuple[str, ...]:
    """Names of the backbone's parameters that are to learn at some time. Raises UsageError, WeightsError."""
    tensors = recipe.fine_tune.tensors
    if tensors == "never":
        return ()
    if not isinstance(backbone, PretrainedBackbone):
        raise UsageError(f"backbone {recipe.backbone} has nothing that could learn: set fine_tune.tensors to never")
    names = tuple(name for name, _ in backbone.backbone_parameters())
    if tensors == "all":
        return names
    assert isinstance(tensors, int)
    if tensors > len(names):
        raise UsageError(f"fine_tune.tensors: {recipe.backbone} has {len(names)} parameter tensors, got {tensors}")
    return names[-tensors:]


def _require_lightning() -> None:
    import_torchvision()  # before Lightning, whose metrics import it: beside a CPU torch that needs the remedy
    try:
        import lightning.pytorch  # noqa: F401
    except ImportError as error:
        raise MissingExtraError("training", "lightning", "train") from error


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Lightning's advice on workers, logging intervals and devices is for those who wrote the trainer."""
    loggers = [logging.getLogger(f"lightning.{part}") for part in ("pytorch", "fabric")]
    levels = [logger.level for logger in loggers]
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", module=r"lightning\..*")
        for logger in loggers:
            logger.setLevel(logging.WARNING)
        try:
            yield
        finally:
            for logger, level in zip(loggers, levels, strict=True):
                logger.setLevel(level)


def _versions() -> dict[str, str]:
    found = {"oddwatch": __version__}
    for name in _VERSIONED:
        with contextlib.suppress(metadata.PackageNotFoundError):
            found[name] = metadata.version(name)
    return found


def _json(value: Any) -> Any:
    """As JSON gives it back: lists for tuples."""
    if isinstance(value, Mapping):
        return {key: _json(inner) for key, inner in value.items()}
    return [_json(inner) for inner in value] if isinstance(value, list | tuple) else value
