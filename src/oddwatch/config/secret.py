"""Values that must not show: from the file itself, from the environment (`${NAME}`), or from a file of their own."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any
from urllib.parse import quote

from oddwatch.addresses import is_url
from oddwatch.errors import MissingExtraError

try:
    from pydantic import BaseModel, BeforeValidator, SecretStr, ValidationInfo, WithJsonSchema
except ImportError as error:
    raise MissingExtraError("a site file", "pydantic", "watch") from error

_NAME = re.compile(r"\$\{([A-Za-z_][A-Za-z0-9_]*)\}")
_MOST_BYTES = 65536


@dataclass(frozen=True)
class Surroundings:
    """What a file is read in. folder: relative names of files start there. environment: for `${NAME}`.
    secrets: whether what is secret has to be there; without, what is not there stays empty, except for the database.
    """

    folder: Path = Path()
    environment: Mapping[str, str] = field(default_factory=lambda: os.environ, repr=False)
    secrets: bool = True


def in_folder(path: str, info: ValidationInfo) -> str:
    """A path of the file, as seen from the folder that the process runs in. Raises ValueError."""
    if not path or "\0" in path:
        raise ValueError("a path is not empty")
    around = info.context if isinstance(info.context, Surroundings) else Surroundings()
    return str(around.folder / path)


def _resolve(value: Any, info: ValidationInfo) -> SecretStr:
    return _resolved(value, info, needed=False)


def _resolve_always(value: Any, info: ValidationInfo) -> SecretStr:
    return _resolved(value, info, needed=True)


def _resolved(value: Any, info: ValidationInfo, *, needed: bool) -> SecretStr:
    """Raises ValueError that never holds the value."""
    around = info.context if isinstance(info.context, Surroundings) else Surroundings()
    if isinstance(value, SecretStr):
        return value
    try:
        if isinstance(value, dict) and list(value) == ["file"] and isinstance(value["file"], str):
            return SecretStr(_from_file(around.folder / value["file"]))
        if isinstance(value, str):
            return SecretStr(_substituted(value, around.environment))
    except LookupError as error:
        if around.secrets or needed:
            raise ValueError(error.args[0]) from None
        return SecretStr("")
    raise ValueError("it must be text (in quotes if it is a number), ${NAME} of the environment, or {file: PATH}")


def _substituted(text: str, environment: Mapping[str, str]) -> str:
    """In an address, what stands for a part of it is percent-encoded, so that a password may hold anything."""

    def value(found: re.Match[str]) -> str:
        name = found.group(1)
        if name not in environment:
            raise LookupError(f"the environment has no {name}: set it, or give {{file: PATH}}")
        held = environment[name]
        return quote(held, safe="") if is_url(text) else held

    return _NAME.sub(value, text)


def _from_file(path: Path) -> str:
    try:
        with path.open("rb") as file:
            data = file.read(_MOST_BYTES + 1)
    except OSError as error:
        raise LookupError(f"{path} cannot be read: {error.strerror}") from None
    if len(data) > _MOST_BYTES:
        raise LookupError(f"{path} is longer than a secret: {_MOST_BYTES} bytes at most")
    try:
        text = data.decode().rstrip("\r\n")
    except UnicodeDecodeError:
        raise LookupError(f"{path} is no text") from None
    if not text:
        raise LookupError(f"{path} is empty")
    return text


_SCHEMA = WithJsonSchema(
    {
        "description": "Text, in which ${NAME} stands for a variable of the environment, or {file: PATH}.",
        "anyOf": [
            {"type": "string"},
            {
                "type": "object",
                "properties": {"file": {"type": "string"}},
                "required": ["file"],
                "additionalProperties": False,
            },
        ],
    }
)
Secret = Annotated[SecretStr, BeforeValidator(_resolve), _SCHEMA]
NeededSecret = Annotated[SecretStr, BeforeValidator(_resolve_always), _SCHEMA]
"""A secret that has to be there even where others are not asked for."""


def secrets_of(value: Any) -> Iterator[str]:
    """Every secret that a model holds, however deep: for `oddwatch.addresses.Redactor`."""
    if isinstance(value, SecretStr):
        yield value.get_secret_value()
    elif isinstance(value, BaseModel):
        for name in type(value).model_fields:
            yield from secrets_of(getattr(value, name))
    elif isinstance(value, dict):
        for inner in value.values():
            yield from secrets_of(inner)
    elif isinstance(value, list | tuple):
        for inner in value:
            yield from secrets_of(inner)
