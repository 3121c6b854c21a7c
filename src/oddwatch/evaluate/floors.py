"""What scores well without learning anything. A detector that does not beat these has learned nothing worth having."""

from __future__ import annotations

from collections import deque
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from oddwatch.types import FloatArray, Sample
from oddwatch.video import open_video, prefetch

_WINDOW_PX = 25
_MEAN_FRAMES = 5
_HEIGHT_PX = 240
_LEAST_PX = 16  # DIS needs a few patches of 8 px in each direction: smaller pictures are enlarged
FLOORS = ("frame difference, not learned", "largest optical flow, not learned")


def floor_scores(sample: Sample) -> tuple[FloatArray, tuple[FloatArray, FloatArray]]:
    """Seconds (N,) of the frames, and per frame (N,) float64, causal: the largest local frame difference, and the
    largest local flow magnitude.

    Both are means over 25 px squares (of a frame at most 240 px high), averaged place by place over the last 5 frames;
    the highest place counts. Flow: DIS MEDIUM from each frame to the one before. The first frame scores 0.
    """
    dis: Any = cv2.DISOpticalFlow.create(cv2.DISOPTICAL_FLOW_PRESET_MEDIUM)
    recent: deque[NDArray[np.float32]] = deque(maxlen=_MEAN_FRAMES)
    scores = [(0.0, 0.0)]
    seconds, before = [], None
    with open_video(sample.path, fps=sample.fps) as source:
        for frame in prefetch(source):
            gray = cv2.cvtColor(frame.image, cv2.COLOR_RGB2GRAY)
            scale = min(_HEIGHT_PX / gray.shape[0], 1.0)
            size = max(round(gray.shape[1] * scale), _LEAST_PX), max(round(gray.shape[0] * scale), _LEAST_PX)
            if size != gray.shape[::-1]:
                gray = cv2.resize(gray, size, interpolation=cv2.INTER_AREA)
            if before is not None:
                flow = dis.calc(gray, before, None)
                speeds = np.hypot(flow[..., 0], flow[..., 1])
                change = np.dstack([cv2.absdiff(gray, before), speeds]).astype(np.float32)
                recent.append(np.asarray(cv2.blur(change, (_WINDOW_PX, _WINDOW_PX))))
                difference, speed = np.mean(recent, axis=0).max(axis=(0, 1))
                scores.append((float(difference), float(speed)))
            seconds.append(frame.time_seconds)
            before = gray
    both = np.array(scores)
    return np.array(seconds), (both[:, 0], both[:, 1])
