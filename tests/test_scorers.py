"""One contract for every scorer in the table, then what is particular to each."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.numpy import load, save
from scipy.spatial.distance import cdist, mahalanobis
from sklearn.covariance import LedoitWolf
from sklearn.decomposition import PCA
from sklearn.neighbors import NearestNeighbors

from oddwatch.errors import MissingExtraError, NotEnoughVideoError, UsageError
from oddwatch.scorers import SCORERS, GridScorer, Scorer, build_scorer, scorer_class
from oddwatch.scorers.autoencoder import AutoencoderScorer
from oddwatch.scorers.base import PIXELS, Normaliser
from oddwatch.scorers.blend import BlendScorer
from oddwatch.scorers.centroid import CentroidScorer
from oddwatch.scorers.gaussian import GaussianScorer
from oddwatch.scorers.knn import KnnScorer
from oddwatch.scorers.subspace import SubspaceScorer
from oddwatch.types import FloatArray

QUICK: dict[str, dict[str, Any]] = {"autoencoder": {"hidden": (32, 16), "epochs": 30, "batch_size": 32}}
"""Options with which a fit takes a moment; a scorer that is not named here takes its defaults."""
NAMES = sorted(name for name in SCORERS if scorer_class(name).columns != PIXELS)
COLUMNS = 6


def usual(n: int = 200, *, seed: int = 0, columns: int = COLUMNS) -> FloatArray:
    """Correlated rows in units that differ by column."""
    rng = np.random.default_rng(seed)
    mixed = rng.normal(size=(n, columns)) @ (np.eye(columns) + 0.5 * rng.normal(size=(columns, columns)))
    return np.asarray(mixed * np.linspace(1, 2, columns) + 3, dtype=np.float32)


def unusual(n: int = 20, *, columns: int = COLUMNS) -> FloatArray:
    directions = np.random.default_rng(9).normal(size=(n, columns))
    return np.asarray(3 + 60 * directions / np.linalg.norm(directions, axis=1, keepdims=True), dtype=np.float32)


NAMED_COLUMNS: dict[str, tuple[tuple[float, float], float]] = {
    "speed": ((0.1, 0.2), 2.0),
    "right": ((0.05, 0.1), -1.5),
    "down": ((-0.02, 0.02), 1.0),
    "moving": ((0.3, 0.6), 0.9),
    "stays": ((0.0, 0.02), 0.9),
    "y": ((-0.3, 0.3), 0.45),
    "x": ((-0.6, 0.6), 1.2),
}
"""Usual range and an unusual value of the columns that a scorer may ask for by name; the others are 0 to 0.5."""


def quick(name: str) -> Scorer:
    return build_scorer(name, **QUICK.get(name, {}))


def usual_for(name: str, n: int = 200, *, seed: int = 0) -> FloatArray:
    names = scorer_class(name).columns
    if not names:
        return usual(n, seed=seed)
    rng = np.random.default_rng(seed)
    ranges = [NAMED_COLUMNS.get(column, ((0.0, 0.5), 0.0))[0] for column in names]
    return np.stack([rng.uniform(*one, n) for one in ranges], axis=1).astype(np.float32)


def unusual_for(name: str) -> FloatArray:
    names = scorer_class(name).columns
    if not names:
        return unusual()
    values = [NAMED_COLUMNS.get(column, ((0.0, 0.5), 1.0))[1] for column in names]
    return np.tile(np.array(values, np.float32), (20, 1))


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


# autoencoder


def layers(scorer: AutoencoderScorer) -> list[str]:
    assert isinstance(scorer._network, torch.nn.Sequential)
    return [str(layer) for layer in scorer._network]


def test_the_autoencoder_is_the_published_one() -> None:
    scorer = AutoencoderScorer(epochs=1).fit(usual(16, columns=768))
    linear, relu, dropout = (
        "Linear(in_features={}, out_features={}, bias=True)".format,
        "ReLU()",
        "Dropout(p=0.3, inplace=False)",
    )
    first, *others = layers(scorer)
    assert first.startswith("BatchNorm1d(768, eps=1e-05, momentum=0.1, affine=True")
    assert others == [
        *(linear(768, 512), relu, dropout, linear(512, 256), relu, dropout, linear(256, 128)),
        *(linear(128, 256), relu, dropout, linear(256, 512), relu, dropout, linear(512, 768)),
    ]
    assert scorer._network is not None
    assert not any(module.training for module in scorer._network.modules())


def test_two_layers_as_in_the_article() -> None:
    scorer = AutoencoderScorer(hidden=(384, 128), epochs=1).fit(usual(16, columns=512))
    sizes = [text.split("=")[1:3] for text in layers(scorer) if text.startswith("Linear")]
    assert [(int(a.split(",")[0]), int(b.split(",")[0])) for a, b in sizes] == [
        (512, 384),
        (384, 128),
        (128, 384),
        (384, 512),
    ]


def test_the_published_hyperparameters_are_the_defaults(monkeypatch: pytest.MonkeyPatch) -> None:
    assert AutoencoderScorer().options == {
        "hidden": [512, 256, 128],
        "dropout": 0.3,
        "epochs": 30,
        "batch_size": 8,
        "learning_rate": 1e-3,
        "step_size": 10,
        "gamma": 0.1,
        "seed": 42,
        "max_rows": 5_000,
    }
    rates: list[float] = []
    adam = torch.optim.Adam

    class Watched(adam):  # type: ignore[misc, valid-type]
        def step(self, closure: Any = None) -> Any:
            rates.append(self.param_groups[0]["lr"])
            return super().step(closure)

    monkeypatch.setattr(torch.optim, "Adam", Watched)
    scorer = AutoencoderScorer(hidden=(4, 2)).fit(usual(16))
    assert rates == pytest.approx([1e-3] * 20 + [1e-4] * 20 + [1e-5] * 20)
    assert len(scorer.losses) == 30


def by_hand(rows: FloatArray, *, epochs: int, batch_size: int) -> torch.nn.Module:
    """METHOD's recipe for 6 columns and hidden sizes 4 and 2, written out once more."""
    nn = torch.nn
    data = torch.from_numpy(rows)
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(42)
        encoder = [nn.BatchNorm1d(6), nn.Linear(6, 4), nn.ReLU(), nn.Dropout(0.3), nn.Linear(4, 2)]
        network = nn.Sequential(*encoder, nn.Linear(2, 4), nn.ReLU(), nn.Dropout(0.3), nn.Linear(4, 6))
        optimiser = torch.optim.Adam(network.parameters(), lr=1e-3)
        schedule = torch.optim.lr_scheduler.StepLR(optimiser, step_size=10, gamma=0.1)
        for _ in range(epochs):
            for batch in torch.split(torch.randperm(len(data)), batch_size):
                optimiser.zero_grad()
                loss: Any = torch.nn.functional.mse_loss(network(data[batch]), data[batch], reduction="sum")
                loss.backward()
                optimiser.step()
            schedule.step()
    return network.eval()


def test_training_minimises_the_summed_squared_error() -> None:
    rows = usual(32)
    scorer = AutoencoderScorer(hidden=(4, 2), epochs=12).fit(rows)
    network = by_hand(rows, epochs=12, batch_size=8)
    with torch.no_grad():
        error = (network(torch.from_numpy(rows)) - torch.from_numpy(rows)).square().sum(1).numpy()
    np.testing.assert_allclose(scorer.score(rows), error, rtol=1e-3)


def test_the_loss_falls_and_is_per_row() -> None:
    rows = usual(200)
    scorer = AutoencoderScorer(hidden=(32, 16), epochs=25, learning_rate=1e-2, dropout=0.0).fit(rows)
    assert scorer.losses[-1] < 0.5 * scorer.losses[0]
    # One batch that hardly learns: the statistics of BatchNorm settle, and training sees what scoring sees.
    still = AutoencoderScorer(hidden=(4,), epochs=80, learning_rate=1e-9, dropout=0.0, batch_size=200).fit(rows)
    assert still.losses[-1] == pytest.approx(still.score(rows).mean(), rel=0.01)


def test_a_last_batch_of_one_row_is_left_out_of_loss_and_training() -> None:
    scorer = AutoencoderScorer(hidden=(4,), epochs=1, learning_rate=1e-12, dropout=0.0).fit(np.tile(usual(1), (9, 1)))
    # Equal rows become the bias alone, the same error in each batch: a row that is not counted must not lower it.
    whole = AutoencoderScorer(hidden=(4,), epochs=1, learning_rate=1e-12, dropout=0.0).fit(np.tile(usual(1), (8, 1)))
    assert scorer.losses == pytest.approx(whole.losses, rel=1e-5)


def test_learning_and_scoring_leave_the_random_numbers_of_others_alone() -> None:
    torch.manual_seed(7)
    threads = torch.get_num_threads()
    before = torch.get_rng_state()
    numbers = np.random.get_state()[1].copy()  # type: ignore[index]
    scorer = AutoencoderScorer(hidden=(4,), epochs=1).fit(usual(16))
    scorer.score(usual())
    assert torch.get_num_threads() == threads
    assert torch.equal(torch.get_rng_state(), before)
    np.testing.assert_array_equal(np.random.get_state()[1], numbers)  # type: ignore[index]


def test_what_others_seeded_does_not_change_what_is_learned() -> None:
    scores = []
    for seed in (1, 2):
        torch.manual_seed(seed)
        scores.append(AutoencoderScorer(hidden=(4,), epochs=2).fit(usual(16)).score(usual()))
    np.testing.assert_array_equal(scores[0], scores[1])
    other = AutoencoderScorer(hidden=(4,), epochs=2, seed=1).fit(usual(16)).score(usual())
    assert not np.array_equal(scores[0], other)


@pytest.mark.parametrize(
    "options",
    [
        {"hidden": ()},
        {"hidden": (4, 0)},
        {"epochs": 0},
        {"batch_size": 1},
        {"dropout": 1.0},
        {"learning_rate": 0.0},
        {"step_size": 0},
        {"gamma": 0.0},
        {"max_rows": 1},
    ],
)
def test_hyperparameters_out_of_range(options: dict[str, Any]) -> None:
    with pytest.raises(UsageError, match=r"at least|is in|above 0"):
        build_scorer("autoencoder", **options)


def test_without_torch_it_says_so_before_any_work_is_done(monkeypatch: pytest.MonkeyPatch) -> None:
    learned = AutoencoderScorer(hidden=(4,), epochs=1).fit(usual(16))
    monkeypatch.setitem(sys.modules, "torch", None)
    message = r'the autoencoder scorer needs torch: pip install "oddwatch\[torch\]"'
    calls: Sequence[Callable[[], object]] = (
        lambda: build_scorer("autoencoder"),
        lambda: learned.fit(usual(16)),
        lambda: learned.score(usual(16)),
    )
    for call in calls:
        with pytest.raises(MissingExtraError, match=message):
            call()


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
