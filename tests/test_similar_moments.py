"""Usual moments to show beside what is unusual: which are remembered, their pictures, and which are most alike."""

from __future__ import annotations

import json
from itertools import pairwise
from pathlib import Path

import cv2
import numpy as np
import pytest
from small_detectors import quick
from small_videos import write

from oddwatch.detector import Detector
from oddwatch.detector.moments import MOST, Moments, SimilarMoment
from oddwatch.embed import Album, EmbeddingCache, EmbeddingStore, SeenPart, StoredEmbeddings
from oddwatch.types import Embeddings, Frame

SHAPE = (6, 8)


def seen(places: list[tuple[int, int]], *, values: float = 1.0, start: float = 0.0, columns: int = 3) -> Embeddings:
    """One a second; in each a thing at one place, whose values grow a little with time."""
    grid = np.zeros((len(places), *SHAPE, columns), np.float32)
    for moment, (y, x) in enumerate(places):
        grid[moment, y, x] = values * (1 + 0.01 * moment + np.arange(columns) / 10)
    end = start + np.arange(1.0, len(places) + 1)
    return Embeddings(grid.reshape(len(grid), -1)[:, :5] + 1, grid, end - 1, end)


def stored(*parts: SeenPart, keep_grids: bool = True) -> StoredEmbeddings:
    """Read while the store is there, and so that it is not needed later."""
    with EmbeddingStore(keep_grids=keep_grids) as store:
        for number, part in enumerate(parts):
            store.add_parts(f"session {number}", [part])
        found = store.freeze()
        return StoredEmbeddings(**{**vars(found), "values": found.values[:], "cells": found.cells[:]})


def moments(*parts: SeenPart) -> Moments:
    return Moments.of(stored(*parts), on="grid", trained=False, seed=1)


def frame(seconds: float, value: int = 128) -> Frame:
    return Frame(np.full((240, 320, 3), value, np.uint8), seconds, round(10 * seconds))


def brightness(jpeg: bytes | None) -> float:
    """Of a picture that is as small as it should be."""
    assert jpeg is not None
    picture = cv2.imdecode(np.frombuffer(jpeg, np.uint8), cv2.IMREAD_GRAYSCALE)
    assert picture is not None
    assert picture.shape == (120, 160)
    return float(picture.mean())


# the pictures


def test_an_album_has_the_moments_in_which_most_is_seen() -> None:
    album = Album(stretch_seconds=4.0)
    many = [moment in (2, 5, 9) for moment in range(12)]
    grid = np.zeros((12, 4, 4, 2), np.float32)
    grid[many, :2] = 1.0
    grid[:, 3, 3] = 1.0
    for moment in range(12):
        for tenth in range(10):
            album.see(frame(moment + tenth / 10, value=20 * moment))
        one = slice(moment, moment + 1)
        times = np.array([float(moment)]), np.array([moment + 0.95])
        album.note(Embeddings(np.zeros((1, 2), np.float32), grid[one], *times), first_row=moment)
    assert sorted(album.pictures) == [2, 5, 9]
    for row, jpeg in album.pictures.items():
        assert brightness(jpeg) == pytest.approx(20 * row, abs=2)
    assert len(album.take()) == 3
    assert album.pictures == {}


def test_an_album_does_not_grow_and_is_spread_over_all_recordings() -> None:
    album, row = Album(most=16), 0
    for _ in range(10):
        album.begin()
        for second in range(30):
            album.see(frame(float(second)))
            times = np.array([second - 0.4]), np.array([second + 0.4])
            album.note(Embeddings(np.zeros((1, 2), np.float32), None, *times), first_row=row)
            row += 1
    rows = np.array(sorted(album.pictures))
    assert 8 <= len(rows) <= 16
    assert np.diff([0, *rows, 300]).max() < 60
    album.forget(150)
    assert max(album.pictures) < 150


# which are remembered


def test_a_moment_of_every_stretch_is_remembered_with_its_picture_and_time() -> None:
    places = [(3, 3)] * 600
    part = SeenPart(seen(places, start=50.0), 1000.0, {row: b"jpeg" for row in range(0, 600, 4)})
    found = moments(part)
    assert len(found) == MOST
    assert found.pictured == 150
    assert len(moments(SeenPart(seen(places[:20]), 0.0))) == 20  # one a second at most
    (first, *_) = found.similar(part.embeddings[96:97], cell=3 * 8 + 3)
    assert first.source == "session 0"
    assert first.seconds == pytest.approx(96.5, abs=1.5)  # in what was seen since the start, which was at 50
    assert first.wall_seconds == pytest.approx(first.seconds + 1050)
    assert first.picture == b"jpeg"


def test_crowded_moments_are_fewer(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("oddwatch.detector.moments._BYTES", 3000)
    full = np.random.default_rng(0).normal(size=(100, *SHAPE, 3)).astype(np.float32)
    times = np.arange(100.0)
    found = moments(SeenPart(Embeddings(full[:, 0, 0], full, times, times + 1), 0.0))
    arrays, _ = found.state()
    assert 5 <= len(found) <= 10
    assert arrays["values"].nbytes <= 3000


# which are alike


def test_the_same_at_the_same_place_is_most_alike() -> None:
    walking, resting = [(1, 1)] * 10, [(4, 6)] * 10
    usual = moments(SeenPart(seen(walking), 0.0), SeenPart(seen(resting, values=-3.0), 0.0))
    for place, values, expected in (((1, 1), 1.0, "session 0"), ((4, 6), -3.0, "session 1")):
        found = usual.similar(seen([place], values=values), cell=place[0] * 8 + place[1])
        assert [one.source for one in found] == [expected] * 3
        assert found[0].distance <= found[1].distance <= found[2].distance < 1
        assert min(abs(a.seconds - b.seconds) for a, b in pairwise(found)) >= 2
    # The same thing elsewhere: its place is what it is compared by.
    odd = usual.similar(seen([(4, 6)], values=1.0), cell=4 * 8 + 6)
    assert [one.source for one in odd] == ["session 1"] * 3
    assert odd[0].distance > 1
    # Where nothing was ever seen, what is nearest.
    assert usual.similar(seen([(2, 1)]), cell=2 * 8 + 1)[0].source == "session 0"


def test_what_holds_nothing_is_like_nothing() -> None:
    embeddings = seen([(1, 1)] * 3)
    nothing = np.zeros_like(embeddings.grid)
    empty = Embeddings(embeddings.vector, nothing, embeddings.start_seconds, embeddings.end_seconds)
    assert moments(SeenPart(empty, 0.0)).similar(embeddings, cell=9) == ()


def test_many_columns_are_compared_by_those_that_differ_most() -> None:
    rng = np.random.default_rng(2)
    grid = rng.normal(size=(40, 4, 4, 5)).astype(np.float32) @ rng.normal(size=(5, 300)).astype(np.float32)
    times = np.arange(40.0)
    usual = Embeddings(grid.mean(axis=(1, 2)), grid, times, times + 1)
    found = Moments.of(stored(SeenPart(usual, 0.0)), on="grid", trained=True, seed=1)
    arrays, _ = found.state()
    assert arrays["values"].shape == (40 * 16, 32)
    for row in (3, 31):
        (first, *_) = found.similar(usual[row : row + 1], cell=7)
        assert first.seconds == row + 0.5
        assert first.distance < 0.01


@pytest.mark.parametrize("width", [6, 10_000])
def test_vectors_are_compared_as_a_whole(width: int) -> None:
    rng = np.random.default_rng(3)
    vectors = (rng.normal(size=(30, 6)) @ rng.normal(size=(6, width))).astype(np.float32)
    times = np.arange(30.0)
    usual = Embeddings(vectors, None, times, times + 1)
    found = Moments.of(stored(SeenPart(usual, 0.0), keep_grids=False), on="vector", trained=width > 6, seed=1)
    (first, second, _) = found.similar(usual[12:13], cell=None)
    assert first.seconds == 12.5
    assert first.distance < 0.01 < second.distance


# detectors


@pytest.fixture(scope="module")
def usual(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("similar") / "usual.mp4"
    write(path, 12.0, seed=1)
    return path


def peak(detector: Detector, video: Path) -> tuple[Embeddings, tuple[SimilarMoment, ...]]:
    from oddwatch.embed import embed_video

    embeddings = Embeddings.concatenate([found for _, found in embed_video(str(video), detector.backbone)])
    row = int(detector.score_embeddings(embeddings, "x").scores.argmax())
    return embeddings[row : row + 1], detector.similar(embeddings[row : row + 1])


def test_a_detector_shows_usual_moments_of_files_and_remembers_them(usual: Path, tmp_path: Path) -> None:
    cache = EmbeddingCache(tmp_path / "cache")
    detector = quick("attributes", folds=2).learn(usual, cache=cache)
    assert 8 <= len(detector.moments) == detector.moments.pictured
    embeddings, found = peak(detector, usual)
    assert len(found) == 3
    assert {one.source for one in found} == {str(usual)}
    # It is usual itself, so that what is most alike is at most a second away or just as alike.
    assert found[0].distance < 2
    for one in found:
        assert one.wall_seconds is None
        assert 0 <= one.seconds <= 12
        assert brightness(one.picture) > 0
    detector.save(tmp_path / "detector")
    assert Detector.load(tmp_path / "detector").similar(embeddings) == found
    assert sum(file.stat().st_size for file in (tmp_path / "detector").iterdir()) < 20 << 20

    kept = quick("knn", on="vector", folds=2).learn(usual, cache=cache)  # from the cache: no picture is at hand
    assert (len(kept.moments), kept.moments.pictured) == (11, 0)
    assert all(one.picture is None for one in kept.similar(embeddings))
    without = quick("knn", on="vector", folds=2).learn(usual, pictures=False)
    assert without.moments.pictured == 0


def test_a_detector_of_before_is_read(usual: Path, tmp_path: Path) -> None:
    detector = quick("knn", on="vector", folds=2).learn(usual)
    embeddings, found = peak(detector, usual)
    assert len(found) == 3
    detector.save(tmp_path / "old")
    record = json.loads((tmp_path / "old" / "detector.json").read_text())
    (tmp_path / "old" / record["files"].pop("moments")["file"]).unlink()
    del record["state"]["moments"]
    (tmp_path / "old" / "detector.json").write_text(json.dumps(record))
    old = Detector.load(tmp_path / "old")
    assert old.similar(embeddings) == ()
    old.save(tmp_path / "old")
    assert Detector.load(tmp_path / "old").similar(embeddings) == ()
