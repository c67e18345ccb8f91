"""Readable names: from SFT DRNK 2 LITER BTL CARB INCL to Soft Drink, 2-Liter Bottle."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from functools import cache

from msgspec import Struct

from securecart.demo.aisles import AISLE_OF_DEPARTMENT, PLACES
from securecart.demo.source import Item
from securecart.demo.vocabulary import (
    ADJECTIVES,
    ANIMALS,
    BRANDS,
    FIRST_IS_LAST,
    HEADS,
    HEADS_DROPPED,
    HOUSE_BRANDS,
    KINDS,
    LEADING,
    MAKER_PLACES,
    MAKER_TREES,
    NOUNS,
    WORDS,
)

__all__ = ["OWN_BRANDS", "Name", "aisle_of", "brand_of", "kind_of", "name_all", "size_of", "spell_out"]

PRIVATE = "Private"
OTHER_AISLE = "Store Services"
NOT_FOOD = frozenset(
    {"Baby", "Books, Paper & Toys", "Clothing", "Flowers", "Health & Beauty", "Home & Kitchen", "Household", "Pets"}
    | {"Seasonal & Outdoor", "Store Services", "Tobacco"}
)
OWN_BRANDS = frozenset(HOUSE_BRANDS.values())
# A step through the makers' names that shares no factor with their number, so neighbours are named apart.
STEP = 2_593

# What tells goods of one maker, kind and size apart: the files do not say flavours or colours, so they are numbered.
VARIETY_OF_CATEGORY = {
    "Books": "Title",
    "Cards, Wrap & Party": "Design",
    "Christmas": "Design",
    "Easter": "Design",
    "Films & Music": "Title",
    "Halloween": "Design",
    "Magazines": "Issue",
    "Makeup": "Shade",
    "Newspapers": "Issue",
    "Valentine's Day": "Design",
}
VARIETY_OF_AISLE = {
    "Books, Paper & Toys": "Style",
    "Clothing": "Style",
    "Flowers": "Design",
    "Home & Kitchen": "Design",
    "Seasonal & Outdoor": "Style",
}

SMALL_WORDS = frozenset({"and", "at", "by", "for", "in", "of", "on", "or", "the", "to", "with", "without"})
NUMBER = r"(?:\d+ \d+/\d+|\d+/\d+|\d*\.\d+|\d+)"
UNITS: dict[str, str] = {
    **dict.fromkeys(("OZ", "FL OZ", "OZS", "0Z", "Z"), "oz"),
    **dict.fromkeys(("LB", "LBS"), "lb"),
    **dict.fromkeys(("CT", "COUNT", "EA", "EACH"), "ct"),
    **dict.fromkeys(("PK", "PKS"), "pack"),
    **dict.fromkeys(("PC", "PCS"), "pc"),
    **dict.fromkeys(("ML",), "ml"),
    **dict.fromkeys(("L", "LTR", "LT", "LITER", "LRT"), "L"),
    **dict.fromkeys(("GA", "GAL"), "gal"),
    **dict.fromkeys(("QT",), "qt"),
    **dict.fromkeys(("PT", "PTS"), "pt"),
    **dict.fromkeys(("G", "GM", "GR", "GS"), "g"),
    **dict.fromkeys(("KG",), "kg"),
    **dict.fromkeys(("MG",), "mg"),
    **dict.fromkeys(("IN",), "in"),
    **dict.fromkeys(("FT",), "ft"),
    **dict.fromkeys(("SQ FT",), "sq ft"),
    **dict.fromkeys(("YD",), "yd"),
    **dict.fromkeys(("CM",), "cm"),
    **dict.fromkeys(("DZ", "DZN", "DOZ"), "dozen"),
    **dict.fromkeys(("LOAD", "LOADS", "LD", "LDS"), "loads"),
    **dict.fromkeys(("STEM", "STEMS"), "stems"),
    **dict.fromkeys(("ROLL", "ROLLS"), "rolls"),
    **dict.fromkeys(("SHEET", "SHEETS"), "sheets"),
    **dict.fromkeys(("USE", "USES"), "uses"),
    **dict.fromkeys(("CUP", "CP"), "cup"),
    **dict.fromkeys(("DOSE", "DOSES"), "doses"),
    **dict.fromkeys(("KIT",), "kit"),
    **dict.fromkeys(("PAIR",), "pair"),
}
WORD_SIZES: dict[str, str] = {
    "CTN": "carton",
    "DOZ": "dozen",
    "DZ": "dozen",
    "GAL": "1 gal",
    "HALF GAL": "1/2 gal",
    "KING": "king size",
    "KIT": "kit",
    "KIT/EACH": "kit",
    "LARGE": "large",
    "LB": "per lb",
    "LG/XLG": "large to extra large",
    "MED": "medium",
    "MED.": "medium",
    "MEDIUM": "medium",
    "MINI": "mini",
    "ONE SIZE": "one size",
    "PK": "pack",
    "PT": "1 pt",
    "QT": "1 qt",
    "QUEEN": "queen size",
    "SM/MED": "small to medium",
    "SMALL": "small",
    "SML": "small",
    "TALL": "tall",
    "X-LARGE": "extra large",
}
_UNIT = "|".join(sorted((re.escape(unit) for unit in UNITS), key=len, reverse=True))
_ONE_SIZE = re.compile(rf"^(?:[A-Z]{{1,3}}(?: D)? +)?({NUMBER})[ -]*({_UNIT})\b")
_PACK = re.compile(rf"^(\d+) *(?:P|PK|PACK|CT)? *[/-] *({NUMBER}) *({_UNIT})\b")
_COUNTED = re.compile(rf"^({NUMBER}) *({_UNIT}) *[/ ] *(\d+) *(PK|CT)\b")
_RANGE = re.compile(r"^(\d+)[-/](\d+) *(CT|LB|STEM|IN)\b")
_FRACTION = re.compile(rf"^([1357]/[248]|[12]/3) *({_UNIT})\b")
_OPEN_BRACKET = re.compile(r"\([^)]*$")
_BRACKETS = re.compile(r"\([^)]*\)")
_WITHOUT = re.compile(r"\bW/O\b *")
_WITH = re.compile(r"\bW/ *")
_OWNERS = re.compile(r"\b(WOMEN|MEN|CHILDREN) ?S\b")
_PLURAL_OWNERS = re.compile(r"\b(BOY|GIRL)S\b")
_WORD = re.compile(r"[A-Za-z0-9.%$&'#-]+")
_NOT_IN_A_SLUG = re.compile(r"[^a-z0-9]+")


class Name(Struct, frozen=True):
    """How the shop calls one product of the files, and where it stands."""

    title: str
    slug: str
    brand: str
    kind: str
    size: str
    aisle: str
    category: str


def name_all(known: Sequence[Item]) -> dict[int, Name]:
    """A name for each product; those that would be alike to the letter are numbered."""
    parts = {item.product_id: (item, brand_of(item), kind_of(item), size_of(item.size)) for item in known}
    alike = Counter(tuple(plain) for _, *plain in parts.values())
    numbers: Counter[tuple[str, ...]] = Counter()
    names: dict[int, Name] = {}
    for product, (item, *plain) in parts.items():
        brand, kind, size = plain
        aisle, category = aisle_of(item)
        title = f"{brand} {kind}" + (f", {size}" if size else "")
        if alike[tuple(plain)] > 1:
            numbers[tuple(plain)] += 1
            title += f", {_variety_word(aisle, category)} {numbers[tuple(plain)]}"
        slug = _NOT_IN_A_SLUG.sub("-", title.lower().replace("'", "")).strip("-")
        names[product] = Name(title, f"{slug}-{product}", brand, kind, size, aisle, category)
    return names


def kind_of(item: Item) -> str:
    """What the product is, in words: its type, with its category's word where the type leaves it out."""
    if item.kind in BRANDS:
        return BRANDS[item.kind][1]
    if not item.kind:
        return aisle_of(item)[1] if item.category else "Store Item"
    return _kind(item.kind, item.category) or aisle_of(item)[1]


def brand_of(item: Item) -> str:
    """Whose goods they are: the house's own, a brand the files name, or the made-up name of a maker."""
    if item.brand == PRIVATE:
        return HOUSE_BRANDS[aisle_of(item)[0] not in NOT_FOOD]
    if item.kind in BRANDS:
        return BRANDS[item.kind][0]
    tree, place = divmod(item.manufacturer_id * STEP % (len(MAKER_TREES) * len(MAKER_PLACES)), len(MAKER_PLACES))
    return f"{MAKER_TREES[tree]} {MAKER_PLACES[place]}"


def aisle_of(item: Item) -> tuple[str, str]:
    """The aisle and the category where the product stands."""
    if item.category in PLACES:
        return PLACES[item.category]
    aisle = AISLE_OF_DEPARTMENT.get(item.department, OTHER_AISLE)
    return aisle, spell_out(item.category) or f"More {aisle}"


@cache
def size_of(text: str) -> str:
    """A package size as it stands on a shelf, `12 x 12 oz`; empty where the files hold a code that says nothing."""
    plain = " ".join(text.upper().split())
    if plain in WORD_SIZES:
        return WORD_SIZES[plain]
    if found := _FRACTION.match(plain):
        return f"{found[1]} {UNITS[found[2]]}"
    if found := _RANGE.match(plain):
        return f"{found[1]}-{found[2]} {UNITS[found[3]]}"
    if found := _PACK.match(plain):
        return f"{found[1]} x {_number(found[2])} {UNITS[found[3]]}"
    if found := _COUNTED.match(plain):
        return f"{found[3]} x {_number(found[1])} {UNITS[found[2]]}" if found[4] == "PK" else _quantity(found[1], found[2])
    found = _ONE_SIZE.match(plain)
    return _quantity(found[1], found[2]) if found else ""


@cache
def spell_out(text: str) -> str:
    """A category or type of the files in words and title case."""
    plain = _BRACKETS.sub(" ", _OPEN_BRACKET.sub(" ", text))
    plain = _WITH.sub(" WITH ", _WITHOUT.sub(" WITHOUT ", plain))
    plain = _PLURAL_OWNERS.sub(r"\1S'", _OWNERS.sub(r"\1'S", plain))
    first, _, others = plain.strip().partition(" ")
    if first in FIRST_IS_LAST and others and ":" not in plain:
        plain = f"{others} {first}"
    plain, magazine, _ = plain.partition("-MAGAZINE")
    head, colon, rest = plain.partition(":")
    if colon and head.strip() in HEADS_DROPPED:
        return _phrases(rest)
    if colon and head.strip() in HEADS:
        noun, said = HEADS[head.strip()], _phrases(rest)
        return said if noun.lower().rstrip("s") in said.lower() else f"{said} {noun}"
    return _phrases(plain.replace(":", " - ")) + (" Magazine" if magazine else "")


@cache
def _kind(text: str, category: str) -> str:
    kind = KINDS.get(text) or spell_out(text)
    noun = NOUNS.get(category)
    if noun is None or _stems(kind) & _stems(noun):
        return kind
    if kind in ADJECTIVES:
        return f"{kind} {noun}"
    return f"{noun} {kind}" if category in LEADING and not _stems(kind) & ANIMALS else kind


def _phrases(text: str) -> str:
    found = [_choices(part) for part in re.split(r" +-+ *| *-+ +|--", text)]
    return ", ".join(part for part in found if part)


def _choices(text: str) -> str:
    found = [words for words in (_words(part) for part in re.split(r"[/&]| AND ", text)) if words]
    return " & ".join([", ".join(found[:-1]), found[-1]] if len(found) > 1 else found)


def _words(text: str) -> str:
    spelled = (WORDS.get(word.upper(), WORDS.get(word.upper().strip("."), _title_case(word))) for word in _WORD.findall(text))
    said = [word for word in spelled if word]
    return " ".join(said[-1:] + said[:-1] if said[-1:] == ["Assorted"] else said)


def _title_case(word: str) -> str:
    if word.lower() in SMALL_WORDS:
        return word.lower()
    return "-".join(WORDS.get(part.upper(), part.capitalize()) for part in word.strip(".").split("-") if part)


def _quantity(number: str, unit: str) -> str:
    return f"{_number(number)} {UNITS[unit]}"


def _number(text: str) -> str:
    if "." not in text:
        return text
    whole, _, part = text.partition(".")
    part = part.rstrip("0")
    return f"{whole or '0'}.{part}" if part else whole or "0"


def _stems(text: str) -> set[str]:
    return {word.lower().rstrip("s") for word in re.findall(r"[A-Za-z]{3,}", text)}


def _variety_word(aisle: str, category: str) -> str:
    return VARIETY_OF_CATEGORY.get(category) or VARIETY_OF_AISLE.get(aisle, "Variety")
