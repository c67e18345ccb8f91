"""Which of two writes wins, and what is left to do for a key: pure decisions, no network, no clock.

A *local* write is the application's. Its version is its time and its region; the greater one wins everywhere. An *echo* is
a write of the replicator's own that comes back in the stream: it is known by its mark, an attribute that changes with each
of them. Applying is conditional on what is believed to be there, so the belief may be wrong: then both regions are looked
at, both streams are read past that look, and only then is it decided.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from msgspec import Struct, field

from securecart.stores.dynamodb.items import MARK, Item, Key, Table, bare, digest, ends_at, same
from securecart.stores.dynamodb.stream import Record

__all__ = ["UNKNOWN", "Apply", "Change", "Entry", "Ledger", "Look", "Mark", "Version"]

UNKNOWN: Item = {}  # an image that nobody has seen yet; no real item is without a key


class Version(Struct, frozen=True, order=True):
    """When (microseconds since 1970) and where an item was written; of two, the greater one wins."""

    time_us: int
    region: str


class Mark(Struct, frozen=True):
    """What the replicator leaves in an item that it writes: whose version it is, and a number used once.

    `gone` stands in an item that is about to be deleted: the digest of what it held then.
    """

    version: Version
    nonce: str
    gone: str = ""

    def text(self) -> str:
        """The attribute's value."""
        return "/".join((str(self.version.time_us), self.version.region, self.nonce, self.gone))

    @classmethod
    def read(cls, item: Item | None) -> Mark | None:
        """The item's mark, or None when it has none that is ours."""
        parts = str((item or {}).get(MARK, {}).get("S", "")).split("/")
        if len(parts) != 4 or not parts[0].isdigit():  # noqa: PLR2004 - the four parts of `text`
            return None
        return cls(Version(int(parts[0]), parts[1]), parts[2], parts[3])


class Change(Struct, frozen=True):
    """One record of a region's stream; images are without marks, `place` is where the stream can be read again from it.

    `time_us` is when it was written by the engine's clock; the end of an item's life counts from the moment it was due.
    """

    region: str
    key: Key
    time_us: int
    place: tuple[str, str]
    old: Item | None
    new: Item | None
    old_mark: Mark | None = None
    new_mark: Mark | None = None

    @classmethod
    def of(cls, region: str, table: Table, record: Record) -> Change:
        """What a record of this region's stream of the table comes to."""
        over = ends_at(table, record.old) if record.new is None else None
        return cls(
            region=region,
            key=record.key,
            time_us=record.time_us if over is None else min(record.time_us, over * 1_000_000),
            place=record.place,
            old=bare(record.old),
            new=bare(record.new),
            old_mark=Mark.read(record.old),
            new_mark=Mark.read(record.new),
        )

    @property
    def echo(self) -> Mark | None:
        """The mark of the replicator's write that this record tells of, or None: the application wrote."""
        if self.new is not None:
            return self.new_mark if self.new_mark != self.old_mark else None
        if self.old_mark is not None and self.old_mark.gone and self.old_mark.gone == digest(self.old):
            return self.old_mark
        return None


class Apply(Struct, frozen=True):
    """Make `region` hold `image` (None: nothing) where it holds what is `expected`."""

    key: Key
    region: str
    version: Version
    image: Item | None
    expected: Item | None


class Look(Struct, frozen=True):
    """Read the key in both regions, then both streams to a point after that."""

    key: Key


class Entry(Struct):
    """What is known of a key in hand: the winner, what each region holds, and which echoes are still to come."""

    newest: Version
    image: Item | None
    holds: dict[str, Version | None]
    base: dict[str, Item | None] = field(default_factory=dict)
    due: dict[str, set[str]] = field(default_factory=dict)
    # The last write that was heard of each region's application.
    last: dict[str, Version] = field(default_factory=dict)
    # The first change of each region since the key came in hand: its place in the stream and its time.
    since: dict[str, tuple[tuple[str, str], int]] = field(default_factory=dict)
    # What the streams told of each region since the look began: as new as what the look found, or newer.
    told: dict[str, Item | None] = field(default_factory=dict)
    doubt: bool = False
    looked: bool = False
    busy: bool = False
    rests: bool = False
    # Found by comparing the tables, not in a stream: it is found again by nothing but another comparison.
    compared: bool = False


class Ledger:
    """The keys in hand; `regions` are the two names."""

    def __init__(self, regions: Sequence[str]) -> None:
        self.regions = tuple(regions)
        self.entries: dict[Key, Entry] = {}
        # By table: since when (monotonic seconds) a key needs nothing, the longest first.
        self._resting: dict[str, dict[Key, float]] = {}

    def hear(self, change: Change) -> Version | None:
        """Take in a record; answers the version that lost when both regions wrote the key without knowing of each other."""
        mark, loser = change.echo, None
        if mark is None:
            loser = self._hear_local(change)
        else:
            self._hear_echo(change, mark)
        entry = self.entries[change.key]
        entry.told[change.region] = change.new
        entry.rests = False
        return loser

    def suspect(self, key: Key, version: Version, *, gone: bool) -> None:
        """The regions differ in this key; `version` is the newest write that is known, and `gone` that it removed the item."""
        image = None if gone else UNKNOWN
        self.entries.setdefault(key, Entry(version, image, dict.fromkeys(self.regions), doubt=True, compared=True))

    def next_step(self, key: Key, now: float) -> Apply | Look | None:
        """What to do now for the key, which is in somebody's hands from then on; None: nothing, or nothing yet."""
        entry = self.entries.get(key)
        if entry is None or entry.busy or entry.looked or entry.rests:
            return None
        if entry.doubt:
            entry.busy = True
            entry.told.clear()
            return Look(key)
        for region in self.regions:
            if entry.holds[region] != entry.newest:
                entry.busy = True
                return Apply(key, region, entry.newest, entry.image, entry.base[region])
        entry.compared, entry.rests = False, True
        resting = self._resting.setdefault(key.table, {})
        resting.pop(key, None)
        resting[key] = now
        return None

    def read_past(self, table: str, moment: float) -> None:
        """Both streams of the table were read past this moment: what needed nothing then is forgotten.

        Not earlier: an older write that is only then heard of must find the newer one known.
        """
        resting = self._resting.get(table, {})
        for key, since in list(resting.items()):
            if since >= moment:
                return
            del resting[key]
            if self.entries[key].rests:
                del self.entries[key]

    def sending(self, step: Apply, nonce: str) -> None:
        """The step is about to be sent under this number; its echo may be heard before its answer."""
        self.entries[step.key].due.setdefault(step.region, set()).add(nonce)

    def applied(self, step: Apply, nonce: str) -> None:
        """The region holds the image now."""
        entry = self.entries[step.key]
        entry.busy = False
        if nonce in entry.due.get(step.region, ()):  # else the echo came first, and what was heard since is newer
            entry.holds[step.region], entry.base[step.region] = step.version, step.image

    def was_there(self, step: Apply, nonce: str) -> None:
        """The region held the image already, so nothing was written and no echo will come."""
        entry = self.entries[step.key]
        entry.busy = False
        entry.due[step.region].discard(nonce)
        entry.holds[step.region], entry.base[step.region] = step.version, step.image

    def refused(self, step: Apply, nonce: str) -> None:
        """The region held something else, or nobody knows what became of the request."""
        entry = self.entries[step.key]
        entry.busy = False
        entry.doubt = True
        entry.due[step.region].discard(nonce)

    def looking(self, key: Key) -> None:
        """Both items were read; the decision waits until both streams have been read past that moment."""
        entry = self.entries[key]
        entry.busy, entry.looked = False, True

    def not_looked(self, key: Key) -> None:
        """The items could not be read; it is tried again."""
        self.entries[key].busy = False

    def settle(self, key: Key, items: Mapping[str, Item | None]) -> None:
        """Both streams were read past the look that found these items: believe it, and go on with the newest version known."""
        entry = self.entries[key]
        entry.looked = entry.doubt = False
        entry.due.clear()
        images = {region: bare(item) for region, item in items.items()} | entry.told
        if not (entry.last or entry.compared) and not same(images[entry.newest.region], entry.image):
            # An echo that came late: where that version was written there is something newer by now.
            entry.image = images[entry.newest.region]
        for item in items.values():
            mark = Mark.read(item)
            if mark is not None and not mark.gone and mark.version > entry.newest:
                entry.newest, entry.image = mark.version, bare(item)
        if entry.image is UNKNOWN:
            entry.image = _chosen(images, entry.newest)
        for region in self.regions:
            entry.base[region] = images[region]
            entry.holds[region] = entry.newest if same(images[region], entry.image) else None

    def oldest_place(self, region: str, table: str) -> tuple[str, str] | None:
        """From where the region's stream is to be read again after a sudden end; None: from where it was read to."""
        places = (entry.since[region][0] for key, entry in self.entries.items() if key.table == table and region in entry.since)
        return min(places, default=None)

    def waiting(self, region: str, table: str) -> list[int]:
        """The times (microseconds) of the first changes, by key, that the region made and that are not yet in the other."""
        return [
            entry.since[region][1]
            for key, entry in self.entries.items()
            if key.table == table and not entry.rests and region in entry.since
        ]

    def comparing(self, table: str | None = None) -> bool:
        """Whether a difference that a comparison has found is not yet settled, in this table or in any."""
        return any(entry.compared and table in {None, key.table} for key, entry in self.entries.items())

    def in_work(self) -> int:
        """How many keys wait for a write; those in doubt are not among them, because they wait for the streams to be read."""
        return sum(1 for entry in self.entries.values() if not (entry.rests or entry.doubt))

    def _hear_local(self, change: Change) -> Version | None:
        region, entry = change.region, self.entries.get(change.key)
        # What a write overwrote was known to it, so it counts as later whatever the clocks say.
        seen = {change.old_mark.version} if change.old_mark else set()
        if entry is not None and region in entry.last:
            seen.add(entry.last[region])
        version = Version(max([change.time_us, *(known.time_us + 1 for known in seen)]), region)
        if entry is None:
            other = self._other(region)
            # Where nothing is in hand the regions agree, so the other one holds what this write has found.
            entry = Entry(version, change.new, {region: version, other: None}, {region: change.new, other: change.old})
            entry.last[region], entry.since[region] = version, (change.place, change.time_us)
            self.entries[change.key] = entry
            return None
        blind = entry.newest.region != region and entry.newest not in seen and entry.image is not UNKNOWN
        loser = min(version, entry.newest) if blind and not same(change.new, entry.image) else None
        entry.last[region] = version
        entry.since.setdefault(region, (change.place, change.time_us))
        if not entry.due.get(region):  # else our own write came after this one in the region's order
            entry.holds[region], entry.base[region] = version, change.new
        if version > entry.newest:
            entry.newest, entry.image = version, change.new
        return loser

    def _hear_echo(self, change: Change, mark: Mark) -> None:
        key, region = change.key, change.region
        entry = self.entries.get(key)
        announced = bool(mark.gone) and change.new is not None  # the delete itself is still to come
        if entry is not None and mark.nonce in entry.due.get(region, ()):
            if not announced:
                entry.due[region].discard(mark.nonce)
                if not entry.due[region]:
                    entry.holds[region], entry.base[region] = mark.version, change.new
            return
        # Written by an earlier life of this process, or doubtful when it was sent: nothing is taken for granted.
        image = None if mark.gone else change.new
        if entry is None:
            entry = Entry(mark.version, image, dict.fromkeys(self.regions), dict.fromkeys(self.regions))
            self.entries[key] = entry
        if mark.version > entry.newest:
            entry.newest, entry.image = mark.version, image
        entry.since.setdefault(region, (change.place, change.time_us))
        entry.holds[region], entry.base[region] = (None if announced else mark.version), change.new
        entry.doubt = True

    def _other(self, region: str) -> str:
        first, second = self.regions
        return second if region == first else first


def _chosen(images: Mapping[str, Item | None], newest: Version) -> Item | None:
    """What both are to hold where no stream tells of a removal: the winner's, or whatever is there.

    A region that has lost its tables has nothing where the winner was written, and that is no removal.
    """
    there = [image for _, image in sorted(images.items(), key=lambda one: (one[0] == newest.region, one[0])) if image is not None]
    return there[-1] if there else None
