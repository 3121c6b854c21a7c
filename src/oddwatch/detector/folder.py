"""A detector as a folder: `detector.json` and safetensors files. Never a pickle.

Tensor files are named by their content and `detector.json`, which names them, is replaced last: a crash at any moment
leaves the old detector or the new one.
"""

from __future__ import annotations

import hashlib
import json
import re
from pathlib import Path
from typing import Any

import numpy as np
from safetensors import SafetensorError
from safetensors.numpy import load as load_tensors
from safetensors.numpy import save as save_tensors

from oddwatch.errors import DetectorError
from oddwatch.files import write_bytes
from oddwatch.types import FloatArray

FORMAT = 1
_JSON = "detector.json"
Tensors = dict[str, dict[str, FloatArray]]


def require_free(folder: Path, *, replacing: bool = True) -> None:
    """Raises DetectorError unless a detector can go to `folder`: it is empty or not there yet; `replacing`: or one."""
    try:
        if not replacing and (folder / _JSON).exists():
            raise DetectorError(f"{folder} holds a detector: add --overwrite to replace it, or choose another --out")
        free = not folder.exists() or (folder / _JSON).exists() or (folder.is_dir() and not any(folder.iterdir()))
    except OSError as error:
        why = error.strerror or error
        raise DetectorError(
            f"{folder} cannot be used: {why} (check its permissions or choose another --out)"
        ) from error
    if not free:
        raise DetectorError(f"{folder} is not a detector and not empty: give --out a new folder")


def write_folder(folder: Path, record: dict[str, Any], tensors: Tensors) -> None:
    """Replace whatever detector is in `folder` at once. record: JSON types. tensors: file stem -> arrays by name.

    Raises DetectorError when the folder holds something else or cannot be written. Whatever stops it, nothing
    half-written stays.
    """
    require_free(folder)
    written: list[Path] = []
    created = not folder.exists()
    try:
        folder.mkdir(parents=True, exist_ok=True)
        files = {}
        for stem, arrays in tensors.items():
            data = save_tensors({name: np.asarray(array, order="C") for name, array in arrays.items()})
            digest = hashlib.sha256(data).hexdigest()
            path = folder / f"{stem}-{digest[:12]}.safetensors"
            files[stem] = {"file": path.name, "sha256": digest}
            if not path.exists():
                written.append(path)
            write_bytes(path, data)
        text = json.dumps({"format": FORMAT, **record, "files": files}, indent=1)
        write_bytes(folder / _JSON, text.encode())
    except BaseException as error:
        for path in written:
            path.unlink(missing_ok=True)
        if created and folder.is_dir() and not any(folder.iterdir()):
            folder.rmdir()
        if not isinstance(error, OSError):
            raise
        why = error.strerror or error
        raise DetectorError(f"{folder} cannot be written: {why} (free some space or choose another --out)") from error
    named = {entry["file"] for entry in files.values()}
    ours = re.compile(rf"({'|'.join(map(re.escape, tensors))})-[0-9a-f]{{12}}\.safetensors")
    for path in folder.iterdir():
        if ours.fullmatch(path.name) and path.name not in named:
            path.unlink(missing_ok=True)


def read_folder(folder: Path) -> tuple[dict[str, Any], Tensors]:
    """Inverse of `write_folder`. Raises DetectorError: missing, not a detector, half-written, damaged or too new."""
    path = folder / _JSON
    try:
        record = json.loads(path.read_text(encoding="utf-8"))
        version = record["format"]
        if not isinstance(version, int):
            raise TypeError
    except FileNotFoundError as error:
        hint = "it has no detector.json" if folder.is_dir() else "no such folder"
        raise DetectorError(f"{folder} is not a detector: {hint} (make one with oddwatch learn --out)") from error
    except NotADirectoryError as error:
        hint = f"give its folder, {folder.parent}" if folder.name == _JSON else "make one with oddwatch learn --out"
        raise DetectorError(f"{folder} is a file, and a detector is a folder ({hint})") from error
    except OSError as error:
        raise DetectorError(f"{path} cannot be read: {error.strerror} (check its permissions)") from error
    except (ValueError, KeyError, TypeError) as error:
        raise DetectorError(f"{path} is damaged, it is not a detector's JSON: learn again or restore a copy") from error
    if version > FORMAT:
        raise DetectorError(
            f"{folder} was made by oddwatch {record.get('oddwatch', '?')} (format {version}), this one reads up to "
            f"format {FORMAT}: upgrade oddwatch"
        )
    try:
        files = {stem: (folder / Path(entry["file"]).name, entry["sha256"]) for stem, entry in record["files"].items()}
    except (KeyError, TypeError, AttributeError) as error:
        raise DetectorError(f"{path} is damaged, it names no files: learn again or restore a copy") from error
    tensors: Tensors = {}
    for stem, (file, sha256) in files.items():
        try:
            data = file.read_bytes()
            if hashlib.sha256(data).hexdigest() != sha256:
                raise DetectorError(f"{file} is damaged, its checksum is wrong: learn again or restore a copy")
            tensors[stem] = load_tensors(data)
        except (OSError, SafetensorError) as error:
            raise DetectorError(f"{file} cannot be read: {error}: learn again or restore a copy") from error
    return record, tensors
