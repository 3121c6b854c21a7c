"""The variational autoencoder: the contract of every scorer, then what makes it variational."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from scorer_rows import usual
from test_scorers import (
    test_high_is_anomalous,
    test_rows_of_another_kind_are_refused,
    test_scores_are_finite_float64_and_not_negative,
    test_state_and_back_through_safetensors,
    test_the_score_of_a_row_does_not_depend_on_its_neighbours,
    test_values_that_are_not_finite_are_refused,
)
from torch.distributions import Independent, Normal, kl_divergence

from oddwatch.config.train import read_config
from oddwatch.errors import UsageError
from oddwatch.finetune import Autoencoder, Data, Recipe
from oddwatch.scorers.autoencoder import AutoencoderScorer, autoencoder_network
from oddwatch.scorers.variational import Gaussian, objective

__all__ = [
    "test_high_is_anomalous",
    "test_rows_of_another_kind_are_refused",
    "test_scores_are_finite_float64_and_not_negative",
    "test_state_and_back_through_safetensors",
    "test_the_score_of_a_row_does_not_depend_on_its_neighbours",
    "test_values_that_are_not_finite_are_refused",
]


def small(**options: object) -> AutoencoderScorer:
    return AutoencoderScorer(**{"hidden": (32, 4), "epochs": 30, "batch_size": 32, "variational": True, **options})  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def fitted() -> AutoencoderScorer:
    return small().fit(usual())


def test_scoring_draws_nothing_and_training_is_seeded(fitted: AutoencoderScorer) -> None:
    rows = usual(seed=1)
    torch.manual_seed(1)
    first = fitted.score(rows)
    torch.manual_seed(2)
    np.testing.assert_array_equal(fitted.score(rows), first)
    np.testing.assert_array_equal(small().fit(usual()).score(rows), first)
    assert not np.array_equal(small(seed=1).fit(usual()).score(rows), first)


def test_the_score_is_the_error_of_the_copy_by_the_mean_of_the_latent(fitted: AutoencoderScorer) -> None:
    arrays, _ = fitted.state()
    rows = usual(5, seed=1).astype(np.float64)
    a = {name: value.astype(np.float64) for name, value in arrays.items()}
    x = (rows - a["0.running_mean"]) / np.sqrt(a["0.running_var"] + 1e-5) * a["0.weight"] + a["0.bias"]
    hidden = np.maximum(x @ a["1.weight"].T + a["1.bias"], 0)
    mean = (hidden @ a["4.weight"].T + a["4.bias"])[:, :4]
    copy = np.maximum(mean @ a["5.weight"].T + a["5.bias"], 0) @ a["8.weight"].T + a["8.bias"]
    np.testing.assert_allclose(fitted.latent(usual(5, seed=1)), mean, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(fitted.score(usual(5, seed=1)), ((rows - copy) ** 2).sum(1), rtol=1e-3)


def test_a_plain_one_has_none_of_it() -> None:
    plain, variational = (autoencoder_network(6, [8, 3], 0.3, kind) for kind in (False, True))
    assert not [layer for layer in plain if isinstance(layer, Gaussian)]
    assert [i for i, layer in enumerate(variational) if isinstance(layer, Gaussian)] == [len(plain) // 2]
    assert len(plain) == len(variational)
    errors = torch.tensor([1.0, 2.0])
    assert objective(plain, errors, 6) == 3


def test_a_latent_is_drawn_from_its_distribution_and_costs_its_divergence() -> None:
    torch.manual_seed(0)
    layer = Gaussian(5, 3).train()
    x = torch.randn(1, 5)
    mean, log_variance = torch.nn.functional.linear(x, layer.weight, layer.bias).chunk(2, dim=1)
    drawn = layer(x.expand(20_000, 5))
    torch.testing.assert_close(drawn.mean(0), mean[0], atol=0.03, rtol=0)
    torch.testing.assert_close(drawn.std(0), torch.exp(log_variance[0] / 2), atol=0.03, rtol=0)
    theirs = kl_divergence(
        Independent(Normal(mean, torch.exp(log_variance / 2)), 1), Independent(Normal(torch.zeros(3), torch.ones(3)), 1)
    )
    torch.testing.assert_close(layer.divergence[:1], theirs)
    torch.testing.assert_close(layer.eval()(x), mean)


def test_the_objective_is_the_negative_evidence_lower_bound() -> None:
    """Less a constant: the likelihood by torch's own normal distribution, of the variance that makes it greatest."""
    torch.manual_seed(0)
    network = autoencoder_network(6, [8, 3], 0.0, variational=True).train()
    e = torch.randn(4, 6, dtype=torch.float32)
    with torch.no_grad():
        copies = network(e)
    found = objective(network, (copies - e).square().sum(1), 6)
    divergence = sum(layer.divergence.sum() for layer in network if isinstance(layer, Gaussian))

    def bound(deviation: float) -> float:
        likelihood: Any = Normal(copies, deviation)
        return float(divergence - likelihood.log_prob(e).sum())

    best = float((copies - e).square().mean().sqrt())
    constant = 4 * 6 / 2 * (math.log(2 * math.pi) + 1)
    assert float(found) + constant == pytest.approx(bound(best), rel=1e-5)
    assert bound(best) < min(bound(best * 0.9), bound(best * 1.1))


def test_the_scale_of_embeddings_does_not_matter() -> None:
    """With a decoder of variance 1 small embeddings would cost nothing to lose, and all copies be one."""
    rows = usual() - usual().mean(0)
    for scale in (1.0, 0.03):
        scaled = np.asarray(rows * scale, dtype=np.float32)
        lost = small(dropout=0.0, batch_size=8, learning_rate=3e-3).fit(scaled).score(scaled).mean()
        assert lost < 0.8 * np.square(scaled).sum(1).mean()


def test_it_can_be_asked_for_in_a_configuration(tmp_path: Path) -> None:
    from oddwatch.cli.train import recipe_of

    file = Path(__file__).resolve().parent.parent / "configs" / "timesformer-v1.yaml"
    assert not read_config(file).autoencoder.variational
    read = read_config(file, {"autoencoder.variational": True})
    assert recipe_of(read.model_dump()).autoencoder == Autoencoder((512, 256, 128), 0.3, variational=True)
    with pytest.raises(UsageError, match=r"autoencoder\.variational is 'maybe', it must be true or false"):
        read_config(file, {"autoencoder.variational": "maybe"})


def test_training_on_lightning_learns_and_validates_by_the_mean() -> None:
    from oddwatch.finetune.module import Learner

    recipe = Recipe("motion", autoencoder=Autoencoder((16, 3), variational=True), data=Data(batch_size=8))
    learner = Learner(recipe, 6)
    assert any(isinstance(layer, Gaussian) for layer in learner.autoencoder)
    e = torch.from_numpy(usual(8))
    learner.log = lambda *args, **kwargs: None  # type: ignore[method-assign]
    learner._trainer = type("Epoch", (), {"current_epoch": 0})()
    losses = [learner.train().training_step({"embedding": e}, step).item() for step in (0, 0, 1)]
    assert losses[0] == losses[1] != losses[2]
    latents = []
    for _ in range(2):
        learner.eval().validation_step({"embedding": e}, 0)
        latents.append(learner._seen.pop()[1])
    torch.testing.assert_close(*latents, atol=0, rtol=0)
