"""Answer a search: understand it, find a page of it, count what could narrow it, forgive typing errors."""

from __future__ import annotations

import re
from collections.abc import Sequence
from hashlib import blake2b
from typing import Annotated, Any, get_args

import asyncpg
import msgspec
from msgspec import Meta, Struct

from securecart.catalog.importing.words import letters, plain, words
from securecart.catalog.kept import read_through
from securecart.catalog.model import (
    LIMIT_MAX,
    CategoryCount,
    Facet,
    FacetValue,
    ProductCard,
    SearchQuery,
    SearchResults,
    Sort,
)
from securecart.catalog.searching.typing_errors import SHORT, nearest
from securecart.errors import BadInput, NotFound
from securecart.stores.cache import Cache
from securecart.stores.postgres import Database, Read, one, statements_of
from securecart.values import Money, decode_cursor, encode_cursor

SQL = statements_of(__package__)

RESULT_SECONDS = 30
TEXT_LENGTH_MAX = 200
FACETS_MAX = 20
RANKED_MAX = 2_500  # so many matches of a broad word are ranked by relevance
COUNTED_MAX = 2_500  # so many are counted; beyond that the total says "at least"
EVERYTHING = "!'Facet/-1'"
# A search is broad, and its page found by walking an index, when more than this and one product in so many match.
BROAD_MIN, BROAD_SHARE = 2_000, 20
# Before every place in any order: prices and product numbers are far smaller, and both fit a bigint.
NOWHERE, LOWEST_TIE = -1e16, -(2**62)

SORTS: tuple[str, ...] = get_args(Sort)
_TIE = Annotated[int, Meta(ge=LOWEST_TIE, le=-LOWEST_TIE)]
_NUMBER = Annotated[float, Meta(ge=NOWHERE, le=1e18)]
_KEY = Annotated[str, Meta(max_length=100, pattern=r"^[^\x00]*$")]
_results = msgspec.json.Decoder(SearchResults)
_LAST_WORD = re.compile(r"\w{2,}")
_HAS_OPERATORS = re.compile(r'"|(?:^|\s)-\w|\sor\s', re.IGNORECASE)
_Position = tuple[Any, int]


class Meaning(Struct, frozen=True):
    """What a search means in this catalogue."""

    words: str
    category_id: int | None
    in_shop: int
    priced: int
    facet_ids: list[int]


async def search(database: Database, cache: Cache, query: SearchQuery) -> SearchResults:
    """A page of the products that fit, at most half a minute old.

    `BadInput` names the field that makes no sense, `NotFound` a category that is not there.
    """
    query = _checked(query)
    key = f"catalog:search:{blake2b(msgspec.json.encode(query), digest_size=16).hexdigest()}"

    async def load(read: Read) -> bytes:
        return msgspec.json.encode(await _search(read, query))

    return _results.decode(await read_through(database, cache, key, RESULT_SECONDS, load))


async def _search(read: Read, query: SearchQuery) -> SearchResults:
    found = await _find(read, query)
    if query.text and found.total == 0:
        corrected = await _correct(read, query.text)
        if corrected is not None:
            better = await _find(read, msgspec.structs.replace(query, text=corrected))
            if better.total > found.total:
                return msgspec.structs.replace(better, corrected=corrected)
    return found


async def _find(read: Read, query: SearchQuery) -> SearchResults:
    meaning = await _understand(read, query)
    if query.text and not meaning.words:
        return SearchResults([], 0, False, [], [], None, None)
    total, categories, facets = await _counts(read, query, meaning)
    rows = await _page(read, query, meaning, total)
    items = await _cards(read, [row["product_id"] for row in rows[: query.limit]], query.currency)
    following = None
    if len(rows) > query.limit:
        last = rows[query.limit - 1]
        following = encode_cursor(query.sort, last["name_key" if query.sort == "name" else "number"], last["tie"])
    capped = total > COUNTED_MAX and not _counts_are_kept(query)
    return SearchResults(items, COUNTED_MAX if capped else total, capped, categories, facets, following, None)


def _checked(query: SearchQuery) -> SearchQuery:
    """The query with its text tidied; `BadInput` says what makes no sense."""
    text = " ".join(query.text.split())
    if "\0" in text or len(text) > TEXT_LENGTH_MAX:
        raise BadInput(field="q", problem=f"Search for at most {TEXT_LENGTH_MAX} characters of text.")
    if query.sort not in SORTS:
        raise BadInput(field="sort", problem=f"Sort by one of {', '.join(SORTS)}.")
    if not 1 <= query.limit <= LIMIT_MAX:
        raise BadInput(field="limit", problem=f"Ask for 1 to {LIMIT_MAX} products at a time.")
    if not re.fullmatch(r"[A-Z]{3}", query.currency):
        raise BadInput(field="currency", problem="A currency is three capital letters, as in ISO 4217.")
    facets = list(dict.fromkeys(query.facets))
    if len(facets) > FACETS_MAX:
        raise BadInput(field="facet", problem=f"Choose at most {FACETS_MAX} facet values.")
    for facet in facets:
        name, equals, value = facet.partition("=")
        if not (name and equals and value) or "\0" in facet:
            raise BadInput(field="facet", problem=f"A facet is written Name=value, not {facet!r}.")
    if "\0" in query.category:
        raise NotFound(noun="category", key=query.category)
    sort: Sort = "newest" if query.sort == "relevance" and not text else query.sort
    checked = msgspec.structs.replace(query, text=text, facets=facets, sort=sort)
    _position(checked)
    return checked


def _position(query: SearchQuery) -> _Position:
    """Where the page begins; before everything when there is no cursor."""
    if query.after is None:
        return ("" if query.sort == "name" else NOWHERE), LOWEST_TIE
    kind = _KEY if query.sort == "name" else _NUMBER
    sort, number, tie = decode_cursor(query.after, str, kind, _TIE)
    if sort != query.sort:
        raise BadInput(field="after", problem=f"This cursor is of a list sorted by {sort}, not by {query.sort}.")
    return number, tie


async def _understand(read: Read, query: SearchQuery) -> Meaning:
    head, last = _split(query.text)
    pairs = [facet.partition("=") for facet in query.facets]
    names, values = [name for name, _, _ in pairs], [value for _, _, value in pairs]
    meaning = await one(read, SQL["understand"], Meaning, head, last, query.category, names, values, query.currency)
    assert meaning is not None
    if query.category and meaning.category_id is None:
        raise NotFound(noun="category", key=query.category)
    return meaning


def _split(text: str) -> tuple[str, str]:
    """The words, and the last one by itself: it may be unfinished, so it is looked up as a beginning too."""
    head, _, last = text.rpartition(" ")
    if _HAS_OPERATORS.search(text) or not _LAST_WORD.fullmatch(last):
        return text, ""
    return head, last


def _matching(query: SearchQuery, meaning: Meaning, *, without: str = "") -> str | None:
    """Text and filters as one full-text query, leaving out the facet named `without`; None when there is no condition."""
    conditions = [f"({meaning.words})"] if meaning.words else []
    if meaning.category_id is not None:
        conditions.append(f"'Category/{meaning.category_id}'")
    chosen: dict[str, list[str]] = {}
    for facet, facet_id in zip(query.facets, meaning.facet_ids, strict=True):
        chosen.setdefault(facet.partition("=")[0], []).append(f"'Facet/{facet_id}'")
    conditions += [f"({' | '.join(ids)})" for name, ids in chosen.items() if name != without]
    return " & ".join(conditions) or None


def _is_broad(query: SearchQuery, meaning: Meaning, total: int) -> bool:
    """Whether walking an index in the wanted order meets enough products soon; otherwise all matches are sorted."""
    if query.sort == "relevance" or (query.sort not in {"name", "newest"} and meaning.priced < meaning.in_shop):
        return False
    return total > min(COUNTED_MAX, max(BROAD_MIN, meaning.in_shop // BROAD_SHARE))


async def _page(read: Read, query: SearchQuery, meaning: Meaning, total: int) -> list[asyncpg.Record]:
    """One row more than the page shows, each with its place in the order."""
    key, tie = _position(query)
    rows = query.limit + 1
    matching = _matching(query, meaning)
    if _is_broad(query, meaning, total):
        if query.sort == "name":
            return await read.fetch(SQL["walk_name"], matching, key, tie, rows)
        if query.sort == "newest":
            return await read.fetch(SQL["walk_newest"], matching, tie, rows)
        walk = SQL["walk_price_asc"] if query.sort == "price_asc" else SQL["walk_price_desc"]
        return await read.fetch(walk, matching, query.currency, key, tie, rows)
    matching = matching or EVERYTHING
    if query.sort == "relevance":
        return await read.fetch(SQL["page_by_rank"], matching, meaning.words, key, tie, rows, RANKED_MAX)
    if query.sort == "name":
        return await read.fetch(SQL["page_by_name"], matching, key, tie, rows)
    return await read.fetch(SQL["page_by_number"], matching, query.sort, query.currency, key, tie, rows)


def _counts_are_kept(query: SearchQuery) -> bool:
    return not query.text and not query.facets


async def _counts(read: Read, query: SearchQuery, meaning: Meaning) -> tuple[int, list[CategoryCount], list[Facet]]:
    if _counts_are_kept(query):
        rows = await read.fetch(SQL["counts_kept"], meaning.category_id)
    else:
        rows = await read.fetch(SQL["count_matches"], _matching(query, meaning), meaning.category_id, COUNTED_MAX + 1)
    total = sum(row["products"] for row in rows if row["kind"] == "total")
    categories = [CategoryCount(row["value"], row["name"], row["products"]) for row in rows if row["kind"] == "category"]
    counted: dict[str, list[tuple[str, int]]] = {}
    for row in rows:
        if row["kind"] == "facet":
            counted.setdefault(row["name"], []).append((row["value"], row["products"]))
    chosen = {name: None for name, _, _ in (facet.partition("=") for facet in query.facets)}
    for name in chosen:  # a value more of the same name widens the search, so it is counted as if none were chosen
        if query.text or len(chosen) > 1:
            values = await read.fetch(
                SQL["count_values"], _matching(query, meaning, without=name) or EVERYTHING, name, COUNTED_MAX
            )
        else:
            values = await read.fetch(SQL["values_kept"], meaning.category_id, name)
        counted[name] = [(row["value"], row["products"]) for row in values]
    selected = set(query.facets)
    order = [*chosen, *(name for name in counted if name not in chosen)]
    facets = [
        Facet(name, [FacetValue(value, count, f"{name}={value}" in selected) for value, count in counted[name]]) for name in order
    ]
    return total, categories, [facet for facet in facets if facet.values]


async def _cards(read: Read, ids: Sequence[int], currency: str) -> list[ProductCard]:
    rows = await read.fetch(SQL["find_cards"], list(ids), currency) if ids else []
    return [
        ProductCard(
            slug=row["slug"],
            title=row["title"],
            brand=row["brand"],
            image_url=row["image_url"],
            sku=row["sku"],
            price=None if row["amount_minor"] is None else Money(row["amount_minor"], currency),
            category=row["category"],
            variants=row["variants"],
        )
        for row in rows
    ]


async def _correct(read: Read, text: str) -> str | None:
    """The text with each word that the catalogue does not know replaced by the nearest one it knows; None without any."""
    typed = list(dict.fromkeys(words([text])))
    known = {row["word"] for row in await read.fetch(SQL["known_words"], typed)}
    meant: dict[str, str] = {}
    for word in typed:
        if word in known:
            continue
        alike = await read.fetch(SQL["words_alike"], word, letters(word), len(word) <= SHORT)
        if nearest_word := nearest(word, {row["word"]: row["seen"] for row in alike}):
            meant[word] = nearest_word
    if not meant:
        return None
    return re.sub(r"[^\W\d_]+", lambda found: meant.get(found[0], found[0]), plain(text))
