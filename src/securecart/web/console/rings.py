"""Who shares what with whom: the ring around an order or a thing, as a drawing and as a table, and the rings that stand out."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Awaitable
from datetime import UTC, datetime
from typing import TypeVar, get_args
from urllib.parse import quote

from litestar import Response, get
from litestar.params import FromPath
from msgspec import Struct

from securecart import fraud
from securecart.app import Shop
from securecart.errors import NotFound, StoreAway
from securecart.fraud import NodeKind, RingNode, RingView
from securecart.patience import GRAPH
from securecart.sessions import Session
from securecart.web.console.pages import Desk, page
from securecart.web.shoppers import AnyRequest

__all__ = ["Drawing", "drawings", "ring_of", "routes"]

Answer = TypeVar("Answer")

PATIENCE_S = 5.0
KINDS: tuple[NodeKind, ...] = get_args(NodeKind)
RINGS_MOST = 50
NEIGHBOURS_MOST = 40
NAME_LENGTH = 12
WHOLE = frozenset({"order", "network"})
MICROSECONDS = 1_000_000


class DrawnNode(Struct, frozen=True):
    """A node as it is drawn: `name` is short enough to stand beside it, `words` say what is known of it, `page` is its own.

    An account, device, ... has `frauds` where orders of its own are known fraud; `accounts` share it, of which a drawing may
    show only some. Whoever shares a network is not linked to it, and not counted here.
    """

    key: str
    kind: str
    id: str
    name: str
    words: str
    is_fraud: bool
    frauds: int
    accounts: int
    page: str


class DrawnLink(Struct, frozen=True):
    """A line between two nodes, by their keys; `since` is a day."""

    source: str
    target: str
    since: str


class Drawing(Struct, frozen=True):
    """What the page's script draws, and its table shows."""

    nodes: list[DrawnNode]
    links: list[DrawnLink]

    def beside(self, key: str) -> list[str]:
        """The names of what a node is linked to."""
        ends = [link.target if link.source == key else link.source for link in self.links if key in {link.source, link.target}]
        names = {node.key: node.name for node in self.nodes}
        return [names[end] for end in ends if end in names]


@get("/rings")
async def show_rings(request: AnyRequest, shop: Shop, operator: Session) -> Response[str]:
    """Things that several accounts share, known fraud first."""
    try:
        found = await _in_time(fraud.rings(shop.graph, limit=RINGS_MOST))
    except StoreAway:
        found = None
    return await page(Desk(request, shop, operator), "rings.html", rings=found)


@get("/things/{kind:str}/{key:path}")
async def show_thing(
    request: AnyRequest, shop: Shop, operator: Session, kind: FromPath[str], key: FromPath[str]
) -> Response[str]:
    """One account, device, card, ... and who shares it."""
    name = key.removeprefix("/")
    try:
        ring = await _neighbours(shop, kind, name)
    except StoreAway:
        ring = None
    return await page(Desk(request, shop, operator), "thing.html", kind=kind, id=name, ring=ring)


@get("/{number:str}")
async def draw_order(shop: Shop, operator: Session, number: FromPath[str]) -> Drawing:
    """The ring around an order, as the page's script draws it."""
    del operator
    return _drawn(await _in_time(fraud.ring_around(shop.graph, "order", number)))


@get("/{kind:str}/{key:path}")
async def draw_thing(shop: Shop, operator: Session, kind: FromPath[str], key: FromPath[str]) -> Drawing:
    """A node and its neighbours, for walking on."""
    del operator
    return await _neighbours(shop, kind, key.removeprefix("/"))


async def ring_of(shop: Shop, number: str) -> Drawing | None:
    """The ring around an order; None while the graph cannot be asked."""
    try:
        return _drawn(await _in_time(fraud.ring_around(shop.graph, "order", number)))
    except StoreAway:
        return None


async def _neighbours(shop: Shop, kind: str, name: str) -> Drawing:
    if kind not in KINDS:
        raise NotFound(noun="kind of thing", key=kind)
    return _drawn(await _in_time(fraud.neighbours_of(shop.graph, kind, name, limit=NEIGHBOURS_MOST)))


async def _in_time(answer: Awaitable[Answer]) -> Answer:
    """What the graph answers; `StoreAway` also where it takes longer than a person waits for a page."""
    try:
        async with asyncio.timeout(PATIENCE_S):
            return await answer
    except TimeoutError as late:
        raise StoreAway(store=GRAPH.name) from late


def _drawn(view: RingView) -> Drawing:
    accounts = Counter(
        end
        for link in view.links
        for end, other in ((link.one, link.other), (link.other, link.one))
        if other.startswith("account:")
    )
    nodes = [
        DrawnNode(
            key=node.key,
            kind=node.kind,
            id=node.id,
            name=_name(node),
            words=_words(node, 0 if node.kind == "network" else node.accounts - accounts[node.key]),
            is_fraud=node.kind == "order" and node.frauds > 0,
            frauds=node.frauds,
            accounts=0 if node.kind == "network" else node.accounts,
            page=f"/console/{'orders' if node.kind == 'order' else f'things/{node.kind}'}/{quote(node.id)}",
        )
        for node in view.nodes
    ]
    return Drawing(nodes, [DrawnLink(link.one, link.other, _day(link.at)) for link in view.links])


def _name(node: RingNode) -> str:
    own = node.id.removeprefix("account:")
    return own if node.kind in WHOLE or len(own) <= NAME_LENGTH else f"{own[:NAME_LENGTH]}\u2026"


def _words(node: RingNode, left_out: int) -> str:
    """What is known of the node, in one line."""
    if node.kind == "order":
        return f"placed {_day(node.at)}{', known fraud' if node.frauds else ''}"
    counts = [(node.orders, "order", "orders"), (node.accounts, "account", "accounts")]
    parts = [f"{count:,} {one if count == 1 else many}" for count, one, many in counts if count]
    parts += [f"{node.frauds:,} known fraud"] if node.frauds else []
    parts += [f"{left_out:,} of the accounts not shown"] if left_out > 0 else []
    return ", ".join(parts)


def _day(at: int) -> str:
    return f"{datetime.fromtimestamp(at / MICROSECONDS, UTC):%Y-%m-%d}"


routes = [show_rings, show_thing]
drawings = [draw_order, draw_thing]
