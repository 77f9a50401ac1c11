"""A statement in another place: below or above its neighbours, inside the loop that follows or before its own."""

from __future__ import annotations

import ast
from collections.abc import Iterator

from backprop_doctor.records import Edit, Position
from backprop_doctor.source import Source

__all__ = ["rearranged"]

# How many statements further down or up one is tried.
REACH = 8


def rearranged(source: Source, line: int) -> Iterator[tuple[Edit, ...]]:
    """The places in which the statement that starts on a line may belong, the nearest first."""
    parents = {child: node for node in ast.walk(source.tree) for child in ast.iter_child_nodes(node)}
    for block in _blocks(source.tree):
        for i, statement in enumerate(block):
            if statement.lineno == line and _is_alone(source, block, i):
                yield from _moves(source, block, i, parents)


def _moves(
    source: Source, block: list[ast.stmt], i: int, parents: dict[ast.AST, ast.AST]
) -> Iterator[tuple[Edit, ...]]:
    statement, loop = block[i], parents.get(block[i])
    for later in block[i + 1 : i + 1 + REACH]:
        if isinstance(later, (ast.For, ast.While)) and isinstance(statement, (ast.Assign, ast.AnnAssign)):
            yield _moved(source, statement, _start(source, later.body[0]), later.body[0])
        yield _moved(source, statement, _end(source, later) + 1, statement)
    for earlier in block[max(0, i - REACH) : i][::-1]:
        yield _moved(source, statement, _start(source, earlier), statement)
    if isinstance(loop, (ast.For, ast.While)) and statement in loop.body:
        yield _moved(source, statement, _start(source, loop), loop)
        yield _moved(source, statement, _end(source, loop) + 1, loop)
    if loop is not None and isinstance(parents.get(loop), (ast.For, ast.While)):
        yield _moved(source, statement, _start(source, parents[loop]), parents[loop])


def _moved(source: Source, statement: ast.stmt, line: int, like: ast.AST) -> tuple[Edit, ...]:
    """Take the lines of a statement away, and put them before a line, indented as another node."""
    first, last = _start(source, statement), _end(source, statement)
    text = "".join(source.whole_line(number) for number in range(first, last + 1))
    ending = next((end for end in ("\r\n", "\n", "\r") if source.whole_line(1).endswith(end)), "\n")
    old, new = _indent(source, statement), _indent(source, like)
    lines = [new + part.removeprefix(old) for part in text.splitlines(keepends=True)]
    text = "".join(lines)
    text += "" if text.endswith(("\n", "\r")) else ending
    before = source.whole_line(line - 1)
    if line > 1 and not before.endswith(("\n", "\r")):
        # Behind the last line, which has no end.
        at = Position(source.path, line - 1, len(before) + 1, line - 1, len(before) + 1, source.cell)
        return _gap(source, first, last), Edit(at, ending + text.removesuffix(ending))
    return _gap(source, first, last), Edit(Position(source.path, line, 1, line, 1, source.cell), text)


def _gap(source: Source, first: int, last: int) -> Edit:
    return Edit(Position(source.path, first, 1, last + 1, 1, source.cell), "")


def _is_alone(source: Source, block: list[ast.stmt], i: int) -> bool:
    """Whether the lines of a statement hold nothing else, and the block is left with another."""
    statement = block[i]
    others = [other for other in block if other is not statement]
    apart = all(statement.lineno > (o.end_lineno or 0) or (statement.end_lineno or 0) < o.lineno for o in others)
    whole = source.line(_start(source, statement))[: statement.col_offset].strip() == ""
    ended = source.whole_line(_end(source, statement)).endswith(("\n", "\r"))
    return apart and whole and ended and bool(others) and isinstance(statement, (ast.Assign, ast.AugAssign, ast.Expr))


def _start(source: Source, node: ast.AST) -> int:
    return source.position(node).line


def _end(source: Source, node: ast.AST) -> int:
    return source.position(node).end_line


def _indent(source: Source, node: ast.AST) -> str:
    line = source.line(_start(source, node))
    return line[: len(line) - len(line.lstrip())]


def _blocks(tree: ast.Module) -> Iterator[list[ast.stmt]]:
    for node in ast.walk(tree):
        for name in ("body", "orelse", "finalbody"):
            block = getattr(node, name, None)
            if isinstance(block, list) and block and isinstance(block[0], ast.stmt):
                yield block
