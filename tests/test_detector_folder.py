"""A saved detector: a folder that is whole or not there, and that says what is wrong with it."""

from __future__ import annotations

import errno
import hashlib
import json
import os
import shutil
import subprocess
import sys
import textwrap
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import load_file
from small_detectors import assert_equal, contents, detector_videos, quick, small_detector
from small_videos import images
from video_files import write_frames

import oddwatch
from oddwatch.backbones import build_backbone
from oddwatch.detector import Detector
from oddwatch.detector.compatible import versions
from oddwatch.embed import EmbeddingStore, StoredEmbeddings, embed_video
from oddwatch.errors import DetectorError, OddwatchError
from oddwatch.grouping import Grouping
from oddwatch.types import Embeddings


@pytest.fixture(scope="module")
def videos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return detector_videos(tmp_path_factory.mktemp("videos"))


@pytest.fixture(scope="module")
def stored(videos: Path) -> Iterator[StoredEmbeddings]:
    with EmbeddingStore() as store:
        store.add_video(str(videos / "usual.mp4"), build_backbone("motion"))
        yield store.freeze()


@pytest.fixture(scope="module")
def learned(videos: Path) -> Detector:
    return small_detector(videos)


@pytest.fixture(scope="module")
def left(videos: Path) -> Embeddings:
    return Embeddings.concatenate([e for _, e in embed_video(str(videos / "left.mp4"), build_backbone("motion"))])


@pytest.fixture
def saved(learned: Detector, tmp_path: Path) -> Path:
    learned.save(tmp_path / "detector")
    return tmp_path / "detector"


def test_the_folder_holds_json_and_tensors_and_all_that_is_needed(saved: Path, learned: Detector, videos: Path) -> None:
    record = json.loads((saved / "detector.json").read_text())
    names = sorted(path.name for path in saved.iterdir())
    assert names == sorted(["detector.json", *(entry["file"] for entry in record["files"].values())])
    assert sorted(record["files"]) == ["calibration", "classes", "clips", "moments", "scorer"]
    for stem, entry in record["files"].items():
        assert hashlib.sha256((saved / entry["file"]).read_bytes()).hexdigest() == entry["sha256"]
        assert entry["file"] == f"{stem}-{entry['sha256'][:12]}.safetensors"
        assert load_file(saved / entry["file"])
    path = videos / "usual.mp4"
    assert record["inputs"] == [
        {
            "name": str(path),
            "label": "usual",
            "sha256": hashlib.sha256(path.read_bytes()).hexdigest(),
            "fps": None,
            "seconds": pytest.approx(29.9),
        }
    ]
    assert record["format"] == 1
    assert record["oddwatch"] == oddwatch.__version__
    assert record["versions"] == versions()
    assert record["versions"]["numpy"] == np.__version__
    assert (record["seed"], record["folds"], record["budget"]) == (42, 3, "1/hour")
    expected = {
        "name": "motion",
        "options": learned.backbone.options(),
        "weights_sha256": None,
        "version": 13,
        "source_sha256": None,
    }
    assert record["backbone"] == expected
    assert record["grouping"] == asdict(Grouping(settling_seconds=0.9))
    assert record["threshold"]["value"] == learned.threshold.value


def test_inputs_say_how_fast_a_folder_of_frames_was_taken_to_be(tmp_path: Path, videos: Path) -> None:
    write_frames(tmp_path / "frames", images(10.0, seed=1))
    detector = Detector(scorer="centroid").learn([tmp_path / "frames", videos / "unseen.mp4"], fps=10.0)
    assert [entry["fps"] for entry in detector.describe()["inputs"]] == [10.0, None]


def test_a_loaded_detector_scores_videos_alike(saved: Path, learned: Detector, videos: Path) -> None:
    loaded = Detector.load(saved)
    path = videos / "left.mp4"
    assert_equal(loaded.score(path, maps=True), learned.score(path, maps=True))
    assert loaded.score_clip(path) == learned.score_clip(path)


def test_all_settings_come_back(stored: StoredEmbeddings, tmp_path: Path) -> None:
    detector = Detector(
        scorer="knn",
        on="vector",
        budget="3/week",
        backbone_options={"window_px": 40},
        scorer_options={"neighbours": 2, "memory": 30},
        grouping=Grouping(release=0.5, min_seconds=1.0, merge_seconds=0.0, cooldown_seconds=9.0),
        folds=3,
        seed=5,
    ).fit(stored)
    detector.save(tmp_path / "detector")
    loaded = Detector.load(tmp_path / "detector")
    assert loaded.describe() == detector.describe()
    assert (loaded.folds, loaded.seed, loaded.budget, loaded.grouping) == (3, 5, detector.budget, detector.grouping)
    assert loaded.backbone.options()["window_px"] == 40


def test_saving_again_replaces_and_tidies_up_after_itself_only(
    saved: Path, stored: StoredEmbeddings, left: Embeddings
) -> None:
    for name in ("weights.safetensors", "notes.txt", "scorer-final.safetensors"):
        (saved / name).write_bytes(b"mine")
    (saved / "scorer-0123456789ab.safetensors").write_bytes(b"of a save that a power cut ended")
    other = quick("knn", on="vector").fit(stored)
    other.save(saved)
    assert_equal(Detector.load(saved).score_embeddings(left, "left"), other.score_embeddings(left, "left"))
    record = json.loads((saved / "detector.json").read_text())
    ours = {"detector.json", *(entry["file"] for entry in record["files"].values())}
    assert set(contents(saved)) == ours | {"weights.safetensors", "notes.txt", "scorer-final.safetensors"}


@pytest.mark.parametrize("nth", [1, 3, 5])
@pytest.mark.parametrize("crash", [OSError(errno.EIO, "Input/output error"), KeyboardInterrupt()], ids=["io", "ctrl-c"])
def test_a_save_that_breaks_off_leaves_the_old_detector(
    saved: Path, stored: StoredEmbeddings, monkeypatch: pytest.MonkeyPatch, nth: int, crash: BaseException
) -> None:
    before = contents(saved)
    calls = 0
    real = os.replace

    def sometimes(*paths: Any) -> None:
        nonlocal calls
        calls += 1
        if calls == nth:
            raise crash
        real(*paths)

    other = quick("knn", on="vector").fit(stored)
    with monkeypatch.context() as patched:
        patched.setattr(os, "replace", sometimes)
        with pytest.raises(DetectorError if isinstance(crash, OSError) else KeyboardInterrupt):
            other.save(saved)
    assert calls == nth
    assert contents(saved) == before
    assert Detector.load(saved).name == "motion, gaussian on grid"


@pytest.mark.parametrize("nth", [1, 5])
def test_a_first_save_that_breaks_off_leaves_no_folder(
    learned: Detector, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, nth: int
) -> None:
    calls = 0
    real = os.fsync

    def full(handle: int) -> None:
        nonlocal calls
        calls += 1
        if calls == nth:
            raise OSError(errno.ENOSPC, "No space left on device")
        real(handle)

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(DetectorError) as caught:
        learned.save(tmp_path / "detector")
    assert str(caught.value) == (
        f"{tmp_path / 'detector'} cannot be written: No space left on device (free some space or choose another --out)"
    )
    assert not (tmp_path / "detector").exists()


def test_a_killed_process_leaves_the_old_detector(saved: Path, learned: Detector) -> None:
    # The process ends in the middle of a save, without any clean-up at all.
    killed = textwrap.dedent("""
        import os, sys
        from pathlib import Path
        import numpy as np
        from oddwatch.detector.folder import write_folder
        real, calls = os.replace, []
        def replace(*paths):
            calls.append(paths)
            if len(calls) == 3:
                os._exit(9)
            real(*paths)
        os.replace = replace
        tensors = {stem: {"x": np.ones(3)} for stem in ("scorer", "classes", "calibration", "clips")}
        write_folder(Path(sys.argv[1]), {}, tensors)
    """)
    before = contents(saved)
    environment = {**os.environ, "PYTHONPATH": str(Path(oddwatch.__file__).parent.parent)}
    done = subprocess.run([sys.executable, "-c", killed, str(saved)], check=False, timeout=60, env=environment)
    assert done.returncode == 9
    after = contents(saved)
    assert len(after) > len(before)  # what it left does no harm
    assert {name: after[name] for name in before} == before
    assert Detector.load(saved).threshold == learned.threshold
    learned.save(saved)
    assert {name for name in contents(saved) if not name.startswith(".")} == set(before)


def test_a_folder_that_is_no_detector_is_not_touched(learned: Detector, tmp_path: Path) -> None:
    folder = tmp_path / "photos"
    folder.mkdir()
    (folder / "cat.jpg").write_bytes(b"meow")
    (folder / "scorer-0123456789ab.safetensors").write_bytes(b"mine")
    before = contents(folder)
    with pytest.raises(DetectorError, match="photos is not a detector and not empty: give --out a new folder"):
        learned.save(folder)
    assert contents(folder) == before
    file = tmp_path / "file"
    file.write_text("text")
    with pytest.raises(DetectorError, match="file is not a detector"):
        learned.save(file)
    assert file.read_text() == "text"


def test_an_empty_folder_and_a_deep_one_are_filled(learned: Detector, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    for folder in (tmp_path / "empty", tmp_path / "a" / "b" / "c"):
        learned.save(folder)
        assert Detector.load(folder).threshold == learned.threshold


def change(path: Path, **values: Any) -> None:
    record = json.loads((path / "detector.json").read_text())
    (path / "detector.json").write_text(json.dumps({**record, **values}))


def scorer_file(path: Path) -> Path:
    return next(path.glob("scorer-*.safetensors"))


def cut_in_half(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def a_file_instead(path: Path) -> None:
    shutil.rmtree(path)
    path.write_text("text")


def flip_a_bit(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[-5] ^= 1
    path.write_bytes(bytes(data))


def test_the_file_in_a_detector_is_not_the_detector(saved: Path) -> None:
    with pytest.raises(DetectorError, match=rf"json is a file, and .* \(give its folder, {saved}\)"):
        Detector.load(saved / "detector.json")


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (shutil.rmtree, r"detector is not a detector: no such folder \(make one with oddwatch learn --out\)"),
        (lambda f: (f / "detector.json").unlink(), "detector is not a detector: it has no detector.json"),
        (a_file_instead, r"detector is a file, and a detector is a folder \(make one with oddwatch learn --out\)"),
        (lambda f: cut_in_half(f / "detector.json"), r"detector\.json is damaged"),
        (lambda f: (f / "detector.json").write_bytes(b"\xff\xfe\x00"), r"detector\.json is damaged"),
        (lambda f: (f / "detector.json").write_text("[]"), r"detector\.json is damaged"),
        (lambda f: (f / "detector.json").write_text("{}"), r"detector\.json is damaged"),
        (lambda f: change(f, format="1"), r"detector\.json is damaged"),
        (lambda f: change(f, files=[]), r"detector\.json is damaged, it names no files"),
        (lambda f: change(f, files={"scorer": {}}), r"detector\.json is damaged, it names no files"),
        (lambda f: change(f, files={}), "is damaged: KeyError"),
        (lambda f: change(f, grouping={"release": 7}), "is damaged: ValueError"),
        (lambda f: change(f, threshold={}), "is damaged: TypeError"),
        (lambda f: cut_in_half(scorer_file(f)), r"scorer-\w+\.safetensors is damaged, its checksum is wrong"),
        (lambda f: flip_a_bit(scorer_file(f)), r"scorer-\w+\.safetensors is damaged, its checksum is wrong"),
        (lambda f: scorer_file(f).unlink(), r"scorer-\w+\.safetensors cannot be read"),
        (
            lambda f: change(f, format=2, oddwatch="9.0"),
            r"was made by oddwatch 9\.0 \(format 2\), this one reads up to format 1: upgrade oddwatch",
        ),
    ],
)
def test_a_folder_that_cannot_be_read_is_one_clear_error(saved: Path, spoil: Any, message: str) -> None:
    spoil(saved)
    with pytest.raises(DetectorError, match=message) as caught:
        Detector.load(saved)
    assert "\n" not in str(caught.value)


def test_an_entry_cannot_name_a_file_outside_of_the_folder(saved: Path, tmp_path: Path) -> None:
    record = json.loads((saved / "detector.json").read_text())
    moved = tmp_path / "elsewhere.safetensors"
    scorer_file(saved).rename(moved)
    files = {**record["files"], "scorer": {**record["files"]["scorer"], "file": str(moved)}}
    change(saved, files=files)
    with pytest.raises(DetectorError, match=r"elsewhere\.safetensors cannot be read"):
        Detector.load(saved)


def test_a_scorer_that_is_not_there_says_its_name(saved: Path) -> None:
    change(saved, scorer={"name": "lost_module:LostScorer", "options": {}, "on": "grid"})
    with pytest.raises(OddwatchError, match="lost_module"):
        Detector.load(saved)
