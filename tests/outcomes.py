"""What a program of the rules' fixtures has come to at its end: all its arrays, and all numbers it printed."""

from __future__ import annotations

import io
import re
import sys
import types
from collections.abc import Iterator
from contextlib import redirect_stdout
from unittest import mock

import numpy as np
from numpy.typing import NDArray

__all__ = ["is_same_outcome", "outcome"]

NUMBER = re.compile(r"-?\d+\.?\d*(?:e[-+]?\d+)?|nan|inf")
DEPTH = 4
LOADERS = ("tensorflow", "tensorflow.keras", "tensorflow.keras.datasets", "keras", "keras.datasets")

Outcome = tuple[dict[str, NDArray[np.float64]], list[float]]


def outcome(text: str) -> Outcome:
    """Run a program as it is, from one start of all randomness, with a few images behind the usual loaders."""
    names: dict[str, object] = {"__name__": "__main__"}
    said = io.StringIO()
    np.random.seed(0)
    with mock.patch.dict(sys.modules, _loaders()), redirect_stdout(said), np.errstate(all="ignore"):
        exec(compile(text, "program.py", "exec"), names)
    arrays: dict[str, NDArray[np.float64]] = {}
    for name, value in names.items():
        if not name.startswith("_"):
            arrays.update(_arrays(name, value, 0))
    return arrays, [float(number) for number in NUMBER.findall(said.getvalue())]


def is_same_outcome(one: Outcome, other: Outcome) -> bool:
    """Whether two programs printed the same numbers, and the arrays that go by one name in both are the same."""
    shared = one[0].keys() & other[0].keys()
    return (
        bool(shared)
        and len(one[1]) == len(other[1])
        and np.allclose(one[1], other[1], rtol=1e-6, equal_nan=True)
        and all(_is_close(one[0][name], other[0][name]) for name in shared)
    )


def _is_close(one: NDArray[np.float64], other: NDArray[np.float64]) -> bool:
    return one.shape == other.shape and np.allclose(one, other, rtol=1e-6, atol=1e-9, equal_nan=True)


def _arrays(path: str, value: object, depth: int) -> Iterator[tuple[str, NDArray[np.float64]]]:
    if isinstance(value, np.ndarray) and value.dtype.kind == "f":
        yield path, value
    elif isinstance(value, (type, types.ModuleType, types.FunctionType)) or depth > DEPTH:
        return
    elif isinstance(value, (list, tuple)):
        for number, part in enumerate(value):
            yield from _arrays(f"{path}[{number}]", part, depth + 1)
    else:
        parts = value if isinstance(value, dict) else getattr(value, "__dict__", {})
        for key, part in parts.items():
            yield from _arrays(f"{path}.{key}", part, depth + 1)


def _loaders() -> dict[str, types.ModuleType]:
    rng = np.random.default_rng(2)
    sets = tuple((rng.integers(0, 256, (n, 28, 28)), rng.integers(0, 10, n)) for n in (97, 83))
    mnist = types.SimpleNamespace(load_data=lambda: sets)
    modules = {name: types.ModuleType(name) for name in LOADERS}
    for name, module in modules.items():
        parent, _, own = name.rpartition(".")
        if parent:
            setattr(modules[parent], own, module)
        if own == "datasets":
            module.mnist = mnist  # type: ignore[attr-defined]
    return modules
