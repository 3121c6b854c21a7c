"""Video in and out: files, addresses and folders of numbered frames as frames and clips; cameras; mp4 writing.

Knows nothing of backbones or scores. Frames are RGB and upright, their times come from the stream.
"""

from __future__ import annotations

from oddwatch.video.camera import (
    CameraClip,
    CameraFrame,
    CameraItem,
    CameraOptions,
    CameraState,
    Clocks,
    Gaps,
    Unobserved,
)
from oddwatch.video.listing import Listing, classes_by_folder, first_folder_below, list_videos, same_video
from oddwatch.video.names import display_name, is_url
from oddwatch.video.opening import open_video
from oddwatch.video.prefetch import prefetch
from oddwatch.video.process import CameraCounts, CameraProcess
from oddwatch.video.sampling import frames_at, sample_clip, sample_video
from oddwatch.video.source import VideoSource
from oddwatch.video.windows import windows
from oddwatch.video.writer import VideoWriter

__all__ = [
    "CameraClip",
    "CameraCounts",
    "CameraFrame",
    "CameraItem",
    "CameraOptions",
    "CameraProcess",
    "CameraState",
    "Clocks",
    "Gaps",
    "Listing",
    "Unobserved",
    "VideoSource",
    "VideoWriter",
    "classes_by_folder",
    "display_name",
    "first_folder_below",
    "frames_at",
    "is_url",
    "list_videos",
    "open_video",
    "prefetch",
    "same_video",
    "sample_clip",
    "sample_video",
    "windows",
]
