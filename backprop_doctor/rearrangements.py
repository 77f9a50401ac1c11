"""A statement in another place: below or above its neighbours, inside the loop that follows or before its own."""

from __future__ import annotations

import ast
from collections.abc import Iterator

from backprop_doctor.records import Edit, Position
from backprop_doctor.source import Source

__all__ = ["into", "loops", "rearranged", "reset", "summed"]

Loop = ast.For | ast.While

# How many statements further down or up one is tried.
REACH = 8


def rearranged(source: Source, line: int) -> Iterator[tuple[Edit, ...]]:
    """The places in which the statement that starts on a line may belong, the nearest first."""
    parents = _parents(source.tree)
    for block in _blocks(source.tree):
        for i, statement in enumerate(block):
            if statement.lineno != line:
                continue
            around = _loops(statement, parents)
            found = [make(source, statement, loop) for make in (reset, summed) for loop in around]
            yield from (edits for edits in found if edits)
            if _is_alone(source, block, i):
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


def reset(source: Source, statement: ast.stmt, loop: Loop) -> tuple[Edit, ...]:
    """Set what a statement adds to inside a loop, not before it; no edits where that is not to be seen."""
    target = _target(source, statement)
    for block in _blocks(source.tree) if target else ():
        for i, first in enumerate(block):
            set_before = isinstance(first, ast.Assign) and target in _bound(source, first)
            if set_before and first.lineno < loop.lineno <= statement.lineno and _is_alone(source, block, i):
                return _moved(source, first, _start(source, loop.body[0]), loop.body[0])
    return ()


def summed(source: Source, statement: ast.stmt, loop: Loop) -> tuple[Edit, ...]:
    """What each turn of a loop stores anew, added up from 0 on; no edits where nothing is stored."""
    target = _target(source, statement)
    if not target or not isinstance(statement, ast.Assign):
        return ()
    place, value = source.position(statement.targets[0]), source.position(statement.value)
    if place.end_line != value.line:
        return ()
    column = source.line(value.line).find("=", place.end_column - 1) + 1
    at = Position(source.path, value.line, column, value.line, column + 1, source.cell)
    start = _start(source, loop)
    before = Position(source.path, start, 1, start, 1, source.cell)
    return Edit(before, f"{_indent(source, loop)}{target} = 0{_ending(source)}"), Edit(at, "+=")


def into(source: Source, statements: list[ast.stmt], loop: Loop) -> tuple[Edit, ...]:
    """Statements from above a loop at the top of its body; no edits where they stand in another block or share lines.

    What is read above the loop, by other statements, stays there too.
    """
    block = next((b for b in _blocks(source.tree) if loop in b), [])
    above = block[: block.index(loop)] if block else []
    places = sorted(above.index(s) for s in statements if s in above)
    if not places or len(places) < len(statements) or not all(_is_alone(source, block, i) for i in places):
        return ()
    moved = [above[i] for i in places]
    names = {n.id for s in moved for n in ast.walk(s) if isinstance(n, ast.Name) and isinstance(n.ctx, ast.Store)}
    others = [s for s in above[places[0] :] if s not in moved]
    is_read = any(isinstance(n, ast.Name) and n.id in names for s in others for n in ast.walk(s))
    pairs = [_moved(source, s, _start(source, loop.body[0]), loop.body[0]) for s in moved]
    first = pairs[0][1]
    together = Edit(first.position, "".join(at.replacement for _, at in pairs))
    return (*(gap for gap, _ in pairs if not is_read), together)


def loops(tree: ast.Module, node: ast.AST) -> list[Loop]:
    """The loops around a node in its function, the innermost first."""
    return _loops(node, _parents(tree))


def _parents(tree: ast.Module) -> dict[ast.AST, ast.AST]:
    return {child: node for node in ast.walk(tree) for child in ast.iter_child_nodes(node)}


def _loops(node: ast.AST, parents: dict[ast.AST, ast.AST]) -> list[Loop]:
    found: list[Loop] = []
    while node in parents and not isinstance(node, (ast.FunctionDef, ast.Lambda)):
        node = parents[node]
        if isinstance(node, (ast.For, ast.While)):
            found.append(node)
    return found


def _target(source: Source, statement: ast.stmt) -> str:
    if isinstance(statement, ast.AugAssign):
        return source.segment(statement.target)
    if isinstance(statement, ast.Assign) and len(statement.targets) == 1:
        return source.segment(statement.targets[0])
    return ""


def _bound(source: Source, statement: ast.Assign) -> set[str]:
    """What a statement stores values in, also several at once."""
    parts = [part for target in statement.targets for part in getattr(target, "elts", [target])]
    return {source.segment(part) for part in parts}


def _ending(source: Source) -> str:
    return next((end for end in ("\r\n", "\n", "\r") if source.whole_line(1).endswith(end)), "\n")


def _moved(source: Source, statement: ast.stmt, line: int, like: ast.AST) -> tuple[Edit, ...]:
    """Take the lines of a statement away, and put them before a line, indented as another node."""
    first, last = _start(source, statement), _end(source, statement)
    text = "".join(source.whole_line(number) for number in range(first, last + 1))
    ending = _ending(source)
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
