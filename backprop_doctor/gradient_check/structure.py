"""Parameters as people keep them: arrays, numbers and tensors in dicts, lists and tuples, however nested.

A structure is taken apart into leaves, each with the name it goes by, and put together again with other
values in their places.  Nothing here changes what it is given.
"""

from __future__ import annotations

import copy
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from backprop_doctor.errors import UsageError

__all__ = ["Array", "Leaf", "array_of", "leaves", "like", "lookup", "precision", "rebuild"]

Array = NDArray[np.float64]
Key = Any

PREFIXES = ("d", "d_", "grad_", "g_", "grad", "delta_")
SUFFIXES = ("_grad", "_gradient", "grad")


@dataclass(frozen=True)
class Leaf:
    """One array or number of a structure: its name, the keys that lead to it, and itself."""

    name: str
    path: tuple[Key, ...]
    value: Any


def leaves(structure: Any, name: str = "") -> list[Leaf]:
    """Every array and number of a structure, in its order."""
    return list(_leaves(structure, name, ()))


def _leaves(value: Any, name: str, path: tuple[Key, ...]) -> Iterator[Leaf]:
    if isinstance(value, Mapping):
        items = [(key, value[key]) for key in value]
    elif isinstance(value, (list, tuple)) and not _is_table(value):
        keys = getattr(value, "_fields", range(len(value)))
        items = list(zip(keys, value))
    else:
        yield Leaf(name or "x", path, value)
        return
    for number, (key, item) in enumerate(items):
        step = number if isinstance(value, tuple) else key
        yield from _leaves(item, _join(name, key), (*path, step))


def _join(name: str, key: Key) -> str:
    if isinstance(key, str):
        return f"{name}.{key}" if name else key
    return f"{name}[{key!r}]"


def _is_table(value: Any) -> bool:
    """Whether lists hold nothing but numbers, as in programs that do without arrays."""
    if not value or not isinstance(value, (list, tuple)) or hasattr(value, "_fields"):
        return False
    if all(isinstance(item, (float, int)) for item in value):
        return True
    if not all(isinstance(item, (list, tuple)) for item in value):
        return False
    return all(_is_table(item) and len(item) == len(value[0]) for item in value)


def array_of(value: Any, name: str) -> Array:
    """A copy as float64.

    Raises
    ------
    UsageError
        If it is complex, or no array of numbers.
    """
    if _is_tensor(value):
        value = value.detach().cpu()
        value = (value.double() if value.is_floating_point() else value).numpy()
    try:
        array = np.asarray(value)
        if array.dtype.kind == "c":
            raise UsageError(f"{name} is {array.dtype}: complex arrays are not supported, give real and imaginary part")
        if array.dtype.kind not in "fiubO":
            raise TypeError
        return np.array(array, dtype=np.float64)
    except (TypeError, ValueError):
        kind = getattr(getattr(value, "dtype", None), "name", type(value).__name__)
        raise UsageError(f"{name} is {kind}: arrays, numbers or tensors of real numbers are accepted") from None


def precision(value: Any) -> float:
    """Relative spacing of the numbers a value is made of, at least that of float64."""
    kind = str(getattr(value, "dtype", ""))
    digits = {"float32": 2.0**-23, "float16": 2.0**-10, "bfloat16": 2.0**-7}
    return next((digits[word] for word in ("bfloat16", "float16", "float32") if word in kind), 2.0**-52)


def like(value: Any, array: Array, *, keep_precision: bool = False) -> Any:
    """An array in the form of a value: tensor, list of numbers, number, matrix; in float64 unless kept."""
    if _is_tensor(value):
        torch: Any = sys.modules["torch"]
        kind = value.dtype if keep_precision else torch.float64
        tensor = torch.as_tensor(array.copy(), dtype=kind, device=value.device)
        return tensor.requires_grad_(value.requires_grad)
    if isinstance(value, (list, tuple)):
        return _table(value, array.tolist())
    if isinstance(value, (float, int)) or not hasattr(value, "__array__"):
        return float(array) if not isinstance(value, np.generic) else array[()]
    if isinstance(value, np.generic):
        return array.astype(value.dtype)[()] if keep_precision else array[()]
    fresh = array.astype(getattr(value, "dtype", np.float64)) if keep_precision else array.copy()
    if isinstance(value, np.matrix):
        return np.asmatrix(fresh)
    return fresh


def _table(value: Any, rows: Any) -> Any:
    if isinstance(value, (list, tuple)):
        return type(value)(_table(item, row) for item, row in zip(value, rows))
    return rows


def rebuild(structure: Any, replacements: Mapping[tuple[Key, ...], Any]) -> Any:
    """The structure with other leaves: ``replacements`` by path; what is not named there stays."""
    return _rebuild(structure, replacements, ())


def _rebuild(value: Any, replacements: Mapping[tuple[Key, ...], Any], path: tuple[Key, ...]) -> Any:
    if path in replacements:
        return replacements[path]
    if isinstance(value, Mapping):
        fresh = copy.copy(value)
        for key in value:
            fresh[key] = _rebuild(value[key], replacements, (*path, key))  # type: ignore[index]
        return fresh
    if isinstance(value, (list, tuple)):
        items = [_rebuild(item, replacements, (*path, i)) for i, item in enumerate(value)]
        return type(value)(*items) if hasattr(value, "_fields") else type(value)(items)
    return value


def lookup(gradients: Any, leaf: Leaf, parameters: Any) -> Any:
    """The gradient that stands where the leaf stands, or goes by its name; None if there is none."""
    found = gradients
    for depth, key in enumerate(leaf.path):
        if isinstance(found, Mapping):
            found = _named(found, key if isinstance(key, str) or depth else leaf.name)
        elif isinstance(found, (list, tuple)) or hasattr(found, "__len__"):
            position = key if isinstance(key, int) else _position(parameters, leaf.path[: depth + 1])
            found = found[position] if position is not None and position < len(found) else None
        else:
            return None
        if found is None:
            return None
    if isinstance(found, Mapping) and not leaf.path:
        return _named(found, leaf.name)
    if isinstance(found, (list, tuple)) and len(found) == 1 and not isinstance(leaf.value, (list, tuple)):
        return found[0]
    return found


def _named(gradients: Mapping[Any, Any], key: Any) -> Any:
    """The entry of that key, or of a key that usually stands for its gradient."""
    if key in gradients:
        return gradients[key]
    candidates = [f"{prefix}{key}" for prefix in PREFIXES] + [f"{key}{suffix}" for suffix in SUFFIXES]
    return next((gradients[name] for name in candidates if name in gradients), None)


def _position(parameters: Any, path: tuple[Key, ...]) -> int | None:
    for key in path[:-1]:
        parameters = parameters[key]
    keys = list(parameters)
    return keys.index(path[-1]) if path[-1] in keys else None


def _is_tensor(value: Any) -> bool:
    return "torch" in sys.modules and isinstance(value, sys.modules["torch"].Tensor)
