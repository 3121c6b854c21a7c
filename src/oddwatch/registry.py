"""A name in a table, or a user's own `module:Class`, -> a class."""

from __future__ import annotations

from collections.abc import Mapping
from importlib import import_module
from typing import Any, TypeVar

from oddwatch.errors import UsageError

T = TypeVar("T")


def find_class(name: str, table: Mapping[str, str], base: type[T]) -> type[T]:
    """The class behind a name of `table` (name -> "module:Class") or behind "module:Class" itself.

    Raises UsageError that lists the valid names, says why an import failed, or that it is no subclass of `base`.
    """
    kind = base.__name__.lower()
    module, colon, attribute = table.get(name, name).partition(":")
    if not colon:
        raise UsageError(f"unknown {kind} {name!r}: choose one of {', '.join(sorted(table))}, or module:Class")
    try:
        found: Any = getattr(import_module(module), attribute)
    except Exception as error:  # a user's own module can fail in any way
        raise UsageError(f"{kind} {name!r} cannot be imported: {type(error).__name__}: {error}") from error
    if not (isinstance(found, type) and issubclass(found, base)):
        raise UsageError(f"{kind} {name!r} is not a subclass of {base.__module__}.{base.__qualname__}")
    return found


def build(name: str, table: Mapping[str, str], base: type[T], options: Mapping[str, Any]) -> T:
    """An object of that class with these keywords. Raises UsageError for an unknown name or a wrong option."""
    found = find_class(name, table, base)
    try:
        return found(**options)
    except (TypeError, ValueError) as error:
        raise UsageError(f"{base.__name__.lower()} {name!r}: {error}") from error
