"""Work that is done side by side: the machine has more than one core, and products of arrays use one."""

from __future__ import annotations

import json
import os
import warnings
from collections.abc import Callable, Sequence
from typing import Any

__all__ = ["side_by_side"]

Work = Callable[[], Any]
_EXIT = os._exit


def side_by_side(works: Sequence[Work]) -> list[Any]:
    """Do several pieces of work, all but the last in forked children where the system has `os.fork`.

    Parameters
    ----------
    works : sequence of functions
        Each answers with plain data.

    Returns
    -------
    list
        The answers; None for work that failed in a child.
    """
    if not hasattr(os, "fork"):
        return [work() for work in works]
    children = [_started(work) for work in works[:-1]]
    try:
        last = [work() for work in works[-1:]]
    finally:
        answers = [_answer(*child) for child in children]
    return [*answers, *last]


def _started(work: Work) -> tuple[int, int]:
    """A child that does the work, and where it will write the answer."""
    reading, writing = os.pipe()
    with warnings.catch_warnings():
        # Our only other thread waits for the parent to end.
        warnings.simplefilter("ignore", DeprecationWarning)
        child = os.fork()
    if child == 0:
        try:
            os.close(reading)
            with os.fdopen(writing, "w") as stream:
                json.dump(work(), stream)
        finally:
            _EXIT(0)
    os.close(writing)
    return child, reading


def _answer(child: int, reading: int) -> Any:
    with os.fdopen(reading) as stream:
        text = stream.read()
    os.waitpid(child, 0)
    try:
        return json.loads(text)
    except ValueError:
        return None
