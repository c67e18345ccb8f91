"""PostgreSQL on one node or several: who writes and who may be read, the kinds of connection, and named statements.

The signature of a function says where it may run. `Read` is any node that can answer a query, perhaps a moment behind;
`Fresh` is the writer, which sees everything committed: whatever decides a write takes it; `Transaction` is the writer
inside an open transaction that its caller commits. Each may be passed where one before it is wanted, never the other way
round.
"""

from securecart.stores.postgres.choosing import NEWEST, NOWHERE, Position
from securecart.stores.postgres.database import (
    Database,
    Fresh,
    NodeState,
    Read,
    Transaction,
    connect,
    one,
    rows,
    value,
)
from securecart.stores.postgres.near import Nearby
from securecart.stores.postgres.statements import Statement, statements_of

__all__ = [
    "NEWEST",
    "NOWHERE",
    "Database",
    "Fresh",
    "Nearby",
    "NodeState",
    "Position",
    "Read",
    "Statement",
    "Transaction",
    "connect",
    "one",
    "rows",
    "statements_of",
    "value",
]
