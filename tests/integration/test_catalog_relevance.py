"""Search held against people's judgement: an electronics catalogue with ratings of what belongs to which search."""

from __future__ import annotations

import csv
import gzip
import math
import secrets
from collections import defaultdict
from pathlib import Path

import pytest

from securecart import catalog
from securecart.app import Shop
from securecart.catalog import SearchQuery, column_map, read_products
from securecart.catalog.searching import actions as searching
from securecart.settings import Settings
from tests.catalog_for_tests import a_database

CHORUS = Path(__file__).parents[3] / "shared" / "data" / "chorus"
MAP = """sku=id price_minor.USD=price description=short_description brand=supplier image_url=img_500x500 attribute.Model=name
attributes=attr_t_* attributes=attr_n_* attributes=attr_b_*"""

pytestmark = pytest.mark.skipif(not CHORUS.is_dir(), reason=f"the rated catalogue is not at {CHORUS}")


async def test_what_people_find_relevant_comes_first(shop: Shop, engines: Settings) -> None:
    async with a_database(engines, f"chorus-{secrets.token_hex(4)}") as database:
        with (CHORUS / "products.jsonl.gz").open("rb") as file:
            report = await catalog.import_products(database, shop.cache, read_products(file, column_map(MAP.split(), None)))
        assert (report.created, report.rejections) == (19_406, 0)
        gains = []
        for text, ratings in _ratings().items():
            async with database.read() as read:
                found = await searching._search(read, SearchQuery(text=text, limit=10))
            if any(ratings.values()):
                gains.append(_gain([ratings.get(card.sku, 0) for card in found.items], list(ratings.values())))
    assert len(gains) == 57
    assert sum(gains) / len(gains) > 0.6, "nDCG@10, products nobody rated counting as irrelevant"


def _ratings() -> dict[str, dict[str, int]]:
    ratings: dict[str, dict[str, int]] = defaultdict(dict)
    with gzip.open(CHORUS / "ratings_dev.csv.gz", "rt", encoding="utf-8") as file:
        for row in csv.DictReader(file):
            ratings[row["query"]][row["docid"]] = int(row["rating"])
    return ratings


def _gain(shown: list[int], best: list[int]) -> float:
    return _discounted(shown[:10]) / _discounted(sorted(best, reverse=True)[:10])


def _discounted(ratings: list[int]) -> float:
    return sum((2.0**rating - 1) / math.log2(place + 1) for place, rating in enumerate(ratings, start=1))
