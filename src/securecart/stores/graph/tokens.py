"""openCypher cut into tokens, each with its line: enough to judge a statement and to find its parts, not to run it."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Literal

from msgspec import Struct

__all__ = ["WRITING", "Token", "closing", "columns_of", "parameters_of", "tokens_of", "writes"]

Kind = Literal["word", "quoted", "string", "number", "parameter", "symbol"]

WRITING = frozenset({"CREATE", "MERGE", "SET", "DELETE", "REMOVE"})
OPENING = {"(": ")", "[": "]", "{": "}"}
AFTER_COLUMNS = frozenset({"ORDER", "SKIP", "LIMIT", "UNION"})
_TOKEN = re.compile(
    r"""
    (?P<space>\s+|//[^\n]*|/\*.*?\*/)
  | (?P<string>'(?:\\.|[^'\\])*'|"(?:\\.|[^"\\])*")
  | (?P<quoted>`[^`]*`)
  | (?P<parameter>\$(?:\w+|`[^`]*`))
  | (?P<number>\d+(?:\.\d+)?(?:[eE][+-]?\d+)?)
  | (?P<word>[^\W\d]\w*)
  | (?P<symbol>\.\.|->|<-|=~|<>|<=|>=|\+=|.)
    """,
    re.VERBOSE | re.DOTALL,
)


class Token(Struct, frozen=True):
    """A piece of a statement; `line` counts from 1, `start` and `end` are places in the text."""

    kind: Kind
    text: str
    line: int
    start: int
    end: int

    @property
    def word(self) -> str:
        """In capitals what is a bare word, else nothing."""
        return self.text.upper() if self.kind == "word" else ""


def tokens_of(statement: str) -> list[Token]:
    """All tokens but space and comments; what is no openCypher at all comes out as symbols."""
    found: list[Token] = []
    line = 1
    for match in _TOKEN.finditer(statement):
        kind: Kind = match.lastgroup  # type: ignore[assignment]  # one of the pattern's own names
        if match.lastgroup != "space":
            found.append(Token(kind, match.group(), line, match.start(), match.end()))
        line += match.group().count("\n")
    return found


def closing(tokens: Sequence[Token], at: int) -> int:
    """Where the bracket that opens at this place is closed; the end where it never is."""
    depth = 0
    for place in range(at, len(tokens)):
        if tokens[place].kind == "symbol":
            depth += (tokens[place].text in OPENING) - (tokens[place].text in OPENING.values())
            if depth == 0:
                return place
    return len(tokens)


def writes(tokens: Sequence[Token]) -> bool:
    """Whether the statement changes the graph."""
    return any(_is_clause(tokens, place, WRITING) for place in range(len(tokens)))


def parameters_of(tokens: Sequence[Token]) -> set[str]:
    """The names of the parameters that the statement uses."""
    return {token.text[1:].strip("`") for token in tokens if token.kind == "parameter"}


def columns_of(statement: str, tokens: Sequence[Token]) -> list[str]:
    """How openCypher names the columns of the result: after AS, else as the text has it; none where RETURN names none."""
    at = next((place for place in range(len(tokens)) if _is_clause(tokens, place, frozenset({"RETURN"}))), len(tokens)) + 1
    if at < len(tokens) and tokens[at].word == "DISTINCT":
        at += 1
    columns: list[str] = []
    first = at
    while at <= len(tokens):
        ended = at == len(tokens) or tokens[at].word in AFTER_COLUMNS or tokens[at].text == ";"
        if ended or tokens[at].text == ",":
            if at > first:
                columns.append(_column(statement, tokens[first:at]))
            if ended:
                break
            first = at + 1
        at = (closing(tokens, at) if tokens[at].text in OPENING else at) + 1
    return [] if "*" in columns else columns


def _column(statement: str, item: Sequence[Token]) -> str:
    if len(item) > 2 and item[-2].word == "AS":  # noqa: PLR2004 - an expression, AS and a name
        return item[-1].text.strip("`")
    return item[0].text.strip("`") if len(item) == 1 else statement[item[0].start : item[-1].end]


def _is_clause(tokens: Sequence[Token], at: int, words: frozenset[str]) -> bool:
    """Whether one of these words stands here as a clause: not as a property, a label, a key of a map, or a name after AS."""
    if tokens[at].word not in words:
        return False
    before = tokens[at - 1] if at else None
    after = tokens[at + 1] if at + 1 < len(tokens) else None
    named = before is not None and (before.text in {".", ":"} or before.word == "AS")
    return not named and not (after is not None and after.text == ":")
