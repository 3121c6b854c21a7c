"""`pixels`: no backbone at all. The gray pixels of a clip, for scorers that learn from pixels themselves."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import cv2
import numpy as np

from oddwatch.backbones.base import BackboneRecord
from oddwatch.backbones.clips import ClipBackbone, ClipInput, Pixels
from oddwatch.types import Image


class PixelsBackbone(ClipBackbone):
    """Gray values 0..1 of frames of 227 x 227 px, one after the other, row by row. Options: see `ClipBackbone`.

    A vector of 10 frames is 2 MB: minutes of usual video, not hours. At 10 frames/s windows of 0.9 s hold 10 frames in
    a row, of 1.8 and 2.7 s every second and third: the strides of Chong and Tay (2017).
    """

    record = BackboneRecord(
        name="pixels",
        summary="no network: the gray pixels of a clip, for the scorer convlstm; 2 MB per clip",
        vector_size=10 * 227 * 227,
        grid_size=None,
        vector_columns=("pixels",),
        paper="Chong and Tay, Abnormal Event Detection in Videos using Spatiotemporal Autoencoder, ISNN 2017",
    )
    input = ClipInput(10, 227, (0.0, 0.0, 0.0), (1.0, 1.0, 1.0))

    def __init__(self, *, window_seconds: float | None = 0.9, stride_seconds: float = 0.5, **options: Any) -> None:
        super().__init__(window_seconds=window_seconds, stride_seconds=stride_seconds, **options)
        self.record = replace(type(self).record, vector_size=self.input.frames * self.input.size_px**2)

    def prepare(self, image: Image) -> Pixels:
        """(H, W, 3) uint8 -> (size, size) float32, 0..1."""
        gray = cv2.cvtColor(image, cv2.COLOR_RGB2GRAY).astype(np.float32) / np.float32(255)
        size = self.input.size_px
        return np.asarray(cv2.resize(gray, (size, size), interpolation=cv2.INTER_LINEAR), dtype=np.float32)

    def embed(self, clips: Pixels) -> tuple[Pixels, Pixels | None]:
        """(N, T * size * size) of clips (N, T, size, size), prepared; no grid."""
        return clips.reshape(len(clips), -1), None
