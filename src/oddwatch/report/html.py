"""Templates filled in, and pictures inside a page. Needs Jinja2."""

from __future__ import annotations

import base64
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from oddwatch import __version__

_HERE = Path(__file__).parent


@dataclass(frozen=True)
class Picture:
    """source: a data URI. alt: what a person who cannot see it needs to know."""

    source: str
    width_px: int
    height_px: int
    alt: str
    title: str = ""
    caption: str = ""
    rank: int = 0


def picture_of(png: bytes, *, alt: str, title: str = "", caption: str = "") -> Picture:
    """A PNG that a page can hold."""
    width, height = (int.from_bytes(png[at : at + 4], "big") for at in (16, 20))
    return Picture(data_uri(png, "png"), width, height, alt, title, caption)


def data_uri(data: bytes, kind: str) -> str:
    """kind: `png` or `jpeg`."""
    return f"data:image/{kind};base64,{base64.b64encode(data).decode('ascii')}"


def render(template: str, **context: Any) -> str:
    """A whole page: a template of this folder, with the style and the version. Everything else is escaped."""
    from jinja2 import Environment, FileSystemLoader, StrictUndefined
    from markupsafe import Markup

    environment = Environment(
        loader=FileSystemLoader(_HERE), autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    style = Markup((_HERE / "report.css").read_text(encoding="utf-8"))
    return environment.get_template(template).render(style=style, version=__version__, **context)
