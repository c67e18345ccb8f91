"""The event log: facts written inside the transaction that made them true, read in order by readers with cursors.

Owns the tables event and reader. `publish` is part of the caller's transaction: a fact is there exactly when what it
tells of is.
"""

from securecart.stores.postgres.log.actions import publish

__all__ = ["publish"]
