"""The contract of streams, then what is particular to `motion`.

All clip backbones share one stream; two stand for them. What each family computes is in test_clip_backbones.py.
"""

from __future__ import annotations

import gc
import json
import threading
import time
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray
from small_backbones import any_small

from oddwatch.backbones import BACKBONES, Backbone, backbone_class, build_backbone
from oddwatch.backbones.motion import CHANNELS, MotionBackbone
from oddwatch.backbones.motion.background import SETTLE_SECONDS
from oddwatch.backbones.motion.crowd import crowd
from oddwatch.errors import UsageError
from oddwatch.types import Embeddings, FloatArray, Frame, Image

NAMES = sorted(BACKBONES)
WIDTH, HEIGHT, FPS = 160, 120, 10.0
ROUNDING: Any = {"rtol": 1e-5, "atol": 1e-6}
"""Rarely the same frames give another last bit."""
Positions = Callable[[float], tuple[float, float]]


def texture(height: int, width: int, *, seed: int) -> NDArray[np.uint8]:
    """Gray clouds of about 3 px, with contrast that optical flow can hold on to."""
    noise = np.random.default_rng(seed).normal(size=(height, width)).astype(np.float32)
    clouds = cv2.GaussianBlur(noise, (0, 0), 1.5)
    return np.asarray(np.clip(128 + 45 * clouds / clouds.std(), 0, 255), np.uint8)


def picture(
    seconds: float,
    position: Positions | None,
    *,
    scale: float = 1.0,
    side: float = 48,
    offset: tuple[int, int] = (0, 0),
) -> Image:
    """A textured square, its upper left corner at `position` (x, y) in px of a 160 x 120 frame, before a textured wall.

    scale: of the rendered frame. offset: (x, y) px by which the camera is displaced.
    """
    wall = texture(HEIGHT + 40, WIDTH + 40, seed=1)[20 + offset[1] :, 20 + offset[0] :][:HEIGHT, :WIDTH]
    gray = cv2.resize(wall, None, fx=scale, fy=scale, interpolation=cv2.INTER_CUBIC)
    if position is not None:
        x, y = position(seconds)
        square = texture(int(side), int(side), seed=2)
        x, y = x - offset[0], y - offset[1]
        matrix = np.array([[scale, 0, scale * x], [0, scale, scale * y]])
        size = gray.shape[1], gray.shape[0]
        moved = cv2.warpAffine(square, matrix, size, flags=cv2.INTER_LINEAR)
        mask = cv2.warpAffine(np.full_like(square, 255), matrix, size, flags=cv2.INTER_LINEAR) > 127
        gray = np.where(mask, moved, gray)
    return np.repeat(np.asarray(gray, np.uint8)[:, :, None], 3, axis=2)


def frames(
    times: Iterable[float],
    position: Positions | None,
    *,
    scale: float = 1.0,
    offsets: Sequence[tuple[int, int]] | None = None,
) -> list[Frame]:
    return [
        Frame(picture(t, position, scale=scale, offset=offsets[i] if offsets else (0, 0)), float(t), i)
        for i, t in enumerate(times)
    ]


def rightwards(seconds: float) -> tuple[float, float]:
    """30 px a second in a frame of 120 px: a quarter of a frame height a second."""
    return 10 + 30 * seconds, 36


def every(seconds: float, count: int) -> FloatArray:
    return np.arange(count) * seconds


def embed(backbone: Backbone, given: Sequence[Frame], *, batch: int | None = None) -> Embeddings:
    stream = backbone.stream()
    size = batch or len(given)
    parts = [stream.push(given[i : i + size]) for i in range(0, len(given), size)]
    return Embeddings.concatenate([part for part in parts if part is not None])


def assert_equal(one: Embeddings, other: Embeddings) -> None:
    np.testing.assert_allclose(one.vector, other.vector, **ROUNDING)
    assert (one.grid is None) == (other.grid is None)
    if one.grid is not None and other.grid is not None:
        np.testing.assert_allclose(one.grid, other.grid, **ROUNDING)
    np.testing.assert_array_equal(one.start_seconds, other.start_seconds)
    np.testing.assert_array_equal(one.end_seconds, other.end_seconds)


def head(embeddings: Embeddings, count: int) -> Embeddings:
    grid = None if embeddings.grid is None else embeddings.grid[:count]
    return Embeddings(embeddings.vector[:count], grid, embeddings.start_seconds[:count], embeddings.end_seconds[:count])


@pytest.fixture(scope="module")
def walk() -> list[Frame]:
    return frames(every(1 / FPS, 21), rightwards)


@pytest.fixture(scope="module", params=["motion", "histograms", "timesformer"])
def backbone(request: pytest.FixtureRequest) -> Backbone:
    return any_small(request.param)


# the contract


def test_shapes_are_those_of_the_record(backbone: Backbone, walk: list[Frame]) -> None:
    found, record = embed(backbone, walk), backbone.record
    assert found.vector.shape == (len(found), record.vector_size)
    assert found.vector.dtype == np.float32
    assert np.isfinite(found.vector).all()
    if record.grid_size is None:
        assert found.grid is None
    else:
        assert found.grid is not None
        assert found.grid.shape[-1] == record.grid_size
        assert found.grid.dtype == np.float32
        assert np.isfinite(found.grid).all()
        assert len(record.channels) in (0, record.grid_size)


def test_times_ascend_and_lie_within_the_video(backbone: Backbone, walk: list[Frame]) -> None:
    found = embed(backbone, walk)
    assert len(found) > 0
    assert (np.diff(found.end_seconds) > 0).all()
    assert (found.start_seconds < found.end_seconds).all()
    assert found.start_seconds[0] >= 0
    assert found.end_seconds[-1] <= walk[-1].time_seconds


@pytest.mark.parametrize("batch", [1, 2, 7, 16])
def test_batches_change_nothing(backbone: Backbone, walk: list[Frame], batch: int) -> None:
    assert_equal(embed(backbone, walk, batch=batch), embed(backbone, walk))


def test_two_streams_do_not_mix(backbone: Backbone, walk: list[Frame]) -> None:
    other = [Frame(frame.image[:, ::-1].copy(), frame.time_seconds, frame.index) for frame in walk]
    one, two = backbone.stream(), backbone.stream()
    parts: tuple[list[Embeddings], list[Embeddings]] = ([], [])
    for i in range(0, len(walk), 4):
        for stream, given, kept in ((one, walk, parts[0]), (two, other, parts[1])):
            if (found := stream.push(given[i : i + 4])) is not None:
                kept.append(found)
    assert_equal(Embeddings.concatenate(parts[0]), embed(backbone, walk))
    assert_equal(Embeddings.concatenate(parts[1]), embed(backbone, other))


def test_the_future_does_not_change_the_past(backbone: Backbone, walk: list[Frame]) -> None:
    blind = [Frame(np.zeros_like(f.image), f.time_seconds, f.index) for f in walk[12:]]
    until = embed(backbone, walk[:12])
    assert_equal(head(embed(backbone, walk), len(until)), until)
    assert_equal(head(embed(backbone, [*walk[:12], *blind]), len(until)), until)


def test_options_build_an_equal_backbone(backbone: Backbone, walk: list[Frame]) -> None:
    again = build_backbone(backbone.record.name, **json.loads(json.dumps(backbone.options())))
    assert again.options() == backbone.options()
    assert_equal(embed(again, walk), embed(backbone, walk))


def test_the_reader_may_use_the_memory_of_a_frame_again(backbone: Backbone, walk: list[Frame]) -> None:
    stream = backbone.stream()
    image = walk[0].image.copy()
    parts = []
    for frame in walk:
        image[:] = frame.image
        parts.append(stream.push([Frame(image, frame.time_seconds, frame.index)]))
        image[:] = 0
    assert_equal(Embeddings.concatenate([p for p in parts if p is not None]), embed(backbone, walk))


def test_nothing_comes_of_no_frame_and_of_one(backbone: Backbone, walk: list[Frame]) -> None:
    stream = backbone.stream()
    assert stream.push([]) is None
    assert stream.push(walk[:1]) is None
    assert stream.push([]) is None


@pytest.mark.parametrize(
    ("width", "height"), [(1, 1), (2, 300), (33, 17), (161, 119), (8000, 20), (20, 8000), (640, 480)]
)
def test_pictures_of_any_size(backbone: Backbone, width: int, height: int) -> None:
    image = np.random.default_rng(0).integers(0, 256, (height, width, 3), dtype=np.uint8)
    given = [Frame(np.roll(image, i, axis=1), i / 5, i) for i in range(4)]
    found = embed(backbone, given)
    assert found.vector.shape == (len(found), backbone.record.vector_size)
    assert np.isfinite(found.vector).all()


@pytest.mark.parametrize("name", NAMES)
def test_the_record_says_what_it_is(name: str) -> None:
    record = backbone_class(name).record
    assert record.name == name
    assert record.summary
    assert record.weights is None or record.weights.licence


@pytest.mark.parametrize("name", NAMES)
def test_an_unknown_option_is_a_usage_error(name: str) -> None:
    with pytest.raises(UsageError, match=f"backbone '{name}': .*no_such_option"):
        build_backbone(name, no_such_option=1)


def test_an_unknown_backbone_lists_the_valid_ones() -> None:
    with pytest.raises(UsageError, match=f"unknown backbone 'i3d': choose one of {', '.join(NAMES)}, or module:Class"):
        build_backbone("i3d")


# motion


def channel(embeddings: Embeddings, name: str) -> FloatArray:
    assert embeddings.grid is not None
    return embeddings.grid[..., CHANNELS.index(name)]


def cell_of(embeddings: Embeddings, x_px: float, y_px: float) -> tuple[int, int]:
    """The (row, column) of the grid at a place in a picture of 160 x 120."""
    assert embeddings.grid is not None
    rows, columns = embeddings.grid.shape[1:3]
    return int(y_px / HEIGHT * rows), int(x_px / WIDTH * columns)


def at_square(embeddings: Embeddings, name: str, position: Positions, index: int = -1) -> float:
    """The value at the middle of the square of 48 px."""
    x, y = position(float(embeddings.end_seconds[index]))
    return float(channel(embeddings, name)[index][cell_of(embeddings, x + 24, y + 24)])


@pytest.mark.parametrize(
    ("position", "right", "down"),
    [
        (rightwards, 0.25, 0.0),
        (lambda t: (100 - 30 * t, 36), -0.25, 0.0),
        (lambda t: (56, 5 + 30 * t), 0.0, 0.25),
        (lambda t: (10 + 18 * t, 60 - 24 * t), 0.15, -0.2),
    ],
    ids=["right", "left", "down", "right and up"],
)
def test_velocity_is_in_frame_heights_per_second(position: Positions, right: float, down: float) -> None:
    found = embed(MotionBackbone(), frames(every(1 / FPS, 21), position))
    for index in (12, -1):  # the mean over time begins with nothing moving
        assert at_square(found, "right", position, index) == pytest.approx(right, abs=0.15 * 0.25)
        assert at_square(found, "down", position, index) == pytest.approx(down, abs=0.15 * 0.25)
        assert at_square(found, "speed", position, index) == pytest.approx(0.25, rel=0.15)
    assert at_square(found, "moving", position) > 0.9


@pytest.mark.parametrize("scale", [2.0, 4.0], ids=["240 px high", "480 px high, reduced"])
def test_velocity_does_not_depend_on_resolution(scale: float) -> None:
    found = embed(MotionBackbone(), frames(every(1 / FPS, 16), rightwards, scale=scale))
    assert at_square(found, "right", rightwards) == pytest.approx(0.25, rel=0.15)


@pytest.mark.parametrize("fps", [5.0, 10.0, 20.0])
def test_velocity_does_not_depend_on_the_frame_rate(fps: float) -> None:
    found = embed(MotionBackbone(spacing_seconds=0.0), frames(every(1 / fps, int(1.6 * fps)), rightwards))
    assert len(found) == int(1.6 * fps) - 1
    assert at_square(found, "right", rightwards) == pytest.approx(0.25, rel=0.15)


def test_velocity_does_not_depend_on_even_spacing() -> None:
    times = np.cumsum(np.tile([0.1, 0.1, 0.2], 7))
    found = embed(MotionBackbone(), frames(times - times[0], rightwards))
    for index in range(12, len(found)):
        assert at_square(found, "right", rightwards, index) == pytest.approx(0.25, rel=0.15)


def test_what_is_beside_the_motion_is_nothing() -> None:
    found = embed(MotionBackbone(), frames(every(1 / FPS, 16), rightwards))
    assert found.grid is not None
    x, y = rightwards(float(found.end_seconds[-1]))
    held = found.grid[-1].any(axis=-1)
    rows, columns = np.nonzero(held)
    left, right = columns.min() / held.shape[1] * WIDTH, (columns.max() + 1) / held.shape[1] * WIDTH
    top, bottom = rows.min() / held.shape[0] * HEIGHT, (rows.max() + 1) / held.shape[0] * HEIGHT
    # A window reaches 14 px to each side, a cell is 8 px, and the mean over time trails behind by a few frames.
    assert x - 45 <= left <= x + 8
    assert x + 40 <= right <= x + 48 + 24
    assert y - 24 <= top <= y + 8
    assert y + 40 <= bottom <= y + 48 + 24


def test_a_scene_without_motion_is_all_zero() -> None:
    found = embed(MotionBackbone(), frames(every(1 / FPS, 150), None))
    assert found.grid is not None
    assert not found.grid.any()
    assert not found.vector.any()


SHAKE = [(int(x), int(y)) for x, y in np.random.default_rng(4).integers(-3, 4, (21, 2))]


def test_a_shaking_camera_moves_nothing() -> None:
    found = embed(MotionBackbone(), frames(every(1 / FPS, 21), None, offsets=SHAKE))
    inner = channel(found, "moving")[:, 2:-2, 2:-2]  # what comes in at the border has no counterpart
    assert inner.mean() < 0.02


def test_a_shaking_camera_does_not_change_the_velocity() -> None:
    found = embed(MotionBackbone(), frames(every(1 / FPS, 21), rightwards, offsets=SHAKE))
    assert at_square(found, "right", rightwards) == pytest.approx(0.25, rel=0.2)
    assert abs(at_square(found, "down", rightwards)) < 0.05


def test_edges_tell_upright_from_level() -> None:
    def stripes(angle: int) -> FloatArray:
        lines = np.tile((np.arange(HEIGHT) % 16 < 8)[:, None] * 200.0, (1, WIDTH))  # gradients point down
        base = np.asarray(lines if angle == 90 else np.tile((np.arange(WIDTH) % 16 < 8) * 200.0, (HEIGHT, 1)))
        given = []
        for i in range(6):
            gray = texture(HEIGHT, WIDTH, seed=1).astype(np.float64) * 0.2
            block = np.roll(base + 20, 2 * i, axis=(0 if angle == 90 else 1))
            gray[30:90, 40:100] = block[30:90, 40:100]
            given.append(Frame(np.repeat(gray.astype(np.uint8)[:, :, None], 3, axis=2), i / FPS, i))
        found = embed(MotionBackbone(), given)
        return np.array([channel(found, f"edges_{a}")[-1].max() for a in (0, 45, 90, 135)])

    level, upright = stripes(90), stripes(0)
    assert level.argmax() == 2
    assert upright.argmax() == 0
    assert level[2] > 2 * level[0]
    assert upright[0] > 2 * upright[2]


def test_what_is_put_down_and_left_is_told_from_what_was_always_there() -> None:
    then = SETTLE_SECONDS + 3
    times = every(0.25, int(4 * (then + 7)))

    def put_down(seconds: float) -> tuple[float, float]:
        return (40.0, 36.0) if seconds >= then else (-100.0, -100.0)

    found = embed(MotionBackbone(), frames(times, put_down))
    left = channel(found, "left")
    before, after = left[found.end_seconds < then + 1.5], left[found.end_seconds > then + 4]
    assert not before.any()
    row, column = cell_of(found, 64, 60)
    assert after[-1][row, column] > 0.5
    assert not after[:, :, -3:].any()
    always = embed(MotionBackbone(), frames(times, lambda _: (40.0, 36.0)))
    assert not channel(always, "left").any()


def test_frames_closer_than_the_spacing_are_skipped() -> None:
    found = embed(MotionBackbone(), frames(every(1 / 30, 31), rightwards))
    np.testing.assert_allclose(found.start_seconds, np.arange(10) * 0.1)
    np.testing.assert_allclose(found.end_seconds, np.arange(1, 11) * 0.1)
    assert at_square(found, "right", rightwards) == pytest.approx(0.25, rel=0.15)


def test_one_camera_in_two_resolutions_has_one_grid() -> None:
    grids = [embed(MotionBackbone(), frames(every(0.1, 2), None, scale=scale)).grid for scale in (2.0, 4.0, 6.0)]
    assert len({grid.shape for grid in grids if grid is not None}) == 1


def test_windows_cells_and_the_held_share_are_options() -> None:
    given = frames(every(1 / FPS, 6), rightwards)
    usual, coarse = embed(MotionBackbone(), given), embed(MotionBackbone(stride_px=16), given)
    strict = embed(MotionBackbone(held_share=0.5), given)
    assert usual.grid is not None
    assert coarse.grid is not None
    assert strict.grid is not None
    assert usual.grid.shape[1:3] == (15, 20)
    assert coarse.grid.shape[1:3] in ((7, 10), (8, 10))
    assert 0 < strict.grid.any(axis=-1).sum() < usual.grid.any(axis=-1).sum()


@pytest.mark.parametrize(
    "options",
    [
        {"height_px": 8},
        {"window_px": 2},
        {"stride_px": 6},
        {"stride_px": 0},
        {"moving_px": 0.0},
        {"held_share": 1.0},
        {"carry": 0.0},
        {"spacing_seconds": -0.1},
    ],
)
def test_options_out_of_range(options: dict[str, float]) -> None:
    with pytest.raises(UsageError, match=next(iter(options))):
        build_backbone("motion", **options)


def test_a_stream_that_is_dropped_leaves_no_threads(walk: list[Frame]) -> None:
    gc.collect()
    before = threading.active_count()
    backbone = MotionBackbone()
    for _ in range(5):
        stream = backbone.stream()
        stream.push(walk[:8])
    del stream
    gc.collect()
    patience = time.monotonic() + 5
    while threading.active_count() > before and time.monotonic() < patience:
        time.sleep(0.01)
    assert threading.active_count() <= before


# gaps: what a recorder that motion triggers leaves out


def after_a_gap(gap_seconds: float, *, count: int = 12) -> list[Frame]:
    """`count` frames to either side of a gap; the square walks on meanwhile, out of its window but not of the frame."""
    times = [*every(1 / FPS, count), *(count / FPS + gap_seconds + every(1 / FPS, count))]
    return [Frame(picture(t / 10 if t > count / FPS else t, rightwards), t, i) for i, t in enumerate(times)]


def test_nothing_is_measured_across_a_gap() -> None:
    given = after_a_gap(20.0)
    found = embed(MotionBackbone(), given)
    assert len(found) == len(given) - 2  # neither the first frame nor the first after the gap has one before it
    assert (found.end_seconds - found.start_seconds).max() < 0.11
    np.testing.assert_allclose(found.start_seconds[10:12], [1.0, 21.2])
    alone = embed(MotionBackbone(), given[12:])
    np.testing.assert_allclose(found.vector[11:], alone.vector, **ROUNDING)  # nothing is carried from before


@pytest.mark.parametrize("batch", [1, 5, 12, 13])
def test_batches_change_nothing_at_a_gap(batch: int) -> None:
    given = after_a_gap(20.0)
    assert_equal(embed(MotionBackbone(), given, batch=batch), embed(MotionBackbone(), given))


def test_a_short_stall_is_no_gap() -> None:
    given = after_a_gap(0.8)
    assert len(embed(MotionBackbone(), given)) == len(given) - 1


@pytest.mark.parametrize(("spacing_seconds", "lost"), [(1.0, 1), (2.0, 2), (60.0, 2)])
def test_frames_that_always_come_slowly_are_no_gaps(spacing_seconds: float, lost: int) -> None:
    given = frames(every(spacing_seconds, 12), lambda t: (10 + 3 * t / spacing_seconds, 36))
    slow = embed(MotionBackbone(), given)
    assert len(slow) == len(given) - lost  # above a second the first pair cannot be told from a gap
    assert channel(slow, "moving").max() > 0.5
    missing = [frame for i, frame in enumerate(given) if i != 6]
    assert len(embed(MotionBackbone(), missing)) == len(missing) - lost


def test_a_gap_leaves_the_background() -> None:
    """A bag that is put down during a gap rests there afterwards."""
    before, after = every(0.25, 160), 100 + every(0.25, 24)
    times = [*before, *after]
    bag = frames(after, lambda _: (60, 60))
    given = [*frames(before, None), *(Frame(f.image, f.time_seconds, 160 + f.index) for f in bag)]
    found = embed(MotionBackbone(), given)
    assert len(found) == len(times) - 2
    left = channel(found, "left").max(axis=(1, 2))
    assert left[: len(before) - 1].max() == 0
    assert left[-1] > 0.5


def test_the_course_outlasts_a_step_to_the_side() -> None:
    """What walks to the right for three seconds and is pushed back for a fifth of one is still heading to the right."""

    def pushed(seconds: float) -> tuple[float, float]:
        return (10 + 30 * seconds if seconds < 2.05 else 132 - 30 * seconds), 36

    found = embed(MotionBackbone(), frames(every(1 / FPS, 23), pushed))
    before, after = 19, len(found) - 1
    assert at_square(found, "course_right", pushed, before) == pytest.approx(0.25, rel=0.25)
    assert abs(at_square(found, "course_down", pushed, before)) < 0.05
    assert at_square(found, "right", pushed, after) < 0.6 * at_square(found, "right", pushed, before)
    assert at_square(found, "course_right", pushed, after) > 0.6 * at_square(found, "course_right", pushed, before)


def test_a_crowd_is_many_with_edges_and_not_their_shadows() -> None:
    moving = np.full((60, 80), 0.5, np.float32)
    edges = np.zeros((4, 60, 80), np.float32)
    gray = np.full((240, 320), 150, np.uint8)
    edges[:, 28:32, 38:42] = 0.2
    one = crowd(edges, moving, gray, 7)
    edges[:, 20:40, 30:50] = 0.2
    many = crowd(edges, moving, gray, 7)
    assert many[30, 40] > 2 * one[30, 40] > 0
    assert crowd(np.zeros_like(edges), moving, gray, 7).max() == 0
    assert crowd(edges, np.zeros_like(moving), gray, 7).max() == 0
    under_a_cloud = crowd(np.asarray(edges / 2, np.float32), moving, gray // 2, 7)
    assert under_a_cloud[30, 40] == pytest.approx(many[30, 40], rel=0.05)
