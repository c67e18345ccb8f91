"""The drawn pictures: the same every time, different for each product, and well-formed whatever the slug is."""

from __future__ import annotations

from importlib.resources import files
from xml.etree import ElementTree as ET

import pytest
from hypothesis import given
from hypothesis import strategies as st

from securecart.web.storefront import pictures
from securecart.web.storefront.pictures import Motif, draw, motif_of


def every_row() -> list[Motif]:
    telling, vague = pictures._motifs()
    return [*telling, *vague]


SVG = "{http://www.w3.org/2000/svg}"


def test_a_product_always_looks_the_same() -> None:
    first = draw("soup", "tomato-soup-10-oz")
    draw.cache_clear()
    assert draw("soup", "tomato-soup-10-oz") == first


def test_two_products_of_one_kind_look_different() -> None:
    looks = {draw("soup", f"soup-{number}") for number in range(40)}
    assert len(looks) > 30


@pytest.mark.parametrize(
    ("category", "slug", "motif"),
    [
        ("grocery-soft-drinks", "cola-12-pack", "can"),
        ("grocery", "tomato-soup-10-oz", "tin"),
        ("produce", "organic-strawberries-16-oz", "berries"),
        ("produce-berries", "item-4711", "berries"),
        ("floral", "roses", "flower"),
        ("seafood", "atlantic-salmon-fillet", "fish"),
        ("bakery", "sourdough-loaf", "bread"),
        ("household", "facial-tissues", "roll"),
        ("produce", "baby-spinach", "leaf"),
        ("grocery", "corn-flakes-cereal", "bag"),
        ("grocery", "olive-oil", "bottle"),
        ("never-heard-of", "4711", "box"),
    ],
)
def test_words_choose_the_motif_and_the_products_own_words_come_first(category: str, slug: str, motif: str) -> None:
    assert motif_of(category, slug).name == motif


def test_every_motif_is_drawn_and_every_drawing_is_used() -> None:
    drawn = {
        entry.name.removesuffix(".svg")
        for entry in files("securecart.web.storefront").joinpath("motifs").iterdir()
        if entry.name.endswith(".svg")
    }
    chosen = {motif_of("", word).name for motif in every_row() for word in motif.words}
    assert chosen == {name for name in drawn if not name.startswith("label-")}
    assert len(drawn) - len(chosen) == pictures.LABELS


def test_no_word_stands_behind_one_that_always_wins() -> None:
    for motif in every_row():
        assert any(motif_of("", word).name == motif.name for word in motif.words), motif.name


@given(st.text(max_size=60), st.text(max_size=60))
def test_any_slug_gives_a_picture_that_holds_nothing_but_shapes(category: str, slug: str) -> None:
    root = ET.fromstring(draw(category, slug))
    assert root.tag == f"{SVG}svg"
    assert root.get("viewBox") == "0 0 400 400"
    assert {element.tag for element in root.iter()} <= {
        f"{SVG}{name}" for name in ("svg", "g", "path", "rect", "circle", "ellipse")
    }
    assert not [name for element in root.iter() for name in element.attrib if name.startswith("on") or "href" in name]
