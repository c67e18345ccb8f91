"""A statement as it came, made ready for LadybugDB: judged, its hint read, its paths made to mean what they mean to Neptune."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Any

from msgspec import Struct

from securecart.graph.shapes import Problem
from securecart.stores.graph.check import refusals
from securecart.stores.graph.statements import BETWEEN
from securecart.stores.graph.tokens import Token, closing, columns_of, parameters_of, tokens_of, writes

__all__ = ["Ready", "made_ready", "with_literals", "with_parameters"]

HINT = ["USING", "QUERY", ":", "TIMEOUTMILLISECONDS"]
ESCAPES = {"\\": "\\\\", "'": "\\'", "\n": "\\n", "\r": "\\r", "\t": "\\t"}
SEAM = [token.text for token in tokens_of(BETWEEN)]


class Piece(Struct, frozen=True):
    """What LadybugDB runs at once, and the parameters in it."""

    text: str
    parameters: frozenset[str]


class Ready(Struct, frozen=True):
    """What is run, in one transaction, and what is known of it; `columns` are empty where the statement names none itself."""

    pieces: tuple[Piece, ...]
    columns: tuple[str, ...]
    parameters: frozenset[str]
    writes: bool
    timeout_ms: int | None


@lru_cache(maxsize=512)
def made_ready(statement: str) -> Ready:
    """`Problem` when Neptune would not take it, or would take it otherwise."""
    if refused := refusals(statement):
        raise Problem("MalformedQueryException", " ".join(f"{one}" for one in refused))
    tokens = tokens_of(statement)
    timeout_ms: int | None = None
    start = 0
    if [token.text.upper() for token in tokens[: len(HINT)]] == HINT and len(tokens) > len(HINT):
        number = tokens[len(HINT)]
        if not number.text.isdigit():
            raise Problem("MalformedQueryException", "QUERY:TIMEOUTMILLISECONDS wants a whole number.")
        timeout_ms, start = int(number.text), number.end
        tokens = tokens[len(HINT) + 1 :]
    return Ready(
        tuple(Piece(text, frozenset(parameters_of(tokens_of(text)))) for text in _apart(_with_trails(statement, tokens, start))),
        tuple(columns_of(statement, tokens)),
        frozenset(parameters_of(tokens)),
        writes(tokens),
        timeout_ms,
    )


def with_parameters(ready: Ready, given: Mapping[str, Any]) -> list[tuple[str, dict[str, Any]]]:
    """The texts and the parameters to run each with; `Problem` when one is missing.

    LadybugDB takes a missing parameter for null, and does not know what kind of list an empty one is unless the text has it.
    """
    if missing := sorted(ready.parameters - given.keys()):
        raise Problem("MissingParameterException", f"The parameter {missing[0]} is not given.")
    return [_filled(piece, {name: given[name] for name in piece.parameters}) for piece in ready.pieces]


def with_literals(text: str, parameters: Mapping[str, Any]) -> str:
    """The text with each parameter's value in its place."""
    for token in reversed(tokens_of(text)):
        if token.kind == "parameter" and token.text[1:].strip("`") in parameters:
            text = f"{text[: token.start]}{_literal(parameters[token.text[1:].strip('`')])}{text[token.end :]}"
    return text


def _literal(value: Any) -> str:
    match value:
        case None:
            return "NULL"
        case bool():
            return "true" if value else "false"
        case int() | float():
            return repr(value)
        case str():
            return "'" + "".join(ESCAPES.get(sign, sign) for sign in value) + "'"
        case list():
            return f"[{', '.join(map(_literal, value))}]"
        case dict():
            return f"{{{', '.join(f'`{name}`: {_literal(one)}' for name, one in value.items())}}}"
        case _:
            raise Problem("InvalidParameterException", "A parameter is of no kind that can be used.")


def _filled(piece: Piece, used: dict[str, Any]) -> tuple[str, dict[str, Any]]:
    empty = {name for name, value in used.items() if value == []}
    text = piece.text
    for token in reversed(tokens_of(text) if empty else []):
        if token.kind == "parameter" and token.text[1:].strip("`") in empty:
            text = f"{text[: token.start]}[]{text[token.end :]}"
    return text, {name: value for name, value in used.items() if name not in empty}


def _apart(text: str) -> list[str]:
    """The pieces of a statement that `chained` made, which have nothing in common but the transaction; else all of it.

    LadybugDB plans a long chain as one: that takes several times as long, and costs megabytes that it never gives back.
    """
    tokens = tokens_of(text)
    words = {token.word for token in tokens}
    if not writes(tokens) or "RETURN" in words or "UNION" in words:
        return [text]
    starts = [place for place in range(len(tokens)) if [token.text for token in tokens[place : place + len(SEAM)]] == SEAM]
    named = sum(token.text == SEAM[-1] for token in tokens)
    if not starts or named > len(starts):  # somebody asks how many there were
        return [text]
    begins = [0, *(tokens[place + len(SEAM) - 1].end for place in starts)]
    ends = [*(tokens[place].start for place in starts), len(text)]
    return [text[begin:end].strip() for begin, end in zip(begins, ends, strict=True)]


def _with_trails(statement: str, tokens: Sequence[Token], start: int) -> str:
    """The text from `start` on; a path of variable length takes no relationship twice, which LadybugDB has to be told."""
    stars = []
    for place, token in enumerate(tokens):
        if token.text == "[" and place and tokens[place - 1].text in {"-", "<-"}:
            stars += [one.end for one in tokens[place : closing(tokens, place)] if one.text == "*"][:1]
    text = statement
    for star in reversed(stars):
        text = f"{text[:star]} TRAIL {text[star:]}"
    return text[start:].strip()
