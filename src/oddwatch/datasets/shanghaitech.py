"""ShanghaiTech Campus: 13 cameras on a campus, with bicycles, carts, chases and brawls as the unusual things."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from oddwatch.datasets.layout import Layout
from oddwatch.types import Dataset, Sample

CITATION = (
    "W. Luo, W. Liu and S. Gao: A Revisit of Sparse Coding Based Anomaly Detection in Stacked RNN Framework. "
    "IEEE International Conference on Computer Vision (ICCV), 2017; "
    "W. Liu, W. Luo, D. Lian and S. Gao: Future Frame Prediction for Anomaly Detection - A New Baseline. "
    "IEEE Conference on Computer Vision and Pattern Recognition (CVPR), 2018"
)
_FPS = 24.0
_LAYOUT = Layout(
    "shanghaitech",
    "training/videos/NN_NNN.avi, testing/frames/NN_NNNN/*.jpg, testing/test_frame_mask/NN_NNNN.npy and, if wanted, "
    "testing/test_pixel_mask/NN_NNNN.npy",
)


def load_shanghaitech(path: Path) -> Dataset:
    """330 usual videos and 107 test sequences of 13 cameras, 856 x 480, 24 frames per second.

    W. Luo, W. Liu and S. Gao: A Revisit of Sparse Coding Based Anomaly Detection in Stacked RNN Framework. ICCV 2017.
    W. Liu, W. Luo, D. Lian and S. Gao: Future Frame Prediction for Anomaly Detection - A New Baseline. CVPR 2018.

    The first number of a name is the camera. Frame labels are 0 or 1 per frame; the pixel masks may be left away.
    Raises DatasetError.
    """
    train = _LAYOUT.videos(_LAYOUT.folder(path / "training" / "videos"))
    test = _LAYOUT.sequences(_LAYOUT.folder(path / "testing" / "frames"))
    frame_masks = _LAYOUT.folder(path / "testing" / "test_frame_mask")
    pixel_masks = path / "testing" / "test_pixel_mask"
    samples = [Sample(f"train/{v.stem}", str(v), "train", truth=()) for v in train]
    for sequence in test:
        labels = _read(_LAYOUT.file(frame_masks / f"{sequence.name}.npy"))
        if labels.ndim != 1:
            raise _LAYOUT.error(f"{frame_masks / sequence.name}.npy is not one label per frame but {labels.shape}")
        _LAYOUT.check_count(sequence, len(labels), "labels in test_frame_mask")
        pixels = _LAYOUT.file(pixel_masks / f"{sequence.name}.npy") if pixel_masks.is_dir() else None
        samples.append(
            Sample(
                f"test/{sequence.name}",
                str(sequence),
                "test",
                fps=_FPS,
                frame_labels=labels != 0,
                masks=partial(_masks, pixels, len(labels)) if pixels else None,
            )
        )
    return Dataset("shanghaitech", tuple(samples), CITATION)


def _read(path: Path) -> NDArray[Any]:
    try:
        array: NDArray[Any] = np.load(path, mmap_mode="r", allow_pickle=False)
    except (ValueError, EOFError) as error:
        raise _LAYOUT.error(f"{path} is not a readable npy file: {error}") from error
    return array


def _masks(path: Path, frames: int) -> NDArray[np.bool_]:
    masks = _read(path)
    if masks.ndim != 3 or len(masks) != frames:
        raise _LAYOUT.error(f"{path} holds {masks.shape}, not a mask for each of {frames} frames")
    return np.asarray(masks != 0)
