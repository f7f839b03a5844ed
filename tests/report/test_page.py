"""The page's form: nothing from outside, everything escaped."""

from __future__ import annotations

import json
import re
from html import unescape
from html.parser import HTMLParser

import numpy as np
import pytest

from headforge.errors import ShapeError
from headforge.report import blocks, page
from headforge.report.blocks import (
    Card,
    Cards,
    Chart,
    Folded,
    Gallery,
    Grid,
    GridRow,
    Hero,
    Note,
    Page,
    Picture,
    Section,
    Table,
    Video,
    ViewerBlock,
    ViewerEntry,
)

HOSTILE = "</script><img src=x onerror=alert(1)>\"'&{{7*7}}"


class Reader(HTMLParser):
    """Collects elements and scripts."""

    def __init__(self) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.scripts: list[tuple[dict[str, str | None], str]] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))
        if tag == "script":
            self.scripts.append((dict(attrs), ""))

    def handle_data(self, data: str) -> None:
        if self.elements and self.elements[-1][0] == "script" and self.cdata_elem == "script":
            attributes, text = self.scripts[-1]
            self.scripts[-1] = (attributes, text + data)


def read(html: str) -> Reader:
    reader = Reader()
    reader.feed(html)
    reader.close()
    return reader


def assert_self_contained(html: str) -> None:
    """No address but data: and #anchors, and a policy that forbids every other."""
    reader = read(html)
    for tag, attributes in reader.elements:
        for name in ("src", "href", "action", "poster", "srcset", "data", "xlink:href"):
            value = attributes.get(name)
            assert value is None or value.startswith(("data:", "#")), (tag, name, str(value)[:80])
        assert not any(name.startswith("on") for name in attributes), (tag, attributes)
    policy = next(a["content"] for t, a in reader.elements if t == "meta" and a.get("http-equiv"))
    assert policy is not None
    assert policy.startswith("default-src 'none'")
    text = re.sub(r"data:[a-z]+/[a-z0-9.+-]+;base64,[A-Za-z0-9+/=]*", "", html)
    text = text.replace("http://www.w3.org/", "")
    assert not re.search(r"https?://|@import|url\((?!#)|\bfetch\(|XMLHttpRequest|WebSocket|importScripts", text)


def hostile_page() -> Page:
    picture = Picture(np.zeros((4, 4, 3), np.uint8), HOSTILE, HOSTILE)
    film = Video(b"\0\0", HOSTILE, HOSTILE)
    content = (
        Cards((Card(HOSTILE, HOSTILE, HOSTILE, HOSTILE, ((HOSTILE, HOSTILE),)),)),
        Grid((HOSTILE,), (GridRow(HOSTILE, (picture,)),), HOSTILE),
        Gallery((picture, film), HOSTILE),
        Table((HOSTILE,), ((HOSTILE,),), HOSTILE),
        Note(HOSTILE),
        Folded(HOSTILE, (Note(HOSTILE),)),
        Chart("<svg></svg>", HOSTILE),
        ViewerBlock((ViewerEntry(HOSTILE, {"label": HOSTILE}, b"\1", film), ViewerEntry(HOSTILE, {}, b""))),
    )
    hero = Hero(HOSTILE, HOSTILE, (HOSTILE,), (picture, film))
    return Page(hero, (Section("all", HOSTILE, HOSTILE, content),))


def test_names_can_not_become_markup() -> None:
    html = page.render_page(hostile_page())
    assert_self_contained(html)
    reader = read(html)
    assert not [a for tag, a in reader.elements if tag == "img" and a.get("src") == "x"]
    assert "49" not in re.sub(r"base64,[^\"]*|[#.\d]\d+|sha256-\S+", "", html).split("<body>")[1].split("<script>")[0]
    assert HOSTILE not in html


def test_scripts_are_the_two_of_the_page_and_the_policy_names_them() -> None:
    html = page.render_page(hostile_page())
    scripts = read(html).scripts
    run = [text for attributes, text in scripts if "type" not in attributes]
    assert run == [page._asset("theme.js"), page._asset("viewer.js")]
    policy = re.search(r"script-src ([^;]*);", unescape(html))
    assert policy is not None
    assert policy[1].count("sha256-") == 2
    assert "unsafe-inline" not in policy[1]


def test_a_film_is_embedded_once() -> None:
    html = page.render_page(hostile_page())
    films = [attributes for tag, attributes in read(html).elements if tag == "video"]
    assert len(films) == 3
    assert [film.get("id") for film in films] == ["film-0", None, None]
    assert [film.get("data-same") for film in films] == [None, "film-0", "film-0"]


def test_viewer_data_survives_the_page() -> None:
    html = page.render_page(hostile_page())
    metas = [text for attributes, text in read(html).scripts if "data-meta" in attributes]
    assert json.loads(metas[0]) == {"label": HOSTILE}


def test_script_json_can_not_end_its_element() -> None:
    assert "<" not in page.script_json({"a": "</script><!--"})
    with pytest.raises(ValueError, match="JSON"):
        page.script_json({"a": float("nan")})


def test_every_kind_of_block_is_rendered() -> None:
    html = page.render_page(hostile_page())
    for mark in (
        'class="cards"',
        'class="pictures"',
        "<video",
        'class="text',
        'class="note',
        "<details",
        "<svg",
        "<canvas",
    ):
        assert mark in html


def test_blocks_refuse_wrong_shapes() -> None:
    with pytest.raises(ShapeError):
        Picture(np.zeros((4, 4), np.uint8), "gray")
    with pytest.raises(ShapeError):
        Picture(np.zeros((4, 4, 3), np.float32), "float")
    with pytest.raises(ShapeError):
        blocks.Grid(("a", "b"), (GridRow("", (None,)),))
    with pytest.raises(ShapeError):
        Table(("a", "b"), (("1",),))


def test_a_jpeg_is_smaller_and_png_is_exact() -> None:
    noise = np.random.default_rng(0).integers(0, 255, (64, 64, 3), dtype=np.uint8)
    png, jpeg = (page.picture_source(Picture(noise, "noise", lossless=lossless)) for lossless in (True, False))
    assert png.startswith("data:image/png;base64,")
    assert jpeg.startswith("data:image/jpeg;base64,")
    assert len(jpeg) < len(png)
