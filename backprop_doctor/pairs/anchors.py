"""Where a function makes what it returns: the statement that binds a returned name, or stores under a key."""

from __future__ import annotations

import ast
import copy
import re
from collections.abc import Collection, Iterator, Sequence
from types import CodeType
from typing import Any, cast

from backprop_doctor.source import Project

__all__ = ["Function", "anchor", "common_source", "definition", "only_run", "target_of"]

Function = ast.FunctionDef
BLOCKS = ("body", "orelse", "finalbody", "handlers")
STATEMENTS = (ast.Assign, ast.AugAssign, ast.AnnAssign)
RETURNED = re.compile(r"returned value (\d+)")
ASKED = re.compile(r"returned if (\w+)")
# What only gives a value another shape does not make it.
RESHAPING = frozenset({"reshape", "copy", "astype", "squeeze", "ravel", "array", "asarray"})


def definition(source: Project, code: CodeType) -> Function | None:
    """The definition in the program that was compiled to ``code``."""
    for part in source.sources:
        if part.name == code.co_filename:
            for node in ast.walk(part.tree):
                if isinstance(node, Function) and node.name == code.co_name:
                    first = min([node.lineno, *(decorator.lineno for decorator in node.decorator_list)])
                    if first <= code.co_firstlineno <= node.lineno:
                        return node
    return None


def only_run(function: Function, lines: Collection[int]) -> Function:
    """The function without the statements that were not run; the nodes of all others are the same."""
    return cast(Function, _part_run(function, lines))


def _part_run(node: ast.AST, lines: Collection[int]) -> ast.AST:
    blocks = {name: block for name in BLOCKS if (block := getattr(node, name, None))}
    if not blocks:
        return node
    copied = copy.copy(node)
    for name, block in blocks.items():
        kept = [_part_run(part, lines) for part in block if any(n in lines for n in _span(part))]
        setattr(copied, name, kept)
    return copied


def _span(node: ast.AST) -> range:
    return range(getattr(node, "lineno", 0), (getattr(node, "end_lineno", 0) or 0) + 1)


def anchor(function: Function, claim: str) -> ast.AST:
    """The statement of a function that makes the value described as ``claim``.

    Parameters
    ----------
    function : FunctionDef
        Where it is looked for.
    claim : str
        ``"the returned value"``, ``"returned value 2"``, a key of what is returned, or the place of an attribute.
    """
    asked = ASKED.fullmatch(claim)
    if asked:
        return _returned_if(function, asked[1])
    numbered = RETURNED.search(claim)
    returned = _last_return(function)
    if numbered or claim == "the returned value":
        values = _flat(function, returned) if returned is not None else []
        index = int(numbered[1]) - 1 if numbered else 0
        if index < len(values):
            return _origin(function, values[index])
        return returned if returned is not None else function
    place = claim.removeprefix("the step of ").removeprefix("what is added to ").replace('"', "'")
    stores = [s for s in _statements(function) if any(_stored(t, place) for t in _targets(s))]
    if stores:
        value = getattr(stores[-1], "value", None)
        made = _origin(function, value) if isinstance(value, ast.Name) else value
        return made if isinstance(made, STATEMENTS) else stores[-1]
    for key, value in _keyed(function, returned):
        if key == place:
            return _origin(function, value)
    return returned if returned is not None else function


def _returned_if(function: Function, flag: str) -> ast.AST:
    """What a function returns where a flag is set: in the branch that asks for it, else at its end."""
    for node in _own(function):
        if isinstance(node, ast.If) and any(isinstance(n, ast.Name) and n.id == flag for n in ast.walk(node.test)):
            negative = isinstance(node.test, ast.UnaryOp)
            found = [part for part in (node.orelse if negative else node.body) if isinstance(part, ast.Return)]
            if found and found[-1].value is not None:
                return _origin(function, found[-1].value)
    return _last_return(function) or function


def target_of(node: Any, otherwise: str) -> str:
    """What a statement stores to, or ``otherwise`` for an expression that stores nothing."""
    if isinstance(node, ast.Assign):
        return ast.unparse(node.targets[0])
    return ast.unparse(_targets(node)[0]) if isinstance(node, (*STATEMENTS, ast.Expr)) else otherwise


def common_source(function: Function, wrong: Sequence[ast.AST], right: Sequence[ast.AST]) -> ast.AST | None:
    """The last statement from which everything wrong is made, and nothing right."""
    if any(node is None or isinstance(node, Function) for node in wrong):
        return None
    sources = [_sources(function, node) for node in wrong]
    fine = {name for node in right for name in _sources(function, node)}
    common = set.intersection(*map(set, sources)) - fine if sources else set()
    made = [s for s in _statements(function) if any(_binds(t, name) for t in _targets(s) for name in common)]
    return made[-1] if made and not _only_unpacks(function, made[-1]) else None


def _only_unpacks(function: Function, statement: ast.stmt) -> bool:
    """Whether a statement only gives names to what was handed over."""
    value = getattr(statement, "value", None)
    if isinstance(value, ast.Name):
        given = {argument.arg for argument in function.args.args}
        return value.id in given or len(_targets(statement)) > 1
    return isinstance(value, (ast.Subscript, ast.Attribute, ast.Tuple))


def _sources(function: Function, node: ast.AST) -> set[str]:
    """Local names that a statement reads, and those that these were made from."""
    found: set[str] = set()
    pending = {name.id for name in ast.walk(node) if isinstance(name, ast.Name) and isinstance(name.ctx, ast.Load)}
    while pending:
        name = pending.pop()
        if name in found:
            continue
        found.add(name)
        for statement in _statements(function):
            value = getattr(statement, "value", None)
            if value is not None and any(_binds(target, name) for target in _targets(statement)):
                pending |= {part.id for part in ast.walk(value) if isinstance(part, ast.Name)}
    return found


def _last_return(function: Function) -> ast.expr | None:
    found = [node for node in _own(function) if isinstance(node, ast.Return) and node.value is not None]
    return max(found, key=lambda node: node.lineno).value if found else None


def _flat(function: Function, value: ast.expr) -> list[ast.expr]:
    """The values that an expression holds, one after the other."""
    if isinstance(value, (ast.Tuple, ast.List)):
        return [item for element in value.elts for item in _flat(function, element)]
    keyed = list(_keyed(function, value))
    return [item for _, item in keyed] if keyed else [value]


def _keyed(function: Function, value: ast.expr | None) -> Iterator[tuple[str, ast.expr]]:
    """The keys and values of a dictionary, wherever they are put into it."""
    if isinstance(value, ast.Tuple):
        for element in value.elts:
            yield from _keyed(function, element)
    elif isinstance(value, ast.Dict):
        for key, item in zip(value.keys, value.values, strict=True):
            if isinstance(key, ast.Constant):
                yield str(key.value), item
    elif isinstance(value, ast.Name):
        for node in _own(function):
            if (
                isinstance(node, ast.Call)
                and isinstance(node.func, ast.Attribute)
                and node.func.attr == "update"
                and isinstance(node.func.value, ast.Name)
                and node.func.value.id == value.id
                and node.args
            ):
                yield from _keyed(function, node.args[0])
        for statement in _statements(function):
            for target in _targets(statement):
                stored = getattr(statement, "value", None)
                if isinstance(target, ast.Name) and target.id == value.id and isinstance(stored, ast.Dict):
                    yield from _keyed(function, stored)
                elif (
                    isinstance(target, ast.Subscript)
                    and isinstance(target.value, ast.Name)
                    and target.value.id == value.id
                    and isinstance(target.slice, ast.Constant)
                    and isinstance(target.slice.value, str)
                    and isinstance(stored, ast.expr)
                ):
                    yield target.slice.value, stored


def _origin(function: Function, value: ast.expr) -> ast.AST:
    """The statement that made a value last; one that only reshapes it is passed over."""
    if not isinstance(value, ast.Name):
        return value
    stores = [s for s in _statements(function) if any(_binds(t, value.id) for t in _targets(s))]
    made = [s for s in stores if not _only_reshapes(s, value.id)]
    return made[-1] if made else stores[-1] if stores else value


def _only_reshapes(statement: ast.stmt, name: str) -> bool:
    value = getattr(statement, "value", None)
    if isinstance(statement, (ast.AugAssign, ast.Expr)) or not isinstance(value, ast.Call):
        return False
    called = value.func.attr if isinstance(value.func, ast.Attribute) else getattr(value.func, "id", "")
    reads = {node.id for node in ast.walk(value) if isinstance(node, ast.Name)}
    return called in RESHAPING and name in reads


def _own(function: Function) -> Iterator[ast.AST]:
    """What belongs to a function itself, not to functions inside it."""
    pending: list[ast.AST] = list(function.body)
    while pending:
        node = pending.pop()
        yield node
        if not isinstance(node, (ast.FunctionDef, ast.Lambda, ast.ClassDef)):
            pending += ast.iter_child_nodes(node)


def _statements(function: Function) -> list[ast.stmt]:
    """What stores something: assignments, and calls such as ``np.add.at(target, ...)``."""
    found = [n for n in _own(function) if isinstance(n, STATEMENTS) or (isinstance(n, ast.Expr) and _adds_at(n))]
    return sorted(found, key=lambda node: (node.lineno, node.col_offset))


def _adds_at(statement: ast.Expr) -> bool:
    call = statement.value
    return (
        isinstance(call, ast.Call)
        and isinstance(call.func, ast.Attribute)
        and call.func.attr == "at"
        and len(call.args) > 1
    )


def _targets(statement: ast.stmt) -> list[ast.expr]:
    if isinstance(statement, ast.Expr):
        return [statement.value.args[0]]  # type: ignore[attr-defined]
    targets = statement.targets if isinstance(statement, ast.Assign) else [statement.target]  # type: ignore[attr-defined]
    return [t for target in targets for t in (target.elts if isinstance(target, (ast.Tuple, ast.List)) else [target])]


def _binds(target: ast.expr, name: str) -> bool:
    while isinstance(target, ast.Subscript):
        target = target.value
    return isinstance(target, ast.Name) and target.id == name


def _stored(target: ast.expr, place: str) -> bool:
    """Whether something is stored at the place of an attribute, such as ``grads['w']`` of ``self``."""
    text = ast.unparse(target)
    if isinstance(target, ast.Subscript) and re.fullmatch(_key_pattern(target.slice), place):
        return True
    while isinstance(target, ast.Subscript) and not _is_key(target.slice):
        target = target.value
        text = ast.unparse(target)
    return text == f"self.{place}" or text.partition(".")[2] == place


def _key_pattern(key: ast.expr) -> str:
    """The keys that an expression such as ``"W%d" % i``, ``f"W{i}"`` or ``"W" + str(i)`` may give."""
    if isinstance(key, ast.BinOp) and isinstance(key.left, ast.Constant) and isinstance(key.left.value, str):
        text = re.escape(key.left.value)
        return re.sub("%[ds]", r"\\w+", text) if isinstance(key.op, ast.Mod) else text + r"\w+"
    if isinstance(key, ast.JoinedStr):
        return "".join(re.escape(str(v.value)) if isinstance(v, ast.Constant) else r"\w+" for v in key.values)
    return r"(?!)"


def _is_key(key: ast.expr) -> bool:
    return isinstance(key, ast.Constant) and key.value is not Ellipsis
