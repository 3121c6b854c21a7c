"""UCSD Ped2: a walkway with carts, cyclists and skaters as the unusual things."""

from __future__ import annotations

import json
import zipfile
from functools import partial
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from oddwatch.datasets.layout import Layout
from oddwatch.types import Dataset, Sample
from oddwatch.video.names import is_numbered_image, visible_entries

CITATION = (
    "V. Mahadevan, W. Li, V. Bhalodia and N. Vasconcelos: Anomaly Detection in Crowded Scenes. "
    "IEEE Conference on Computer Vision and Pattern Recognition (CVPR), 2010"
)
_FPS = 10.0
_WIDTH_PX = 360
_LAYOUT = Layout(
    "ped2",
    "training/frames/NN/*.jpg, testing/frames/NN/*.jpg, frame_labels.json and pixel_masks_packbits.npz; or as UCSD "
    "distributes it: UCSDped2/Train/TrainNNN/*.tif, Test/TestNNN/*.tif and Test/TestNNN_gt/*.bmp",
)
_Masks = NDArray[np.bool_]


def load_ped2(path: Path) -> Dataset:
    """16 usual and 12 test sequences, 360 x 240, gray, about 10 frames per second, pixel masks for all test frames.

    V. Mahadevan, W. Li, V. Bhalodia and N. Vasconcelos: Anomaly Detection in Crowded Scenes. CVPR 2010.

    Two layouts are read. UCSD's own: `Train/TrainNNN/*.tif`, `Test/TestNNN/*.tif`, `Test/TestNNN_gt/*.bmp` in
    `UCSDped2/` or in `path` itself; a frame is unusual when its mask has a pixel. Repacked: frames in
    `training/frames/NN/` and `testing/frames/NN/`, `frame_labels.json` (sequence -> 0 or 1 per frame) and, if there,
    `pixel_masks_packbits.npz` (sequence -> (N, 240, 45) uint8, `np.packbits` along the width). Raises DatasetError.
    """
    if any((path / name).is_dir() for name in ("training", "testing")):
        samples = _repacked(path)
    else:
        root = path / "UCSDped2" if (path / "UCSDped2").is_dir() else path
        samples = _as_distributed(root)
    return Dataset("ped2", tuple(samples), CITATION)


def _train(sequence: Path) -> Sample:
    return Sample(f"train/{sequence.name}", str(sequence), "train", fps=_FPS, truth=())


def _repacked(root: Path) -> list[Sample]:
    train = _LAYOUT.sequences(_LAYOUT.folder(root / "training" / "frames"))
    test = _LAYOUT.sequences(_LAYOUT.folder(root / "testing" / "frames"))
    labels = _read_labels(_LAYOUT.file(root / "frame_labels.json"))
    packed = root / "pixel_masks_packbits.npz"
    with_masks = _mask_names(packed) if packed.exists() else frozenset()
    samples = [_train(s) for s in train]
    for sequence in test:
        known = labels.get(sequence.name)
        if known is None:
            raise _LAYOUT.error(f"frame_labels.json has no sequence {sequence.name}")
        _LAYOUT.check_count(sequence, len(known), "labels in frame_labels.json")
        if packed.exists() and sequence.name not in with_masks:
            raise _LAYOUT.error(f"{packed.name} has no sequence {sequence.name}")
        samples.append(
            Sample(
                f"test/{sequence.name}",
                str(sequence),
                "test",
                fps=_FPS,
                frame_labels=known,
                masks=partial(_packed_masks, packed, sequence.name, len(known)) if packed.exists() else None,
            )
        )
    return samples


def _read_labels(path: Path) -> dict[str, _Masks]:
    try:
        content: Any = json.loads(path.read_text(encoding="utf-8"))
        labels = {str(name): np.array(values) for name, values in content.items()}
    except (ValueError, AttributeError) as error:
        raise _LAYOUT.error(f"{path} is not a JSON object of lists: {error}") from error
    for name, values in labels.items():
        if values.ndim != 1 or not np.isin(values, (0, 1)).all():
            raise _LAYOUT.error(f"{path}: the labels of sequence {name} are not a list of 0 and 1")
    return {name: values.astype(bool) for name, values in labels.items()}


def _mask_names(packed: Path) -> frozenset[str]:
    try:
        with np.load(packed, allow_pickle=False) as archive:
            return frozenset(archive.files)
    except (ValueError, zipfile.BadZipFile) as error:
        raise _LAYOUT.error(f"{packed} is not an npz file: {error}") from error


def _packed_masks(packed: Path, sequence: str, frames: int) -> _Masks:
    with np.load(packed, allow_pickle=False) as archive:
        bits = archive[sequence]
    if len(bits) != frames:
        raise _LAYOUT.error(f"sequence {sequence} has {frames} frames but {len(bits)} masks in {packed.name}")
    return np.unpackbits(bits, axis=-1, count=_WIDTH_PX).view(np.bool_)


def _as_distributed(root: Path) -> list[Sample]:
    train = _LAYOUT.sequences(_LAYOUT.folder(root / "Train"))
    test = [s for s in _LAYOUT.sequences(_LAYOUT.folder(root / "Test")) if not s.name.endswith("_gt")]
    samples = [_train(s) for s in train]
    for sequence in test:
        truth = _LAYOUT.folder(sequence.with_name(f"{sequence.name}_gt"))
        labels = np.array([mask.any() for mask in map(_read_mask, _mask_files(truth))], dtype=bool)
        _LAYOUT.check_count(sequence, len(labels), f"masks in {truth.name}")
        samples.append(
            Sample(
                f"test/{sequence.name}",
                str(sequence),
                "test",
                fps=_FPS,
                frame_labels=labels,
                masks=partial(_image_masks, truth),
            )
        )
    return samples


def _mask_files(folder: Path) -> list[Path]:
    return [p for p in visible_entries(folder) if is_numbered_image(p)]


def _image_masks(folder: Path) -> _Masks:
    return np.stack([_read_mask(p) for p in _mask_files(folder)])


def _read_mask(path: Path) -> _Masks:
    data = np.fromfile(path, dtype=np.uint8)
    image = cv2.imdecode(data, cv2.IMREAD_GRAYSCALE) if len(data) else None
    if image is None:
        raise _LAYOUT.error(f"{path} is not an image")
    return np.asarray(image) > 0
