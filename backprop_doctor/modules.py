"""Modules of the user's: where they are looked for, and how they come in instrumented.

A program finds modules in its folder, as always; beyond that, in the folders above it up to the root of its
project, so that a file of a package may be checked although it is meant to be run from elsewhere.
"""

from __future__ import annotations

import ast
import importlib.abc
import importlib.machinery
import os
import sys
import sysconfig
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from types import CodeType, ModuleType
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from backprop_doctor.source import Project

__all__ = ["Compiled", "Modules", "folders_above", "package_of"]

MARKERS = (".git", "LICENSE", "README.md", "README.rst", "README.txt", "pyproject.toml", "requirements.txt", "setup.py")
LEVELS = 3
_STANDARD = tuple(os.path.realpath(sysconfig.get_path(name)) + os.sep for name in ("stdlib", "platstdlib"))
_OWN = os.path.dirname(os.path.realpath(__file__)) + os.sep
# What is found at these places is a library, not the user's, unless it is below the program's folder.
_INSTALLED = frozenset(map(os.path.realpath, sys.path))


class Compiled(Protocol):
    """A program, and the code of each of its modules."""

    source: Project

    def module(self, path: str) -> CodeType:
        """The code of a module."""


class Modules(importlib.abc.MetaPathFinder, importlib.abc.Loader):
    """Finds the user's modules during a run, and loads them instrumented; each run has them afresh.

    Parameters
    ----------
    instrumented : Compiled
        The program, which keeps the code of its modules.

    Attributes
    ----------
    loaded : function
        Called when a module has come in, before it is executed.
    """

    def __init__(self, instrumented: Compiled) -> None:
        self._instrumented = instrumented
        self.loaded: Callable[[], None] = lambda: None
        folder = Path(instrumented.source.path).resolve().parent
        self._above = [str(place) for place in folders_above(folder)]
        self._places = (str(folder), *self._above)
        self._beyond = _Beyond(self)
        self._before: set[str] = set()

    def __enter__(self) -> None:
        self._before = set(sys.modules)
        sys.meta_path.insert(0, self)
        sys.meta_path.append(self._beyond)

    def __exit__(self, *_: object) -> None:
        sys.meta_path.remove(self)
        sys.meta_path.remove(self._beyond)

    def forget(self) -> None:
        """Take the user's modules out of this process again."""
        for name in set(sys.modules) - self._before:
            if self._is_mine(sys.modules[name]):
                del sys.modules[name]

    def find_spec(self, name: str, path: Sequence[str] | None = None, target: Any = None) -> Any:
        """Claim a module that is the user's."""
        return self._claimed(importlib.machinery.PathFinder.find_spec(name, path))

    def find_above(self, name: str) -> Any:
        """A module or package in a folder above that of the program."""
        for place in self._above:
            spec = importlib.machinery.PathFinder.find_spec(name, [place])
            if spec is not None and (spec.origin or _holds_code(Path(place, name))):
                return self._claimed(spec) or spec
        return None

    def create_module(self, spec: Any) -> ModuleType | None:
        """Use the default module."""
        return None

    def exec_module(self, module: ModuleType) -> None:
        """Run the instrumented code of a module."""
        code = self._instrumented.module(str(module.__file__))
        self.loaded()
        exec(code, module.__dict__)

    def _claimed(self, spec: Any) -> Any:
        if spec is None or not (spec.origin or "").endswith(".py") or not self._is_users(spec.origin):
            return None
        spec.loader = self
        return spec

    def _is_users(self, origin: str) -> bool:
        full = os.path.realpath(origin)
        if "site-packages" in full or "dist-packages" in full or full.startswith((_OWN, *_STANDARD)):
            return False
        added = [place for place in map(os.path.realpath, sys.path) if place not in _INSTALLED]
        return any(full.startswith(place + os.sep) for place in (*self._places, *added))

    def _is_mine(self, module: ModuleType) -> bool:
        try:
            places = [getattr(module, "__file__", None) or "", *getattr(module, "__path__", ())]
        except KeyError:
            return True  # a part of a package without a file of its own, which has been forgotten already
        return any(isinstance(place, str) and place and self._is_users(place) for place in places)


class _Beyond(importlib.abc.MetaPathFinder):
    """The last finder: asked for what is nowhere else."""

    def __init__(self, modules: Modules) -> None:
        self._modules = modules

    def find_spec(self, name: str, path: Sequence[str] | None = None, target: Any = None) -> Any:
        """Look above the program's folder for packages of the same project."""
        return self._modules.find_above(name) if path is None else None


def folders_above(folder: Path) -> Iterator[Path]:
    """The folders above one, up to the root of its project."""
    home = Path.home()
    for _ in range(LEVELS):
        is_package = (folder / "__init__.py").exists()
        if not is_package and any((folder / marker).exists() for marker in MARKERS):
            return
        if folder.parent in (folder, home, Path(folder.anchor)):
            return
        folder = folder.parent
        yield folder


def package_of(project: Project) -> str | None:
    """The package a file belongs to if it imports relatively: what ``python -m`` would set."""
    levels = [node.level for node in ast.walk(project.main[0].tree) if isinstance(node, ast.ImportFrom)]
    if not any(levels):
        return None
    folder = Path(project.path).resolve().parent
    names = [folder.name]
    while (folder / "__init__.py").exists() or len(names) < max(levels):
        folder = folder.parent
        if not (folder / "__init__.py").exists() and len(names) >= max(levels):
            break
        names.insert(0, folder.name)
    return ".".join(names)


def _holds_code(folder: Path) -> bool:
    return folder.is_dir() and any(folder.glob("*.py"))
