"""Rendered scenes: the same seeds give the same bytes, the truth contains what is unusual, no foot slides."""

from __future__ import annotations

import math
from functools import cache
from itertools import pairwise
from pathlib import Path

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from oddwatch.errors import UsageError
from oddwatch.scenes import CONDITIONS, KINDS, Conditions, PlannedEvent, Scene, plan_events
from oddwatch.scenes.body import Person, figure, joints, run_stride_m, running, walk_stride_m, walking
from oddwatch.scenes.place import FAR_LANE_M, PATH_HALF_M
from oddwatch.scenes.shapes import Builder, Colour, Shape
from oddwatch.scenes.traffic import WALK_M_S, WALK_SPREAD, Walker
from oddwatch.truth import read_truth, write_truth
from oddwatch.types import Image, TruthEvent

SIZE_PX = (160, 120)
SECONDS = 34.0
PASSING = KINDS[:7]
"""Those of the demo, which are over in `SECONDS`."""
AT_SECONDS = 9.0


@cache
def scene(kind: str | None = None, seed: int = 3, place_seed: int = 1) -> Scene:
    events = () if kind is None else (PlannedEvent(kind, AT_SECONDS),)
    return Scene(seconds=SECONDS, seed=seed, place_seed=place_seed, size_px=SIZE_PX, events=events)


@cache
def longer(kind: str | None = None, seed: int = 3, condition: str = "day") -> Scene:
    """A minute with one event of those that need the sign, or time."""
    events = () if kind is None else (PlannedEvent(kind, AT_SECONDS),)
    return Scene(
        seconds=65, seed=seed, place_seed=1, size_px=SIZE_PX, events=events,
        conditions=CONDITIONS[condition], with_sign=True,
    )  # fmt: skip


def empty(seed: int = 0, place_seed: int = 0, size_px: tuple[int, int] = SIZE_PX) -> Scene:
    return Scene(seconds=60, seed=seed, place_seed=place_seed, size_px=size_px, groups_per_minute=0)


def truth_of(one: Scene) -> TruthEvent:
    (event,) = one.truth
    return event


def on_ground(one: Scene, x: float, y: float) -> tuple[float, float]:
    """World place of a point of the frame (fractions), if it is on the ground. Shake is below a pixel."""
    camera, margin = one._place.camera, one._place.margin_px
    ray = camera.rays(np.array(x * SIZE_PX[0] + margin), np.array(y * SIZE_PX[1] + margin))
    reach = -camera.position[2] / ray[2]
    return float(camera.position[0] + reach * ray[0]), float(camera.position[1] + reach * ray[1])


def track(one: Scene) -> NDArray[np.float64]:
    """(N, 3) time and world place of the bottom middle of the truth boxes that are wholly in view."""
    rows = []
    for moment in truth_of(one).boxes:
        left, top, right, bottom = moment.box
        if left > 0 and right < 1 and top > 0 and bottom < 1:
            rows.append((moment.time_seconds, *on_ground(one, (left + right) / 2, bottom)))
    return np.array(rows)


def test_is_a_video() -> None:
    video = Scene(seconds=1.0, size_px=(96, 64), fps=25)
    frames = list(video)
    assert len(frames) == len(video) == 25
    assert frames[7].image.shape == (64, 96, 3)
    assert [f.index for f in frames] == list(range(25))
    assert frames[24].time_seconds == pytest.approx(0.96)
    assert np.array_equal(video[-1].image, frames[24].image)
    assert video.truth == ()
    with pytest.raises(IndexError, match="frame 25 of a scene of 25 frames"):
        video[25]


def test_same_seed_same_bytes_in_any_order() -> None:
    events = plan_events(["fall", "cart"], seconds=60)
    make = [
        Scene(seconds=60, seed=5, place_seed=2, size_px=SIZE_PX, events=events),
        Scene(seconds=60, seed=5, place_seed=2, size_px=SIZE_PX, events=events),
    ]
    indices = range(0, 600, 37)
    forward = [make[0][i].image.tobytes() for i in indices]
    backward = [make[1][i].image.tobytes() for i in reversed(indices)]
    assert forward == backward[::-1]
    assert make[0].truth == make[1].truth
    other = Scene(seconds=60, seed=6, place_seed=2, size_px=SIZE_PX, events=events)
    assert other[100].image.tobytes() != make[0][100].image.tobytes()
    assert other.truth != make[0].truth


def test_one_place_different_people() -> None:
    def apart(a: Image, b: Image) -> float:
        return float(np.abs(a.astype(float) - b).mean())

    here, later, elsewhere = empty(seed=0)[0].image, empty(seed=1)[300].image, empty(place_seed=1)[0].image
    assert apart(here, later) < 12
    assert apart(here, elsewhere) > 20
    assert np.any(scene(seed=3)[0].image != scene(seed=4)[0].image)


def test_a_place_is_the_same_at_every_size() -> None:
    small, large = empty()[0].image, empty(size_px=(320, 240))[0].image
    reduced = cv2.resize(large, SIZE_PX, interpolation=cv2.INTER_AREA)
    assert np.corrcoef(small.ravel(), np.asarray(reduced).ravel())[0, 1] > 0.95


def test_the_camera_is_a_little_noisy_and_shaky_and_the_light_drifts() -> None:
    one = empty()
    frames = np.stack([one[i].image for i in range(0, 600, 12)]).astype(np.float32)
    noise = (one[1].image.astype(np.float32) - one[0].image).std() / math.sqrt(2)
    assert 1.5 < noise < 6
    light = frames.mean(axis=(1, 2, 3))
    assert 0.005 < light.std() / light.mean() < 0.06
    gray = [cv2.cvtColor(f, cv2.COLOR_RGB2GRAY) for f in frames]
    shifts = [math.hypot(*cv2.phaseCorrelate(gray[0], g)[0]) for g in gray[1:]]
    assert 0.02 < max(shifts) < 1.5


def test_people_are_there_from_the_start_and_move() -> None:
    alone, busy = empty(seed=3, place_seed=1), scene()
    changed = [
        float((np.abs(busy[i].image.astype(int) - alone[i].image).max(axis=2) > 40).mean()) for i in range(0, 300, 30)
    ]
    assert np.mean(changed) > 0.01
    assert np.median(changed) < 0.15


def test_usual_people_keep_their_lane_its_direction_and_their_speed() -> None:
    people = [mover for mover in Scene(seconds=600, size_px=SIZE_PX)._movers if isinstance(mover, Walker)]
    assert len(people) > 150
    speeds = []
    for walker in people:
        middle = (walker.start_seconds + walker.end_seconds) / 2
        (x0, y0), (x1, _) = walker.at(middle), walker.at(middle + 1)
        assert 0.5 < abs(y0) < PATH_HALF_M
        assert (x1 - x0) * -y0 > 0, "keep right: the near lane (y < 0) goes to the right"
        speeds.append(abs(x1 - x0))
    assert min(speeds) == pytest.approx(WALK_M_S * (1 - WALK_SPREAD), rel=0.1)
    assert max(speeds) == pytest.approx(WALK_M_S * (1 + WALK_SPREAD), rel=0.1)


@pytest.mark.parametrize("kind", PASSING)
def test_usual_people_do_not_depend_on_the_event(kind: str) -> None:
    before = () if kind in ("fall", "object_left") else (0, 40)  # those two are walkers like others at first
    for index in (*before, -1):
        assert np.array_equal(scene(kind)[index].image, scene()[index].image)


@pytest.mark.parametrize("kind", [kind for kind in PASSING if kind != "object_left"])
@pytest.mark.parametrize("seed", [3, 4])
def test_all_that_an_event_changes_is_in_its_boxes_but_shadows(kind: str, seed: int) -> None:
    """The same frames without the event: outside of the box a pixel may become darker (shadow), never lighter."""
    event = truth_of(scene(kind, seed))
    moments = event.boxes[:: max(1, len(event.boxes) // 12)]
    shares = []
    for moment in moments:
        index = round(moment.time_seconds * 10)
        odd, usual = scene(kind, seed)[index].image.astype(int), scene(None, seed)[index].image.astype(int)
        lighter = (odd - usual).max(axis=2) > 12
        changed = np.abs(odd - usual).max(axis=2) > 12
        left, top, right, bottom = np.array(moment.box) * (*SIZE_PX, *SIZE_PX)
        inside = np.zeros(lighter.shape, dtype=bool)
        rows = slice(max(0, math.floor(top) - 1), math.ceil(bottom) + 1)
        columns = slice(max(0, math.floor(left) - 1), math.ceil(right) + 1)
        inside[rows, columns] = True
        assert not (lighter & ~inside).any(), f"{kind} is outside of its box at {moment.time_seconds} s"
        shares.append(float(changed[rows, columns].mean()))
    assert np.median(shares) > 0.2, "the box is tight around something that is there"


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["loitering", "dispersal", "crowd"])
@pytest.mark.parametrize("seed", [3, 4])
def test_what_people_do_together_or_for_long_is_in_its_boxes_but_shadows(kind: str, seed: int) -> None:
    event = truth_of(longer(kind, seed))
    for moment in event.boxes[:: max(1, len(event.boxes) // 12)]:
        index = round(moment.time_seconds * 10)
        odd, usual = longer(kind, seed)[index].image.astype(int), longer(None, seed)[index].image.astype(int)
        left, top, right, bottom = np.array(moment.box) * (*SIZE_PX, *SIZE_PX)
        lighter = (odd - usual).max(axis=2) > 12
        lighter[
            max(0, math.floor(top) - 1) : math.ceil(bottom) + 1, max(0, math.floor(left) - 1) : math.ceil(right) + 1
        ] = 0
        assert not lighter.any(), f"{kind} is outside of its box at {moment.time_seconds} s"


@pytest.mark.parametrize("seed", [3, 4])
def test_a_loiterer_stays_for_half_a_minute_within_a_few_metres(seed: int) -> None:
    event = truth_of(longer("loitering", seed))
    assert event.end_seconds - event.start_seconds > 30
    _, x, y = track(longer("loitering", seed)).T
    assert np.ptp(x[10:-10]) < 7
    assert np.all(np.abs(y[20:-20]) > FAR_LANE_M[1])


@pytest.mark.parametrize("seed", [3, 4])
def test_what_always_stood_there_is_taken_and_brought_back(seed: int) -> None:
    one, usual = longer("object_taken", seed), longer(None, seed)
    event = truth_of(one)
    boxes = np.array([b.box for b in event.boxes]) * (*SIZE_PX, *SIZE_PX)
    areas = np.prod(boxes[:, 2:] - boxes[:, :2], axis=1)
    gap = boxes[areas.argmin()]
    at = slice(round(gap[1]), round(gap[3])), slice(round(gap[0]), round(gap[2]))

    def changed(seconds: float) -> float:
        index = round(seconds * 10)
        difference = np.abs(one[index].image[at].astype(int) - usual[index].image[at])
        return float((difference.max(axis=2) > 20).mean())

    middle = (event.start_seconds + event.end_seconds) / 2
    assert changed(middle) > 0.4, "it has gone"
    assert changed(event.start_seconds - 4) < 0.05
    assert changed(event.end_seconds + 6) < 0.05, "and stands there again"
    with pytest.raises(UsageError, match="object_taken takes a sign that stands there, once"):
        Scene(seconds=60, events=[PlannedEvent("object_taken", 9.0)])


def test_those_who_run_apart_spread_and_a_crowd_is_many() -> None:
    boxes = np.array([b.box for b in truth_of(longer("dispersal")).boxes])
    widths = boxes[:, 2] - boxes[:, 0]
    assert widths.max() > 1.5 * widths[0]
    assert len(longer("crowd")._happenings[0].movers) >= 14


@pytest.mark.parametrize(
    "name",
    [
        "rain",
        "shake",
        *(pytest.param(n, marks=pytest.mark.slow) for n in ("dusk", "snow", "flicker", "clouds", "compressed")),
    ],
)
def test_light_and_weather_change_the_picture_and_not_the_truth(name: str) -> None:
    plain, other = longer("object_taken"), longer("object_taken", condition=name)
    index = 150
    assert np.abs(plain[index].image.astype(int) - other[index].image).mean() > 1
    pairs = zip(truth_of(plain).boxes, truth_of(other).boxes, strict=True)
    furthest = max(float(np.abs(np.subtract(a.box, b.box)).max()) for a, b in pairs)
    assert furthest < (0.03 if name == "shake" else 1e-9)
    again = Scene(seconds=65, seed=3, place_seed=1, size_px=SIZE_PX, events=[PlannedEvent("object_taken", AT_SECONDS)],
                  conditions=CONDITIONS[name], with_sign=True)  # fmt: skip
    assert np.array_equal(again[index].image, other[index].image), "a frame depends on seed and number alone"


def test_conditions_that_cannot_be_are_refused() -> None:
    for wrong, says in (({"viewpoint": "moon"}, "unknown viewpoint"), ({"flicker": True}, "set dusk"),
                        ({"rain": True, "low_sun": True}, "have no sun")):  # fmt: skip
        with pytest.raises(UsageError, match=says):
            Conditions(**wrong)


@pytest.mark.parametrize("kind", ["cyclist", "runner", "cart", "against_flow", "on_grass"])
def test_what_passes_is_on_for_as_long_as_it_is_in_view(kind: str) -> None:
    event = truth_of(scene(kind))
    assert AT_SECONDS <= event.start_seconds <= AT_SECONDS + 4
    assert len(event.boxes) == round((event.end_seconds - event.start_seconds) * 10) + 1
    widths = [b.box[2] - b.box[0] for b in event.boxes]
    for first, width in ((event.boxes[0], widths[0]), (event.boxes[-1], widths[-1])):
        left, top, right, bottom = first.box
        assert left == 0 or right == 1 or top == 0 or bottom == 1, "it comes and goes over the border"
        assert width < 0.8 * max(widths)
    for index, side in ((round(event.start_seconds * 10) - 1, 0), (round(event.end_seconds * 10) + 1, -1)):
        odd, usual = scene(kind)[index].image.astype(int), scene()[index].image.astype(int)
        assert ((odd - usual).max(axis=2) > 25).sum() < 5, f"still there before or after ({side})"


@pytest.mark.parametrize("kind", ["cyclist", "runner", "cart"])
@pytest.mark.parametrize("seed", [3, 4])
def test_fast_ones_are_clearly_faster_than_walkers(kind: str, seed: int) -> None:
    """Speed over the ground, so at the same depth also in pixels per second."""
    times, x, _ = track(scene(kind, seed)).T
    speed = abs(np.polyfit(times, x, 1)[0])
    assert speed > 1.8 * WALK_M_S * (1 + WALK_SPREAD)
    assert speed < 6


def test_boxes_move_as_fast_in_pixels_as_the_truth_says() -> None:
    def px_per_second(kind: str) -> float:
        boxes = np.array([b.box for b in truth_of(scene(kind)).boxes if b.box[0] > 0 and b.box[2] < 1])
        centres = (boxes[:, 0] + boxes[:, 2]) / 2 * SIZE_PX[0]
        return float(abs(np.diff(centres).mean() * 10))

    nearest = abs(-PATH_HALF_M), FAR_LANE_M[1]
    camera = scene()._place.camera
    scale = camera.project(np.array([[0, -nearest[0], 0], [0, nearest[1], 0]], dtype=float))[:, 2]
    fastest_walker_px = WALK_M_S * (1 + WALK_SPREAD) * scale[0]
    assert px_per_second("against_flow") < fastest_walker_px
    for kind in ("cyclist", "cart", "runner"):
        assert px_per_second(kind) > 1.8 * WALK_M_S * scale[1]


@pytest.mark.parametrize("seed", range(4))
def test_against_the_flow_goes_the_wrong_way_on_its_lane(seed: int) -> None:
    times, x, y = track(scene("against_flow", seed)).T
    assert abs(y.mean()) < PATH_HALF_M
    assert np.polyfit(times, x, 1)[0] * y.mean() > 0


@pytest.mark.parametrize("seed", range(4))
def test_on_the_grass_is_beside_the_walkway(seed: int) -> None:
    _, _, y = track(scene("on_grass", seed)).T
    assert np.all(np.abs(y) > PATH_HALF_M)


@pytest.mark.parametrize("seed", [3, 4])
def test_a_fall_lies_down_stays_and_gets_up(seed: int) -> None:
    event = truth_of(scene("fall", seed))
    boxes = np.array([b.box for b in event.boxes]) * (*SIZE_PX, *SIZE_PX)
    wide, high = boxes[:, 2] - boxes[:, 0], boxes[:, 3] - boxes[:, 1]
    assert high[0] > 1.5 * wide[0]
    lying = wide > 1.5 * high
    assert 4 < lying.sum() / 10 < 9
    assert high[-1] > 1.5 * wide[-1]
    still = np.diff(boxes[lying][5:-8, 0])
    assert np.abs(still).max() < 0.5
    assert 8 < event.end_seconds - event.start_seconds < 13


@pytest.mark.parametrize("seed", [3, 4])
def test_an_object_is_put_down_stays_and_is_taken_away(seed: int) -> None:
    one = scene("object_left", seed)
    event = truth_of(one)
    boxes = np.array([b.box for b in event.boxes]) * (*SIZE_PX, *SIZE_PX)
    areas = (boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1])
    alone = areas < 1.4 * areas.min()
    assert 5 < alone.sum() / 10 < 12
    assert np.ptp(boxes[alone], axis=0).max() < 1.0
    assert not alone[0]
    assert not alone[-1]
    for n in np.flatnonzero(alone)[[10, 40]]:
        index = round(event.boxes[n].time_seconds * 10)
        left, top, right, bottom = boxes[n]
        at = slice(math.floor(top), math.ceil(bottom)), slice(math.floor(left), math.ceil(right))
        difference = np.abs(one[index].image[at].astype(int) - scene(None, seed)[index].image[at]).max(axis=2)
        assert (difference > 12).mean() > 0.3


@pytest.mark.parametrize("speed", [1.04, 1.3, 1.56])
@pytest.mark.parametrize("height", [1.2, 1.75, 1.95])
def test_a_walkers_feet_stay_where_they_are(speed: float, height: float) -> None:
    person, stride = Person(height_m=height), walk_stride_m(speed, height)
    phases = np.linspace(0, 1, 60, endpoint=False)
    poses = [joints(walking(p, stride=stride / height), person) for p in phases]
    for side, shift in ((0, 0.0), (1, 0.5)):
        flat = [i for i, p in enumerate(phases) if 0.1 < (p + shift) % 1 < 0.34]
        flat = sorted(flat, key=lambda i: (phases[i] + shift) % 1)
        turns = [(phases[i] + shift) % 1 for i in flat]
        toes = np.array([poses[i].toes[side][0] + t * stride for i, t in zip(flat, turns, strict=True)])
        assert np.ptp(toes) < 0.015 * height
        assert max(poses[i].toes[side][2] for i in flat) < 0.03 * height


def test_a_runners_feet_stay_and_both_leave_the_ground() -> None:
    person, stride = Person(), run_stride_m(3.3)
    phases = np.linspace(0, 1, 100, endpoint=False)
    poses = [joints(running(p, stride=stride / person.height_m), person) for p in phases]
    stance = [i for i, p in enumerate(phases) if 0.03 < p < 0.15]
    toes = np.array([poses[i].toes[0][0] + phases[i] * stride for i in stance])
    assert np.ptp(toes) < 0.04
    lowest = np.array([min(p.toes[0][2], p.toes[1][2], p.heels[0][2], p.heels[1][2]) for p in poses])
    assert lowest.max() > 0.06
    assert -0.03 < lowest.min() < 0.05


def test_gaits_are_cyclic_and_smooth() -> None:
    for gait, stride in ((walking, 0.7), (running, 1.35)):
        shapes = [figure(gait(p, stride=stride), Person()).balls for p in np.linspace(0, 1, 101)]
        assert np.allclose(shapes[0], shapes[-1], atol=1e-6)
        steps = [np.abs(b - a).max() for a, b in pairwise(shapes)]
        assert max(steps) < 0.12


class Statue:
    """A ball of one colour that stands still."""

    start_seconds, end_seconds = -1.0, 100.0

    def __init__(self, colour: Colour, y: float) -> None:
        self._y = y
        make = Builder()
        make.add(colour, (0.0, 0.0, 0.3, 0.3), (0.0, 0.0, 2.4, 0.3), flat=True)
        self._shape = make.shape()

    def at(self, seconds: float) -> tuple[float, float]:
        return 0.0, self._y

    def shape(self, seconds: float) -> Shape:
        return self._shape.moved(0.0, self._y)


@pytest.mark.parametrize("order", [(0, 1), (1, 0)])
def test_the_near_hides_the_far(order: tuple[int, int]) -> None:
    one = empty(place_seed=1)
    statues = [Statue((230.0, 20.0, 20.0), -1.5), Statue((20.0, 20.0, 230.0), 0.0)]
    one._movers, one._starts, one._longest = [statues[i] for i in order], [-1.0, -1.0], 101.0
    image = one[0].image.astype(int)
    near = one._place.camera.project(np.array([[0.0, -1.5, 1.7]]))[0]
    column, row = round(near[0] - one._place.margin_px), round(near[1] - one._place.margin_px)
    red, _, blue = image[row, column]
    assert red > 150 > blue
    assert (image[..., 2] - image[..., 0] > 120).any(), "the far one shows above"


@pytest.mark.slow
def test_a_plan_is_even_and_leaves_usual_scene_between_events() -> None:
    for seed in range(3):
        plan = plan_events(PASSING, seconds=150, seed=seed)
        assert tuple(e.kind for e in plan) == PASSING
        assert plan == plan_events(PASSING, seconds=150, seed=seed)
        events = Scene(seconds=150, seed=seed, place_seed=seed, size_px=SIZE_PX, events=plan).truth
        times = [0.0, *(t for e in events for t in (e.start_seconds, e.end_seconds))]
        gaps = [b - a for a, b in zip(times[::2], times[1::2], strict=False)]
        assert min(gaps) >= 6
        assert times[-1] < 148
    assert plan_events(PASSING, seconds=150, seed=0) != plan_events(PASSING, seconds=150, seed=1)
    assert plan_events([], seconds=1) == ()


def test_a_plan_that_does_not_fit_says_what_would() -> None:
    with pytest.raises(UsageError, match="7 events need a video of 144 s, got 60 s"):
        plan_events(PASSING, seconds=60)
    assert len(plan_events(PASSING, seconds=144)) == 7
    with pytest.raises(UsageError, match="11 events need a video of 283 s"):
        plan_events(seconds=282)
    assert len(plan_events(seconds=283)) == 11


def test_truth_survives_its_file(tmp_path: Path) -> None:
    write_truth(tmp_path / "x.json", scene("cart").truth)
    assert read_truth(tmp_path / "x.json") == scene("cart").truth


def test_wrong_arguments_are_refused() -> None:
    with pytest.raises(UsageError, match=r"unknown kind of event 'ufo'; there are cyclist, runner"):
        PlannedEvent("ufo", 1.0)
    with pytest.raises(UsageError, match="unknown kind"):
        plan_events(["cyclist", "ufo"], seconds=100)
    for start in (-1.0, math.nan, math.inf):
        with pytest.raises(UsageError, match="0 s or later"):
            PlannedEvent("cart", start)
    with pytest.raises(UsageError, match="cyclist is not seen before the video ends at 5 s"):
        Scene(seconds=5, size_px=SIZE_PX, events=[PlannedEvent("cyclist", 20.0)])


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ({"seconds": 0}, "seconds is above 0"),
        ({"seconds": math.nan}, "seconds is above 0"),
        ({"seconds": 1, "fps": 0}, "fps is above 0"),
        ({"seconds": 1, "size_px": (20, 240)}, "size_px is"),
        ({"seconds": 1, "size_px": (4000, 100)}, "size_px is"),
        ({"seconds": 1, "groups_per_minute": -1}, "groups_per_minute is"),
        ({"seconds": 1, "seed": -1}, "seeds are 0 or above"),
    ],
)
def test_wrong_numbers_are_refused(arguments: dict[str, float], says: str) -> None:
    with pytest.raises(UsageError, match=says):
        Scene(**arguments)  # type: ignore[arg-type]
