"""Which backward value is the adjoint of which forward value, judged line by line.

A wrong line spoils all that follows it.  So each backward value is judged on what it was given: with
the program's own adjoint of a later value v, the right adjoint of u is the derivative of
<adjoint of v, v(u)>.  The pairing itself is found by trying; the right one makes the rest consistent.
"""

from __future__ import annotations

import ast
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from functools import cache, cached_property
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from backprop_doctor.gradients import (
    DIRECTIONS,
    RIGHT_BELOW,
    STEP_RELATIVE,
    WRONG_ABOVE,
    Fit,
    Measurement,
    Tangent,
    aligned,
    fit,
    fits,
)
from backprop_doctor.program import Event, Key, Once
from backprop_doctor.roles import Element, Meeting, Parameter, Quantity, Roles, Use
from backprop_doctor.values import is_array, is_same

__all__ = ["Adjoint", "Judgement", "judge"]

Array = NDArray[np.float64]
OTHER_SCALES = (0.6, 1.6)
LOSSES, LOSSES_TRIED, LOSSES_UNNAMED = 6, 10, 2
CLAIMS_TRIED = 6
USES_TRIED = 4
OPERANDS = 12
ELEMENTS_TRIED = 24
ADDED_WITHIN = 1e-12
FEW = 8
TURNS_TRIED, NUMBERS_TRIED = 2, 12
ROUNDING = 1e-13
PLAIN_WITHIN = 1e-5
STEP_OFF_KINKS = 1e-8  # of ten thousand maxima hardly one changes hands
Given = Literal["adjoint", "declared", "implied", "canonical", "none"]


@dataclass(frozen=True)
class Adjoint:
    """``value`` claims to be the adjoint of ``of``.

    ``given`` says what it was judged on: the adjoint ``upstream`` of a later value ``through``, the
    loss the program declares, one it implies (``loss`` names it), or the canonical output - target.
    ``paired`` is false where a claim fails and ``through`` is a mere guess at what ``upstream`` belongs to;
    ``others`` are values that would do as well (a mask applied twice is a mask).  ``partial`` is true where
    the value is right as far as it goes, and leaves out another way in which ``of`` reaches the outputs;
    ``scattered`` where it is a multiple of the adjoint at each point, but another one at each; ``shifted`` where it
    is right only if ``upstream`` belongs to another turn of a loop than it does.
    """

    value: Quantity
    of: Quantity
    fit: Fit
    given: Given
    upstream: Quantity | None = None
    through: Quantity | None = None
    loss: str = ""
    paired: bool = True
    others: tuple[Quantity, ...] = ()
    partial: bool = False
    scattered: bool = False
    shifted: bool = False

    @property
    def right(self) -> bool:
        """Whether the value is the adjoint, up to a constant factor."""
        return self.fit.right and not self.partial

    @property
    def is_step(self) -> bool:
        """Whether the value is no object of the program, but what an update adds to a parameter."""
        return self.value.object < -1


NO_CLAIM = Adjoint(
    Quantity(-1, (-1, -1), -1, "", 0, ()), Quantity(-1, (-1, -1), -1, "", 0, ()), Fit(0.0, np.inf), "none"
)


@dataclass
class Judgement:
    """The verdicts on all backward values.

    ``forward`` and ``backward`` are the arrays computed in the step, in order; ``claim(value, of)`` judges
    the claim that one of them is the adjoint of a forward value or parameter, and ``is_definite`` says of a
    claim that fails whether nothing else could make it true.  ``gradients`` has one entry
    a parameter (None: no value with its elements was found); ``adjoints`` maps a backward object and what
    it is used as adjoint of to the best that can be said of that; ``parts`` has for a gradient that is gathered
    over samples or time all that it is the sum of, ``pieces`` for one that is put together what that is put together
    from; ``declared`` is the loss the program computes, if any.
    """

    gradients: dict[int, Adjoint | None] = field(default_factory=dict)
    adjoints: dict[tuple[int, Key], Adjoint] = field(default_factory=dict)
    declared: Quantity | None = None
    declared_fits: bool = False
    implied: str = ""
    target: Array | None = None
    operands: dict[int, list[Quantity]] = field(default_factory=dict)
    forward: list[Quantity] = field(default_factory=list)
    backward: list[Quantity] = field(default_factory=list)
    claim: Callable[[Quantity, Quantity], Adjoint] = field(default=lambda value, of: NO_CLAIM)
    losses: list[Quantity] = field(default_factory=list)
    parts: dict[int, list[Quantity]] = field(default_factory=dict)
    pieces: dict[int, list[Adjoint]] = field(default_factory=dict)
    is_definite: Callable[[Adjoint], bool] = field(default=lambda claim: False)

    @property
    def claims(self) -> list[Adjoint]:
        """All that was judged: adjoints, then gradients."""
        return [*self.adjoints.values(), *(g for g in self.gradients.values() if g)]

    @property
    def is_whole(self) -> bool:
        """Whether all gradients are right, and whatever they rest on."""
        return all(claim.right for claim in self.claims) and all(self.gradients.values())

    def best(self) -> dict[int, Adjoint]:
        """For each object the claim that says most of it: a right one, if there is one."""
        return {claim.value.object: claim for claim in sorted(self.claims, key=lambda c: c.right)}


def judge(measurement: Measurement) -> Judgement:
    """Judge every backward value of the first step."""
    return _Judge(measurement).run()


class _Judge:
    def __init__(self, measurement: Measurement) -> None:
        self.m = measurement
        self.roles: Roles = measurement.roles
        self.program = measurement.program
        self.result = Judgement()
        first: dict[int, Event] = {}
        for event in self.roles.trace.events[self.roles.step.start : self.roles.step.middle]:
            if event.object != -1:
                first.setdefault(event.object, event)
        outputs = {meeting.output.object for meeting in self.roles.meetings}
        computed = [e for e in first.values() if self._is_made(e) or e.object in outputs]
        # What is computed from the parameters after the output (1 - a**2, say) is no part of the forward pass.
        last = max((m.output.index for m in self.roles.meetings), default=self.roles.step.middle)
        whole = (e for e in computed if e.object not in self.roles.unfinished)
        self.forward = [self._quantity(e) for e in whole if self._is_forward(e) and e.index <= last]
        self.backward = [self._quantity(e) for e in computed if self.roles.backward(e) and self.roles.is_value(e.value)]
        self.numbers = [
            self._quantity(e) for e in computed if self.roles.backward(e) and isinstance(e.value, (float, int))
        ]
        everything = [*self.forward, *self.backward, *self.numbers]
        self.everything = everything
        self.values = {q.object: self.m.value(q.birth) for q in everything}
        self.backward = [q for q in self.backward if self.roles.is_value(self.values[q.object])]
        self._known_pairs: dict[tuple[Key, float, bool, int, int], _Pairs] = {}
        self._more: list[Adjoint] = []
        self._short: list[int] = []
        self._several: dict[int, list[Adjoint]] = {}
        self._known_ancestries: dict[int, set[int]] = {}

    def run(self) -> Judgement:
        for parameter in self.roles.parameters:
            self.result.operands[parameter.object] = self._operands(parameter)
        self.targets = self._targets()
        self.result.target = self.targets[0] if self.targets else None
        self.result.losses = self.losses = self._losses()
        self.result.forward, self.result.backward = self.forward, self.backward
        self.result.claim = self._adjoint
        self.result.is_definite = self._is_definite
        for parameter in self.roles.parameters:
            self.result.gradients[parameter.object] = self._gradient(parameter)
        self._follow([*self._more, *(g for g in self.result.gradients.values() if g)])
        for number in self._short:
            self._mark_partial(number)
        for parameter in self.roles.parameters:
            self._mark_lost(parameter)
        for number, several in self._several.items():
            known = [self.result.adjoints[claim.value.object, claim.of.birth] for claim in several]
            self.result.gradients[number] = min(known, key=self._rests_on_right)
        self._unused()
        self._name_loss()
        return self.result

    def _rests_on_right(self, claim: Adjoint) -> bool:
        """Whether a claim is right, and all that it was judged on."""
        link, seen = self.result.adjoints.get((claim.value.object, claim.of.birth)), set[Key]()
        while link is not None and link.right and link.upstream is not None and link.through is not None:
            seen.add(link.through.birth)
            link = self.result.adjoints.get((link.upstream.object, link.through.birth))
            if link is not None and link.through is not None and link.through.birth in seen:
                break
        return link is not None and link.right

    def _mark_partial(self, number: int) -> None:
        """Of a gradient that is right line by line and not as a whole, find the line that leaves a path out."""
        first = [c for c in self.result.claims if c.of.object == number]
        pending = list(first)
        seen: set[tuple[int, Key]] = set()
        marked = False
        while pending:
            link = pending.pop()
            upstream, through = link.upstream, link.through
            if upstream is None or through is None or (upstream.object, through.birth) in seen:
                continue
            seen.add((upstream.object, through.birth))
            following = self.result.adjoints.get((upstream.object, through.birth))
            if following is None:
                continue
            if following.right and following.through is not None and not self._is_cut(through, following.through):
                self.result.adjoints[upstream.object, through.birth] = replace(following, partial=True)
                marked = True
            pending.append(following)
        gradient = self.result.gradients[number]
        if not marked and gradient is not None and self._leaves_use_out(gradient):
            self.result.gradients[number] = replace(gradient, partial=True)
            return
        for link in first if not marked else ():
            if link.right and link.through is not None and not self._is_cut(link.of, link.through):
                self._mark_read(link)

    def _mark_lost(self, parameter: Parameter) -> None:
        """Of a gradient that follows no loss though each line of it is right, find the line that leaves a path out.

        What is read once has one way to the outputs.
        """
        gradient = self.result.gradients[parameter.object]
        if gradient is None or not gradient.right or gradient.given != "adjoint":
            return
        forked = [(key, link) for key, link in self._links(gradient) if link.right and not self._is_read_once(link.of)]
        total = self._on_loss(gradient.value, parameter) if forked else None
        if total is not None and total.right:
            return
        for key, link in forked:
            if link.through is not None and not self._is_cut(link.of, link.through):
                self.result.adjoints[key] = replace(link, partial=True)
                return

    def _links(self, claim: Adjoint) -> Iterator[tuple[tuple[int, Key], Adjoint]]:
        """What a claim was judged on, link by link up to the loss, each with its place among the adjoints."""
        link: Adjoint | None = claim
        seen: set[tuple[int, Key]] = set()
        while link is not None and link.upstream is not None and link.through is not None:
            key = link.upstream.object, link.through.birth
            link = None if key in seen else self.result.adjoints.get(key)
            seen.add(key)
            if link is not None:
                yield key, link

    def _is_read_once(self, of: Quantity) -> bool:
        """Whether one place alone reads a value in the forward pass."""
        last = max((m.output.index for m in self.roles.meetings), default=self.roles.step.middle)
        events = self.roles.trace.events[max(of.index + 1, self.roles.step.start) : last]
        return len({e.site for e in events if e.object == of.object and self.program.sites[e.site].kind == "load"}) < 2

    def _leaves_use_out(self, claim: Adjoint) -> bool:
        """Whether a gradient of one use of a parameter stands for all, and another use moves the outputs too."""
        if not isinstance(claim.of, Use) or len(self.result.parts.get(claim.of.object, ())) != 1:
            return False
        outputs = [m.output for m in self.roles.meetings]
        for use in self._uses(claim.of.object, claim.of.name, claim.of.shape, outputs[-1].index if outputs else 0):
            tangent = self.m.tangents(use.birth, once=True)[0]
            if use.birth != claim.of.birth and any(np.any(tangent.derivatives.get(o.birth, 0.0)) for o in outputs):
                return True
        return False

    def _mark_read(self, link: Adjoint) -> None:
        """Of the values that a line reads, mark one that leaves out the path which the line leaves out."""
        read = self._read_with(link.value)
        given = [q for q in self.backward if q.object in read and q.index < link.value.index]
        for value in sorted(given, key=lambda q: -q.index):
            shape = _squeezed(np.shape(self.values[value.object]))
            alike = [q for q in self.forward if q.index > link.of.index and _squeezed(q.shape) == shape]
            for of in alike[:USES_TRIED]:
                found = self._on_upstream(value, of)
                if found is None or not found.right or found.through is None:
                    continue
                if not self._is_cut(of, found.through):
                    self.result.adjoints[value.object, of.birth] = replace(found, partial=True)
                return

    def _follow(self, pending: list[Adjoint]) -> None:
        """Judge what each claim was judged on, and so on up to the loss; claims that fail come last.

        Only then is known what the values that a wrong line reads are adjoints of.
        """
        failed: list[Adjoint] = []
        while pending or failed:
            if pending and not pending[-1].right:
                failed.append(pending.pop())
                continue
            link = pending.pop() if pending else self._refined(failed.pop(0))
            if link.upstream is None or link.through is None or not link.paired:
                continue
            key = link.upstream.object, link.through.birth
            if key in self.result.adjoints:
                continue
            found = self._adjoint(link.upstream, link.through)
            if not found.right:
                alike = (*link.others, *self._again(link.through))
                better = (self._adjoint(link.upstream, through) for through in alike)
                found = next((claim for claim in better if claim.right), found)
                other = None if found.right else self._at_another_time(link, link.upstream, link.through)
                if other is None:
                    self._put(link, replace(link, through=found.of))
                else:
                    # The line that took it for the adjoint of this time is what is wrong.
                    found = other
                    left = min(1.0, self._fit_on(link, link.upstream, found.of).residual)
                    self._put(link, replace(link, through=found.of, fit=Fit(0.0, left), shifted=True))
            self.result.adjoints[found.value.object, found.of.birth] = found
            pending.append(found)

    def _again(self, through: Quantity) -> Iterator[Quantity]:
        """The same forward value, made once more: for the loss, to show the prediction."""
        for other in self.forward:
            same = other.birth[0] == through.birth[0] and other.object != through.object
            if same and is_same(self.values[other.object], self.values[through.object]):
                yield other

    def _at_another_time(self, link: Adjoint, upstream: Quantity, through: Quantity) -> Adjoint | None:
        """The claim that a value is the adjoint of what was made at the same place a turn earlier or later."""
        again = {q.object for q in (through, *self._again(through))}
        alike = [q for q in self.forward if q.birth[0] == through.birth[0] and q.object not in again]
        tried = NUMBERS_TRIED if self.roles.scalars else TURNS_TRIED
        near_by = sorted(alike, key=lambda q: abs(q.birth[1] - through.birth[1]))[:tried]
        # Or of what other numbers of a parameter take it for.
        users = (c.through for c in self._more if isinstance(c.of, Element) and c.upstream == upstream)
        taken = {q.object: q for q in users if q is not None and q.object != through.object}
        for near in [*near_by, *taken.values()]:
            found = self._adjoint(upstream, near)
            if found.right and not self._fit_on(link, upstream, near).right and self._is_there_too(upstream, through):
                return found
        return None

    def _is_there_too(self, upstream: Quantity, through: Quantity) -> bool:
        """Whether another value of the program is what a wrong one is taken for: else its own line is wrong."""
        made_alike = [q for q in self.backward if q.birth[0] == upstream.birth[0]]
        near_by = sorted(made_alike, key=lambda q: abs(q.birth[1] - upstream.birth[1]))[1 : 2 * TURNS_TRIED + 1]
        users = [c.upstream for c in self._more if c.through == through and c.upstream != upstream]
        return any(self._adjoint(q, through).right for q in [*near_by, *users] if q is not None)

    def _put(self, claim: Adjoint, instead: Adjoint) -> None:
        """Keep another form of a claim in its place."""
        for number, gradient in self.result.gradients.items():
            if gradient is not None and (gradient.value, gradient.of) == (claim.value, claim.of):
                self.result.gradients[number] = instead
        key = claim.value.object, claim.of.birth
        if key in self.result.adjoints:
            self.result.adjoints[key] = instead

    def _refined(self, claim: Adjoint) -> Adjoint:
        """A failed claim, judged on the last adjoint that its line reads and what that is known to belong to."""
        read = self._read_with(claim.value) - self._copies_of(claim.value)
        given = [q for q in self.backward if q.object in read and q.index < claim.value.index]
        refined = replace(claim, paired=False)
        for upstream in sorted(given, key=lambda q: -q.index):
            throughs = self._belongs_to(upstream, claim.of)
            if throughs:
                fits = [(self._fit_on(claim, upstream, through), through) for through in throughs]
                found, through = min(fits, key=lambda pair: pair[0].residual)
                if not np.isfinite(found.residual):
                    continue  # the one has no part in the other
                refined = replace(claim, fit=found, given="adjoint", upstream=upstream, through=through, paired=True)
                break
        self._put(claim, refined)
        return refined

    def _belongs_to(self, value: Quantity, after: Quantity) -> list[Quantity]:
        """The forward values after another one that a backward value serves as adjoint of."""
        own = [c for c in self.result.claims if c.right and c.value.object == value.object]
        users = [c for c in self.result.claims if c.right and c.upstream and c.upstream.object == value.object]
        known = {q.object: q for q in [*(c.of for c in own), *(c.through for c in users if c.through)]}
        later = [q for q in known.values() if q.index > after.index]
        if later:
            return later
        shape = _squeezed(np.shape(self.values[value.object]))
        for of in self.forward:
            if of.index > after.index and _is_named(of) and _squeezed(of.shape) == shape:
                found = self._adjoint(value, of)
                if found.right:
                    self.result.adjoints[value.object, of.birth] = found
                    return [of]
        return []

    def _fit_on(self, claim: Adjoint, upstream: Quantity, through: Quantity) -> Fit:
        """How well a claim agrees with one adjoint of one later value."""
        where = self._points(claim.of, self.values[claim.value.object])
        points = [(p, _tangents(p, claim.of, STEP_RELATIVE)) for p in where]
        analytic = _projections(claim.value, claim.of.shape, points)
        shape = np.shape(self.values[upstream.object])

        def pulled(point: _Point, derivative: Array) -> float:
            turned = aligned(derivative, shape)
            return float("nan") if turned is None else float(np.sum(turned * point.values[upstream.object]))

        numeric = _gathered(points, pulled, through.birth)
        return Fit(0.0, np.inf) if analytic is None or numeric is None else fit(analytic, numeric)

    # -- parameters ----------------------------------------------------------------------------------

    def _gradient(self, parameter: Parameter) -> Adjoint | None:
        """The value that serves as gradient of a parameter, with what can be said of it."""
        direct = self.result.operands[parameter.object]
        update = self.roles.trace.by_key[parameter.updates[-1]].index
        # Only where the update statement reads no backward array at all (an in-place library call,
        # say) may any other array of the right size be the gradient.
        candidates = direct or [q for q in self.backward if q.index < update]
        numbers = [q for q in direct if np.size(self.values[q.object]) == 1]
        if numbers and int(np.prod(parameter.shape)) == 1:
            # A factor of the step may be the gradient of one number for another loss: the whole comes first, and
            # where there are factors of the forward pass, it comes alone.
            whole = max(numbers, key=lambda q: q.index)
            candidates = [whole] if self._has_slopes(parameter) else [whole, *direct]
        wrong: list[Quantity] = []
        partial: Adjoint | None = None
        for candidate in candidates:
            if aligned(self.values[candidate.object], parameter.shape) is None:
                continue
            found = self._adjoint(candidate, parameter)
            if found.right and self._leaves_out(found, parameter):
                partial = partial or replace(found, partial=True)
                continue
            if found.right:
                return self._earliest(found, parameter)
            part = self._made_of(candidate, parameter)
            if part is not None:
                return part
            wrong.append(candidate)
        step = self._step(parameter)
        if step is not None and step.right:
            return step
        if partial is not None:
            return partial
        if step is not None and step.scattered and not self.roles.scalars:
            return step
        if self.roles.scalars:
            several = self._in_elements(parameter)
        else:
            several = self._in_pieces(parameter, wrong[0]) if wrong else []
            if several:
                self.result.pieces[parameter.object] = several
        if several:
            self.result.adjoints |= {(c.value.object, c.of.birth): c for c in several}
            self._more += [claim for claim in several if claim.right]
            self._several[parameter.object] = several
            return min(several, key=lambda claim: claim.right)
        if step is not None and step.scattered:
            return step
        # What is wrong about a velocity or a step is the gradient that it is made from.
        origins = candidates if len(candidates) == 1 < len(direct) else [self._origin(q) for q in direct]
        self.result.operands[parameter.object] = list({q.object: q for q in [*origins, *direct]}.values())
        fitting = [q for q in origins if aligned(self.values[q.object], parameter.shape) is not None]
        return self._adjoint(fitting[0], parameter) if fitting and wrong else None

    def _leaves_out(self, claim: Adjoint, parameter: Parameter) -> bool:
        """Whether a parameter that is read at several places has another way to the outputs than a claim says."""
        if claim.through is None or not self.roles.meetings:
            return False
        return not self._is_read_once(parameter) and not self._is_cut(parameter, claim.through)

    def _origin(self, value: Quantity) -> Quantity:
        """The value that another is a multiple of, found by going back from line to line."""
        known = {q.object: q for q in [*self.backward, *self.numbers]}
        while True:
            home = self.program.sites[value.birth[0]].statement
            sources = [
                known[o]
                for o in self._read_with(value)
                if o in known
                and known[o].index < value.index
                and self.program.sites[known[o].birth[0]].statement is not home
            ]
            # A delta that other gradients are made from is where they all come from, and no gradient itself.
            shared = {g.upstream.object for g in self.result.gradients.values() if g and g.upstream}
            same = [q for q in sources if q.object not in shared and self._is_multiple(value, q)]
            if not same:
                return value
            value = max(same, key=lambda q: q.index)

    def _is_multiple(self, whole: Quantity, part: Quantity) -> bool:
        """Whether a value is another one times a number; one number has to be so at several points."""
        others = self._others if np.size(self.values[whole.object]) < DIRECTIONS else []
        points = [_Point(self.m, self.values), *others]
        pairs: list[tuple[Any, Any]] = [(p.values.get(whole.object), p.values.get(part.object)) for p in points]
        try:
            spread = [np.broadcast_to(np.asarray(b, np.float64), np.shape(a)).ravel() for a, b in pairs]
        except (TypeError, ValueError):
            return False
        return fit(np.concatenate([np.ravel(a) for a, _ in pairs]), np.concatenate(spread)).right

    def _step(self, parameter: Parameter) -> Adjoint | None:
        """What the update adds to a parameter, where no gradient of it is stored.

        If that is wrong, it may be right as long as the other parameters are held back: they are changed too early.
        """
        step = self._step_holding(parameter, ())
        if step is None or step.right:
            return step
        others = tuple(p for p in self.roles.parameters if p is not parameter)
        held = self._step_holding(parameter, others) if others else None
        return held if held is not None and held.right else step

    def _step_holding(self, parameter: Parameter, others: tuple[Parameter, ...]) -> Adjoint | None:
        number = -2 - self.roles.parameters.index(parameter)
        value = Quantity(number, parameter.updates[-1], parameter.index, f"step of {parameter.name}", parameter.line,
                         parameter.shape)  # fmt: skip
        for point in [_Point(self.m, self.values), *self._far]:
            live = point.measurement.moved(frozen=False, hold=others)
            before, after = live.value(parameter.birth), live.value(parameter.updates[-1])
            if after is None or np.shape(after) != np.shape(before):
                return None
            point.values[number] = np.asarray(after, np.float64) - before
        return self._on_loss(value, parameter)

    def _made_of(self, candidate: Quantity, parameter: Quantity) -> Adjoint | None:
        """A gradient gathered over samples taken one by one, or with weight decay added: its part is judged.

        The candidate has to be a multiple of the sum of all values made at one place, plus a multiple of
        the parameter itself.
        """
        parts: dict[int, list[Quantity]] = {}
        for value in self.backward:
            same = aligned(self.values[value.object], parameter.shape) is not None
            if same and value.index < candidate.index:
                parts.setdefault(value.birth[0], []).append(value)
        for made in reversed(parts.values()):
            # At one place in a loop over layers stand the gradients of all layers of one shape.
            for several in [made, *([part] for part in made)] if len(made) > 1 else [made]:
                decay = self._decay(candidate, several, parameter)
                if decay is not None:
                    claims = self._claims_of(several, parameter)
                    if claims and decay == 0.0:
                        # All its parts are right, and the whole was not.
                        self._short.append(parameter.object)
                        self.result.adjoints |= {(c.value.object, c.of.birth): c for c in claims}
                    if claims:
                        self._more += claims[:-1]
                        self.result.parts[parameter.object] = several
                        return claims[-1]
        return None

    def _stacked(self, value: Quantity, shape: tuple[int, ...]) -> Array | None:
        """All elements of a value; few of them at several points, since anything is a multiple of one number."""
        others = self._others if int(np.prod(shape)) < DIRECTIONS else []
        arrays = [aligned(p.values.get(value.object), shape) for p in [_Point(self.m, self.values), *others]]
        found = [np.ravel(a) for a in arrays if a is not None]
        return np.concatenate(found) if len(found) == len(arrays) else None

    def _decay(self, candidate: Quantity, parts: list[Quantity], parameter: Quantity) -> float | None:
        """How much of a value is a multiple of the parameter, if the rest is one of the sum of others."""
        size = int(np.prod(parameter.shape))
        points = [_Point(self.m, self.values), *(self._others if size < FEW else ())]
        whole = np.concatenate([np.ravel(p.values[candidate.object]) for p in points])
        total = np.sum([np.concatenate([np.ravel(p.values[q.object]) for p in points]) for q in parts], axis=0)
        own = [np.asarray(p.measurement.value(parameter.birth), np.float64) for p in points]
        best: float | None = None
        least = RIGHT_BELOW
        for decaying in zip(*(_decaying(array) for array in own), strict=True):
            columns = np.stack([total, np.concatenate([np.ravel(array) for array in decaying])], axis=1)
            if whole.shape != total.shape or len(columns) != len(whole) or not np.isfinite(columns).all():
                return None
            factors = np.linalg.lstsq(columns, whole, rcond=None)[0]
            fitted, share = (float(np.linalg.norm(part)) for part in (columns * factors).T)
            rest = float(np.linalg.norm(whole - columns @ factors))
            if rest < least * fitted:
                best, least = share / fitted if share > RIGHT_BELOW * fitted else 0.0, rest / fitted
        return best

    def _claims_of(self, parts: list[Quantity], parameter: Quantity) -> list[Adjoint]:
        """The parts of a gradient as gradients; the first stands for all, unless they come from one another."""
        claims = [self._adjoint(part, parameter) for part in {id(p): p for p in (parts[0], parts[-1])}.values()]
        if all(claim.right for claim in claims):
            return claims
        return self._by_use(parts, parameter)

    def _by_use(self, parts: list[Quantity], parameter: Quantity) -> list[Adjoint]:
        """Where a parameter is used several times (in time, say), each part of its gradient belongs to one use."""
        reads = self._uses(parameter.object, parameter.name, parameter.shape, parts[0].index)
        if len(reads) < 2:
            return []
        claims: list[Adjoint] = []
        for part in parts[:USES_TRIED]:
            for use in reads[: -USES_TRIED - 1 : -1]:
                claim = self._on_upstream(part, use)
                if claim is not None and claim.right:
                    claims.append(claim)
                    break
        return claims

    def _uses(self, number: int, name: str, shape: tuple[int, ...], before: int) -> list[Use]:
        """Where the step reads a parameter before an event."""
        return [
            Use(e.object, e.key, e.index, name, self.program.sites[e.site].line, shape)
            for e in self.roles.trace.events[self.roles.step.start : before]
            if e.object == number and self.program.sites[e.site].kind == "load"
        ]

    def _earliest(self, found: Adjoint, parameter: Parameter) -> Adjoint:
        """The first value that is the same gradient: a velocity or a step is made from it."""
        same = [found]
        last = self._stacked(found.value, parameter.shape)
        for value in reversed(self.backward):
            if value.index >= found.value.index or not _is_named(value) or last is None:
                continue
            array = self._stacked(value, parameter.shape)
            if array is not None and fit(array, last).right:
                claim = self._adjoint(value, parameter)
                # Where one unit alone is alive, other layers' gradients are multiples by chance.
                if claim.right and (self._is_plain(claim.fit.factor) or not self._is_plain(same[-1].fit.factor)):
                    same.append(claim)
        self.result.adjoints |= {(claim.value.object, claim.of.birth): claim for claim in same[:-1]}
        return same[-1]

    def _operands(self, parameter: Parameter) -> list[Quantity]:
        """Backward arrays read or computed in the statement that updates a parameter, reads first."""
        return self._passing(self.roles.trace.by_key[parameter.updates[-1]], parameter)

    def _passing(self, update: Event, parameter: Parameter) -> list[Quantity]:
        """Backward arrays read or computed in the statement of an update, reads first."""
        statement = self.program.sites[update.site].statement
        own = self.program.sites[update.site].node
        found: dict[int, Quantity] = {}
        reads: set[int] = set()
        known = {q.object: q for q in [*self.backward, *self.numbers]}
        renewed = [(one, self.roles.trace.by_key[one.updates[-1]]) for one in self.roles.parameters]
        for event in reversed(self.roles.trace.events[self.roles.step.start : update.index + 1]):
            site = self.program.sites[event.site]
            # Earlier the same statement served another parameter, in a loop or a function called for each layer.
            served = event.site == update.site and event.index < update.index and event.object != parameter.object
            if served or (site.kind == "loop" and event.object == -1):
                break
            if site.statement is not statement:
                continue
            if site.kind == "load":
                reads.add(event.object)
            if event.object in (parameter.object, parameter.successor):
                continue
            # ``w = float(np.mean(w - step))``: the new value on its way is no gradient.
            if any(is_same(event.value, new.value) and self._reads(event, one) for one, new in renewed):
                continue
            # Where element by element is made, they must not crowd out the whole.
            whole = np.size(event.value) >= np.prod(parameter.shape)
            if event.object in known and site.node is not own and (whole or len(found) <= OPERANDS):
                found[event.object] = known[event.object]
        return sorted(found.values(), key=lambda q: (q.object not in reads, q.index))

    def _in_pieces(self, parameter: Parameter, whole: Quantity) -> list[Adjoint]:
        """The pieces of a gradient that is put together, as gradients of the pieces that a parameter is cut into."""
        roles, own = self.roles, np.ravel(self.m.value(parameter.birth))
        gradient = np.ravel(self.values[whole.object])
        found: dict[tuple[int, int], tuple[Quantity, Quantity]] = {}
        for event in roles.trace.events[roles.step.start : whole.index]:
            apart = roles.on_inputs[event.index] or roles.on_labels[event.index]
            if event.object == -1 or apart or not roles.reach[parameter.object][event.index]:
                continue
            piece = self.m.value(event.key)
            start = _place_of(piece, own) if is_array(piece) and np.size(piece) < own.size == gradient.size else None
            if start is None:
                continue
            of = self._quantity(roles.trace.first_seen[event.object])
            shape, part = _squeezed(np.shape(piece)), gradient[start : start + np.size(piece)]
            made = [q for q in self.backward if q.index < whole.index and _has(self.values[q.object], shape)]
            made = [q for q in made if np.array_equal(np.ravel(self.values[q.object]), part)]
            # The last form a piece is brought into is the one that is used, the first of its gradient the one made.
            if made and of.index >= roles.step.start:
                found[start, np.size(piece)] = made[0], of
        claims = [self._piece(value, of) for value, of in found.values()]
        return self._odd_first(claims) if all(claim.right for claim in claims) else claims

    def _piece(self, value: Quantity, of: Quantity) -> Adjoint:
        """A piece of a gradient, or what it was before something was added in its place, such as weight decay."""
        claim = self._adjoint(value, of)
        if claim.right:
            return claim
        part = self._made_of(value, of)
        if part is not None:
            return part
        storage = self.roles.trace.by_key[value.birth].storage
        before = [q for q in self.backward if q.index < value.index and q.shape == value.shape]
        same = [q for q in before if self.roles.trace.by_key[q.birth].storage == storage]
        decaying = bool(same) and self._decay(value, same[:1], of) is not None
        return self._adjoint(same[0], of) if decaying else claim

    def _odd_first(self, claims: list[Adjoint]) -> list[Adjoint]:
        """Pieces of a gradient, the one first that has another factor over the loss than is plain."""
        totals = [self._on_loss(claim.value, claim.of) for claim in claims]
        factors = [total.fit.factor if total is not None and total.right else 1.0 for total in totals]
        order = sorted(range(len(claims)), key=lambda k: -abs(np.log(abs(factors[k]))))
        return [claims[k] for k in order]

    def _in_elements(self, parameter: Parameter) -> list[Adjoint]:
        """What moves single elements of a parameter that is updated number by number, as gradients of them."""
        live, trace = self.m.moved(frozen=False), self.roles.trace
        before, after = live.value(parameter.birth), live.value(parameter.updates[-1])
        if after is None or np.shape(after) != np.shape(before):
            return []
        last = trace.by_key[parameter.updates[-1]].index
        made: dict[float, Event] = {}
        for event in live.trace.events[self.roles.step.start : last + 1]:
            if type(event.value) is float and self.program.sites[event.site].kind != "load":
                made[event.value] = event
        old, new = np.ravel(before), np.ravel(after)
        places = [int(k) for k in np.flatnonzero(old != new) if float(new[k]) in made]
        claims = []
        for place in places[:: -(-len(places) // ELEMENTS_TRIED) or 1]:
            event = made[float(new[place])]
            step = float(new[place] - old[place])
            # The number that is added, or taken away, is the gradient times the rate.
            for value in reversed(self._passing(trace.by_key[event.key], parameter)):
                number = live.value(value.birth)
                if np.size(number) == 1 and abs(abs(float(number)) - abs(step)) <= ADDED_WITHIN * abs(old[place]):
                    name = self.program.sites[event.site].target or f"{parameter.name}, number {place}"
                    of = Element(parameter.object, parameter.birth, parameter.index, name, parameter.line, (), place)
                    claim = self._adjoint(value, of)
                    claims.append(claim if claim.right else self._without_rate(claim))
                    break
        return claims

    def _has_slopes(self, parameter: Parameter) -> bool:
        """Whether the statement that updates a number reads inputs, or what the forward pass made of them."""
        update, roles = self.roles.trace.by_key[parameter.updates[-1]], self.roles
        statement = self.program.sites[update.site].statement
        return any(
            roles.on_inputs[e.index] and not roles.on_labels[e.index] and e.object != parameter.object
            for e in roles.trace.events[roles.step.start : update.index]
            if e.object != -1 and self.program.sites[e.site].statement is statement
        )

    def _reads(self, event: Event, parameter: Parameter) -> bool:
        """Whether an expression reads a parameter."""
        site = self.program.sites[event.site]
        if event.object == parameter.object:
            return True
        inside = [e for e in self.roles.trace.operands(event, site.children) if e.index < event.index]
        return any(self._reads(e, parameter) for e in inside)

    def _without_rate(self, claim: Adjoint) -> Adjoint:
        """A failed claim, made of the number that an update reads where it reads no other that comes from data."""
        roles, value = self.roles, claim.value
        statement, read = self.program.sites[value.birth[0]].statement, dict[int, Event]()
        for event in reversed(roles.trace.events[roles.step.start : value.index]):
            site = self.program.sites[event.site]
            if event.site == value.birth[0]:
                break
            if site.statement is statement and type(event.value) is float and site.kind == "load":
                read[event.object] = event
        made = {q.object: q for q in self.backward}
        numbers = [o for o, e in read.items() if roles.on_inputs[e.index] or roles.on_labels[e.index]]
        source = made.get(numbers[0]) if len(numbers) == 1 else None
        if source is None or not self._is_multiple(value, source):
            return claim
        return self._adjoint(source, claim.of)

    # -- adjoints ------------------------------------------------------------------------------------

    def _adjoint(self, value: Quantity, of: Quantity) -> Adjoint:
        """The best that can be said of the claim that ``value`` is the adjoint of ``of``."""
        best = self._on_upstream(value, of, ties=False)
        if best is None or not best.right or not self._is_plain(best.fit.factor):
            other = self._on_loss(value, of)
            told = other is not None and other.right and self._is_plain(other.fit.factor)
            if best is not None and not best.right and not told:
                best = self._on_upstream(value, of)
            if best is not None and best.right:
                return other if other is not None and told else best
            if best is None or (other is not None and (other.right or other.fit.residual < best.fit.residual)):
                best = other or best
        return best or Adjoint(value, of, Fit(0.0, float("inf")), "none")

    def _points(self, of: Quantity, value: Any = None) -> list[_Point]:
        """Where to compare: few elements leave so few equations that anything fits, so they get more points.

        Elements of a value that are 0, as those of inputs that are 0, say as good as nothing.
        """
        size = int(np.prod(of.shape))
        if value is not None and 0 < size <= FEW:
            size = min(size, int(np.count_nonzero(value)))
        return [_Point(self.m, self.values), *(self._others[: DIRECTIONS - size] if size < DIRECTIONS else ())]

    @cached_property
    def _others(self) -> list[_Point]:
        points = []
        for scale in OTHER_SCALES:
            other = self.m.moved(scale=scale)
            points.append(_Point(other, {q.object: other.value(q.birth) for q in self.everything}))
        return points

    @cached_property
    def _far(self) -> list[_Point]:
        """Points of other scales, where all weights are so many times as large, and one where they are others."""
        other = self.m.moved(variant=0 if self.m.variant else 1)
        return [*self._others, _Point(other, {q.object: other.value(q.birth) for q in self.everything})]

    @cached_property
    def _off_kinks(self) -> _Point:
        """The same point with inputs of which hardly any two are alike."""
        other = self.m.moved(variant=1)
        return _Point(other, {q.object: other.value(q.birth) for q in self.everything})

    def _is_plain(self, factor: float) -> bool:
        """Whether a factor is 1, 2 or 1/2, times or over a length of the data."""
        sizes = {1, *self.roles.batch.shape, *(n for m in self.roles.meetings for n in m.output.shape)}
        return any(
            abs(abs(factor) / (number * size**power) - 1) < PLAIN_WITHIN
            for number in (1.0, 2.0, 0.5)
            for size in sizes
            for power in (1.0, -1.0)
            if size
        )

    def _holds(self, claim: Adjoint) -> bool:
        """Whether a claim with an odd factor has the same one at another point: chance has another each time."""
        if claim.upstream is None or claim.through is None:
            return False
        return all(self._holds_at(point, claim, claim.upstream, claim.through) for point in self._far)

    @staticmethod
    def _holds_at(point: _Point, claim: Adjoint, upstream: Quantity, through: Quantity) -> bool:
        tangents = _tangents(point, claim.of, STEP_RELATIVE / 50)
        analytic = _projections(claim.value, claim.of.shape, [(point, tangents)])
        given = np.asarray(point.values[upstream.object], np.float64)
        moved = [t.derivatives[through.birth] for t in tangents if through.birth in t.derivatives]
        if analytic is None or len(moved) < len(tangents) or any(np.size(d) != given.size for d in moved):
            return False
        other = fit(analytic, np.array([float(np.sum(given.ravel() * np.ravel(d))) for d in moved]))
        # Where all is zero there (a dead unit), nothing speaks against it.
        return not analytic.any() or (other.residual < 0.05 and abs(other.factor / claim.fit.factor - 1) < 1e-3)

    def _on_upstream(
        self,
        value: Quantity,
        of: Quantity,
        step: float = STEP_RELATIVE,
        *,
        ties: bool = True,
        off_kinks: bool = False,
    ) -> Adjoint | None:
        """The claim judged on the adjoints of all later values that are there already.

        Where it fails, and ``ties`` are looked for, it may hold ``off_kinks``: units that are off, or the black border
        of pictures, tie in a maximum, say.
        """
        where = [self._off_kinks] if off_kinks else self._points(of, self.values[value.object])
        points = [(p, _tangents(p, of, step, off_zero=off_kinks)) for p in where]
        analytic = _projections(value, of.shape, points)
        if analytic is None:
            return None
        pairs = self._pairs(of, step, points, off_kinks=off_kinks)
        factors, residuals = fits(analytic, pairs.numeric)
        # The gradient of one weight is a multiple of the delta it is made from, as inputs stay what they are.
        copies = self._made_with(value) if isinstance(of, Element) else self._copies_of(value)
        allowed = np.array([u.index < value.index and u.object not in copies for u, _ in pairs.pairs], bool)
        if self.roles.scalars:
            # Among hundreds of numbers many are multiples of one another: what a number is made from counts alone.
            given = self._ancestry(value)
            allowed &= np.array([u.object in given for u, _ in pairs.pairs], bool)
        residuals = np.where(allowed, residuals, np.inf)

        def claim(i: Any) -> Adjoint:
            return Adjoint(value, of, Fit(float(factors[i]), float(residuals[i])), "adjoint", *pairs.pairs[i])

        right = [c for c in map(claim, np.flatnonzero(residuals < RIGHT_BELOW)) if c.right]
        if right:
            # Values with names carry roles; the nearest of them says most about this line.
            named = [a for a in right if _is_named(a.upstream) and _is_named(a.through)] or right
            ranked = sorted(
                named,
                key=lambda a: (-a.upstream.index if a.upstream else 0, a.through.index if a.through else 0),
            )
            plain = [a for a in ranked if self._is_plain(a.fit.factor)]
            chosen = next(iter(plain), None) or next((a for a in ranked[:CLAIMS_TRIED] if self._holds(a)), None)
            if chosen is not None:
                if self.roles.scalars:
                    chosen = self._summed_up(chosen, right)
                same = [a.through for a in right if a.upstream == chosen.upstream and a.through != chosen.through]
                return replace(chosen, others=tuple(q for q in same if q is not None))
            residuals = np.where(residuals < RIGHT_BELOW, np.inf, residuals)
            allowed &= np.isfinite(residuals)
        if not allowed.any():
            return None
        if step == STEP_RELATIVE and len(analytic) > 1 and residuals.min() < 0.05:
            # A kink crossed between the two evaluations looks like a small error: shorten the step.
            return self._on_upstream(value, of, STEP_RELATIVE / 50, ties=ties)
        if off_kinks:
            return None
        if ties and int(np.prod(of.shape)) >= FEW and not isinstance(of, Parameter):
            beside = self._on_upstream(value, of, STEP_OFF_KINKS, off_kinks=True)
            if beside is not None and beside.right:
                return beside
        # What a wrong line was made from is what it reads, not what happens to come closest.
        read = self._read_with(value)
        direct = np.array([u.object in read for u, _ in pairs.pairs], bool) & allowed
        return claim(int(np.argmin(np.where(direct, residuals, np.inf) if direct.any() else residuals)))

    @staticmethod
    def _summed_up(claim: Adjoint, right: list[Adjoint]) -> Adjoint:
        """The claim with the last of the sums that a line makes one by one: what is added later has a part in that."""

        def place(other: Adjoint) -> tuple[int, ...]:
            own = claim.through is not None and other.through is not None and other.upstream == claim.upstream
            same = own and other.through.birth[0] == claim.through.birth[0]  # type: ignore[union-attr]
            return (other.through.index,) if same and other.through is not None else ()

        return max([claim, *right], key=place)

    def _pairs(self, of: Quantity, step: float, points: Points, *, off_kinks: bool) -> _Pairs:
        key = of.birth, step, off_kinks, len(points), of.place if isinstance(of, Element) else -1
        if key not in self._known_pairs:
            ups = [q for q in self.backward if q.object != of.object]
            throughs = [q for q in self.forward if q.index > of.index and q.object != of.object]
            self._known_pairs[key] = _Pairs.of(ups, throughs, points)
        return self._known_pairs[key]

    def _copies_of(self, value: Quantity) -> set[int]:
        """Values that hold the same numbers up to a factor: they say nothing of this one."""
        size = np.size(self.values[value.object])
        alike = [q for q in self.backward if np.size(self.values[q.object]) == size]
        if size >= DIRECTIONS:
            own = np.ravel(self.values[value.object])
            return {q.object for q in alike if fit(np.ravel(self.values[q.object]), own).right}
        stacked = self._stacked(value, (size,))
        others = {q.object: self._stacked(q, (size,)) for q in alike}
        return {o for o, other in others.items() if stacked is None or other is None or fit(other, stacked).right}

    def _on_loss(self, value: Quantity, of: Quantity) -> Adjoint | None:
        best: Adjoint | None = None
        for step in (STEP_RELATIVE, STEP_RELATIVE / 50):
            points = [(p, _tangents(p, of, step)) for p in self._points(of, self.values[value.object])]
            analytic = _projections(value, of.shape, points)
            if analytic is None:
                return None
            right: list[Adjoint] = []
            for given, name, numeric in self._loss_derivatives(points):
                found = Adjoint(value, of, fit(analytic, numeric), given, loss=name)
                if found.right and not self._is_plain(found.fit.factor):
                    found = self._elsewhere(found, step)
                if found.right:
                    right.append(found)
                if best is None or found.fit.residual < best.fit.residual:
                    best = found
            if right:
                # Several of the program's numbers may be the loss times something: the plainest is meant.
                first = [a for a in right if a.given == right[0].given]
                return min(first, key=lambda a: (not is_name(a.loss), abs(np.log(abs(a.fit.factor))) > PLAIN_WITHIN))
            if best is None or best.fit.residual > 0.05:
                break
        canonical = self._canonical(value, of)
        return canonical if canonical is not None else best

    def _elsewhere(self, claim: Adjoint, step: float) -> Adjoint:
        """A claim with an odd factor, judged at other points too: there a wrong number has another factor.

        The gradient of one neuron is one number times what it reads, whatever that number is.
        """
        if any(point.values.get(claim.value.object) is None for point in self._far):
            return claim
        points = [(p, _tangents(p, claim.of, step)) for p in [_Point(self.m, self.values), *self._far]]
        analytic = _projections(claim.value, claim.of.shape, points)
        numeric = next((n for _, name, n in self._loss_derivatives(points) if name == claim.loss), None)
        if analytic is None or numeric is None:
            return claim
        # Smaller numbers at another point count as much.
        number = len(points[0][1])
        sizes = np.repeat([np.linalg.norm(part) or 1.0 for part in numeric.reshape(-1, number)], number)
        there = fit(analytic / sizes, numeric / sizes)
        return replace(claim, fit=there, scattered=not there.right)

    def _loss_derivatives(self, points: Points) -> Iterator[tuple[Given, str, Array]]:
        for loss in self.losses:
            numeric = _gathered(points, lambda p, d: float(np.sum(d)), loss.birth)
            if numeric is not None:
                yield "declared", loss.name, numeric
        outputs = [(m.output, t) for m, t in zip(self.roles.meetings, self.targets, strict=True)]
        for name, slope in CATALOGUE.items() if outputs else ():
            total: Array | None = None
            for output, target in outputs:

                def pulled(
                    point: _Point,
                    derivative: Array,
                    output: Quantity = output,
                    target: Array | None = target,
                    slope: Slope = slope,
                ) -> float:
                    at = slope(np.asarray(point.values.get(output.object), np.float64), target)
                    return float("nan") if at is None else float(np.sum(at * derivative))

                numeric = _gathered(points, pulled, output.birth)
                if numeric is None or not np.isfinite(numeric).all():
                    total = None
                    break
                total = numeric if total is None else total + numeric
            if total is not None:
                yield "implied", name, total

    def _canonical(self, value: Quantity, of: Quantity) -> Adjoint | None:
        """Output - target, the adjoint of the pre-activation for the matching loss; no parameter is that."""
        if isinstance(of, Parameter):
            return None
        for meeting, target in zip(self.roles.meetings, self.targets, strict=True):
            shape = meeting.output.shape
            if target is None or aligned(np.empty(of.shape), shape) is None:
                continue
            own, prediction = self._stacked(value, shape), self._stacked(meeting.output, shape)
            if own is None or prediction is None:
                continue
            found = fit(own, prediction - np.resize(target, prediction.size))
            if found.right:
                turned = replace(found, factor=found.factor * self._side(of, meeting.output))
                return Adjoint(value, of, turned, "canonical", loss="cross-entropy")
        return None

    def _side(self, of: Quantity, output: Quantity) -> int:
        """Whether an output grows with what it is made from, 1, or falls, -1, as 1 / (1 + exp(u)) does with u."""
        moves = [(t.direction, np.asarray(t.derivatives.get(output.birth, np.nan))) for t in self.m.tangents(of.birth)]
        along = [float(np.sum(np.ravel(d) * np.ravel(moved))) for d, moved in moves if moved.size == d.size]
        return -1 if sum(along) < 0 else 1

    def _read_with(self, value: Quantity) -> set[int]:
        """Objects that pass in the statement that makes a value."""
        statement = self.program.sites[value.birth[0]].statement
        return {
            e.object
            for e in self.roles.trace.events[self.roles.step.start : value.index]
            if self.program.sites[e.site].statement is statement
        }

    def _ancestry(self, value: Quantity) -> set[int]:
        """The backward values that a value is made from, statement by statement."""
        if value.object not in self._known_ancestries:
            known = {q.object: q for q in [*self.backward, *self.numbers]}
            found: set[int] = set()
            pending = [value]
            while pending:
                made = pending.pop()
                statement = self.program.sites[made.birth[0]].statement
                for event in reversed(self.roles.trace.events[self.roles.step.start : made.index]):
                    if event.site == made.birth[0]:
                        break
                    if event.object in known and self.program.sites[event.site].statement is statement:
                        if event.object not in found:
                            pending.append(known[event.object])
                        found.add(event.object)
            self._known_ancestries[value.object] = found
        return self._known_ancestries[value.object]

    def _made_with(self, value: Quantity) -> set[int]:
        """What the statement that makes a value has computed on the way to it."""
        births = (self.roles.trace.first_seen[o] for o in self._read_with(value))
        statement = self.program.sites[value.birth[0]].statement
        return {e.object for e in births if self.program.sites[e.site].statement is statement}

    def _is_definite(self, claim: Adjoint) -> bool:
        """Whether a failed claim is a fault of its line, and not for want of understanding.

        Either all that follows from the value goes through the one later value whose adjoint the line was given;
        or the loss is known and all backward values that the line reads are right.
        """
        if claim.right or claim.partial or claim.scattered:
            return not claim.right
        if self._is_summed_in_elements(claim.value):
            return False
        upstream, through = claim.upstream, claim.through
        if upstream is not None and through is not None and claim.paired and self._is_cut(claim.of, through):
            return True
        anchored = [a for a in self.result.claims if a.right and a.given in ("declared", "implied", "canonical")]
        read = self._read_with(claim.value)
        links = self.result.best()
        fed = [q for q in self.backward if q.object in read and q.object != claim.value.object and q.object in links]
        if not anchored:
            # The first of all adjoints may be what is wrong: then a loss must be there to say so.
            return not fed and any(self._moves(claim.of, loss) for loss in self.losses)
        return all(links[q.object].right for q in fed)

    def _is_summed_in_elements(self, value: Quantity) -> bool:
        """Whether element by element is still added to a value, turn after turn: no line makes it, or a part of it."""
        birth = self.roles.trace.by_key[value.birth]
        statement = self.program.sites[birth.site].statement
        if not isinstance(statement, ast.AugAssign) or not isinstance(statement.target, ast.Subscript):
            return False
        step = self.roles.trace.events[self.roles.step.start : self.roles.step.middle]
        turns = [e.index for e in step if e.site == birth.site and e.storage == birth.storage]
        if turns[0] == value.index or turns[-1] <= value.index:
            return False  # not yet, or no more
        elements = {site.id for site in self.program.sites if site.node is statement.target}
        added = (e for e in step if turns[0] <= e.index < value.index and e.site in elements)
        return any(np.size(e.value) < np.size(birth.value) for e in added)

    def _moves(self, of: Quantity, loss: Quantity) -> bool:
        tangents = _tangents(_Point(self.m, self.values), of, STEP_RELATIVE)
        return any(np.any(t.derivatives.get(loss.birth, 0.0)) for t in tangents)

    def _is_cut(self, of: Quantity, through: Quantity) -> bool:
        """Whether a value reaches the outputs by way of one later value only: held, it lets nothing pass."""
        outputs = frozenset(m.output.birth for m in self.roles.meetings) - {through.birth}
        held = self.m.value(through.birth)
        if held is None or not outputs:
            return bool(self.roles.meetings) and held is not None
        direction = _tangents(_Point(self.m, self.values), of, STEP_RELATIVE)[0].direction
        size = float(np.sqrt(np.mean(np.square(np.asarray(self.m.value(of.birth), np.float64))))) or 1.0

        def move(value: Any) -> Any:
            return np.asarray(value, np.float64) + 1e-3 * size * direction

        after = self.m.run(
            {of.birth: Once(move) if isinstance(of, Use) else move, through.birth: lambda value: held},
            keep=outputs,
        )
        return all(is_same(after.value(key), self.m.value(key)) for key in outputs)

    def _unused(self) -> None:
        """Say what named backward values are that no gradient was traced through."""
        seen = {claim.value.birth[0] for claim in self.result.adjoints.values()}
        scattered = any(gradient and gradient.scattered for gradient in self.result.gradients.values())
        for value in self.backward:
            # One of the numbers that the same lines make is wrong: that others are right says nothing of the line.
            if scattered and np.size(self.values[value.object]) == 1:
                continue
            # One sample's worth is enough: what is made at the same place again is the same line.
            if value.birth[0] in seen or not _is_named(value):
                continue
            seen.add(value.birth[0])
            for of in self.forward:
                if of.birth[1] > 0 or not _is_named(of) or not _has(self.values[value.object], _squeezed(of.shape)):
                    continue
                found = self._adjoint(value, of)
                if found.right and found.given != "canonical":
                    self.result.adjoints[value.object, of.birth] = found
                    break

    # -- losses and targets --------------------------------------------------------------------------

    def _losses(self) -> list[Quantity]:
        """Numbers that depend smoothly on parameters and labels, the last named one first."""
        roles = self.roles
        seen: dict[int, Event] = {}
        for event in roles.trace.events[roles.step.start : roles.step.end]:
            if event.object != -1 and roles.backward(event) and np.size(event.value) == 1:
                seen.setdefault(event.object, event)
        steps = {q.object for operands in self.result.operands.values() for q in operands}
        sites = self.program.sites
        updating = {id(sites[key[0]].statement) for p in roles.parameters for key in p.updates}
        names = [
            self._quantity(e)
            for e in seen.values()
            if np.asarray(e.value).dtype.kind == "f"
            and e.object not in steps
            and id(sites[e.site].statement) not in updating
        ]
        slopes = []
        if roles.parameters:
            tangent = self.m.tangents(roles.parameters[0].birth)[0]
            slopes = [q for q in names if np.any(tangent.derivatives.get(q.birth, 0.0))]
        # What one line computes again and again, as a gradient check of the program's own does, counts twice at most.
        first = {q.birth[0]: q for q in reversed(slopes)}
        latest = {q.birth[0]: q for q in slopes}
        ends = {q.object for q in (*first.values(), *latest.values())}
        candidates = sorted((q for q in slopes if q.object in ends), key=lambda q: (not _is_named(q), -q.index))
        # Many named numbers must not crowd out the one that is printed without a name.
        named = [q for q in candidates if _is_named(q)][:LOSSES]
        nameless = sorted((q for q in candidates if not _is_named(q)), key=lambda q: q.index)
        if len(named) == LOSSES and nameless:
            candidates = [*named[:-LOSSES_UNNAMED], *nameless[:LOSSES_UNNAMED], *named[-LOSSES_UNNAMED:]]
        losses: list[Quantity] = []
        deltas: set[int] = set()
        for candidate in candidates:
            if len(losses) == LOSSES or len(deltas) == LOSSES_TRIED:
                break
            if candidate.birth[0] in deltas:
                continue
            if self._steers(candidate):
                deltas.add(candidate.birth[0])
            else:
                losses.append(candidate)
        return losses

    def _steers(self, number: Quantity) -> bool:
        """Whether the updates hang on a number: a delta, then, and no loss."""
        live = self.m.moved(frozen=False)
        updates = frozenset(key for p in self.roles.parameters for key in p.updates)
        last = max(self.roles.trace.by_key[key].index for key in updates)
        changed = live.run({number.birth: lambda v: np.asarray(v) * 1.01 + 0.01}, keep=updates, last=last)
        return any(not _is_as_good_as(live.value(key), changed.value(key)) for key in updates)

    def _targets(self) -> list[Array | None]:
        """For each output the labels in its shape: as they are, transposed, or one-hot."""
        meetings = self.roles.meetings
        if len(meetings) == 1:
            return [self._target(meetings[0])]
        shapes = [np.shape(self.values[m.output.object]) for m in meetings]
        return [
            as_target(m.label.value, shape, classes=not m.single) if m.label else None
            for m, shape in zip(meetings, shapes, strict=True)
        ]

    def _target(self, meeting: Meeting) -> Array | None:
        roles, output = self.roles, meeting.output
        shape = np.shape(self.values.get(output.object, self.m.value(output.birth)))
        best: Array | None = None
        for event in roles.trace.events[roles.step.start : roles.step.middle]:
            if not roles.on_labels[event.index] or roles.on_parameters[event.index] or event.value is None:
                continue
            found = as_target(event.value, shape, classes=not meeting.single)
            if found is not None:
                if np.shape(event.value) == shape:
                    return found
                best = found
        for labels in roles.labels:
            if best is None and roles.trace.value(labels.birth) is not None:
                best = as_target(roles.trace.value(labels.birth), shape, classes=not meeting.single)
        return best

    def _name_loss(self) -> None:
        links = self.result.claims
        declared = [a.loss for a in links if a.right and a.given == "declared"]
        implied = [a.loss for a in links if a.right and a.given in ("implied", "canonical")]
        if self.losses:
            by_name = {q.name: q for q in reversed(self.losses)}
            self.result.declared = by_name[declared[0]] if declared else self.losses[0]
        self.result.declared_fits = bool(declared)
        self.result.implied = implied[0] if implied else ""

    # -- small things --------------------------------------------------------------------------------

    def _is_made(self, event: Event) -> bool:
        """Whether an event makes its value: computes it, or is the first to read a list that was filled unseen."""
        site = self.program.sites[event.site]
        if site.kind != "load":
            return True
        whole = not any(is_array(e.value) for e in self.roles.trace.operands(event, site.children))
        return is_array(event.value) and whole and self.roles.trace.first_seen[event.object] is event

    def _is_forward(self, event: Event) -> bool:
        return (
            self.roles.forward(event) and self.roles.is_value(event.value) and bool(self.roles.on_inputs[event.index])
        )

    def _quantity(self, event: Event) -> Quantity:
        site = self.program.sites[event.site]
        name = self.roles.names.get(event.object) or self.program.source.segment(site.node)
        return Quantity(event.object, event.key, event.index, name, site.line, np.shape(event.value))


def _decaying(array: Array) -> list[Array]:
    """A parameter, and what is left of it when the biases in its first or last row or column are left out."""
    found = [array]
    for axis in range(array.ndim if array.ndim == 2 else 0):
        for end in (0, -1):
            rest = array.copy()
            rest[(slice(None),) * axis + (end,)] = 0.0
            found.append(rest)
    return found


def _is_as_good_as(one: Any, other: Any) -> bool:
    """Whether two values are the same but for the last bits of rounding."""
    if np.shape(one) != np.shape(other):
        return False
    return is_same(one, other) or bool(np.allclose(one, other, rtol=ROUNDING, atol=0.0, equal_nan=True))


@dataclass(frozen=True)
class _Point:
    """A point at which derivatives were measured, and what the program's values are there."""

    measurement: Measurement
    values: dict[int, Any]


Points = list[tuple[_Point, list[Tangent]]]


def _tangents(point: _Point, of: Quantity, step: float, *, off_zero: bool = False) -> list[Tangent]:
    place = of.place if isinstance(of, Element) else -1
    return point.measurement.tangents(of.birth, step, once=isinstance(of, Use), off_zero=off_zero, place=place)


Slope = Callable[[Array, "Array | None"], "Array | None"]


def _gathered(points: Points, number: Callable[[_Point, Array], float], key: Key) -> Array | None:
    """A number for each point and direction, made from the derivative of one event; None where it is missing."""
    if any(key not in t.derivatives for _, tangents in points for t in tangents):
        return None
    return np.array([number(point, t.derivatives[key]) for point, tangents in points for t in tangents])


def _projections(value: Quantity, shape: tuple[int, ...], points: Points) -> Array | None:
    """What a value says of the derivative along each direction."""
    numbers: list[float] = []
    for point, tangents in points:
        array = aligned(point.values[value.object], shape)
        if array is None:
            return None
        numbers += [float(np.sum(array * t.direction)) for t in tangents]
    return np.array(numbers)


@dataclass(frozen=True)
class _Pairs:
    """For backward values as adjoints of forward values: what they say of the derivative along each direction."""

    pairs: list[tuple[Quantity, Quantity]]
    numeric: Array

    @classmethod
    def of(cls, upstreams: list[Quantity], throughs: list[Quantity], points: Points) -> _Pairs:
        """All pairs of one shape (up to unit axes), each with one number a direction."""
        pairs: list[tuple[Quantity, Quantity]] = []
        blocks: list[Array] = []
        tangents = [t for _, several in points for t in several]
        throughs = [q for q in throughs if all(q.birth in t.derivatives for t in tangents)]
        for shape in {_squeezed(q.shape) for q in upstreams}:
            ups = [q for q in upstreams if all(_has(p.values[q.object], shape) for p, _ in points)]
            ends = [q for q in throughs if all(_has(t.derivatives[q.birth], shape) for t in tangents)]
            if not ups or not ends:
                continue
            columns = []
            for point, several in points:
                values = np.stack([np.ravel(point.values[q.object]).astype(np.float64) for q in ups])
                for t in several:
                    columns.append(values @ np.stack([np.ravel(t.derivatives[q.birth]) for q in ends]).T)
            pairs += [(u, e) for u in ups for e in ends]
            blocks.append(np.stack(columns, axis=-1).reshape(-1, len(tangents)))
        return cls(pairs, np.concatenate(blocks) if blocks else np.zeros((0, len(tangents))))


def _place_of(piece: Any, whole: Array) -> int | None:
    """Where a vector holds the numbers of another array, one after the other."""
    numbers = np.ravel(piece)
    starts = np.flatnonzero(whole[: len(whole) - len(numbers) + 1] == numbers[0])
    return next((int(k) for k in starts if np.array_equal(whole[k : k + len(numbers)], numbers)), None)


def _squeezed(shape: tuple[int, ...]) -> tuple[int, ...]:
    return tuple(n for n in shape if n != 1)


def _has(value: Any, shape: tuple[int, ...]) -> bool:
    return value is not None and _squeezed(np.shape(value)) == shape


def _squared_error(p: Array, target: Array | None) -> Array | None:
    return None if target is None or p.shape != target.shape else 2 * (p - target)


def _cross_entropy(p: Array, target: Array | None) -> Array | None:
    if target is None or p.shape != target.shape or np.any(p <= 0) or np.any((target < 0) | (target > 1)):
        return None
    return -target / p


def _binary_cross_entropy(p: Array, target: Array | None) -> Array | None:
    slope = None if np.any(p >= 1) else _cross_entropy(p, target)
    return None if slope is None or target is None else slope + (1 - target) / (1 - p)


# Derivatives of the usual losses with respect to the output, summed over the samples.
CATALOGUE: dict[str, Slope] = {
    "cross-entropy": _cross_entropy,
    "binary cross-entropy": _binary_cross_entropy,
    "squared error": _squared_error,
}


def as_target(labels: object, shape: tuple[int, ...], *, classes: bool = True) -> Array | None:
    """Labels as an array of the output's shape: taken as they are, transposed, or made one-hot.

    Integer labels of shape (N,), (N, 1) or (1, N) become one-hot rows for (N, C), columns for (C, N); a single
    one becomes one-hot only where labels may be numbers of ``classes``.
    """
    array = np.asarray(labels)
    if array.dtype.kind not in "fiub":
        return None
    if array.shape == shape:
        return array.astype(np.float64)
    same = aligned(array, shape) if array.size == int(np.prod(shape)) else None
    if same is not None:
        return same
    if array.ndim == 2 and array.T.shape == shape:
        return array.T.astype(np.float64)
    flat = array.reshape(-1)
    single = classes and flat.size == 1 and array.dtype.kind in "iu" and len(_squeezed(shape)) == 1
    if single and 0 <= flat[0] < max(shape):
        one_hot: Array = np.eye(int(np.prod(shape)))[flat[0]].reshape(shape)
        return one_hot
    if len(shape) != 2 or (flat.dtype.kind == "f" and not np.array_equal(flat, np.round(flat))):
        return None
    flat = flat.astype(np.int64)
    for axis in (0, 1):
        number = shape[1 - axis]
        if flat.size == shape[axis] and flat.min(initial=0) >= 0 and flat.max(initial=0) < number and number > 1:
            rows: Array = np.eye(number)[flat]
            return rows if axis == 0 else rows.T
    return None


def _is_named(quantity: Quantity | None) -> bool:
    return quantity is not None and is_name(quantity.name)


@cache
def is_name(text: str) -> bool:
    """Whether a source text names a value, and does not compute it."""
    try:
        node = ast.parse(text.strip(), mode="eval").body
    except SyntaxError:
        return False
    while isinstance(node, (ast.Attribute, ast.Subscript)):
        node = node.value
    return isinstance(node, ast.Name)


def is_wrong(adjoint: Adjoint) -> bool:
    """Whether a claim is clearly false (and not merely doubtful)."""
    return not adjoint.right and adjoint.fit.residual > WRONG_ABOVE
