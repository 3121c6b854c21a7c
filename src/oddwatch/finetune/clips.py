"""The clips of a run: which of a manifest teach and validate, their augmented views, and their pixels as a backbone
wants to see them.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from oddwatch.augment import VERSION, augment, draw, random_crop
from oddwatch.backbones.clips import ClipBackbone, Pixels
from oddwatch.datasets.manifest import ManifestClip, read_manifest
from oddwatch.datasets.prepare import views
from oddwatch.embed import fingerprint
from oddwatch.errors import DatasetError, VideoError
from oddwatch.finetune.recipe import Data
from oddwatch.types import Clip
from oddwatch.video import sample_clip
from oddwatch.windows import Window


@dataclass(frozen=True)
class View:
    """One way to look at a clip. number 0: as it is; from 1: an augmented draw. identity: all that its pixels depend on
    besides the clip and the backbone, None for number 0.
    """

    clip: ManifestClip
    number: int
    seed: int
    scale_px: tuple[int, int] | None

    @property
    def fps(self) -> float | None:
        """Of a folder of frames; None for what brings its own times."""
        return self.clip.fps if os.path.isdir(self.clip.path) else None

    @property
    def identity(self) -> dict[str, Any] | None:
        if not self.number:
            return None
        scale = None if self.scale_px is None else list(self.scale_px)
        return {"augment": VERSION, "seed": self.seed, "number": self.number, "scale_px": scale}

    def prepare(self, clip: Clip, backbone: ClipBackbone) -> Window[Pixels]:
        """The sampled clip as this view of it, for the backbone. Deterministic."""
        if self.number:
            # The bytes of the video name it, so that a folder can move without changing the draws.
            name, size = fingerprint(self.clip.path) or self.clip.path, backbone.input.size_px
            images = augment(clip.images, draw(seed=self.seed, clip=name, view=self.number))
            if (scale := self.scale_px) is not None:
                images = random_crop(images, scale_px=scale, size_px=size, seed=self.seed, clip=name, view=self.number)
            clip = Clip(images, clip.times_seconds, clip.start_seconds, clip.end_seconds)
        return backbone.whole(clip)

    def pixels(self, backbone: ClipBackbone) -> Window[Pixels]:
        """Decoded and prepared. Raises VideoError."""
        return self.prepare(sample_clip(self.clip.path, frames=backbone.input.frames, fps=self.fps), backbone)


def views_of(clips: Sequence[ManifestClip], split: str, wanted: int, data: Data, seed: int) -> list[View]:
    """The clips of a split, each as it is and in so many augmented views that each class has about `wanted`."""
    chosen = [clip for clip in clips if clip.split == split]
    sizes = Counter(clip.action for clip in chosen)
    return [
        View(clip, number, seed, data.scale_px)
        for clip in chosen
        for number in range(1 + views(sizes[clip.action], wanted))
    ]


def clips_of(manifest: Path, *, splits: Collection[str] | None = None) -> list[ManifestClip]:
    """The clips of a manifest. splits: those whose videos have to be there, all by default. Raises DatasetError: none
    to train or to validate with, or a video that is gone.
    """
    clips = read_manifest(manifest)
    for split, verb, fewest in (("train", "train", 2), ("validation", "validate", 1)):
        if (count := sum(clip.split == split for clip in clips)) < fewest:
            raise DatasetError(f"{manifest} has {count} clips to {verb} with, {fewest} are needed")
    needed = [clip.path for clip in clips if splits is None or clip.split in splits]
    if gone := [path for path in needed if not os.path.exists(path)]:
        others = f" (and {len(gone) - 1} more)" if gone[1:] else ""
        raise DatasetError(f"{manifest}: {gone[0]}{others} is not there: prepare the data set again")
    return clips


def decoded(
    groups: Iterator[Sequence[View]], backbone: ClipBackbone, unread: Callable[[View, VideoError], None]
) -> Iterator[tuple[View, Window[Pixels]]]:
    """Views of clips, every clip decoded once. unread: told of each view of a clip that cannot be read."""
    for group in groups:
        first = group[0]
        try:
            clip = sample_clip(first.clip.path, frames=backbone.input.frames, fps=first.fps)
        except VideoError as error:
            for view in group:
                unread(view, error)
            continue
        for view in group:
            yield view, view.prepare(clip, backbone)
