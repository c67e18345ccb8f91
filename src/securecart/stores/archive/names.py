"""The names of archived objects: paths that mean the same in a folder and in a bucket, and lead nowhere else."""

from __future__ import annotations

import re

from securecart.errors import BadInput

__all__ = ["checked"]

NAME_BYTES_MAX = 900  # S3 takes 1,024 with the prefix
PART_BYTES_MAX = 255  # a file's name
SAFE = re.compile(r"^[A-Za-z0-9_=+:@-][A-Za-z0-9_.=+:@-]*(/[A-Za-z0-9_=+:@-][A-Za-z0-9_.=+:@-]*)*\Z")


def checked(name: str) -> str:
    """The name itself; `BadInput` when it is not one that every archive can keep."""
    if not SAFE.match(name) or len(name) > NAME_BYTES_MAX or max(map(len, name.split("/"))) > PART_BYTES_MAX:
        raise BadInput(
            field="name", problem=f"{name!r} cannot be a name in an archive: letters, digits and _-.=+:@ between slashes."
        )
    return name
