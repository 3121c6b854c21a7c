"""A finished training run -> a detector folder, for `score`."""

from __future__ import annotations

from pathlib import Path

from oddwatch.backbones import backbone_class
from oddwatch.backbones.clips import ClipBackbone
from oddwatch.backbones.pretrained import PretrainedBackbone
from oddwatch.backbones.weights import load_state
from oddwatch.detector import Detector
from oddwatch.detector.folder import require_free
from oddwatch.detector.trained import UsualClip, trained_detector
from oddwatch.embed import EmbeddingCache, fingerprint
from oddwatch.errors import RunError, WeightsError
from oddwatch.files import write_bytes
from oddwatch.finetune.clips import clips_of, views_of
from oddwatch.finetune.embeddings import embed_views
from oddwatch.finetune.folder import RunFolder
from oddwatch.finetune.recipe import Data
from oddwatch.scorers.autoencoder import AutoencoderScorer

WEIGHTS = "backbone.safetensors"


def export_run(run: Path, out: Path, *, cache: Path, budget: str = "5%") -> Detector:
    """Save the best checkpoint of a run as a detector, calibrated on the run's validation clips; these also chose the
    checkpoint, so thresholds are a little low. cache: as for `train`. A backbone that has learned is written to
    `backbone.safetensors` in the run folder, which the detector names.

    Raises RunError for a run that is not finished or whose backbone has other weights by now, DetectorError for `out`.
    """
    require_free(out)
    folder = RunFolder(run)
    record = folder.record()
    if record.get("state") != "finished":
        raise RunError(f"{run} is not finished: go on with oddwatch train --resume")
    asked = record["asked"]
    options = asked["options"]
    try:
        state = load_state(folder.best)
    except WeightsError as error:
        raise RunError(f"{folder.best} cannot be read: train again") from error
    o, a = asked["optimiser"], asked["autoencoder"]
    scorer_options = {
        **a,
        "epochs": asked["epochs"],
        "batch_size": asked["data"]["batch_size"],
        "learning_rate": o["learning_rate"],
        "step_size": o["step_size"],
        "gamma": o["gamma"],
        "seed": asked["seed"],
    }

    def make(options: dict[str, object]) -> Detector:
        return Detector(
            backbone=asked["backbone"],
            backbone_options=options,
            scorer="autoencoder",
            scorer_options=scorer_options,
            on="vector",
            budget=budget,
            seed=asked["seed"],
        )

    if issubclass(backbone_class(asked["backbone"]), ClipBackbone):
        options = {**options, "window_seconds": None}  # a clip is a whole video, as in training
    detector = make(options)
    if detector.backbone.weights_sha256() != asked["weights_sha256"]:
        raise RunError(f"{run}: the weights of {asked['backbone']} are not those it was trained with: give those back")
    learned = {key.removeprefix("backbone."): value for key, value in state.items() if key.startswith("backbone.")}
    if learned:
        from safetensors.torch import save

        assert isinstance(detector.backbone, PretrainedBackbone)
        whole = {**detector.backbone.network.state_dict(), **learned}
        write_bytes(run / WEIGHTS, save({name: value.contiguous() for name, value in whole.items()}))
        weights = str((run / WEIGHTS).resolve())
        detector = make({**options, "weights": weights})
    arrays = {key.removeprefix("autoencoder."): v.numpy() for key, v in state.items() if key.startswith("autoencoder.")}
    columns = record["embedding_size"]
    scorer = AutoencoderScorer(**scorer_options).restore(arrays, {"columns": columns})
    clips = clips_of(run / "manifest.csv")
    usual = {}
    for split in ("train", "validation"):
        views = views_of(clips, split, 0, Data(), asked["seed"])
        rows = embed_views(views, detector.backbone, EmbeddingCache(cache), workers=asked["data"]["workers"])
        usual[split] = [
            UsualClip(v.clip.path, v.clip.action, row, v.clip.seconds, fingerprint(v.clip.path), v.fps)
            for v, row in zip(views, rows, strict=True)
        ]
    trained_detector(detector, scorer, learned=usual["train"], held_out=usual["validation"]).save(out)
    return detector
