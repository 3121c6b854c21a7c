"""Makes the videos and frames of small data sets, and tells what a loader found in them."""

from __future__ import annotations

from pathlib import Path

import av
import cv2
import numpy as np

from oddwatch.types import Dataset, Sample
from oddwatch.video import open_video

WIDTH, HEIGHT = 64, 48


def write_frames(folder: Path, count: int, *, extension: str = "jpg", first: int = 0) -> None:
    folder.mkdir(parents=True)
    for i in range(count):
        assert cv2.imwrite(str(folder / f"{first + i:03d}.{extension}"), np.full((HEIGHT, WIDTH), 9 * i, np.uint8))


def write_video(path: Path, count: int = 3) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with av.open(str(path), "w") as container:
        stream = container.add_stream("mpeg4", rate=25)
        stream.width, stream.height, stream.pix_fmt = WIDTH, HEIGHT, "yuv420p"
        for i in range(count):
            image = np.full((HEIGHT, WIDTH, 3), 9 * i, np.uint8)
            container.mux(stream.encode(av.VideoFrame.from_ndarray(image, format="rgb24")))
        container.mux(stream.encode(None))


def by_name(dataset: Dataset) -> dict[str, Sample]:
    found = {s.name: s for s in dataset.samples}
    assert len(found) == len(dataset.samples)
    return found


def labels_of(sample: Sample) -> list[int] | None:
    return None if sample.frame_labels is None else sample.frame_labels.astype(int).tolist()


def frames_in(sample: Sample) -> int:
    with open_video(sample.path, fps=sample.fps) as video:
        return sum(1 for _ in video)
