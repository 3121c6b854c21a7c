"""Names -> classes: of a table, or a user's own."""

from __future__ import annotations

from abc import ABC, abstractmethod
from pathlib import Path

import pytest

from oddwatch.errors import MissingExtraError, UsageError
from oddwatch.registry import build, find_class


class Shape(ABC):
    @abstractmethod
    def area(self) -> float: ...


class Square(Shape):
    def __init__(self, *, side: float = 1.0) -> None:
        if side <= 0:
            raise ValueError(f"side is above 0, got {side}")
        self.side = side

    def area(self) -> float:
        return self.side**2


class NeedsMore(Shape):
    def __init__(self) -> None:
        raise MissingExtraError("this shape", "numpy", "shapes")

    def area(self) -> float:
        return 0.0


class NoShape: ...


TABLE = {"square": f"{__name__}:Square", "abstract": f"{__name__}:Shape", "more": f"{__name__}:NeedsMore"}


def test_a_name_and_a_users_own_class() -> None:
    assert find_class("square", TABLE, Shape) is Square  # type: ignore[type-abstract]
    assert find_class(f"{__name__}:Square", {}, Shape) is Square  # type: ignore[type-abstract]
    built = build("square", TABLE, Shape, {"side": 3.0})  # type: ignore[type-abstract]
    assert built.area() == 9.0


def test_an_unknown_name_lists_the_valid_ones() -> None:
    with pytest.raises(UsageError, match="unknown shape 'cube': choose one of abstract, more, square, or module:Class"):
        find_class("cube", TABLE, Shape)  # type: ignore[type-abstract]


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("no_such_module_at_all:Cube", "cannot be imported: ModuleNotFoundError"),
        (f"{__name__}:Cube", "cannot be imported: AttributeError"),
        (f"{__name__}:", "cannot be imported: AttributeError"),
        (":Cube", "cannot be imported: ValueError"),
        (".relative:Cube", "cannot be imported: TypeError"),
        (f"{__name__}:NoShape", rf"is not a subclass of {__name__}\.Shape"),
        (f"{__name__}:TABLE", "is not a subclass of"),
    ],
)
def test_what_cannot_be_imported_is_one_clear_error(name: str, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        find_class(name, TABLE, Shape)  # type: ignore[type-abstract]


def test_a_users_module_that_fails_while_it_is_imported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "broken_shapes.py").write_text("raise RuntimeError('no licence')")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(UsageError, match="shape 'broken_shapes:Cube' cannot be imported: RuntimeError: no licence"):
        find_class("broken_shapes:Cube", TABLE, Shape)  # type: ignore[type-abstract]


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("square", {"sides": 3}, "shape 'square': it has no option 'sides'"),
        ("square", {"side": -1}, "shape 'square': side is above 0, got -1"),
        ("square", {"side": "a"}, "shape 'square': "),
        ("abstract", {}, "shape 'abstract': Can't instantiate abstract class"),
    ],
)
def test_wrong_options_are_usage_errors(name: str, options: dict[str, object], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        build(name, TABLE, Shape, options)  # type: ignore[type-abstract]


def test_a_missing_extra_keeps_its_remedy() -> None:
    with pytest.raises(MissingExtraError, match=r"pip install"):
        build("more", TABLE, Shape, {})  # type: ignore[type-abstract]
