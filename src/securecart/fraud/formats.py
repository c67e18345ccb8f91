"""Files of past orders whose outcome is known, in the two formats that `securecart fraud evaluate` reads.

Times in them have no zone and are taken as UTC. Neither names a currency; amounts are taken to have two decimals.
"""

from __future__ import annotations

import csv
import gzip
from collections.abc import Callable, Iterator, Mapping
from datetime import UTC, datetime
from decimal import Decimal, InvalidOperation
from ipaddress import IPv4Address
from pathlib import Path
from typing import IO, Literal

from securecart.errors import BadInput, DataMissing
from securecart.fraud.identity import network_key
from securecart.fraud.model import MICROSECONDS, Attempt, Row

Format = Literal["cards", "ecommerce"]
Line = Mapping[str, str]

NO_CURRENCY = "XXX"  # ISO 4217: none involved
AMOUNT_MAX = Decimal(10) ** 12
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
GZIP_MAGIC = b"\x1f\x8b"
TRUTHS = {"TRUE": True, "1": True, "FALSE": False, "0": False}


def read_rows(kind: Format, path: Path) -> list[Row]:
    """All rows of a CSV file, packed with gzip or not; `BadInput` names the line and the field that cannot be used."""
    columns, to_row = FORMATS[kind]
    try:
        with _opened(path) as file:
            return list(_rows(csv.DictReader(file, strict=True), path.name, columns, to_row))
    except (OSError, EOFError) as error:
        raise DataMissing(problem=f"{path} cannot be read: {error}.") from error
    except UnicodeDecodeError as error:
        raise BadInput(field="file", problem=f"{path.name} is not UTF-8 text.") from error


def _opened(path: Path) -> IO[str]:
    with path.open("rb") as file:
        packed = file.read(2) == GZIP_MAGIC
    return gzip.open(path, "rt", encoding="utf-8-sig", newline="") if packed else path.open(encoding="utf-8-sig", newline="")


def _rows(reader: csv.DictReader[str], name: str, columns: tuple[str, ...], to_row: Callable[[Line], Row]) -> Iterator[Row]:
    try:
        missing = [column for column in columns if column not in (reader.fieldnames or ())]
        if missing:
            raise BadInput(field=missing[0], problem=f"{name} has no column {missing[0]!r}; it needs {', '.join(columns)}.")
        for line in reader:
            short = next((column for column in columns if line[column] is None), None)
            if short is not None or None in line:
                at = f"{name}, line {reader.line_num}"
                raise BadInput(field=short, problem=f"{at}: the line has {'fewer' if short else 'more'} fields than the header.")
            yield to_row(line)
    except _Unusable as problem:
        told = f"{name}, line {reader.line_num}, {problem.column}: {problem}"
        raise BadInput(field=problem.column, problem=told) from problem
    except csv.Error as error:
        raise BadInput(field="file", problem=f"{name}, line {reader.line_num}: {error}.") from error


class _Unusable(Exception):
    def __init__(self, column: str, told: str) -> None:
        super().__init__(told)
        self.column = column


def _card_row(line: Line) -> Row:
    attempt = Attempt(
        at=_time(line, "transaction_date"),
        account=_text(line, "user_id"),
        amount_minor=_amount(line, "transaction_amount"),
        currency=NO_CURRENCY,
        device=line["device_id"] or None,
        card=_text(line, "card_number"),
        seller=_text(line, "merchant_id"),
    )
    return Row(attempt, _truth(line, "has_cbk"))


def _ecommerce_row(line: Line) -> Row:
    attempt = Attempt(
        at=_time(line, "purchase_time"),
        account=_text(line, "user_id"),
        account_made_at=_time(line, "signup_time"),
        amount_minor=_amount(line, "purchase_value"),
        currency=NO_CURRENCY,
        device=_text(line, "device_id"),
        network=_network(line, "ip_address"),
        came_directly=line["source"] == "Direct",
        extra=_plain(line),
    )
    return Row(attempt, _truth(line, "class"))


def _plain(line: Line) -> dict[str, float]:
    """The columns that say something of the shopper as a person; a choice of words becomes one 0 or 1 a word."""
    words = {f"{column}={line[column]}": 1.0 for column in ("source", "browser", "sex")}
    return {**words, "age": float(_number(line, "age"))}


def _text(line: Line, column: str) -> str:
    if not line[column]:
        raise _Unusable(column, "is empty.")
    return line[column]


def _time(line: Line, column: str) -> int:
    try:
        moment = datetime.fromisoformat(line[column])
    except ValueError as error:
        raise _Unusable(column, f"{line[column]!r} is no time such as 2019-11-01T09:27:15.") from error
    since = (moment if moment.tzinfo else moment.replace(tzinfo=UTC)) - EPOCH
    return (since.days * 86_400 + since.seconds) * MICROSECONDS + since.microseconds


def _number(line: Line, column: str) -> Decimal:
    try:
        number = Decimal(line[column])
    except InvalidOperation as error:
        raise _Unusable(column, f"{line[column]!r} is no number.") from error
    if not number.is_finite() or not 0 <= number <= AMOUNT_MAX:
        raise _Unusable(column, f"{line[column]!r} is not from 0 to {AMOUNT_MAX:,}.")
    return number


def _amount(line: Line, column: str) -> int:
    return int((_number(line, column) * 100).to_integral_value())


def _network(line: Line, column: str) -> str | None:
    """The network of an address that is written as one number."""
    if not line[column]:
        return None
    number = int(_number(line, column))
    if number >= 1 << 32:
        raise _Unusable(column, f"{line[column]!r} is no IPv4 address as a number.")
    return network_key(str(IPv4Address(number)))


def _truth(line: Line, column: str) -> bool:
    truth = TRUTHS.get(line[column].upper())
    if truth is None:
        raise _Unusable(column, f"{line[column]!r} is neither TRUE, FALSE, 1 nor 0.")
    return truth


CARD_COLUMNS = "merchant_id user_id card_number transaction_date transaction_amount device_id has_cbk"
ECOMMERCE_COLUMNS = "user_id signup_time purchase_time purchase_value device_id source browser sex age ip_address class"

# format: (the columns it needs, how one line of it is read)
FORMATS: dict[Format, tuple[tuple[str, ...], Callable[[Line], Row]]] = {
    "cards": (tuple(CARD_COLUMNS.split()), _card_row),
    "ecommerce": (tuple(ECOMMERCE_COLUMNS.split()), _ecommerce_row),
}
