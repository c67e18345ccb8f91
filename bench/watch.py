"""What a shop takes of its machine: memory by process, room on the disk."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path

import psutil

__all__ = ["disk_mb", "memory_mb"]

MIB = 2**20


def memory_mb(pids: Mapping[str, Sequence[int]]) -> dict[str, float]:
    """Each process's own memory in MiB, with that of its children; what processes share (PostgreSQL's buffers) is left out.

    An engine of several processes is told by number, `web-1` and so on; one that has ended is left out.
    """
    found: dict[str, float] = {}
    for name, numbers in pids.items():
        for number, pid in enumerate(numbers, start=1):
            own = _own_memory(pid)
            if own:
                found[name if len(numbers) == 1 else f"{name}-{number}"] = round(own / MIB, 1)
    return found


def disk_mb(folder: Path) -> dict[str, float]:
    """Room that each folder within takes on the disk, in MiB."""
    return {each.name: round(_room(each) / MIB, 1) for each in sorted(folder.iterdir()) if each.is_dir()}


def _own_memory(pid: int) -> int:
    try:
        process = psutil.Process(pid)
        family = [process, *process.children(recursive=True)]
    except psutil.Error:
        return 0
    return sum(_private(one) for one in family)


def _private(process: psutil.Process) -> int:
    try:
        own: int = process.memory_full_info().uss
    except psutil.Error:
        return 0
    return own


def _room(folder: Path) -> int:
    total = 0
    for where, _, files in os.walk(folder):
        for name in files:
            try:
                total += os.lstat(Path(where) / name).st_blocks * 512
            except FileNotFoundError:
                continue  # a database throws files away as it goes
    return total
