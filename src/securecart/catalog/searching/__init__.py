"""Searching: from what a shopper typed and chose to a page of products, with counts to narrow it by.

Everything is answered from the shelf, the narrow table that imports derive from the catalogue. Text and filters are
one full-text query and so one index look-up; a broad filter without text walks an index in the order wanted and
takes its counts from those an import left behind.
"""

from securecart.catalog.searching.actions import search

__all__ = ["search"]
