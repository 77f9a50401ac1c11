"""Arrays in dicts, lists and tuples: taking them out, putting others in their place, putting everything back."""

from __future__ import annotations

import copy
import numbers
import sys
from collections.abc import Iterator, Mapping, MutableMapping, MutableSequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from backprop_doctor.errors import UsageError

__all__ = ["Leaf", "Places", "as_array", "has_numbers", "leaves", "partner"]

Array = NDArray[np.float64]

ACCEPTED = "arrays, numbers, or dicts, lists and tuples of them"


@dataclass(frozen=True)
class Leaf:
    """One array of a structure, with the keys that lead to it and a name to call it by."""

    keys: tuple[Any, ...]
    name: str
    value: Any

    @property
    def array(self) -> NDArray[Any]:
        """The leaf as numpy sees it."""
        return as_array(self.value)


def as_array(value: Any) -> NDArray[Any]:
    """A number, list of numbers, tensor, or anything with ``__array__`` as an array; shares memory where it can."""
    torch = sys.modules.get("torch")  # never imported here
    if torch is not None and isinstance(value, torch.Tensor):
        value = value.detach().cpu()
        if value.dtype == torch.bfloat16:
            value = value.float()
    return np.asarray(value)


def has_numbers(value: Any) -> bool:
    """Whether the value is an array, a number or a nested list of numbers."""
    if isinstance(value, numbers.Number):
        return not isinstance(value, bool)
    if hasattr(value, "__array__"):
        return as_array(value).dtype.kind in "fiucO"
    return isinstance(value, list) and bool(value) and _is_plain(value) and _is_regular(value)


def leaves(structure: Any, root: str) -> Iterator[Leaf]:
    """The arrays of a structure, in its order; what holds no numbers is passed over.

    Parameters
    ----------
    structure : array, number, dict, list or tuple
        Nested as deep as you like.
    root : str
        What the structure itself is called: the name of a bare array, and of items without a key.
    """
    yield from _leaves(structure, (), root)


def partner(structure: Any, keys: tuple[Any, ...]) -> Any:
    """What stands under the same keys in another structure, or None."""
    try:
        for key in keys:
            structure = structure[key]
    except (KeyError, IndexError, TypeError):
        return None
    return structure


class Places:
    """The places of the arrays of a structure, where values can be put and from where they are taken away again.

    Parameters
    ----------
    structure : array, number, dict, list or tuple
        Dicts and lists are filled in place, so that a function that reads them under another name sees it;
        tuples are rebuilt.
    found : list of Leaf
        Which of its leaves are exchanged.
    """

    def __init__(self, structure: Any, found: list[Leaf]) -> None:
        self._structure = structure
        self._found = {leaf.keys: i for i, leaf in enumerate(found)}
        self._leaves = found
        self._entries = list(_entries(structure))
        self._memories = [_memory(leaf.value) for leaf in found]
        self._contents = [None if memory is None else memory.copy() for memory in self._memories]
        self._lists = [_copied(leaf.value) for leaf in found]

    def writable(self, index: int) -> bool:
        """Whether the array's own memory can take values that are not whole numbers."""
        memory = self._memories[index]
        return isinstance(self._leaves[index].value, list) or (memory is not None and memory.dtype.kind == "f")

    def fill(self, values: list[Array], in_memory: frozenset[int]) -> Any:
        """Put values in all places, those of ``in_memory`` also into the arrays themselves; returns the structure."""
        for index in in_memory:
            memory, original = self._memories[index], self._leaves[index].value
            if memory is not None:
                np.copyto(memory, values[index], casting="same_kind")
            elif isinstance(original, list):
                _write(original, values[index].tolist())
        return self._filled(self._structure, (), values)

    def restore(self) -> None:
        """Put back every object that was there, with the contents that it had, bit for bit."""
        for container, key, value in self._entries:
            container[key] = value
        for leaf, memory, content, copied in zip(
            self._leaves, self._memories, self._contents, self._lists, strict=True
        ):
            if copied is not None:
                _write(leaf.value, copied)
            if memory is not None and content is not None and memory.tobytes() != content.tobytes():
                np.copyto(memory, content)

    def _filled(self, structure: Any, keys: tuple[Any, ...], values: list[Array]) -> Any:
        index = self._found.get(keys)
        if index is not None:
            return _like(values[index], self._leaves[index].value)
        if has_numbers(structure):
            return structure
        if isinstance(structure, (MutableMapping, MutableSequence)) and not _is_text(structure):
            pairs = structure.items() if isinstance(structure, MutableMapping) else enumerate(structure)
            for key, item in list(pairs):
                structure[key] = self._filled(item, (*keys, key), values)
            return structure
        if isinstance(structure, Mapping):
            return {key: self._filled(item, (*keys, key), values) for key, item in structure.items()}
        if isinstance(structure, tuple):
            items = [self._filled(item, (*keys, i), values) for i, item in enumerate(structure)]
            return type(structure)(*items) if hasattr(structure, "_fields") else tuple(items)
        return structure


def _leaves(structure: Any, keys: tuple[Any, ...], name: str) -> Iterator[Leaf]:
    if has_numbers(structure):
        array = as_array(structure)
        if array.dtype.kind == "O":
            try:
                structure = array.astype(np.float64)
            except (TypeError, ValueError) as error:
                raise UsageError(f"{name} holds objects that are no numbers; accepted are {ACCEPTED}") from error
        yield Leaf(keys, name, structure)
    elif isinstance(structure, Mapping):
        for key, item in structure.items():
            yield from _leaves(item, (*keys, key), f"{name}.{key}" if keys else str(key))
    elif isinstance(structure, (list, tuple)):
        for i, item in enumerate(structure):
            yield from _leaves(item, (*keys, i), f"{name}[{i}]")
    elif not keys:
        raise UsageError(f"{name} is a {type(structure).__name__}; accepted are {ACCEPTED}")


def _entries(structure: Any) -> Iterator[tuple[Any, Any, Any]]:
    """Container, key and value of everything that `Places.fill` may replace."""
    if has_numbers(structure) or _is_text(structure):
        return
    if isinstance(structure, (Mapping, list, tuple)):
        pairs = list(structure.items() if isinstance(structure, Mapping) else enumerate(structure))
        for key, item in pairs:
            if isinstance(structure, (MutableMapping, MutableSequence)):
                yield structure, key, item
            yield from _entries(item)


def _like(values: Array, original: Any) -> Any:
    """The values as the kind of thing that the function was given, with all its digits."""
    torch = sys.modules.get("torch")
    if torch is not None and isinstance(original, torch.Tensor):
        tensor = torch.from_numpy(values.copy()).to(original.device)
        return tensor.requires_grad_(original.requires_grad)
    if as_array(original).dtype.kind in "iu" and np.array_equal(values, as_array(original)):
        return copy.deepcopy(original)  # labels and sizes stay whole as long as they are not moved
    if isinstance(original, list):
        return values.tolist()
    if isinstance(original, np.generic):
        return values[()]
    if isinstance(original, numbers.Number):
        return float(values)
    return values.copy()


def _memory(value: Any) -> NDArray[Any] | None:
    """The memory of an array, where it can be written to."""
    if isinstance(value, (numbers.Number, list)) or not hasattr(value, "__array__"):
        return None
    array = as_array(value)
    return array if array.flags.writeable and array.dtype.kind in "fiu" else None


def _copied(value: Any) -> Any:
    if not isinstance(value, list):
        return None
    return [_copied(item) if isinstance(item, list) else item for item in value]


def _write(target: list[Any], values: list[Any]) -> None:
    for i, value in enumerate(values):
        if isinstance(value, list):
            _write(target[i], value)
        else:
            target[i] = value


def _is_plain(value: Any) -> bool:
    if isinstance(value, list):
        return bool(value) and all(map(_is_plain, value))
    return isinstance(value, (int, float)) and not isinstance(value, (bool, np.generic))


def _is_regular(value: list[Any]) -> bool:
    try:
        np.asarray(value, dtype=np.float64)
    except ValueError:  # rows of different lengths
        return False
    return True


def _is_text(value: Any) -> bool:
    return isinstance(value, (str, bytes, bytearray))
