"""The best checkpoint of a finished run, ready to be used: its backbone and its autoencoder."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from oddwatch.backbones import Backbone, backbone_class, build_backbone
from oddwatch.backbones.clips import ClipBackbone
from oddwatch.backbones.pretrained import PretrainedBackbone
from oddwatch.backbones.weights import load_state
from oddwatch.errors import RunError, WeightsError
from oddwatch.files import is_remote, local_copy, write_bytes
from oddwatch.finetune.folder import RunFolder
from oddwatch.scorers.autoencoder import AutoencoderScorer

WEIGHTS = "backbone.safetensors"


@dataclass(frozen=True)
class Best:
    """record: what `run.json` says. backbone: with the weights that it had learned; it looks at a clip as a whole
    where it can. options: what builds it again. scorer: the autoencoder.
    """

    record: dict[str, Any]
    backbone: Backbone
    options: dict[str, Any]
    scorer: AutoencoderScorer

    @property
    def asked(self) -> dict[str, Any]:
        """The recipe of the run, as JSON types."""
        asked: dict[str, Any] = self.record["asked"]
        return asked


def load_best(run: str | os.PathLike[str], *, weights: Path | None = None) -> Best:
    """Of the run folder `run`, which may be an address. A backbone that has learned is written to the file `weights`,
    usually `backbone.safetensors` in the run folder, because kept embeddings go by the checksum of their weights.
    Raises RunError for a run that is not finished or whose backbone has other weights by now, WeightsError when there
    are none.
    """
    folder = RunFolder(run)
    record = folder.record()
    if record.get("state") != "finished":
        raise RunError(f"{run} is not finished: go on with oddwatch train --resume")
    asked = record["asked"]
    options = dict(asked["options"])
    if issubclass(backbone_class(asked["backbone"]), ClipBackbone):
        options["window_seconds"] = None  # a clip is a whole video, as in training
    backbone = build_backbone(asked["backbone"], **options)
    if backbone.weights_sha256() != asked["weights_sha256"]:
        raise RunError(f"{run}: the weights of {asked['backbone']} are not those it was trained with: give those back")
    try:
        with local_copy(folder.best) as checkpoint:
            state = load_state(checkpoint)
    except (WeightsError, OSError) as error:
        raise RunError(f"{folder.best} cannot be read: train again") from error
    learned = {key.removeprefix("backbone."): value for key, value in state.items() if key.startswith("backbone.")}
    if learned:
        import torch
        from safetensors.torch import save

        assert isinstance(backbone, PretrainedBackbone)
        before = backbone.network.state_dict()
        if not all(torch.equal(value, before[name]) for name, value in learned.items()):  # best before it ever learned
            whole = {name: value.contiguous() for name, value in {**before, **learned}.items()}
            if weights is None and is_remote(folder.folder):
                raise RunError(f"{run} has a backbone that has learned, whose weights are needed here: copy the run")
            weights = weights or folder.folder / WEIGHTS
            write_bytes(weights, save(whole))
            options["weights"] = str(weights.resolve())
            backbone = build_backbone(asked["backbone"], **options)
    arrays = {key.removeprefix("autoencoder."): v.numpy() for key, v in state.items() if key.startswith("autoencoder.")}
    scorer = AutoencoderScorer(**scorer_options(asked)).restore(arrays, {"columns": record["embedding_size"]})
    return Best(record, backbone, options, scorer)


def scorer_options(asked: dict[str, Any]) -> dict[str, Any]:
    """The autoencoder of a recipe (as JSON types) as options of `AutoencoderScorer`."""
    optimiser = asked["optimiser"]
    return {
        **asked["autoencoder"],
        "epochs": asked["epochs"],
        "batch_size": asked["data"]["batch_size"],
        "learning_rate": optimiser["learning_rate"],
        "step_size": optimiser["step_size"],
        "gamma": optimiser["gamma"],
        "seed": asked["seed"],
    }
