"""Pairs whose weights are in a dictionary, under keys that tell nothing of their shapes.

Those of the cells of recurrent networks, say, cannot be made up; but what defines such a pair mostly calls it once,
to show what it gives, and so tells what it is to be called with.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from backprop_doctor.errors import UsageError
from backprop_doctor.layer_check import look_once
from backprop_doctor.layer_passes import required
from backprop_doctor.pairs.definitions import PROBLEMS, code_of
from backprop_doctor.pairs.examples import Example, is_weights
from backprop_doctor.pairs.fillings import Value
from backprop_doctor.pairs.partners import Pair
from backprop_doctor.pairs.ways import Way

__all__ = ["example_way"]


def example_way(pair: Pair, example: Example, *, seed: int) -> Way | None:
    """A pair called as the program does, with other numbers; None where that says nothing.

    Parameters
    ----------
    pair : Pair
        Two functions.
    example : dict of str to anything
        Arguments of the forward pass, arrays and a dictionary of arrays among them.
    seed : int
        Start of all randomness.
    """
    upstream = len(required(pair.backward)) - 1
    generator = np.random.default_rng([seed, 41])
    flat = {key: _drawn(one, generator) for key, one in _flattened(example).items()}
    forward = _of_arrays(pair.forward, example, list(flat), upstream)
    try:
        with np.errstate(all="ignore"):
            check = look_once((forward, pair.backward), *flat.values(), seed=seed)
            idle = [name for name in flat if not _moves(forward, flat, name)]
    except (*PROBLEMS, UsageError):
        return None
    verdicts = tuple(v for v in check.report.verdicts if v.kind != "missing" or v.name not in idle)
    rights = sum(verdict.verdict == "right" for verdict in verdicts)
    if 2 * rights < len(verdicts):
        return None
    said = ", ".join(f"{name} {np.shape(value)}" for name, value in flat.items() if isinstance(value, np.ndarray))
    return Way(
        names=tuple(flat),
        values=tuple(Value("array", np.shape(value)) for value in flat.values()),
        report=replace(check.report, verdicts=verdicts),
        words=f"{pair.forward.__name__}({said}), as the program does, and {pair.backward.__name__}",
        subject=pair.name,
        code=code_of(pair.backward),
        sure=True,
    )


def _of_arrays(function: Any, example: Example, names: Sequence[str], upstream: int) -> Callable[..., Any]:
    """A forward pass of arrays alone, which gives the outputs that something comes back of, and the cache."""

    def forward(*arrays: Any) -> Any:
        known = dict(zip(names, arrays, strict=True))
        given = [
            {key: known[key] for key in value} if is_weights(value) else known[name] for name, value in example.items()
        ]
        result = function(*given)
        return (*result[:upstream], result[-1])

    parameters = [inspect.Parameter(name, inspect.Parameter.POSITIONAL_OR_KEYWORD) for name in names]
    forward.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    return forward


def _moves(forward: Callable[..., Any], flat: Example, name: str) -> bool:
    """Whether an output hangs on an argument."""
    moved = {key: value + 0.1 if key == name else value for key, value in flat.items()}
    plain, other = forward(*flat.values())[:-1], forward(*moved.values())[:-1]
    return any(not np.array_equal(a, b) for a, b in zip(plain, other, strict=True))


def _flattened(example: Example) -> Example:
    flat: Example = {}
    for name, value in example.items():
        flat |= value if is_weights(value) else {name: value}
    return flat


def _drawn(value: Any, generator: np.random.Generator) -> Any:
    real = isinstance(value, np.ndarray) and value.dtype.kind == "f"
    return 0.5 * generator.standard_normal(value.shape) if real else value
