"""A form that somebody filled in: what was typed, and what is wrong with which field."""

from __future__ import annotations

import re
from typing import Any

from securecart.errors import BadInput
from securecart.values import Address
from securecart.web.countries import COUNTRIES
from securecart.web.storefront.pages import AnyRequest

__all__ = ["Form", "address_in", "check_address", "check_email", "fill", "local_path", "read"]

EMAIL = re.compile(r"^[^@\s]+@[^@\s]+\.[^@\s]+$")
EMAIL_LENGTH_MAX = 254

# Each field of an address: what its absence is called, and how long it may be. The first rows are required.
REQUIRED = {
    "name": ("Fill in the full name.", 200),
    "line1": ("Fill in the street and number.", 200),
    "postcode": ("Fill in the postcode.", 20),
    "city": ("Fill in the town or city.", 200),
}
OPTIONAL = {"line2": 200, "region": 100}


class Form:
    """The values by field name, and a sentence for each field that cannot stay as it is ("" for the whole form)."""

    def __init__(self, values: dict[str, str] | None = None) -> None:
        self.values = values or {}
        self.errors: dict[str, str] = {}

    @property
    def headline(self) -> str:
        """How much there is to mend."""
        fields = [name for name in self.errors if name]
        if len(fields) == len(self.errors):
            return "One field needs another look" if len(fields) == 1 else f"{len(fields)} fields need another look"
        return "That did not work"

    @property
    def shown(self) -> set[str]:
        """The fields that a link can lead to."""
        return {name for name in self.errors if name}

    def refuse(self, error: BadInput, fields: set[str]) -> None:
        """Put the error beside its field, or above the form when the form has no such field."""
        name = (error.field or "").rpartition(".")[2]
        self.errors[name if name in fields else ""] = error.message


async def read(request: AnyRequest) -> Form:
    """The form that was sent, each value without space around it (a password as it is)."""
    sent: Any = await request.form()
    return Form({name: _text(name, sent.get(name)) for name in sent})


def fill(address: Address | None) -> dict[str, str]:
    """An address as the values of a form."""
    return {} if address is None else {name: getattr(address, name) for name in (*REQUIRED, *OPTIONAL, "country")}


def check_email(form: Form) -> None:
    """Note an e-mail address that is missing or cannot be one."""
    email = form.values.get("email", "")
    if not email:
        form.errors["email"] = "Fill in your e-mail address."
    elif not EMAIL.match(email) or len(email) > EMAIL_LENGTH_MAX:
        form.errors["email"] = "This does not look like an e-mail address; it should be like name@example.com."


def check_address(form: Form) -> None:
    """Note each field of the address that is missing or too long."""
    for name, (missing, length_max) in REQUIRED.items():
        if not form.values.get(name):
            form.errors[name] = missing
        _check_length(form, name, length_max)
    for name, length_max in OPTIONAL.items():
        _check_length(form, name, length_max)
    if form.values.get("country") not in COUNTRIES:
        form.errors["country"] = "Choose a country from the list."


def address_in(form: Form) -> Address:
    """The address that was typed; check it first."""
    return Address(**{name: form.values.get(name, "") for name in (*REQUIRED, *OPTIONAL, "country")})


def local_path(path: str, otherwise: str) -> str:
    """The path when it stays inside this shop, else the other: a link must not send people elsewhere."""
    return path if re.match(r"^/(?![/\\])[^\s\\]*$", path) else otherwise


def _check_length(form: Form, name: str, length_max: int) -> None:
    if len(form.values.get(name, "")) > length_max:
        form.errors[name] = f"Shorten this to {length_max} characters."


def _text(name: str, value: Any) -> str:
    text = value if isinstance(value, str) else ""
    return text if name == "password" else text.strip()
