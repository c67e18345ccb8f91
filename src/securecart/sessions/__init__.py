"""Sessions: who is shopping, as a token that only its holder knows.

Owns the DynamoDB table "sessions". A token is 256 random bits and is stored only as its SHA-256, so whoever reads
the table can impersonate nobody. A session ends when its shopper logs out or leaves it unused for its days;
use renews it, at most once a day. What it says of an account (name, staff) is what was true at log-in.
`Memory` knows, for reading only, what sessions said a moment ago while the table itself is away.
"""

from securecart.sessions.actions import TABLE, end, end_all_of, find, start_for, start_guest
from securecart.sessions.memory import Memory
from securecart.sessions.model import Session, csrf_matches, csrf_token

__all__ = ["TABLE", "Memory", "Session", "csrf_matches", "csrf_token", "end", "end_all_of", "find", "start_for", "start_guest"]
