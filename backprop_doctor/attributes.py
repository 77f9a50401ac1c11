"""Arrays in the attributes of an object, however deep: finding them, changing them, copying the object."""

from __future__ import annotations

import copy
import inspect
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from backprop_doctor.structures import as_array, has_numbers

__all__ = ["Place", "arrays", "cloned", "is_float", "put", "spelled"]

Array = NDArray[np.float64]
Place = tuple[tuple[str, Any], ...]  # ("attribute", name) or ("item", key), from the object inwards

DEPTH = 5


def arrays(owner: Any) -> Iterator[tuple[Place, Array]]:
    """Arrays of floats in the attributes of an object, however deep, with the way to them."""
    yield from _walk(owner, (), set())


def _walk(value: Any, place: Place, seen: set[int]) -> Iterator[tuple[Place, Array]]:
    if id(value) in seen or len(place) > DEPTH:
        return
    if is_float(value) and np.ndim(value) > 0:
        yield place, as_array(value).astype(np.float64)
        return
    seen.add(id(value))
    if isinstance(value, Mapping):
        for key, item in list(value.items()):
            yield from _walk(item, (*place, ("item", key)), seen)
    elif isinstance(value, (list, tuple)):
        for key, item in enumerate(value):
            yield from _walk(item, (*place, ("item", key)), seen)
    elif not isinstance(value, type) and not callable(getattr(value, "__code__", None)):
        for name in _attributes(value):
            yield from _walk(getattr(value, name, None), (*place, ("attribute", name)), seen)


def _attributes(value: Any) -> list[str]:
    if type(value).__module__ in ("builtins", "numpy", "types") or inspect.ismodule(value):
        return []
    slots = [name for kind in type(value).__mro__ for name in getattr(kind, "__slots__", ()) if isinstance(name, str)]
    return [*getattr(value, "__dict__", {}), *(name for name in slots if hasattr(value, name))]


def put(owner: Any, place: Place, values: Array) -> None:
    """Put other values at a place, as the kind of thing that stands there."""
    for kind, key in place[:-1]:
        owner = owner[key] if kind == "item" else getattr(owner, key)
    kind, key = place[-1]
    if kind == "attribute":
        old = getattr(owner, key)
        setattr(owner, key, values.tolist() if isinstance(old, list) else values.copy())
    elif not isinstance(owner, tuple):
        owner[key] = values.tolist() if isinstance(owner[key], list) else values.copy()


def spelled(place: Place) -> str:
    """A place as one would write it after the name of the object: ``grads['W']``."""
    text = ""
    for kind, key in place:
        text += f".{key}" if kind == "attribute" else f"[{key!r}]"
    return text.removeprefix(".")


def cloned(layer: Any) -> Any:
    """A copy that shares no array with the original."""
    try:
        return copy.deepcopy(layer)
    except Exception:  # a file, a lock or a generator somewhere inside: shared, all else copied
        clone = copy.copy(layer)
        for name, value in list(getattr(layer, "__dict__", {}).items()):
            setattr(clone, name, _copied(value))
        return clone


def _copied(value: Any) -> Any:
    try:
        return copy.deepcopy(value)
    except Exception:
        return value


def is_float(value: Any) -> bool:
    """Whether a value holds floats, and so can be differentiated."""
    return has_numbers(value) and as_array(value).dtype.kind == "f"
