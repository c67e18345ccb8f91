"""Every setting in one table: name, default, help.

A setting comes from the environment (`SECURECART_` and its name in capitals), else from `settings.json`
in the home folder, which `securecart up` writes with the addresses and secrets of the engines it started,
else from the default here. A store whose address comes from the environment is somebody else's server:
`up` uses it and starts none.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, get_type_hints

import msgspec
from msgspec import Meta, Struct

from securecart.errors import BadInput

PREFIX = "SECURECART_"
FILE_NAME = "settings.json"
# A shop of one region, and the first of several: what is named by region has its plain name there.
PORT_MAX = 65_535
FIRST_REGIONS = ("", "a")


def _help(text: str) -> Meta:
    return Meta(description=text)


class Settings(Struct, frozen=True, kw_only=True):
    """The table. One frozen value, loaded once at the edge and handed down."""

    home: Annotated[str, _help("Folder that holds data, logs and state.")] = ".securecart"
    cache_dir: Annotated[str, _help("Folder that keeps downloads; empty: ~/.cache/securecart.")] = ""

    profile: Annotated[
        Literal["single", "ha", "regions"],
        _help("How the stores are run: single, ha (PostgreSQL on three nodes) or regions (ha, and a second region)."),
    ] = "single"
    region_postgres_url: Annotated[
        str, _help("The database nodes of this region alone, where there are several regions; written by `up`.")
    ] = ""
    region: Annotated[str, _help("The region this process belongs to, where there are several; written by `up`.")] = ""

    postgres_url: Annotated[
        str,
        _help("PostgreSQL as the shop's least-privileged role. Several hosts with commas: the writer and its replicas."),
    ] = ""
    postgres_owner_url: Annotated[str, _help("The same database as the role that owns the tables (migrations only).")] = ""
    postgres_bin: Annotated[str, _help("Folder with a system's PostgreSQL programs (16 or newer); empty: the bundled 18.")] = ""
    postgres_port: Annotated[int, _help("Port for the local PostgreSQL; 0: a free one, kept for the next start.")] = 0
    postgres_pool: Annotated[int, _help("Connections each web process keeps to PostgreSQL.")] = 10

    replica_lag_seconds: Annotated[float, _help("A replica further behind than this serves nobody until it has caught up.")] = 2.0
    failover_patience_seconds: Annotated[
        float, _help("Seconds a request waits for a new writer before it is answered 503 with Retry-After.")
    ] = 8.0
    cluster_store: Annotated[
        str, _help("Where Patroni agrees on its leader, as etcd://host:port; empty: among its own nodes (Raft).")
    ] = ""
    cluster_urls: Annotated[str, _help("The REST addresses of Patroni's nodes, with commas; written by `up`.")] = ""
    cluster_key: Annotated[str, _help("Password of Patroni's REST interface; written by `up`.")] = ""
    link_url: Annotated[str, _help("Where the simulated network between two regions tells how it is; written by `up`.")] = ""
    link_port: Annotated[int, _help("Port for that; 0: a free one, kept.")] = 0
    replicator_url: Annotated[
        str, _help("Where the replicator of carts and sessions between two regions tells how it is; written by `up`.")
    ] = ""
    region_delay_ms: Annotated[int, _help("Simulated network delay between two regions, there and back.")] = 80

    archive: Annotated[
        str, _help("Where backups and the database's log go: a folder, s3://BUCKET/PREFIX, or off; empty: archive in the home.")
    ] = ""
    archive_key: Annotated[
        str, _help("Secret key (age) that encrypts what is archived; empty: not encrypted. `securecart backup key` makes one.")
    ] = ""
    archive_synchronous: Annotated[
        bool, _help("In the profile single: acknowledge a commit only once the archiver has its log on its own disk too.")
    ] = False
    backup_hours: Annotated[float, _help("Hours between two base backups; those between two full ones are incremental.")] = 6.0
    backup_full_days: Annotated[float, _help("Days between two full base backups.")] = 7.0
    backup_days: Annotated[float, _help("Days back to which the database can be recovered; older backups are removed.")] = 14.0
    backup_fulls: Annotated[int, _help("Full base backups that are kept at least, however old they are.")] = 2
    backup_rate_mb: Annotated[int, _help("Megabytes a second at most that a base backup reads; 0: as fast as it can.")] = 32
    archiver_url: Annotated[str, _help("Where the archiver tells how it is; written by `up`.")] = ""
    prove_hours: Annotated[float, _help("Hours between two proofs that the newest backup can be restored; 0: never.")] = 24.0
    table_journal: Annotated[
        bool, _help("Keep a journal of the DynamoDB tables in the archive, to recover them to any second (DynamoDB Local).")
    ] = True
    snapshot_hours: Annotated[float, _help("Hours between two snapshots of the DynamoDB tables into the archive.")] = 24.0

    dynamodb_url: Annotated[str, _help("DynamoDB endpoint; empty on AWS: the region's own.")] = ""
    dynamodb_region: Annotated[str, _help("AWS region of the DynamoDB tables.")] = "us-east-1"
    dynamodb_prefix: Annotated[str, _help("Put before each DynamoDB table's name.")] = "securecart-"
    dynamodb_port: Annotated[int, _help("Port for DynamoDB Local; 0: a free one, kept.")] = 0
    java_bin: Annotated[str, _help("A system's java program (17 or newer); empty: the bundled one.")] = ""

    valkey_url: Annotated[str, _help("Valkey or Redis, as redis://:password@host:port/0.")] = ""
    valkey_bin: Annotated[str, _help("A system's valkey-server or redis-server program; empty: the bundled one.")] = ""
    valkey_port: Annotated[int, _help("Port for the local Valkey; 0: a free one, kept.")] = 0

    graph_url: Annotated[
        str, _help("The graph of who shares what: Neptune as https://HOST:8182; empty: LadybugDB, started and written by `up`.")
    ] = ""
    graph_port: Annotated[int, _help("Port for the local graph; 0: a free one, kept.")] = 0
    graph_timeout_s: Annotated[float, _help("Seconds a statement may take at the graph before it is undone.")] = 20.0
    graph_concurrency: Annotated[
        int, _help("Statements the local graph works on at once; some more wait, others are told so.")
    ] = 4
    graph_memory_mb: Annotated[int, _help("Megabytes of the graph that the local graph keeps in memory at most.")] = 384

    gateway: Annotated[Literal["sandbox", "stripe"], _help("Who takes the money: sandbox or stripe.")] = "sandbox"
    capture: Annotated[Literal["at_once", "on_shipment"], _help("When money is taken: at_once or on_shipment.")] = "at_once"
    stripe_key: Annotated[str, _help("Stripe's secret key (sk_test_ or sk_live_).")] = ""
    stripe_webhook_secret: Annotated[str, _help("Stripe's signing secret of the webhook endpoint (whsec_).")] = ""
    stripe_url: Annotated[str, _help("Another address for Stripe's API, for tests; empty: Stripe's own.")] = ""
    payment_wait_seconds: Annotated[int, _help("Seconds a buyer has to answer the bank's question (3-D Secure).")] = 900
    gateway_url: Annotated[str, _help("The sandbox gateway's address; empty: it is started.")] = ""
    gateway_key: Annotated[str, _help("Secret key for the sandbox gateway.")] = ""
    gateway_port: Annotated[int, _help("Port for the sandbox gateway; 0: a free one, kept.")] = 0
    gateway_timeout_s: Annotated[float, _help("Seconds to wait for the gateway before an order is left pending.")] = 5.0

    fraud: Annotated[
        Literal["on", "off"], _help("Judge each order before its payment: on or off. The graph is taught either way.")
    ] = "on"
    fraud_budget_ms: Annotated[int, Meta(ge=1), _help("Milliseconds in which the graph must answer before a payment.")] = 20
    fraud_card_ms: Annotated[
        int, Meta(ge=0), _help("Milliseconds in which the gateway must say which card a token stands for; 0: it is not asked.")
    ] = 400
    fraud_model: Annotated[str, _help("File of the model that judges, by `securecart fraud train`; empty: the shipped one.")] = ""
    fraud_review_from: Annotated[
        float, Meta(ge=0, le=1), _help("Probability from which an order is reviewed; 0: what the model says.")
    ] = 0.0
    fraud_decline_from: Annotated[
        float, Meta(ge=0, le=1), _help("Probability from which an order is declined; 0: what the model says.")
    ] = 0.0
    fraud_caution_amount: Annotated[
        int, Meta(ge=0), _help("With the graph away or slow, orders above this many whole units of their currency are reviewed.")
    ] = 200
    fraud_review_hours: Annotated[float, Meta(gt=0), _help("Hours until a held order that nobody decided on lapses.")] = 48.0
    fraud_review_lapse: Annotated[
        Literal["cancel", "release"], _help("What becomes of a held order that lapses: cancel or release.")
    ] = "cancel"
    country_header: Annotated[
        str, _help("Header in which a proxy names the country of the caller, such as CloudFront-Viewer-Country; empty: none.")
    ] = ""

    web_port: Annotated[int, _help("Port of the shop itself; 0: a free one, kept.")] = 0
    web_processes: Annotated[int, _help("Web processes that share the port; 0: one for every two cores.")] = 0
    web_url: Annotated[str, _help("Where the shop is reached; written by `up`.")] = ""
    internal_key: Annotated[str, _help("Key of the shop's own programs (demo, benches); rate limits let them pass.")] = ""

    currency: Annotated[str, _help("Currency shown where the shopper chose none.")] = "USD"
    country: Annotated[str, _help("Country assumed until an address is known.")] = "US"
    shop_name: Annotated[str, _help("Name at the top of each page.")] = "SecureCart"
    session_days: Annotated[int, _help("Days an unused session lives.")] = 30
    cart_days: Annotated[int, _help("Days an untouched cart lives.")] = 30
    reservation_seconds: Annotated[int, _help("Seconds until the sweeper asks about a payment that nobody heard of.")] = 30
    checkout_group: Annotated[int, _help("Orders that share one transaction at most; 1: each has its own.")] = 256
    sweep_seconds: Annotated[float, _help("Seconds between two looks at orders left pending.")] = 5.0
    event_log_days: Annotated[int, _help("Days the event log keeps after every reader has passed them.")] = 7
    history_lag_seconds: Annotated[
        float, _help("A shopper's orders come from the orders database while the order history is further behind than this.")
    ] = 5.0
    reader_lag_events: Annotated[
        int, _help("Events a reader may be behind before orders wait a little; at twice that they are refused. 0: never.")
    ] = 20_000
    rate_limits: Annotated[bool, _help("Count requests by client and refuse too many (off only for load tests).")] = True
    log_level: Annotated[str, _help("debug, info, warning or error.")] = "info"
    # below the range from which Linux takes the ports of outgoing connections: a kept port is still free the next time
    ports: Annotated[str, _help("Where free ports are chosen, FIRST-LAST; a chosen one is kept.")] = "20000-29999"

    @property
    def port_range(self) -> range:
        """The ports among which free ones are chosen; `BadInput`."""
        first, _, last = self.ports.partition("-")
        if not (first.isdigit() and last.isdigit() and 0 < int(first) <= int(last) <= PORT_MAX):
            raise BadInput(field="ports", problem=f"Setting {PREFIX}PORTS: give it as FIRST-LAST, such as 20000-29999.")
        return range(int(first), int(last) + 1)

    @property
    def home_path(self) -> Path:
        """The home folder as an absolute path."""
        return Path(self.home).expanduser().absolute()

    @property
    def cache_path(self) -> Path:
        """The folder that keeps downloads, as an absolute path."""
        return Path(self.cache_dir).expanduser().absolute() if self.cache_dir else Path.home() / ".cache/securecart"


def load(home: str | None = None, environ: Mapping[str, str] | None = None) -> Settings:
    """The settings in force for `home`; `BadInput` names the setting that cannot be used."""
    given = from_environment(environ)
    if home is not None:
        given["home"] = home
    folder = Settings(home=given.get("home", Settings().home)).home_path
    return convert({**_written_by_up(folder), **given, "home": str(folder)})


def from_environment(environ: Mapping[str, str] | None = None) -> dict[str, str]:
    """The settings that the environment gives, by name."""
    environ = os.environ if environ is None else environ
    return {name: environ[PREFIX + name.upper()] for name in Settings.__struct_fields__ if PREFIX + name.upper() in environ}


def convert(values: Mapping[str, Any]) -> Settings:
    """Check and convert values from text; `BadInput` names the setting that cannot be used."""
    try:
        converted = msgspec.convert(values, Settings, strict=False)
    except msgspec.ValidationError as error:
        reason, _, path = str(error).partition(" - at `$.")
        name = path.rstrip("`")
        raise BadInput(field=name, problem=f"Setting {PREFIX}{name.upper()}: {reason}.") from error
    if converted.gateway == "stripe":
        for name in ("stripe_key", "stripe_webhook_secret"):
            if not getattr(converted, name):
                raise BadInput(field=name, problem=f"Setting {PREFIX}{name.upper()}: the gateway stripe needs it.")
    return converted


def table() -> list[tuple[str, Any, str]]:
    """Name, default and help of every setting, in order."""
    hints = get_type_hints(Settings, include_extras=True)
    return [(one.name, one.default, _told(hints[one.name].__metadata__)) for one in msgspec.structs.fields(Settings)]


def _told(metadata: tuple[Meta, ...]) -> str:
    return next(one.description for one in metadata if one.description is not None)


def _written_by_up(home: Path) -> dict[str, Any]:
    path = home / FILE_NAME
    if not path.exists():
        return {}
    written: dict[str, Any] = msgspec.json.decode(path.read_bytes())
    return written
