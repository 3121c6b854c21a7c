"""Which parts of a blend usual recordings choose, against the scorers themselves and on recordings made for it."""

from __future__ import annotations

import json
from itertools import combinations

import numpy as np
import pytest
from safetensors.numpy import load, save
from sklearn.metrics import roc_auc_score

from oddwatch.scorers import choice
from oddwatch.scorers.base import Rows, Scorer
from oddwatch.scorers.blend import FIXED, BlendScorer
from oddwatch.scorers.choice import choose
from oddwatch.scorers.density import DensityScorer
from oddwatch.scorers.gaussian import GaussianScorer
from oddwatch.scorers.knn import KnnScorer
from oddwatch.scorers.products import NAMES, Products
from oddwatch.scorers.subspace import SubspaceScorer
from oddwatch.types import FloatArray


def in_order(recordings: int, rows: int) -> FloatArray:
    """(n, 2) groups: one recording after the other, a row each second."""
    return np.stack([np.repeat(np.arange(recordings), rows), np.tile(np.arange(rows), recordings)], axis=1).astype(
        float
    )


def apart_in_a_plane() -> FloatArray:
    """8 recordings of 16 rows: each has two places of its own in a plane that all share, and noise in all directions.
    Where no usual row is, is within what varies together: neighbours and densities see it.
    """
    rng = np.random.default_rng(0)
    angle = np.repeat(np.arange(8) * np.pi / 8, 16) + np.tile([0, np.pi], 64)
    x = 0.002 * rng.normal(size=(128, 30))
    x[:, 0] += 1
    x[:, 1:3] += 0.2 * np.stack([np.cos(angle), np.sin(angle)], axis=1)
    return x.astype(np.float32)


def with_a_small_sign() -> FloatArray:
    """8 recordings of 16 rows: much of the variance is that of two directions that all share, and each recording is
    shifted a little along one of its own. Distances between rows hardly see it.
    """
    rng = np.random.default_rng(0)
    x = 0.002 * rng.normal(size=(128, 30))
    x[:, 0] += 1
    x[:, 1:3] += 0.3 * rng.normal(size=(128, 2))
    x[np.arange(128), 5 + np.repeat(np.arange(8), 16)] += 0.02
    return x.astype(np.float32)


def learned(x: FloatArray) -> list[Scorer]:
    knn, gaussian = KnnScorer(normalise="length"), GaussianScorer(normalise="length")
    return [part.fit(x) for part in (DensityScorer(), gaussian, knn, SubspaceScorer())]


def scores(x: FloatArray, asked: FloatArray) -> FloatArray:
    return np.stack([part.score(asked) for part in learned(x)], axis=1)


def standardised(x: FloatArray, asked: FloatArray) -> FloatArray:
    quarters = np.array_split(np.arange(len(x)), 4)
    held_out = np.concatenate([scores(np.delete(x, q, axis=0), x[q]) for q in quarters])
    return np.asarray((scores(x, asked) - held_out.mean(0)) / held_out.std(0))


@pytest.mark.parametrize("columns", [8, 60])
def test_products_give_what_the_scorers_give(columns: int) -> None:
    """With more and with fewer rows than columns."""
    rng = np.random.default_rng(1)
    x = (rng.normal(size=(50, columns)) @ rng.normal(size=(columns, columns)) + 3).astype(np.float32)
    teach, asked = np.arange(5, 45), np.r_[np.arange(5), np.arange(45, 50)]
    products = Products(x, neighbours=3)
    np.testing.assert_allclose(products.scores(teach, asked), scores(x[teach], x[asked]), rtol=2e-3)
    np.testing.assert_allclose(
        products.standardised(teach, asked), standardised(x[teach], x[asked]), rtol=1e-2, atol=1e-2
    )


def test_rows_that_are_all_alike_have_finite_scores() -> None:
    found = Products(np.ones((20, 5), np.float32), neighbours=3).standardised(np.arange(16), np.arange(16, 20))
    assert np.isfinite(found).all()


def test_the_highest_mean_area_over_recordings_is_chosen() -> None:
    """The rule written out once more, with the scorers themselves."""
    x, groups = with_a_small_sign()[:80], in_order(5, 16)
    subsets = [c for size in (4, 3, 2) for c in combinations(range(4), size)]
    areas = []
    for one in range(5):
        for quarter in range(4):
            tested = (groups[:, 0] != one) & (groups[:, 1] // 4 == quarter)
            at = np.flatnonzero(tested)
            near = np.unique(np.clip(np.r_[at - 1, at, at + 1], 0, 79))
            teach = np.setdiff1d(np.flatnonzero(groups[:, 0] != one), near)
            unusual = np.flatnonzero(groups[:, 0] == one)
            z = standardised(x[teach], x[np.r_[at, unusual]])
            labels = np.r_[np.zeros(len(at)), np.ones(len(unusual))]
            areas.append([roc_auc_score(labels, z[:, list(c)].mean(1)) for c in subsets])
    best = subsets[int(np.mean(areas, axis=0).round(9).argmax())]
    shuffled = np.random.default_rng(2).permutation(80)
    found = choose(x[shuffled], groups[shuffled], neighbours=3, seed=0)
    assert found == tuple(NAMES[i] for i in best)


def test_recordings_choose_what_tells_them_apart() -> None:
    places, sign = (BlendScorer().fit(x, groups=in_order(8, 16)) for x in (apart_in_a_plane(), with_a_small_sign()))
    assert places.chosen
    assert places.parts == ("density", "knn")
    assert places.says() == "density + knn, chosen by the recordings"
    assert "gaussian" in sign.parts
    assert "knn" not in sign.parts


def test_too_few_recordings_or_none_leave_the_three() -> None:
    x = apart_in_a_plane()
    fixed = BlendScorer(choose=False).fit(x, groups=in_order(8, 16))
    few = np.stack([np.repeat([0, 1, 2, 3], 32), np.arange(128)], axis=1).astype(float)
    short = few.copy()
    short[-7:, 0] = 4  # a fifth, of 7 rows
    for scorer in (fixed, BlendScorer().fit(x), BlendScorer().fit(x, groups=few), BlendScorer().fit(x, groups=short)):
        assert (scorer.parts, scorer.chosen) == (FIXED, False)
        assert scorer.says() == "gaussian + knn + subspace"
    short[-8:, 0] = 4
    assert BlendScorer().fit(x, groups=short).chosen


def test_a_choice_is_the_same_again_and_saved() -> None:
    x, groups = apart_in_a_plane(), in_order(8, 16)
    first, second = (BlendScorer().fit(x, groups=groups) for _ in range(2))
    arrays, meta = first.state()
    restored = BlendScorer(**first.options).restore(load(save(arrays)), json.loads(json.dumps(meta)))
    new = apart_in_a_plane()[::3] + np.float32(0.01)
    for other in (second, restored):
        np.testing.assert_array_equal(other.score(new), first.score(new))
        np.testing.assert_array_equal(other.origins(new), first.origins(new))
        assert (other.parts, other.chosen) == (first.parts, True)


def test_a_blend_without_neighbours_still_knows_where_a_row_is_from() -> None:
    x, groups = with_a_small_sign(), in_order(8, 16)
    scorer = BlendScorer().fit(x, groups=groups)
    assert "knn" not in scorer.parts
    np.testing.assert_array_equal(scorer.origins(x[[3, 99]]), groups[[3, 99]])


def test_of_many_recordings_some_are_drawn(monkeypatch: pytest.MonkeyPatch) -> None:
    """8 recordings and 320 rows, where 6 and 200 are the most."""
    monkeypatch.setattr(choice, "MOST_RECORDINGS", 6)
    x, groups = np.repeat(with_a_small_sign(), 3, axis=0), in_order(8, 48)
    drawn = np.isin(groups[:, 0], np.random.default_rng(5).choice(8, 6, replace=False))
    seen: list[int] = []

    def noted(rows: Rows, *, neighbours: int) -> Products:
        seen.append(len(rows))
        return Products(rows, neighbours=neighbours)

    monkeypatch.setattr(choice, "Products", noted)
    assert choose(x, groups, neighbours=3, seed=5) == choose(x[drawn], groups[drawn], neighbours=3, seed=0)
    assert seen == [6 * 33] * 2


def test_density_is_that_of_gaussian_kernels() -> None:
    x = np.random.default_rng(4).normal(size=(30, 4)).astype(np.float32)
    x /= np.linalg.norm(x, axis=1, keepdims=True)  # the length is constant: only the direction counts
    scorer = DensityScorer().fit(x)
    normal = (x - x.mean(0)) / np.sqrt(x.astype(float).var(0).mean())
    squared = ((normal[:, None] - normal) ** 2).sum(2)
    width = np.median(np.sort(squared, axis=1)[:, 3])
    expected = -np.log(np.exp(-squared / (2 * width)).mean(1))
    again = DensityScorer().restore(*scorer.state())
    for one in (scorer, again):
        np.testing.assert_allclose(one.score(x), expected, rtol=1e-4)
    assert scorer.score(100 * np.abs(x)).min() > expected.max()
    with pytest.raises(ValueError, match="score before fit"):
        DensityScorer().score(x)
    with pytest.raises(ValueError, match="state before fit"):
        DensityScorer().state()
