"""A user's own function as a backbone: clips in, vectors out."""

from __future__ import annotations

import inspect
import sys
from collections.abc import Callable
from pathlib import Path
from traceback import extract_tb
from typing import Any, ClassVar

import numpy as np

from oddwatch.backbones.base import BackboneRecord
from oddwatch.backbones.clips import ClipBackbone, ClipInput, Pixels
from oddwatch.errors import UsageError
from oddwatch.files import sha256_of
from oddwatch.registry import find

Function = Callable[[Pixels], Any]
FRAMES, SIZE_PX = 8, 224


class FunctionBackbone(ClipBackbone):
    """`embed(clips)` of a user's module. Options: see `ClipBackbone`.

    The function is given float32 (N, T, S, S, 3), RGB, 0..1, and returns vectors (N, D), or a tuple of vectors and
    grids (N, Gh, Gw, d): anything that numpy takes for an array of numbers, all finite, D and d always the same.
    """

    heavy = True
    function: ClassVar[Function]
    code_sha256: ClassVar[str]

    def __reduce__(self) -> tuple[Any, ...]:
        """A copy in another process imports the function by its name."""
        return _rebuilt, (self.record.name, self.options())

    def weights_sha256(self) -> str:
        """That of the file which the function is written in: another file is refused like other weights."""
        return f"code {self.code_sha256}"

    def embed(self, clips: Pixels) -> tuple[Pixels, Pixels | None]:
        """Raises UsageError that names the function: it failed, or what it returned is not what it should be."""
        vector, grid = _called(self.record.name, type(self).function, clips)
        sizes = vector.shape[1], None if grid is None else grid.shape[3]
        if sizes != (self.record.vector_size, self.record.grid_size):
            raise UsageError(
                f"{self.record.name} returned vectors and grids of {_text(*sizes)} values, and of "
                f"{_text(self.record.vector_size, self.record.grid_size)} for a black clip: they have to stay the same"
            )
        return vector, grid


_made: dict[tuple[str, int], type[FunctionBackbone]] = {}
"""By name and identity: a callable object may have no hash, and each class keeps its function alive."""


def function_backbone(name: str, function: Function) -> type[FunctionBackbone]:
    """The class for `module:attribute`. The function is called with one black clip to learn what it returns.

    Attributes `frames` and `size_px` of the function say what its clips are where not 8 frames of 224 px. Raises
    UsageError that names the function: it fails, returns something else than arrays of the right shape, or has no file.
    """
    if known := _made.get((name, id(function))):
        return known
    frames, size_px = (getattr(function, key, usual) for key, usual in (("frames", FRAMES), ("size_px", SIZE_PX)))
    if not all(isinstance(value, int) and value > 0 for value in (frames, size_px)):
        raise UsageError(f"{name}: its frames and size_px are whole numbers above 0, got {frames!r} and {size_px!r}")
    vector, grid = _called(name, function, np.zeros((1, frames, size_px, size_px, 3), dtype=np.float32))

    class Made(FunctionBackbone):
        input = ClipInput(frames, size_px, (0.0, 0.0, 0.0), (1.0, 1.0, 1.0))
        record = BackboneRecord(
            name=name,
            summary=(inspect.getdoc(function) or "a function of yours").splitlines()[0],
            vector_size=vector.shape[1],
            grid_size=None if grid is None else grid.shape[3],
        )
        code_sha256 = sha256_of(_file(name, function))

    Made.function = staticmethod(function)
    Made.__qualname__ = f"{FunctionBackbone.__name__}[{name}]"  # which tells it from others in what is kept
    return _made.setdefault((name, id(function)), Made)


def _rebuilt(name: str, options: dict[str, Any]) -> FunctionBackbone:
    made = function_backbone(name, find(name, {}, "backbone"))(**options)
    made.name = name
    return made


def _file(name: str, function: Function) -> Path:
    module = function.__module__ if inspect.isfunction(function) else name.partition(":")[0]
    file = getattr(sys.modules.get(module), "__file__", None)
    if file is None:
        raise UsageError(f"{name} is in no file, so that a detector could not tell when it changes: write it into one")
    return Path(file)


def _called(name: str, function: Function, clips: Pixels) -> tuple[Pixels, Pixels | None]:
    """What the function makes of clips, as float32. Raises UsageError."""
    given = f"{name}, given clips {clips.shape},"
    try:
        found = function(clips)
    except Exception as error:  # a user's own function can fail in any way
        place = extract_tb(error.__traceback__)[-1]
        raise UsageError(
            f"{given} failed: {type(error).__name__}: {error} ({place.filename}:{place.lineno})"
        ) from error
    vectors, grids = found if isinstance(found, tuple) and len(found) == 2 else (found, None)
    vector = _array(given, "vectors", vectors, ("N", "D"), len(clips))
    return vector, None if grids is None else _array(given, "grids", grids, ("N", "Gh", "Gw", "d"), len(clips))


def _array(given: str, what: str, value: Any, axes: tuple[str, ...], count: int) -> Pixels:
    try:
        array = np.ascontiguousarray(value, dtype=np.float32)
    except (TypeError, ValueError, RuntimeError) as error:
        raise UsageError(f"{given} returned {what} that are no array of numbers: {error}") from error
    if np.ndim(value) != len(axes) or len(array) != count or 0 in array.shape:
        raise UsageError(
            f"{given} returned {what} of shape {np.shape(value)}: it has to be ({', '.join(axes)}) with N = {count}"
        )
    if not np.isfinite(array).all():
        raise UsageError(f"{given} returned {what} that are not all finite")
    return array


def _text(vector_size: int, grid_size: int | None) -> str:
    return f"{vector_size} and {grid_size or 'no'}"
