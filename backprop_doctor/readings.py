"""Tables of numbers that a program reads at the start of every run: parsed once, handed out as copies.

A check runs the program many times, and parsing a text takes longer than all that follows.  A reading is the same
as long as it is the same file, byte for byte as far as its time and size tell, read in the same way.
"""

from __future__ import annotations

import copy
import os
import time
from collections.abc import Callable
from typing import Any

import numpy as np

__all__ = ["Readings", "text_of"]

Array = np.ndarray[Any, Any]

# What takes less is read again; more than this is not kept.
SECONDS = 0.02
KEPT_BYTES = 600 * 2**20
ROWS = 2000
PLAIN = (str, bytes, int, float, bool, type, type(None), np.dtype)
SKIPPING = ("skiprows", "skip_header")


class Readings:
    """What has been read so far."""

    def __init__(self) -> None:
        self._kept: dict[tuple[Any, ...], Any] = {}
        self._known: dict[str, tuple[bool, Array]] = {}
        self._room = KEPT_BYTES

    def know(self, path: str, table: Array, *, header: bool) -> None:
        """Remember which numbers were written into a file, below a line of names or from the first line on."""
        self._known[path] = (header, table)

    def known(self, path: Any, *, header: bool) -> Array | None:
        """The numbers in a file that was written here, if it begins so."""
        has_header, table = self._known.get(path, (False, None)) if isinstance(path, str) else (False, None)
        return table if has_header is header else None

    def once(self, read: Callable[..., Any]) -> Callable[..., Any]:
        """A function that reads a file, which does so once for each file and way of reading it."""

        def reading(path: Any, *of: Any, **how: Any) -> Any:
            table = None if of else self._looked_up(path, how)
            if table is not None:
                return table
            key = _key(path, read, of, how)
            if key is None:
                return read(path, *of, **how)
            if key not in self._kept:
                started = time.perf_counter()
                value = read(path, *of, **how)
                size = _size(value)
                if time.perf_counter() - started < SECONDS or size > self._room:
                    return value
                self._room -= size
                self._kept[key] = value
            return copy.deepcopy(self._kept[key])

        return reading

    def _looked_up(self, path: Any, how: dict[str, Any]) -> Array | None:
        """What numpy's readers of text give of a file that was written here, if the way of reading is a plain one."""
        if not isinstance(path, str) or path not in self._known:
            return None
        header, table = self._known[path]
        how = {**how}
        skipped = [how.pop(name) for name in SKIPPING if name in how]
        dtype = how.pop("dtype", float)
        rows = sum(skipped) - header if all(isinstance(number, int) for number in skipped) else -1
        plain = dtype in (float, int, np.float32, np.float64, np.int64)
        if how != {"delimiter": ","} or rows < 0 or not plain:
            return None
        return table[rows:].astype(dtype)


def _size(value: Any) -> int:
    """Bytes of an array or of a data frame."""
    if isinstance(value, np.ndarray):
        return int(value.nbytes)
    usage = getattr(value, "memory_usage", None)
    return int(usage(deep=True).sum()) if usage is not None else KEPT_BYTES + 1


def _key(path: Any, read: Callable[..., Any], of: tuple[Any, ...], how: dict[str, Any]) -> tuple[Any, ...] | None:
    """What a reading depends on; None if that cannot be told."""
    values = [*of, *how.values()]
    parts = [part for value in values for part in (value if isinstance(value, (tuple, list, range)) else (value,))]
    if not isinstance(path, (str, os.PathLike)) or not all(isinstance(part, PLAIN) for part in parts):
        return None
    try:
        with open(path, "rb") as file:
            status = os.fstat(file.fileno())
    except (OSError, ValueError):
        return None
    file_now = (status.st_dev, status.st_ino, status.st_mtime_ns, status.st_size)
    return (getattr(read, "__qualname__", ""), *file_now, repr(of), repr(sorted(how.items())))


def text_of(table: Array) -> bytes:
    """Whole numbers from 0 to 255 as comma-separated lines.

    Parameters
    ----------
    table : ndarray of uint8, shape (rows, columns)
        The numbers.
    """
    blocks = [table[start : start + ROWS] for start in range(0, len(table), ROWS)]
    return b"".join(map(_lines, blocks))


def _lines(table: Array) -> bytes:
    characters = np.empty((*table.shape, 4), np.uint8)
    for place, unit in enumerate((100, 10, 1)):
        characters[..., place] = table // unit % 10 + ord("0")
    characters[..., 3] = ord(",")
    characters[:, -1, 3] = ord("\n")
    is_shown = np.ones(characters.shape, bool)
    is_shown[..., 0] = table >= 100
    is_shown[..., 1] = table >= 10
    return characters[is_shown].tobytes()
