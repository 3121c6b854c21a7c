"""The autoencoder of the article: layers, training, what it refuses."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pytest
import torch
from scorer_rows import usual

from oddwatch.errors import MissingExtraError, UsageError
from oddwatch.scorers import build_scorer
from oddwatch.scorers.autoencoder import AutoencoderScorer
from oddwatch.types import FloatArray


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
        "variational": False,
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
