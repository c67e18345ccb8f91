"""A row of the past sees what came before it, and nothing else."""

from __future__ import annotations

from dataclasses import dataclass

from hypothesis import given
from hypothesis import strategies as st

from securecart.fraud import Attempt, Past, Row, features, replay

SECOND = 1_000_000
DAY = 86_400 * SECOND


def row(at: float, account: str = "ann", *, fraud: bool = False, amount: int = 1_000, **things: str) -> Row:
    return Row(Attempt(at=round(at * SECOND), account=account, amount_minor=amount, currency="USD", **things), fraud)  # type: ignore[arg-type]


def pasts(rows: list[Row], label_delay: int = 0) -> list[Past]:
    """In the order of the rows given."""
    return [past for _, past in sorted(replay(rows, label_delay), key=lambda one: one[0])]


def test_the_first_row_knows_nothing_not_even_itself() -> None:
    assert pasts([row(5, device="d", card="c", fraud=True)]) == [Past()]


def test_orders_are_counted_in_windows() -> None:
    last = pasts([row(0), row(86_400), row(86_400 + 3_600), row(86_400 + 3_660)])[-1].account
    assert (last.orders, last.recent) == (3, (1, 1, 2, 3, 3))
    assert (last.first_seconds, last.last_seconds) == (90_060, 60)


def test_neighbours_are_counted_once_however_often_they_are_met() -> None:
    rows = [row(1, "ann", device="d", card="a"), row(2, "ann", device="d", card="a"), row(3, "bob", device="d", card="b")]
    last = pasts([*rows, row(4, "bob", device="d", card="b")])[-1]
    assert (last.device.accounts, last.device.cards, last.device.orders) == (2, 2, 3)
    assert (last.account.cards, last.account.devices) == (1, 1)
    assert (last.with_device, last.with_card) == (1, 1)


def test_amounts_are_summed_up() -> None:
    last = pasts([row(1, amount=1_000), row(2, amount=3_000), row(3)])[-1].amounts
    assert (last.count, last.mean, last.deviation, last.last) == (2, 2_000, 1_000, 3_000)


def test_rows_come_by_time_and_those_of_one_time_by_place() -> None:
    rows = [row(9, "late"), row(1, "early"), row(1, "after early")]
    assert [place for place, _ in replay(rows)] == [1, 2, 0]


def test_rows_of_one_time_see_each_others_orders_but_no_labels() -> None:
    first, second, later = pasts([row(1, fraud=True), row(1, fraud=True), row(2)])
    assert (first.account.orders, second.account.orders, second.account.frauds) == (0, 1, 0)
    assert later.account.frauds == 2


def test_fraud_is_known_after_the_delay_and_not_at_its_very_end() -> None:
    rows = [row(0, fraud=True), row(86_400), row(86_401)]
    assert [past.account.frauds for past in pasts(rows, label_delay=DAY)] == [0, 0, 1]
    assert pasts(rows, label_delay=DAY)[2].account.fraud_seconds == 86_401


def test_hops_lead_over_shared_things() -> None:
    rows = [
        row(1, "thief", device="d1", card="c1", fraud=True),
        row(2, "friend", device="d1", card="c2"),
        row(3, "friend of friend", device="d2", card="c2"),
        row(4, "thief", device="d9"),
        row(5, "other", device="d1"),
        row(6, "other", device="d8", card="c2"),
        row(7, "far", device="d2"),
        row(8, "nobody", device="d7"),
        row(9, "many", device="d1", card="c2"),
    ]
    assert [past.ring.hops for past in pasts(rows)][3:] == [1, 1, 2, 3, None, 1]
    far, many = pasts(rows)[6].ring, pasts(rows)[8].ring
    assert (far.accounts, far.things, far.links, far.density) == (1, 1, 1, 1.0)
    # the device was used by thief, friend and other, the card by friend, the friend's friend and other
    assert (many.accounts, many.things, many.links, many.density) == (4, 2, 6, 6 / 8)


def test_a_device_that_everybody_uses_links_nobody() -> None:
    rows = [row(n, f"user {n}", device="kiosk", card=f"card {n}", fraud=n == 0) for n in range(150)]
    last = pasts([*rows, row(999, "user 7", card="new")])[-1].ring
    assert (last.hops, last.accounts) == (None, 0)


def test_sellers_and_networks_make_no_ring() -> None:
    rows = [row(1, "thief", seller="s", network="n", fraud=True), row(2, "ann", seller="s", network="n")]
    last = pasts(rows)[-1]
    assert (last.ring.hops, last.seller.frauds, last.network.frauds) == (None, 1, 1)


@dataclass
class Story:
    rows: list[Row]
    cut: int
    delay: int


names = st.sampled_from(["x", "y", "z"])
some_row = st.builds(
    row,
    st.integers(0, 30).map(lambda hours: hours * 3_600.0),
    names,
    fraud=st.booleans(),
    amount=st.integers(0, 10_000),
    device=names,
    card=names,
    address=names,
)
story = st.builds(Story, st.lists(some_row, min_size=1, max_size=20), st.integers(0, 30), st.sampled_from([0, DAY // 4]))


@given(story)
def test_the_future_changes_nothing(story: Story) -> None:
    """Leaving out all that came later, or calling it fraud, leaves each earlier row's features as they were."""
    end = story.cut * 3_600 * SECOND
    kept = [place for place, one in enumerate(story.rows) if one.attempt.at <= end]
    whole = dict(replay(story.rows, story.delay))
    short = dict(replay([story.rows[place] for place in kept], story.delay))
    turned = dict(
        replay([one if one.attempt.at < end else Row(one.attempt, not one.is_fraud) for one in story.rows], story.delay)
    )
    for new_place, place in enumerate(kept):
        attempt = story.rows[place].attempt
        assert whole[place] == short[new_place] == turned[place]
        assert features(attempt, whole[place]) == features(attempt, short[new_place])
