"""How a program itself calls the functions that it defines."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Collection, Iterator
from types import CodeType, FrameType
from typing import Any

import numpy as np

__all__ = ["Example", "is_weights", "recorded"]

# So large may be what is kept of a call: it is computed with many times.
ELEMENTS = 20_000
PLAIN = (int, float, str, bool, type(None), np.integer, np.floating)

Example = dict[str, Any]


@contextlib.contextmanager
def recorded(files: Collection[str]) -> Iterator[dict[CodeType, Example]]:
    """The arguments of the first call of each function of some files that is given arrays.

    Parameters
    ----------
    files : collection of str
        Names of files, as code objects have them.
    """
    found: dict[CodeType, Example] = {}

    def look(frame: FrameType, event: str, _: Any) -> None:
        code = frame.f_code
        if event == "call" and code not in found and code.co_filename in files:
            given = {name: frame.f_locals.get(name) for name in code.co_varnames[: code.co_argcount]}
            arrays = any(is_weights(value) or isinstance(value, np.ndarray) for value in given.values())
            if arrays and all(map(_is_kept, given.values())):
                found[code] = {name: _copied(value) for name, value in given.items()}

    before = sys.getprofile()
    sys.setprofile(look)
    try:
        yield found
    finally:
        sys.setprofile(before)


def is_weights(value: Any) -> bool:
    """Whether a value is a dictionary of several arrays of real numbers."""
    return (
        isinstance(value, dict)
        and len(value) > 1
        and all(isinstance(key, str) and key.isidentifier() for key in value)
        and all(isinstance(one, np.ndarray) and one.dtype.kind == "f" for one in value.values())
    )


def _is_kept(value: Any) -> bool:
    if isinstance(value, np.ndarray):
        return bool(value.size <= ELEMENTS)
    if is_weights(value):
        return bool(sum(one.size for one in value.values()) <= ELEMENTS)
    if isinstance(value, dict):
        return all(isinstance(one, PLAIN) for one in value.values())
    return isinstance(value, PLAIN)


def _copied(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _copied(one) for key, one in value.items()}
    return value.copy() if isinstance(value, np.ndarray) else value
