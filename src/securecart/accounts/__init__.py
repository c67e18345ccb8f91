"""Accounts: shoppers who come back, and the shop's staff.

Owns the tables account and account_address. A password is kept as its argon2id hash; hashing runs beside the
event loop and never while a database connection is held.
"""

from securecart.accounts.actions import addresses, authenticate, find, register, remember_address, set_staff
from securecart.accounts.model import Account
from securecart.accounts.passwords import hash_password

__all__ = ["Account", "addresses", "authenticate", "find", "hash_password", "register", "remember_address", "set_staff"]
