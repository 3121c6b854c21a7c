"""One contract for every scorer in the table, on rows and on grids."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import load, save
from scorer_rows import NAMES, quick, unusual_for, usual, usual_for

from oddwatch.errors import NotEnoughVideoError, UsageError
from oddwatch.scorers import SCORERS, GridScorer, Scorer, build_scorer, scorer_class
from oddwatch.scorers.gaussian import GaussianScorer
from oddwatch.scorers.knn import KnnScorer
from oddwatch.types import FloatArray


@pytest.fixture(scope="module", params=NAMES)
def fitted(request: pytest.FixtureRequest) -> Scorer:
    return quick(request.param).fit(usual_for(request.param))


# the contract


def test_high_is_anomalous(fitted: Scorer) -> None:
    for seed in (0, 1):
        assert fitted.score(unusual_for(fitted.name)).min() > fitted.score(usual_for(fitted.name, seed=seed)).max()


def test_scores_are_finite_float64_and_not_negative(fitted: Scorer) -> None:
    own, new = usual_for(fitted.name), usual_for(fitted.name, seed=1)
    for rows in (new, unusual_for(fitted.name), own.astype(np.float64), np.asfortranarray(own), own[::2]):
        scores = fitted.score(rows)
        assert scores.shape == (len(rows),)
        assert scores.dtype == np.float64
        assert np.isfinite(scores).all()
        assert (scores >= 0).all()
    assert fitted.score(own[:0]).shape == (0,)


def test_the_score_of_a_row_does_not_depend_on_its_neighbours(fitted: Scorer) -> None:
    rows = np.concatenate([usual_for(fitted.name, 20, seed=1), unusual_for(fitted.name)[:3]])
    one_by_one = np.concatenate([fitted.score(row[None]) for row in rows])
    np.testing.assert_allclose(fitted.score(rows), one_by_one, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("name", NAMES)
def test_the_same_rows_teach_the_same(name: str) -> None:
    rows, new = usual_for(name), usual_for(name, seed=1)
    kept = rows.copy()
    first, second = quick(name).fit(rows), quick(name)
    second.fit(unusual_for(name))  # what an earlier fit learned is forgotten
    second.fit(rows)
    np.testing.assert_array_equal(first.score(new), second.score(new))
    np.testing.assert_array_equal(rows, kept)


def test_state_and_back_through_safetensors(fitted: Scorer) -> None:
    arrays, meta = fitted.state()
    options = json.loads(json.dumps(fitted.options))
    again = build_scorer(fitted.name, **options)
    again.restore(load(save({k: np.asarray(v, order="C") for k, v in arrays.items()})), json.loads(json.dumps(meta)))
    rows = np.concatenate([usual_for(fitted.name, seed=1), unusual_for(fitted.name)])
    np.testing.assert_array_equal(again.score(rows), fitted.score(rows))
    assert again.options == fitted.options


@pytest.mark.parametrize("name", NAMES)
def test_scoring_or_saving_before_learning_is_an_error(name: str) -> None:
    with pytest.raises(ValueError, match="score before fit"):
        quick(name).score(usual_for(name))
    with pytest.raises(ValueError, match="state before fit"):
        quick(name).state()


def test_rows_of_another_kind_are_refused(fitted: Scorer) -> None:
    rows = usual_for(fitted.name)
    columns = rows.shape[1]
    with pytest.raises(ValueError, match=f"rows of {columns} values, got rows of {columns + 1}"):
        fitted.score(np.zeros((3, columns + 1), np.float32))
    with pytest.raises(ValueError, match=r"rows are \(n, d\)"):
        fitted.score(rows[0])


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_values_that_are_not_finite_are_refused(fitted: Scorer, bad: float) -> None:
    rows = usual_for(fitted.name)
    rows[3, 2] = bad
    with pytest.raises(ValueError, match="not finite"):
        fitted.score(rows)
    with pytest.raises(ValueError, match="not finite"):
        quick(fitted.name).fit(rows)


@pytest.mark.parametrize("name", NAMES)
def test_nothing_to_learn_from(name: str) -> None:
    with pytest.raises(NotEnoughVideoError, match="too few"):
        quick(name).fit(usual_for(name)[:0])


@pytest.mark.parametrize("name", ["gaussian", "autoencoder", "blend"])
def test_one_row_has_no_spread(name: str) -> None:
    with pytest.raises(NotEnoughVideoError, match="1 embeddings are too few to learn from, 2 are needed"):
        quick(name).fit(usual(1))


POOR: dict[str, Callable[[str], FloatArray]] = {
    "two rows": lambda name: usual_for(name, 2),
    "nine rows": lambda name: usual_for(name, 9),
    "all alike": lambda name: np.repeat(usual_for(name, 1), 40, axis=0),
    "all zero": lambda name: 0 * usual_for(name, 40),
    "constant columns": lambda name: np.concatenate(
        [usual_for(name, 40)[:, :-2], usual_for(name, 40)[:1, -2:].repeat(40, 0)], 1
    ),
}
"""Rows of the scorer's own columns that hold little."""
POOR_IN_COLUMNS = {
    "one column": usual(40, columns=1),
    "a large constant": np.concatenate([usual(40), np.full((40, 1), 100, np.float32)], axis=1),
    "more columns than rows": usual(40, columns=80),
}


def cases() -> list[Any]:
    own = [pytest.param(name, make(name), id=f"{name}-{case}") for name in NAMES for case, make in POOR.items()]
    free = [name for name in NAMES if not scorer_class(name).columns]
    return own + [pytest.param(n, rows, id=f"{n}-{case}") for n in free for case, rows in POOR_IN_COLUMNS.items()]


@pytest.mark.parametrize(("name", "rows"), cases())
def test_poor_rows_still_teach(name: str, rows: FloatArray) -> None:
    scorer = quick(name).fit(rows)
    usual_scores, far = scorer.score(rows), scorer.score(rows[:2] + np.float32(1e3))
    assert np.isfinite(usual_scores).all()
    assert np.isfinite(far).all()
    assert far.min() > usual_scores.max()


@pytest.mark.parametrize("name", NAMES)
def test_labels_and_groups_may_be_given(name: str) -> None:
    rows = usual_for(name)
    groups = np.stack([np.zeros(len(rows)), np.arange(len(rows)) / 10], axis=1)
    scorer = quick(name).fit(rows, labels=["walk", "run"] * 100, groups=groups)
    assert scorer.score(unusual_for(name)).min() > scorer.score(rows).max()


@pytest.mark.parametrize("name", ["gaussian", "centroid"])
def test_the_order_of_the_rows_does_not_matter(name: str) -> None:
    rows = usual()
    shuffled = np.random.default_rng(1).permutation(rows)
    scores = [build_scorer(name).fit(x).score(usual(seed=1)) for x in (rows, shuffled)]
    np.testing.assert_allclose(scores[0], scores[1], rtol=1e-4)


@pytest.mark.parametrize("name", NAMES)
def test_it_says_what_it_is(name: str) -> None:
    made = scorer_class(name)
    assert made.name == name
    assert made.summary
    assert made.max_rows > 0
    assert json.loads(json.dumps(build_scorer(name).options)) == build_scorer(name).options


@pytest.mark.parametrize("name", NAMES)
def test_an_unknown_option_is_a_usage_error(name: str) -> None:
    with pytest.raises(UsageError, match=f"scorer '{name}'"):
        build_scorer(name, no_such_option=1)


def test_an_unknown_scorer_lists_the_valid_ones() -> None:
    with pytest.raises(UsageError, match=f"choose one of {', '.join(sorted(SCORERS))}, or module:Class"):
        build_scorer("svm")


def test_a_users_own_scorer() -> None:
    assert isinstance(build_scorer("oddwatch.scorers.knn:KnnScorer", memory=5), KnnScorer)
    with pytest.raises(UsageError, match="Can't instantiate abstract class"):
        build_scorer("oddwatch.scorers.base:Scorer")


# on a grid


class Recorder(Scorer):
    """A scorer that keeps the rows it is asked about and answers with their first value."""

    name = "recorder"
    summary = "for tests"

    def __init__(self) -> None:
        self.options = {}
        self.rows: FloatArray = np.zeros((0, 0))

    def fit(self, x: FloatArray, *, labels: Sequence[str] | None = None, groups: FloatArray | None = None) -> Recorder:
        return self

    def score(self, x: FloatArray) -> FloatArray:
        self.rows = x
        return np.abs(x[:, 0]).astype(np.float64)

    def state(self) -> tuple[dict[str, FloatArray], dict[str, Any]]:
        return {}, {}

    def restore(self, arrays: dict[str, FloatArray], meta: dict[str, Any]) -> Recorder:
        return self


def test_each_cell_is_scored_with_its_place() -> None:
    recorder = Recorder()
    grid = np.arange(1, 2 * 2 * 4 * 3 + 1, dtype=np.float32).reshape(2, 2, 4, 3)
    maps = GridScorer(recorder).maps(grid)
    np.testing.assert_array_equal(maps, grid[..., 0])
    assert maps.dtype == np.float32
    assert recorder.rows.shape == (16, 5)
    np.testing.assert_array_equal(recorder.rows[:, :3].reshape(grid.shape), grid)
    # In grid heights from the middle: a grid twice as wide as high spans -1..1 across and -0.5..0.5 down.
    np.testing.assert_allclose(recorder.rows[:8, 3], [-0.25] * 4 + [0.25] * 4)
    np.testing.assert_allclose(recorder.rows[:8, 4], [-0.75, -0.25, 0.25, 0.75] * 2)


def test_a_cell_that_holds_nothing_is_not_scored() -> None:
    recorder = Recorder()
    grid = np.zeros((2, 3, 3, 2), np.float32)
    grid[1, 2, 0] = (0, 5)  # holds something, though its first value is 0
    grid[0, 0, 1] = (7, 0)
    maps = GridScorer(recorder).maps(grid)
    assert len(recorder.rows) == 2
    assert maps[0, 0, 1] == 7
    assert maps.sum() == 7
    empty = GridScorer(quick("gaussian")).maps(np.zeros((2, 3, 3, 2), np.float32))  # not even fitted
    assert (empty.shape, float(empty.max())) == ((2, 3, 3), 0.0)


def test_what_is_usual_in_one_place_is_unusual_in_another() -> None:
    rng = np.random.default_rng(0)
    values = 5 + 0.1 * rng.normal(size=(500, 2))
    cells = rng.choice([0, 1, 4, 5], 500)  # the left half of a grid of 2 x 4
    scorer = GaussianScorer().fit(GridScorer.rows(values, cells, (2, 4)))
    grid = np.zeros((1, 2, 4, 2), np.float32)
    grid[0, 0, 0] = grid[0, 0, 3] = 5
    maps = GridScorer(scorer).maps(grid)
    assert maps[0, 0, 3] > 2 * maps[0, 0, 0] > 0
    # The maps are the scores of the rows themselves.
    expected = scorer.score(GridScorer.rows(np.full((2, 2), 5.0), np.array([0, 3]), (2, 4)))
    np.testing.assert_allclose(maps[0, 0, [0, 3]], expected, rtol=1e-6)
