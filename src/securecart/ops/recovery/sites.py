"""Where a shop's backups are, as its settings say."""

from __future__ import annotations

from securecart.engines import Home
from securecart.errors import RecoveryRefused
from securecart.ops.recovery.model import Site
from securecart.settings import FIRST_REGIONS, Settings
from securecart.stores.archive import open_archive

__all__ = ["OFF", "site_of"]

OFF = "off"
FOLDER = "archive"


def site_of(settings: Settings) -> Site:
    """The shop with its archive opened; `RecoveryRefused` when it keeps none, `ArchiveUnusable` when that cannot be used."""
    if settings.archive == OFF:
        raise RecoveryRefused(
            problem="Backup is switched off (SECURECART_ARCHIVE=off). Set SECURECART_ARCHIVE to a folder, to s3://BUCKET/PREFIX, "
            "or to nothing for a folder in the home, and start the shop again."
        )
    home = Home(settings.home_path)
    # a further region is a folder in the shop's home, and the shop has one archive
    shop = home.path if settings.region in FIRST_REGIONS else home.path.parent
    return Site(home, settings, open_archive(settings.archive or str(shop / FOLDER), settings.archive_key))
