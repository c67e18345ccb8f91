"""When two e-mail addresses, parcels' addresses or networks count as the same: what a person can vary at no cost is taken out.

What comes out is a key to compare by, never shown and never written to.
"""

from __future__ import annotations

import hashlib
import re
import unicodedata
from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network

from securecart.values import Address

__all__ = ["address_key", "digest_of", "email_key", "network_key"]

# Domains whose mailboxes do not mind dots, and the name under which they are one.
WITHOUT_DOTS = {"gmail.com": "gmail.com", "googlemail.com": "gmail.com"}
SHORT = {
    "avenue": "ave", "boulevard": "blvd", "court": "ct", "drive": "dr", "lane": "ln", "place": "pl", "road": "rd",
    "square": "sq", "strasse": "st", "str": "st", "street": "st",
    "apartment": "apt", "flat": "apt", "unit": "apt", "suite": "ste", "floor": "fl", "building": "bldg",
}  # fmt: skip
# A word that ends in "street" without a space before it, as Germans write it.
ENDS_IN_STREET = re.compile(r"(?<=[a-z]{2})(strasse|str)$")
WORD = re.compile(r"[^\W\d_]+|\d+")
# Everybody behind a shop's own proxy or on its own machine would share one of these.
INSIDE = tuple(
    map(ip_network, ("10.0.0.0/8", "100.64.0.0/10", "127.0.0.0/8", "169.254.0.0/16", "172.16.0.0/12", "192.168.0.0/16"))
) + tuple(map(ip_network, ("::/127", "fc00::/7", "fe80::/10")))
PREFIX_V4, PREFIX_V6 = 24, 48


def email_key(email: str) -> str:
    """One key for all spellings that reach the same mailbox: case, what follows a plus, and dots where they mean nothing."""
    local, _, domain = unicodedata.normalize("NFKC", email).strip().casefold().rpartition("@")
    local = local.partition("+")[0] or local
    if domain in WITHOUT_DOTS:
        local, domain = local.replace(".", ""), WITHOUT_DOTS[domain]
    return f"{local}@{domain}"


def address_key(address: Address) -> str:
    """One key for all spellings of a door: country, postcode, and the words of the street in whatever order, shortened.

    Names are left out, since whoever orders for a ring gives many; so is the city, which the postcode says.
    """
    words = sorted({_short(word) for word in WORD.findall(f"{_plain(address.line1)} {_plain(address.line2)}")} - {""})
    postcode = "".join(WORD.findall(_plain(address.postcode)))
    return f"{address.country.upper()}|{postcode}|{' '.join(words)}"


def digest_of(key: str) -> str:
    """What the graph is told in place of a key that names a person, the same for the same key: 96 bits of SHA-256 in hex.

    It keeps mailboxes and doors out of the graph. It does not hide them from somebody who has a list of them to compare with.
    """
    return hashlib.sha256(key.encode()).hexdigest()[:24]


def network_key(address: str) -> str | None:
    """The /24 or /48 of an IP address; None for what is none, or is inside the shop's own network."""
    try:
        found: IPv4Address | IPv6Address = ip_address(address.strip())
    except ValueError:
        return None
    if isinstance(found, IPv6Address) and found.ipv4_mapped is not None:
        found = found.ipv4_mapped
    if any(found in inside for inside in INSIDE):
        return None
    return str(ip_network((int(found), PREFIX_V4) if isinstance(found, IPv4Address) else (int(found), PREFIX_V6), strict=False))


def _plain(text: str) -> str:
    """Lower case, without accents."""
    apart = unicodedata.normalize("NFKD", text.casefold())
    return "".join(sign for sign in apart if not unicodedata.combining(sign))


def _short(word: str) -> str:
    return SHORT.get(word) or ENDS_IN_STREET.sub("st", word)
