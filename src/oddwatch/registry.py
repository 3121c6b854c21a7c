"""A name in a table, or a user's own `module:attribute`, -> a class, or whatever it names."""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, nullcontext
from importlib import import_module, invalidate_caches
from typing import Any, TypeVar

from oddwatch.errors import UsageError

T = TypeVar("T")


def find(name: str, table: Mapping[str, str], kind: str, *, other: str = "module:Class") -> Any:
    """What a name of `table` (name -> "module:attribute") or "module:attribute" itself stands for.

    A user's own module may also lie in the current folder. kind, other: the words for it in errors. Raises UsageError
    that lists the valid names, or says why an import failed.
    """
    module, colon, attribute = table.get(name, name).partition(":")
    if not colon:
        raise UsageError(f"unknown {kind} {name!r}: choose one of {', '.join(sorted(table))}, or {other}")
    try:
        with nullcontext() if name in table else _current_folder():
            return getattr(import_module(module), attribute)
    except Exception as error:  # a user's own module can fail in any way
        where = " (looked in the current folder and in what is installed)"
        hint = where if isinstance(error, ModuleNotFoundError) and name not in table else ""
        raise UsageError(f"{kind} {name!r} cannot be imported: {type(error).__name__}: {error}{hint}") from error


def as_class(name: str, found: Any, base: type[T]) -> type[T]:
    """`found`, if it is a subclass of `base`. Raises UsageError."""
    if not (isinstance(found, type) and issubclass(found, base)):
        raise UsageError(f"{_kind(base)} {name!r} is not a subclass of {base.__module__}.{base.__qualname__}")
    return found


def find_class(name: str, table: Mapping[str, str], base: type[T]) -> type[T]:
    """The class behind a name. Raises UsageError as `find` does, and when it is no subclass of `base`."""
    return as_class(name, find(name, table, _kind(base)), base)


def construct(name: str, found: type[T], base: type[T], options: Mapping[str, Any]) -> T:
    """An object of that class with these keywords. Raises UsageError for a wrong option."""
    try:
        return found(**options)
    except (TypeError, ValueError) as error:
        unknown = re.search(r"unexpected keyword argument ('\w+')", str(error))
        says = f"it has no option {unknown[1]}" if unknown else error
        raise UsageError(f"{_kind(base)} {name!r}: {says}") from error


def build(name: str, table: Mapping[str, str], base: type[T], options: Mapping[str, Any]) -> T:
    """An object of the class behind a name. Raises UsageError for an unknown name or a wrong option."""
    return construct(name, find_class(name, table, base), base, options)


def _kind(base: type[Any]) -> str:
    return base.__name__.lower()


@contextmanager
def _current_folder() -> Iterator[None]:
    """Importable, as with `python -m`; taken back, so that nobody else's imports find what happens to lie there."""
    here = os.getcwd()
    sys.path.insert(0, here)
    invalidate_caches()  # it may have been written a moment ago
    try:
        yield
    finally:
        sys.path.remove(here)
