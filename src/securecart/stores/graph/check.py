"""What a statement must not use, so that what runs on one machine runs at Neptune, with the same result.

Neptune does not know all of openCypher, LadybugDB knows things of its own, and some things mean something else to each.
`refusals` names every such place by rule and line. The engine of this machine refuses what is refused here, and a test
reads every `queries.cypher`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import lru_cache

from msgspec import Struct

from securecart.stores.graph.tokens import Token, closing, tokens_of, writes

__all__ = ["RULES", "Refusal", "refusals"]

Places = Iterator[Token]

# What both engines know, under one name and with one meaning. Left out: log (natural there, decimal here), substring (counts
# from 0 there, from 1 here), labels (a list there, text here), and all that only one of them has.
FUNCTIONS = frozenset(
    {
        *("abs", "ceil", "floor", "sign", "sqrt", "pi", "sin", "cos", "tan", "range", "size", "length", "nodes"),
        *("tolower", "toupper", "trim", "ltrim", "rtrim", "reverse", "left", "right", "replace", "coalesce"),
        *("count", "sum", "avg", "min", "max", "collect", "all", "any", "none", "single"),
    }
)
TIME = frozenset(
    {
        *("date", "time", "datetime", "localtime", "localdatetime", "duration", "timestamp", "interval", "current_timestamp"),
        *("current_date", "epoch_ms", "to_epoch_ms", "to_timestamp", "date_part", "date_trunc", "date_add", "datetime_add"),
    }
)
BEFORE_BRACKET = frozenset(
    {
        *("AND", "OR", "XOR", "NOT", "IN", "WHERE", "WITH", "RETURN", "UNWIND", "DISTINCT", "CASE", "WHEN", "THEN", "ELSE", "BY"),
        *("MATCH", "CREATE", "MERGE", "DELETE", "SET", "AS", "ON", "CONTAINS", "SKIP", "LIMIT", "UNION", "ALL"),
    }
)
FIRST = frozenset({"MATCH", "OPTIONAL", "UNWIND", "WITH", "RETURN", "CREATE", "MERGE", "USING", "MANDATORY"})
COMMANDS = frozenset(
    {
        *("COPY", "LOAD", "EXPORT", "IMPORT", "INSTALL", "UNINSTALL", "ATTACH", "USE", "DROP", "ALTER", "COMMENT", "ANALYZE"),
        *("CHECKPOINT", "BEGIN", "COMMIT", "ROLLBACK", "EXPLAIN", "PROFILE"),
    }
)
WALKS = frozenset({"SHORTEST", "ALL", "WSHORTEST", "TRAIL", "ACYCLIC", "WALK"})
CLAUSES = FIRST | {"WHERE", "SET", "DELETE", "DETACH", "REMOVE", "UNION"}
NOTHING = Token("symbol", "", 0, 0, 0)


class Refusal(Struct, frozen=True):
    """A place in a statement that one of the engines would not take, or would take otherwise."""

    rule: str
    line: int
    why: str

    def __str__(self) -> str:
        return f"line {self.line}: {self.rule}: {self.why}"


def _at(tokens: Sequence[Token], place: int) -> Token:
    return tokens[place] if 0 <= place < len(tokens) else NOTHING


def _words(tokens: Sequence[Token]) -> Iterator[tuple[int, str]]:
    """Bare words that are no property, label, key of a map or name after AS; with their places."""
    for place, token in enumerate(tokens):
        before = _at(tokens, place - 1)
        if token.word and before.text not in {".", ":"} and before.word != "AS" and _at(tokens, place + 1).text != ":":
            yield place, token.word


def _calls(tokens: Sequence[Token]) -> Iterator[tuple[int, str]]:
    for place, word in _words(tokens):
        if _at(tokens, place + 1).text == "(" and word not in BEFORE_BRACKET - {"ALL"}:
            yield place, word.lower()


def _relationships(tokens: Sequence[Token]) -> Iterator[tuple[int, int]]:
    """The first and the last place of what is between the brackets of each relationship."""
    for place, token in enumerate(tokens):
        if token.text == "[" and _at(tokens, place - 1).text in {"-", "<-"}:
            yield place + 1, closing(tokens, place)


def _paths(tokens: Sequence[Token]) -> Iterator[tuple[int, int]]:
    """Of each relationship of variable length, what follows the star."""
    for first, last in _relationships(tokens):
        for place in range(first, last):
            if tokens[place].text == "*":
                yield place + 1, last
                break


def _named(tokens: Sequence[Token], names: frozenset[str]) -> Places:
    return (tokens[place] for place, name in _calls(tokens) if name in names)


def _shortest_path(tokens: Sequence[Token]) -> Places:
    return _named(tokens, frozenset({"shortestpath", "allshortestpaths"}))


def _mandatory_match(tokens: Sequence[Token]) -> Places:
    return (tokens[place] for place, word in _words(tokens) if word == "MANDATORY" and _at(tokens, place + 1).word == "MATCH")


def _call_yield(tokens: Sequence[Token]) -> Places:
    return (tokens[place] for place, word in _words(tokens) if word in {"CALL", "YIELD"})


def _function(tokens: Sequence[Token]) -> Places:
    other = {"shortestpath", "allshortestpaths", "id", "call", "yield", *TIME}
    yield from (tokens[place] for place, name in _calls(tokens) if name not in FUNCTIONS | other)
    for place, token in enumerate(tokens):  # a function in somebody's own library
        if token.word and _at(tokens, place - 1).text == "." and _at(tokens, place + 1).text == "(":
            yield token


def _power(tokens: Sequence[Token]) -> Places:
    return (token for token in tokens if token.kind == "symbol" and token.text == "^")


def _union_write(tokens: Sequence[Token]) -> Places:
    if writes(tokens):
        yield from (tokens[place] for place, word in _words(tokens) if word == "UNION")


def _index(tokens: Sequence[Token]) -> Places:
    for place, token in enumerate(tokens):
        before = _at(tokens, place - 1)
        value = before.kind in {"parameter", "quoted", "string"} or before.text in {")", "]", "}"}
        if token.text == "[" and (value or (before.word and before.word not in BEFORE_BRACKET)):
            yield token


def _skip_limit(tokens: Sequence[Token]) -> Places:
    for place, word in _words(tokens):
        if word in {"SKIP", "LIMIT"}:
            number, after = _at(tokens, place + 1), _at(tokens, place + 2)
            ended = after is NOTHING or after.text in {";", "}"} or after.word in CLAUSES | {"LIMIT"}
            if number.kind not in {"number", "parameter"} or not ended:
                yield tokens[place]


def _path_filter(tokens: Sequence[Token]) -> Places:
    for first, last in _paths(tokens):
        for place in range(first, last):
            if tokens[place].text == ":":
                value, after = _at(tokens, place + 1), _at(tokens, place + 2)
                constant = value.kind in {"number", "string", "parameter"} or value.word in {"TRUE", "FALSE", "NULL"}
                if not constant or after.text not in {",", "}"}:
                    yield value


def _endless_path(tokens: Sequence[Token]) -> Places:
    for first, last in _paths(tokens):
        hops = [token for token in tokens[first:last] if token.kind == "number" or token.text == ".."][:3]
        if not hops or hops[-1].text == "..":
            yield tokens[first - 1]


def _date_time(tokens: Sequence[Token]) -> Places:
    return _named(tokens, TIME)


def _id_function(tokens: Sequence[Token]) -> Places:
    return _named(tokens, frozenset({"id"}))


def _ladybug_path(tokens: Sequence[Token]) -> Places:
    return (token for first, last in _paths(tokens) for token in tokens[first:last] if token.word in WALKS)


def _ladybug_projection(tokens: Sequence[Token]) -> Places:
    return (token for first, last in _paths(tokens) for token in tokens[first:last] if token.text == "(")


def _ladybug_command(tokens: Sequence[Token]) -> Places:
    if tokens and tokens[0].word not in FIRST | COMMANDS | {"CALL"}:
        yield tokens[0]
    for place, word in _words(tokens):
        after = _at(tokens, place + 1)
        starts = word == "CREATE" and _at(tokens, place - 1).word != "ON"
        is_table = starts and bool(after.word) and _at(tokens, place + 2).text != "="
        is_door = word == "DETACH" and after.word != "DELETE"
        if is_table or is_door or (word in COMMANDS and (place == 0 or after.text != ".") and not _is_name(tokens, place)):
            yield tokens[place]


def _is_name(tokens: Sequence[Token], place: int) -> bool:
    """Whether the word is somebody's variable: alone in brackets, or compared, listed or ended like a value."""
    before, after = _at(tokens, place - 1), _at(tokens, place + 1)
    return place > 0 and (before.text in {"(", "[", ","} or after.text in {")", ",", "=", "<", ">", "<>", "<=", ">="})


def _subquery(tokens: Sequence[Token]) -> Places:
    words = {"EXISTS", "COUNT", "COLLECT", "CALL"}
    return (token for place, token in enumerate(tokens) if token.word in words and _at(tokens, place + 1).text == "{")


def _several_labels(tokens: Sequence[Token]) -> Places:
    for place, token in enumerate(tokens):
        if token.text == "(":
            at = place + 1 if _at(tokens, place + 1).text == ":" else place + 2
            if _at(tokens, at).text == ":" and _at(tokens, at + 2).text in {":", "|"}:
                yield _at(tokens, at + 2)


def _twice(tokens: Sequence[Token]) -> Places:
    """Relationships of one MATCH that may be the same one: of a common type, or of any."""
    matches = [place for place, word in _words(tokens) if word == "MATCH"]
    for start in matches:
        end = next((place for place, word in _words(tokens) if place > start and word in CLAUSES), len(tokens))
        seen: set[str] = set()
        for place in range(start, end):
            if tokens[place].text in {"-", "<-"} and _at(tokens, place + 1).text in {"-", "->"}:
                types, at = {""}, place
            elif tokens[place].text == "[" and _at(tokens, place - 1).text in {"-", "<-"}:
                types, at = _types(tokens, place), place
            else:
                continue
            if seen and (types & seen or "" in types or "" in seen):
                yield tokens[at]
            seen |= types


def _types(tokens: Sequence[Token], opened: int) -> set[str]:
    found: set[str] = set()
    for place in range(opened + 1, closing(tokens, opened)):
        if tokens[place].text in {"{", "*"}:
            break
        if tokens[place].text in {":", "|"} and tokens[place + 1].kind in {"word", "quoted"}:
            found.add(tokens[place + 1].text.strip("`"))
    return found or {""}


def _several_statements(tokens: Sequence[Token]) -> Places:
    return (token for token in tokens[:-1] if token.kind == "symbol" and token.text == ";")


# Each rule, why it is one, and how its places are found.
RULES: dict[str, tuple[str, Callable[[Sequence[Token]], Places]]] = {
    "shortest-path": ("Neptune does not know shortestPath() and allShortestPaths().", _shortest_path),
    "mandatory-match": ("Neptune does not know MANDATORY MATCH.", _mandatory_match),
    "call-yield": ("Neptune does not know CALL ... YIELD, and LadybugDB's procedures are its own.", _call_yield),
    "function": ("this function is not known to both engines with one meaning; check.py lists those that are.", _function),
    "power": ("Neptune does not know ^; multiply.", _power),
    "union-write": ("Neptune does not take a UNION in a statement that writes.", _union_write),
    "index": ("Neptune does not know access by [key], and counts lists from 0 where LadybugDB counts from 1.", _index),
    "skip-limit": ("Neptune takes only a number or a parameter after SKIP and LIMIT.", _skip_limit),
    "path-filter": ("Neptune filters paths of variable length by constants and parameters only.", _path_filter),
    "endless-path": (
        "a path of variable length needs an upper bound: LadybugDB has one of its own, Neptune none.",
        _endless_path,
    ),
    "date-time": ("Neptune does not calculate with times; keep epoch microseconds as a number.", _date_time),
    "id-function": ("id() is text at Neptune and a pair of numbers here; use the property id.", _id_function),
    "ladybug-path": ("only LadybugDB knows words such as SHORTEST after the star of a path.", _ladybug_path),
    "ladybug-projection": ("only LadybugDB knows filters and projections in round brackets inside a path.", _ladybug_projection),
    "ladybug-command": (
        "this is a command of LadybugDB's own, no openCypher; tables are declared in schema.cypher.",
        _ladybug_command,
    ),
    "subquery": ("subqueries in braces are not known to both; write the pattern itself after WHERE.", _subquery),
    "several-labels": ("several labels mean all of them to Neptune and any of them to LadybugDB.", _several_labels),
    "twice": ("within one MATCH Neptune takes no relationship twice and LadybugDB does; begin a second MATCH.", _twice),
    "several-statements": ("one request is one statement.", _several_statements),
}


@lru_cache(maxsize=512)
def refusals(statement: str) -> tuple[Refusal, ...]:
    """Every place that is refused, by line; none where the statement may be sent to either engine."""
    tokens = tokens_of(statement)
    found = [Refusal(rule, token.line, why) for rule, (why, places) in RULES.items() for token in places(tokens)]
    return tuple(sorted(found, key=lambda refusal: refusal.line))
