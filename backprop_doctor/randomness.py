"""The same random numbers in every run of a program, and large arrays of them drawn only once.

What lies in memory that nobody has written to is chance too: new arrays without a content hold zeros.

A program is run a hundred times, and draws the same weights each time: of the functions that fill arrays from
numpy's global generator the answers are kept, by the state of the generator and the arguments.
"""

from __future__ import annotations

import functools
import itertools
import random
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import ModuleType
from typing import Any

import numpy as np

from backprop_doctor import libraries

__all__ = ["frozen_randomness"]

# Drawing so many numbers takes longer than looking them up; and how many are kept at most.
WORTH_KEEPING = 5_000
KEPT_NUMBERS = 4_000_000
FILLING = ("normal", "rand", "randn", "random", "random_sample", "standard_normal", "uniform")
# Clocks by the number of their units in a second.
_CLOCKS: dict[str, Any] = {
    "time": 1.0,
    "perf_counter": 1.0,
    "process_time": 1.0,
    "time_ns": 1_000_000_000,
    "perf_counter_ns": 1_000_000_000,
}


@contextmanager
def frozen_randomness(seed: int) -> Iterator[None]:
    """Make unseeded generators start at ``seed``, and clocks tick evenly; seeds the program sets stay in force.

    Memory that is handed out as it is holds zeros.
    """
    state, numpy_state = random.getstate(), np.random.get_state()
    saved = {name: getattr(np.random, name) for name in ("default_rng", "RandomState", "seed")}
    made = 0

    def fresh(first: Any) -> Any:
        nonlocal made
        if first is not None:
            return first
        made += 1
        return seed + made - 1

    # By the names that numpy gives these arguments.
    def default_rng(seed: Any = None) -> Any:
        return saved["default_rng"](fresh(seed))

    class RandomState(np.random.RandomState):
        def __init__(self, seed: Any = None) -> None:
            super().__init__(fresh(seed))

    def reseed(seed: Any = None) -> None:
        saved["seed"](fresh(seed))

    ticks = itertools.count(1)
    stand_ins: dict[tuple[ModuleType, str], Any] = {
        (np.random, name): function
        for name, function in {
            "default_rng": default_rng,
            "RandomState": RandomState,
            "seed": reseed,
            **_drawing,
        }.items()
    }
    for name, units in _CLOCKS.items():
        stand_ins[time, name] = lambda unit=units: 1_700_000_000 * unit + next(ticks) * (unit / 1000)
    for name in ("empty", "empty_like"):
        stand_ins[np, name] = _cleared(getattr(np, name))
    originals = {(module, name): getattr(module, name) for module, name in stand_ins}
    for (module, name), function in stand_ins.items():
        setattr(module, name, function)
    random.seed(seed)
    saved["seed"](seed)
    try:
        with libraries.frozen(seed):
            yield
    finally:
        for (module, name), function in originals.items():
            setattr(module, name, function)
        random.setstate(state)
        np.random.set_state(numpy_state)


def _cleared(function: Callable[..., Any]) -> Callable[..., Any]:
    """A function that makes arrays, the numbers in which are 0 and not what was in that place of memory before."""

    @functools.wraps(function)
    def make(*arguments: Any, **named: Any) -> Any:
        array = function(*arguments, **named)
        if isinstance(array, np.ndarray) and array.dtype.kind in "fiubc":
            array[...] = 0
        return array

    return make


class _Drawn:
    """Arrays that were drawn, and the state of the generator after each, by the state before and what was asked."""

    def __init__(self) -> None:
        self._known: dict[object, tuple[Any, Any]] = {}
        self._numbers = 0

    def drawing(self, function: Callable[..., Any]) -> Callable[..., Any]:
        """The function, which looks up what it would draw."""

        def draw(*arguments: Any, **named: Any) -> Any:
            asked = (*arguments, *named.items())
            if _product(asked) < WORTH_KEEPING:
                return function(*arguments, **named)
            state: Any = np.random.get_state()
            question = function.__name__, repr(asked), state[1].tobytes(), *state[2:]
            if question not in self._known:
                answer = function(*arguments, **named)
                if not isinstance(answer, np.ndarray) or self._numbers + answer.size > KEPT_NUMBERS:
                    return answer
                self._numbers += answer.size
                self._known[question] = answer, np.random.get_state()
            answer, after = self._known[question]
            np.random.set_state(after)
            return answer.copy()

        return draw


def _product(asked: Any) -> int:
    """The product of the whole numbers that were asked for, however deep: no array is larger; 0 if all is not plain."""
    if isinstance(asked, (tuple, list)):
        product = 1
        for one in asked:
            product *= _product(one)
        return product
    if isinstance(asked, (int, np.integer)):
        return max(int(asked), 1)
    return int(asked is None or isinstance(asked, (float, str)))


_drawn = _Drawn()
_drawing = {name: _drawn.drawing(getattr(np.random, name)) for name in FILLING}
