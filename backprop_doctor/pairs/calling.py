"""Calls with values that were made up: copies, what depends on what, how far a call came."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np

from backprop_doctor.errors import UsageError
from backprop_doctor.pairs.definitions import PROBLEMS, code_of
from backprop_doctor.pairs.fillings import Settings, Value, fresh, sample_axis, spelled
from backprop_doctor.pairs.ways import Way, is_better
from backprop_doctor.structures import as_array, has_numbers

__all__ = [
    "NO_ARGUMENTS",
    "_with_settings",
    "best_way",
    "copies",
    "first_output",
    "is_about_samples",
    "responds",
    "sizes_of",
]

SECONDS_EACH = 1.5
VIABLE = 12  # ways of calling that run, looked at closely, for each world
NO_ARGUMENTS = "no arguments were found with which it runs"

Attempt = Callable[[tuple[Value, ...], list[Any]], Way | None]


def best_way(
    worlds: Iterator[Iterator[tuple[Value, ...]]],
    names: Sequence[str],
    functions: Sequence[Any],
    attempt: Attempt,
    *,
    seed: int,
    until: float,
) -> Way | str:
    """The way of calling that makes most sense, or why there is none.

    Parameters
    ----------
    worlds : iterator of iterators of tuples of Value
        What may be given, the likeliest first.
    names : sequence of str
        What the arguments are called.
    functions : sequence of functions
        Those that are called, in the order in which they are.
    attempt : function of values and objects giving a Way
        Calls them once.  Gives None where nothing can be learnt, and raises what the program raises.
    seed : int
        Start of all randomness.
    until : float
        Thread time in seconds at which to stop.
    """
    until = min(until, time.thread_time() + SECONDS_EACH)
    best: Way | None = None
    ran, trouble, furthest = False, NO_ARGUMENTS, (0, 0)
    for world in worlds:
        viable = 0
        for values in world:
            if time.thread_time() > until or viable >= VIABLE:
                break
            generator = np.random.default_rng([seed, 29])
            given = [fresh(value, generator) for value in values]
            try:
                with np.errstate(all="ignore"):
                    way = attempt(values, given)
            except NotImplementedError:
                return ""
            except UsageError as error:
                ran, trouble = True, str(error)
                continue
            except PROBLEMS as error:
                place = reached(error, functions)
                if not ran and place > furthest:
                    furthest = place
                    said = ", ".join(map(spelled, names, given, values))
                    stops = f"it stops at line {place[1]}: {type(error).__name__}: {error}"
                    trouble = f"{NO_ARGUMENTS}; with {said} {stops}"
                continue
            if way is None:
                continue
            viable += 1
            ran = True
            if best is None or is_better(way, best):
                best = way
            if best.is_plain:
                return best
    return best or trouble


def responds(forward: Callable[..., Any], given: list[Any], values: Sequence[Value]) -> bool:
    """Whether a forward pass gives finite numbers that depend on what it is given."""
    first = first_output(forward(*_with_settings(given)))
    if first is None or not np.all(np.isfinite(first)) or not first.size:
        return False
    for i, value in enumerate(values):
        if value.kind in ("array", "number") or value.integer:
            moved = copies(given)
            moved[i] = moved[i][::-1] * (1 if value.integer else 0.9) if value.kind != "number" else moved[i] + 0.1
            second = first_output(forward(*_with_settings(moved)))
            if second is not None and (second.shape != first.shape or not np.array_equal(first, second)):
                return True
    return False


def is_about_samples(loss: Callable[..., Any], given: list[Any], values: Sequence[Value]) -> bool:
    """Whether a loss stays as it is when all samples change places together."""
    axes = [sample_axis(value) for value in values]
    if sum(axis is not None for axis in axes) < 2:
        return False
    turned = [
        value if axis is None else np.roll(value, 2, axis=axis) for value, axis in zip(copies(given), axes, strict=True)
    ]
    return bool(np.allclose(loss(*turned), loss(*copies(given)), rtol=1e-9, atol=0.0))


def first_output(result: Any) -> Any:
    """The first array that a forward pass returns, or None."""
    value = result[0] if isinstance(result, tuple) and result else result
    return as_array(value).astype(float) if has_numbers(value) else None


def copies(given: Sequence[Any]) -> list[Any]:
    """The same values, in arrays of their own."""
    return [value.copy() if isinstance(value, np.ndarray) else value for value in given]


def _with_settings(given: Sequence[Any]) -> list[Any]:
    """Copies, but for settings: these learn what they are asked."""
    return [
        value if isinstance(value, Settings) else copied for value, copied in zip(given, copies(given), strict=True)
    ]


def sizes_of(names: Sequence[str], given: Sequence[Any]) -> dict[str, int]:
    """What factors may be made of, by how a reader would write it."""
    sizes: dict[str, int] = {}
    for name, value in zip(names, given, strict=True):
        for axis, size in enumerate(np.shape(value)):
            sizes.setdefault(f"{name}.shape[{axis}]", size)
    return sizes


def reached(error: BaseException, functions: Sequence[Any]) -> tuple[int, int]:
    """How far a call came: in which of the functions, and to which line."""
    found = (0, 0)
    frame = error.__traceback__
    while frame is not None:
        for number, function in enumerate(functions, 1):
            if frame.tb_frame.f_code is code_of(function):
                found = max(found, (number, frame.tb_lineno))
        frame = frame.tb_next
    return found


def lines_run(function: Any, call: Callable[[], Any]) -> frozenset[int]:
    """The lines of a function that a call runs."""
    code = code_of(function)
    found: set[int] = set()

    def trace(frame: Any, event: str, argument: Any) -> Any:
        if frame.f_code is not code:
            return None
        found.add(frame.f_lineno)
        return trace

    before = sys.gettrace()
    sys.settrace(trace)
    try:
        call()
    except PROBLEMS:  # as far as it came
        pass
    finally:
        sys.settrace(before)
    return frozenset(found)
