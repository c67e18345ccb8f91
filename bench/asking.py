"""What shoppers ask a shop's search: queries made of the catalogue's own titles and categories, the same for a seed."""

from __future__ import annotations

import random
import re
from collections.abc import Iterator, Sequence
from urllib.parse import urlencode

from msgspec import Struct

__all__ = ["Asked", "Section", "queries"]

WORD = re.compile(r"[A-Za-z]{4,}")
# Words of titles that full text leaves out, because they say nothing; nobody searches for one of them alone.
SILENT = frozenset(
    {"both", "each", "from", "more", "most", "only", "other", "over", "same", "some", "such", "that", "under", "with", "your"}
)
SORTS = ("relevance", "relevance", "price_asc", "price_desc", "newest", "name")
LIMITS = (12, 24, 36, 48)
# How often each kind comes, in a hundred. "next page" follows the answer before it, so it is decided while asking.
KINDS = {"narrow": 32, "broad": 20, "typing error": 15, "category": 13, "in category": 10, "facet": 10}
ATTEMPTS = 50


class Section(Struct, frozen=True):
    """A category and what its products can be told apart by, as `Name=value`."""

    slug: str
    facets: list[str]


class Asked(Struct, frozen=True):
    """A query: its kind, its text (empty for none) and its parameters."""

    kind: str
    parameters: list[tuple[str, str]]

    @property
    def path(self) -> str:
        """Where to ask."""
        return f"/api/products?{urlencode(self.parameters)}"


def queries(titles: Sequence[str], sections: Sequence[Section], *, seed: int) -> Iterator[Asked]:
    """Query after query, none of them twice; ends when nothing new comes to mind."""
    chance = random.Random(seed)
    worded = [words for title in titles if len(words := _telling(title)) >= 2]
    seen: set[str] = set()
    while True:
        for _ in range(ATTEMPTS):
            asked = _one(chance, worded, sections)
            if asked.path not in seen:
                break
        else:
            return
        seen.add(asked.path)
        yield asked


def _telling(title: str) -> list[str]:
    return [word for word in WORD.findall(title) if word.lower() not in SILENT]


def with_typing_error(word: str, chance: random.Random) -> str:
    """The word with two letters swapped, one left out, or one doubled; never its first."""
    at = chance.randrange(1, len(word) - 1)
    swapped = word[:at] + word[at + 1] + word[at] + word[at + 2 :]
    return chance.choice([swapped, word[:at] + word[at + 1 :], word[:at] + word[at] + word[at:]])


def _one(chance: random.Random, worded: Sequence[Sequence[str]], sections: Sequence[Section]) -> Asked:
    kind = chance.choices(list(KINDS), list(KINDS.values()))[0]
    words, section = chance.choice(worded), chance.choice(sections)
    parameters: list[tuple[str, str]] = []
    if kind == "narrow":
        parameters.append(("q", " ".join(chance.sample(words, 2))))
    elif kind in {"broad", "in category"}:
        parameters.append(("q", chance.choice(words)))
    elif kind == "typing error":
        parameters.append(("q", with_typing_error(max(words, key=len), chance)))
    if kind in {"category", "in category", "facet"}:
        parameters.append(("category", section.slug))
    if kind == "facet" and section.facets:
        parameters.append(("facet", chance.choice(section.facets)))
    parameters += [("sort", chance.choice(SORTS)), ("limit", str(chance.choice(LIMITS)))]
    return Asked(kind, [(name, value.lower() if name == "q" else value) for name, value in parameters])
