"""The same program written differently, with the original line of every new line."""

from __future__ import annotations

import ast
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import renaming

__all__ = ["REWRITINGS", "Rewritten"]


@dataclass(frozen=True)
class Rewritten:
    """A program and where its lines come from; lines that are new altogether are not in ``origins``."""

    text: str
    origins: Mapping[int, int]


SYLLABLES = ("ka", "zu", "mi", "tor", "fen", "ul", "gra", "po", "ix", "ne", "sho", "vy")


def with_other_names(text: str) -> Rewritten:
    """Every name the program gives is replaced by a word without meaning."""

    def word(name: str, place: int) -> str:
        return SYLLABLES[place % 12] + SYLLABLES[place // 12 % 12] + SYLLABLES[(7 * place + 3) % 12]

    changed, _ = renaming.renamed(text, word)
    return Rewritten(changed, {n: n for n in range(1, len(text.splitlines()) + 1)})


def reformatted(text: str) -> Rewritten:
    """Comments, blank lines, brackets and spacing as Python itself would print them."""
    return _printed(ast.parse(text), ast.parse(text))


def _printed(changed: ast.Module, original: ast.Module) -> Rewritten:
    """A tree as text; its statements keep the line numbers of the original in ``lineno``."""
    text = ast.unparse(ast.fix_missing_locations(changed))
    origins: dict[int, int] = {}
    for new, old in zip(ast.walk(ast.parse(text)), ast.walk(changed), strict=True):
        if isinstance(new, ast.expr | ast.stmt) and isinstance(old, ast.expr | ast.stmt):
            origins.setdefault(new.lineno, old.lineno)
    return Rewritten(text, origins)


def with_named_intermediates(text: str) -> Rewritten:
    """The left operand of what is assigned gets a line and a name of its own, where it is more than a name."""
    tree = ast.parse(text)
    count = 0
    for block in _blocks(tree):
        position = 0
        while position < len(block):
            statement = block[position]
            match statement:
                case ast.Assign(value=ast.BinOp(left=ast.BinOp() | ast.Call() as left) as value):
                    name = f"part_{count}"
                    count += 1
                    named = ast.Assign(targets=[ast.Name(name, ast.Store())], value=left)
                    value.left = ast.copy_location(ast.Name(name, ast.Load()), left)
                    block.insert(position, ast.copy_location(named, statement))
                    position += 1
            position += 1
    for node in ast.walk(tree):
        for child in ast.iter_child_nodes(node):
            if isinstance(child, ast.expr) and not hasattr(child, "lineno"):
                ast.copy_location(child, node)
    return _printed(tree, tree)


def with_inlined_intermediates(text: str) -> Rewritten:
    """A value that is used once, in the statement just below, loses its name and its line."""
    tree = ast.parse(text)
    for scope in [tree, *(n for n in ast.walk(tree) if isinstance(n, ast.FunctionDef))]:
        for block in _blocks(scope):
            position = 0
            while position + 1 < len(block):
                match block[position], block[position + 1]:
                    case ast.Assign(targets=[ast.Name(id=name)], value=value), ast.Assign() as user:
                        uses = [n for n in ast.walk(tree) if isinstance(n, ast.Name) and n.id == name]
                        inside = [n for n in ast.walk(user.value) if isinstance(n, ast.Name) and n.id == name]
                        if len(uses) == 2 and len(inside) == 1:
                            user.value = _Replaced(inside[0], value).visit(user.value)
                            del block[position]
                            continue
                position += 1
    return _printed(tree, tree)


class _Replaced(ast.NodeTransformer):
    def __init__(self, name: ast.Name, value: ast.expr) -> None:
        self.name, self.value = name, value

    def visit_Name(self, node: ast.Name) -> ast.expr:
        return self.value if node is self.name else node


def inside_a_function(text: str) -> Rewritten:
    """All but the imports moves into a function that is called once."""
    return _moved(text, ["def everything():"], "everything()")


def inside_a_class(text: str) -> Rewritten:
    """All but the imports moves into a method of an object that is made once."""
    return _moved(text, ["class Everything:", "    def happens(self):"], "Everything().happens()")


def _moved(text: str, heads: list[str], call: str) -> Rewritten:
    lines = text.splitlines()
    imports = [n for n in ast.parse(text).body if isinstance(n, ast.Import | ast.ImportFrom)]
    kept = {number for node in imports for number in range(node.lineno, (node.end_lineno or 0) + 1)}
    written, origins = [lines[n - 1] for n in sorted(kept)] + heads, {}
    for number, line in enumerate(lines, 1):
        if number not in kept:
            written.append("    " * len(heads) + line if line.strip() else line)
            origins[len(written)] = number
    return Rewritten("\n".join([*written, call, ""]), origins)


def _blocks(tree: ast.AST) -> list[list[ast.stmt]]:
    found = (getattr(node, name, None) for node in ast.walk(tree) for name in ("body", "orelse", "finalbody"))
    return [block for block in found if isinstance(block, list)]


REWRITINGS: dict[str, Callable[[str], Rewritten]] = {
    function.__name__: function
    for function in (
        with_other_names,
        reformatted,
        with_named_intermediates,
        with_inlined_intermediates,
        inside_a_function,
        inside_a_class,
    )
}
