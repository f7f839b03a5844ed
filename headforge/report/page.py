"""Render a report's blocks as one self-contained HTML file."""

from __future__ import annotations

import base64
import functools
import hashlib
import io
import json
from importlib import resources

import jinja2
from markupsafe import Markup
from PIL import Image

from headforge.report.blocks import Grid, Page, Picture, Video

TEMPLATES = "headforge.report"
JPEG_QUALITY = 90


def render_page(page: Page) -> str:
    """Return the page as one HTML document: styles, scripts, pictures and videos embedded; all text escaped."""
    scripts = [_asset("theme.js"), _asset("viewer.js")]
    return (
        _environment()
        .get_template("page.html")
        .render(
            page=page,
            css=Markup(_asset("page.css")),
            scripts=[Markup(script) for script in scripts],
            policy=_policy(scripts),
            films=_Films(),
        )
    )


def data_uri(media_type: str, content: bytes) -> str:
    """Return `content` as a data: URL."""
    return f"data:{media_type};base64,{base64.b64encode(content).decode('ascii')}"


def picture_source(item: Picture | Video) -> str:
    """Return the data: URL of a picture or video."""
    if isinstance(item, Video):
        return data_uri("video/mp4", item.mp4)
    if item.lossless:
        return data_uri("image/png", item.png())
    buffer = io.BytesIO()
    Image.fromarray(item.image).save(buffer, "JPEG", quality=JPEG_QUALITY, subsampling=0, optimize=True)
    return data_uri("image/jpeg", buffer.getvalue())


def script_json(value: object) -> Markup:
    """Return JSON for a script element: `<` is escaped, so that no content can end the element."""
    text = json.dumps(value, sort_keys=True, separators=(",", ":"), allow_nan=False)
    return Markup(text.replace("<", "\\u003c"))


class _Films:
    """Numbers of a page's videos; equal videos share one, so that each is embedded once."""

    def __init__(self) -> None:
        self._numbers: dict[bytes, int] = {}

    def place(self, film: Video) -> tuple[int, bool]:
        """Return the video's number, and whether this is its first occurrence in the page."""
        is_new = film.mp4 not in self._numbers
        return self._numbers.setdefault(film.mp4, len(self._numbers)), is_new


def _policy(scripts: list[str]) -> str:
    """Return a content security policy that allows the page's own scripts and no outside resources."""
    hashes = " ".join(
        f"'sha256-{base64.b64encode(hashlib.sha256(s.encode()).digest()).decode('ascii')}'" for s in scripts
    )
    return (
        f"default-src 'none'; img-src data:; media-src data:; style-src 'unsafe-inline'; script-src {hashes}; "
        "base-uri 'none'; form-action 'none'"
    )


def _asset(name: str) -> str:
    return resources.files(TEMPLATES).joinpath("templates", name).read_text(encoding="utf-8")


def _has_labels(grid: Grid) -> bool:
    return any(row.label for row in grid.rows)


@functools.cache
def _environment() -> jinja2.Environment:
    environment = jinja2.Environment(
        loader=jinja2.FunctionLoader(_asset), autoescape=True, undefined=jinja2.StrictUndefined
    )
    environment.filters |= {
        "source": picture_source,
        "kind": lambda block: type(block).__name__,
        "has_labels": _has_labels,
        "json": script_json,
        "base64": lambda content: base64.b64encode(content).decode("ascii"),
        "svg": Markup,
    }
    environment.tests["film"] = lambda item: isinstance(item, Video)
    return environment
