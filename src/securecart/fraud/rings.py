"""What is around an order, an account or a thing, to be drawn and walked; and the things that suspicious rings share."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Literal

import msgspec
from msgspec import Struct

from securecart.fraud.traces import CYPHER, KIND_OF, LINKS, of_kind, trace_in
from securecart.stores.graph import Graph, Row, Statement, either

__all__ = ["NodeKind", "RingLink", "RingNode", "RingView", "neighbours_of", "ring_around", "rings"]

NodeKind = Literal["order", "account", "device", "card", "address", "email", "network"]

DEPTH = 2
NODES_MAX = 150
NEIGHBOURS_MOST = 50
# What more accounts than these share is a shop window or an office: it is shown, and not walked through by itself.
SHARED_MAX = 200


class RingNode(Struct, frozen=True):
    """A thing of a ring. `orders`, `frauds` (known) and `accounts` are counts; an order's are its own. `at` in microseconds.

    `is_cut`: more accounts share it than are shown.
    """

    kind: NodeKind
    id: str
    at: int
    orders: int
    frauds: int
    accounts: int
    is_cut: bool = False

    @property
    def key(self) -> str:
        """What links name it by."""
        return f"{self.kind}:{self.id}"


class RingLink(Struct, frozen=True):
    """The keys of two nodes that were seen together, and since when, in microseconds."""

    one: str
    other: str
    at: int


class RingView(Struct, frozen=True):
    """Nodes, the one in the middle first, and the links between them."""

    nodes: tuple[RingNode, ...] = ()
    links: tuple[RingLink, ...] = ()


async def ring_around(graph: Graph, kind: NodeKind, key: str, *, depth: int = DEPTH, limit: int = NODES_MAX) -> RingView:
    """What can be reached from a node in so many steps, at most `limit` nodes; empty where it is not known; `StoreAway`."""
    nodes = {node.key: node for node in await _find(graph, kind, key)}
    links: dict[frozenset[str], RingLink] = {}
    level = list(nodes.values())
    for _ in range(depth):
        ahead = []
        for link, node in await _around(graph, level, limit=NEIGHBOURS_MOST):
            if node.key not in nodes and len(nodes) < limit:
                nodes[node.key] = node
                ahead += [node] if _leads(node) else []
            if node.key in nodes:
                links.setdefault(frozenset((link.one, link.other)), link)
        level = ahead
    return _view(nodes.values(), links.values())


async def neighbours_of(graph: Graph, kind: NodeKind, key: str, *, limit: int = NEIGHBOURS_MOST) -> RingView:
    """A node and at most `limit` of each kind of its neighbours, orders among them; empty where it is not known; `StoreAway`."""
    middle = await _find(graph, kind, key)
    found = await _around(graph, middle, limit=limit, with_orders=True)
    return _view({node.key: node for node in [*middle, *(node for _, node in found)]}.values(), [link for link, _ in found])


async def rings(graph: Graph, *, limit: int = 20) -> list[RingNode]:
    """The things that several accounts share, known fraud first, then those that most share; `StoreAway`.

    It reads all things of the graph, a fraction of a second for a million: for a person, not for a checkout.
    """
    kinds = [kind for kind in LINKS if kind != "network"]
    rows = await graph.ask(either(of_kind(CYPHER["shared_things"], kind) for kind in kinds), limit=limit)
    found = [_node(row) for row in rows]
    return sorted(found, key=lambda node: (not node.frauds, node.accounts > SHARED_MAX, -node.frauds, -node.accounts))[:limit]


async def _find(graph: Graph, kind: NodeKind, key: str) -> list[RingNode]:
    statement = CYPHER["find_order"] if kind == "order" else of_kind(CYPHER["find_thing"], kind)
    return [_node(row) for row in await graph.ask(statement, id=key)]


async def _around(
    graph: Graph, nodes: Sequence[RingNode], *, limit: int, with_orders: bool = False
) -> list[tuple[RingLink, RingNode]]:
    """The neighbours of these nodes, each with its link.

    Each node is asked about by itself, several at once: the local engine steps from one key in a moment, and from a list of keys
    by reading all links (ADR 0083).
    """
    steps = [(node.id, _STEPS.get((node.kind, with_orders))) for node in nodes]
    asked = [graph.ask(statement, id=key, limit=limit) for key, statement in steps if statement is not None]
    found = []
    for row in (row for rows in await asyncio.gather(*asked) for row in rows):
        node = _node(row)
        found.append((RingLink(f"{row['from_label'].lower()}:{row['from_id']}", node.key, row["since"]), node))
    return found


def _steps() -> dict[tuple[NodeKind, bool], Statement]:
    """The step that leads on from a node of each kind, to its orders too or not; those of an account and a thing are many."""
    order = either([CYPHER["account_of_order"], *(of_kind(CYPHER["things_of_order"], kind) for kind in LINKS)])
    used = [of_kind(CYPHER["things_of_account"], kind) for kind in LINKS if kind != "network"]
    found: dict[tuple[NodeKind, bool], Statement] = {("order", False): order, ("order", True): order}
    found["account", False] = either(used)
    found["account", True] = either([*used, CYPHER["orders_of_account"]])
    for kind in LINKS:
        known: NodeKind = kind  # type: ignore[assignment]  # no seller
        orders, accounts = of_kind(CYPHER["orders_of_thing"], kind), of_kind(CYPHER["accounts_of_thing"], kind)
        found[known, True] = orders if kind == "network" else either([accounts, orders])
        if kind != "network":
            found[known, False] = accounts
    return found


_STEPS = _steps()


def _node(row: Row) -> RingNode:
    kind: NodeKind = "order" if row["label"] == "Order" else KIND_OF[row["label"]]  # type: ignore[assignment]  # no seller
    orders = 1 if kind == "order" else trace_in(row["memo"]).orders
    return RingNode(kind, row["id"], row["at"], orders, row["frauds"], row["accounts"])


def _leads(node: RingNode) -> bool:
    return node.kind not in {"order", "network"} and node.accounts <= SHARED_MAX


def _view(nodes: Iterable[RingNode], links: Iterable[RingLink]) -> RingView:
    """The nodes with those marked that more accounts share than links show."""
    shown = Counter(key for link in links for key in (link.one, link.other) if "account:" in {link.one[:8], link.other[:8]})
    marked = tuple(msgspec.structs.replace(node, is_cut=node.accounts > shown[node.key]) for node in nodes)
    return RingView(marked, tuple(links))
