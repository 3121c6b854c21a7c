"""YAML with line numbers: what is wrong with a file is said with its line, what arrived and what is allowed.

Numbers and words are those of YAML 1.2: `22:00` is text and no number to the base of 60, `no` is text, 1e-3 a number. A
key that is given twice is an error. What is said never holds a value that may be secret.
"""

from __future__ import annotations

import difflib
import json
import re
from collections.abc import Hashable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from oddwatch.addresses import host_only, is_url
from oddwatch.errors import MissingExtraError, UsageError

try:
    import yaml
    from pydantic import BaseModel, ValidationError
    from pydantic_core import PydanticCustomError
except ImportError as error:
    raise MissingExtraError("a site file", error.name or "pydantic", "watch") from error

_M = TypeVar("_M", bound=BaseModel)
_Place = tuple[int | str, ...]
_SHOWN = 80


@dataclass(frozen=True)
class Problem:
    """One thing that is wrong. line: from 1; None when the file as a whole is meant."""

    line: int | None
    text: str

    def __str__(self) -> str:
        return self.text if self.line is None else f"line {self.line}: {self.text}"


class _Loader(yaml.SafeLoader):  # type: ignore[misc]  # PyYAML has no types
    def construct_mapping(self, node: Any, deep: bool = False) -> dict[Hashable, Any]:
        if isinstance(node, yaml.MappingNode):
            seen: dict[str, int] = {}
            for key, _ in node.value:
                if not isinstance(key, yaml.ScalarNode) or key.tag == "tag:yaml.org,2002:merge":
                    continue
                if key.value in seen:
                    said = f"{shown(key.value)} is here twice, first in line {seen[key.value]}"
                    raise yaml.constructor.ConstructorError(None, None, said, key.start_mark)
                seen[key.value] = key.start_mark.line + 1
        made: dict[Hashable, Any] = super().construct_mapping(node, deep=deep)
        return made


_CORE = {
    "bool": (r"true|True|TRUE|false|False|FALSE", "tTfF"),
    "int": (r"[-+]?[0-9]+|0x[0-9a-fA-F]+", "-+0123456789"),
    "float": (r"[-+]?(?:\.[0-9]+|[0-9]+(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]+)?", "-+.0123456789"),
    "null": (r"~|null|Null|NULL|", ["~", "n", "N", ""]),
    "merge": (r"<<", "<"),
}
_Loader.yaml_implicit_resolvers = {}
for _kind, (_pattern, _first) in _CORE.items():
    _Loader.add_implicit_resolver(f"tag:yaml.org,2002:{_kind}", re.compile(f"^(?:{_pattern})$"), list(_first))


def read_model(path: Path, model: type[_M], context: Any) -> tuple[_M | None, list[Problem]]:
    """The file as a model, or what is wrong with it. context: for the model's validators. Raises UsageError when there
    is no such file.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"{path} cannot be read: {getattr(error, 'strerror', None) or 'it is no text'}") from None
    try:
        loader = _Loader(text)
        root = loader.get_single_node()
        found = None if root is None else loader.construct_document(root)
    except yaml.MarkedYAMLError as error:  # its own text shows the line, which may hold a password
        mark = error.problem_mark or error.context_mark
        said = " ".join(filter(None, (error.context, error.problem)))
        return None, [Problem(mark and mark.line + 1, f"this is no YAML: {said}")]
    except yaml.YAMLError:
        return None, [Problem(None, "this is no YAML: it holds characters that YAML does not allow")]
    if not isinstance(found, dict):
        return None, [Problem(None, f"the file holds no keys: it has {', '.join(_keys(model))}")]
    try:
        return model.model_validate(found, context=context), []
    except ValidationError as error:
        wrong = error.errors(include_url=False)
        problems = [_problem(one, root, model) for one in wrong]
    unique = {str(problem): problem for problem in problems}  # a union complains once for each of its members
    return None, sorted(unique.values(), key=lambda problem: problem.line or 0)


def wrong_at(place: _Place, text: str) -> PydanticCustomError:
    """For a validator of the whole file: what is wrong with one place in it."""
    return PydanticCustomError("wrong_at", "{text}", {"place": place, "text": text})


def raise_first(path: Path, problems: Sequence[Problem]) -> None:
    """Raises UsageError with the first problem and how many more there are, if there is any."""
    if problems:
        more = len(problems) - 1
        hint = f" (and {more} more: oddwatch config check {path})" if more else ""
        raise UsageError(f"{path}, {problems[0]}{hint}") from None


def _problem(error: Any, root: Any, model: type[BaseModel]) -> Problem:
    kind, said = error["type"], error["msg"]
    place, line = _walk(root, error["loc"], ends_with_key=kind in ("missing", "extra_forbidden"))
    key = _dotted(place)
    if kind == "wrong_at":
        place, line = _walk(root, error["ctx"]["place"])
        return Problem(line, f"{_dotted(place)}: {said}")
    if kind == "extra_forbidden":
        allowed = _allowed_keys(model, error["loc"][:-1])
        whose = _dotted(place[:-1]) or "the file"
        plain = re.split(r"[^\w-]", str(place[-1]))[0]  # where its colon was forgotten, the value is part of the key
        found = _dotted((*place[:-1], plain)) + ("" if plain == place[-1] else "...")
        return Problem(line, f"unknown key {found!r}{_meant(plain, allowed)}: {whose} has {', '.join(allowed)}")
    if kind == "missing":
        return Problem(line, f"{key} is missing: give a value for it")
    if kind == "value_error":
        return Problem(line, f"{key or 'the file'}: {error['ctx']['error']}")
    if kind == "union_tag_invalid":
        allowed = [tag.strip(" '") for tag in error["ctx"]["expected_tags"].split(",")]
        arrived = error["ctx"]["tag"]
        return Problem(
            line, f"{key}.kind is {shown(arrived)}{_meant(arrived, allowed)}: it must be {', '.join(allowed)}"
        )
    if kind == "union_tag_not_found":
        return Problem(line, f"{key}.kind is missing: give a value for it")
    must = said.replace("Input should be ", "it must be ").replace("valid ", "").replace("a dictionary", "a section")
    if kind in ("model_type", "model_attributes_type"):
        must = f"it must be a section with {', '.join(_allowed_keys(model, error['loc']))}"
    value = error["input"]
    hint = ""
    if kind == "literal_error" and isinstance(value, str):
        hint = _meant(value, re.findall(r"'([^']*)'", error["ctx"]["expected"]))
    return Problem(line, f"{key} is {_arrived(kind, value)}{hint}: {must}")


def shown(text: str) -> str:
    """What arrived, for a message: in quotes, and cut where it could be an address that lost its beginning.

    >>> shown("webhok"), shown("webhok https://me:pw@host/x")
    ("'webhok'", "'webhok...'")
    """
    if len(text) <= _SHOWN and not re.search(r"[/@]", text):
        return repr(text)
    return repr(re.split(r"[^\w-]", text)[0][:12] + "...")


def _meant(arrived: str, allowed: Sequence[str]) -> str:
    close = difflib.get_close_matches(arrived.lower(), allowed, n=1)
    return f", did you mean {close[0]!r}?" if close else ""


def _arrived(kind: str, value: Any) -> str:
    """A value for a message: only plain ones of keys that hold no secret (those have their own messages)."""
    if isinstance(value, dict):
        return "a section"
    if isinstance(value, list | tuple):
        return "a list" if kind.endswith("_type") else f"a list of {len(value)}"
    if isinstance(value, str):
        if kind in ("model_type", "model_attributes_type", "dict_type", "list_type", "tuple_type"):
            return "text"  # it may be an address in a place for a section
        return repr(host_only(value)) if is_url(value) else shown(value)
    return json.dumps(value) if value is None or isinstance(value, bool) else repr(value)


def _walk(node: Any, loc: _Place, *, ends_with_key: bool = False) -> tuple[_Place, int]:
    """The place in the file and its line. Parts that stand for members of a union are not in the file; nor is a key
    that is missing.
    """
    place: list[int | str] = []
    line = node.start_mark.line + 1
    for depth, part in enumerate(loc):
        if isinstance(node, yaml.MappingNode):
            hit = next(((key, value) for key, value in node.value if key.value == str(part)), None)
            if hit is not None:
                line, node = hit[0].start_mark.line + 1, hit[1]
            elif not (ends_with_key and depth == len(loc) - 1):
                continue
        elif isinstance(node, yaml.SequenceNode) and isinstance(part, int) and part < len(node.value):
            node = node.value[part]
            line = node.start_mark.line + 1
        else:
            break  # inside of a value: its type is what is wrong
        place.append(part)
    return tuple(place), line


def _dotted(place: _Place) -> str:
    """

    >>> _dotted(("cameras", 0, "fps"))
    'cameras[0].fps'
    """
    return "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in place).removeprefix(".")


def _keys(model: type[BaseModel]) -> list[str]:
    return [field.alias or name for name, field in model.model_fields.items()]


def _allowed_keys(model: type[BaseModel], loc: _Place) -> list[str]:
    """The keys of the section that an error is about."""
    candidates = [model]
    for part in loc:
        if isinstance(part, int):
            continue
        inner = [
            found
            for one in candidates
            for name, field in one.model_fields.items()
            if (field.alias or name) == part
            for found in _models(field.annotation)
        ]
        tagged = [one for one in candidates if "kind" in one.model_fields and _tag(one) == part]
        candidates = inner or tagged or candidates
    return list(dict.fromkeys(key for one in candidates for key in _keys(one)))


def _tag(model: type[BaseModel]) -> Any:
    return model.model_fields["kind"].default


def _models(annotation: Any) -> Iterator[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation
        return
    for inner in getattr(annotation, "__args__", ()):
        yield from _models(inner)
