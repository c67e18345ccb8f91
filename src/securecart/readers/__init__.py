"""Readers: what follows from the facts in the event log, carried out outside the transactions that wrote them.

Owns no table. `READERS` is the table of them, `readers_of` says what they are called in a region. `run` keeps every reader
going in the worker, one process a reader; `rebuild` makes a reader's work anew from the orders database while the shop
sells; `differences` says how far it is from there; `catch_up` waits until all that was committed has been read.
docs/event-log.md shows how a new reader is written.
"""

from securecart.readers.model import Progress, Reader, Stores
from securecart.readers.rebuilding import differences, rebuild
from securecart.readers.running import catch_up, digest, register, run
from securecart.readers.table import READERS, essential_in, name_in, plain_name, readers_of

__all__ = [
    "READERS",
    "Progress",
    "Reader",
    "Stores",
    "catch_up",
    "differences",
    "digest",
    "essential_in",
    "name_in",
    "plain_name",
    "readers_of",
    "rebuild",
    "register",
    "run",
]
