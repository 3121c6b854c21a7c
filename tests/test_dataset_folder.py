"""A folder of videos as a data set: its splits and classes, and the truth in files beside the videos."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from dataset_files import by_name, frames_in, labels_of, write_frames, write_video

from oddwatch.datasets import load_dataset
from oddwatch.errors import DatasetError
from oddwatch.types import Sample, TruthBox, TruthEvent


class TestFolder:
    @pytest.mark.parametrize("train", ["train", "training", "normal", "usual", "Train"])
    @pytest.mark.parametrize("test", ["test", "Testing"])
    def test_names_of_the_splits(self, train: str, test: str, tmp_path: Path) -> None:
        write_video(tmp_path / train / "a.mp4")
        write_video(tmp_path / test / "b.mp4")
        dataset = load_dataset("folder", tmp_path)
        assert {s.name: s.split for s in dataset.samples} == {f"{train}/a.mp4": "train", f"{test}/b.mp4": "test"}
        assert dataset.name == tmp_path.name

    def test_classes_depth_and_frames(self, tmp_path: Path) -> None:
        write_video(tmp_path / "train" / "walk" / "monday" / "a.mp4")
        write_frames(tmp_path / "train" / "jog" / "seq1", 3)
        write_video(tmp_path / "test" / "a.mp4")
        samples = by_name(load_dataset("folder", tmp_path, fps=5.0))
        assert {n: (s.label, s.truth, s.fps) for n, s in samples.items()} == {
            "train/walk/monday/a.mp4": ("walk", (), None),
            "train/jog/seq1": ("jog", (), 5.0),
            "test/a.mp4": ("usual", None, None),
        }
        assert {n: frames_in(s) for n, s in samples.items()} == dict.fromkeys(samples, 3)

    def folder(self, root: Path, **truth: str) -> Sample:
        """The test video v.mp4 of a folder with these truth files (by extension)."""
        write_video(root / "train" / "a.mp4")
        write_video(root / "test" / "v.mp4")
        for extension, content in truth.items():
            (root / "test" / f"v.{extension}").write_text(content, encoding="utf-8")
        return by_name(load_dataset("folder", root))["test/v.mp4"]

    def test_json(self, tmp_path: Path) -> None:
        one = {"kind": "cart", "start_seconds": 0.04, "end_seconds": 0.08, "boxes": [[0.04, 0.1, 0.2, 0.3, 0.4]]}
        sample = self.folder(tmp_path, json=json.dumps({"events": [one]}))
        assert sample.truth == (TruthEvent("cart", 0.04, 0.08, (TruthBox(0.04, (0.1, 0.2, 0.3, 0.4)),)),)
        assert sample.frame_labels is None

    @pytest.mark.parametrize(
        ("content", "truth"),
        [
            ("start_seconds,end_seconds,kind\n0,1.5,fall\n2,2,\n", (("fall", 0.0, 1.5), ("unusual", 2.0, 2.0))),
            ("\ufeffend_seconds, start_seconds\n3, 1\n", (("unusual", 1.0, 3.0),)),
            ("start_seconds,end_seconds,kind\n", ()),
        ],
    )
    def test_csv_of_events(self, content: str, truth: tuple[tuple[str, float, float], ...], tmp_path: Path) -> None:
        sample = self.folder(tmp_path, csv=content)
        assert sample.truth == tuple(TruthEvent(*t) for t in truth)
        assert sample.frame_labels is None

    def test_csv_of_frames(self, tmp_path: Path) -> None:
        sample = self.folder(tmp_path, csv="frame,label\n0,0\n1,0\n2,1\n")
        assert (labels_of(sample), sample.truth) == ([0, 0, 1], None)

    def test_truth_of_a_folder_of_frames(self, tmp_path: Path) -> None:
        write_video(tmp_path / "train" / "a.mp4")
        write_frames(tmp_path / "test" / "cam.1", 2)
        (tmp_path / "test" / "cam.1.csv").write_text("frame,label\n0,1\n1,0\n")
        assert labels_of(by_name(load_dataset("folder", tmp_path))["test/cam.1"]) == [1, 0]

    @pytest.mark.parametrize(
        ("content", "message"),
        [
            (
                "start_seconds,end_seconds\n1,2\n5,3\n",
                r"v\.csv, line 3: an event needs 0 <= start_seconds <= ",
            ),
            ("start_seconds,end_seconds\n-1,2\n", "line 2: an event needs"),
            ("start_seconds,end_seconds\n1,inf\n", "line 2: an event needs"),
            ("start_seconds,end_seconds\n1,soon\n", "line 2: could not convert string to float: 'soon'"),
            ("start_seconds,end_seconds\n1\n", r"v\.csv, line 2: could not convert string to float: ''"),
            ("frame,label\n0,1\n0,0\n2,0\n", "line 3: the column frame counts 0, 1, 2, ...: 1 comes here, not 0"),
            ("frame,label\n1,1\n2,0\n", "line 2: the column frame counts 0, 1, 2, ...: 0 comes here, not 1"),
            ("frame,label\nfirst,1\n", "line 2: invalid literal for int"),
            ("frame,label\n0,1\n1,2\n", "line 3: a label is 0 or 1, got '2'"),
            ("from,to\n1,2\n", r"v\.csv has the columns from, to \(expected: .*start_seconds,end_seconds,kind"),
            ("", r"v\.csv is empty"),
        ],
    )
    def test_bad_csv(self, content: str, message: str, tmp_path: Path) -> None:
        with pytest.raises(DatasetError, match=message):
            self.folder(tmp_path, csv=content)

    def test_csv_in_another_encoding(self, tmp_path: Path) -> None:
        self.folder(tmp_path)
        (tmp_path / "test" / "v.csv").write_bytes(b"start_seconds,end_seconds,kind\n0,1,f\xfc\xdfe\n")
        with pytest.raises(DatasetError, match=r"v\.csv, line .*: 'utf-8' codec"):
            load_dataset("folder", tmp_path)

    def test_truth_that_cannot_be_opened(self, tmp_path: Path) -> None:
        self.folder(tmp_path)
        (tmp_path / "test" / "v.csv").mkdir()
        with pytest.raises(DatasetError, match=r"folder: .*test/v\.csv cannot be read: Is a directory"):
            load_dataset("folder", tmp_path)

    def test_bad_json(self, tmp_path: Path) -> None:
        with pytest.raises(DatasetError, match=r"v\.json"):
            self.folder(tmp_path, json='{"events": [{}]}')

    def test_two_truths(self, tmp_path: Path) -> None:
        with pytest.raises(DatasetError, match=r"v\.mp4 has truth in both v\.json and v\.csv: keep one"):
            self.folder(tmp_path, json='{"events": []}', csv="frame,label\n0,1\n")

    def test_test_videos_alone_are_enough(self, tmp_path: Path) -> None:
        write_video(tmp_path / "test" / "a.mp4")
        assert [s.name for s in load_dataset("folder", tmp_path).samples] == ["test/a.mp4"]

    def test_no_test_folder(self, tmp_path: Path) -> None:
        write_video(tmp_path / "train" / "a.mp4")
        with pytest.raises(DatasetError, match=r"has no folder test/ or testing/ \(expected: train/"):
            load_dataset("folder", tmp_path)

    def test_two_training_folders(self, tmp_path: Path) -> None:
        self.folder(tmp_path)
        (tmp_path / "normal").mkdir()
        with pytest.raises(DatasetError, match="has both normal/ and train/: keep one"):
            load_dataset("folder", tmp_path)

    def test_folder_without_videos(self, tmp_path: Path) -> None:
        self.folder(tmp_path)
        (tmp_path / "train" / "a.mp4").unlink()
        with pytest.raises(DatasetError, match="train"):
            load_dataset("folder", tmp_path)
