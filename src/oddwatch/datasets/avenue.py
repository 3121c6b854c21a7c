"""CUHK Avenue: a campus avenue with runners, throwers and loiterers as the unusual things."""

from __future__ import annotations

import zlib
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import scipy
from numpy.typing import NDArray

from oddwatch.datasets.layout import Layout
from oddwatch.types import Dataset, Sample

CITATION = (
    "C. Lu, J. Shi and J. Jia: Abnormal Event Detection at 150 FPS in MATLAB. "
    "IEEE International Conference on Computer Vision (ICCV), 2013"
)
_LAYOUT = Layout(
    "avenue", "training_videos/NN.avi, testing_videos/NN.avi and testing_label_mask/N_label.mat for each test video"
)


def load_avenue(path: Path) -> Dataset:
    """16 usual and 21 test videos, 640 x 360, 25 frames per second, pixel masks for all test frames.

    C. Lu, J. Shi and J. Jia: Abnormal Event Detection at 150 FPS in MATLAB. ICCV 2013.

    The videos are in `path` or in `path/Avenue Dataset`, the masks (`volLabel`, one cell per frame) in
    `testing_label_mask` there or in `path/ground_truth_demo`, the two folders that the two downloads unpack to. The
    label files are read at once for the frame labels, which takes seconds on the full set. Raises DatasetError.
    """
    root = path if (path / "testing_videos").is_dir() else path / "Avenue Dataset"
    root = root if root.is_dir() else path
    train = _LAYOUT.videos(_LAYOUT.folder(root / "training_videos"))
    test = _LAYOUT.videos(_LAYOUT.folder(root / "testing_videos"))
    masks = _LAYOUT.folder(
        path / "testing_label_mask", path / "ground_truth_demo" / "testing_label_mask", root / "testing_label_mask"
    )
    samples = [Sample(f"train/{v.stem}", str(v), "train", truth=()) for v in train]
    for video in test:
        if not video.stem.isdecimal():
            raise _LAYOUT.error(f"the name of {video} is not a number, so its label file is not known")
        label_file = _LAYOUT.file(masks / f"{int(video.stem)}_label.mat")
        samples.append(
            Sample(
                f"test/{video.stem}",
                str(video),
                "test",
                frame_labels=np.array([cell.any() for cell in _cells(label_file)], dtype=bool),
                masks=partial(_masks, label_file),
            )
        )
    return Dataset("avenue", tuple(samples), CITATION)


def _cells(path: Path) -> list[NDArray[Any]]:
    """One array (H, W) per frame, not 0 where unusual."""
    try:
        cells = scipy.io.loadmat(path, variable_names=["volLabel"])["volLabel"]
    except KeyError:
        raise _LAYOUT.error(f"{path} holds no volLabel") from None
    except (OSError, ValueError, TypeError, NotImplementedError, scipy.io.matlab.MatReadError, zlib.error) as error:
        raise _LAYOUT.error(f"{path} is not a readable MATLAB file: {error}") from error
    if cells.dtype != object:
        raise _LAYOUT.error(f"volLabel in {path} is not a cell array")
    return [np.asarray(cell) for cell in cells.ravel()]


def _masks(path: Path) -> NDArray[np.bool_]:
    return np.stack([cell != 0 for cell in _cells(path)])
