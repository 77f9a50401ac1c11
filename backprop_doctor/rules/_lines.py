"""What the rules about wrong lines of the backward pass share.

A line that is wrong is run again with one of its values exchanged.  What makes the result the derivative it
is used as belongs in that place; what leaves it wrong does not explain it.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from backprop_doctor.adjoints import Adjoint, is_wrong
from backprop_doctor.case import Case, Sighting
from backprop_doctor.gradients import Fit, aligned, fit
from backprop_doctor.program import Event
from backprop_doctor.records import Edit, Evidence
from backprop_doctor.roles import Parameter, Quantity
from backprop_doctor.rules._activation import upstream_derivatives
from backprop_doctor.rules._words import word_for
from backprop_doctor.values import is_array

Array = NDArray[np.float64]
LEFT_OF_ERROR = 1e-4
TRIALS = 40


@dataclass(frozen=True)
class Line:
    """A backward value that is not the derivative it is used as, and the line that makes it."""

    case: Case
    link: Adjoint

    @classmethod
    def of_event(cls, case: Case, event: Event, parameter: Parameter) -> Line:
        """The line that makes what a parameter moves by, of which nothing can be said as a gradient."""
        return cls(case, Adjoint(case.quantity(event), parameter, Fit(0.0, float("inf")), "none"))

    @property
    def value(self) -> Quantity:
        """The wrong value."""
        return self.link.value

    @property
    def of(self) -> Quantity:
        """What it is used as the gradient of."""
        return self.link.of

    @cached_property
    def _numeric(self) -> list[Array]:
        # A part of the line itself would make any continuation of it look right.
        return list(upstream_derivatives(self.case, self.value, self.of, self.made))

    @cached_property
    def reads(self) -> list[Event]:
        """The arrays that pass in the line on the way to the value, each at its last place before it."""
        case, value = self.case, self.value
        bound = case.binding.get(value.object)
        statements = [bound.statement] if bound else []
        statements += [s for s in [case.statement(value)] if s not in statements]
        found: dict[int, Event] = {}
        for statement in statements:
            for event in case.events_in(statement):
                if event.index < value.index and is_array(event.value) and event.object != value.object:
                    found[event.site] = event
        return list(found.values())

    @cached_property
    def made(self) -> frozenset[int]:
        """The objects that the line makes on the way to its value."""
        return frozenset(e.object for e in self.reads if self.case.program.sites[e.site].kind != "load")

    def fits(self, array: Any) -> Fit:
        """How well an array in the place of the value is the derivative it is used as."""
        best = Fit(0.0, float("inf"))
        mended = None if array is None else aligned(array, self.of.shape)
        if mended is None or mended.size < 2:
            return best
        tangents = self.case.measurement.tangents(self.of.birth)
        analytic = np.array([float(np.sum(mended * t.direction)) for t in tangents])
        for numeric in self._numeric:
            found = fit(analytic, numeric)
            # A small error may vanish nearly whatever is done; what is right is so to the last digits.
            better = found.residual < LEFT_OF_ERROR * self.link.fit.residual
            if better and (not found.right, found.residual) < (not best.right, best.residual):
                best = found
        return best

    def with_value(self, event: Event, array: Any) -> Fit:
        """How well the value fits when another array passes at one event of its line."""
        value = self.case.changed({event.key: lambda value: np.array(array)}, self.value.birth)
        return Fit(0.0, float("inf")) if self._is_there(value) else self.fits(value)

    def _is_there(self, array: Any) -> bool:
        """Whether an array is no more than what stands in another line already, and is right there."""
        mended = None if array is None else aligned(array, self.of.shape)
        others = [a.value for a in self.case.judgement.claims if a.right and a.of.object == self.of.object]
        known = [aligned(self.case.value(other), self.of.shape) for other in others]
        return mended is not None and any(k is not None and fit(k.ravel(), mended.ravel()).right for k in known)

    def evidence(self, mended: str, found: Fit) -> tuple[Evidence, ...]:
        """The error as it stands, and the one with the change."""
        return (
            Evidence(
                f"{self.value.name} as gradient of {self.of.name}", f"error {self.link.fit.residual:.2g}", "below 1e-5"
            ),
            Evidence(mended, f"error {found.residual:.1e}", "below 1e-5"),
        )


@dataclass(frozen=True)
class Exchange:
    """An array read in a wrong line, and the one that makes the line right in its place."""

    line: Line
    event: Event
    node: ast.AST
    wanted: Quantity
    fit: Fit

    @property
    def edits(self) -> tuple[Edit, ...]:
        """Write the one name for the other, where the name means the same in that place."""
        return (self.line.case.edit(self.node, self.word),) if self.word else ()

    def sighting(self, made: str, why: str) -> Sighting:
        """What to say of it; ``made`` tells how the line is made from what it reads."""
        line, wanted, text = self.line, self.wanted, self.line.case.text(self.node)
        only = f"and is the gradient of {line.of.name} only with {wanted.name}"
        return Sighting(
            node=self.node,
            message=f"{line.value.name} is {made} {text}, {only}",
            label=f"{wanted.name} belongs here",
            why=why,
            evidence=line.evidence(f"the same with {wanted.name} in the place of {text}", self.fit),
            fix=f"{self.word or wanted.name} in place of {text}",
            edits=self.edits,
            objects=(line.value.object,),
        )

    @cached_property
    def word(self) -> str:
        """What the wanted array is called in this place; empty where it has no name there."""
        case, name = self.line.case, self.wanted.name
        found = word_for(case, self.wanted.object, self.event)
        scope = case.program.sites[self.event.site].scope
        return found or (name if case.is_read_in(scope, name) else "")


def wrong_lines(case: Case) -> list[Line]:
    """Wrong adjoints and gradients; none where most of the backward pass is not understood.

    There the doctor is lost, and the program not wrong.
    """
    known = case.judgement.claims
    if 2 * sum(link.right for link in known) <= len(known):
        return []
    gradients = (g for p, g in case.wrong_gradients if not _is_new_value(case, p, g.value))
    links = {a.value.object: a for a in [*case.wrong_adjoints, *gradients]}
    lines = [Line(case, a) for a in links.values() if is_wrong(a) and np.isfinite(a.fit.residual)]
    return [line for line in lines if not _is_cut_off(line)]


def _is_cut_off(line: Line) -> bool:
    """Whether the gradient of a parameter is right but for what is cut off at a limit, as many do on purpose."""
    if not isinstance(line.of, Parameter):
        return False
    own = line.case.value(line.value)
    whole = (line.case.value(e.key) for e in line.reads)
    return any(is_clipped(array, own) and line.fits(array).right for array in whole)


def is_clipped(whole: Any, part: Any) -> bool:
    """Whether an array is another one cut off at its own least and greatest number."""
    if np.shape(whole) != np.shape(part) or np.size(part) < 2 or np.array_equal(whole, part):
        return False
    return np.array_equal(np.clip(whole, np.min(part), np.max(part)), part)


def _is_new_value(case: Case, parameter: Parameter, value: Quantity) -> bool:
    """Whether a value is the parameter itself with something added to it: on the way to its next value."""
    node = case.home(value)
    if not isinstance(node, ast.BinOp) or not isinstance(node.op, (ast.Add, ast.Sub)):
        return False
    own = {id(case.site(e.key).node) for e in case.step_events if e.object == parameter.object}
    return id(node.left) in own or id(node.right) in own


def exchanges(case: Case) -> list[Exchange]:
    """For each wrong line the first exchange of one array it reads that makes it right."""
    # What is right for another turn becomes so by many an exchange.
    lines = [line for line in case.once(wrong_lines) if not line.link.shifted]
    return [found for line in lines if (found := next(exchanges_in(line), None)) is not None]


def exchanges_in(line: Line) -> Iterator[Exchange]:
    """Exchanges of one array that a line reads for another of the same shape, that make it right."""
    case, trials = line.case, 0
    known = _known(case, line.value.index)
    for event in line.reads:
        site = case.program.sites[event.site]
        if site.kind != "load" or any(is_array(e.value) for e in case.children(event)):
            continue
        here = case.value(event.key)
        for wanted in known:
            there = case.value(wanted)
            if wanted.object == event.object or np.shape(there) != np.shape(here) or np.array_equal(there, here):
                continue
            trials += 1
            if trials > TRIALS:
                return
            found = line.with_value(event, there)
            if found.right:
                yield Exchange(line, event, site.node, wanted, found)


def _known(case: Case, before: int) -> list[Quantity]:
    """Arrays with a name that the program has at hand, those of the step nearest to the line first."""
    step = [*case.judgement.forward, *case.judgement.backward]
    near = sorted((q for q in step if q.index < before and _is_named(q)), key=lambda q: -q.index)
    return [*near, *case.roles.parameters, case.roles.batch, *case.roles.inputs, *case.roles.labels]


def _is_named(quantity: Quantity) -> bool:
    return not any(c in quantity.name for c in "(+-*/@ ")


def masks(case: Case) -> list[Event]:
    """Arrays of zeros and one other number that hang on nothing, each at its first place in the step."""
    roles = case.roles
    found: dict[int, Event] = {}
    for event in case.step_events:
        known = roles.on_parameters[event.index] or roles.on_inputs[event.index] or roles.on_labels[event.index]
        if event.object not in found and not known and np.size(event.value) > 1 and is_array(event.value):
            numbers = np.unique(event.value)
            if numbers.size == 2 and numbers[0] == 0 and event.object in roles.names:
                found[event.object] = event
    return list(found.values())


def part_of(case: Case, event: Event) -> str:
    """What an event's array is to the network: ``parameter``, ``layer``, ``error`` or ``label``."""
    roles, i = case.roles, event.index
    if event.object in {p.object for p in roles.parameters}:
        return "parameter"
    if roles.on_labels[i]:
        return "error" if roles.on_parameters[i] else "label"
    return "layer"


def is_overwritten(exchange: Exchange) -> bool:
    """Whether the array that is wanted lay where the one that is read lies now: it was changed in place."""
    wanted = exchange.line.case.trace.by_key.get(exchange.wanted.birth)
    return wanted is not None and wanted.storage == exchange.event.storage


def as_factor(case: Case, node: ast.AST) -> str:
    """The text of an expression as it may stand in a product: in parentheses where it needs them."""
    text = case.text(node)
    return text if isinstance(node, (ast.Name, ast.Attribute, ast.Call, ast.Subscript, ast.Constant)) else f"({text})"
