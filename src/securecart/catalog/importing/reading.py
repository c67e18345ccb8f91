"""From the rows of a file to products: rows that share a slug are variants of one product, whole or not at all."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from decimal import Decimal, InvalidOperation
from typing import IO, Any

import msgspec
from msgspec import Struct

from securecart.catalog.importing.actions import readable
from securecart.catalog.importing.columns import NEEDED, Columns, PriceColumn, columns_of
from securecart.catalog.importing.rows import CutOff, Format, Row, rows_of
from securecart.catalog.importing.words import slug_of
from securecart.catalog.model import NewProduct, NewVariant, Rejected
from securecart.values import CURRENCIES

VARIANTS_MAX = 200
TRUE, FALSE = {"1", "true", "yes", "y"}, {"0", "false", "no", "n"}
MINOR_DIGITS = 2


class _Piece(Struct):
    """One row understood: a product with one variant, or why it is none."""

    line: int
    slug: str
    product: NewProduct | None
    flaw: str


def read_products(
    file: IO[bytes], given: Sequence[tuple[str, str]], *, kind: Format | None = None, currency: str = "USD"
) -> Iterator[NewProduct | Rejected]:
    """Every product of the file, and every row that is none with its line and reason; a row or two are held at a time.

    `BadInput` when the column map names what products do not have.
    """
    group: list[_Piece] = []
    try:
        for piece in _pieces(rows_of(file, kind), given, currency):
            if isinstance(piece, Rejected):
                yield piece
            elif group and piece.slug == group[0].slug:
                _join(group, piece)
            else:
                yield from _finished(group)
                group = [piece]
    except CutOff as end:
        last = group[-1].line if group else 0
        yield from _spoilt(group, f"{end}, so this product may be incomplete")
        yield Rejected(last + 1, str(end))
        return
    yield from _finished(group)


def _pieces(rows: Iterator[Row | Rejected], given: Sequence[tuple[str, str]], currency: str) -> Iterator[_Piece | Rejected]:
    columns: Columns | None = None
    for row in rows:
        if isinstance(row, Rejected):
            yield row
            continue
        if columns is None and "" in row.cells and isinstance(row.cells[""], list):  # a CSV file's header
            columns = columns_of(given, row.cells[""], currency=currency)
            if missing := _missing(columns, row.cells[""]):
                yield Rejected(row.line, missing)
                return
            continue
        at_hand = columns or columns_of(given, row.cells, currency=currency)
        yield _piece(row, at_hand)


def _missing(columns: Columns, header: Sequence[str]) -> str:
    absent = sorted(columns.chosen - set(header))
    if absent:
        return f"there is no column {absent[0]!r}; there are {', '.join(header)}"
    lacking = [name for name in NEEDED if name not in columns.fields]
    if lacking or not columns.prices:
        return f"no column holds the {(lacking or ['price'])[0]}; map one with --map {(lacking or ['price'])[0]}=COLUMN"
    return ""


def _piece(row: Row, columns: Columns) -> _Piece:
    cells = row.cells
    try:
        slug = _slug(cells, columns)
    except ValueError as error:
        return _Piece(row.line, f"\0{row.line}", None, row.flaw or str(error))
    if row.flaw:
        return _Piece(row.line, slug, None, row.flaw)
    try:
        return _Piece(row.line, slug, _product(row.line, slug, cells, columns), "")
    except msgspec.ValidationError as error:
        return _Piece(row.line, slug, None, readable(error))
    except ValueError as error:
        return _Piece(row.line, slug, None, str(error))


def _slug(cells: dict[str, Any], columns: Columns) -> str:
    given = _text(cells, columns, "slug")
    return given or f"{slug_of(_needed(cells, columns, 'title'))}-{slug_of(_needed(cells, columns, 'sku'))}"


def _product(line: int, slug: str, cells: dict[str, Any], columns: Columns) -> NewProduct:
    prices = {price.currency: amount for price in columns.prices if (amount := _amount(cells, price)) is not None}
    if not prices:
        raise ValueError("no price")
    sku = _needed(cells, columns, "sku")
    raw = {
        "slug": slug,
        "title": _needed(cells, columns, "title"),
        "variants": [NewVariant(sku, prices, _text(cells, columns, "variant"))],
        "description": _text(cells, columns, "description"),
        "brand": _text(cells, columns, "brand"),
        "categories": _categories(_cell(cells, columns, "categories")),
        "attributes": _attributes(cells, columns),
        "tax_class": _text(cells, columns, "tax_class") or "standard",
        "image_url": _text(cells, columns, "image_url"),
        "active": _truth(_text(cells, columns, "active") or "true"),
        "line": line,
    }
    return msgspec.convert(msgspec.to_builtins(raw), NewProduct)


def _join(group: list[_Piece], piece: _Piece) -> None:
    """Add another row of the same product, or note why it does not fit."""
    whole = group[0].product
    if whole is not None and piece.product is not None:
        variant = piece.product.variants[0]
        other = msgspec.structs.replace(piece.product, variants=whole.variants, line=whole.line)
        differs = [name for name in NewProduct.__struct_fields__ if getattr(other, name) != getattr(whole, name)]
        if differs:
            piece.flaw = f"{differs[0]} differs from line {whole.line}, where the product {whole.slug!r} begins"
        elif len(whole.variants) == VARIANTS_MAX:
            piece.flaw = f"the product {whole.slug!r} has more than {VARIANTS_MAX} variants"
        elif any(variant.sku == before.sku for before in whole.variants):
            piece.flaw = f"SKU {variant.sku!r} appears twice in the product {whole.slug!r}"
        else:
            group[0].product = msgspec.structs.replace(whole, variants=[*whole.variants, variant])
    piece.product = None if piece.flaw else piece.product
    group.append(piece)


def _finished(group: list[_Piece]) -> Iterator[NewProduct | Rejected]:
    flawed = next((piece for piece in group if piece.flaw), None)
    if flawed is not None:
        yield from _spoilt(group, f"another row of its product, line {flawed.line}, cannot be used")
    elif group and group[0].product is not None:
        yield group[0].product


def _spoilt(group: list[_Piece], reason: str) -> Iterator[Rejected]:
    for piece in group:
        yield Rejected(piece.line, piece.flaw or reason)


def _cell(cells: dict[str, Any], columns: Columns, name: str) -> Any:
    column = columns.fields.get(name)
    return None if column is None else cells.get(column)


def _text(cells: dict[str, Any], columns: Columns, name: str) -> str:
    found = _cell(cells, columns, name)
    if isinstance(found, dict | list):
        raise ValueError(f"{name} is a {'list' if isinstance(found, list) else 'table'}, not a text")  # noqa: TRY004 - the row is wrong
    return "" if found is None else _shown(found)


def _needed(cells: dict[str, Any], columns: Columns, name: str) -> str:
    if found := _text(cells, columns, name):
        return found
    raise ValueError(f"no {name}")


def _shown(found: Any) -> str:
    """A cell as a shopper reads it."""
    if isinstance(found, bool):
        return "Yes" if found else "No"
    if isinstance(found, Decimal):
        return f"{found:f}".rstrip("0").rstrip(".") if "." in f"{found:f}" else f"{found:f}"
    return ", ".join(_shown(one) for one in found) if isinstance(found, list) else str(found).strip()


def _categories(found: Any) -> list[str]:
    parts = found if isinstance(found, list) else str(found or "").split(">") if found else []
    names = [str(part).strip() for part in parts]
    if not all(names):
        raise ValueError("a category without a name")
    return names


def _attributes(cells: dict[str, Any], columns: Columns) -> dict[str, str]:
    found = dict[str, Any](_cell(cells, columns, "attributes") or {})
    found |= {name: cells.get(column) for name, column in columns.attributes.items()}
    for prefix in columns.prefixes:
        for column, content in cells.items():
            if column.startswith(prefix) and len(column) > len(prefix):
                found[_readable(column.removeprefix(prefix))] = content
    shown = {name.strip(): _shown(content) for name, content in found.items() if content is not None}
    return {name: text for name, text in shown.items() if text}


def _readable(column: str) -> str:
    words = " ".join(column.replace("_", " ").split())
    return words[:1].upper() + words[1:]


def _truth(text: str) -> bool:
    if text.lower() in TRUE | FALSE:
        return text.lower() in TRUE
    raise ValueError(f"active is {text!r}, which is neither yes nor no")


def _amount(cells: dict[str, Any], column: PriceColumn) -> int | None:
    """The price in minor units, None where the cell is empty; `ValueError` says what is wrong with it."""
    cell = cells.get(column.name)
    if cell is None or (isinstance(cell, str) and not cell.strip()):
        return None
    try:
        amount = None if isinstance(cell, bool | list | dict) else Decimal(str(cell).strip())
    except InvalidOperation:
        amount = None
    if amount is None or not amount.is_finite() or "_" in str(cell):
        raise ValueError(f"{column.name} is {str(cell)[:40]!r}, which is no number")
    digits = 0 if column.minor else CURRENCIES.get(column.currency, (MINOR_DIGITS, ""))[0]
    if amount < 0:
        raise ValueError(f"{column.name} is {amount}, and a price cannot be negative")
    if amount.adjusted() > MINOR_DIGITS * 8:
        raise ValueError(f"{column.name} is {str(cell)[:40]}, more than anything costs")
    minor = amount.scaleb(digits)
    if minor != minor.to_integral_value():
        raise ValueError(f"{column.name} is {str(cell)[:40]}, finer than {column.currency} has coins ({digits} decimals)")
    return int(minor)
