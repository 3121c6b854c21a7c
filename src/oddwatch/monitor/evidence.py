"""Pictures of an event: a thumbnail with the box, and the heat of its peak."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeVar

import cv2
import numpy as np

from oddwatch.detector.moments import SimilarMoment as Found
from oddwatch.errors import OddwatchError
from oddwatch.files import write_bytes
from oddwatch.monitor.records import USUAL, EvidenceKind, Polygon, SimilarMoment, Sinks
from oddwatch.monitor.scoring import Peak
from oddwatch.types import Box, Image
from oddwatch.video.recording import paint

_log = logging.getLogger(__name__)
Some = TypeVar("Some")
_QUALITY = 88
_BOX_COLOR = (94, 219, 255)


def write_pictures(
    sinks: Sinks, camera: str, uid: str, peak: Peak, *, box: Box | None, threshold: float
) -> tuple[dict[EvidenceKind, str], str]:
    """Write what there is to see. Returns the paths, and a problem in words, empty when there is none."""
    pictures: dict[EvidenceKind, Image] = {"thumbnail": _boxed(sinks, peak.image, box)}
    if peak.anomaly_map is not None:
        heat = asked(sinks.heat, peak.image, peak.anomaly_map, threshold, otherwise=None)
        pictures |= {"heatmap": heat} if heat is not None else {}
    files: dict[EvidenceKind, str] = {}
    problem = ""
    for kind, image in pictures.items():
        try:
            path = sinks.evidence_path(camera, uid, kind)
            write_jpeg(path, image)
            files[kind] = os.fspath(path)
        except OSError as error:
            problem = f"the {kind} cannot be written: {error.strerror or error}"
    return files, problem


def write_usual(
    sinks: Sinks, camera: str, uid: str, found: Sequence[Found], *, masks: Sequence[Polygon]
) -> tuple[tuple[SimilarMoment, ...], dict[EvidenceKind, str], str]:
    """Write the pictures of usual moments that have one, with masks painted into them: what was learned from may have
    been seen without. Returns the moments, the paths, and a problem in words, empty when there is none.
    """
    moments: list[SimilarMoment] = []
    files: dict[EvidenceKind, str] = {}
    problem = ""
    for kind, one in zip(USUAL, found, strict=False):
        moment = SimilarMoment(one.source, one.seconds, one.wall_seconds, one.distance)
        if one.picture is not None:
            try:
                path = sinks.evidence_path(camera, uid, kind)
                write_bytes(path, _masked(one.picture, masks))
                files[kind] = os.fspath(path)
                moment = replace(moment, thumbnail=kind)
            except OSError as error:
                problem = f"the {kind} cannot be written: {error.strerror or error}"
        moments.append(moment)
    return tuple(moments), files, problem


def _masked(jpeg: bytes, masks: Sequence[Polygon]) -> bytes:
    if not masks:
        return jpeg
    decoded = cv2.imdecode(np.frombuffer(jpeg, np.uint8), cv2.IMREAD_COLOR_RGB)
    assert decoded is not None  # the detector wrote it
    image = decoded.astype(np.uint8)
    paint(image, masks)
    return encoded(image)


def asked(sink: Callable[..., Some] | None, *arguments: Any, otherwise: Some) -> Some:
    """What a sink says, or `otherwise` where there is none or it fails, which is logged."""
    if sink is None:
        return otherwise
    try:
        return sink(*arguments)
    except Exception:  # a sink may be anything
        _log.warning("an event is told without a part of it", exc_info=True)
        return otherwise


def write_jpeg(path: Path, image: Image) -> None:
    """image: (H, W, 3) uint8 RGB. Appears complete or not at all. Raises OSError."""
    write_bytes(path, encoded(image))


def encoded(image: Image) -> bytes:
    """(H, W, 3) uint8 RGB as a JPEG."""
    done, data = cv2.imencode(".jpg", cv2.cvtColor(image, cv2.COLOR_RGB2BGR), [cv2.IMWRITE_JPEG_QUALITY, _QUALITY])
    if not done:
        raise OddwatchError(f"a picture of {image.shape} cannot be encoded")
    return data.tobytes()


def _boxed(sinks: Sinks, image: Image, box: Box | None) -> Image:
    if box is None:
        return image
    image = image.copy()
    if sinks.box is not None:
        sinks.box(image, box)
        return image
    height, width = image.shape[:2]
    left, top, right, bottom = np.rint(np.array(box) * (width, height, width, height)).astype(int).tolist()
    cv2.rectangle(image, (left, top), (max(right - 1, left), max(bottom - 1, top)), _BOX_COLOR, 2)
    return image
