"""Makes small video files, sound and odd, through PyAV alone, so that the code under test has no hand in them.

Every frame carries its number in large black and white squares, which survive lossy codecs: `read_number` gets it back.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from fractions import Fraction
from pathlib import Path
from typing import cast

import av
import cv2
import numpy as np
from av.container import OutputContainer

from oddwatch.types import Image

_BITS = 12
_SAMPLES_PER_SECOND = 16000


def numbered_image(number: int, width_px: int = 64, height_px: int = 48) -> Image:
    """(H, W, 3) uint8: `number` (below 4096) in 4 x 3 squares, the lowest bit at the top left."""
    bits = np.array([number >> bit & 1 for bit in range(_BITS)], dtype=np.uint8).reshape(3, 4) * 255
    image = cv2.resize(bits, (width_px, height_px), interpolation=cv2.INTER_NEAREST)
    return np.repeat(image[:, :, None], 3, axis=2)


def numbered_images(count: int, width_px: int = 64, height_px: int = 48) -> list[Image]:
    """Frames 0 to `count` - 1."""
    return [numbered_image(number, width_px, height_px) for number in range(count)]


def read_number(image: Image) -> int:
    """The number in a frame made by `numbered_image`, whatever its size is now."""
    height, width = image.shape[:2]
    rows = (np.arange(3) * 2 + 1) * height // 6
    columns = (np.arange(4) * 2 + 1) * width // 8
    bits = image[np.ix_(rows, columns)].mean(axis=2).ravel() > 127
    return int((bits << np.arange(_BITS)).sum())


def write_video(
    path: Path,
    images: Iterable[Image],
    *,
    fps: int = 25,
    codec: str = "libx264",
    pix_fmt: str = "yuv420p",
    options: dict[str, str] | None = None,
    container_options: dict[str, str] | None = None,
    milliseconds: Sequence[int] | None = None,
    rotation: float = 0,
    mirrored: bool = False,
    sound_seconds: float = 0,
) -> Path:
    """Encode images.

    milliseconds: when each is shown, instead of fps. rotation: degrees to turn them counter-clockwise, then mirrored.
    sound_seconds: of silence beside the pictures.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    with av.open(str(path), "w", options=container_options or {}) as container:
        stream: av.VideoStream | None = None
        sound: av.AudioStream | None = None
        for number, image in enumerate(images):
            if stream is None:
                stream = cast(av.VideoStream, container.add_stream(codec, rate=fps, options=options or {}))
                stream.height, stream.width = image.shape[:2]
                stream.pix_fmt = pix_fmt
                if milliseconds is not None:
                    stream.codec_context.time_base = Fraction(1, 1000)
                if rotation or mirrored:
                    stream.set_display_rotation(rotation, hflip=mirrored)
                if sound_seconds:
                    sound = container.add_stream("aac", rate=_SAMPLES_PER_SECOND, layout="mono")
            frame = av.VideoFrame.from_ndarray(image, format="rgb24").reformat(format=pix_fmt, threads=1)
            if milliseconds is None:
                frame.pts, frame.time_base = number, Fraction(1, fps)
            else:
                frame.pts, frame.time_base = milliseconds[number], Fraction(1, 1000)
            container.mux(stream.encode(frame))
        assert stream is not None
        container.mux(stream.encode())
        if sound is not None:
            _mux_silence(container, sound, sound_seconds)
    return path


def _mux_silence(container: OutputContainer, stream: av.AudioStream, seconds: float) -> None:
    samples = np.zeros((1, round(seconds * _SAMPLES_PER_SECOND)), dtype=np.float32)
    frame = av.AudioFrame.from_ndarray(samples, format="fltp", layout="mono")
    frame.sample_rate, frame.pts = _SAMPLES_PER_SECOND, 0
    container.mux(stream.encode(frame))
    container.mux(stream.encode())


def write_sound(path: Path, *, cover: Image | None = None) -> Path:
    """One second of silence, optionally with a cover picture."""
    with av.open(str(path), "w") as container:
        codec = "libmp3lame" if path.suffix == ".mp3" else "aac"
        stream = cast(av.AudioStream, container.add_stream(codec, rate=_SAMPLES_PER_SECOND, layout="mono"))
        picture: av.VideoStream | None = None
        if cover is not None:
            picture = container.add_stream("mjpeg", rate=1)
            picture.height, picture.width = cover.shape[:2]
            picture.pix_fmt = "yuvj420p"
        _mux_silence(container, stream, 1)
        if picture is not None and cover is not None:
            container.mux(picture.encode(av.VideoFrame.from_ndarray(cover, format="rgb24")))
            container.mux(picture.encode())
    return path


def write_frames(folder: Path, images: Iterable[Image], *, extension: str = ".png", first: int = 0) -> Path:
    """A folder of frames without leading zeros in the numbers: natural order is needed to read them right."""
    folder.mkdir(parents=True, exist_ok=True)
    for number, image in enumerate(images, start=first):
        assert cv2.imwrite(str(folder / f"frame{number}{extension}"), cv2.cvtColor(image, cv2.COLOR_RGB2BGR))
    return folder


def cut_off(path: Path, *, keep: float) -> Path:
    """Keep only this share of the bytes."""
    data = path.read_bytes()
    path.write_bytes(data[: int(len(data) * keep)])
    return path


def damage(path: Path, numbers: Sequence[int], *, seed: int = 0) -> Path:
    """Overwrite the contents of these packets (in the order of the file) with noise."""
    with av.open(str(path)) as container:
        places = [(p.pos, p.size) for p in container.demux(video=0) if p.size]
    data = bytearray(path.read_bytes())
    noise = np.random.default_rng(seed)
    for number in numbers:
        position, size = places[number]
        assert position is not None
        data[position : position + size] = noise.integers(0, 256, size, dtype=np.uint8).tobytes()
    path.write_bytes(bytes(data))
    return path
