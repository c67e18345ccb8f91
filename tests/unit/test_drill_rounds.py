"""The order in which a drill kills: by chance, and yet every kind in its turn."""

from __future__ import annotations

import random
from itertools import islice

from securecart.drills import KINDS
from securecart.drills.model import kinds_in_turn


def test_every_kind_has_its_turn_in_each_seven_rounds() -> None:
    turns = list(islice(kinds_in_turn(KINDS, random.Random(5)), 70))
    blocks = [turns[start : start + 7] for start in range(0, 70, 7)]
    assert all(sorted(block) == sorted(KINDS) for block in blocks)
    assert len({tuple(block) for block in blocks}) > 5


def test_a_seed_gives_the_same_order_again() -> None:
    first, again, other = (list(islice(kinds_in_turn(KINDS, random.Random(seed)), 30)) for seed in (1, 1, 2))
    assert first == again != other
