"""What was seen of the regions, and what follows from it: pure functions, tested without a database."""

from __future__ import annotations

from typing import Literal

from msgspec import Struct

from securecart.errors import OperatorError

__all__ = ["Node", "Region", "Regions", "Step", "to_fence", "to_move", "to_promote", "to_return"]

# A planned move waits for the last bytes while nobody can write; with more than this under way it is not begun.
BEHIND_MAX_BYTES = 64 * 2**20

Do = Literal["follow", "hold", "wait until equal", "promote", "let go", "wait until it follows"]


class Node(Struct, frozen=True):
    """A database node: what Patroni says of it (empty: no answer) and whether PostgreSQL itself takes writes (None: no answer).

    `position` is in bytes of the log: written, or received where it follows.
    """

    label: str
    role: str = ""
    state: str = ""
    streams: bool = False
    synchronous: bool = False
    timeline: int | None = None
    position: int | None = None
    writes: bool | None = None

    @property
    def answers(self) -> bool:
        """Whether anything of it is alive."""
        return bool(self.role) or self.writes is not None


class Region(Struct, frozen=True):
    """A region as it was seen. `follows`: its nodes have agreed to follow the other region, None when none could be asked.

    `fenced`: it follows the other region whenever it starts. `held` engines are left down, `running` ones have a process.
    `behind_bytes` and `behind_seconds` say what it has not got of the other's writes, None where that is not known;
    seconds are the age of the newest commit that it has, so never too few.
    """

    name: str
    nodes: tuple[Node, ...] = ()
    follows: bool | None = None
    fenced: bool = False
    held: tuple[str, ...] = ()
    running: tuple[str, ...] = ()
    writes_through_link: bool | None = None
    behind_bytes: int | None = None
    behind_seconds: float | None = None

    @property
    def answers(self) -> bool:
        """Whether any of its database nodes is alive, as seen from here or through the link."""
        return any(node.answers for node in self.nodes) or self.writes_through_link is not None

    @property
    def writes(self) -> bool:
        """Whether any of its nodes takes writes."""
        return bool(self.writes_through_link) or any(node.writes or node.role == "primary" for node in self.nodes)

    @property
    def is_fenced(self) -> bool:
        """Whether it takes no writes now, and none when it comes back."""
        if self.writes:
            return False
        return bool(self.follows) if self.answers else self.fenced

    @property
    def leader(self) -> Node | None:
        """The node that leads it, as the writer or as the one that follows the other region."""
        return next((node for node in self.nodes if node.role in {"primary", "standby_leader"} and node.state == "running"), None)

    @property
    def position(self) -> int | None:
        """How far any of its nodes has come."""
        return max((node.position for node in self.nodes if node.position is not None), default=None)

    @property
    def part(self) -> str:
        """What it is, in a word."""
        if self.writes:
            return "writer"
        if not self.answers:
            return "down, fenced" if self.fenced else "down"
        return "follower" if self.follows else "undecided"


class Regions(Struct, frozen=True):
    """Both regions, and whether the link between them is cut."""

    regions: tuple[Region, Region]
    link_cut: bool = False

    def named(self, name: str) -> Region:
        """The region of this name; `OperatorError` when there is none."""
        for region in self.regions:
            if region.name == name:
                return region
        names = " and ".join(region.name for region in self.regions)
        raise OperatorError(problem=f"There is no region {name!r}; this shop has {names}.")

    def beyond(self, name: str) -> Region:
        """The other one."""
        return next(region for region in self.regions if region.name != self.named(name).name)


class Step(Struct, frozen=True):
    """Something to do to a region."""

    do: Do
    region: str


def to_promote(seen: Regions, name: str, *, accept_loss: bool = False) -> list[Step]:
    """Have this region take the writes because the other is lost, or fenced.

    Refused while the other is alive and could take a write: two writers would sell the same goods twice. One that gives no
    answer at all is fenced first. Refused too when a fenced region that is there has what this one lacks, unless the loss
    is accepted.
    """
    region, other = seen.named(name), seen.beyond(name)
    if region.writes:
        raise OperatorError(problem=f"Region {name} takes the writes already.")
    if other.answers and not other.is_fenced:
        what = "takes writes" if other.writes else "is alive and may take writes at any moment"
        raise OperatorError(
            problem=f"Region {other.name} {what}, so {name} is not promoted: both would sell the same goods. To hand over "
            f"without losing anything: `securecart region move {name}`. To give {other.name} up: "
            f"`securecart region fence {other.name}`, then promote again."
        )
    leader = region.leader
    if leader is None:
        raise OperatorError(
            problem=f"No node leads region {name}, so there is none to promote; see `securecart status`, and wait for it."
        )
    lacks = 0 if other.position is None else max(other.position - (leader.position or 0), 0)
    if other.answers and lacks and not accept_loss:
        raise OperatorError(
            problem=f"Region {other.name} is fenced and has {lacks:,} bytes of changes that {name} lacks. Let {name} catch up "
            "(is the link mended?) and promote it then, or give them up with --accept-loss."
        )
    steps = [] if other.is_fenced else [Step("hold", other.name)]
    return [*steps, Step("promote", name)]


def to_move(seen: Regions, name: str) -> list[Step]:
    """Hand the writes over to this region without losing any: the other stops, this one catches up and takes over."""
    region, other = seen.named(name), seen.beyond(name)
    if region.writes:
        raise OperatorError(problem=f"Region {name} takes the writes already.")
    if not other.writes:
        raise OperatorError(
            problem=f"Region {other.name} takes no writes, so there is nothing to hand over; if it is lost, "
            f"`securecart region promote {name}`."
        )
    if seen.link_cut:
        raise OperatorError(problem="The link between the regions is cut: mend it first, or nothing can be handed over.")
    leader = region.leader
    if leader is None or not leader.streams or not region.follows:
        raise OperatorError(
            problem=f"Region {name} does not follow {other.name} at the moment; see `securecart region status`, and rebuild it "
            f"with `securecart region rejoin {name}` where that does not pass."
        )
    if region.behind_bytes is None or region.behind_bytes > BEHIND_MAX_BYTES:
        raise OperatorError(problem=f"Region {name} is too far behind for a short move; wait until it has caught up.")
    handed_over = [Step("follow", other.name), Step("wait until equal", name), Step("promote", name)]
    return [*handed_over, Step("wait until it follows", other.name)]


def to_fence(seen: Regions, name: str) -> list[Step]:
    """Make sure that this region takes no writes, now and when it comes back.

    One that is well is told to follow the other. One that is not, or cannot be asked, is stopped and held.
    """
    region = seen.named(name)
    if region.is_fenced:
        raise OperatorError(problem=f"Region {name} is fenced already: it takes no writes.")
    return [Step("follow" if region.leader is not None and region.leader.role == "primary" else "hold", name)]


def to_return(seen: Regions, name: str) -> list[Step]:
    """Bring this region back as a follower of the other, which has the writes."""
    region, other = seen.named(name), seen.beyond(name)
    if not other.writes:
        raise OperatorError(
            problem=f"Region {other.name} takes no writes, so {name} has nobody to follow; promote one of them first."
        )
    if region.writes:
        raise OperatorError(
            problem="Both regions take writes. Decide which is right, fence the other with `securecart region fence`, and let "
            "that one rejoin: what only it has is lost."
        )
    if region.answers and not region.follows:
        raise OperatorError(problem=f"Region {name} is alive and not fenced; `securecart region fence {name}` first.")
    if seen.link_cut:
        raise OperatorError(problem="The link between the regions is cut: mend it first, or the region cannot follow.")
    return [Step("let go", name), Step("wait until it follows", name)]
