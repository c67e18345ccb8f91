"""What is known of a cluster at one moment, and what follows from it: no database, no clock, no network."""

from __future__ import annotations

from msgspec import Struct

from securecart.errors import ClusterRefused

__all__ = [
    "AwaitConfirmed",
    "AwaitFollowing",
    "AwaitWriter",
    "HandOver",
    "Node",
    "Rebuild",
    "Release",
    "Snapshot",
    "Step",
    "TakeOver",
    "failover",
    "rejoin",
    "switchover",
]


class Node(Struct, frozen=True):
    """One node. `behind_bytes`: what it has not replayed of the writer's log, None when unknown.

    `role`: writer, synchronous (the writer takes its word for a commit), reader, standby leader (it follows another region's
    writer), or empty when the node does not answer. `has` is how much of the log is on it, a position in bytes. `member` is
    what Patroni calls it.
    """

    name: str
    url: str
    role: str = ""
    serves: bool = False
    state: str = "no answer"
    timeline: int | None = None
    behind_bytes: int | None = None
    has: int | None = None
    held: bool = False
    member: str = ""

    @property
    def answers(self) -> bool:
        """Whether its Patroni answers."""
        return bool(self.role)

    @property
    def runs(self) -> bool:
        """Whether its PostgreSQL does too."""
        return self.answers and self.state in {"running", "streaming"}


class Snapshot(Struct, frozen=True):
    """The cluster at one moment, as its nodes tell it."""

    nodes: tuple[Node, ...]
    paused: bool = False

    @property
    def writer(self) -> Node | None:
        """The node that takes writes; of two that say so, the one whose timeline is newer."""
        writers = [node for node in self.nodes if node.role == "writer" and node.serves]
        return max(writers, key=lambda node: node.timeline or 0, default=None)

    @property
    def synchronous(self) -> Node | None:
        """Of the nodes whose word the writer takes, the one that is least behind; each commit waits for one of them."""
        found = [node for node in self.nodes if node.role == "synchronous" and node.serves]
        return max(found, key=lambda node: node.has or 0, default=None)

    @property
    def furthest(self) -> Node | None:
        """Of the nodes that run, the one that has most of the log."""
        return max((node for node in self.nodes if node.runs), key=lambda node: node.has or 0, default=None)

    @property
    def nothing_is_missing(self) -> bool:
        """Whether the furthest node has every acknowledged commit: each is on two nodes, and at most one does not run."""
        return sum(not node.runs for node in self.nodes) <= 1

    @property
    def can_agree(self) -> bool:
        """Whether enough nodes answer to agree on a writer: more than half."""
        return sum(node.answers for node in self.nodes) * 2 > len(self.nodes)

    @property
    def healthy(self) -> bool:
        """Whether writes are taken and confirmed, and every node serves."""
        synchronous = self.synchronous
        return self.writer is not None and synchronous is not None and all(node.serves for node in self.nodes)

    def node(self, name: str) -> Node:
        """The node of this name; `ClusterRefused` when there is none."""
        found = next((node for node in self.nodes if node.name == name), None)
        if found is None:
            raise ClusterRefused(problem=f"There is no node {name}; there are {', '.join(node.name for node in self.nodes)}.")
        return found

    def refuse_a_region_that_follows(self) -> None:
        """`ClusterRefused` where these nodes follow the writer of another region: there the part is handed over."""
        if any(node.role == "standby leader" for node in self.nodes):
            raise ClusterRefused(
                problem="These nodes follow another region's writer; `securecart regions --help` says how to promote them."
            )


class HandOver(Struct, frozen=True, tag=True):
    """Have the living writer give its part to the candidate, or to whichever standby is first where none is named."""

    writer: str
    candidate: str | None


class TakeOver(Struct, frozen=True, tag=True):
    """Have the candidate become the writer without the old one."""

    candidate: str


class AwaitWriter(Struct, frozen=True, tag=True):
    """Until this node, or another one, takes writes; without a name any will do."""

    name: str | None = None


class AwaitConfirmed(Struct, frozen=True, tag=True):
    """Until a standby confirms the writer's commits."""


class Release(Struct, frozen=True, tag=True):
    """Let the supervisor start a held node."""

    name: str


class AwaitFollowing(Struct, frozen=True, tag=True):
    """Until the node follows the writer; when it does not, `otherwise` is done."""

    name: str
    otherwise: tuple[Step, ...] = ()


class Rebuild(Struct, frozen=True, tag=True):
    """Throw the node's data away and copy them from the writer."""

    name: str


Step = HandOver | TakeOver | AwaitWriter | AwaitConfirmed | Release | AwaitFollowing | Rebuild


def switchover(seen: Snapshot, candidate: str | None = None) -> list[Step]:
    """How the writer hands over to a node that confirms its commits; it stops only when that one has everything."""
    writer = seen.writer
    seen.refuse_a_region_that_follows()
    _must_agree(seen)
    if writer is None:
        raise ClusterRefused(
            problem="No node is the writer at the moment, so none can hand over. A standby takes over by itself within 20 "
            "seconds; look with `securecart cluster status`, and if none does, see `securecart cluster failover --help`."
        )
    if candidate == writer.name:
        raise ClusterRefused(problem=f"{candidate} is the writer already.")
    to = seen.synchronous if candidate is None else seen.node(candidate)
    if to is None:
        raise ClusterRefused(
            problem=f"{writer.name} is the only node that has everything; start another one first: "
            "`securecart cluster status` shows which is down, `securecart cluster rejoin NODE` brings it back."
        )
    if not to.serves:
        raise ClusterRefused(problem=f"{to.name} cannot take over: {_why_not(to)}. `securecart cluster rejoin {to.name}` first.")
    if to.role != "synchronous":
        behind = "an unknown amount" if to.behind_bytes is None else f"{to.behind_bytes:,} bytes"
        raise ClusterRefused(
            problem=f"{to.name} does not confirm commits and may miss some ({behind} behind at this moment). "
            + (f"{seen.synchronous.name} does: hand over to that one." if seen.synchronous else "No node does; try again soon.")
        )
    return [HandOver(writer.name, candidate), AwaitWriter(candidate), AwaitConfirmed(), AwaitFollowing(writer.name)]


def failover(seen: Snapshot, candidate: str | None = None, *, accept_loss: bool = False) -> list[Step]:
    """How a node takes over from a writer that is gone, where that does not happen by itself."""
    writer = seen.writer
    if writer is not None:
        raise ClusterRefused(
            problem=f"{writer.name} is the writer and well. `securecart cluster switchover` hands over from a living writer, "
            "and loses nothing."
        )
    seen.refuse_a_region_that_follows()
    _must_agree(seen)
    furthest = seen.furthest
    to = furthest if candidate is None else seen.node(candidate)
    if to is None or furthest is None:
        raise ClusterRefused(problem="No node's PostgreSQL runs. Bring one back with `securecart cluster rejoin NODE`.")
    if not to.runs:
        raise ClusterRefused(problem=f"{to.name} cannot take over: {_why_not(to)}.")
    if not accept_loss and (to.has or 0) < (furthest.has or 0):
        raise ClusterRefused(
            problem=f"{to.name} has less than {furthest.name}, so orders that customers were told of may be missing there. Name "
            f"{furthest.name} instead; to go on with less, repeat with --accept-loss."
        )
    if not accept_loss and not seen.nothing_is_missing:
        raise ClusterRefused(
            problem=f"Each commit is on two nodes, and two do not run, so orders that customers were told of may be missing on "
            f"{to.name}. Bring one of the others back if you can (`securecart cluster rejoin NODE`); to go on without them, "
            "repeat with --accept-loss."
        )
    return [TakeOver(to.name), AwaitWriter(to.name), AwaitConfirmed()]


def rejoin(seen: Snapshot, name: str) -> list[Step]:
    """How a node that is down, held or left behind follows the writer again; its data are copied anew only if it must be."""
    node = seen.node(name)
    if seen.writer is not None and node.name == seen.writer.name:
        raise ClusterRefused(problem=f"{name} is the writer; the others follow it.")
    if node.serves and not node.held:
        raise ClusterRefused(problem=f"{name} runs and follows already; there is nothing to do.")
    again: tuple[Step, ...] = (Rebuild(name), AwaitFollowing(name))
    return [Release(name), AwaitFollowing(name, otherwise=again)]


def _must_agree(seen: Snapshot) -> None:
    if not seen.can_agree:
        gone = [node.name for node in seen.nodes if not node.answers]
        raise ClusterRefused(
            problem=f"Too few nodes answer to agree on a writer: {', '.join(gone)} do not. Bring one back first with "
            f"`securecart cluster rejoin {gone[0]}`."
        )


def _why_not(node: Node) -> str:
    return "it is held down" if node.held and not node.answers else f"its state is: {node.state}"
