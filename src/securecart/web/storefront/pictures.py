"""Drawn pictures for products and categories that have none of their own.

A picture follows from its two slugs alone: words choose the motif and its family of colour (`motifs/words.txt`),
a digest of the product's slug chooses shade and label. So the same product always looks the same, two products
beside each other look different, and nothing has to be stored. The drawings are the files in `motifs/`, in which
`{main}`, `{dark}`, `{light}`, `{shade}` and `{label}` stand for colours and `<label .../>` for a printed label.
"""

from __future__ import annotations

import re
from functools import cache, lru_cache
from hashlib import blake2b
from importlib.resources import files

from msgspec import Struct

__all__ = ["draw", "motif_of"]

LABELS = 5
PLURALS = ((re.compile(r"s$"), ""), (re.compile(r"es$"), ""), (re.compile(r"ies$"), "y"))
SUNNY = range(22, 73)  # hues that turn to mud when they are as dark as others
PICTURES_KEPT = 4096

FRAME = """<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 400 400">
<rect width="400" height="400" fill="{ground}"/>
<circle cx="200" cy="188" r="150" fill="{light}" opacity=".55"/>
<ellipse cx="200" cy="331" rx="{shadow}" ry="13" fill="{shade}"/>
"""
LABEL_PLACE = re.compile(r'<label (x="\d+" y="\d+" width="\d+" height="\d+")/>')
LABEL_FRAME = (
    r'<svg \1 viewBox="0 0 100 100" preserveAspectRatio="xMidYMid slice">'
    r'<rect x="-50" y="-50" width="200" height="200" fill="{light}"/>'
)


class Motif(Struct, frozen=True):
    """A row of the table: which drawing, its hue (degrees), half its shadow's width, and the words that choose it."""

    name: str
    hue: int
    shadow: int
    words: frozenset[str]


@lru_cache(maxsize=PICTURES_KEPT)
def draw(category: str, slug: str) -> bytes:
    """The SVG picture of a product or category; any pair of strings gives one."""
    motif = motif_of(category, slug)
    digest = blake2b((slug or category).encode(), digest_size=4).digest()
    label = LABEL_FRAME + _drawing(f"label-{digest[3] % LABELS}") + "</svg>"
    shapes = LABEL_PLACE.sub(label, FRAME + _drawing(motif.name)) + "</svg>"
    return shapes.format_map({**_colours(motif.hue, digest), "shadow": motif.shadow}).encode()


def motif_of(category: str, slug: str) -> Motif:
    """The motif of the last telling word of the product, else of its category, else of a word that says less."""
    telling, vague = _motifs()
    for table in (telling, vague):
        for text in (slug, category):
            for word in reversed(re.findall(r"[a-z]+", text.lower())):
                forms = {word, *(ending.sub(instead, word) for ending, instead in PLURALS)}
                if found := next((motif for motif in table if motif.words & forms), None):
                    return found
    return vague[-1]


def _colours(hue: int, digest: bytes) -> dict[str, str]:
    """The colours of one picture, near its motif's hue."""
    hue = (hue + digest[0] % 25 - 12) % 360
    other = (hue + (150, 195, 32, 330, 48)[digest[1] % 5]) % 360
    strength, depth = (72, 56) if hue in SUNNY else (50, 46)
    depth += digest[2] % 10
    return {
        "ground": f"hsl({hue} 42% 91%)",
        "shade": f"hsl({hue} 26% 80%)",
        "main": f"hsl({hue} {strength}% {depth}%)",
        "dark": f"hsl({hue} {strength - 4}% {depth - 17}%)",
        "light": f"hsl({hue} 55% 96%)",
        "label": f"hsl({other} 66% 62%)",
    }


@cache
def _drawing(name: str) -> str:
    return files(__package__).joinpath("motifs", f"{name}.svg").read_text(encoding="utf-8")


@cache
def _motifs() -> tuple[tuple[Motif, ...], tuple[Motif, ...]]:
    """The table's rows with telling words and those with vague ones (marked ~)."""
    table = files(__package__).joinpath("motifs", "words.txt").read_text(encoding="utf-8")
    rows = [[cell.strip() for cell in line.split("|")] for line in table.splitlines() if line and not line.startswith("#")]
    motifs: dict[str, list[Motif]] = {mark: [] for mark in ("", "~")}
    for name, hue, shadow, words in rows:
        mark = "~" if name.startswith("~") else ""
        motifs[mark].append(Motif(name.lstrip("~"), int(hue), int(shadow), frozenset(words.split())))
    return tuple(motifs[""]), tuple(motifs["~"])
