"""What belongs together: a function and its backward pass or derivative, by their names and by how they are called."""

from __future__ import annotations

import functools
import inspect
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from backprop_doctor.pairs.definitions import Definitions, arguments_of, needed

__all__ = ["Pair", "named_pairs", "strangers"]

FORWARD = frozenset({"forward", "fwd", "fprop", "feedforward", "loss", "propagation"})
BACKWARD = frozenset(
    {"backward", "backwards", "bwd", "back", "bprop", "backprop", "grad", "gradient", "derivative", "derivate", "deriv",
     "differentiate", "prime", "d", "der"}
)  # fmt: skip
STRANGERS = 40  # pairs of functions whose names do not belong together


@dataclass(frozen=True)
class Pair:
    """A function and what may be its backward pass; methods of ``owner`` if there is one."""

    name: str
    forward: Any
    backward: Any
    owner: type | None = None
    related: bool = True  # by their names
    flag: str = ""  # the argument that asks for the derivative

    @property
    def words(self) -> str:
        """The pair as the report calls it."""
        return self.name if self.owner else f"{self.forward.__name__} and {self.backward.__name__}"

    @property
    def made(self) -> list[str]:
        """Arguments that make the object."""
        return needed(self.owner) if self.owner else []

    @property
    def given(self) -> list[str]:
        """Arguments of the forward pass."""
        names = needed(self.forward)
        return names[1:] if self.owner and not self.is_static else names

    @property
    def is_static(self) -> bool:
        """Whether the forward pass needs no object."""
        return self.owner is not None and isinstance(
            inspect.getattr_static(self.owner, self.forward.__name__, None), staticmethod
        )


def named_pairs(defined: Definitions) -> Iterator[Pair]:
    """Pairs of functions, of methods, and functions that are their own derivative when asked."""
    for backward in defined.functions.values():
        forward = _partner(backward.__name__, defined.functions)
        if forward is not None:
            yield Pair(forward.__name__, forward, backward)
    for function in defined.functions.values():
        flag = _flag(function)
        if flag:
            yield Pair(function.__name__, function, _flagged(function, flag), flag=flag)
    for owner in defined.classes:
        # What others are made from is checked with them.
        if not any(owner in other.__mro__[1:] for other in defined.classes):
            yield from _methods(owner)


def strangers(functions: Sequence[Any]) -> Iterator[Pair]:
    """Pairs that no name tells."""
    tries = 0
    for i, forward in enumerate(functions):
        for backward in (*functions[i + 1 :], *functions[:i]):
            tries += 1
            if tries > STRANGERS:
                return
            yield Pair(forward.__name__, forward, backward, related=False)


def _methods(owner: type) -> Iterator[Pair]:
    methods = {
        name: inspect.unwrap(value.__func__) if isinstance(value, staticmethod) else value
        for kind in reversed(owner.__mro__[:-1])
        for name, value in vars(kind).items()
        if (inspect.isfunction(value) or isinstance(value, staticmethod))
        and (not name.startswith("_") or name == "__call__")
    }
    for backward in methods.values():
        forward = _partner(backward.__name__, methods)
        if forward is None and set(_words(backward.__name__)) <= BACKWARD:
            forward = methods.get("forward") or methods.get("__call__") or _only_other(backward, methods)
        if forward is not None:
            yield Pair(owner.__name__, forward, backward, owner)


def _only_other(backward: Any, methods: dict[str, Any]) -> Any:
    """The one other method that takes as much, of a class of two."""
    others = [m for m in methods.values() if m is not backward and len(needed(m)) == len(needed(backward))]
    return others[0] if len(others) == 1 == len(methods) - 1 else None


def _partner(name: str, functions: dict[str, Any]) -> Any:
    """The function that another one is the backward pass of, by its name."""
    words = _words(name)
    if not set(words) & BACKWARD:
        whole = name.removeprefix("d")
        return functions.get(whole) if whole != name else None
    stem = [word for word in words if word not in BACKWARD and word not in FORWARD]
    found = []
    for other, function in functions.items():
        others = _words(other)
        if other == name or set(others) & BACKWARD:
            continue
        rest = [word for word in others if word not in FORWARD]
        if rest == stem or (rest and stem[: len(rest)] == rest and set(others) & FORWARD):
            found.append((rest != stem, not set(others) & FORWARD, function))
    return min(found, key=lambda item: item[:2])[2] if found else None


def _flag(function: Any) -> str | None:
    """The argument that asks a function for its derivative, if it has one."""
    flags = [
        name
        for name, default in arguments_of(function).items()
        if default is False and set(_words(name)) & BACKWARD and len(needed(function)) == 1
    ]
    return flags[0] if flags else None


def _flagged(function: Any, flag: str) -> Any:
    @functools.wraps(function)
    def derivative(value: Any) -> Any:
        return function(value, **{flag: True})

    derivative.__name__ = f"{flag}=True"
    derivative.__signature__ = inspect.Signature(  # type: ignore[attr-defined]
        [inspect.Parameter(needed(function)[0], inspect.Parameter.POSITIONAL_OR_KEYWORD)]
    )
    return derivative


def _words(name: str) -> list[str]:
    return [word.lower() for word in re.findall(r"[A-Z]?[a-z]+|[A-Z]+(?![a-z])|\d+", name)]
