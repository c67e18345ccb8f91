"""The event log: facts written inside the transaction that made them true, read in order by readers with cursors.

Owns the tables event and reader. `publish` is part of the caller's transaction: a fact is there exactly when what it
tells of is. A reader takes what lies behind its place with `read_batch` and then moves there; `open_line` wakes it and
says whose turn it is; a `Lookout` knows how far every reader has come.
"""

from securecart.stores.postgres.log.actions import (
    horizon,
    move,
    newest,
    place_of,
    publish,
    read_batch,
    register,
    standings,
    tend,
)
from securecart.stores.postgres.log.line import Line, open_line
from securecart.stores.postgres.log.lookout import Lookout
from securecart.stores.postgres.log.model import BEGINNING, Batch, Place, Standing

__all__ = [
    "BEGINNING",
    "Batch",
    "Line",
    "Lookout",
    "Place",
    "Standing",
    "horizon",
    "move",
    "newest",
    "open_line",
    "place_of",
    "publish",
    "read_batch",
    "register",
    "standings",
    "tend",
]
