"""What the loaders share: finding what a published layout promises, and one form of error when it is not there."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from oddwatch.errors import DatasetError
from oddwatch.video.names import is_numbered_image, is_video_file, visible_entries


@dataclass(frozen=True)
class Layout:
    """The layout of one data set. expected: shown in every error, so that the user sees what the folder should hold."""

    dataset: str
    expected: str

    def error(self, problem: str) -> DatasetError:
        """The error to raise: what is wrong, then what is expected."""
        return DatasetError(f"{self.dataset}: {problem} (expected: {self.expected})")

    def folder(self, *choices: Path) -> Path:
        """The first of these that is a folder. Raises DatasetError when none is."""
        for choice in choices:
            if choice.is_dir():
                return choice
        raise self.error(f"no folder {' or '.join(map(str, choices))}")

    def file(self, *choices: Path) -> Path:
        """The first of these that is a file. Raises DatasetError when none is."""
        for choice in choices:
            if choice.is_file():
                return choice
        raise self.error(f"no file {' or '.join(map(str, choices))}")

    def sequences(self, folder: Path) -> list[Path]:
        """The folders of numbered frames in a folder, in natural order. Raises DatasetError when there are none."""
        found = [p for p in visible_entries(folder) if p.is_dir() and count_frames(p)]
        if not found:
            raise self.error(f"no folder with numbered frames in {folder}")
        return found

    def videos(self, folder: Path) -> list[Path]:
        """The video files in a folder, in natural order. Raises DatasetError when there are none."""
        found = [p for p in visible_entries(folder) if is_video_file(p)]
        if not found:
            raise self.error(f"no video file in {folder}")
        return found

    def check_count(self, sequence: Path, known: int, what: str) -> None:
        """Raises DatasetError that names the sequence unless there is one of `what` for every frame."""
        frames = count_frames(sequence)
        if frames != known:
            raise self.error(f"sequence {sequence} has {frames} frames but {known} {what}")


def count_frames(folder: Path) -> int:
    """How many numbered images a folder holds."""
    return sum(is_numbered_image(p) for p in visible_entries(folder))
