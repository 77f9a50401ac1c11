"""Other names for everything a program names itself; lines and columns of all else stay in order."""

from __future__ import annotations

import ast
import builtins
import keyword
import re
from collections.abc import Callable, Iterator, Mapping

import numpy as np

# Attributes of arrays and of Python's own objects cannot be called otherwise.
FIXED = {name for thing in (np.ndarray, dict, list, str, tuple) for name in dir(thing)}


def own_names(tree: ast.Module) -> list[str]:
    """Names the program binds itself, in order of appearance; imported names are not its own."""
    found: dict[str, None] = {}
    foreign = {alias.asname or alias.name.partition(".")[0] for alias in _nodes(tree, ast.alias)}
    for node in ast.walk(tree):
        match node:
            case ast.Name(id=name, ctx=ast.Store()) | ast.arg(arg=name):
                found.setdefault(name)
            case ast.FunctionDef(name=name) | ast.ClassDef(name=name):
                found.setdefault(name)
            case ast.Attribute(attr=name, ctx=ast.Store()):
                found.setdefault(name)
    reserved = foreign | FIXED | {"self"}
    return [name for name in found if name not in reserved and not (name.startswith("__") and name.endswith("__"))]


def _nodes(tree: ast.AST, kind: type) -> Iterator[ast.AST]:
    return (node for node in ast.walk(tree) if isinstance(node, kind))


def renamed(source: str, name_for: Callable[[str, int], str], *, keys: bool = False) -> tuple[str, Mapping[str, str]]:
    """The program with each of its own names replaced by ``name_for(name, position)``.

    Parameters
    ----------
    source : str
        Python without f-strings that read variables.
    name_for : function
        Given a name and its place in the order of appearance; names that collide are made longer.
    keys : bool
        Whether string keys that are names too are replaced as well.

    Returns
    -------
    renamed : str
    names : mapping of str to str
    """
    tree = ast.parse(source)
    if any(any(isinstance(part, ast.FormattedValue) for part in node.values) for node in ast.walk(tree)
           if isinstance(node, ast.JoinedStr)):  # fmt: skip
        raise ValueError("positions of names in f-strings are not known")
    names: dict[str, str] = {}
    taken = set(dir(builtins)) | set(keyword.kwlist) | FIXED | set(re.findall(r"[A-Za-z_]\w*", source))
    for place, name in enumerate(own_names(tree)):
        new = name_for(name, place)
        while new in taken and new != name:
            new += "_"
        taken.add(new)
        names[name] = new
    lines = source.splitlines(keepends=True)
    changes = sorted(set(_places(tree, lines, names, keys=keys)), reverse=True)
    for line, column, old in changes:
        text = lines[line - 1].encode()
        assert text[column:].startswith(old.encode()), (line, column, old)
        lines[line - 1] = (text[:column] + names[old].encode() + text[column + len(old.encode()) :]).decode()
    return "".join(lines), names


def _places(
    tree: ast.Module, lines: list[str], names: Mapping[str, str], *, keys: bool
) -> Iterator[tuple[int, int, str]]:
    """Line, column in bytes and text of every use of a name."""
    for node in ast.walk(tree):
        match node:
            case ast.Name(id=name) | ast.arg(arg=name) if name in names:
                yield node.lineno, node.col_offset, name
            case ast.Attribute(attr=name) if name in names and not _is_foreign(node.value):
                yield node.end_lineno or 0, (node.end_col_offset or 0) - len(name.encode()), name
            case ast.FunctionDef(name=name) | ast.ClassDef(name=name) if name in names:
                head = lines[node.lineno - 1].encode()
                yield node.lineno, head.index(name.encode(), node.col_offset + 3), name
            case ast.Call(func=func, keywords=keywords) if _called(func) in names:
                for argument in keywords:
                    if argument.arg in names:
                        yield argument.lineno, argument.col_offset, argument.arg
            case ast.Global(names=shared) | ast.Nonlocal(names=shared):
                head = lines[node.lineno - 1].encode()
                for name in shared:
                    if name in names:
                        found = re.search(rb"\b%s\b" % name.encode(), head)
                        assert found is not None
                        yield node.lineno, found.start(), name
            case ast.Constant(value=str(name)) if keys and name in names:
                yield node.lineno, node.col_offset + 1, name


def _is_foreign(node: ast.expr) -> bool:
    """Whether an attribute is read from numpy or another library."""
    while isinstance(node, ast.Attribute):
        node = node.value
    return isinstance(node, ast.Name) and node.id in ("np", "numpy", "tf", "keras", "random", "math")


def _called(func: ast.expr) -> str:
    match func:
        case ast.Name(id=name) | ast.Attribute(attr=name):
            return name
    return ""
