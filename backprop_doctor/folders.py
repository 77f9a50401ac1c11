"""Which files of a folder are programs, and which are only modules of others."""

from __future__ import annotations

import ast
import os
import tokenize
from collections.abc import Iterator, Sequence

__all__ = ["programs_of"]

# Files that install, test or only open a package; they train nothing.
TOOLING = frozenset({"setup.py", "conftest.py", "noxfile.py", "__init__.py"})


def programs_of(files: Sequence[str]) -> list[str]:
    """The files to check by themselves: those that do something when run, or that no other of them imports.

    Parameters
    ----------
    files : sequence of str
        All Python files and notebooks of a folder; where all of them are modules of each other, all are checked.
    """
    trees = {path: tree for path in files if (tree := _tree(path)) is not None}
    places = {os.path.abspath(path): path for path in files}
    imported = {places[found] for path, tree in trees.items() for found in _imports(path, tree) if found in places}
    found = []
    for path in files:
        tree = trees.get(path)
        if os.path.basename(path) in TOOLING and tree is not None and not _acts(tree):
            continue
        if path not in imported or tree is None or _acts(tree):
            found.append(path)
    return found or list(files)


def _tree(path: str) -> ast.Module | None:
    """The syntax tree of a file; None where there is none, which the check of the file will tell."""
    if not path.endswith(".py"):
        return None
    try:
        with tokenize.open(path) as stream:
            return ast.parse(stream.read())
    except (OSError, SyntaxError, ValueError, RecursionError):
        return None


def _imports(path: str, tree: ast.Module) -> Iterator[str]:
    """Absolute paths of the files that may be meant by the imports of a file."""
    folder = os.path.dirname(os.path.abspath(path))
    above = [folder]
    while len(above) < 4 and os.path.dirname(above[-1]) != above[-1]:
        above.append(os.path.dirname(above[-1]))
    own = os.path.abspath(path)
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names, bases = [alias.name for alias in node.names], above
        elif isinstance(node, ast.ImportFrom):
            module = node.module or ""
            names = [module, *(f"{module}.{alias.name}".strip(".") for alias in node.names)]
            bases = above[node.level - 1 : node.level] if node.level else above
        else:
            continue
        for name in filter(None, names):
            for base in bases:
                stem = os.path.join(base, *name.split("."))
                for candidate in (f"{stem}.py", os.path.join(stem, "__init__.py")):
                    if candidate != own:
                        yield candidate


def _acts(tree: ast.Module) -> bool:
    """Whether running the file does more than define things: a loop, a ``__main__`` block, a call of its own."""
    own = {node.name for node in tree.body if isinstance(node, (ast.FunctionDef, ast.ClassDef))}
    for statement in tree.body:
        if isinstance(statement, (ast.For, ast.While)):
            return True
        if isinstance(statement, ast.If):
            names = {node.id for node in ast.walk(statement.test) if isinstance(node, ast.Name)}
            if "__name__" in names:
                return True
        if isinstance(statement, ast.Expr) and isinstance(statement.value, ast.Call):
            called = statement.value.func
            while isinstance(called, (ast.Attribute, ast.Call)):
                called = called.value if isinstance(called, ast.Attribute) else called.func
            if isinstance(called, ast.Name) and called.id in own:
                return True
    return False
