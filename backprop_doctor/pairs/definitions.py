"""What a program defines: it is executed once, and its own functions and classes are taken out."""

from __future__ import annotations

import ast
import builtins
import contextlib
import inspect
import time
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from types import CodeType
from typing import Any

import numpy as np

from backprop_doctor.guards import Interrupted
from backprop_doctor.layer_passes import required
from backprop_doctor.modules import Modules, package_of
from backprop_doctor.pairs.anchors import Function, definition
from backprop_doctor.pairs.examples import Example, recorded
from backprop_doctor.program import Surroundings
from backprop_doctor.randomness import frozen_randomness
from backprop_doctor.source import Project, Source

__all__ = ["PROBLEMS", "Definitions", "arguments_of", "code_of", "executed", "needed"]

SECONDS_TO_RUN = 20.0
SECONDS_OF_A_PART = 8.0
PROBLEMS = (Exception, SystemExit)


@dataclass(frozen=True)
class Definitions:
    """The functions and classes of a program, without those that it imports, and ``examples`` of calling them."""

    source: Project
    functions: dict[str, Any]
    classes: list[type]
    examples: dict[CodeType, Example] = field(default_factory=dict)

    def example(self, function: Any) -> Example | None:
        """What the program itself gives to a function, if it calls it with arrays."""
        code = code_of(function)
        return self.examples.get(code) if code else None

    def syntax(self, function: Any) -> Function | None:
        """The definition of a function in the text of the program."""
        code = code_of(function)
        return definition(self.source, code) if code else None

    def choices(self, function: Any) -> dict[str, tuple[str, ...]]:
        """The texts that each argument of a function is compared with."""
        node = self.syntax(function)
        found: dict[str, dict[str, None]] = {}
        for part in ast.walk(node) if node else ():
            if isinstance(part, ast.Compare) and isinstance(part.left, ast.Name):
                for other in part.comparators:
                    if isinstance(other, ast.Constant) and isinstance(other.value, str):
                        found.setdefault(part.left.id, {})[other.value] = None
        return {name: tuple(texts) for name, texts in found.items()}


@contextlib.contextmanager
def executed(source: Project, surroundings: Surroundings | None, seed: int) -> Iterator[Definitions]:
    """What a program defines, for as long as the context lasts."""
    namespace: dict[str, Any] = {"__name__": "__main__", "__builtins__": builtins, "__doc__": None}
    if not source.is_notebook:
        namespace |= {"__file__": source.path, "__package__": package_of(source), "__spec__": None}
    modules = Modules(_Plain(source))

    def around(seconds: float) -> contextlib.AbstractContextManager[Any]:
        return surroundings(97, 83, seconds) if surroundings else contextlib.nullcontext()

    try:
        with modules, frozen_randomness(seed), np.errstate(all="ignore"):
            parts, until = list(source.main), time.monotonic() + SECONDS_TO_RUN
            # A part that waits for input or does not end has defined what stands above that, and others follow it.
            with recorded({part.name for part in parts}) as examples:
                while parts and time.monotonic() < until:
                    with contextlib.suppress(Interrupted), around(min(SECONDS_OF_A_PART, until - time.monotonic())):
                        _execute(parts, namespace)
            with around(SECONDS_TO_RUN):
                yield replace(_taken_out(source, namespace), examples=examples)
    finally:
        modules.forget()


def _execute(parts: list[Source], namespace: dict[str, Any]) -> None:
    """Execute parts of a program in turn, and take away each that was begun."""
    while parts:
        part = parts.pop(0)
        with contextlib.suppress(*PROBLEMS):
            exec(compile(part.tree, part.name, "exec", dont_inherit=True), namespace)


@dataclass
class _Plain:
    """The code of a program and of its modules, as it stands."""

    source: Project

    def module(self, path: str) -> CodeType:
        part = self.source.module(path)
        return compile(part.tree, part.name, "exec", dont_inherit=True)


def _taken_out(source: Project, namespace: dict[str, Any]) -> Definitions:
    own = {part.name for part in source.main}
    functions = {
        value.__name__: value
        for value in namespace.values()
        if inspect.isfunction(value) and value.__code__.co_filename in own and value.__name__ in namespace
    }
    classes = [
        value
        for name, value in namespace.items()
        if isinstance(value, type) and value.__name__ == name and value.__module__ == "__main__"
    ]
    return Definitions(source, functions, classes)


def code_of(function: Any) -> CodeType | None:
    """The code of a function, behind what wraps it."""
    return getattr(inspect.unwrap(function), "__code__", None)


def needed(function: Any) -> list[str]:
    """Names of the arguments that a function or a constructor has to be given, without ``self``."""
    if isinstance(function, type) and function.__init__ is object.__init__:  # type: ignore[misc]
        return []
    return required(function)


def arguments_of(function: Any) -> dict[str, Any]:
    """Names of the arguments with what they are by default."""
    try:
        return {name: p.default for name, p in inspect.signature(function).parameters.items()}
    except (TypeError, ValueError):
        return {}
