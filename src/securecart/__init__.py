"""SecureCart: a commerce backend that puts each kind of data in the database that serves it best."""

from importlib.metadata import version

__version__ = version("securecart")
