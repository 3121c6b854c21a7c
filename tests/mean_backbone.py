"""A clip backbone that is quick, and slow on request: the mean picture of a clip. For tests with real processes."""

from __future__ import annotations

import os
import time
from typing import Any

from oddwatch.backbones.base import BackboneRecord
from oddwatch.backbones.clips import ClipBackbone, ClipInput


class MeanPicture(ClipBackbone):
    """Clips of 3 frames of 4 x 4 px. MEAN_PICTURE_SECONDS in the environment: how long a batch takes."""

    record = BackboneRecord("mean-picture", "the mean picture of a clip", vector_size=48, grid_size=3)
    input = ClipInput(3, 4, (0.5, 0.4, 0.3), (0.2, 0.3, 0.4))

    def __init__(self, **options: Any) -> None:
        super().__init__(**{"window_seconds": 1.0, "stride_seconds": 0.5, **options})

    def embed(self, clips: Any) -> tuple[Any, Any]:
        time.sleep(float(os.environ.get("MEAN_PICTURE_SECONDS", "0")))
        mean = clips.mean(axis=1)
        return mean.reshape(len(clips), -1), mean
