"""Views of clips in batches: their kept embeddings, and their pixels in epochs in which the backbone learns."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import torch
from numpy.typing import NDArray
from torch.utils.data import DataLoader, Dataset, Sampler

from oddwatch.backbones import Backbone
from oddwatch.backbones.clips import ClipBackbone
from oddwatch.errors import DatasetError, VideoError
from oddwatch.finetune.clips import View
from oddwatch.finetune.recipe import Recipe

Batch = dict[str, torch.Tensor]


def epoch_order(count: int, *, seed: int, epoch: int) -> list[int]:
    """The order of an epoch's clips, which depends on nothing but these."""
    order: list[int] = np.random.default_rng((seed, epoch)).permutation(count).tolist()
    return order


class ViewBatches(Dataset[Batch]):
    """`embedding` (B, D), and `clip` (B, T, size, size, 3) while `live()`, of a list of places."""

    def __init__(
        self,
        views: Sequence[View],
        embeddings: NDArray[np.float32],
        backbone: Backbone,
        *,
        live: Callable[[], bool],
        workers: int,
    ) -> None:
        self._views, self._embeddings = views, torch.from_numpy(embeddings)
        self._backbone, self._live, self._workers = backbone, live, workers

    def __getitem__(self, places: list[int]) -> Batch:
        batch = {"embedding": self._embeddings[places]}
        if self._live():
            with ThreadPoolExecutor(self._workers) as pool:
                batch["clip"] = torch.from_numpy(np.stack(list(pool.map(self._pixels, places))))
        return batch

    def _pixels(self, place: int) -> NDArray[np.float32]:
        assert isinstance(self._backbone, ClipBackbone)
        try:
            return np.stack(self._views[place].pixels(self._backbone).items)
        except VideoError as error:
            raise DatasetError(f"{error} (it could be read before: put it back, then --resume)") from error


class Batches(Sampler[list[int]]):
    """Places in batches, in a new order each epoch where `seed` is given. Of several devices each takes its share.

    A batch of one clip, which BatchNorm cannot learn from, is left out when training.
    """

    def __init__(self, count: int, size: int, *, seed: int | None, rank: int = 0, devices: int = 1) -> None:
        self._count, self._size, self._seed, self._rank, self._devices = count, size, seed, rank, devices
        self._epoch = 0

    def set_epoch(self, epoch: int) -> None:
        """Lightning says which epoch it is."""
        self._epoch = epoch

    def __iter__(self) -> Iterator[list[int]]:
        if self._seed is None:
            order = list(range(self._count))
        else:
            order = epoch_order(self._count, seed=self._seed, epoch=self._epoch)
        share = -(-self._count // self._devices)
        order = (order + order)[self._rank : share * self._devices : self._devices]
        for first in range(0, share, self._size):
            batch = order[first : first + self._size]
            if len(batch) > 1 or self._seed is None:
                yield batch

    def __len__(self) -> int:
        share = -(-self._count // self._devices)
        return share // self._size + (share % self._size > (self._seed is not None))


def loader(batches: ViewBatches, count: int, recipe: Recipe, *, shuffle: bool, rank: int = 0) -> DataLoader[Batch]:
    """Of all views, in the order of `Batches`."""
    seed = recipe.seed if shuffle else None
    sampler = Batches(count, recipe.data.batch_size, seed=seed, rank=rank, devices=recipe.trainer.devices)
    return DataLoader(batches, batch_size=None, sampler=sampler)
