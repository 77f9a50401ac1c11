"""A program that stops because shapes do not fit: which operands they are, what their axes mean, where they were made.

There is no training to follow, and so no roles: the axes are named after the labels (whole numbers, or rows of
zeros with a single one) and what is as long as they are.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise
from typing import Any

import numpy as np

from backprop_doctor.instrument import Site
from backprop_doctor.program import Event, Probe, Program, Trace

__all__ = ["Clash", "Crash", "Operand"]

Shape = tuple[int, ...]

ELEMENTWISE = {"add", "subtract", "multiply", "divide", "true_divide", "maximum", "minimum", "equal", "power"}
PRODUCTS = {"dot", "matmul"}
SIGNS = {ast.Add: "+", ast.Sub: "-", ast.Mult: "*", ast.Div: "/", ast.Pow: "**", ast.MatMult: "@"}
OF_SHAPES = re.compile(r"shape|aligned|matmul|broadcast|dimension", re.IGNORECASE)
CLASSES_LIMIT = 1000


@dataclass(frozen=True)
class Operand:
    """One side of an operation: its expression, and the array that it was."""

    node: ast.expr
    text: str
    event: Event

    @property
    def shape(self) -> Shape:
        """Lengths of the axes."""
        return np.shape(self.event.value)


@dataclass(frozen=True)
class Clash:
    """An operation whose two operands do not fit each other.

    ``axes`` are the axis of each that should have been as long as that of the other.
    """

    node: ast.AST
    sign: str
    left: Operand
    right: Operand
    axes: tuple[int, int]

    @property
    def is_product(self) -> bool:
        """Whether rows are multiplied by columns."""
        return self.sign in ("@", *PRODUCTS)


@dataclass(frozen=True)
class Crash:
    """A run that ended with an exception of the user's."""

    program: Program
    probe: Probe
    trace: Trace

    @cached_property
    def clash(self) -> Clash | None:
        """The operation that failed, if it did so for the shapes of its operands."""
        kind, _, message = self.trace.ended.partition(": ")
        if kind not in ("ValueError", "TypeError") or not OF_SHAPES.search(message):
            return None
        place = self._place
        if place is None:
            return None
        for site in self.program.sites:
            node = site.node
            first, last = getattr(site.statement, "lineno", 0), getattr(site.statement, "end_lineno", 0) or 0
            if site.source.name == place[0] and first <= place[1] <= last:
                found = self._clash_at(site, node)
                if found is not None:
                    return found
        return None

    @property
    def _place(self) -> tuple[str, int] | None:
        """File and line of the innermost frame of the user's."""
        names = "|".join(re.escape(source.name) for source in self.program.source.sources)
        frames = re.findall(rf'File "({names})", line (\d+)', self.trace.traceback or "")
        return (frames[-1][0], int(frames[-1][1])) if frames else None

    def _clash_at(self, site: Site, node: ast.AST) -> Clash | None:
        """The operation of a site, if its operands passed after it last did, and do not fit."""
        done = self.trace.at(site.id)
        for sign, left, right in _operations(node, site.statement):
            sides = self._operand(left), self._operand(right)
            if sides[0] is None or sides[1] is None:
                continue
            if done and site.kind != "store" and done[-1].index > max(s.event.index for s in sides if s is not None):
                continue
            axes = unfit(sign, sides[0].shape, sides[1].shape)
            if axes is not None:
                whole = site.statement if isinstance(site.statement, ast.AugAssign) and sign.endswith("=") else node
                return Clash(whole, sign, sides[0], sides[1], axes)
        return None

    def _operand(self, node: ast.expr) -> Operand | None:
        event = self.latest(node)
        text = self.program.source.segment(node)
        return None if event is None or not isinstance(event.value, np.ndarray) else Operand(node, text, event)

    def latest(self, node: ast.AST) -> Event | None:
        """The last value that an expression had."""
        found = [self.trace.at(site.id)[-1:] for site in self.program.sites if site.node is node]
        event = next((events[0] for events in found if events), None)
        if event is None and isinstance(node, (ast.Name, ast.Attribute, ast.Subscript)):
            # What is about to be changed in place is not read before.
            text = self.program.source.segment(node)
            passed = ((e, self.program.sites[e.site]) for e in reversed(self.trace.events) if e.object != -1)
            event = next((e for e, s in passed if text in (s.target, self._read(s))), None)
        return event

    def _read(self, site: Site) -> str:
        return self.program.source.segment(site.node) if site.kind == "load" else ""

    def birth(self, event: Event) -> Site:
        """Where the array of an event was made."""
        first = next(e for e in self.trace.events if e.object == event.object)
        return self.program.sites[first.site]

    def sources(self, clash: Clash, depth: int = 2) -> list[ast.AST]:
        """The expressions that the operands were made by, those nearest to the operation first."""
        found: list[ast.AST] = []
        level = [clash.right.node, clash.left.node]
        for _ in range(depth):
            reads = [self.latest(part) for node in level for part in ast.walk(node) if isinstance(part, ast.expr)]
            arrays = [event for event in reads if event is not None and isinstance(event.value, np.ndarray)]
            births = [self.birth(event).node for event in arrays]
            level = [n for n in births if isinstance(n, ast.expr) and n not in (*found, *level)]
            found += level
        return list(dict.fromkeys(found))

    def earlier_shape(self, operand: Operand) -> tuple[Shape, int] | None:
        """What shape a variable had before a step made it larger, and the line of that step."""
        stores = [
            (e, self.program.sites[e.site])
            for e in self.trace.events[: operand.event.index]
            if self.program.sites[e.site].target == operand.text and isinstance(e.value, np.ndarray)
        ]
        for (before, _), (after, site) in pairwise(stores):
            node = site.node
            steps = isinstance(node, ast.BinOp) and isinstance(node.op, (ast.Add, ast.Sub))
            own = isinstance(node, ast.BinOp) and self.program.source.segment(node.left) == operand.text
            if (
                steps
                and own
                and np.size(before.value) < np.size(after.value)
                and np.shape(after.value) == operand.shape
            ):
                return np.shape(before.value), site.line
        return None

    # -- what the axes mean ------------------------------------------------------------------------------

    @cached_property
    def names(self) -> dict[int, str]:
        """What the lengths of axes mean: samples and classes by the labels, features by the inputs, the rest hidden."""
        arrays = [e.value for e in self._bound]
        known = [found for found in map(_of_labels, arrays) if found is not None]
        samples = {n for n, _ in known}
        inputs = [a for a in arrays if np.ndim(a) == 2 and samples & set(a.shape) and _of_labels(a) is None]
        if not samples or not inputs:
            return {}
        features = next((n for n in inputs[0].shape if n not in samples), 0)
        names = {n: "hidden" for a in arrays if np.ndim(a) == 2 and not samples & set(a.shape) for n in a.shape}
        names |= {n: "classes" for _, n in known if n}
        return names | {features: "features"} | dict.fromkeys(samples, "samples")

    @cached_property
    def _bound(self) -> list[Event]:
        """Arrays that are bound to a name, in order."""
        named = (e for e in self.trace.events if e.object != -1 and self.program.sites[e.site].target)
        return [e for e in named if isinstance(e.value, np.ndarray) and e.value.size > 1]

    def describe(self, shape: Shape) -> str:
        """A shape with the meaning of its axes, where it is known."""
        parts = [f"{self.names[n]} {n}" if n in self.names and n > 1 else str(n) for n in shape]
        return "(" + ", ".join(parts) + ("," if len(parts) == 1 else "") + ")"


def unfit(sign: str, left: Shape, right: Shape) -> tuple[int, int] | None:
    """The axes of two operands that should be as long as each other and are not."""
    if sign in ("@", *PRODUCTS):
        if not left or not right:
            return None
        inner = max(len(right) - 2, 0)
        return None if left[-1] == right[inner] else (len(left) - 1, inner)
    for k in range(1, min(len(left), len(right)) + 1):
        one, other = left[-k], right[-k]
        if one != other and 1 not in (one, other):
            return len(left) - k, len(right) - k
    if sign.endswith("=") and left != np.broadcast_shapes(left, right):
        k = next(k for k in range(1, len(right) + 1) if k > len(left) or right[-k] not in (1, left[-k]))
        return max(len(left) - k, 0), len(right) - k
    return None


def _operations(node: ast.AST, statement: ast.stmt) -> Iterator[tuple[str, ast.expr, ast.expr]]:
    """Sign and operands of an operation on two arrays."""
    if isinstance(node, ast.BinOp) and type(node.op) in SIGNS:
        yield SIGNS[type(node.op)], node.left, node.right
    if isinstance(node, ast.Compare) and len(node.ops) == 1:
        yield "==", node.left, node.comparators[0]
    if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
        name = node.func.attr
        if name in PRODUCTS and len(node.args) == 1:
            yield name, node.func.value, node.args[0]
        elif name in PRODUCTS | ELEMENTWISE and len(node.args) >= 2:
            yield name, node.args[0], node.args[1]
    if isinstance(statement, ast.AugAssign) and type(statement.op) in SIGNS and node in ast.walk(statement):
        yield SIGNS[type(statement.op)] + "=", statement.target, statement.value


def _of_labels(value: Any) -> tuple[int, int] | None:
    """Samples and classes of an array of labels: class numbers, or rows or columns with a single one."""
    array = np.asarray(value)
    if array.ndim == 1 and array.dtype.kind in "iu" and array.min() >= 0 and array.max() < CLASSES_LIMIT:
        return (array.size, int(array.max()) + 1) if array.size > 2 * (array.max() + 1) else None
    if array.ndim == 2 and min(array.shape) > 1 and not set(np.unique(array)) - {0, 1}:
        for axis in (0, 1):
            if np.all(array.sum(axis=1 - axis) == 1) and array.shape[axis] > array.shape[1 - axis]:
                return array.shape[axis], array.shape[1 - axis]
    return None
