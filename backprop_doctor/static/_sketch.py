"""What the text of a program says without being run: what is bound to which name, products, updates.

Names stand for themselves only: that ``np.dot`` is numpy's follows from the imports, that ``W1`` is a parameter from
its being updated.  A name that is bound in ways that are not understood answers nothing.
"""

from __future__ import annotations

import ast
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass

from backprop_doctor.source import Project

__all__ = ["Product", "Sketch", "Update", "axis_of", "reads", "spelled", "transposed"]

Function = ast.FunctionDef | ast.AsyncFunctionDef

# Functions of numpy that give an array of a shape, by the position of the shape; -1 where each argument is a size.
SHAPED = {
    "numpy.zeros": 0, "numpy.ones": 0, "numpy.empty": 0, "numpy.full": 0, "numpy.random.random": 0,
    "numpy.random.randn": -1, "numpy.random.rand": -1,
}  # fmt: skip
GENERATORS = ("numpy.random.default_rng", "numpy.random.RandomState")
SIZED = ("numpy.random.normal", "numpy.random.uniform", "numpy.random.standard_normal")


@dataclass(frozen=True)
class Product:
    """A matrix product in the text."""

    node: ast.expr
    left: ast.expr
    right: ast.expr


@dataclass(frozen=True)
class Update:
    """A parameter that is changed by something: ``W -= step`` or ``W = W - step``."""

    statement: ast.stmt
    name: str
    step: ast.expr


def spelled(node: ast.AST | None) -> str:
    """``W`` or ``self.W`` as it is written; empty for anything else."""
    if isinstance(node, ast.Name):
        return node.id
    if isinstance(node, ast.Attribute):
        owner = spelled(node.value)
        return owner and f"{owner}.{node.attr}"
    return ""


def transposed(node: ast.AST) -> str:
    """The name in ``X.T``; empty for anything else."""
    if isinstance(node, ast.Attribute) and node.attr == "T":
        return spelled(node.value)
    if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr == "transpose":
        return spelled(node.args[0]) if len(node.args) == 1 else "" if node.args else spelled(node.func.value)
    return ""


def reads(node: ast.AST) -> set[str]:
    """All names that are written in an expression."""
    return {name for part in ast.walk(node) if (name := spelled(part))}


def axis_of(call: ast.Call, *, given: int = 1) -> int | None:
    """The number that is given for ``axis``, by keyword or at a position."""
    nodes = [keyword.value for keyword in call.keywords if keyword.arg == "axis"] or call.args[given : given + 1]
    try:
        value = ast.literal_eval(nodes[0]) if nodes else None
    except ValueError:
        return None
    return value if isinstance(value, int) else None


class Sketch:
    """The text of one program.

    Parameters
    ----------
    project : Project
        Its sources; all cells of a notebook count as one text.

    Raises
    ------
    SourceError
        If a source does not parse.
    """

    def __init__(self, project: Project) -> None:
        self.project = project
        self.tree = ast.Module([statement for source in project.main for statement in source.tree.body], [])
        self.nodes = list(ast.walk(self.tree))
        self.imports = dict(self._imports())
        self.imports |= dict.fromkeys(self._generators(), "numpy.random")
        self.passed = self._passed()
        self.values: dict[str, list[ast.expr | None]] = defaultdict(list)
        self.updates: list[Update] = []
        for node in self.nodes:
            self._bind(node)
        self.parameters = {update.name for update in self.updates}
        self.gradients = {name for update in self.updates for name in reads(update.step)} - self.parameters

    def _imports(self) -> Iterator[tuple[str, str]]:
        for node in self.nodes:
            if isinstance(node, ast.Import):
                for alias in node.names:
                    yield (
                        alias.asname or alias.name.partition(".")[0],
                        alias.name if alias.asname else (alias.name.partition(".")[0]),
                    )
            elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
                for alias in node.names:
                    yield alias.asname or alias.name, f"{node.module}.{alias.name}"

    def _generators(self) -> Iterator[str]:
        for node in self.nodes:
            if isinstance(node, ast.Assign) and self.called(node.value) in GENERATORS:
                yield from filter(None, map(spelled, node.targets))

    def _passed(self) -> dict[str, list[ast.expr | None]]:
        """What is passed for the arguments of functions, by their names; None where that cannot be told."""
        passed: dict[str, list[ast.expr | None]] = defaultdict(list)
        for function in self.functions():
            names = [argument.arg for argument in (*function.args.posonlyargs, *function.args.args)]
            calls = [node for node in self.nodes if isinstance(node, ast.Call) and spelled(node.func) == function.name]
            for call in calls:
                given = dict(zip(names, call.args)) | {word.arg: word.value for word in call.keywords if word.arg}
                for name in names:
                    passed[name].append(given.get(name))
            if not calls:
                for name in names:
                    passed[name].append(None)
        return passed

    def _bind(self, node: ast.AST) -> None:
        if isinstance(node, ast.Assign):
            for target in node.targets:
                self._assign(node, target, node.value)
        elif isinstance(node, ast.AnnAssign) and node.value is not None:
            self._assign(node, node.target, node.value)
        elif isinstance(node, ast.AugAssign):
            if not spelled(node.target):
                return
            if isinstance(node.op, (ast.Sub, ast.Add)):
                self.updates.append(Update(node, spelled(node.target), node.value))
            else:
                self.values[spelled(node.target)].append(None)
        elif isinstance(node, (ast.For, ast.comprehension)):
            self._forget(node.target)
        elif isinstance(node, ast.withitem) and node.optional_vars is not None:
            self._forget(node.optional_vars)

    def _assign(self, statement: ast.stmt, target: ast.expr, value: ast.expr) -> None:
        if isinstance(target, (ast.Tuple, ast.List)):
            pairs = isinstance(value, (ast.Tuple, ast.List)) and len(value.elts) == len(target.elts)
            for index, part in enumerate(target.elts):
                if pairs:
                    self._assign(statement, part, value.elts[index])  # type: ignore[attr-defined]
                else:
                    self._forget(part)
            return
        name = spelled(target)
        if (
            name
            and isinstance(value, ast.BinOp)
            and isinstance(value.op, (ast.Sub, ast.Add))
            and spelled(value.left) == name
        ):
            self.updates.append(Update(statement, name, value.right))
        elif name:
            self.values[name].append(value)

    def _forget(self, target: ast.expr) -> None:
        for part in ast.walk(target):
            if name := spelled(part):
                self.values[name].append(None)

    def functions(self) -> list[Function]:
        """All functions and methods."""
        return [node for node in self.nodes if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef))]

    def scopes(self) -> list[list[ast.AST]]:
        """The nodes of the module and of each function, without those of functions inside."""
        return [_own(scope) for scope in (self.tree, *self.functions())]

    def blocks(self) -> Iterator[list[ast.stmt]]:
        """All runs of statements that follow each other."""
        for node in self.nodes:
            for name in ("body", "orelse", "finalbody"):
                block = getattr(node, name, None)
                if isinstance(block, list):
                    yield block

    def called(self, node: ast.AST) -> str:
        """What a call calls, by the name under which it was imported: ``numpy.dot``; empty for anything else."""
        if not isinstance(node, ast.Call):
            return ""
        first, _, rest = spelled(node.func).partition(".")
        module = self.imports.get(first, "")
        return f"{module}.{rest}" if module and rest else module

    def calls(self, *names: str) -> Iterator[ast.Call]:
        """The calls of some functions."""
        for node in self.nodes:
            if isinstance(node, ast.Call) and self.called(node) in names:
                yield node

    def only_value(self, name: str) -> ast.expr | None:
        """What a name is bound to, if it is bound once, is not updated and never passed."""
        values = self.values.get(name, []) if name not in self.passed else []
        return values[0] if len(values) == 1 and name not in self.parameters else None

    def number(self, node: ast.expr) -> int | None:
        """A whole number that is written, or that the only value of a name is."""
        if isinstance(node, ast.Name):
            value = self.only_value(node.id)
            passed = self.passed.get(node.id, []) if node.id not in self.values else []
            numbers = {self.number(one) if isinstance(one, ast.Constant) else None for one in passed or [value]}
            return numbers.pop() if len(numbers) == 1 else None
        return node.value if isinstance(node, ast.Constant) and type(node.value) is int else None

    def constructed(self, node: ast.expr | None) -> tuple[str, list[ast.expr]]:
        """The function that makes a new array and its sizes, where these are written; else empty."""
        while isinstance(node, ast.BinOp) and isinstance(node.op, (ast.Mult, ast.Div, ast.Sub)):
            node = node.left if isinstance(node.left, (ast.Call, ast.BinOp)) else node.right
        if not isinstance(node, ast.Call):
            return "", []
        function = self.called(node)
        place = SHAPED.get(function)
        if place == -1:
            return function, node.args
        shapes = [keyword.value for keyword in node.keywords if keyword.arg in ("shape", "size")]
        if place is not None:
            shapes = shapes or node.args[:1]
        elif function not in SIZED:
            return "", []
        return (function, shapes[0].elts) if shapes and isinstance(shapes[0], (ast.Tuple, ast.List)) else ("", [])

    def products(self, nodes: list[ast.AST] | None = None) -> Iterator[Product]:
        """Matrix products: ``a @ b``, ``np.dot(a, b)``, ``a.dot(b)``."""
        for node in self.nodes if nodes is None else nodes:
            if isinstance(node, ast.BinOp) and isinstance(node.op, ast.MatMult):
                yield Product(node, node.left, node.right)
            elif isinstance(node, ast.Call):
                if self.called(node) in ("numpy.dot", "numpy.matmul") and len(node.args) >= 2:
                    yield Product(node, node.args[0], node.args[1])
                elif isinstance(node.func, ast.Attribute) and node.func.attr == "dot" and len(node.args) == 1:
                    yield Product(node, node.func.value, node.args[0])

    def summed(self, node: ast.AST) -> tuple[str, int | None, bool] | None:
        """What ``np.sum(a, axis=1)`` or ``a.sum(axis=1)`` sums, over which axis if it is a number, whether over all."""
        if not isinstance(node, ast.Call):
            return None
        if self.called(node) in ("numpy.sum", "numpy.mean") and node.args:
            operand, given = spelled(node.args[0]), 1
        elif isinstance(node.func, ast.Attribute) and node.func.attr in ("sum", "mean") and not self.called(node):
            operand, given = spelled(node.func.value), 0
        else:
            return None
        return operand, axis_of(node, given=given), len(node.args) == given and not node.keywords

    def weight_gradients(self, nodes: list[ast.AST]) -> Iterator[tuple[ast.stmt, str, str, int]]:
        """Products that become the step of a parameter.

        Yields
        ------
        statement : ast.stmt
            Where it stands.
        inputs, delta : str
            The factor that is transposed, which is no parameter, and the other one.
        axis : int
            The axis of ``delta`` that the product sums over, which is that of the samples.
        """
        for statement in nodes:
            if not isinstance(statement, (ast.Assign, ast.AugAssign)):
                continue
            target = spelled(statement.targets[0] if isinstance(statement, ast.Assign) else statement.target)
            if target not in self.gradients | self.parameters:
                continue
            for product in self.products(list(ast.walk(statement.value))):
                for inputs, delta, axis in (
                    (transposed(product.left), spelled(product.right), 0),
                    (transposed(product.right), spelled(product.left), 1),
                ):
                    if inputs and delta and not {inputs, delta} & self.parameters:
                        yield statement, inputs, delta, axis


def _own(scope: ast.AST) -> list[ast.AST]:
    found: list[ast.AST] = []
    waiting = list(ast.iter_child_nodes(scope))
    while waiting:
        node = waiting.pop(0)
        found.append(node)
        if not isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda)):
            waiting += ast.iter_child_nodes(node)
    return found
