"""One program under examination: everything the rules may ask about it.

A rule is given a `Case` and yields sightings.  It asks for values, shapes, nodes of the syntax tree and
further runs; it never runs the program by itself.
"""

from __future__ import annotations

import ast
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property, partial
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from backprop_doctor.adjoints import Adjoint, Judgement
from backprop_doctor.axes import Axes
from backprop_doctor.gradients import Fit, Measurement, aligned, fit, name_factor
from backprop_doctor.instrument import Site
from backprop_doctor.mnist import SIZES
from backprop_doctor.program import Event, Key, Probe, Program, Trace
from backprop_doctor.records import Edit, Evidence, Position, Severity, Status, Unchecked
from backprop_doctor.roles import Parameter, Quantity, Roles
from backprop_doctor.source import Project, Source, counts_in

if TYPE_CHECKING:
    from backprop_doctor.oracles.accuracy import Accuracy

__all__ = ["Case", "Reduction", "Sighting", "always", "is_atom"]

Array = NDArray[np.float64]
Answer = TypeVar("Answer")

SHORT_TURNS = 2
SHORT_STEPS = 20
SHORT_UPDATES = 1_000
SHORT_EVENTS = 40_000


@dataclass(frozen=True)
class Sighting:
    """What a rule saw: the place, the numbers, and the edit it proposes.

    ``objects`` are the values whose verdict becomes *wrong* in the chart.
    """

    node: ast.AST
    message: str
    label: str = ""
    why: str = ""
    evidence: tuple[Evidence, ...] = ()
    fix: str = ""
    edits: tuple[Edit, ...] = ()
    severity: Severity | None = None
    status: Status = "confirmed"
    symptoms: tuple[str, ...] = ()
    objects: tuple[int, ...] = ()


@dataclass(frozen=True)
class Reduction:
    """A call or method that sums (or averages, or maximises) one array over some of its axes."""

    event: Event
    node: ast.Call
    operand: Event
    axes: tuple[int, ...]


@dataclass
class Case:
    """A program with its roles, numeric derivatives and verdicts.

    ``errors`` are the codes of the errors found so far: what a rule of last resort says must hold beside them.
    """

    program: Program
    probe: Probe
    trace: Trace
    roles: Roles
    measurement: Measurement
    judgement: Judgement
    axes: Axes
    remarks: list[str] = field(default_factory=list)
    faults: list[Unchecked] = field(default_factory=list)
    errors: list[str] = field(default_factory=list)
    _end: int | None = field(default=None, repr=False)
    _claims: dict[tuple[int, Key], Adjoint] = field(default_factory=dict, repr=False)
    _turns: dict[int, int] = field(default_factory=dict, repr=False)
    _answers: dict[Callable[..., Any], Any] = field(default_factory=dict, repr=False)

    # -- places ----------------------------------------------------------------------------------------

    @property
    def source(self) -> Project:
        """The user's files."""
        return self.program.source

    def source_of(self, node: ast.AST) -> Source:
        """The file or cell a node stands in."""
        return self.program.source.source_of(node)

    def site(self, key: Key) -> Site:
        """The site of an event."""
        return self.program.sites[key[0]]

    def text(self, node: ast.AST) -> str:
        """Source text of a node."""
        return self.source.segment(node)

    def edit(self, node: ast.AST, replacement: str) -> Edit:
        """Replace one node's text; parentheses around it go with it where the new text needs none."""
        position = self.source.position(node)
        return Edit(self.source_of(node).unwrapped(position) if is_atom(replacement) else position, replacement)

    def insertion(self, line: int, column: int, text: str, near: ast.AST | None = None) -> Edit:
        """Insert text before a 1-based line and column of the source that ``near`` stands in."""
        home = self.source.main[0] if near is None else self.source_of(near)
        return Edit(Position(home.path, line, column, line, column, home.cell), text)

    def move(self, statement: ast.stmt, after: ast.stmt) -> tuple[Edit, ...]:
        """Put a statement below a later one of the same block; no edits where lines hold more than them."""
        home = self.source_of(statement)
        block = next((b for b in _blocks(home.tree) if statement in b and after in b), None)
        if block is None or block.index(after) <= block.index(statement):
            return ()
        here, there = home.position(statement), home.position(after)
        neighbours = [home.position(s) for s in block if s is not statement]
        if any(here.line <= p.end_line and p.line <= here.end_line for p in neighbours):
            return ()
        lines = "".join(home.whole_line(n) for n in range(here.line, here.end_line + 1))
        if not lines.endswith(("\n", "\r")) or not home.whole_line(there.end_line).endswith(("\n", "\r")):
            return ()
        gap = Position(home.path, here.line, 1, here.end_line + 1, 1, home.cell)
        return (Edit(gap, ""), self.insertion(there.end_line + 1, 1, lines, statement))

    @cached_property
    def binding(self) -> dict[int, Site]:
        """For each object the outermost site that binds it to a name."""
        found: dict[int, Site] = {}
        for event in self.trace.events:
            site = self.program.sites[event.site]
            if event.object != -1 and site.target:
                found[event.object] = site
        return found

    def home(self, quantity: Quantity) -> ast.AST:
        """The expression that made a value."""
        return self.site(quantity.birth).node

    def place(self, claim: Adjoint) -> ast.AST:
        """Where a wrong claim comes from: the expression that made its value, or the one that took it for another.

        A value that is right for another forward value, or is made by a function that serves other layers well, is
        taken wrong where it gets another name or comes back from the call.
        """
        value = claim.value
        right = [a for a in self.judgement.claims if a.right and a.of.birth != claim.of.birth]
        if not any(a.value.object == value.object or a.value.birth[0] == value.birth[0] for a in right):
            return self.home(value)
        scope = self.site(value.birth).scope
        for event in self.step_events:
            site = self.program.sites[event.site]
            is_later = event.object == value.object and event.index > value.index and event.site != value.birth[0]
            is_named = site.kind == "load" and site.target is not None
            if is_later and (is_named or (site.kind == "call" and site.scope != scope)):
                return site.node
        return self.home(value)

    def statement(self, quantity: Quantity) -> ast.stmt:
        """The statement that made a value."""
        return self.site(quantity.birth).statement

    @cached_property
    def step_events(self) -> list[Event]:
        """Value events of the first step, in order."""
        return [e for e in self.trace.events[self.roles.step.start : self.roles.step.middle] if e.object != -1]

    def events_in(self, statement: ast.stmt) -> list[Event]:
        """Value events of the first step that belong to a statement."""
        return [e for e in self.step_events if self.program.sites[e.site].statement is statement]

    def children(self, event: Event) -> list[Event]:
        """The operands of an expression: the latest events of its child sites before it."""
        return self.trace.operands(event, self.program.sites[event.site].children)

    # -- values ------------------------------------------------------------------------------------------

    def value(self, quantity: Quantity | Key) -> Any:
        """A value of the first step at the point where derivatives were measured."""
        return self.measurement.value(quantity if isinstance(quantity, tuple) else quantity.birth)

    @cached_property
    def live(self) -> Trace:
        """The run from the same point with updates in force."""
        return self.measurement.moved(frozen=False).trace

    @cached_property
    def accuracy(self) -> Accuracy | None:
        """The metric the program reports, put to the test."""
        from backprop_doctor.oracles.accuracy import examine_accuracy

        try:
            return examine_accuracy(self)
        except Exception as error:  # the rest of the report stands without it
            self.faults.append(Unchecked("accuracy", f"a fault of this tool: {type(error).__name__}: {error}"))
            return None

    def run_updating_all_but(self, parameter: Parameter) -> Trace:
        """The run from the same point with one parameter's update held back and all others in force."""
        return self.measurement.moved(frozen=False, hold=(parameter,)).trace

    def run(self, actions: dict[Key, Callable[[Any], Any]], **changes: Any) -> Trace:
        """A run from the program's own initial values with other actions."""
        return self.program.run(replace(self.probe, actions=actions, **changes))

    @property
    def samples(self) -> int:
        """Samples in the first step."""
        return self.axes.samples

    def factor(self, value: float) -> str:
        """A factor as a formula of N, D, H and C, or of a rate that the program has a name for."""
        name = self._rates.get(round(abs(value), 9))
        return ("-" if value < 0 else "") + name if name else name_factor(value, self.axes.letters)

    @cached_property
    def learning_rate(self) -> tuple[str, float] | None:
        """The named number between 0 and 1 that an update reads, if it is only one."""
        updates = {id(self.site(key).statement) for p in self.roles.parameters for key in p.updates}
        found = {}
        for event in self.step_events:
            site = self.program.sites[event.site]
            named = isinstance(site.node, (ast.Name, ast.Attribute))
            if id(site.statement) in updates and named and isinstance(event.value, float) and 0 < event.value < 1:
                found[self.text(site.node)] = event.value
        return next(iter(found.items())) if len(found) == 1 else None

    @property
    def images(self) -> int:
        """Samples in the first step when the program has all images, not the few of this run."""
        return {self.probe.test: SIZES["test"], self.probe.train: SIZES["train"]}.get(self.samples, self.samples)

    @cached_property
    def _rates(self) -> dict[float, str]:
        """Named numbers below 1 that the first step reads, such as a learning rate."""
        found: dict[float, str] = {}
        for event in self.step_events:
            node = self.program.sites[event.site].node
            if isinstance(event.value, float) and 0 < event.value < 1 and isinstance(node, (ast.Name, ast.Attribute)):
                found.setdefault(round(event.value, 9), self.text(node))
        return found

    def describe(self, shape: tuple[int, ...]) -> str:
        """A shape with named axes."""
        return self.axes.describe(shape)

    # -- verdicts ----------------------------------------------------------------------------------------

    def gradient(self, parameter: Parameter) -> Adjoint | None:
        """The gradient found for a parameter."""
        return self.judgement.gradients.get(parameter.object)

    def chain(self, adjoint: Adjoint) -> list[Adjoint]:
        """The claims an adjoint rests on, itself first, the loss last."""
        links = [adjoint]
        while links[-1].upstream is not None:
            following = self._claim(links[-1].upstream, links[-1].through)
            if following is None or following in links:
                break
            links.append(following)
        return links

    def _claim(self, value: Quantity, of: Quantity | None) -> Adjoint | None:
        """What is said of a value as the adjoint of just that quantity: one value may serve for several."""
        if of is None:
            return self.judgement.best().get(value.object)
        known = self.judgement.adjoints.get((value.object, of.birth))
        if known is not None:
            return known
        if (value.object, of.birth) not in self._claims:
            self._claims[value.object, of.birth] = self.judgement.claim(value, of)
        return self._claims[value.object, of.birth]

    def total_factor(self, adjoint: Adjoint) -> float | None:
        """Gradient over derivative of the summed loss; None where the chain has a wrong link."""
        links = self.chain(adjoint)
        if not all(link.right for link in links) or links[-1].given == "adjoint":
            return None
        return float(np.prod([link.fit.factor for link in links]))

    @cached_property
    def wrong_adjoints(self) -> list[Adjoint]:
        """Values used as adjoints that are not, beyond doubt, in the order of the backward pass."""
        definite = [a for a in self.judgement.adjoints.values() if not a.right and self.judgement.is_definite(a)]
        wrong = [a for a in definite if not self._is_right_off_zero(a)]
        return sorted(wrong, key=lambda a: a.value.index)

    @cached_property
    def wrong_gradients(self) -> list[tuple[Parameter, Adjoint]]:
        """Parameters whose gradient has the right shape and, beyond doubt, the wrong direction."""
        pairs = [(p, self.gradient(p)) for p in self.roles.parameters]
        return [(p, g) for p, g in pairs if g is not None and not g.right and self.judgement.is_definite(g)]

    def _is_right_off_zero(self, claim: Adjoint) -> bool:
        """Whether a claim fails only where its forward value is exactly 0: a kink there has any slope one likes.

        A picture of zeros and no bias, or a layer of dead units, put a ReLU on its corner for sure.
        """
        value = self.value(claim.of)
        corner = np.asarray(value) == 0
        if claim.upstream is None or claim.through is None or not corner.any():
            return False
        upstream = np.asarray(self.value(claim.upstream), np.float64)
        analytic = aligned(self.value(claim.value), claim.of.shape)
        numbers: list[tuple[float, float]] = []
        for tangent in self.measurement.tangents(claim.of.birth):
            direction = np.where(corner, 0.0, tangent.direction)
            derivatives = self.measurement.along(claim.of.birth, direction).derivatives
            moved = np.ravel(np.asarray(derivatives.get(claim.through.birth, np.nan), np.float64))
            if analytic is None or moved.size != upstream.size:
                return False
            numbers.append((float(np.sum(analytic * direction)), float(np.sum(upstream.ravel() * moved))))
        ours, numeric = np.array(numbers).T
        return not ours.any() or fit(ours, numeric).right

    def operand_quantities(self, statement: ast.stmt) -> list[Quantity]:
        """Arrays computed earlier that a statement reads, in reading order."""
        seen: dict[int, Quantity] = {}
        for event in self.events_in(statement):
            site = self.program.sites[event.site]
            if site.kind == "load" and not site.children and np.ndim(event.value) > 0:
                birth = self.trace.first_seen[event.object]
                name = self.roles.names.get(event.object, self.text(site.node))
                seen.setdefault(
                    event.object,
                    Quantity(event.object, birth.key, birth.index, name, site.line, np.shape(event.value)),
                )
        return list(seen.values())

    def reductions(self, events: list[Event] | None = None) -> Iterator[Reduction]:
        """Calls among the events that reduce an array over some axes, found by the shapes they saw."""
        for event in self.step_events if events is None else events:
            node = self.program.sites[event.site].node
            if not isinstance(node, ast.Call):
                continue
            for operand in self.children(event):
                if np.ndim(operand.value) == 0 or np.size(operand.value) <= np.size(event.value):
                    continue
                axes = reduced_axes(np.shape(operand.value), np.shape(event.value), node)
                if axes is not None:
                    yield Reduction(event, node, operand, axes)
                    break

    def biased(self, parameter: Parameter, axis: tuple[int, ...], upstream: Quantity) -> tuple[float, float] | None:
        """Factor and residual of ``upstream`` summed over ``axis`` as gradient of a parameter, or None."""
        value = np.asarray(self.value(upstream), np.float64)
        summed = aligned(value.sum(axis=axis, keepdims=True), parameter.shape)
        if summed is None:
            return None
        tangents = self.measurement.tangents(parameter.birth)
        analytic = np.array([float(np.sum(summed * t.direction)) for t in tangents])
        best: tuple[tuple[bool, float], Fit] | None = None
        shape = value.shape
        for key in self.measurement.watch:
            if any(key not in t.derivatives or np.shape(t.derivatives[key]) != shape for t in tangents):
                continue
            numeric = np.array([float(np.sum(value * t.derivatives[key])) for t in tangents])
            found = fit(analytic, numeric)
            # Several later values may explain it; the plainest factor is the one meant.
            rank = (not found.right, abs(found.factor - 1) if found.right else found.residual)
            if best is None or rank < best[0]:
                best = (rank, found)
        return (best[1].factor, best[1].residual) if best else None

    # -- beyond the first step ---------------------------------------------------------------------------

    def per_turn(self, key: Key) -> int:
        """How often the site of an event is passed in one turn of the loop that makes the steps."""
        step = self.roles.step
        if key[0] not in self._turns:
            self._turns[key[0]] = sum(step.start <= e.index < step.middle for e in self.trace.at(key[0])) or 1
        return self._turns[key[0]]

    def first(self, event: Event) -> Event:
        """The first event of an event's object: what is done there reaches all its readers."""
        return self.trace.first_seen[event.object]

    def quantity(self, event: Event) -> Quantity:
        """What an event makes, by its name or else by its text."""
        site = self.program.sites[event.site]
        name = self.roles.names.get(event.object) or self.text(site.node)
        return Quantity(event.object, event.key, event.index, name, site.line, np.shape(event.value))

    def step_limit(self, turns: int) -> int:
        """Events to allow a run that is to come through so many turns of the loop that makes the steps."""
        step = self.roles.step
        return step.middle + (turns + 1) * (step.end - step.middle + 5)

    def number(self, node: ast.expr) -> float | int | None:
        """The number an expression had when it was last read before or in the first step."""
        if isinstance(node, ast.Constant) and isinstance(node.value, (int, float)):
            # Of numbers of images, how many were served.
            counts = counts_in(self.source.source_of(node).tree, self.source.sized)
            return self.probe.count(int(node.value)) if any(node is count for count in counts) else node.value
        for event in reversed(self.trace.events[: self.roles.step.middle]):
            if event.object != -1 and self.program.sites[event.site].node is node:
                return event.value if isinstance(event.value, (int, float)) else None
        return None

    @property
    def cut(self) -> dict[int, int]:
        """How many turns loops get in a run that is cut to two turns of the training."""
        return {**self.probe.turns, self.roles.training.loop: SHORT_TURNS}

    @property
    def skipped(self) -> dict[int, int]:
        """How many turns loops get in a run that has to come to what follows the training."""
        return {self.roles.step.loop: SHORT_STEPS, **self.cut}

    @property
    def short_limit(self) -> int:
        """Events to allow a run that is cut to two turns, whatever comes before training."""
        return self.roles.training.start + SHORT_EVENTS if self._end is None else self._end

    def end_before(self, loop: int) -> None:
        """Let another loop, and what comes after it, be the business of another case."""
        start = self.roles.training.start
        begins = next((e.index for e in self.short.at(loop) if e.object == -1 and e.index > start), None)
        if begins is not None:
            self._end = begins - 1
            self.short = Trace(self.short.events[:begins], "stopped")

    @cached_property
    def short(self) -> Trace:
        """The program with its training cut to two turns, followed to what it does afterwards.

        Where it fails since a parameter has grown, that keeps its first value: else all that follows were out of sight.
        """
        trace = self.run({}, turns=self.cut, limit=self.short_limit)
        if not trace.failed:
            return trace
        held: dict[Key, Callable[[Any], Any]] = {}
        for parameter in self.roles.parameters:
            site, first = parameter.updates[-1][0], self.trace.by_key[parameter.birth].value
            if np.shape(trace.value(parameter.updates[-1])) != parameter.shape:
                held |= dict.fromkeys(((site, number) for number in range(SHORT_UPDATES)), partial(_kept, first))
        again = self.run(held, turns=self.cut, limit=self.short_limit) if held else trace
        return trace if again.failed else again

    @property
    def is_right(self) -> bool:
        """Whether every gradient was found and is the derivative it stands for, up to a positive factor."""
        gradients = [self.gradient(p) for p in self.roles.parameters]
        factors = [self.total_factor(g) if g is not None and g.right else None for g in gradients]
        return bool(factors) and all(f is not None for f in factors) and not self.wrong_adjoints

    # -- what several rules ask ----------------------------------------------------------------------------

    def once(self, question: Callable[[Case], Answer]) -> Answer:
        """The answer of a function of this case, worked out once for all rules that ask."""
        if question not in self._answers:
            self._answers[question] = question(self)
        answer: Answer = self._answers[question]
        return answer

    def made_at(self, site: int) -> list[Event]:
        """Events of one site in the first step, in order."""
        step = self.roles.step
        return [e for e in self.trace.at(site) if step.start <= e.index < step.middle]

    def changed(self, actions: Mapping[Key, Callable[[Any], Any]], key: Key) -> Any:
        """The value at one event of the first step when others are changed, updates held back."""
        index = self.trace.by_key[key].index
        return self.measured(actions, frozenset({key}), index).value(key)

    def measured(self, actions: Mapping[Key, Callable[[Any], Any]], keep: frozenset[Key] | None, last: int) -> Trace:
        """A run at the point where derivatives were measured, to an event that may lie beyond all of theirs."""
        before = self.measurement._actions
        return self.program.run(replace(self.probe, actions={**before, **actions}, keep=keep, last=last))

    def is_read_in(self, scope: str, text: str) -> bool:
        """Whether a name is bound or read in a function (or in the module, for the empty scope)."""
        sites = (s for s in self.program.sites if s.scope == scope and s.kind != "loop")
        return any(s.target == text or (s.kind == "load" and self.text(s.node) == text) for s in sites)


def is_atom(text: str) -> bool:
    """Whether a text stands in any place of an expression without parentheses."""
    try:
        node = ast.parse(text, mode="eval").body
    except SyntaxError:
        return False
    return isinstance(node, (ast.Name, ast.Attribute, ast.Subscript, ast.Call))


def _kept(old: Any, _: Any) -> Any:
    return np.array(old)


def always(array: Array) -> Callable[[Any], Any]:
    """An action that puts one array in the place of whatever passes."""
    return lambda value: array.copy()


def _blocks(tree: ast.AST) -> Iterator[list[ast.stmt]]:
    for node in ast.walk(tree):
        for name in ("body", "orelse", "finalbody"):
            block = getattr(node, name, None)
            if isinstance(block, list):
                yield block


def reduced_axes(before: tuple[int, ...], after: tuple[int, ...], node: ast.Call) -> tuple[int, ...] | None:
    """The axes a reduction took away, judged by shapes; the ``axis`` argument settles ambiguities."""
    if after == () or all(n == 1 for n in after):
        return tuple(range(len(before))) if before else None
    stated = stated_axis(node)
    options = []
    for axis in range(len(before)):
        dropped = before[:axis] + before[axis + 1 :]
        kept = (*before[:axis], 1, *before[axis + 1 :])
        if after in (dropped, kept) and before[axis] > 1:
            options.append((axis,))
    if len(options) > 1 and stated is not None:
        options = [o for o in options if o[0] == stated % len(before)] or options
    return options[0] if options else None


def axis_argument(node: ast.Call) -> ast.expr | None:
    """The expression given for ``axis`` in ``np.sum(a, axis=1)``, ``a.sum(1)``, ``np.sum(a, 1)``."""
    for keyword in node.keywords:
        if keyword.arg in ("axis", "dim"):
            return keyword.value
    position = 1
    if isinstance(node.func, ast.Attribute) and not (
        isinstance(node.func.value, ast.Name) and node.func.value.id in ("np", "numpy")
    ):
        position = 0 if not node.args or (len(node.args) == 1 and _is_axis(node.args[0])) else 1
    return node.args[position] if len(node.args) > position and _is_axis(node.args[position]) else None


def stated_axis(node: ast.Call) -> int | None:
    """The number given for ``axis``, if it is a plain number."""
    argument = axis_argument(node)
    if argument is None:
        return None
    try:
        value = ast.literal_eval(argument)
    except ValueError:
        return None
    return value if isinstance(value, int) else None


def _is_axis(node: ast.expr) -> bool:
    try:
        return isinstance(ast.literal_eval(node), int)
    except ValueError:
        return False


def axis_edits(case: Case, node: ast.Call, axis: int | tuple[int, ...], *, keepdims: bool) -> tuple[Edit, ...]:
    """Edits that make a reduction run over ``axis``, in the author's spacing.

    ``keepdims=True`` is appended when it is wanted and not there already.
    """
    argument = axis_argument(node)
    text = case.text(node)
    spaced = " = " if "axis = " in text or "keepdims = " in text else "="
    end = case.source.position(node)
    has_keepdims = any(k.arg == "keepdims" for k in node.keywords)
    tail = f", keepdims{spaced}True" if keepdims and not has_keepdims else ""
    closing = case.insertion(end.end_line, end.end_column - 1, "", node)
    if argument is None:
        comma = ", " if node.args or node.keywords else ""
        return (replace(closing, replacement=f"{comma}axis{spaced}{axis}{tail}"),)
    edits = [case.edit(argument, str(axis))] if stated_axis(node) != axis else []
    if tail:
        edits.append(replace(closing, replacement=tail))
    return tuple(edits)
