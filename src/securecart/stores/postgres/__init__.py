"""PostgreSQL: a pool, the two kinds of node a function may touch, and named statements.

The signature of a function says where it may run. `Read` is any node that can answer a query;
`Transaction` is the writer, inside an open transaction that its caller commits. A transaction may be
passed where a read is wanted, never the other way round.
"""

from securecart.stores.postgres.database import Database, Read, Transaction, connect, one, rows, value
from securecart.stores.postgres.statements import Statement, statements_of

__all__ = ["Database", "Read", "Statement", "Transaction", "connect", "one", "rows", "statements_of", "value"]
