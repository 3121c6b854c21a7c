"""Parts of the report: tables, wording, curves, heat."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest
from made_evaluations import NO_FIGURES, THRESHOLD, evaluation, report, scored, write_video
from numpy.typing import NDArray

from oddwatch.report import figures as figures_module
from oddwatch.report import heatmap_overlay
from oddwatch.report.content import event_table, frame_table, leave_one_out_says
from oddwatch.report.figures import envelope, score_scale
from oddwatch.report.wording import NONE, duration, number, p_value, share
from oddwatch.types import (
    Box,
    Event,
    EventMetrics,
    LeaveOneOut,
    Row,
)


@pytest.fixture(scope="module")
def video(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_video(tmp_path_factory.mktemp("video") / "a.mp4")


@pytest.fixture
def drawn() -> None:
    """Ask for this to have the figures drawn for real."""


@pytest.fixture(autouse=True)
def _no_drawing(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Drawing takes nearly all of the time, and most tests are about words."""
    if "drawn" not in request.fixturenames:
        png = cv2.imencode(".png", np.zeros((1, 1, 3), dtype=np.uint8))[1].tobytes()
        monkeypatch.setattr(figures_module, "png_of", lambda figure: png)


def test_frame_table_marks_the_best_and_leaves_empty_columns_out() -> None:
    rows = evaluation().rows
    table = frame_table(rows)
    assert table is not None
    assert [n for _, n in table.groups] == [6, 3]
    assert table.columns == (
        "micro AUC",
        "macro AUC",
        "macro, padded",
        "average precision",
        "EER",
        "RBDC",
        "micro AUC",
        "average precision",
        "EER",
    )
    name, note, cells = table.rows[1]
    assert (name, note) == ("frame difference, not learned", "a floor")
    assert [cell.text for cell in cells] == ["0.700", "0.600", "0.650", "0.500", "0.300", NONE, NONE, NONE, NONE]
    assert [cell.best for cell in table.rows[0][2]] == [True] * 5 + [False] * 4  # one figure alone is no best
    assert not any(cell.best for cell in cells)
    assert frame_table([Row("a", NO_FIGURES)]) is None


def test_event_table_holds_the_rows_that_have_events() -> None:
    few = EventMetrics(3.0, 4, 2, 1, 0.5, 2.0, 0.5, 1.25)
    many = EventMetrics(5.0, 4, 2, 3, 0.5, 6.0, 0.5, None)
    table = event_table([Row("a", NO_FIGURES), Row("b", NO_FIGURES, events=few), Row("c", NO_FIGURES, events=many)])
    assert table is not None
    assert [name for name, _, _ in table.rows] == ["b", "c"]
    assert [cell.text for cell in table.rows[0][2]] == ["2 of 4", "0.500", "1", "2.000", "1.2", "3.000"]
    assert [cell.best for cell in table.rows[0][2]] == [False, False, True, True, False, False]
    assert event_table([Row("a", NO_FIGURES)]) is None


@pytest.mark.parametrize(
    ("interval", "expected", "says"),
    [
        ((0.0, 3.69), 0.04, "agrees with the budget"),
        ((0.02, 5.57), 0.006, "is more than the budget allows"),
        ((0.0, 3.69), 8.0, "is less than the budget allows"),
        ((0.0, 3.69), None, "share of scores and not a rate"),
    ],
)
def test_leave_one_out_is_judged_by_its_interval(
    interval: tuple[float, float], expected: float | None, says: str
) -> None:
    text = " ".join(leave_one_out_says(LeaveOneOut("2/day", 1.5, 2, interval, expected)))
    assert says in text
    assert "In 1.5 h of usual video this gave 2 false alarms" in text


@pytest.mark.parametrize("box", [(0.4, 0.0, 0.6, 0.2), (0.4, 0.8, 0.6, 1.0), (0.2, 0.4, 0.5, 0.6), None])
def test_places_are_called_as_everywhere_else(video: Path, tmp_path: Path, box: Box | None) -> None:
    event = Event(1.0, 2.0, 1.5, 20.0, 0.0123, box)
    text = report(evaluation(scored(video, events=(event,))), tmp_path / "out").text
    assert f"20.00 0.012 {event.place if box else NONE} {NONE} match: cyclist" in text


def test_wording_of_what_is_missing_or_extreme() -> None:
    assert [number(None), share(None), p_value(None), number(float("nan"))] == [NONE] * 4
    assert number(0.0) == "0.0"
    assert number(999.96) == "1,000.0"
    assert (share(0.98765), duration(99.94)) == ("0.988", "99.9 s")


def test_a_long_curve_keeps_its_peaks() -> None:
    x = np.arange(100_000) / 25
    y = np.ones(100_000)
    y[77_777], y[3] = 50.0, -2.0
    few_x, few_y = envelope(x, y)
    assert len(few_x) == len(few_y) <= 1500
    assert (few_y.max(), few_y.min()) == (50.0, -2.0)
    assert abs(few_x[few_y.argmax()] - x[77_777]) < 4000 / 750
    assert (np.diff(few_x) >= 0).all()
    same_x, same_y = envelope(x[:1500], y[:1500])
    assert len(same_x) == len(same_y) == 1500


def test_the_score_axis_is_logarithmic_only_when_it_must_be() -> None:
    assert not score_scale([np.array([1.0, 50.0])], 10.0).is_log
    wide = score_scale([np.array([1.0, 5000.0])], 10.0)
    assert wide.is_log
    assert 0 < wide.low < 10 < 5000 < wide.high
    assert score_scale([np.zeros(3)], 0.0).high == 1.0


def gray(height: int = 60, width: int = 90) -> NDArray[np.uint8]:
    return np.full((height, width, 3), 100, dtype=np.uint8)


def test_heat_is_relative_to_the_threshold() -> None:
    image = gray()
    for level in (0.0, 4.9, 5.0):
        assert (heatmap_overlay(image, np.full((4, 6), level), THRESHOLD) == image).all()
    inferno = cv2.applyColorMap(np.array([[255]], dtype=np.uint8), cv2.COLORMAP_INFERNO)[0, 0, ::-1]
    full = 0.4 * 100 + 0.6 * inferno.astype(float)
    for level in (15.0, 20.0, 1e30):
        hot = heatmap_overlay(image, np.full((4, 6), level), THRESHOLD)
        assert np.abs(hot - full).max() <= 1
    change = [
        np.abs(heatmap_overlay(image, np.full((4, 6), level), THRESHOLD).astype(int) - 100).max()
        for level in (6.0, 9.0, 12.0)
    ]
    assert 0 < change[0] < change[1] < change[2]


def test_heat_lies_where_the_map_is_high_and_nowhere_else() -> None:
    image = gray()
    heat = np.zeros((6, 9))
    heat[1, 7] = 20.0
    result = heatmap_overlay(image, heat, THRESHOLD)
    changed = (result != image).any(axis=2)
    assert changed[15, 75]
    rows, columns = np.nonzero(changed)
    assert rows.min() >= 5
    assert rows.max() < 25
    assert columns.min() >= 65
    assert columns.max() < 85
    assert (image == 100).all()


@pytest.mark.parametrize("shape", [(1, 1), (20, 8000), (3, 5), (240, 320)])
@pytest.mark.parametrize("grid", [(1, 1), (30, 45), (7, 1)])
def test_heat_on_any_size(shape: tuple[int, int], grid: tuple[int, int]) -> None:
    result = heatmap_overlay(gray(*shape), np.full(grid, 15.0, dtype=np.float32), THRESHOLD)
    assert result.shape == (*shape, 3)
    assert (result[..., 0] != 100).all()


def test_heat_with_a_threshold_of_zero() -> None:
    heat = np.array([[0.0, 1.0]])
    result = heatmap_overlay(gray(), heat, 0.0)
    assert (result[:, 0] == 100).all()
    assert (result[:, -1] != 100).any()
