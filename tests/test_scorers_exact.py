"""What each scorer computes, against independent formulations. The autoencoder has its own file."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
from scipy.spatial.distance import cdist, mahalanobis
from scorer_rows import COLUMNS, unusual, usual
from sklearn.covariance import LedoitWolf
from sklearn.decomposition import PCA
from sklearn.neighbors import NearestNeighbors

from oddwatch.errors import UsageError
from oddwatch.scorers import build_scorer
from oddwatch.scorers.base import Normaliser
from oddwatch.scorers.blend import BlendScorer
from oddwatch.scorers.centroid import CentroidScorer
from oddwatch.scorers.gaussian import FLOOR, GaussianScorer
from oddwatch.scorers.knn import KnnScorer
from oddwatch.scorers.subspace import SubspaceScorer
from oddwatch.types import FloatArray

# standardising


def test_a_column_of_small_numbers_beside_large_ones_is_not_taken_for_constant() -> None:
    rng = np.random.default_rng(0)
    rows = np.stack([rng.normal(0, 1e6, 500), rng.normal(5, 1e-3, 500)], axis=1).astype(np.float32)
    scaled = Normaliser.of(rows)(rows)
    np.testing.assert_allclose(scaled.std(0), 1, rtol=1e-3)
    assert np.abs(scaled.mean(0)).max() < 1e-2


def test_a_constant_column_is_centred_and_not_blown_up() -> None:
    rows = np.full((1000, 2), [0.1, 1e6], np.float32)
    assert np.abs(Normaliser.of(rows)(rows)).max() < 0.1


def test_direction_and_length_are_apart() -> None:
    rows = np.array([[3, 4], [6, 8], [0, 2], [0, 0]], np.float32)
    normal = Normaliser.of(rows, "length")
    assert normal.columns == 2
    made = normal(rows)
    assert made.shape == (4, 3)
    np.testing.assert_allclose(made[0, :2], made[1, :2])  # the same direction
    np.testing.assert_allclose(made[:, 2], (np.array([5, 10, 2, 0]) - 4.25) / np.std([5, 10, 2, 0]), rtol=1e-5)
    assert made[:, :2].var(0).mean() == pytest.approx(1)
    assert np.isfinite(made).all()


def test_without_normalisation_distances_keep_their_proportions() -> None:
    rows = usual() * np.array([1, 1, 1, 1, 1, 100], np.float32)
    made = Normaliser.of(rows, "none")(rows)
    assert made.var(0).mean() == pytest.approx(1, rel=1e-4)
    ratio = cdist(rows[:5], rows[5:9]) / cdist(made[:5], made[5:9])
    np.testing.assert_allclose(ratio, ratio[0, 0], rtol=1e-3)


@pytest.mark.parametrize("name", ["knn", "gaussian"])
def test_an_unknown_normalisation_is_a_usage_error(name: str) -> None:
    with pytest.raises(UsageError, match="normalise is columns, length or none, got 'l2'"):
        build_scorer(name, normalise="l2")


# gaussian


def test_gaussian_is_the_mahalanobis_distance_of_ledoit_and_wolf() -> None:
    rows, new = usual().astype(np.float64), np.concatenate([usual(30, seed=1), unusual(5)]).astype(np.float64)
    mean, deviation = rows.mean(0), rows.std(0)
    precision = np.linalg.inv(LedoitWolf().fit((rows - mean) / deviation).covariance_)
    zero = np.zeros(COLUMNS)
    expected = [mahalanobis((row - mean) / deviation, zero, precision) for row in new]
    np.testing.assert_allclose(GaussianScorer().fit(rows).score(new), expected, rtol=1e-4)


def test_gaussian_of_fewer_rows_than_columns_is_the_same_distance() -> None:
    """Where nothing as large as the covariance is made."""
    rng = np.random.default_rng(0)
    rows = rng.normal(size=(20, 4)) @ rng.normal(size=(4, 50)) + 0.3 * rng.normal(size=(20, 50)) + 5
    rows[:, 7] = 1.0
    new = np.concatenate([rows[:3], rng.normal(size=(9, 50)) + 5])
    mean, deviation = rows.mean(0), np.where(rows.std(0) > 0, rows.std(0), 1)
    covariance = LedoitWolf().fit((rows - mean) / deviation).covariance_ + FLOOR * np.eye(50)
    scorer = GaussianScorer().fit(rows.astype(np.float32))
    keep = np.arange(50) != 7  # how far a column may go that never changed is the normaliser's business
    new[:, ~keep] = 1.0
    expected = [mahalanobis((row - mean) / deviation, np.zeros(50), np.linalg.inv(covariance)) for row in new]
    np.testing.assert_allclose(scorer.score(new.astype(np.float32)), expected, rtol=1e-3)
    again = GaussianScorer().restore(*scorer.state())
    np.testing.assert_array_equal(again.score(new), scorer.score(new))


def test_gaussian_does_not_depend_on_units() -> None:
    units = np.array([1e-3, 1, 1e3, 5, 0.1, 10], np.float32)
    one, other = GaussianScorer().fit(usual()), GaussianScorer().fit(usual() * units)
    np.testing.assert_allclose(one.score(usual(seed=1)), other.score(usual(seed=1) * units), rtol=1e-3)


# centroid


def test_centroid_is_the_distance_to_the_nearest_class_mean() -> None:
    rows = np.array([[0, 0], [2, 0], [10, 0], [12, 0]], np.float32)
    scorer = CentroidScorer().fit(rows, labels=["walk", "walk", "run", "run"])
    new = np.array([[1, 4], [8, 4], [6, 0]], np.float32)
    assert scorer.classes == ("run", "walk")
    np.testing.assert_allclose(scorer.distances(new), [[np.hypot(10, 4), 4], [5, np.hypot(7, 4)], [5, 5]], rtol=1e-6)
    np.testing.assert_allclose(scorer.score(new), [4, 5, 5])
    assert scorer.nearest(new[:2]) == ["walk", "run"]
    again = CentroidScorer().restore(*scorer.state())
    assert again.nearest(new) == scorer.nearest(new)


def test_centroid_without_labels_is_one_class() -> None:
    scorer = CentroidScorer().fit(np.array([[0.0], [4.0]]))
    assert scorer.classes == ("usual",)
    assert scorer.score(np.array([[5.0]])).tolist() == [3.0]


def test_centroid_needs_a_label_per_row() -> None:
    with pytest.raises(ValueError, match="200 rows need as many labels, got 3"):
        CentroidScorer().fit(usual(), labels=["a", "b", "c"])


# knn


def standardised(rows: FloatArray, by: FloatArray) -> FloatArray:
    return np.asarray((rows - by.mean(0)) / by.std(0))


@pytest.mark.parametrize("neighbours", [1, 3, 1000])
def test_knn_is_the_mean_distance_to_the_nearest_rows(neighbours: int) -> None:
    rows, new = usual(), np.concatenate([usual(50, seed=1), unusual()])
    scorer = KnnScorer(neighbours=neighbours, memory=len(rows)).fit(rows)
    nearest = NearestNeighbors(n_neighbors=min(neighbours, len(rows))).fit(standardised(rows, rows))
    expected = nearest.kneighbors(standardised(new, rows))[0].mean(1)
    np.testing.assert_allclose(scorer.score(new), expected, rtol=1e-3)


def test_knn_scores_many_rows_as_few() -> None:
    scorer = KnnScorer(memory=50).fit(usual())
    many = usual(9000, seed=1)
    np.testing.assert_allclose(scorer.score(many)[-10:], scorer.score(many[-10:]), rtol=1e-4)


def memory_of(size: int, rows: FloatArray) -> FloatArray:
    return np.asarray(KnnScorer(memory=size).fit(rows).state()[0]["memory"], dtype=np.float64)


def test_the_coreset_covers_the_rows_better_the_larger_it_is() -> None:
    rows = usual(600)
    radius = [cdist(standardised(rows, rows), memory_of(size, rows)).min(1).max() for size in (1, 5, 20, 80, 320, 600)]
    assert all(smaller < larger for larger, smaller in pairwise(radius))
    assert radius[-1] < 1e-5
    # A greedy choice is within twice the best, and so of any other, such as a random one.
    random_rows = np.random.default_rng(0).choice(len(rows), 80, replace=False)
    by_chance = cdist(standardised(rows, rows), standardised(rows, rows)[random_rows]).min(1).max()
    assert radius[3] < by_chance


def test_the_coreset_keeps_the_rare_usual() -> None:
    rows = usual(1000)
    rows[17] += 30
    rows[800] -= 30
    kept = memory_of(10, rows)
    for extreme in standardised(rows, rows)[[17, 800]]:
        assert np.linalg.norm(kept - extreme, axis=1).min() < 1e-4


def test_the_memory_is_of_rows_that_were_seen_and_fills_up_with_copies_too() -> None:
    rows = np.repeat(usual(5), 20, axis=0)
    scorer = KnnScorer(neighbours=1, memory=50).fit(rows)
    assert scorer.state()[0]["memory"].shape == (50, COLUMNS)
    assert scorer.score(usual(5)).max() < 1e-2


def test_knn_tells_where_the_most_similar_row_came_from() -> None:
    rows = usual(100)
    groups = np.stack([np.repeat([0.0, 1.0], 50), np.arange(100) / 10], axis=1)
    scorer = KnnScorer(memory=100).fit(rows, groups=groups)
    np.testing.assert_array_equal(scorer.origins(rows[[3, 77]] + 1e-4), groups[[3, 77]])
    np.testing.assert_array_equal(KnnScorer().fit(rows).origins(rows[:2]), np.full((2, 2), -1.0))
    assert scorer.origins(rows[:0]).shape == (0, 2)
    with pytest.raises(ValueError, match=r"groups are \(100, 2\)"):
        KnnScorer().fit(rows, groups=groups[:, 0])


def test_a_smaller_memory_keeps_the_origins_of_what_it_keeps() -> None:
    rows = usual(100)
    groups = np.stack([np.zeros(100), np.arange(100.0)], axis=1)
    scorer = KnnScorer(memory=10).fit(rows, groups=groups)
    kept = scorer.state()[0]["origins"][:, 1].astype(int)
    np.testing.assert_allclose(scorer.state()[0]["memory"], standardised(rows, rows)[kept], atol=1e-4)


def test_the_seed_chooses_where_the_coreset_starts() -> None:
    kept = [KnnScorer(memory=3, seed=seed).fit(usual()).state()[0]["memory"][0] for seed in range(4)]
    assert len({row.tobytes() for row in kept}) > 1


@pytest.mark.parametrize("options", [{"neighbours": 0}, {"memory": 0}])
def test_knn_needs_at_least_one(options: dict[str, int]) -> None:
    with pytest.raises(UsageError, match="at least 1"):
        build_scorer("knn", **options)


def test_knn_of_directions_ranks_as_the_cosine() -> None:
    rng = np.random.default_rng(0)
    rows, new = rng.normal(size=(60, 40)) + 1, rng.normal(size=(30, 40)) + 1
    rows *= 5 / np.linalg.norm(rows, axis=1, keepdims=True)  # of one length, so that only the direction counts
    new *= 5 / np.linalg.norm(new, axis=1, keepdims=True)
    scores = KnnScorer(neighbours=1, normalise="length").fit(rows).score(new)
    cosine = NearestNeighbors(n_neighbors=1, metric="cosine").fit(rows).kneighbors(new)[0][:, 0]
    np.testing.assert_array_equal(np.argsort(scores), np.argsort(cosine))


# blend


def test_blend_is_the_mean_of_its_parts_in_units_of_held_out_scores() -> None:
    rows, new = usual(40), np.concatenate([usual(10, seed=1), unusual(3)])
    groups = np.stack([np.zeros(40), np.arange(40)[::-1]], axis=1).astype(float)  # the last row was first

    def parts(teach: FloatArray, asked: FloatArray) -> FloatArray:
        made = KnnScorer(normalise="length"), GaussianScorer(normalise="length"), SubspaceScorer()
        return np.stack([one.fit(teach).score(asked) for one in made], axis=1)

    quarters = [range(30, 40), range(20, 30), range(10, 20), range(10)]
    held_out = np.concatenate([parts(np.delete(rows, list(q), axis=0), rows[list(q)]) for q in quarters])
    z = ((parts(rows, new) - held_out.mean(0)) / held_out.std(0)).mean(1)
    scorer = BlendScorer().fit(rows, groups=groups)
    np.testing.assert_allclose(scorer.score(new), np.log1p(np.exp(z)), rtol=1e-4)
    np.testing.assert_array_equal(scorer.origins(rows[[3, 7]] + 1e-5), groups[[3, 7]])


def test_blend_has_no_origins_before_fit() -> None:
    with pytest.raises(ValueError, match="score before fit"):
        BlendScorer().origins(usual())


@pytest.mark.parametrize("count", [50, 1000])
def test_subspace_is_the_residual_of_principal_components(count: int) -> None:
    """With fewer and with more rows than columns."""
    rows = usual(count, columns=80)
    scorer = SubspaceScorer().fit(rows)
    again = SubspaceScorer().restore(*scorer.state())
    normal = Normaliser.of(rows, "length")
    made, asked = normal(rows).astype(float), normal(usual(20, seed=1, columns=80)).astype(float)
    model = PCA(n_components=0.8, svd_solver="full").fit(made)
    expected = np.linalg.norm(asked - model.inverse_transform(model.transform(asked)), axis=1)
    for one in (scorer, again):
        np.testing.assert_allclose(one.score(usual(20, seed=1, columns=80)), expected, rtol=1e-3)
    with pytest.raises(ValueError, match="score before fit"):
        SubspaceScorer().score(rows)
    with pytest.raises(ValueError, match="state before fit"):
        SubspaceScorer().state()
