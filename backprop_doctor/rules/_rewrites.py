"""What a wrong line of the backward pass may say instead, in words that mean the same where it stands.

Each rewriting is worked out with the values of the run: only what comes out as the derivative that the line is used
as is proposed.  What changes least comes first: a part of the line alone, then a product of two arrays, then an
error times the slope of an activation.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import product

import numpy as np

from backprop_doctor.case import Case, is_atom
from backprop_doctor.edits import is_only_reading
from backprop_doctor.gradients import Fit, aligned
from backprop_doctor.program import Event
from backprop_doctor.records import Edit, Evidence
from backprop_doctor.rules._activation import activations_of, derivative_text
from backprop_doctor.rules._lines import Array, Line, exchanges_in, is_clipped
from backprop_doctor.rules._words import word_for
from backprop_doctor.values import is_array

__all__ = ["Rewriting", "is_usual", "mended", "rewritten"]

PRODUCTS_TRIED = 400
SAME_WITHIN = 1e-4


@dataclass(frozen=True)
class Rewriting:
    """Another text for a node of a wrong line, with which the line is the derivative it is used as."""

    line: Line
    node: ast.AST
    text: str
    fit: Fit

    @property
    def edits(self) -> tuple[Edit, ...]:
        """The one text in place of the other."""
        return (self.line.case.edit(self.node, self.text),)

    @property
    def evidence(self) -> Evidence:
        """The error with the other text."""
        return Evidence(
            f"{self.text} as gradient of {self.line.of.name}", f"error {self.fit.residual:.1e}", "below 1e-5"
        )


def mended(line: Line) -> Rewriting | None:
    """The first exchange of one array of a line that makes it right, or else a rewriting of it.

    What the line multiplies by or divides by stays with an exchange, unless that is a number of no meaning.
    """
    first: Rewriting | None = None
    for exchanged in (Rewriting(line, e.node, e.word, e.fit) for e in exchanges_in(line) if e.word):
        if is_usual(line, exchanged.fit.factor):
            return exchanged
        first = first or exchanged
    return rewritten(line) or first


def rewritten(line: Line) -> Rewriting | None:
    """A rewriting of a line that makes it right: a part of it, a product, an error times a slope."""
    return _best(line, _rewritings(line))


def _rewritings(line: Line) -> Iterator[Rewriting]:
    """What may be meant, but for what was done on purpose: a limit, or an array that is there for this alone."""
    case, own = line.case, line.case.value(line.value)
    if any(is_clipped(case.value(event.key), own) for event in line.reads):
        return
    for found in (found for make in (_shortened, _products, _slopes) for found in make(line)):
        if not is_only_reading(case.source_of(found.node), case.text(found.node), found.text):
            yield found


def _best(line: Line, found: Iterator[Rewriting]) -> Rewriting | None:
    """The first that is the gradient itself, or else times a factor it may have: an odd number is there by chance."""
    rest: list[Rewriting] = []
    for one in found:
        if abs(one.fit.factor - 1) < SAME_WITHIN:
            return one
        rest.append(one)
    return next((one for one in rest if is_usual(line, one.fit.factor)), rest[0] if rest else None)


def is_usual(line: Line, factor: float) -> bool:
    """Whether a factor is 1, 2 or 1/2, or that times or over the number of samples."""
    sizes = (1.0, float(line.case.samples), 1.0 / line.case.samples)
    return any(abs(factor / (number * size) - 1) < SAME_WITHIN for number in (1.0, 2.0, 0.5) for size in sizes)


def _shortened(line: Line) -> Iterator[Rewriting]:
    """One of the arrays that an expression of the line is made from, alone in its place."""
    case = line.case
    parts = {id(case.program.sites[e.site].node): e for e in line.reads}
    own = case.trace.by_key[line.value.birth]
    for event in [own, *reversed(line.reads)]:
        site = case.program.sites[event.site]
        if site.kind == "load":
            continue
        inside = [parts[id(n)] for n in ast.walk(site.node) if id(n) in parts and n is not site.node]
        for part in inside:
            here, there = case.value(event.key), case.value(part.key)
            if np.shape(here) != np.shape(there) or np.array_equal(here, there) or is_clipped(there, here):
                continue
            found = line.fits(there) if event is own else line.with_value(event, there)
            if found.right:
                yield Rewriting(line, site.node, case.text(case.site(part.key).node), found)


def _products(line: Line) -> Iterator[Rewriting]:
    """The product of two arrays, one of which the line reads, that has the shape of what it is the gradient of."""
    case = line.case
    at = case.trace.by_key[line.value.birth]
    read = [e for e in line.reads if case.program.sites[e.site].kind == "load" and np.ndim(e.value) in (1, 2)]
    one = {e.object: case.text(case.program.sites[e.site].node) for e in read if not _is_turned(case, e)}
    known = [*case.judgement.backward, *case.judgement.forward, case.roles.batch]
    near = sorted((q for q in known if q.index < line.value.index), key=lambda q: -q.index)
    values = {q.object: case.value(q) for q in near} | {e.object: case.value(e.key) for e in read}
    others = list(dict.fromkeys([*one, *(q.object for q in near if len(q.shape) in (1, 2))]))
    tried = 0
    for first, second in product(one, others):
        for left, right in ((first, second), (second, first)):
            for text, array in _arranged(values[left], values[right], line.of.shape):
                tried += 1
                found = line.fits(array) if tried <= PRODUCTS_TRIED else Fit(0.0, np.inf)
                words = [one.get(o) or word_for(case, o, at) for o in (left, right)] if found.right else []
                if all(words) and words:
                    node = case.binding[line.value.object].node if line.value.object in case.binding else None
                    yield Rewriting(line, node or case.home(line.value), text.format(*words), found)


def _is_turned(case: Case, event: Event) -> bool:
    node = case.program.sites[event.site].node
    return isinstance(node, ast.Attribute) and node.attr == "T"


def _arranged(one: Array, two: Array, shape: tuple[int, ...]) -> Iterator[tuple[str, Array]]:
    """Products of two arrays with a shape, and how they are written."""
    if np.ndim(one) == np.ndim(two) == 1:
        if (np.size(one), np.size(two)) == shape:
            yield "np.outer({}, {})", np.outer(one, two)
        return
    if np.ndim(one) != 2 or np.ndim(two) != 2:
        return
    for text, left, right in (("{} @ {}", one, two), ("{}.T @ {}", one.T, two), ("{} @ {}.T", one, two.T)):
        if left.shape[1] == right.shape[0] and (left.shape[0], right.shape[1]) == shape:
            yield text, left @ right


def _slopes(line: Line) -> Iterator[Rewriting]:
    """An error that the line reads, times the slope of the activation that follows."""
    case = line.case
    for activation in activations_of(case, line.of):
        formula = derivative_text(activation)
        for event in reversed(line.reads) if formula else ():
            error = aligned(case.value(event.key), activation.slope.shape)
            if error is None or not case.roles.on_labels[event.index] or not is_array(event.value):
                continue
            found = line.fits(error * activation.slope)
            if found.right:
                text = case.text(case.site(event.key).node)
                factor = text if is_atom(text) else f"({text})"
                yield Rewriting(line, case.home(line.value), f"{factor} * {formula}", found)
