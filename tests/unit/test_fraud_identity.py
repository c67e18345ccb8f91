"""What counts as the same person's mailbox, door and network, and what does not."""

from __future__ import annotations

from ipaddress import IPv6Address, ip_address, ip_network

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from securecart.fraud import address_key, email_key, network_key
from securecart.values import Address

HOME = Address("Ada Lovelace", "12 Main Street", "Springfield", "12345-678", "US", line2="Apartment 3")


@pytest.mark.parametrize("same", ["ada@example.com", " ADA@Example.COM ", "ada+shop@example.com", "ada+1+2@example.com"])
def test_spellings_of_one_mailbox(same: str) -> None:
    assert email_key(same) == "ada@example.com"


def test_dots_mean_nothing_at_some_and_something_elsewhere() -> None:
    assert email_key("a.d.a+x@googlemail.com") == email_key("ada@gmail.com")
    assert email_key("a.da@example.com") != email_key("ada@example.com")
    assert email_key("+@example.com") == "+@example.com", "all that there is stays"


@pytest.mark.parametrize(
    "change",
    [
        {"name": "Somebody Else"},
        {"city": "SPRINGFIELD"},
        {"line1": "12, main St."},
        {"line1": "Main street 12"},
        {"line1": "Máin Street 12"},
        {"line2": "flat #3"},
        {"postcode": "12345 678"},
    ],
)
def test_spellings_of_one_door(change: dict[str, str]) -> None:
    assert address_key(msgspec.structs.replace(HOME, **change)) == address_key(HOME)


@pytest.mark.parametrize(
    "change", [{"line1": "13 Main Street"}, {"line2": "Apartment 4"}, {"postcode": "12345-679"}, {"country": "CA"}, {"line2": ""}]
)
def test_other_doors(change: dict[str, str]) -> None:
    assert address_key(msgspec.structs.replace(HOME, **change)) != address_key(HOME)


def test_a_german_street_has_three_spellings() -> None:
    keys = {
        address_key(msgspec.structs.replace(HOME, line1=line1, line2=""))
        for line1 in ("Hauptstraße 5", "Hauptstr. 5", "HAUPTSTRASSE 5")
    }
    assert len(keys) == 1


@pytest.mark.parametrize(
    ("address", "network"),
    [
        ("203.0.113.77", "203.0.113.0/24"),
        ("::ffff:203.0.113.9", "203.0.113.0/24"),
        ("2001:db8:1:2::3", "2001:db8:1::/48"),
        ("127.0.0.1", None),
        ("::1", None),
        ("10.1.2.3", None),
        ("192.168.0.9", None),
        ("fe80::1", None),
        ("unknown", None),
        ("", None),
    ],
)
def test_networks(address: str, network: str | None) -> None:
    assert network_key(address) == network


@given(st.ip_addresses())
def test_a_network_holds_its_address(address: object) -> None:
    found = ip_address(str(address))
    key = network_key(str(address))
    if key is not None:
        mapped = found.ipv4_mapped if isinstance(found, IPv6Address) else None
        assert (mapped or found) in ip_network(key)


@given(st.text(alphabet=st.characters(max_codepoint=126)), st.emails())
def test_case_never_matters_and_a_mailboxs_key_is_its_own(line1: str, email: str) -> None:
    assert email_key(email_key(email)) == email_key(email)
    once = address_key(msgspec.structs.replace(HOME, line1=line1))
    assert once == address_key(msgspec.structs.replace(HOME, line1=line1.upper()))
