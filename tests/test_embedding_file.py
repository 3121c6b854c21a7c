"""Files of embeddings made elsewhere: both formats give the same record, and what is wrong is said in one line."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow
import pytest
from pyarrow import parquet

from oddwatch.embedding_file import EmbeddingFile, read_embeddings, read_views
from oddwatch.errors import DatasetError, MissingExtraError

Arrays = dict[str, Any]


def arrays(n: int = 6, size: int = 4, frames: int = 3) -> Arrays:
    """Two scenes, the second with something unusual in its last embedding."""
    rng = np.random.default_rng(0)
    labels = np.zeros((n, frames), bool)
    labels[-1, 1:] = True
    return {
        "embeddings": rng.normal(size=(n, size)).astype(np.float32),
        "frame_labels": labels,
        "scene": np.arange(n) * 2 // n,
        "scene_names": np.array(["walk", "run"]),
        "scene_is_anomalous": np.array([False, True]),
    }


def write_npz(path: Path, **changes: Any) -> Path:
    found = {k: v for k, v in {**arrays(), **changes}.items() if v is not None}
    np.savez(path, **found)
    return path


def write_parquet(path: Path, columns: dict[str, Any]) -> Path:
    parquet.write_table(pyarrow.table(columns), path)
    return path


def by_row() -> dict[str, Any]:
    """`arrays` with a row for each embedding."""
    a = arrays()
    return {
        "embeddings": a["embeddings"].tolist(),
        "frame_labels": a["frame_labels"].astype(int).tolist(),
        "scene": (a["scene"] + 5).tolist(),  # any numbers will do
        "scene_name": a["scene_names"][a["scene"]].tolist(),
        "scene_is_anomalous": a["scene_is_anomalous"][a["scene"]].tolist(),
        "note": ["ignored"] * 6,
    }


def assert_same(found: EmbeddingFile) -> None:
    expected = arrays()
    np.testing.assert_array_equal(found.embeddings, expected["embeddings"])
    assert found.embeddings.dtype == np.float32
    assert found.frame_labels is not None
    np.testing.assert_array_equal(found.frame_labels, expected["frame_labels"])
    assert found.scene is not None
    assert found.scene.tolist() == [0, 0, 0, 1, 1, 1]
    assert found.scene_is_anomalous is not None
    names = found.scene_names
    assert names is not None
    # The order of scenes may differ, what they are called may not.
    assert [names[i] for i in found.scene] == ["walk"] * 3 + ["run"] * 3
    assert found.scene_is_anomalous[found.scene].tolist() == [False] * 3 + [True] * 3
    assert found.usual.tolist() == [True] * 3 + [False] * 3


def test_npz(tmp_path: Path) -> None:
    found = read_embeddings(write_npz(tmp_path / "a.npz"))
    assert_same(found)
    assert repr(found).endswith("a.npz', 6 x 4)")


def test_parquet_says_the_same(tmp_path: Path) -> None:
    assert_same(read_embeddings(write_parquet(tmp_path / "a.parquet", by_row())))


def test_parquet_with_names_only(tmp_path: Path) -> None:
    columns = {k: v for k, v in by_row().items() if k in ("embeddings", "scene_name")}
    found = read_embeddings(write_parquet(tmp_path / "a.parquet", columns))
    assert found.scene_names == ("run", "walk")
    assert found.scenes.tolist() == [1, 1, 1, 0, 0, 0]
    assert found.usual.all()


def test_embeddings_alone_are_enough(tmp_path: Path) -> None:
    np.savez(tmp_path / "a.npz", embeddings=np.arange(6).reshape(3, 2), other=np.zeros(1))
    found = read_embeddings(tmp_path / "a.npz")
    assert found.embeddings.tolist() == [[0, 1], [2, 3], [4, 5]]
    assert found.usual.all()
    assert found.scenes.tolist() == [0, 0, 0]


def test_what_is_usual_without_a_word_on_scenes(tmp_path: Path) -> None:
    labels_only = write_npz(tmp_path / "a.npz", scene=None, scene_names=None, scene_is_anomalous=None)
    assert read_embeddings(labels_only).usual.tolist() == [True] * 5 + [False]
    # A scene with one unusual frame is no usual scene.
    scenes = write_npz(tmp_path / "b.npz", scene_is_anomalous=None)
    assert read_embeddings(scenes).usual.tolist() == [True] * 3 + [False] * 3


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"embeddings": None}, "has no `embeddings`"),
        ({"embeddings": np.zeros(6)}, r"embeddings of shape \(6,\), not \(n, D\)"),
        ({"embeddings": np.zeros((0, 4))}, "holds no embeddings"),
        ({"embeddings": np.full((6, 4), "x")}, "embeddings of type <U1, not numbers"),
        ({"embeddings": np.full((6, 4), np.nan)}, "values that are not finite in 6 of 6"),
        ({"embeddings": np.full((6, 4), 1e300)}, "values that are not finite"),  # in float32
        ({"embeddings": np.full((6, 4), None)}, "holds Python objects, which could run code"),
        ({"frame_labels": np.zeros((5, 3))}, r"frame_labels of shape \(5, 3\)"),
        ({"frame_labels": np.full((6, 3), 2)}, "frame_labels that are not 0 or 1"),
        ({"scene": np.zeros(5, int)}, "scene of shape"),
        ({"scene": np.full(6, -1)}, "not integers from 0"),
        ({"scene": np.full(6, 0.5)}, "not integers from 0"),
        ({"scene": np.full(6, 2)}, "scene_names for 2 scenes only"),
        ({"scene_is_anomalous": np.array([False])}, "scene_is_anomalous for 1 scenes only"),
        ({"scene": None}, "scene_names or scene_is_anomalous but no scene"),
    ],
)
def test_a_bad_npz_is_named_with_what_is_wrong(tmp_path: Path, changes: Arrays, message: str) -> None:
    file = write_npz(tmp_path / "bad.npz", **changes)
    with pytest.raises(DatasetError, match=message) as caught:
        read_embeddings(file)
    said = str(caught.value)
    assert said.startswith(str(file))
    assert said.endswith(")")
    assert "\n" not in said


def test_what_is_no_npz(tmp_path: Path) -> None:
    (tmp_path / "text.npz").write_text("hello")
    (tmp_path / "empty.npz").write_bytes(b"")
    whole = write_npz(tmp_path / "whole.npz").read_bytes()
    (tmp_path / "cut.npz").write_bytes(whole[: len(whole) // 2])
    flipped = bytearray(whole)
    flipped[120] ^= 255  # in the data of the first array
    (tmp_path / "flipped.npz").write_bytes(flipped)
    with (tmp_path / "single.npz").open("wb") as handle:
        np.save(handle, np.zeros((3, 2)))
    for name in ("text", "empty", "cut", "flipped", "single"):
        with pytest.raises(DatasetError, match=rf"{name}\.npz (is|holds)"):
            read_embeddings(tmp_path / f"{name}.npz")


def test_what_is_no_file(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("1,2")
    (tmp_path / "b.npz").mkdir()
    for name, message in (("none.npz", "is not there"), ("b.npz", "is a folder"), ("a.csv", "does not end in .npz")):
        with pytest.raises(DatasetError, match=message):
            read_embeddings(tmp_path / name)


def changed(**changes: Any) -> dict[str, Any]:
    return {k: v for k, v in {**by_row(), **changes}.items() if v is not None}


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        (changed(embeddings=None), "has no `embeddings`"),
        (changed(embeddings=[[1.0], [1.0, 2.0]] * 3), "rows of different lengths in embeddings"),
        (changed(embeddings=[[1.0, float("nan")]] * 6), "not finite in 6 of 6"),
        (changed(scene=[0, 0, None, 1, 1, 1]), "empty values in scene"),
        (changed(scene_name=list("abcdef")), "different values of scene_name in one scene"),
        (changed(embeddings=["a"] * 6), "not numbers"),
    ],
)
def test_a_bad_parquet(tmp_path: Path, columns: dict[str, Any], message: str) -> None:
    with pytest.raises(DatasetError, match=message):
        read_embeddings(write_parquet(tmp_path / "bad.parquet", columns))


def test_what_is_no_parquet(tmp_path: Path) -> None:
    (tmp_path / "bad.parquet").write_text("hello")
    with pytest.raises(DatasetError, match=r"bad\.parquet is no Parquet or is damaged"):
        read_embeddings(tmp_path / "bad.parquet")


def test_parquet_without_pyarrow_says_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "a.parquet").write_bytes(b"")
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with pytest.raises(MissingExtraError, match=r'reading Parquet needs pyarrow: pip install "oddwatch\[parquet\]"'):
        read_embeddings(tmp_path / "a.parquet")


# pairs


def test_files_pair_by_what_follows_train_and_test(tmp_path: Path) -> None:
    for name in ("train_b.npz", "test_b.npz", "train-a.npz", "other.npz"):
        write_npz(tmp_path / name)
    write_parquet(tmp_path / "test-a.parquet", by_row())
    views = read_views(tmp_path)
    assert [(v.name, v.train.path.name, v.test.path.name) for v in views] == [
        ("a", "train-a.npz", "test-a.parquet"),
        ("b", "train_b.npz", "test_b.npz"),
    ]


def test_one_pair_is_called_as_the_folder(tmp_path: Path) -> None:
    for name in ("train.npz", "test.npz"):
        write_npz(tmp_path / name)
    assert [v.name for v in read_views(tmp_path)] == [tmp_path.name]


def wide(folder: Path) -> None:
    write_npz(folder / "test_a.npz", embeddings=np.zeros((6, 5)))


PAIRS: list[tuple[Callable[[Path], object], str]] = [
    (lambda f: (f / "test_a.npz").unlink(), "train_a.npz has no test file beside it"),
    (lambda f: (f / "train_a.npz").unlink(), "test_a.npz has no train file beside it"),
    (lambda f: write_npz(f / "train-a.npz"), "is a second train file of a"),
    (wide, "has embeddings of 5 values, train_a.npz of 4"),
    (
        lambda f: write_npz(f / "train_a.npz", scene_is_anomalous=np.array([True, True])),
        "train_a.npz has no scene in which nothing is unusual",
    ),
    (lambda f: write_npz(f / "test_a.npz", frame_labels=None), "test_a.npz has no frame_labels"),
    (lambda f: write_npz(f / "test_a.npz", frame_labels=np.zeros((6, 3))), "frame_labels of one kind only"),
    (lambda f: list(map(Path.unlink, f.iterdir())), r"holds no train\*\.npz and test\*\.npz"),
]


@pytest.mark.parametrize(("harm", "message"), PAIRS)
def test_a_pair_that_cannot_be_compared(tmp_path: Path, harm: Callable[[Path], object], message: str) -> None:
    for name in ("train_a.npz", "test_a.npz"):
        write_npz(tmp_path / name)
    harm(tmp_path)
    with pytest.raises(DatasetError, match=message):
        read_views(tmp_path)


def test_no_such_folder(tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match="nowhere is not a folder"):
        read_views(tmp_path / "nowhere")
