"""Other arrays, each kind seen as a plain one: tensors of PyTorch, frames of pandas, the likes of CuPy, matrices.

What takes the place of such an array is made into its kind again.  None of the libraries is imported here, but
PyTorch where a program speaks of it: it has randomness of its own that has to be frozen from the first run on.
"""

from __future__ import annotations

import contextlib
import importlib
import re
import sys
from collections.abc import Hashable, Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["Kind", "frozen", "kind_of", "prepare"]

Array = NDArray[Any]


class Kind:
    """A kind of array whose library has ``asarray``, such as CuPy's."""

    def __init__(self, library: Any) -> None:
        self._library = library

    def numpy(self, value: Any) -> Array | float | int:
        """The numbers of an array, or the number of one without axes; raises what the library raises."""
        array = np.asarray(value.get() if callable(getattr(value, "get", None)) else value)
        return array if array.ndim else array.item()

    def like(self, value: Any, array: Any) -> Any:
        """Another array of the kind of ``value``."""
        return self._library.asarray(array)

    def write(self, value: Any, array: Any) -> None:
        """Change an array in place."""
        value[...] = self.like(value, array)

    def place(self, value: Any) -> Hashable:
        """What two arrays have in common that are one and the same."""
        return id(value)


class _Tensors(Kind):
    def numpy(self, value: Any) -> Array | float | int:
        array = value.detach().cpu().numpy()
        return array if array.ndim else array.item()  # type: ignore[no-any-return]

    def like(self, value: Any, array: Any) -> Any:
        kind = self._library.float64 if value.is_floating_point() else value.dtype
        new = self._library.as_tensor(np.array(array), dtype=kind, device=value.device)
        if isinstance(value, self._library.nn.Parameter):
            return self._library.nn.Parameter(new, requires_grad=value.requires_grad)
        return new.requires_grad_() if value.requires_grad and value.is_leaf else new

    def write(self, value: Any, array: Any) -> None:
        with self._library.no_grad():
            value.copy_(self.like(value, array))

    def place(self, value: Any) -> Hashable:
        # Each reading of ``p.data`` makes another object of the same numbers.
        return ("tensor", value.data_ptr(), tuple(value.shape), value.stride())


class _Frames(Kind):
    def numpy(self, value: Any) -> Array | float | int:
        return np.asarray(value.to_numpy())

    def like(self, value: Any, array: Any) -> Any:
        labels = {"columns": value.columns} if value.ndim == 2 else {"name": value.name}
        return type(value)(np.asarray(array), index=value.index, **labels)

    def write(self, value: Any, array: Any) -> None:
        value.iloc[...] = array


class _Matrices(Kind):
    """numpy's matrices, whose ``*`` is a product of matrices."""

    def numpy(self, value: Any) -> Array | float | int:
        return np.asarray(value)

    def like(self, value: Any, array: Any) -> Any:
        return np.asmatrix(array)


def kind_of(type_: type) -> Kind | None:
    """The kind of array a type is, or None if it is numpy's or no array."""
    if type_ not in _kinds:
        _kinds[type_] = _kind_of(type_)
    return _kinds[type_]


_kinds: dict[type, Kind | None] = {}


def _kind_of(type_: type) -> Kind | None:
    names = {base.__name__ for base in type_.__mro__}
    top = type_.__module__.partition(".")[0]
    library = sys.modules.get(top)
    if issubclass(type_, np.matrix):
        return _Matrices(library)
    if library is None or issubclass(type_, (np.ndarray, np.generic)):
        return None
    if "Tensor" in names and hasattr(library, "as_tensor"):
        return _Tensors(library)
    if top == "pandas" and type_.__name__ in ("DataFrame", "Series"):
        return _Frames(library)
    duck = all(hasattr(type_, name) for name in ("shape", "dtype", "ndim", "__matmul__", "__getitem__"))
    return Kind(library) if duck and hasattr(library, "asarray") else None


def prepare(text: str) -> None:
    """Import what a program will import, and what has to be there before its first run."""
    if re.search(r"^\s*(import|from)\s+torch\b", text, re.MULTILINE):
        with contextlib.suppress(Exception):
            importlib.import_module("torch")


@contextlib.contextmanager
def frozen(seed: int) -> Iterator[None]:
    """Start the randomness of libraries that are loaded at ``seed``, and let them compute in double precision."""
    torch = sys.modules.get("torch")
    if not hasattr(torch, "set_default_dtype"):
        yield
        return
    assert torch is not None
    state, kind = torch.get_rng_state(), torch.get_default_dtype()
    torch.manual_seed(seed)
    torch.set_default_dtype(torch.float64)
    try:
        yield
    finally:
        torch.set_default_dtype(kind)
        torch.set_rng_state(state)
