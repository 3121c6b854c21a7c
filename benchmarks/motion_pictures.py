"""The pictures of docs/motion.md: what the motion backbone and the attributes scorer make of one rendered moment.

    python benchmarks/motion_pictures.py docs/images/motion.png [--learn-seconds 120]

A rendered walkway, a cyclist: the frame; its flow; the speed of its windows, from this frame alone and carried along
the motion; the anomaly map with the reason of its highest place.
"""

from __future__ import annotations

import argparse
import tempfile
import textwrap
from pathlib import Path
from typing import Any

import cv2
import matplotlib as mpl
import numpy as np

mpl.use("Agg")
from matplotlib import pyplot as plt

from oddwatch.backbones.motion import CHANNELS, MotionBackbone
from oddwatch.backbones.motion.flow import Flow
from oddwatch.backbones.motion.windows import measure
from oddwatch.demo import render
from oddwatch.detector import Detector
from oddwatch.scenes import PlannedEvent, Scene
from oddwatch.types import Embeddings

SEED = 5
SHOWN_SECONDS = 12.0
APART_SECONDS = 0.1


def main() -> None:
    """Draw and write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("picture", type=Path)
    parser.add_argument("--learn-seconds", type=float, default=120.0)
    arguments = parser.parse_args()
    scene = Scene(place_seed=SEED, seed=2, seconds=20, events=[PlannedEvent("cyclist", 10.0)])
    with tempfile.TemporaryDirectory() as folder:
        usual = Path(folder) / "usual.mp4"
        render(usual, Scene(place_seed=SEED, seed=1, seconds=arguments.learn_seconds))
        detector = Detector().learn(usual)
    frames = [frame for frame in scene if frame.time_seconds <= SHOWN_SECONDS]
    stream = MotionBackbone().stream()
    parts = [part for frame in frames if (part := stream.push([frame])) is not None]
    embeddings = Embeddings.concatenate(parts)
    track = detector.score_embeddings(embeddings, "scene")
    assert track.maps is not None
    assert track.reasons is not None
    assert embeddings.grid is not None
    shown = int(track.scores.argmax())
    now = next(f for f in frames if f.time_seconds >= track.end_seconds[shown] - 1e-6)
    before = next(f for f in frames if f.time_seconds >= track.start_seconds[shown] - 1e-6)
    grays = [cv2.cvtColor(frame.image, cv2.COLOR_RGB2GRAY) for frame in (now, before)]
    velocity = Flow("fine")(np.asarray(grays[0], np.uint8), np.asarray(grays[1], np.uint8)).velocity
    alone = measure(velocity, np.asarray(grays[0], np.uint8), window_px=28, moving_px=0.2).means[0]
    carried = embeddings.grid[shown, ..., CHANNELS.index("speed")]
    reason = track.reasons[shown]
    figure, axes = plt.subplots(1, 5, figsize=(15, 2.9), layout="constrained")
    _show(axes[0], now.image, "the frame")
    _show(axes[1], _coloured(velocity), "flow: colour is direction, brightness is speed")
    _show(axes[2], alone, "speed of windows, this frame alone", cmap="magma")
    _show(axes[3], carried, "the mean carried along the motion", cmap="magma")
    _show(axes[4], now.image, reason.says if reason else "")
    height, width = now.image.shape[:2]
    axes[4].imshow(
        track.maps[shown], cmap="inferno", alpha=0.55, extent=(0, width, height, 0), interpolation="bilinear"
    )
    arguments.picture.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(arguments.picture, dpi=90)
    print(f"{arguments.picture}: {reason}")


def _show(axis: Any, image: Any, title: str, **how: Any) -> None:
    axis.imshow(image, **how)
    axis.set_title(textwrap.fill(title, 45), fontsize=9)
    axis.axis("off")


def _coloured(velocity: Any) -> Any:
    """(H, W, 3) RGB: the usual colours of flow."""
    size, angle = cv2.cartToPolar(velocity[..., 0], velocity[..., 1])
    hsv = np.zeros((*size.shape, 3), np.uint8)
    hsv[..., 0], hsv[..., 1] = angle * 90 / np.pi, 255
    hsv[..., 2] = np.clip(255 * size / max(float(size.max()), 1e-6), 0, 255)
    return cv2.cvtColor(hsv, cv2.COLOR_HSV2RGB)


if __name__ == "__main__":
    main()
