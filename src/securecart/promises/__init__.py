"""The shop's promises, checked against its databases: what was sold, what was paid, and what the shoppers were told.

Owns no table; it only reads. `look` holds one database against what it is told, a few statements over whole tables;
`check` asks the gateway's book and the event log's readers besides, and says in one report whether every promise of
docs/architecture.md is kept. The crash drill, the long bench and `securecart promises` share it.
"""

from securecart.promises.actions import check, look, look_at
from securecart.promises.book import Book, read_book
from securecart.promises.model import BROKEN, Finding, Report, State, Told

__all__ = ["BROKEN", "Book", "Finding", "Report", "State", "Told", "check", "look", "look_at", "read_book"]
