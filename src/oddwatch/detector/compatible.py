"""Whether a saved detector gets the embeddings that it learned: the same weights, computed alike or nearly so."""

from __future__ import annotations

import logging
from importlib import metadata
from typing import Any

from oddwatch import __version__
from oddwatch.backbones import Backbone
from oddwatch.backbones.pretrained import PretrainedBackbone
from oddwatch.backbones.tuning import relative_error
from oddwatch.errors import DetectorError, UsageError, WeightsError

log = logging.getLogger(__name__)
MAX_APART = 0.02
"""How far another way of computing may move embeddings from those that a detector learned, |a - b| / |b|."""
_VERSIONED = ("numpy", "scipy", "scikit-learn", "opencv-python-headless", "av", "torch", "openvino")


def check_learned_with(backbone: Backbone, record: dict[str, Any]) -> None:
    """Raises WeightsError, or DetectorError for other code, when embeddings would not be those that the scorer knows.

    record: what `describe` said of the backbone.
    """
    found, then = backbone.weights_sha256(), record.get("weights_sha256")
    if found != then:
        raise WeightsError(
            f"the weights of {backbone.record.name} are not those that this detector learned with (sha256 {found}, "
            f"then {then}): give those back, or learn again"
        )
    if any(record.get(key, value) != value for key, value in code(backbone).items()):
        raise DetectorError(
            f"the code of {backbone.record.name} has changed since this detector learned: bring the old one back, or "
            "learn again"
        )


def code(backbone: Backbone) -> dict[str, Any]:
    """What tells the code of a backbone from another that gives other embeddings, as JSON types."""
    try:
        source = backbone.source_sha256()
    except UsageError:  # in no file: such a class cannot be found again by another process anyway
        source = None
    return {"version": backbone.version, "source_sha256": source}


def with_quantized(options: dict[str, Any], quantized: str | None) -> dict[str, Any]:
    """Options of the backbone that a detector learned with; its file in INT8 may lie elsewhere now."""
    return {**options, "quantized": quantized} if quantized is not None and "quantized" in options else options


def computed_otherwise(learned: Backbone, changes: dict[str, str]) -> Backbone:
    """The backbone that a detector learned with, computed with another runtime, precision or device, or with a file in
    INT8. How far that moves the embedding of a fixed clip is measured and logged as a warning.

    Raises DetectorError when it is more than `MAX_APART`, UsageError for what cannot be, MissingExtraError.
    """
    if not isinstance(learned, PretrainedBackbone):
        raise UsageError(f"{learned.record.name} has no network: leave out {', '.join(changes)}")
    try:
        other = learned.computed(**changes)
    except ValueError as error:
        raise UsageError(str(error)) from error
    if other.compute == learned.compute:
        return learned
    apart = relative_error(other, learned)
    says = f"{other.compute} moves embeddings by {apart:.2%} from {learned.compute}, which this detector learned with"
    if apart > MAX_APART:
        raise DetectorError(f"{says}: more than {MAX_APART:.0%}; score with that, or learn again with this")
    log.warning("%s", says)
    return other


def versions() -> dict[str, str]:
    """Versions of the installed packages that can move a score."""
    found = {"oddwatch": __version__}
    for name in _VERSIONED:
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return found
