"""A statement as it came, made ready for LadybugDB: judged, its hint read, its paths made to mean what they mean to Neptune."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Any

from msgspec import Struct

from securecart.graph.shapes import Problem
from securecart.stores.graph.check import refusals
from securecart.stores.graph.tokens import Token, closing, columns_of, parameters_of, tokens_of, writes

__all__ = ["Ready", "made_ready", "with_parameters"]

HINT = ["USING", "QUERY", ":", "TIMEOUTMILLISECONDS"]


class Ready(Struct, frozen=True):
    """What is run, and what is known of it; `columns` are empty where the statement names none itself."""

    text: str
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
        _with_trails(statement, tokens, start),
        tuple(columns_of(statement, tokens)),
        frozenset(parameters_of(tokens)),
        writes(tokens),
        timeout_ms,
    )


def with_parameters(ready: Ready, given: Mapping[str, Any]) -> tuple[str, dict[str, Any]]:
    """The text and the parameters to run it with; `Problem` when one is missing.

    LadybugDB takes a missing parameter for null, and does not know what kind of list an empty one is unless the text has it.
    """
    if missing := sorted(ready.parameters - given.keys()):
        raise Problem("MissingParameterException", f"The parameter {missing[0]} is not given.")
    used = {name: given[name] for name in ready.parameters}
    empty = {name for name, value in used.items() if value == []}
    text = ready.text
    for token in reversed(tokens_of(text) if empty else []):
        if token.kind == "parameter" and token.text[1:].strip("`") in empty:
            text = f"{text[: token.start]}[]{text[token.end :]}"
    return text, {name: value for name, value in used.items() if name not in empty}


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
