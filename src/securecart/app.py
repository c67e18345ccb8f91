"""The only wiring: open the stores, hand them over as one value, close them.

Everything above (doors, worker, command line) takes a `Shop`; everything below takes just the store it uses.
"""

from __future__ import annotations

import functools
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

from msgspec import Struct

from securecart import carts, fraud, migrations, payments, readers, sessions
from securecart import settings as settings_table
from securecart.checkout import Intake, Pace, Till
from securecart.engines import Home
from securecart.engines.regions import FIRST
from securecart.ops import table_recovery
from securecart.orders import history
from securecart.settings import Settings
from securecart.stores import cache, dynamodb, graph, postgres
from securecart.stores.postgres.log import Lookout

__all__ = ["TABLES", "Shop", "open_shop", "prepare"]

# Every table that the shop keeps in DynamoDB.
TABLES = (sessions.TABLE, carts.TABLE, history.TABLE)


class Shop(Struct, frozen=True):
    """The opened stores of one shop and the settings they were opened with."""

    settings: Settings
    database: postgres.Database
    dynamodb: dynamodb.DynamoDB
    cache: cache.Cache
    graph: graph.Graph
    memory: sessions.Memory
    till: Till
    lookout: Lookout
    near: postgres.Nearby | None = None

    @property
    def stores(self) -> readers.Stores:
        """What the readers of the event log work with."""
        return readers.Stores(self.database, self.dynamodb, self.cache, self.graph, self.settings.region, self.near)


@asynccontextmanager
async def open_shop(settings: Settings) -> AsyncIterator[Shop]:
    """Open every store for as long as the block runs; `StoreAway` when one that must be there is not."""
    async with AsyncExitStack() as stack:
        database = await postgres.connect(
            settings.postgres_url,
            pool_size=settings.postgres_pool,
            lag_seconds=settings.replica_lag_seconds,
            patience_s=settings.failover_patience_seconds,
            # the second region follows the first without confirming anything
            confirmed=settings.profile != "single" and settings.region in {"", FIRST},
        )
        stack.push_async_callback(database.close)
        tables = await dynamodb.connect(settings.dynamodb_url, region=settings.dynamodb_region, prefix=settings.dynamodb_prefix)
        stack.push_async_callback(tables.close)
        # whatever is not in the cache is loaded with half of the connections; the others are for who buys
        quick = cache.connect(settings.valkey_url, loads_at_once=max(1, settings.postgres_pool // 2))
        stack.push_async_callback(quick.close)
        links = await graph.connect(settings.graph_url, timeout_s=settings.graph_timeout_s)
        stack.push_async_callback(links.close)
        gateway = payments.connect(settings)
        stack.push_async_callback(gateway.close)
        lookout = Lookout(database)
        stack.callback(lookout.close)
        till = Till(
            database,
            tables,
            quick,
            gateway,
            Intake(lookout, readers=readers.essential_in(settings.region), limit_events=settings.reader_lag_events),
            _pace(settings),
            group_most=settings.checkout_group,
            region=settings.region,
            patience_s=settings.failover_patience_seconds,
            judge=_judge(settings, links),
            card_within_s=settings.fraud_card_ms / 1_000,
        )
        near = _near(settings)
        if near is not None:
            stack.push_async_callback(near.close)
        yield Shop(settings, database, tables, quick, links, sessions.Memory(quick), till, lookout, near)


def _pace(settings: Settings) -> Pace:
    return Pace(
        settings.reservation_seconds,
        settings.payment_wait_seconds,
        captures_at_once=settings.capture == "at_once",
        review_s=settings.fraud_review_hours * 3_600,
        lapsed_go_on=settings.fraud_review_lapse == "release",
    )


def _judge(settings: Settings, links: graph.Graph) -> fraud.Judge | None:
    if settings.fraud == "off":
        return None
    model = fraud.load_model(Path(settings.fraud_model)) if settings.fraud_model else fraud.default_model()
    return fraud.Judge(
        functools.partial(fraud.ask_past, links),
        fraud.with_thresholds(model, review=settings.fraud_review_from, decline=settings.fraud_decline_from),
        budget_s=settings.fraud_budget_ms / 1_000,
        caution_amount=settings.fraud_caution_amount,
    )


def _near(settings: Settings) -> postgres.Nearby | None:
    if not settings.region_postgres_url:
        return None
    return postgres.Nearby(
        settings.region_postgres_url, pool_size=settings.postgres_pool, lag_seconds=settings.replica_lag_seconds
    )


def _streams(settings: Settings) -> bool | None:
    """Whether the tables tell their changes: for the journal; None where it does not say, or where AWS keeps their past."""
    if not settings.dynamodb_url:
        return None
    if settings.table_journal and settings.archive != "off":
        return True
    # the replicator reads them too, and a server elsewhere may have readers of its own
    elsewhere = "dynamodb_url" in settings_table.from_environment()
    return None if settings.profile == "regions" or elsewhere else False


async def prepare(settings: Settings) -> None:
    """Bring the databases of every region to the shape this version needs; safe to repeat and to race."""
    await migrations.apply(settings.postgres_owner_url)
    regions = [settings]
    if settings.profile == "regions":
        regions += [settings_table.load(str(home.path)) for home in Home(settings.home_path).with_regions()[1:]]
    for region in regions:
        tables = await dynamodb.connect(region.dynamodb_url, region=region.dynamodb_region, prefix=region.dynamodb_prefix)
        try:
            await tables.create_tables(TABLES, streams=_streams(region))
        finally:
            await tables.close()
    if not settings.dynamodb_url and settings.archive != "off":
        await table_recovery.keep_on_aws(settings.dynamodb_region, [spec.in_full(settings.dynamodb_prefix) for spec in TABLES])
    database = await postgres.connect(settings.postgres_url, pool_size=1)
    try:
        async with database.transaction() as tx:
            names = {reader.name: None for region in regions for reader in readers.readers_of(region.region)}
            await postgres.log.register(tx, list(names))
    finally:
        await database.close()
