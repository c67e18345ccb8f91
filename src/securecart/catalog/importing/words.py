"""How names become words to look up and slugs to link to."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable
from hashlib import blake2b

WORD = re.compile(r"[^\W\d_]{3,40}")
_NOT_IN_SLUGS = re.compile(r"[^a-z0-9]+")


def plain(text: str) -> str:
    """The text in lower case without accents."""
    if text.isascii():
        return text.lower()
    return "".join(sign for sign in unicodedata.normalize("NFKD", text.lower()) if not unicodedata.combining(sign))


def words(texts: Iterable[str]) -> list[str]:
    """Every word of at least three letters, in lower case without accents."""
    return [word for text in texts for word in WORD.findall(plain(text))]


def letters(word: str) -> str:
    """The word's letters in order, the same for words with letters swapped."""
    return "".join(sorted(word))


def slug_of(name: str) -> str:
    """The name as it can stand in an address; one without a Latin letter or digit gets its digest."""
    return _NOT_IN_SLUGS.sub("-", plain(name)).strip("-")[:80].strip("-") or blake2b(name.encode(), digest_size=6).hexdigest()
