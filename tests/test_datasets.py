"""Data sets in their published layouts, made small and read through the real readers."""

from __future__ import annotations

import json
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from dataset_files import HEIGHT, WIDTH, by_name, frames_in, labels_of, write_frames, write_video
from numpy.typing import NDArray
from scipy.io import savemat

from oddwatch.datasets import DATASETS, load_dataset
from oddwatch.errors import DatasetError, UsageError
from oddwatch.types import Sample


def masks_for(labels: list[int], *, width: int = WIDTH) -> NDArray[np.bool_]:
    """(N, HEIGHT, width) with a small square that moves to the right, in the frames whose label is 1."""
    masks = np.zeros((len(labels), HEIGHT, width), bool)
    for i, label in enumerate(labels):
        masks[i, 10:14, i : i + 4] = bool(label)
    return masks


def masks_of(sample: Sample) -> NDArray[np.bool_]:
    assert sample.masks is not None
    masks = sample.masks()
    assert masks.dtype == np.bool_
    return masks


class TestLoadDataset:
    def test_unknown_name_lists_the_valid_ones(self, tmp_path: Path) -> None:
        with pytest.raises(
            UsageError, match=r"unknown data set 'ped1': choose one of avenue, folder, manifest, ped2, shanghai"
        ):
            load_dataset("ped1", tmp_path)

    @pytest.mark.parametrize("name", sorted(DATASETS))
    def test_every_loader_says_what_it_expects_in_one_line(self, name: str, tmp_path: Path) -> None:
        with pytest.raises(DatasetError, match=r"\(expected: .+\)") as caught:
            load_dataset(name, tmp_path)
        assert str(caught.value).startswith(f"{name}: ")
        assert str(tmp_path) in str(caught.value)
        assert "\n" not in str(caught.value)

    @pytest.mark.parametrize("name", sorted(DATASETS))
    def test_no_such_folder(self, name: str, tmp_path: Path) -> None:
        with pytest.raises(DatasetError, match=f"{name}: .*/nowhere is not a folder"):
            load_dataset(name, tmp_path / "nowhere")

    @pytest.mark.parametrize("fps", [0.0, -1.0, float("nan"), float("inf")])
    def test_bad_rate(self, fps: float, tmp_path: Path) -> None:
        with pytest.raises(UsageError, match="fps must be a positive number"):
            load_dataset("folder", tmp_path, fps=fps)

    def test_every_loader_cites_its_source_in_its_docstring(self) -> None:
        for name in ("avenue", "ped2", "shanghaitech"):
            doc = DATASETS[name].__doc__ or ""
            assert any(venue in doc for venue in ("CVPR 20", "ICCV 20"))


PED2 = {"01": [0, 0, 1, 1], "02": [1, 1, 0]}


def make_ped2(root: Path) -> None:
    for name, count in (("01", 2), ("02", 3)):
        write_frames(root / "training" / "frames" / name, count)
    for name, labels in PED2.items():
        write_frames(root / "testing" / "frames" / name, len(labels))
    (root / "frame_labels.json").write_text(json.dumps(PED2))
    save_masks(root, {name: masks_for(labels, width=360) for name, labels in PED2.items()})


def save_masks(root: Path, masks: dict[str, NDArray[np.bool_]]) -> None:
    packed: Any = {name: np.packbits(m, axis=-1) for name, m in masks.items()}
    np.savez_compressed(root / "pixel_masks_packbits.npz", **packed)


class TestPed2Repacked:
    def test_samples(self, tmp_path: Path) -> None:
        make_ped2(tmp_path)
        dataset = load_dataset("ped2", tmp_path)
        samples = by_name(dataset)
        assert list(samples) == ["train/01", "train/02", "test/01", "test/02"]
        assert [s.name for s in dataset.split("train")] == ["train/01", "train/02"]
        assert {s.fps for s in dataset.samples} == {10.0}
        assert samples["train/01"].truth == ()
        assert labels_of(samples["train/01"]) is None
        assert samples["test/01"].truth is None
        assert "Mahadevan" in dataset.citation
        for name, labels in PED2.items():
            sample = samples[f"test/{name}"]
            assert labels_of(sample) == labels
            assert frames_in(sample) == len(labels)
            np.testing.assert_array_equal(masks_of(sample), masks_for(labels, width=360))

    def test_masks_are_read_when_asked_for_and_survive_pickling(self, tmp_path: Path) -> None:
        make_ped2(tmp_path)
        sample = by_name(load_dataset("ped2", tmp_path))["test/02"]
        again = pickle.loads(pickle.dumps(sample))
        assert masks_of(again).shape == (3, HEIGHT, 360)
        (tmp_path / "pixel_masks_packbits.npz").unlink()
        with pytest.raises(FileNotFoundError):
            masks_of(sample)

    def test_without_masks(self, tmp_path: Path) -> None:
        make_ped2(tmp_path)
        (tmp_path / "pixel_masks_packbits.npz").unlink()
        assert by_name(load_dataset("ped2", tmp_path))["test/01"].masks is None

    def test_natural_order(self, tmp_path: Path) -> None:
        make_ped2(tmp_path)
        for name in ("9", "10"):
            write_frames(tmp_path / "training" / "frames" / name, 1)
        assert [s.name for s in load_dataset("ped2", tmp_path).split("train")] == [
            "train/01",
            "train/02",
            "train/9",
            "train/10",
        ]

    @pytest.mark.parametrize(
        ("content", "message"),
        [
            (json.dumps(PED2 | {"02": [0, 1]}), r"testing/frames/02 has 3 frames but 2 labels in frame_labels\.json"),
            (json.dumps({"01": PED2["01"]}), r"frame_labels\.json has no sequence 02"),
            (json.dumps(PED2 | {"02": [0, 1, 2]}), "labels of sequence 02 are not a list of 0 and 1"),
            (json.dumps(PED2 | {"02": 1}), "labels of sequence 02 are not a list of 0 and 1"),
            (json.dumps(PED2 | {"02": [0, [1], 1]}), "is not a JSON object of lists"),
            ("[1, 0]", "is not a JSON object of lists"),
            ('{"01": [0', "is not a JSON object of lists"),
        ],
    )
    def test_bad_labels(self, content: str, message: str, tmp_path: Path) -> None:
        make_ped2(tmp_path)
        (tmp_path / "frame_labels.json").write_text(content)
        with pytest.raises(DatasetError, match=message):
            load_dataset("ped2", tmp_path)

    def test_missing_pieces(self, tmp_path: Path) -> None:
        make_ped2(tmp_path)
        (tmp_path / "frame_labels.json").unlink()
        with pytest.raises(DatasetError, match=r"no file .*frame_labels\.json"):
            load_dataset("ped2", tmp_path)
        (tmp_path / "testing").rename(tmp_path / "other")
        with pytest.raises(DatasetError, match=r"no folder .*testing/frames"):
            load_dataset("ped2", tmp_path)
        (tmp_path / "testing" / "frames" / "empty").mkdir(parents=True)
        with pytest.raises(DatasetError, match=r"no folder with numbered frames in .*testing/frames"):
            load_dataset("ped2", tmp_path)

    def test_bad_masks(self, tmp_path: Path) -> None:
        make_ped2(tmp_path)
        one = masks_for([0, 1], width=360)
        save_masks(tmp_path, {"01": one, "02": one})
        with pytest.raises(DatasetError, match="sequence 02 has 3 frames but 2 masks"):
            masks_of(by_name(load_dataset("ped2", tmp_path))["test/02"])
        save_masks(tmp_path, {"01": one})
        with pytest.raises(DatasetError, match="has no sequence 02"):
            load_dataset("ped2", tmp_path)
        (tmp_path / "pixel_masks_packbits.npz").write_bytes(b"no archive")
        with pytest.raises(DatasetError, match="is not an npz file"):
            load_dataset("ped2", tmp_path)


class TestPed2AsDistributed:
    def make(self, root: Path) -> None:
        write_frames(root / "Train" / "Train001", 2, extension="tif", first=1)
        for name, labels in PED2.items():
            write_frames(root / "Test" / f"Test0{name}", len(labels), extension="tif", first=1)
            truth = root / "Test" / f"Test0{name}_gt"
            truth.mkdir()
            for i, mask in enumerate(masks_for(labels), start=1):
                assert cv2.imwrite(str(truth / f"{i:03d}.bmp"), mask.astype(np.uint8) * 255)
        (root / "Test" / "Test001" / "._001.tif").write_bytes(b"left by a Mac")
        (root / "Test" / ".DS_Store").write_bytes(b"")

    @pytest.mark.parametrize("inside", ["", "UCSDped2"])
    def test_samples(self, inside: str, tmp_path: Path) -> None:
        self.make(tmp_path / inside)
        samples = by_name(load_dataset("ped2", tmp_path))
        assert list(samples) == ["train/Train001", "test/Test001", "test/Test002"]
        for name, labels in PED2.items():
            sample = samples[f"test/Test0{name}"]
            assert (labels_of(sample), sample.fps, frames_in(sample)) == (labels, 10.0, len(labels))
            np.testing.assert_array_equal(masks_of(sample), masks_for(labels))

    def test_lost_mask(self, tmp_path: Path) -> None:
        self.make(tmp_path)
        (tmp_path / "Test" / "Test002_gt" / "003.bmp").unlink()
        with pytest.raises(DatasetError, match="Test/Test002 has 3 frames but 2 masks in Test002_gt"):
            load_dataset("ped2", tmp_path)

    @pytest.mark.parametrize("content", [b"", b"no image"])
    def test_bad_mask(self, content: bytes, tmp_path: Path) -> None:
        self.make(tmp_path)
        (tmp_path / "Test" / "Test001_gt" / "002.bmp").write_bytes(content)
        with pytest.raises(DatasetError, match=r"Test001_gt/002\.bmp is not an image"):
            load_dataset("ped2", tmp_path)

    def test_without_truth(self, tmp_path: Path) -> None:
        self.make(tmp_path)
        (tmp_path / "Test" / "Test002_gt").rename(tmp_path / "elsewhere")
        with pytest.raises(DatasetError, match=r"no folder .*Test002_gt"):
            load_dataset("ped2", tmp_path)


AVENUE = {"01": [0, 1, 1], "10": [0, 0]}


def save_cells(path: Path, masks: NDArray[np.bool_]) -> None:
    cells = np.empty((1, len(masks)), dtype=object)
    for i, mask in enumerate(masks):
        cells[0, i] = mask.astype(np.uint8)
    path.parent.mkdir(parents=True, exist_ok=True)
    savemat(path, {"volLabel": cells}, do_compression=True)


class TestAvenue:
    def make(self, videos: Path, labels: Path) -> None:
        for name in ("01", "02"):
            write_video(videos / "training_videos" / f"{name}.avi")
        for name, known in AVENUE.items():
            write_video(videos / "testing_videos" / f"{name}.avi", len(known))
            save_cells(labels / "testing_label_mask" / f"{int(name)}_label.mat", masks_for(known))

    @pytest.mark.parametrize(
        ("videos", "labels"),
        [("", ""), ("Avenue Dataset", "ground_truth_demo"), ("", "ground_truth_demo"), ("Avenue Dataset",) * 2],
    )
    def test_samples(self, videos: str, labels: str, tmp_path: Path) -> None:
        self.make(tmp_path / videos, tmp_path / labels)
        dataset = load_dataset("avenue", tmp_path)
        samples = by_name(dataset)
        assert list(samples) == ["train/01", "train/02", "test/01", "test/10"]
        assert "Lu" in dataset.citation
        for name, known in AVENUE.items():
            sample = samples[f"test/{name}"]
            assert (labels_of(sample), sample.fps, sample.truth) == (known, None, None)
            assert frames_in(sample) == len(known)
            np.testing.assert_array_equal(masks_of(pickle.loads(pickle.dumps(sample))), masks_for(known))

    def test_video_of_one_frame(self, tmp_path: Path) -> None:
        self.make(tmp_path, tmp_path)
        save_cells(tmp_path / "testing_label_mask" / "1_label.mat", masks_for([1]))
        sample = by_name(load_dataset("avenue", tmp_path))["test/01"]
        assert labels_of(sample) == [1]
        assert masks_of(sample).shape == (1, HEIGHT, WIDTH)

    @pytest.mark.parametrize(
        ("damage", "message"),
        [
            (Path.unlink, r"no file .*testing_label_mask/10_label\.mat"),
            (lambda p: p.write_bytes(b"MATLAB 5.0" * 30), r"10_label\.mat is not a readable MATLAB file"),
            (lambda p: p.write_bytes(p.read_bytes()[:200]), r"10_label\.mat is not a readable MATLAB file"),
            (lambda p: p.write_bytes(p.read_bytes()[:130]), r"10_label\.mat is not a readable MATLAB file"),
            (lambda p: p.write_bytes(b""), r"10_label\.mat is not a readable MATLAB file"),
            (lambda p: savemat(p, {"other": np.zeros(3)}), r"10_label\.mat holds no volLabel"),
            (lambda p: savemat(p, {"volLabel": np.zeros((2, 3))}), r"volLabel in .*10_label\.mat is not a cell array"),
        ],
    )
    def test_bad_labels(self, damage: Callable[[Path], object], message: str, tmp_path: Path) -> None:
        self.make(tmp_path, tmp_path)
        damage(tmp_path / "testing_label_mask" / "10_label.mat")
        with pytest.raises(DatasetError, match=message):
            load_dataset("avenue", tmp_path)

    def test_name_that_is_no_number(self, tmp_path: Path) -> None:
        self.make(tmp_path, tmp_path)
        write_video(tmp_path / "testing_videos" / "copy of 01.avi")
        with pytest.raises(DatasetError, match=r"copy of 01\.avi is not a number"):
            load_dataset("avenue", tmp_path)

    def test_no_videos(self, tmp_path: Path) -> None:
        self.make(tmp_path, tmp_path)
        for video in (tmp_path / "training_videos").iterdir():
            video.unlink()
        with pytest.raises(DatasetError, match=r"no video file in .*training_videos"):
            load_dataset("avenue", tmp_path)


class TestShanghaiTech:
    LABELS = ([0, 1, 1, 0], [1, 1])

    def make(self, root: Path) -> None:
        for name in ("01_001", "13_007"):
            write_video(root / "training" / "videos" / f"{name}.avi")
        for kind in ("test_frame_mask", "test_pixel_mask"):
            (root / "testing" / kind).mkdir(parents=True)
        for name, labels in zip(("01_0014", "12_0151"), self.LABELS, strict=True):
            write_frames(root / "testing" / "frames" / name, len(labels))
            np.save(root / "testing" / "test_frame_mask" / f"{name}.npy", np.array(labels, np.int8))
            np.save(root / "testing" / "test_pixel_mask" / f"{name}.npy", masks_for(labels).astype(np.uint8))

    def test_samples(self, tmp_path: Path) -> None:
        self.make(tmp_path)
        dataset = load_dataset("shanghaitech", tmp_path)
        samples = by_name(dataset)
        assert list(samples) == ["train/01_001", "train/13_007", "test/01_0014", "test/12_0151"]
        assert [s.fps for s in dataset.samples] == [None, None, 24.0, 24.0]
        assert "Liu" in dataset.citation
        assert frames_in(samples["train/13_007"]) == 3
        for sample, labels in zip(dataset.split("test"), self.LABELS, strict=True):
            assert labels_of(sample) == labels
            assert frames_in(sample) == len(labels)
            np.testing.assert_array_equal(masks_of(sample), masks_for(labels))

    def test_without_pixel_masks(self, tmp_path: Path) -> None:
        self.make(tmp_path)
        (tmp_path / "testing" / "test_pixel_mask").rename(tmp_path / "elsewhere")
        assert by_name(load_dataset("shanghaitech", tmp_path))["test/01_0014"].masks is None

    @pytest.mark.parametrize(
        ("damage", "message"),
        [
            (lambda p: np.save(p, np.zeros(3)), "testing/frames/12_0151 has 2 frames but 3 labels in test_frame_mask"),
            (lambda p: np.save(p, np.zeros((2, 4))), r"12_0151\.npy is not one label per frame but \(2, 4\)"),
            (lambda p: p.write_bytes(b"no array"), r"12_0151\.npy is not a readable npy file"),
            (lambda p: p.write_bytes(b""), r"12_0151\.npy is not a readable npy file"),
            (Path.unlink, r"no file .*12_0151\.npy"),
        ],
    )
    def test_bad_labels(self, damage: Callable[[Path], object], message: str, tmp_path: Path) -> None:
        self.make(tmp_path)
        damage(tmp_path / "testing" / "test_frame_mask" / "12_0151.npy")
        with pytest.raises(DatasetError, match=message):
            load_dataset("shanghaitech", tmp_path)

    def test_bad_pixel_masks(self, tmp_path: Path) -> None:
        self.make(tmp_path)
        path = tmp_path / "testing" / "test_pixel_mask" / "12_0151.npy"
        np.save(path, np.zeros((3, 4, 5)))
        with pytest.raises(DatasetError, match=r"holds \(3, 4, 5\), not a mask for each of 2 frames"):
            masks_of(by_name(load_dataset("shanghaitech", tmp_path))["test/12_0151"])
        path.unlink()
        with pytest.raises(DatasetError, match=r"no file .*test_pixel_mask/12_0151\.npy"):
            load_dataset("shanghaitech", tmp_path)
