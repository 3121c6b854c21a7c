"""Checksums of published weights as they were when first seen here: for files whose publisher states none."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path

from oddwatch.errors import OddwatchError, WeightsError
from oddwatch.files import write_text


def pins_file() -> Path:
    """`oddwatch/pins.json` in the user's cache folder: {address: sha256}."""
    return Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache").expanduser() / "oddwatch" / "pins.json"


def check_pin(name: str, address: str, path: Path, sha256: str, say: Callable[[str], None]) -> None:
    """The first file that is seen for an address is remembered, and said; another is refused later.

    Two processes that pin at once may lose one pin, which is then made when that file is used next. Where pins cannot
    be written that is said, and the file is used. Raises WeightsError: another sha256 than pinned, or damaged pins.
    """
    file = pins_file()
    pins = _read(file)
    pinned = pins.get(address)
    if pinned == sha256:
        return
    if pinned is not None:
        raise WeightsError(
            f"{path} is not the file for {name} that was first used here: its sha256 is {sha256}, pinned in {file} is "
            f"{pinned} (delete it and fetch it again; if the publisher replaced it and you trust that, delete the line "
            f"of {address} in {file})"
        )
    try:
        write_text(file, json.dumps({**pins, address: sha256}, indent=1, sort_keys=True) + "\n")
    except OddwatchError as error:
        say(f"sha256 of {path}: {sha256}, not pinned: {error}")
    else:
        say(f"sha256 of {path}: {sha256}, pinned in {file}: another file of that name will be refused")


def _read(file: Path) -> dict[str, str]:
    try:
        pins = json.loads(file.read_text(encoding="utf-8"))
    except (FileNotFoundError, NotADirectoryError):
        return {}
    except (OSError, ValueError) as error:
        raise WeightsError(f"{file} cannot be read: {error} (delete it: weights are then pinned anew)") from error
    if not (isinstance(pins, dict) and all(isinstance(value, str) for value in pins.values())):
        raise WeightsError(f"{file} is not a table of checksums (delete it: weights are then pinned anew)")
    return pins
