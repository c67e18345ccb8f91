"""Which column of a file holds what of a product."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from msgspec import Struct

from securecart.errors import BadInput

# What a product is made of, and whether a row can do without it. Prices and attributes have targets of their own.
FIELDS = ("slug", "sku", "title", "variant", "description", "brand", "categories", "tax_class", "image_url", "active")
NEEDED = ("sku", "title")
_PRICE = re.compile(r"price(?P<minor>_minor)?(?:\.(?P<currency>[A-Z]{3}))?")
ATTRIBUTE = "attribute."


class PriceColumn(Struct, frozen=True):
    """A column of prices in one currency, in major units (12.50) or minor ones (1250)."""

    name: str
    currency: str
    minor: bool


class Columns(Struct, frozen=True):
    """The columns by what they hold; `prefixes` gather every column that begins so as an attribute named after the rest."""

    fields: dict[str, str]
    prices: tuple[PriceColumn, ...]
    attributes: dict[str, str]
    prefixes: tuple[str, ...]
    chosen: frozenset[str]  # named by a person, so a file without it is wrong


def column_map(pairs: Sequence[str], file: Path | None) -> list[tuple[str, str]]:
    """Target and column of each `target=column`, those of the TOML file first; `BadInput` says what is wrong."""
    given = list(_from_toml(file)) if file is not None else []
    for pair in pairs:
        target, equals, column = pair.partition("=")
        if not (equals and target.strip() and column.strip()):
            raise BadInput(field="map", problem=f"A column is mapped as target=column, not {pair!r}.")
        given.append((target.strip(), column.strip()))
    return given


def columns_of(given: Sequence[tuple[str, str]], present: Iterable[str], *, currency: str) -> Columns:
    """The map for a file that has the columns `present`: what was given, and every column already named as its target.

    `BadInput` names a target that products do not have.
    """
    mapped = {target for target, _ in given}
    named = [(name, name) for name in present if _is_target(name) and name not in mapped]
    fields: dict[str, str] = {}
    prices: dict[tuple[str, bool], PriceColumn] = {}
    attributes: dict[str, str] = {}
    prefixes: list[str] = []
    for target, column in (*named, *given):
        if target in FIELDS:
            fields[target] = column
        elif found := _PRICE.fullmatch(target):
            price = PriceColumn(column, found["currency"] or currency, found["minor"] is not None)
            prices[price.currency, price.minor] = price
        elif target.startswith(ATTRIBUTE) and len(target) > len(ATTRIBUTE):
            attributes[target.removeprefix(ATTRIBUTE)] = column
        elif target == "attributes" and column.endswith("*"):
            prefixes.append(column.removesuffix("*"))
        elif target == "attributes":
            fields[target] = column
        else:
            known = ", ".join((*FIELDS, "price", "price.USD", "price_minor.USD", "attribute.NAME", "attributes=PREFIX*"))
            raise BadInput(field="map", problem=f"Products have no {target!r}; there are {known}.")
    chosen = frozenset(column for _, column in given if not column.endswith("*"))
    return Columns(fields, tuple(prices.values()), attributes, tuple(prefixes), chosen)


def _is_target(name: str) -> bool:
    attribute = name.startswith(ATTRIBUTE) and len(name) > len(ATTRIBUTE)
    return name in FIELDS or name == "attributes" or attribute or _PRICE.fullmatch(name) is not None


def _from_toml(file: Path) -> Iterable[tuple[str, str]]:
    try:
        tree = tomllib.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise BadInput(field="map-file", problem=f"The column map {file} cannot be read: {error}.") from error
    return _flat(tree, "", file)


def _flat(tree: Mapping[str, Any], path: str, file: Path) -> Iterable[tuple[str, str]]:
    for name, entry in tree.items():
        if isinstance(entry, dict):
            yield from _flat(entry, f"{path}{name}.", file)
            continue
        for column in entry if isinstance(entry, list) else [entry]:
            if not isinstance(column, str):
                raise BadInput(field="map-file", problem=f"{file}: {path}{name} names a column as text or a list of texts.")
            yield f"{path}{name}", column
