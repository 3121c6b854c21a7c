"""Writing files: the old one or the new one, never a part of either."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from oddwatch.errors import OddwatchError
from oddwatch.files import link, write_bytes, write_text


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_a_file_is_written_and_replaced(tmp_path: Path) -> None:
    path = tmp_path / "new" / "folder" / "a.bin"
    write_bytes(path, b"old")
    write_bytes(path, b"new")
    assert path.read_bytes() == b"new"
    assert names(path.parent) == ["a.bin"]


def test_text_is_utf8(tmp_path: Path) -> None:
    write_text(tmp_path / "a.txt", "größer\n")
    assert (tmp_path / "a.txt").read_bytes() == "größer\n".encode()


@pytest.mark.parametrize("stopped", [OSError(errno.EIO, "Input/output error"), KeyboardInterrupt()])
def test_a_crash_before_the_rename_leaves_the_old_file_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, stopped: BaseException
) -> None:
    path = tmp_path / "a.bin"
    write_bytes(path, b"old")

    def crash(*_: object) -> None:
        raise stopped

    monkeypatch.setattr(os, "replace", crash)
    with pytest.raises(type(stopped)):
        write_bytes(path, b"new")
    assert path.read_bytes() == b"old"
    assert names(tmp_path) == ["a.bin"]


def test_the_bytes_are_on_disk_before_the_name_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    order: list[str] = []

    def watched(name: str) -> Callable[..., None]:
        real = getattr(os, name)

        def call(*args: Any) -> None:
            order.append(name)
            real(*args)

        return call

    for name in ("fsync", "replace"):
        monkeypatch.setattr(os, name, watched(name))
    write_bytes(tmp_path / "a.bin", b"new")
    assert order == ["fsync", "replace"]


def test_text_that_cannot_be_written_is_one_line_that_names_the_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(_: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OddwatchError) as caught:
        write_text(tmp_path / "a.txt", "x")
    assert str(caught.value) == (
        f"{tmp_path / 'a.txt'} cannot be written: No space left on device (free some space or choose another)"
    )
    assert names(tmp_path) == []


def test_a_folder_that_is_a_file(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    with pytest.raises(OddwatchError, match=r"file/a\.txt cannot be written"):
        write_text(tmp_path / "file" / "a.txt", "x")


def test_a_second_name_stays_what_it_was_when_the_first_is_written_again(tmp_path: Path) -> None:
    best, last = tmp_path / "best", tmp_path / "last"
    write_bytes(best, b"1")
    write_bytes(last, b"0")
    assert link(best, last)
    assert link(best, last)
    assert last.read_bytes() == b"1"
    write_bytes(best, b"2")
    assert last.read_bytes() == b"1"
    assert not link(tmp_path / "missing", last)
    (tmp_path / "best_too").symlink_to(best)
    assert link(tmp_path / "best_too", last)
    write_bytes(last, b"3")
    assert best.read_bytes() == b"2"
    (tmp_path / "best_too").unlink()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["best", "last"]
